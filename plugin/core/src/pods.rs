//! What the API server says of the pods on this node: asked for while a decision waits for it, and not at other times, so that
//! a plugin that serves in peace costs the API server nothing.
//!
//! An answer proves what it does not list: a pod that is missing from a list which was asked for after the pod was first
//! heard of is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::{Action, Severity};
use crate::bound_pod::{BoundPod, PodPhase};
use crate::plugin::Plugin;
use crate::time::Time;

/// Least time between two lists, whatever is waited for.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// For how long a pod counts as leaving its devices: many take 30 s to end, and some as long as they like.
const LEAVING_MAX: Duration = Duration::from_secs(60);

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
    /// Since when pods that end or are gone are known to, by `namespace/name`.
    leaving: BTreeMap<String, Time>,
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

    /// When the newest list that was answered had been asked for.
    pub(crate) fn evidence(&self) -> Option<Time> {
        self.evidence.filter(|_| self.unreadable.is_none())
    }

    /// Why the API server does not tell, if it does not.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Whether a pod, as `namespace/name`, is about to leave its devices, or has just left them.
    pub(crate) fn is_leaving(&self, now: Time, full_name: &str) -> bool {
        self.leaving.get(full_name).is_some_and(|since| now < *since + LEAVING_MAX)
    }

    /// Every pod of the newest answer.
    pub(crate) fn all(&self) -> impl Iterator<Item = &BoundPod> {
        self.known.values()
    }

    /// What was heard of the pod with this `namespace/name`.
    pub(crate) fn named(&self, name: &str) -> Option<&BoundPod> {
        self.known.values().find(|pod| pod.full_name() == name)
    }

    /// Since when the pod with this `namespace/name` is known to end, if it has ended.
    pub(crate) fn over_since(&self, name: &str) -> Option<Time> {
        let since = self.leaving.get(name)?;
        self.named(name).filter(|pod| pod.phase == PodPhase::Over).map(|_| *since)
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
        answered.read(asked, 1, pods);
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

    /// What is watched is fresh enough.
    pub(crate) fn suffice(&mut self) {
        self.retry_at = None;
    }

    fn ignore(&mut self) -> bool {
        self.retry_at = None;
        // what is not watched goes stale
        self.known.clear();
        self.leaving.clear();
        self.evidence = None;
        std::mem::take(&mut self.watching)
    }

    fn read(&mut self, now: Time, attempt: u64, pods: Vec<BoundPod>) {
        if attempt == self.attempt && self.watching {
            self.evidence = self.asked;
            self.unreadable = None;
            let told = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
            let before = std::mem::replace(&mut self.known, told);
            let is_gone = |pod: &&BoundPod| !self.known.contains_key(&pod.uid);
            let leaves = |pod: &&BoundPod| pod.deleting || pod.phase == PodPhase::Over;
            let ending: BTreeSet<String> =
                self.known.values().filter(leaves).map(BoundPod::full_name).collect();
            self.leaving.retain(|name, since| ending.contains(name) || now < *since + LEAVING_MAX);
            let gone = before.values().filter(is_gone);
            for name in gone.map(BoundPod::full_name).chain(ending) {
                self.leaving.entry(name).or_insert(now);
            }
            // another pod of the same name has come
            for pod in self.known.values().filter(|pod| !leaves(pod)) {
                self.leaving.remove(&pod.full_name());
            }
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
        self.pods.read(self.now, attempt, pods);
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
        pods.read(at(0), 1, vec![pod("b", PodPhase::Admitted), pod("c", PodPhase::Over)]);
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
        pods.read(at(0), 1, Vec::new());
        assert_eq!(pods.want(at(300), at(250)), None, "a second has not passed");
        assert_eq!(pods.due(), Some(at(1_100)));
        assert_eq!(pods.want(at(1_100), at(250)), Some(2));
        pods.read(at(0), 1, vec![pod("a", PodPhase::Bound)]);
        assert_eq!(pods.fate("a", at(0)), Fate::Over, "what is told of the old watch changes nothing");
    }

    #[test]
    fn after_a_failure_the_same_watch_may_still_answer() {
        let mut pods = Pods::default();
        assert_eq!(pods.want(at(0), at(0)), Some(1));
        pods.unread(1, "refused");
        assert_eq!(pods.want(at(60_000), at(0)), None, "the shell tries again");
        pods.read(at(0), 1, Vec::new());
        assert_eq!(pods.fate("a", at(0)), Fate::Over);
    }

    #[test]
    fn a_pod_leaves_for_a_minute_from_its_deletion_or_disappearance() {
        let mut pods = Pods::default();
        let told = |pods: &mut Pods, s: u64, deleting: bool| {
            pods.read(at(s * 1_000), 1, vec![BoundPod { deleting, ..pod("a", PodPhase::Admitted) }]);
        };
        pods.want(at(0), at(0));
        told(&mut pods, 1, false);
        assert!(!pods.is_leaving(at(1_000), "default/a"));
        told(&mut pods, 2, true);
        assert!(pods.is_leaving(at(2_000), "default/a"));
        told(&mut pods, 70, true);
        assert!(!pods.is_leaving(at(70_000), "default/a"), "it takes its time");
        told(&mut pods, 71, false);
        pods.read(at(80_000), 1, Vec::new());
        assert!(pods.is_leaving(at(80_001), "default/a"), "gone without a word");
        told(&mut pods, 81, false);
        assert!(!pods.is_leaving(at(81_000), "default/a"), "another one of that name");
    }

    #[test]
    fn what_is_not_watched_is_forgotten() {
        let mut pods = Pods::default();
        pods.want(at(0), at(0));
        pods.read(at(0), 1, vec![pod("a", PodPhase::Admitted)]);
        assert!(pods.ignore());
        assert!(!pods.ignore());
        assert_eq!(pods.fate("a", at(0)), Fate::Unknown);
    }
}
