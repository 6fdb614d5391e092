//! What follows from the plugin's state, step by step, in the order in which [`Plugin`] takes them after every event.

use crate::action::{Action, Severity};
use crate::config::ResourceName;
use crate::inventory::{GpuFacts, GpuUuid};
use crate::plugin::{Driver, Plugin};
use crate::publish::Retiring;
use crate::registration::{Input, Registration};
use crate::resources::{Role, replica_of};
use crate::switch::{GpuState, Situation};
use crate::unit::{Unit, units_of};
use crate::view::Strategy;

/// A GPU moves at most Found → Draining → Converting → Settled in one event.
const MOVES_MAX: usize = 4;

impl Plugin {
    /// Everything that follows from the present state.
    pub(crate) fn advance(&mut self) {
        if self.stopping {
            return self.stop();
        }
        self.retry_driver();
        if self.exited {
            return;
        }
        self.choose_config();
        self.keep_specs();
        self.stop_binds();
        self.stage();
        self.keep_gpus();
        self.keep_ids();
        self.renew_daemons();
        self.advance_gpus();
        self.keep_ids();
        self.watch_processes();
        self.wish_mps();
        self.wish_again();
        self.keep_time_slices();
        self.follow_pods();
        self.poll_holders();
        self.retire();
        self.want_shared_taint(self.change.all);
        let all_changed = self.change.all;
        self.publish();
        self.register_all(all_changed);
        self.look_at_allocatable();
        self.patch_labels(all_changed);
        self.annotate(all_changed);
        self.want_shared_taint(all_changed);
        // what was withdrawn is in the view by now
        self.stop_binds();
        self.patch_taints(all_changed || self.change.all);
        self.publish();
    }

    fn stop(&mut self) {
        let served: Vec<ResourceName> = self.registrations.keys().cloned().collect();
        for resource in served {
            self.act(Action::Close { resource });
        }
        self.exit(0, "asked to stop".to_owned());
    }

    /// Lets every GPU and MIG device walk towards its role; those without one first, because others may wait for them.
    pub(crate) fn advance_gpus(&mut self) {
        let Driver::Present(facts) = &self.driver else {
            return;
        };
        if self.all_settled(facts) && !self.change.holders.iter().any(|gpu| self.is_held_by_stranger(gpu)) {
            return self.follow_labelled();
        }
        self.change.all = true;
        let present: Vec<GpuFacts> = facts.gpus.clone();
        let mut units: Vec<Unit<'_>> = present.iter().flat_map(units_of).collect();
        units.retain(|unit| !self.is_withheld(facts, *unit));
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            units.iter().partition(|unit| self.role_of(**unit).is_some());
        for unit in unwanted.into_iter().chain(wanted).copied() {
            let before = self.gpus.get(unit.uuid()).cloned();
            let mut state = before.clone().unwrap_or(GpuState::Found);
            for _ in 0..MOVES_MAX {
                let next = state.clone().next(&self.situation(unit, &state));
                if next == state {
                    break;
                }
                self.left(unit, &state, &next);
                state = next;
            }
            self.tell_drain(unit, &state);
            if before.as_ref() != Some(&state) {
                self.gpus.insert(unit.uuid().clone(), state);
                self.note_change(unit.uuid());
            }
        }
        self.follow_labelled();
    }

    /// The role that the configuration in force has for it.
    fn role_of(&self, unit: Unit<'_>) -> Option<&Role> {
        self.applied.as_ref().and_then(|applied| applied.roles.get(unit.uuid()))
    }

    fn situation(&self, unit: Unit<'_>, state: &GpuState) -> Situation {
        let target = self.role_of(unit).cloned();
        let is_free = |other: Unit<'_>| self.gpus.get(other.uuid()) == Some(&GpuState::Unused);
        Situation {
            now: self.now,
            unwanted: self.applied.is_some() && target.is_none(),
            blocked: units_of(unit.gpu).any(|other| unit.is_related(other) && !is_free(other))
                || (unit.mig.is_none() && self.held_lost_parts(unit.uuid()).next().is_some()),
            target,
            held_as: self.held_as(unit.uuid()),
            stranger: self.is_held_by_stranger(unit.uuid()),
            evidence: self.evidence_for(unit.uuid()),
            lingers: self.withdrawal.lingers(unit.uuid()),
            unreadable: self.kubelet_start.never_tells(self.now),
            mates_held: self.are_mates_held(unit.uuid(), state) || self.are_mates_occupied(unit, state),
            occupied: self.is_occupied(unit, state),
            mps: self.mps_condition(unit.uuid()),
            renew: self.renewals.renews(unit.uuid()),
        }
    }

