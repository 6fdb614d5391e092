//! When specs are looked for and written. Three promises:
//!
//! * a configuration with a CDI strategy holds only once its devices can be looked up: until then it is staged;
//! * a name means the same GPU for as long as a container may be started again with it: names that are no longer needed
//!   stay in the file while their GPU is held, also after a restart of the plugin, because the file itself is read back;
//! * files outlive the plugin. Only `tandem-device-plugin uninstall` removes them; what somebody else removes or changes is
//!   written again, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::generate::Wanted;
use super::spec::{Device, Spec};
use super::{Class, Found, Search};
use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::config::{DeviceListStrategy, Effective};
use crate::inventory::{Facts, GpuUuid};
use crate::plugin::Plugin;
use crate::time::Time;

/// First and longest pause between two tries to write.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Between two looks at the files while all is well: containers do not start without them.
const LOOK: Duration = Duration::from_secs(60);
/// What the UUIDs of GPUs and MIG devices begin with.
const UUIDS: [&str; 2] = ["GPU-", "MIG-"];

/// What is known about the spec files.
#[derive(Clone, Debug)]
pub(crate) struct Specs {
    /// The number of the newest search, and what it looks for.
    searched: (u64, Option<Search>),
    /// What it found.
    found: Option<Found>,
    /// The driver may have changed since.
    pub(crate) stale: bool,
    on_disk: BTreeMap<String, String>,
    writing: Option<BTreeMap<String, String>>,
    retry_at: Option<Time>,
    /// When the files are looked at, changed or not.
    look_at: Option<Time>,
    /// Something was written since the newest search began, so that it may have seen what was there before.
    wrote: bool,
    backoff: Backoff,
    /// Everything that is wanted is on disk.
    ready: bool,
    /// Names are in the file only because their GPUs are held.
    keeps: bool,
    /// The classes that have a file.
    pub(crate) classes: BTreeSet<Class>,
}

impl Default for Specs {
    fn default() -> Self {
        Specs {
            searched: (0, None),
            found: None,
            stale: false,
            on_disk: BTreeMap::new(),
            writing: None,
            retry_at: None,
            look_at: None,
            wrote: false,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            ready: false,
            keeps: false,
            classes: BTreeSet::new(),
        }
    }
}

fn is_uuid(name: &str) -> bool {
    UUIDS.iter().any(|begin| name.starts_with(begin))
}

/// Whether containers are told their devices by CDI names.
pub(crate) fn is_wanted(flags: &Effective) -> bool {
    let cdi = [DeviceListStrategy::CdiAnnotations, DeviceListStrategy::CdiCri];
    flags.plugin.device_list_strategy.iter().any(|strategy| cdi.contains(strategy))
}

impl Plugin {
    /// Whether devices can be looked up by the names that this configuration gives them.
    pub(crate) fn specs_suffice(&self, flags: &Effective) -> bool {
        !is_wanted(flags) || self.specs.ready
    }

    /// When writing is tried again, or the files are looked at.
    pub(crate) fn specs_deadline(&self) -> Option<Time> {
        self.specs.retry_at.into_iter().chain(self.specs.look_at).min()
    }

    pub(crate) fn driver_files_found(&mut self, attempt: u64, found: Found) {
        if attempt == self.specs.searched.0 {
            self.tell_foreign_changes(&found.specs);
            self.specs.on_disk.clone_from(&found.specs);
            self.specs.found = Some(found);
        }
    }

    /// Files that are not as they were written or found last.
    fn tell_foreign_changes(&mut self, now: &BTreeMap<String, String>) {
        let before = self.specs.on_disk.iter().filter(|_| !self.specs.wrote);
        let changed: Vec<String> = before
            .filter(|(name, text)| now.get(*name) != Some(*text))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !changed.is_empty() {
            let message = format!(
                "somebody else removed or changed the CDI spec {}; it is written again (does a second plugin use the same \
                 --cdi-vendor?)",
                changed.join(", ")
            );
            self.say_once("cdi-changed", Severity::Warning, "CdiSpecsChanged", message);
        }
    }

    pub(crate) fn specs_written(&mut self) {
        self.said.remove("cdi");
        self.specs.backoff.reset();
        self.specs.on_disk.extend(self.specs.writing.take().unwrap_or_default());
    }

    pub(crate) fn specs_failed(&mut self, why: &str) {
        self.specs.writing = None;
        self.specs.retry_at = Some(self.now + self.specs.backoff.next_delay());
        let message = format!(
            "CDI specs cannot be written: {why}; containers get no GPU by a name that no file has, so what needs it waits \
             (is the directory of --cdi-spec-dir mounted and writable?)"
        );
        self.say_once("cdi", Severity::Warning, "CdiSpecsNotWritten", message);
    }

