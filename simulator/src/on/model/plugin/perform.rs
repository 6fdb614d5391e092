//! From actions to effects: each is started here and answered by an event later, as in production.

use std::collections::BTreeMap;

use plugin_core::action::{Action, Severity};
use plugin_core::cdi::Search;
use plugin_core::event::Event;

use super::super::engine::Context;
use super::super::happening::{Register, What};
use super::super::host::Host;
use super::super::latency;
use super::{Exit, Shell};

impl Shell {
    /// Starts the effect. `Some` when it is the end of the process.
    pub(super) fn perform(&mut self, cx: &mut Context<'_>, host: &mut Host, action: Action) -> Option<Exit> {
        let life = self.life;
        if !self.saboteur.as_mut().is_none_or(|saboteur| saboteur.does(&action)) {
            return None;
        }
        match action {
            Action::FindGpus => cx.after(latency::NVML_FIND, What::GpusListed(life)),
            Action::Listen { resource, endpoint, attempt } => {
                self.listen(cx, host, resource, endpoint, attempt)
            }
            Action::Register { resource, endpoint, attempt } => {
                let call = Register { plugin: life, resource, endpoint, attempt };
                cx.after(latency::SOCKET, What::RegisterArrives(Box::new(call)));
            }
            Action::Close { resource } => self.close(cx, host, &resource),
            Action::ReadHolders => self.read_holders(cx),
            Action::ReadConfig => cx.after(latency::TASK, What::ConfigLooked(life, true)),
            Action::WriteMpsDesired { desired } => {
                // the newest replaces one that is not written yet
                if self.desired.replace(desired).is_none() {
                    cx.after(latency::DISK, What::DesiredWritten(life));
                }
            }
            Action::PatchLabels { labels } => {
                cx.after(latency::API, What::PatchArrives(life, Box::new(labels)));
            }
            Action::FindDriverFiles { attempt, search } => {
                cx.after(latency::DISK, What::DriverFilesLooked(life, attempt, Box::new(search)));
            }
            Action::WriteCdiSpecs { specs } => {
                cx.after(latency::DISK, What::SpecsWritten(life, specs));
            }
            Action::Announce { severity, message, .. } => self.warn(severity, message),
            Action::Exit { code, why } => return Some(Exit { code, why }),
            other => self.warn(Severity::Warning, format!("the model cannot perform `{}`", other.tag())),
        }
        None
    }

    fn read_holders(&mut self, cx: &mut Context<'_>) {
        cx.after(latency::SOCKET, What::HoldersAsked(self.life));
    }

    /// `desired.json` is replaced by the newest wish; the plugin looks at the report then.
    pub(in super::super) fn desired_written(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        if let Some(desired) = self.desired.take() {
            host.mps.desired = Some(desired);
            cx.after(latency::TASK, What::MpsReportLooked(self.life));
        }
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
        host.cdi.extend(specs);
        cx.after(latency::TASK, What::PluginTold(self.life, Box::new(Event::CdiSpecsWritten)));
    }

    /// NVML has answered.
    pub(in super::super) fn gpus_listed(&mut self, cx: &mut Context<'_>, host: &Host) {
        let event = match host.facts() {
            Ok(facts) => Event::GpusFound { facts },
            Err((true, why)) => Event::DriverFailed { why },
            Err((false, why)) => Event::NoDriver { why },
        };
        self.post(cx, event);
    }

    /// The process ends in order: sockets are removed and the last wish is written.
    pub(in super::super) fn end(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        let resources: Vec<_> = self.by_resource.keys().cloned().collect();
        for resource in resources {
            self.close(cx, host, &resource);
        }
        if let Some(desired) = self.desired.take() {
            host.mps.desired = Some(desired);
        }
    }
}
