//! GPUs that the driver does not report any more: pulled, cut anew, or lost with a driver that was unloaded.
//!
//! The kubelet must not lose their ids in one step, so they stay listed as unhealthy like those of a role that a GPU left,
//! and those that a pod holds stay listed until it is gone: its containers may be started again.

use std::collections::BTreeMap;

use crate::action::Severity;
use crate::inventory::{Facts, GpuFacts, GpuUuid};
use crate::mig::MigFacts;
use crate::plugin::Plugin;
use crate::publish::{Retiring, is_resized};
use crate::unit::Unit;

/// What was known of GPUs that are gone while something of them is still listed.
pub(crate) type Gone = BTreeMap<GpuUuid, Left>;

/// What was known of one GPU or MIG device.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    gpu: GpuFacts,
    mig: Option<MigFacts>,
}

impl Left {
    fn of(unit: Unit<'_>) -> Self {
        Left { gpu: unit.gpu.clone(), mig: unit.mig.cloned() }
    }

    /// What it was.
    pub(crate) fn unit(&self) -> Unit<'_> {
        Unit { gpu: &self.gpu, mig: self.mig.as_ref() }
    }
}

impl Plugin {
    /// The driver now reports these GPUs; what it reported before and does not any more is gone.
    pub(crate) fn compare_gpus(&mut self, before: Option<&Facts>, now: &Facts) {
        let is_there = |uuid: &GpuUuid| now.unit(uuid).is_some();
        self.gone.retain(|uuid, _| !is_there(uuid));
        let Some(before) = before else {
            return;
        };
        let left: Vec<Left> = before.units().filter(|unit| !is_there(unit.uuid())).map(Left::of).collect();
        for left in left {
            self.unit_gone(left);
        }
    }

    fn unit_gone(&mut self, left: Left) {
        let uuid = left.unit().uuid().clone();
        let state = self.gpus.remove(&uuid);
        let role = state.as_ref().and_then(|state| state.role()).cloned();
        if let Some(role) = role {
            let until = self.now + self.settings.timing.retire_after;
            self.retiring.retain(|r| r.gpu != uuid || r.role != role);
            self.retiring.push(Retiring { gpu: uuid.clone(), role, until, held_only: false });
        }
        let holders = self.ownership.holders(&uuid);
        let held = if holders.is_empty() {
            "nobody holds it".to_owned()
        } else {
            format!(
                "its ids stay listed as unhealthy until they are released; held by {}",
                holders.join(", ")
            )
        };
        let message = format!("{} is gone; {held}", left.unit());
        self.say_once(uuid.as_str(), Severity::Warning, "GpuGone", message);
        self.gone.insert(uuid, left);
    }

    /// Ids that have been unhealthy for long enough leave, unless their GPU is gone and somebody holds one.
    pub(crate) fn retire(&mut self) {
        let now = self.now;
        let before = self.retiring.len();
        let (gone, ownership, gpus) = (&self.gone, &self.ownership, &self.gpus);
        self.retiring.retain(|r| {
            let is_held = || !ownership.held_ids(&r.gpu, r.role.resource.as_str()).is_empty();
            r.until > now || ((gone.contains_key(&r.gpu) || is_resized(gpus, r)) && is_held())
        });
        self.change.all |= self.retiring.len() != before;
        for r in self.retiring.iter_mut().filter(|r| r.until <= now && !r.held_only) {
            r.held_only = true;
            self.change.all = true;
        }
        // one id of several may have been released
        let resized =
            |gpu: &GpuUuid| self.retiring.iter().any(|r| r.gpu == *gpu && is_resized(&self.gpus, r));
        self.change.all |= self.change.holders.iter().any(|gpu| self.gone.contains_key(gpu) || resized(gpu));
        let retiring = &self.retiring;
        self.gone.retain(|uuid, _| retiring.iter().any(|r| r.gpu == *uuid));
    }

    /// Whether somebody holds a GPU that is gone, or a replica that its GPU does not have any more: its release has to be
    /// noticed.
    pub(crate) fn is_gone_one_held(&self) -> bool {
        let surplus = |r: &Retiring| {
            is_resized(&self.gpus, r) && !self.ownership.held_ids(&r.gpu, r.role.resource.as_str()).is_empty()
        };
        self.gone.keys().any(|gpu| self.ownership.is_held(gpu))
            || self.is_lost_part_held()
            || self.retiring.iter().any(surplus)
    }
}