    /// Looks for what specs need, and writes those that differ from what is on disk.
    pub(crate) fn keep_specs(&mut self) {
        let retry = self.specs.retry_at.is_some_and(|at| at <= self.now);
        if retry {
            self.specs.retry_at = None;
        }
        let look = self.specs.look_at.is_some_and(|at| at <= self.now);
        if look {
            self.specs.look_at = None;
            self.specs.stale = true;
        }
        let released = self.specs.keeps && !self.change.holders.is_empty();
        if !(self.change.all || retry || look || released) {
            return;
        }
        let configs = [&self.next, &self.applied].into_iter().flatten().map(|a| &a.effective);
        let wanted: Vec<Effective> = configs.filter(|flags| is_wanted(flags)).cloned().collect();
        let (Some(flags), Some(facts)) = (wanted.first(), self.facts().cloned()) else {
            return;
        };
        let search = Search::new(flags, &facts);
        if std::mem::take(&mut self.specs.stale) || self.specs.searched.1.as_ref() != Some(&search) {
            let attempt = self.specs.searched.0 + 1;
            // what is known holds until it is found to be otherwise
            self.specs.ready &= look && !self.change.all;
            self.specs.searched = (attempt, Some(search.clone()));
            self.specs.found = None;
            self.specs.wrote = false;
            self.specs.look_at = Some(self.now + LOOK);
            return self.act(Action::FindDriverFiles { attempt, search });
        }
        let Some(files) = self.wanted_files(&wanted, &facts) else { return };
        let differs = |(name, text): &(&String, &String)| self.specs.on_disk.get(*name) != Some(*text);
        let news: BTreeMap<String, String> =
            files.iter().filter(differs).map(|(name, text)| (name.clone(), text.clone())).collect();
        self.specs.ready = news.is_empty();
        if news.is_empty() || self.specs.writing.is_some() || self.specs.retry_at.is_some() {
            return;
        }
        self.specs.wrote = true;
        self.specs.writing = Some(news.clone());
        self.act(Action::WriteCdiSpecs { specs: news });
    }

    /// The files for these configurations, the newest first; `None` until the driver was looked for.
    fn wanted_files(&mut self, wanted: &[Effective], facts: &Facts) -> Option<BTreeMap<String, String>> {
        let found = self.specs.found.clone()?;
        let settings = self.settings.cdi.clone();
        let names = wanted.iter().map(|flags| flags.plugin.device_id_strategy).collect();
        let budgets = [&self.next, &self.applied].into_iter().flatten().any(|a| !a.budgets.is_empty());
        let made =
            Wanted { flags: wanted.first()?, settings: &settings, facts, found: &found, names, budgets };
        if made.libraries().next().is_none() {
            let message = format!(
                "no library of driver version {} is below `{}`: containers get GPUs without a driver (is the driver root \
                 mounted there? hint: --driver-root-ctr-path)",
                facts.driver_version, made.flags.plugin.container_driver_root
            );
            self.say_once("cdi-libraries", Severity::Warning, "CdiWithoutDriver", message);
        }
        let mut specs = made.specs();
        let gpu_file = Class::Gpu.file(settings.vendor());
        let before = self.specs.on_disk.get(&gpu_file).and_then(|text| serde_json::from_str(text).ok());
        let kept = self.held_names(before.unwrap_or_default(), specs.get(&Class::Gpu), facts);
        self.specs.keeps = !kept.is_empty();
        if let Some(spec) = specs.remove(&Class::Gpu) {
            let mut devices = [spec.devices, kept].concat();
            devices.sort_by(|a, b| a.name.cmp(&b.name));
            let spec = Spec::new(spec.kind, devices, spec.container_edits);
            specs.extend(spec.map(|spec| (Class::Gpu, spec)));
        }
        self.specs.classes = specs.keys().copied().collect();
        Some(specs.iter().map(|(class, spec)| (class.file(settings.vendor()), spec.text())).collect())
    }

    /// Devices of the file on disk that nobody needs any more but their holders. Whose an index was is not known: it stays
    /// while any GPU of the file is held.
    fn held_names(&self, before: Spec, now: Option<&Spec>, facts: &Facts) -> Vec<Device> {
        let is_held = |gpu: &GpuUuid| self.ownership.is_held(gpu);
        let named = before.devices.iter().filter(|d| is_uuid(&d.name));
        let named: Vec<GpuUuid> = named.map(|d| GpuUuid::new(d.name.clone())).collect();
        let any = facts.units().any(|unit| is_held(unit.uuid()))
            || named.iter().any(is_held)
            || self.ownership.evidence().is_none();
        let needed: BTreeSet<&str> =
            now.into_iter().flat_map(|spec| &spec.devices).map(|device| device.name.as_str()).collect();
        let gone = before.devices.into_iter().filter(|device| !needed.contains(device.name.as_str()));
        gone.filter(|device| match is_uuid(&device.name) {
            true => is_held(&GpuUuid::new(device.name.clone())) || self.ownership.evidence().is_none(),
            false => any,
        })
        .collect()
    }
}
