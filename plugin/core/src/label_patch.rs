//! One patch of the Node's labels at a time, tried again with growing pauses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
    /// The Node was told since it was sent: before or after it, nobody knows.
    pub(crate) told_since: bool,
    pub(crate) retry_at: Option<Time>,
    pub(crate) backoff: Backoff,
}

impl Default for LabelPatch {
    fn default() -> Self {
        LabelPatch { sent: None, told_since: false, retry_at: None, backoff: Backoff::for_api_server() }
    }
}

/// How long the watch may take to tell what a patch has done.
const WATCH_LAGS: Duration = Duration::from_secs(1);

impl LabelPatch {
    /// The patch, if one may be sent now; it counts as sent then.
    pub(crate) fn begin(&mut self, now: Time, labels: BTreeMap<String, Option<String>>) -> Option<Action> {
        if self.sent.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        self.sent = Some(labels.clone());
        self.told_since = false;
        Some(Action::PatchLabels { labels })
    }

    /// The patch was written to a Node with these labels, as far as is known. The watch will tell the same in a moment; until then it is
    /// taken as seen, so that it is not sent twice. What was told since it was sent is no older, though: a patch that was given
    /// up long ago may have come after this one. Then the Node is compared again, when the watch has had time to tell all.
    pub(crate) fn written(&mut self, now: Time, labels: &mut BTreeMap<String, String>) {
        self.backoff.reset();
        let sent = self.sent.take().unwrap_or_default();
        let is_seen = |(key, value): (&String, &Option<String>)| labels.get(key) == value.as_ref();
        if self.told_since {
            self.retry_at = (!sent.iter().all(is_seen)).then(|| now + WATCH_LAGS);
            return;
        }
        for (key, value) in sent {
            match value {
                Some(value) => labels.insert(key, value),
                None => labels.remove(&key),
            };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(5_000);

    fn labels(value: &str) -> BTreeMap<String, String> {
        [("a".to_owned(), value.to_owned())].into()
    }

    /// A patch of `a` to 1 is written; what was told since it was sent, if anything → what is taken for true, and when it is compared
    /// again.
    #[test]
    fn what_was_told_since_a_patch_was_sent_is_believed_and_compared_again() {
        let rows = [(None, "1", None), (Some("1"), "1", None), (Some("0"), "0", Some(NOW + WATCH_LAGS))];
        for (told, taken, compared) in rows {
            let mut patch = LabelPatch::default();
            let change = [("a".to_owned(), Some("1".to_owned()))].into();
            assert!(patch.begin(NOW, change).is_some());
            patch.told_since = told.is_some();
            let mut node = labels(told.unwrap_or("0"));
            patch.written(NOW, &mut node);
            assert_eq!((node, patch.retry_at), (labels(taken), compared), "{told:?}");
        }
    }
}
