//! One node: its machine, its kubelet and the plugin's two programs, and who of them a happening is for.

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::settings::Settings;

use super::engine::{Channel, Context};
use super::happening::{PodId, What, Which};
use super::host::Host;
use super::journal::Journal;
use super::kubelet::Kubelet;
use super::latency;
use super::mps::MpsShell;
use super::plugin::{self, Shell};
use super::program::Program;
use super::workloads::Job;

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name.
    pub(super) name: String,
    /// Files, sockets, GPUs.
    pub(super) host: Host,
    /// Its kubelet.
    pub(super) kubelet: Kubelet,
    /// `tandem-device-plugin run`.
    pub(super) plugin: Program<Shell>,
    /// `tandem-device-plugin mps`.
    pub(super) mps: Program<MpsShell>,
    /// What pods do on their GPUs.
    pub(super) works: BTreeMap<PodId, Job>,
    /// How long a container that ended waits the first time.
    pub(super) crash_back_off: Duration,
    /// How the plugin is told to behave.
    pub(super) settings: Settings,
    /// Whether journals are kept.
    pub(super) journals_kept: bool,
    /// The journals of processes that have ended.
    pub(super) journals: Vec<(Which, Journal)>,
    /// The warnings of the plugin's processes that have ended.
    pub(super) warnings: Vec<String>,
    /// Processes that ended although nobody asked them to.
    pub(super) deaths: Vec<String>,
    /// The machine is down.
    pub(super) is_off: bool,
    /// The machine stands still.
    pub(super) still: Still,
    /// The run ends: nothing is started any more.
    pub(super) is_closing: bool,
}

/// A machine that stands still: what should happen meanwhile happens afterwards, in its order.
#[derive(Debug, Default)]
pub(super) struct Still {
    /// Until when.
    pub(super) until: u64,
    late: Channel,
}

impl Node {
    /// Something happens on this node.
    pub(super) fn on(&mut self, cx: &mut Context<'_>, what: What) {
        self.happens(cx, what);
        if !self.kubelet.stopped.is_empty() {
            self.bury_work(cx);
        }
    }

    fn happens(&mut self, cx: &mut Context<'_>, what: What) {
        if self.is_off && !matches!(what, What::Boots | What::FaultEnds(_)) {
            return;
        }
        if self.still.until > cx.now() && !matches!(what, What::FaultEnds(_)) {
            return self.happens_later(cx, what);
        }
        if what.is_kubelets() && self.kubelet.hangs_until(cx.now()).is_some() {
            return self.kubelet_hangs(cx, what);
        }
        match what {
            What::ProgramStarts(which) => self.program_starts(cx, which),
            What::StopOverdue(which, life) => self.stop_overdue(cx, which, life),
            What::Boots => self.boots(cx),
            What::FaultEnds(ending) => self.fault_ends(cx, ending),
            What::KubeletBinds => {
                self.kubelet.binds(cx.now(), &mut self.host);
                cx.after(self.host.news(cx.now()), What::KubeletDirectoryChanged(self.plugin.life));
            }
            What::ConfigProjected => {
                self.host.config = self.host.config_map.clone();
                cx.after(self.host.news(cx.now()), What::ConfigLooked(self.plugin.life, false));
            }
            What::MpsWakes(_)
            | What::MpsDue(_)
            | What::MpsTold(..)
            | What::ReportDue(_)
            | What::DesiredLooked(_)
            | What::DaemonLooked(..)
            | What::EffectDone(..)
            | What::EffectReturns(..)
            | What::EffectOverdue(..) => self.on_mps(cx, what),
            what if what.is_kubelets() => self.on_kubelet(cx, what),
            What::KubeletStarts => {
                self.kubelet.start(cx, &mut self.host);
                cx.after(self.host.news(cx.now()), What::KubeletDirectoryChanged(self.plugin.life));
            }
            What::WorkBegins(pod) => self.work_begins(cx, pod),
            What::WorkGoesOn(pod, turn) => self.work_goes_on(cx, pod, turn),
            What::PodFinishes(pod) => self.kubelet.pod_finishes(cx, pod),
            What::PatchArrives(life, labels) => plugin::patch_arrives(cx, life, &labels),
            what => self.on_plugin(cx, what),
        }
    }

    /// Does later what a machine that stands still cannot do now.
    fn happens_later(&mut self, cx: &mut Context<'_>, what: What) {
        let pause = self.still.until - cx.now();
        match what {
            // the kubelet's own clock stood still, too
            What::StopOverdue(..) => cx.at(self.still.until + latency::STOP_TIME_MAX, what),
            what => {
                let latency = latency::Latency { least: pause, most: pause };
                cx.through(&mut self.still.late, latency, what);
            }
        }
    }

