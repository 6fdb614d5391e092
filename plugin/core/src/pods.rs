//! What the API server says of the pods on this node: asked for while a decision waits for it, and not at other times, so that
//! a plugin that serves in peace costs the API server nothing.
//!
//! An answer proves what it does not list: a pod that is missing from a list which was asked for after the pod was first
//! heard of is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{Action, Severity};
use crate::bound_pod::{BoundPod, PodPhase};
use crate::plugin::Plugin;
use crate::time::Time;

/// Least time between two lists, whatever is waited for.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// It is on the node and has not ended.
    Lives(&'a BoundPod),
    /// It has ended, or the API server does not have it any more.
    Over,
    /// Nobody has said.
    Unknown,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods {
    /// The number of the newest list that was asked for; the watch that follows it goes by the same number.
    attempt: u64,
    asked: Option<Time>,
    /// A list was asked for, and it or what follows it is being told.
    watching: bool,
    /// When the newest list that was answered had been asked for.
    evidence: Option<Time>,
    unreadable: Option<String>,
    retry_at: Option<Time>,
    known: BTreeMap<String, BoundPod>,
}

impl Pods {
    /// What became of the pod that was first heard of at `since`.
    pub(crate) fn fate(&self, uid: &str, since: Time) -> Fate<'_> {
        match self.known.get(uid) {
            Some(pod) if pod.phase == PodPhase::Over => Fate::Over,
            Some(pod) => Fate::Lives(pod),
            None if self.evidence.is_some_and(|asked| asked >= since) => Fate::Over,
            None => Fate::Unknown,
        }
    }

    /// Whether a watch that began with a list of then or later is told.
    pub(crate) fn is_watching_since(&self, since: Time) -> bool {
        self.watching && self.asked.is_some_and(|asked| asked >= since)
    }

    /// When a list that is not fresh enough is asked for again.
    pub(crate) fn due(&self) -> Option<Time> {
        self.retry_at
    }

    #[cfg(test)]
    pub(crate) fn answered(asked: Time, pods: Vec<BoundPod>) -> Self {
        let mut answered = Pods::default();
        answered.want(asked, asked);
        answered.read(1, pods);
        answered
    }

    /// A list is wanted that is not older than `since`. Answers with the number of the one to ask for now.
    fn want(&mut self, now: Time, since: Time) -> Option<u64> {
        if self.is_watching_since(since) {
            self.retry_at = None;
            return None;
        }
        let again_at = self.asked.map(|asked| asked + ASK_AGAIN).filter(|at| *at > now);
        if again_at.is_some() {
            self.retry_at = again_at;
            return None;
        }
        self.retry_at = None;
        self.attempt += 1;
        self.asked = Some(now);
        self.watching = true;
        Some(self.attempt)
    }

    fn ignore(&mut self) -> bool {
        self.retry_at = None;
        // what is not watched goes stale
        self.known.clear();
        self.evidence = None;
        std::mem::take(&mut self.watching)
    }

    fn read(&mut self, attempt: u64, pods: Vec<BoundPod>) {
        if attempt == self.attempt && self.watching {
            self.evidence = self.asked;
            self.unreadable = None;
            self.known = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        }
    }

    /// The shell tries again by itself, so nothing follows but that it is known.
    fn unread(&mut self, attempt: u64, why: &str) {
        if attempt == self.attempt && self.watching {
            self.unreadable = Some(why.to_owned());
        }
    }
}

impl Plugin {
    /// The pods of this node are told from now on; a list that is not older than `since` comes first.
    pub(crate) fn watch_pods(&mut self, since: Time) {
        if self.settings.node_name.is_some()
            && let Some(attempt) = self.pods.want(self.now, since)
        {
            self.act(Action::WatchPods { attempt });
        }
    }

    /// Nobody waits for news of pods any more.
    pub(crate) fn ignore_pods(&mut self) {
        if self.pods.ignore() {
            self.act(Action::IgnorePods);
        }
    }

    pub(crate) fn pods_read(&mut self, attempt: u64, pods: Vec<BoundPod>) {
        self.said.remove("pods");
        let before = self.checkpoint.alone(self.now, &self.pods).len();
        self.pods.read(attempt, pods);
        self.checkpoint.follow(&self.pods);
        if self.checkpoint.alone(self.now, &self.pods).len() < before {
            // who ended may have been the last that a GPU waits for
            self.read_holders();
        }
    }

    pub(crate) fn pods_unreadable(&mut self, attempt: u64, why: &str) {
        self.pods.unread(attempt, why);
        let message = format!(
            "the pods of this node cannot be read: {why}; trying again (may the plugin's service account list and watch pods?)"
        );
        self.say_once("pods", Severity::Warning, "PodsUnreadable", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, phase: PodPhase) -> BoundPod {
        BoundPod {
            uid: uid.into(),
            namespace: "default".into(),
            name: uid.into(),
            phase,
            deleting: false,
            requests: BTreeMap::new(),
            owner: None,
            created_s: 0,
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn only_a_list_that_was_asked_for_afterwards_proves_that_a_pod_is_gone() {
        let mut pods = Pods::default();
        assert_eq!(pods.want(at(100), at(50)), Some(1));
        assert_eq!(pods.fate("a", at(50)), Fate::Unknown, "asked, not answered");
        pods.read(1, vec![pod("b", PodPhase::Admitted), pod("c", PodPhase::Over)]);
        assert_eq!(pods.fate("a", at(100)), Fate::Over);
        assert_eq!(pods.fate("a", at(101)), Fate::Unknown, "heard of after the list was asked for");
        assert!(matches!(pods.fate("b", at(101)), Fate::Lives(_)));
        assert_eq!(pods.fate("c", at(101)), Fate::Over);
    }

    #[test]
    fn a_fresh_list_is_asked_for_when_the_old_one_proves_nothing_and_not_too_often() {
        let mut pods = Pods::default();
        assert_eq!(pods.want(at(100), at(100)), Some(1));
        assert_eq!(pods.want(at(200), at(100)), None, "under way");
        pods.read(1, Vec::new());
        assert_eq!(pods.want(at(300), at(250)), None, "a second has not passed");
        assert_eq!(pods.due(), Some(at(1_100)));
        assert_eq!(pods.want(at(1_100), at(250)), Some(2));
        pods.read(1, vec![pod("a", PodPhase::Bound)]);
        assert_eq!(pods.fate("a", at(0)), Fate::Over, "what is told of the old watch changes nothing");
    }

    #[test]
    fn after_a_failure_the_same_watch_may_still_answer() {
        let mut pods = Pods::default();
        assert_eq!(pods.want(at(0), at(0)), Some(1));
        pods.unread(1, "refused");
        assert_eq!(pods.want(at(60_000), at(0)), None, "the shell tries again");
        pods.read(1, Vec::new());
        assert_eq!(pods.fate("a", at(0)), Fate::Over);
    }

    #[test]
    fn what_is_not_watched_is_forgotten() {
        let mut pods = Pods::default();
        pods.want(at(0), at(0));
        pods.read(1, vec![pod("a", PodPhase::Admitted)]);
        assert!(pods.ignore());
        assert!(!pods.ignore());
        assert_eq!(pods.fate("a", at(0)), Fate::Unknown);
    }
}
