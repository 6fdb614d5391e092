//! The faults of a node: what its kubelet, its disk and the machine itself suffer.

use plugin_core::event::Event;

use super::super::engine::Context;
use super::super::happening::{Ending, What};
use super::super::latency;
use super::super::node::Node;
use super::{LASTS_DEFAULT, nanos};
use crate::faults::{Fault, FaultSpec};

impl Node {
    /// One fault on this node; the answer is why it could not happen.
    pub(super) fn suffer(&mut self, cx: &mut Context<'_>, spec: &FaultSpec) -> Option<String> {
        let lasts = nanos(spec.lasts.unwrap_or(LASTS_DEFAULT));
        if self.kubelet.troubles_list(spec.fault) {
            return self.ends_in(cx, lasts, Ending::ListTrouble);
        }
        match spec.fault {
            Fault::KubeletRestart => {
                let down = spec.lasts.map_or(0, nanos);
                self.kubelet_restarts(cx, down);
                None
            }
            Fault::KubeletHang => {
                self.kubelet.hang(cx.now().saturating_add(lasts));
                None
            }
            Fault::KubeletSocketRace => {
                self.kubelet.stop(cx);
                let binds = cx.now() + cx.engine.draw_from(latency::KUBELET_START);
                cx.at(binds, What::KubeletBinds);
                cx.at(binds.saturating_add(lasts), What::KubeletStarts);
                None
            }
            Fault::PodResourcesEmpty => {
                self.kubelet.lists_nothing_for = lasts;
                self.kubelet_restarts(cx, 0);
                None
            }
            Fault::PluginDirectoryRecreated => {
                self.directory_recreated(cx, lasts);
                None
            }
            Fault::CheckpointLost => {
                self.kubelet_restarts(cx, spec.lasts.map_or(0, nanos));
                self.kubelet.lose_checkpoint();
                self.host.has_checkpoint = false;
                None
            }
            Fault::NodeRecreated => {
                cx.api.delete_node(cx.engine, cx.node);
                self.ends_in(cx, lasts, Ending::NodeRecreated)
            }
            Fault::WatchDrop => {
                cx.after(latency::API_REFUSED, What::NodeWatchBreaks);
                None
            }
            Fault::DiskFull => {
                self.host.disk_full = true;
                self.ends_in(cx, lasts, Ending::DiskFull)
            }
            Fault::InotifyExhausted => {
                self.host.no_inotify = true;
                self.ends_in(cx, lasts, Ending::InotifyExhausted)
            }
            Fault::Suspend => {
                self.still.until = cx.now().saturating_add(lasts);
                // its connections are gone when it wakes
                cx.at(self.still.until, What::NodeWatchBreaks);
                None
            }
            Fault::NodeReboot => {
                self.goes_down(cx);
                let down = spec.lasts.map_or_else(|| cx.engine.draw_from(latency::BOOT), nanos);
                cx.at(cx.now() + down, What::Boots);
                None
            }
            fault if fault.is_of_cluster() => None,
            fault => self.programs_suffer(cx, fault, spec.lasts.map(nanos)),
        }
    }

    /// Lets a fault end by itself.
    pub(super) fn ends_in(&self, cx: &mut Context<'_>, lasts: u64, ending: Ending) -> Option<String> {
        cx.at(cx.now().saturating_add(lasts), What::FaultEnds(ending));
        None
    }

    /// The kubelet ends now and starts again after a while.
    pub(super) fn kubelet_restarts(&mut self, cx: &mut Context<'_>, down: u64) {
        self.kubelet.stop(cx);
        let start = cx.now() + down + cx.engine.draw_from(latency::KUBELET_START);
        cx.at(start, What::KubeletStarts);
    }

    /// Somebody removes the kubelet's directory with all sockets; the kubelet, which fails then, makes it anew at its start.
    /// Its checkpoint is put back: without it the kubelet itself would hand devices out twice.
    fn directory_recreated(&mut self, cx: &mut Context<'_>, lasts: u64) {
        self.kubelet_restarts(cx, lasts);
        self.host.sockets.clear();
        self.host.kubelet_socket = None;
        let look = latency::SLOW_LOOK.most;
        self.host.blind_until = cx.now().saturating_add(lasts).saturating_add(look);
        cx.after(self.host.news(cx.now()), What::KubeletDirectoryChanged(self.plugin.life));
    }

    /// What a hanging kubelet cannot do now it does later, except what its caller gives up before.
    pub(in super::super) fn kubelet_hangs(&mut self, cx: &mut Context<'_>, what: What) {
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
                let checkpoint = self.kubelet.checkpoint_file();
                let event = Event::HoldersUnreadable { why: why("List"), checkpoint };
                cx.at(patience, What::PluginTold(plugin, Box::new(event)));
            }
            What::AllocatableAsked(plugin, _) if too_late => {
                let why = why("GetAllocatableResources");
                let event = Event::AllocatableUnreadable { why, unsupported: false };
                cx.at(patience, What::PluginTold(plugin, Box::new(event)));
            }
            what => self.kubelet.put_off(cx, what),
        }
    }
}
