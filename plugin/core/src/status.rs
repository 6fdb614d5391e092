//! What people and probes are told: built from the plugin's state into the view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cdi::answer;
use crate::config::ResourceName;
use crate::inventory::{Facts, GpuUuid};
use crate::plugin::{Driver, Plugin};
use crate::publish::{self, Source};
use crate::registration::{Registration, State};
use crate::switch::GpuState;
use crate::unit::Unit;
use crate::view::{GpuStatus, ResourceStatus, ResourceView, Status, View};

impl Plugin {
    /// Builds the view, and swaps it when something changed.
    pub(crate) fn publish(&mut self) {
        let change = std::mem::take(&mut self.change);
        if change.all || (!change.holders.is_empty() && !self.lists_ignore_holders()) {
            self.publish_all();
        } else if !change.holders.is_empty() {
            self.publish_holders(&change.holders);
        }
    }

    /// Only who holds what is new. A view that nobody else looks at now is changed in place.
    fn publish_holders(&mut self, gpus: &BTreeSet<GpuUuid>) {
        let changed: Vec<(usize, Vec<String>)> = self
            .view
            .status
            .gpus
            .iter()
            .enumerate()
            .filter(|(_, status)| gpus.contains(&status.uuid))
            .map(|(index, status)| (index, self.ownership.holders(&status.uuid)))
            .filter(|(index, holders)| self.view.status.gpus[*index].holders != *holders)
            .collect();
        if changed.is_empty() {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        view.generation += 1;
        for (index, holders) in changed {
            view.status.gpus[index].holders = holders;
        }
    }

    fn publish_all(&mut self) {
        let previous = self.view();
        let empty = Facts::default();
        let facts = self.facts().unwrap_or(&empty);
        let ill =
            facts.gpus.iter().map(|g| &g.uuid).filter(|g| self.ill(facts, g).is_some()).cloned().collect();
        let source = Source {
            now: self.now,
            ill: &ill,
            retire_after: self.settings.timing.retire_after,
            facts,
            gpus: &self.gpus,
            retiring: &self.retiring,
            gone: &self.gone,
            ownership: &self.ownership,
            withdrawal: &self.withdrawal,
            actual: self.actual.as_ref().filter(|_| !self.renewals.are_unwatched()),
            applied: self.applied.as_deref(),
            withholds_shared: self.taint_patch.shared.withholds(),
        };
        let resources = publish::resources(&source, &previous);
        let applied = self.applied.as_ref();
        let mut edits = applied.map(|a| publish::edits(&a.effective, facts)).unwrap_or_default();
        edits.cdi.vendor = self.settings.cdi.vendor().to_owned();
        edits.cdi.features.clone_from(&self.specs.classes);
        let mut status = self.status(facts, &resources);
        let served =
            facts.units().filter(|unit| self.gpus.get(unit.uuid()).is_some_and(|s| s.role().is_some()));
        status.cdi_names = answer::names(&edits, served);
        let view = View {
            generation: previous.generation,
            resources,
            edits,
            status,
            links: Arc::clone(&self.links),
        };
        if view != *previous {
            self.set_view(View { generation: previous.generation + 1, ..view });
        }
    }

    fn status(&self, facts: &Facts, resources: &BTreeMap<ResourceName, ResourceView>) -> Status {
        let not_ready_because = self.obstacles();
        let settled = self.gpus.values().all(|s| matches!(s, GpuState::Settled { .. } | GpuState::Unused));
        let switch = match (&self.applied, &self.next, settled) {
            (_, Some(_), _) => "staged",
            (None, None, _) => "waiting",
            (Some(_), None, true) => "settled",
            (Some(_), None, false) => "applying",
        };
        Status {
            ready: not_ready_because.is_empty(),
            not_ready_because,
            config_requested: self.requested.clone(),
            config_applied: self.applied.as_ref().map(|a| a.name.clone()),
            config_hash: self.last_goods.in_force.as_ref().map(|c| c.hash.clone()),
            config_stands_in: self.applied.is_some() && self.last_goods.stands_in,
            config_ignored: self.ignored(),
            switch: switch.to_owned(),
            now_ms: 0,
            config_problems: self.problems.clone(),
            driver_stuck: self.stuck_call().map(str::to_owned),
            driver_failing: self.driver_failing().map(str::to_owned),
            device_list_strategy: self.device_list_strategy(),
            cdi_names: Vec::new(),
            resources: resources
                .iter()
                .map(|(name, r)| (name.to_string(), self.resource_status(name, r)))
                .collect(),
            gpus: facts
                .units()
                .filter(|unit| self.is_shown(*unit))
                .map(|unit| self.gpu_status(facts, unit))
                .collect(),
            labels: self.wanted_labels(),
            annotations: self.wanted_annotations(),
            shared_taint: self.applied.as_ref().and_then(|applied| applied.taint.clone()),
        }
    }

    /// The settings that the configuration in force has for nothing.
    fn device_list_strategy(&self) -> Vec<String> {
        let strategies = self.applied.iter().flat_map(|a| &a.effective.plugin.device_list_strategy);
        strategies.map(ToString::to_string).collect()
    }

    fn ignored(&self) -> Vec<String> {
        let warnings = self.applied.iter().flat_map(|a| &a.warnings);
        warnings.map(|w| w.path.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn resource_status(&self, name: &ResourceName, served: &ResourceView) -> ResourceStatus {
        let registration = self.registrations.get(name);
        ResourceStatus {
            devices: served.devices.len(),
            healthy: served.devices.values().filter(|d| d.healthy).count(),
            registration: registration.map_or("down", |r| r.state().tag()).to_owned(),
            endpoint: registration.map(Registration::endpoint),
            registrations: registration.map_or(0, Registration::successes),
        }
    }

    /// A MIG device that nobody asked for is no news: its GPU is shown.
    fn is_shown(&self, unit: Unit<'_>) -> bool {
        let state = self.gpus.get(unit.uuid()).unwrap_or(&GpuState::Found);
        unit.mig.is_none() || !matches!(state, GpuState::Found | GpuState::Unused)
    }

    fn gpu_status(&self, facts: &Facts, unit: Unit<'_>) -> GpuStatus {
        let uuid = unit.uuid();
        let state = self.gpus.get(uuid).unwrap_or(&GpuState::Found);
        let target = self.applied.as_ref().and_then(|a| a.roles.get(uuid));
        let role = state.role();
        GpuStatus {
            uuid: uuid.clone(),
            index: unit.gpu.index,
            name: unit.name(),
            mig_index: unit.mig.map(|mig| mig.index),
            state: if self.is_withheld(facts, unit) { "starting" } else { state.tag() }.to_owned(),
            ill: self.ill(facts, &unit.gpu.uuid),
            resource: role.map(|r| r.resource.to_string()),
            strategy: role.map(|r| r.strategy),
            next_resource: target.filter(|t| Some(*t) != role).map(|t| t.resource.to_string()),
            holders: self.holders_of(unit),
            mps: self.actual.as_ref().and_then(|a| a.daemons.get(uuid).cloned()),
            blockers: self.blockers(uuid),
            processes: self.uninvited(unit).into_iter().cloned().collect(),
            since_ms: self.changed_at.get(uuid).map_or(0, |at| at.as_nanos() / 1_000_000),
            overdue: matches!(state, GpuState::Draining { since, .. } if self.is_overdue(*since)),
            time_slice: self.time_slices.status(uuid),
        }
    }

    /// Those of the unit, processes among them, and on a whole GPU those of its MIG devices that are gone.
    fn holders_of(&self, unit: Unit<'_>) -> Vec<String> {
        let mut holders = self.ownership.holders(unit.uuid());
        holders.extend(self.process_holders(unit));
        if unit.mig.is_none() {
            for mig in self.held_lost_parts(unit.uuid()) {
                let lost = self.ownership.holders(mig).into_iter();
                holders.extend(lost.map(|who| format!("{who} (`{mig}`, which is gone)")));
            }
        }
        holders
    }

    /// Why the plugin is not ready, most basic first.
    fn obstacles(&self) -> Vec<String> {
        let mut why = Vec::new();
        match &self.driver {
            Driver::Missing { why: reason, .. } => why.push(reason.clone()),
            Driver::Unknown if self.stuck_call().is_some() => {
                why.push("the GPU driver does not answer".to_owned());
            }
            Driver::Unknown => why.push("the GPUs have not been found yet".to_owned()),
            Driver::Present(_) => {}
        }
        if self.applied.is_none() {
            why.push(self.waiting_for.unwrap_or("no configuration is in force yet").to_owned());
        }
        if self.taint_patch.shared.withholds() {
            why.push("shared devices wait until the Node has its taint".to_owned());
        }
        if self.registrations.is_empty() && why.is_empty() {
            why.push("no resource is served yet".to_owned());
        }
        for (name, registration) in &self.registrations {
            if !matches!(registration.state(), State::Serving { .. }) {
                why.push(format!(
                    "`{name}` is not registered with the kubelet: {}",
                    registration.state().tag()
                ));
            }
        }
        why
    }
}
