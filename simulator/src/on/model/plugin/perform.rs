//! From actions to effects: each is started here and answered by an event later, as in production.

use std::collections::BTreeMap;

use plugin_core::action::{Action, Severity};
use plugin_core::cdi::Search;
use plugin_core::event::Event;

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::Host;
use super::super::latency;
use super::super::message::{NodePatch, Register};
use super::super::taints::TaintChange;
use super::{Exit, Shell};

/// A life that no process has.
const NOBODY: u32 = 0;

impl Shell {
    /// Starts the effect. `Some` when it is the end of the process.
    pub(super) fn perform(&mut self, cx: &mut Context<'_>, host: &mut Host, action: Action) -> Option<Exit> {
        let life = self.life;
        if !self.saboteur.as_mut().is_none_or(|saboteur| saboteur.does(&action)) {
            return None;
        }
        match action {
            Action::FindGpus => self.look_at_gpus(cx, host, true),
            Action::Listen { resource, endpoint, attempt } => {
                self.listen(cx, host, resource, endpoint, attempt)
            }
            Action::Register { resource, endpoint, attempt } => {
                let call = Register { plugin: life, resource, endpoint, attempt };
                cx.after(latency::SOCKET, What::RegisterArrives(Box::new(call)));
            }
            Action::Close { resource } => self.close(cx, host, &resource),
            Action::ReadHolders => self.read_holders(cx),
            Action::ReadAllocatable { resources } => {
                cx.after(latency::SOCKET, What::AllocatableAsked(life, resources));
            }
            Action::WatchPods { attempt } => self.watch_pods(cx, Some(attempt)),
            Action::IgnorePods => self.watch_pods(cx, None),
            Action::ReadConfig => cx.after(latency::TASK, What::ConfigLooked(life, true)),
            Action::WriteMpsDesired { desired } => {
                // the newest replaces one that is not written yet
                if self.desired.replace(desired).is_none() {
                    cx.after(latency::DISK, What::DesiredWritten(life));
                }
            }
            Action::KeepLastGood { text } => {
                // the newest replaces one that is not written yet
                if self.last_good.replace(text).is_none() {
                    cx.after(latency::DISK, What::LastGoodWritten(life));
                }
            }
            Action::KeepGpus { text } => {
                if self.kept_gpus.replace(text).is_none() {
                    cx.after(latency::DISK, What::KeptGpusWritten(life));
                }
            }
            Action::PatchLabels { labels } => {
                self.patch_node(cx, NodePatch::Labels(labels));
            }
            Action::PatchAnnotations { annotations } => {
                self.patch_node(cx, NodePatch::Annotations(annotations));
            }
            Action::PatchTaints { before, after, note } => {
                self.patch_node(cx, NodePatch::Taints(TaintChange { before, after, note }));
            }
            Action::Announce { severity, message, .. } => {
                self.warn(severity, message);
                cx.show();
            }
            Action::FindDriverFiles { attempt, search } => {
                cx.after(latency::DISK, What::DriverFilesLooked(life, attempt, Box::new(search)));
            }
            Action::WriteCdiSpecs { specs } => {
                cx.after(latency::DISK, What::SpecsWritten(life, specs));
            }
            Action::ReadProcesses { gpu } => self.read_processes(cx, host, gpu),
            Action::SetTimeSlice { gpu, interval } => {
                cx.after(latency::NVIDIA_SMI, What::TimeSliceAsked(life, gpu, interval));
            }
            Action::Exit { code, why } => return Some(Exit { code, why }),
            other => self.warn(Severity::Warning, format!("the model cannot perform `{}`", other.tag())),
        }
        None
    }

    fn read_holders(&mut self, cx: &mut Context<'_>) {
        cx.after(latency::SOCKET, What::HoldersAsked(self.life));
    }

    /// A patch sets out, and is given up when the API server takes too long.
    fn patch_node(&mut self, cx: &mut Context<'_>, patch: NodePatch) {
        let mut waits = self.life;
        if cx.api.trouble.delay >= latency::CALL_TIME_MAX {
            let late = patch.answered(Err("no answer within 10s".to_owned()));
            cx.at(cx.now() + latency::CALL_TIME_MAX, What::PluginTold(self.life, Box::new(late)));
            waits = NOBODY;
        }
        cx.ask_api(What::PatchArrives(waits, Box::new(patch)));
    }

    /// `desired.json` is replaced by the newest wish; the plugin looks at the report then.
    pub(in super::super) fn desired_written(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        let Some(desired) = self.desired.take() else { return };
        if host.disk_full {
            let why = "`desired.json` cannot be written: No space left on device (os error 28)".to_owned();
            return self.post(cx, Event::MpsDesiredFailed { why });
        }
        host.mps.desired = Some(desired);
        cx.after(latency::TASK, What::MpsReportLooked(self.life));
    }

    /// The state file is replaced by the newest text.
    pub(in super::super) fn last_good_written(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        let Some(text) = self.last_good.take() else { return };
        if host.disk_full {
            let why = "the state file cannot be written: No space left on device (os error 28)".to_owned();
            return self.post(cx, Event::LastGoodNotKept { why });
        }
        host.last_good = Some(text);
    }

    /// The state file with what is known of the GPUs is replaced by the newest text.
    pub(in super::super) fn kept_gpus_written(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        let Some(text) = self.kept_gpus.take() else { return };
        if host.disk_full {
            let why = "the state file cannot be written: No space left on device (os error 28)".to_owned();
            return self.post(cx, Event::KeptGpusFailed { why });
        }
        host.kept_gpus = Some(text);
    }

    /// The driver's files have been looked at.
    pub(in super::super) fn driver_files_looked(
        &mut self,
        cx: &mut Context<'_>,
        host: &Host,
        attempt: u64,
        search: &Search,
    ) {
        let event = Event::DriverFilesFound { attempt, found: host.find(search) };
        cx.after(latency::TASK, What::PluginTold(self.life, Box::new(event)));
    }

    /// CDI specs are on disk.
    pub(in super::super) fn specs_written(
        &mut self,
        cx: &mut Context<'_>,
        host: &mut Host,
        specs: BTreeMap<String, String>,
    ) {
        let event = if host.disk_full {
            Event::CdiSpecsFailed {
                why: "the spec directory: No space left on device (os error 28)".to_owned(),
            }
        } else {
            host.cdi.extend(specs);
            Event::CdiSpecsWritten
        };
        cx.after(latency::TASK, What::PluginTold(self.life, Box::new(event)));
    }

    /// The process ends in order: sockets are removed and the last wish and the state file are written.
    pub(in super::super) fn end(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        let resources: Vec<_> = self.by_resource.keys().cloned().collect();
        for resource in resources {
            self.close(cx, host, &resource);
        }
        if let Some(desired) = self.desired.take().filter(|_| !host.disk_full) {
            host.mps.desired = Some(desired);
        }
        self.last_good_written(cx, host);
        self.kept_gpus_written(cx, host);
    }
}
