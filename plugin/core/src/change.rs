//! How much of the view is out of date, because building all of it for every allocation would cost more than the decision.

use std::collections::BTreeSet;

use crate::inventory::{Facts, GpuUuid};
use crate::plugin::Plugin;
use crate::publish::is_resized;
use crate::switch::GpuState;
use crate::view::Strategy;

/// What has changed since the view was built. Only what an allocation or a read of holders changes is told apart;
/// everything else counts as "all".
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Anything may have changed.
    pub(crate) all: bool,
    /// Who holds these GPUs may have changed.
    pub(crate) holders: BTreeSet<GpuUuid>,
}

impl Plugin {
    /// Whether every GPU is known and plays its role: then nothing can move.
    pub(crate) fn all_settled(&self, facts: &Facts) -> bool {
        let Some(applied) = &self.applied else {
            return false;
        };
        let settled = |(uuid, state): (&GpuUuid, &GpuState)| match state {
            GpuState::Settled { role } => {
                applied.roles.get(uuid) == Some(role) && !self.renewals.renews(uuid)
            }
            GpuState::Unused => !applied.roles.contains_key(uuid),
            GpuState::Found | GpuState::Draining { .. } | GpuState::Converting => false,
        };
        let offered = facts.units().filter(|unit| !self.is_withheld(facts, *unit));
        self.gpus.len() == offered.clone().count()
            && offered.map(|unit| unit.uuid()).all(|unit| self.gpus.contains_key(unit))
            && self.gpus.iter().all(settled)
    }

    /// Whether every listed device is healthy whoever holds it.
    pub(crate) fn lists_ignore_holders(&self) -> bool {
        if self.retiring.iter().any(|r| is_resized(&self.gpus, r)) {
            return false;
        }
        let watched = !self.renewals.are_unwatched();
        let ready = |gpu| watched && self.actual.as_ref().is_some_and(|a| a.is_ready(gpu));
        self.gpus.iter().all(|(gpu, state)| match state {
            GpuState::Settled { role } => role.strategy != Strategy::Mps || ready(gpu),
            GpuState::Unused => true,
            GpuState::Draining { .. } | GpuState::Found | GpuState::Converting => false,
        })
    }
}
