//! What the Node says about its configuration and its GPUs: annotations with the one in force, the one asked for, why they
//! differ, and which GPUs wait for their holders.

use std::collections::BTreeMap;

use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::drain::DRAINING;
use crate::plugin::Plugin;
use crate::time::Time;

/// The configuration in force.
pub const APPLIED: &str = "tandem.dev/config.applied";
/// The hash of its text.
pub const APPLIED_HASH: &str = "tandem.dev/config.applied-hash";
/// The configuration that is asked for: the label's value, or how it was chosen.
pub const REQUESTED: &str = "tandem.dev/config.requested";
/// The configuration that is asked for and refused; absent when none is.
pub const FAILED: &str = "tandem.dev/config.failed";
/// Why it is refused; absent when none is.
pub const REASON: &str = "tandem.dev/config.reason";

/// Every annotation that the plugin writes; others are never touched.
pub const OWNED: [&str; 6] = [APPLIED, APPLIED_HASH, REQUESTED, FAILED, REASON, DRAINING];

/// Longest reason in bytes: an annotation is for a glance, `/state` has everything.
const REASON_BYTES_MAX: usize = 1024;

/// One patch at a time, tried again with growing pauses.
#[derive(Clone, Debug)]
pub(crate) struct AnnotationPatch {
    /// What the Node carries as far as this process knows.
    written: Option<BTreeMap<String, String>>,
    /// What was sent and not yet answered.
    sent: Option<BTreeMap<String, String>>,
    pub(crate) retry_at: Option<Time>,
    backoff: Backoff,
}

impl Default for AnnotationPatch {
    fn default() -> Self {
        AnnotationPatch { written: None, sent: None, retry_at: None, backoff: Backoff::for_api_server() }
    }
}

impl Plugin {
    /// The annotations that the Node should carry.
    pub(crate) fn wanted_annotations(&self) -> BTreeMap<String, String> {
        let mut reason = self.problems.join("; ");
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        let failed = self.requested.as_ref().filter(|_| !self.problems.is_empty());
        let hash = self.last_goods.in_force.as_ref().map(|c| c.hash.clone());
        let pairs = [
            (APPLIED, self.applied.as_ref().map(|a| a.name.clone())),
            (APPLIED_HASH, hash),
            (REQUESTED, self.requested.clone()),
            (FAILED, failed.cloned()),
            (REASON, failed.map(|_| reason)),
            (DRAINING, self.draining_annotation()),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Writes the annotations when they changed, once the Node was read and something is asked for.
    pub(crate) fn annotate(&mut self, all_changed: bool) {
        let due = self.annotation_patch.retry_at.is_some_and(|at| at <= self.now);
        if self.settings.node_name.is_none()
            || self.sources.labels.is_none()
            || self.requested.is_none()
            || !(all_changed || due)
        {
            return;
        }
        let wanted = self.wanted_annotations();
        let patch = &mut self.annotation_patch;
        if patch.written.as_ref() == Some(&wanted) {
            patch.retry_at = None;
            return;
        }
        if patch.sent.is_some() || patch.retry_at.is_some_and(|at| at > self.now) {
            return;
        }
        patch.retry_at = None;
        let annotations = OWNED.iter().map(|key| ((*key).to_owned(), wanted.get(*key).cloned())).collect();
        patch.sent = Some(wanted);
        self.act(Action::PatchAnnotations { annotations });
    }

    pub(crate) fn annotations_patched(&mut self) {
        let patch = &mut self.annotation_patch;
        patch.written = patch.sent.take();
        patch.backoff.reset();
        self.said.remove("annotations");
    }

    pub(crate) fn annotations_failed(&mut self, why: &str) {
        let patch = &mut self.annotation_patch;
        patch.sent = None;
        // what arrived before the answer was lost is not known
        patch.written = None;
        patch.retry_at = Some(self.now + patch.backoff.next_delay());
        let message = format!("the Node's annotations could not be written: {why}; trying again");
        self.say_once("annotations", Severity::Warning, "AnnotationsNotWritten", message);
    }
}
