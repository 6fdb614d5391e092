//! Which MPS control daemons the plugin wishes for, and which GPUs must go together because one daemon serves them.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::inventory::GpuUuid;
use crate::mps::{Desired, DesiredDaemon};
use crate::plugin::{Driver, Plugin};
use crate::switch::{GpuState, MpsCondition};
use crate::unit::Unit;

impl Plugin {
    /// Whether a GPU that shares its MPS control daemon with this one may still be held: the daemon then stays for both.
    pub(crate) fn are_mates_held(&self, gpu: &GpuUuid, state: &GpuState) -> bool {
        let Some(role) = state.role() else { return false };
        let may_be_held = |mate: &GpuUuid| match self.gpus.get(mate) {
            Some(GpuState::Settled { role: its }) => its.daemon_gpus == role.daemon_gpus,
            Some(GpuState::Draining { from, since }) => {
                let proven = self.ownership.evidence().is_some_and(|evidence| evidence >= *since);
                from.daemon_gpus == role.daemon_gpus && (!proven || self.ownership.is_held(mate))
            }
            Some(GpuState::Found) => self.ownership.is_held(mate),
            None | Some(GpuState::Converting | GpuState::Unused) => false,
        };
        role.daemon_gpus.iter().map(|mate| &mate.uuid).filter(|mate| *mate != gpu).any(may_be_held)
    }

    /// Whether processes are on another GPU of its MPS control daemon that nobody holds, or may be.
    pub(crate) fn are_mates_occupied(&self, unit: Unit<'_>, state: &GpuState) -> bool {
        let (Some(role), Some(facts)) = (state.role(), self.facts()) else { return false };
        let mates = role.daemon_gpus.iter().map(|mate| &mate.uuid).filter(|mate| *mate != unit.uuid());
        let mut units = mates.filter_map(|mate| facts.unit(mate));
        units.any(|mate| match self.gpus.get(mate.uuid()) {
            Some(state @ GpuState::Draining { from, .. }) => {
                from.daemon_gpus == role.daemon_gpus && self.is_occupied(mate, state)
            }
            _ => false,
        })
    }

    pub(crate) fn mps_condition(&self, gpu: &GpuUuid) -> MpsCondition {
        let answered = self.actual.as_ref().is_some_and(|a| a.generation >= self.desired.generation);
        let listed = self.actual.as_ref().is_some_and(|a| a.daemons.contains_key(gpu));
        let ready = self.actual.as_ref().is_some_and(|a| a.is_ready(gpu));
        let wish = self.desired.daemons.get(gpu);
        // a wish with other limits is not written yet, and what was reported is of the old one
        let target = self.applied.as_ref().and_then(|applied| applied.roles.get(gpu)?.daemon());
        let is_old = target.is_some() && wish != target.as_ref();
        match (wish.is_some(), listed) {
            (true, true) if ready && answered && !is_old => MpsCondition::Ready,
            (false, false) if answered || !self.supervisor_alive => MpsCondition::Absent,
            (true | false, true | false) => MpsCondition::Busy,
        }
    }

    /// Wishes for one MPS control daemon per GPU that plays an MPS role or is free to become one.
    pub(crate) fn wish_mps(&mut self) {
        let Driver::Present(facts) = &self.driver else {
            return;
        };
        // while it is not known who holds a GPU, the daemons of an earlier run stay
        let unknown =
            |(gpu, s): (&GpuUuid, &GpuState)| *s == GpuState::Found && !self.processes.is_waiting(gpu);
        if !self.change.all || self.applied.is_none() || self.gpus.iter().any(unknown) {
            return;
        }
        let gpus = facts.gpus.iter().map(|gpu| &gpu.uuid);
        let daemons: BTreeMap<GpuUuid, DesiredDaemon> =
            gpus.filter_map(|gpu| self.wished_daemon(gpu).map(|daemon| (gpu.clone(), daemon))).collect();
        if daemons != self.desired.daemons {
            self.change.all = true;
            self.desired_retry_at = None;
            self.wish_lost = false;
            self.desired = Desired { generation: self.desired.generation + 1, daemons };
            self.act(Action::WriteMpsDesired { desired: self.desired.clone() });
            // the wish can make a GPU whose daemon already serves settle at once
            self.advance_gpus();
        }
    }

    /// A wish that could not be written would never be granted, and its GPUs would convert for good.
    pub(crate) fn wish_again(&mut self) {
        if self.desired_retry_at.is_some_and(|at| at <= self.now) {
            self.desired_retry_at = None;
            self.act(Action::WriteMpsDesired { desired: self.desired.clone() });
        }
    }

    fn wished_daemon(&self, gpu: &GpuUuid) -> Option<DesiredDaemon> {
        let role = match self.gpus.get(gpu)? {
            GpuState::Converting if self.renewals.renews(gpu) => return None,
            GpuState::Converting => {
                let target = self.applied.as_ref()?.roles.get(gpu)?;
                let comes = |mate: &GpuUuid| match self.gpus.get(mate) {
                    Some(GpuState::Converting) => true,
                    Some(GpuState::Settled { role } | GpuState::Draining { from: role, .. }) => {
                        role.daemon_gpus == target.daemon_gpus
                    }
                    None | Some(GpuState::Found | GpuState::Unused) => false,
                };
                // a running daemon cannot gain a GPU: all of its GPUs come together
                Some(target).filter(|role| role.daemon_gpus.iter().all(|mate| comes(&mate.uuid)))?
            }
            GpuState::Settled { role } | GpuState::Draining { from: role, .. } => role,
            // what it has stays until the processes on it have ended
            GpuState::Found => return self.desired.daemons.get(gpu).cloned(),
            GpuState::Unused => return None,
        };
        role.daemon()
    }
}