    fn on_plugin(&mut self, cx: &mut Context<'_>, what: What) {
        let host = &mut self.host;
        let program = &mut self.plugin;
        let newest = program.life;
        match what {
            What::PluginWakes(life) => {
                let exit = program.living(life).and_then(|shell| shell.wakes(cx, host));
                self.plugin_exits(cx, exit);
            }
            What::PluginDue(life) => {
                let exit = program.living(life).and_then(|shell| shell.due(cx, host));
                self.plugin_exits(cx, exit);
            }
            What::PluginTold(life, event) => {
                if let Some(shell) = program.living(life) {
                    shell.post(cx, *event);
                }
            }
            What::KubeletDirectoryChanged(life) => {
                if let Some(shell) = program.living(life) {
                    shell.kubelet_directory_changed(cx, host);
                }
            }
            What::MpsReportLooked(life) => {
                if let Some(shell) = program.living(life) {
                    shell.mps_report_looked(cx, host);
                }
            }
            What::ConfigLooked(life, asked) => {
                if let Some(shell) = program.living(life) {
                    shell.config_looked(cx, host, asked);
                }
            }
            What::NodeSeen(revision, shown) => {
                if let Some(shell) = program.living(newest) {
                    shell.node_seen(cx, revision, shown.as_ref());
                }
            }
            What::NodeWatchBreaks => {
                if let Some(shell) = program.living(newest) {
                    shell.node_watch_breaks(cx);
                }
            }
            What::NodeListed(life) => {
                if let Some(shell) = program.living(life) {
                    shell.node_listed(cx);
                }
            }
            What::DesiredWritten(life) => {
                if let Some(shell) = program.living(life) {
                    shell.desired_written(cx, host);
                    self.mps_root_changed(cx);
                }
            }
            what => self.on_looks(cx, what),
        }
    }

    /// What a kubelet wants of the plugin's servers.
    pub(super) fn on_server(&mut self, cx: &mut Context<'_>, what: What) {
        match what {
            What::StreamAsked(id) => {
                let shell = self.plugin.living(id.server.life);
                if !shell.is_some_and(|shell| shell.stream_asked(cx, id)) {
                    cx.after(latency::SOCKET, What::StreamEnds(id));
                }
            }
            What::StreamLeft(id) => {
                if let Some(shell) = self.plugin.living(id.server.life) {
                    shell.stream_left(cx, id);
                }
            }
            What::SocketLost(id) => {
                if let Some(shell) = self.plugin.living(id.life) {
                    shell.socket_lost(cx, id);
                }
            }
            What::CallArrives(call) => match self.plugin.living(call.server.life) {
                Some(shell) => shell.call_arrives(cx, *call),
                None => {
                    let answer = Box::new(plugin::broken(&call.request));
                    cx.after(latency::SOCKET, What::CallAnswered(call.kubelet, call.number, answer));
                }
            },
            _ => {}
        }
    }

    /// Whether the plugin has given up this Register call, because it serves the resource no more.
    fn is_given_up(&mut self, what: &What) -> bool {
        let call = match what {
            What::RegisterArrives(call) => call.as_ref(),
            What::Dials(dial) => &dial.call,
            _ => return false,
        };
        let shell = self.plugin.living(call.plugin);
        let given_up = shell.is_some_and(|shell| !shell.registers(&call.resource));
        if let (true, What::Dials(dial)) = (given_up, what) {
            self.kubelet.forgets(dial);
        }
        given_up
    }

    fn on_kubelet(&mut self, cx: &mut Context<'_>, what: What) {
        if self.is_given_up(&what) {
            return;
        }
        let kubelet = &mut self.kubelet;
        let died = match what {
            What::RegisterArrives(call) => {
                kubelet.register_arrives(cx, *call);
                None
            }
            What::Dials(dial) => {
                kubelet.dials(cx, &self.host, *dial);
                None
            }
            What::ListArrives(stream, devices) => {
                let taken = kubelet.list_arrives(cx, stream, &devices);
                self.host.has_checkpoint |= taken;
                if let Some(shell) = self.plugin.living(stream.server.life).filter(|_| taken) {
                    shell.list_taken(cx, stream);
                }
                None
            }
            What::StreamEnds(stream) => {
                kubelet.stream_ends(cx, stream);
                None
            }
            What::CallAnswered(life, number, answer) => kubelet.call_answered(cx, life, number, *answer),
            What::HoldersAsked(plugin) => {
                kubelet.holders_asked(cx, plugin);
                None
            }
            What::AllocatableAsked(plugin, resources) => {
                kubelet.allocatable_asked(cx, plugin, &resources);
                None
            }
            What::Ticks(life, quick) => {
                kubelet.ticks(cx, life, quick);
                None
            }
            What::PodsListed(life) => kubelet.pods_listed(cx, life),
            What::PodSeen(pod) => kubelet.pod_seen(cx, pod),
            What::ContainersStart(life, pod) => kubelet.containers_start(cx, life, pod, &self.host.cdi),
            What::PodTerminated(life, pod) => {
                kubelet.pod_terminated(cx, life, pod);
                None
            }
            _ => None,
        };
        if let Some(why) = died {
            self.deaths.push(format!("the kubelet of node `{}` died: {why}", self.name));
            self.kubelet.died.push(why);
            self.kubelet.stop(cx);
            cx.after(latency::KUBELET_START, What::KubeletStarts);
        }
    }
}
