//! How faults happen in the model: each is a change of some part's state, and a happening for its end.

use std::time::Duration;

use plugin_core::event::Event;

use super::engine::Context;
use super::happening::{Ending, Happening, What, Which};
use super::node::Node;
use super::program::State;
use super::{ModelStage, latency, refused};
use crate::expect::glob;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, StageError};

/// How long a fault lasts that needs a duration and has none.
const LASTS_DEFAULT: Duration = Duration::from_secs(5);

impl ModelStage {
    /// Makes a fault happen now; what follows from it takes its time.
    ///
    /// # Errors
    /// No node or GPU is selected.
    pub fn fault(&mut self, spec: &FaultSpec) -> Result<Done, StageError> {
        let lasts = spec.lasts.unwrap_or(LASTS_DEFAULT);
        let lasts = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
        if spec.fault == Fault::ApiServerDown {
            self.api_server_down(lasts);
            return Ok(Done::Did);
        }
        let names = self.cluster.nodes.iter().enumerate();
        let chosen: Vec<usize> =
            names.filter(|(_, node)| glob(&spec.node, &node.name)).map(|(number, _)| number).collect();
        if chosen.is_empty() {
            return Err(refused(
                format!("make `{}` happen on `{}`", spec.fault.tag(), spec.node),
                &"there is no such node",
            ));
        }
        let mut skipped = Vec::new();
        for number in chosen {
            let why = self.cluster.on(number, |node, cx| {
                if node.is_off {
                    return Some(format!("node `{}` is down", node.name));
                }
                cx.show();
                node.suffer(cx, spec, lasts)
            });
            skipped.extend(why.flatten());
        }
        match skipped.is_empty() {
            true => Ok(Done::Did),
            false => Ok(Done::Skipped(skipped.join("; "))),
        }
    }

    fn api_server_down(&mut self, lasts: u64) {
        let cluster = &mut self.cluster;
        cluster.api.go_down();
        let back = cluster.engine.now() + lasts;
        cluster.engine.at(back, Happening::ApiReturns);
        for node in 0..cluster.nodes.len() {
            cluster.happens_on(node, latency::API_REFUSED, What::NodeWatchBreaks);
        }
    }
}

impl Node {
    /// One fault on this node; the answer is why it could not happen.
    fn suffer(&mut self, cx: &mut Context<'_>, spec: &FaultSpec, lasts: u64) -> Option<String> {
        let ends = cx.now().saturating_add(lasts);
        match spec.fault {
            Fault::PluginCrash => self.crash(cx, Which::Plugin),
            Fault::SupervisorCrash => self.crash(cx, Which::Mps),
            Fault::PluginRestart => {
                if self.plugin.process.is_none() || self.plugin.state != State::Running {
                    return Some(format!("the plugin of node `{}` does not run", self.name));
                }
                self.plugin.restarts = true;
                self.ask_to_stop(cx, Which::Plugin);
                None
            }
            Fault::MpsDaemonCrash { gpu } => self.mps_daemons_crash(cx, gpu),
            Fault::KubeletRestart => {
                self.kubelet.stop(cx);
                let down = if spec.lasts.is_some() { lasts } else { 0 };
                let start = cx.now() + down + cx.engine.draw_from(latency::KUBELET_START);
                cx.at(start, What::KubeletStarts);
                None
            }
            Fault::KubeletHang => {
                self.kubelet.hang(ends);
                None
            }
            Fault::PodResourcesUnavailable => {
                self.kubelet.pod_resources = false;
                cx.at(ends, What::FaultEnds(Ending::PodResources));
                None
            }
            Fault::ApiServerDown => None,
            Fault::WatchDrop => {
                cx.after(latency::API_REFUSED, What::NodeWatchBreaks);
                None
            }
            Fault::GpuLost { gpu } => {
                if !self.set_lost(gpu, true) {
                    return Some(format!("node `{}` has no GPU {gpu}", self.name));
                }
                if spec.lasts.is_some() {
                    cx.at(ends, What::FaultEnds(Ending::GpuLost(gpu)));
                }
                None
            }
            Fault::Xid { gpu, code } => {
                let gpus = self.host.gpus.as_mut();
                let raised = gpus.is_some_and(|gpus| gpus.raise_xid(gpu, u64::from(code)).is_ok());
                (!raised).then(|| format!("node `{}` has no GPU {gpu}", self.name))
            }
            Fault::NodeReboot => {
                self.goes_down(cx);
                let down = if spec.lasts.is_some() { lasts } else { cx.engine.draw_from(latency::BOOT) };
                cx.at(cx.now() + down, What::Boots);
                None
            }
        }
    }

    /// What a hanging kubelet cannot do now it does later, except what its caller gives up before.
    pub(super) fn kubelet_hangs(&mut self, cx: &mut Context<'_>, what: What) {
        let patience = cx.now() + latency::CALL_TIME_MAX;
        let too_late = self.kubelet.hangs_until(cx.now()).is_some_and(|until| until > patience);
        let why = |call: &str| format!("the kubelet did not answer `{call}` within 10s");
        match what {
            What::RegisterArrives(call) if too_late => {
                let plugin = call.plugin;
                let event = call.answered(Err(why("Register")));
                cx.at(patience, What::PluginTold(plugin, Box::new(event)));
            }
            What::HoldersAsked(plugin) if too_late => {
                let event = Event::HoldersUnreadable { why: why("List") };
                cx.at(patience, What::PluginTold(plugin, Box::new(event)));
            }
            what => self.kubelet.put_off(cx, what),
        }
    }

    fn crash(&mut self, cx: &mut Context<'_>, which: Which) -> Option<String> {
        let program = match which {
            Which::Plugin => "plugin",
            Which::Mps => "MPS supervisor",
        };
        let stopping = self.state(which) == State::Stopping;
        if !self.kill(cx, which) {
            return Some(format!("the {program} of node `{}` does not run", self.name));
        }
        if stopping {
            // whoever stopped it finds it gone
            self.ask_to_stop(cx, which);
        } else {
            self.start_again(cx, which);
        }
        None
    }

    fn mps_daemons_crash(&mut self, cx: &mut Context<'_>, gpu: Option<u32>) -> Option<String> {
        let pids = self.host.mps_daemons_on(gpu);
        if pids.is_empty() {
            return Some(format!("no MPS control daemon runs on node `{}`", self.name));
        }
        pids.into_iter().for_each(|pid| self.host.end_mps_daemon(pid, false));
        if let Some(shell) = &mut self.mps.process {
            shell.daemons_changed(cx, &self.host);
        }
        None
    }
}
