//! One patch of the Node's labels at a time, tried again with growing pauses.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Action;
use crate::backoff::Backoff;
use crate::choose::Applied;
use crate::inventory::GpuUuid;
use crate::labels;
use crate::plugin::{Driver, Plugin};
use crate::resources::Role;
use crate::switch::GpuState;
use crate::time::Time;
use crate::view::Strategy;

/// The patch under way, or the pause before the next.
#[derive(Clone, Debug)]
pub(crate) struct LabelPatch {
    /// What was sent and not yet answered.
    pub(crate) sent: Option<BTreeMap<String, Option<String>>>,
    pub(crate) retry_at: Option<Time>,
    pub(crate) backoff: Backoff,
}

impl Default for LabelPatch {
    fn default() -> Self {
        LabelPatch { sent: None, retry_at: None, backoff: Backoff::for_api_server() }
    }
}

impl LabelPatch {
    /// The patch, if one may be sent now; it counts as sent then.
    pub(crate) fn begin(&mut self, now: Time, labels: BTreeMap<String, Option<String>>) -> Option<Action> {
        if self.sent.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        self.sent = Some(labels.clone());
        Some(Action::PatchLabels { labels })
    }

    /// Nothing is left to patch.
    pub(crate) fn settled(&mut self) {
        self.retry_at = None;
    }
}

impl Plugin {
    /// The Node's labels describe the newest configuration that some GPU serves.
    pub(crate) fn follow_labelled(&mut self) {
        let Some(applied) = &self.applied else { return };
        if self.labelled.as_ref().is_some_and(|l| Arc::ptr_eq(l, applied)) {
            return;
        }
        let serves = |(uuid, role): (&GpuUuid, &Role)| {
            self.gpus.get(uuid).is_some_and(|s| matches!(s, GpuState::Settled { role: now } if now == role))
        };
        if self.labelled.is_none() || applied.roles.is_empty() || applied.roles.iter().any(serves) {
            self.labelled = Some(Arc::clone(applied));
            self.change.all = true;
        }
    }

    /// Compares the Node's labels with what they should be.
    pub(crate) fn patch_labels(&mut self, all_changed: bool) {
        let Some(now) = &self.sources.labels else { return };
        let due = self.label_patch.retry_at.is_some_and(|at| at <= self.now);
        if self.settings.node_name.is_none() || !(all_changed || due) {
            return;
        }
        let mut difference = labels::difference(now, &self.wanted_labels());
        if self.labelled.is_none() {
            // nothing is known about what this node serves, except that it needs a supervisor before it can
            difference.retain(|key, value| key == labels::MPS_CAPABLE && value.is_some());
        }
        if difference.is_empty() {
            self.label_patch.settled();
        } else if let Some(patch) = self.label_patch.begin(self.now, difference) {
            self.act(patch);
        }
    }

    pub(crate) fn wanted_labels(&self) -> BTreeMap<String, String> {
        let Driver::Present(facts) = &self.driver else {
            return BTreeMap::new();
        };
        let described = self.labelled.as_deref().or(self.next.as_deref());
        let Some(described) = described else {
            return BTreeMap::new();
        };
        let needs_mps = |a: &Applied| a.roles.values().any(|role| role.strategy == Strategy::Mps);
        // also what an earlier supervisor left behind needs one; a GPU that is away does not
        let here = |gpu: &GpuUuid| facts.gpus.iter().any(|has| has.uuid == *gpu);
        let mps_wanted = !self.desired.daemons.is_empty()
            || self.actual.as_ref().is_some_and(|a| a.daemons.keys().any(here))
            || [&self.next, &self.applied].into_iter().flatten().any(|a| needs_mps(a));
        let strategy = described.effective.mig_strategy;
        labels::of_roles(facts, &described.roles, &described.names, strategy, mps_wanted)
    }
}