    /// Whether a holder knows the GPU under a name that the wanted role does not have; what has no role has no name.
    fn is_held_by_stranger(&self, gpu: &GpuUuid) -> bool {
        let Some(target) = self.applied.as_ref().and_then(|applied| applied.roles.get(gpu)) else {
            return self.gpus.contains_key(gpu) && self.ownership.is_held(gpu);
        };
        let is_shared = target.strategy != Strategy::Exclusive;
        let holdings = self.ownership.holdings(gpu);
        let first = holdings.first();
        first.is_some_and(|(resource, id)| {
            *resource != target.resource.as_str() || replica_of(id).is_some() != is_shared
        })
    }

    /// The role that the present holders know. Ids that the wanted role also has count as that role.
    fn held_as(&self, gpu: &GpuUuid) -> Option<Role> {
        let holdings = self.ownership.holdings(gpu);
        let (resource, id) = *holdings.first()?;
        // what an earlier process wished stays wished until it is known who holds the GPU
        let daemon = self.desired.daemons.get(gpu).filter(|daemon| daemon.resource.as_str() == resource);
        if let Some(target) = self.applied.as_ref().and_then(|a| a.roles.get(gpu)) {
            let ids = target.device_ids(gpu);
            let same = |(r, i): &(&str, &str)| *r == target.resource.as_str() && ids.iter().any(|id| id == i);
            // a machine that boots has lost its wishes, and not its configuration
            let lost = daemon.is_none() && self.wish_lost && self.last_goods.is_unchanged();
            let same_daemon = lost || target.daemon().as_ref() == daemon;
            if holdings.iter().all(same) && same_daemon {
                return Some(target.clone());
            }
        }
        let resource = ResourceName::try_from(resource.to_owned()).unwrap_or_else(|_| ResourceName::gpu());
        let highest = holdings.iter().filter_map(|(_, id)| replica_of(id)).max();
        Some(match (replica_of(id), daemon) {
            (None, _) => Role::whole(resource),
            (Some(_), Some(daemon)) => Role::of_daemon(daemon),
            (Some(_), None) => Role::time_sliced(resource, highest.unwrap_or(0).saturating_add(1)),
        })
    }

    /// A GPU changed its state: ids of a role that it left stay listed for a while, and people are told.
    fn left(&mut self, unit: Unit<'_>, from: &GpuState, to: &GpuState) {
        let uuid = unit.uuid();
        if let Some(role) = from.role()
            && to.role() != Some(role)
        {
            let until = self.now + self.settings.timing.retire_after;
            self.retiring.retain(|r| r.gpu != *uuid || r.role != *role);
            self.retiring.push(Retiring { gpu: uuid.clone(), role: role.clone(), until, held_only: false });
        }
        if let GpuState::Settled { role } = to {
            self.retiring.retain(|r| r.gpu != *uuid || r.role != *role);
        }
        if let (GpuState::Settled { role }, false) = (to, matches!(from, GpuState::Found)) {
            let message = format!("{unit} serves `{}` ×{}", role.resource, role.replicas);
            self.say_once(uuid.as_str(), Severity::Info, "GpuSwitched", message);
        }
    }

    /// A kubelet starts that will tell who holds what, and none has told so far: what was served without knowing waits.
    pub(crate) fn doubt_gpus(&mut self) {
        let Driver::Present(facts) = &self.driver else {
            return;
        };
        if self.ownership.evidence().is_some() {
            return;
        }
        let units = facts.clone();
        for unit in units.gpus.iter().flat_map(units_of) {
            let Some(state @ GpuState::Settled { .. }) = self.gpus.get(unit.uuid()).cloned() else {
                continue;
            };
            if !self.ownership.is_held(unit.uuid()) {
                self.left(unit, &state, &GpuState::Found);
                self.gpus.insert(unit.uuid().clone(), GpuState::Found);
            }
        }
    }

    /// Registers what has devices, closes what has none.
    pub(crate) fn register_all(&mut self, all_changed: bool) {
        let due = |r: &Registration| r.retry_at().is_some_and(|at| at <= self.now);
        if !(all_changed || self.registrations.values().any(due)) {
            return;
        }
        let served: Vec<ResourceName> = self.view().resources.keys().cloned().collect();
        for resource in &served {
            if !self.registrations.contains_key(resource) {
                self.registrations.insert(resource.clone(), Registration::new(resource.clone()));
                self.change.all = true;
            }
            self.registration(resource, Input::Wanted);
            self.registration(resource, Input::Timeout);
        }
        let gone: Vec<ResourceName> =
            self.registrations.keys().filter(|name| !served.contains(name)).cloned().collect();
        for resource in gone {
            self.registration(&resource, Input::Unwanted);
            self.registrations.remove(&resource);
            self.change.all = true;
        }
    }
}
