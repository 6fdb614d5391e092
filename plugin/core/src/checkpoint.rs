//! What the kubelet's checkpoint adds to PodResources: plain init containers, which List leaves out.
//!
//! The file names pods by their UID alone, is written at allocations and lists but not at releases, and keeps entries of
//! pods that are long gone. So an entry counts only where nobody better has spoken:
//!
//! | an entry | counts as held |
//! |---|---|
//! | all of whose ids this kubelet's List has, or had | no: of app containers and sidecars List tells the truth, also of their end |
//! | of a pod that lives | yes |
//! | of a pod that has ended, or that the API server does not have | no |
//! | of a pod that nobody knows | yes, for [`UNKNOWN_MAX`] at most |
//!
//! A kubelet that starts lists nothing until the API server has told it of its pods: what its predecessor listed counts again.
//! A file that is missing or damaged proves nothing: what it said before still counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::Severity;
use crate::holding::{Checkpoint, CheckpointEntry, Holding};
use crate::inventory::GpuUuid;
use crate::plugin::Plugin;
use crate::pods::{Fate, Pods};
use crate::resources::gpu_of;
use crate::time::Time;

/// For how long an entry of a pod that nobody knows counts. Without an API server nothing ever says that a pod is gone, and
/// the kubelet keeps entries of deleted pods until its next write, which may never come: such an entry must not keep a GPU for
/// good. An init container that computes for longer is seen as a process on its GPU.
pub(crate) const UNKNOWN_MAX: Duration = Duration::from_secs(300);

/// Pod UID, container, resource.
type Key = (String, String, String);

#[derive(Clone, Debug)]
struct Known {
    ids: Vec<String>,
    since: Time,
    /// List had all its ids once: the entry tells nothing as long as this kubelet runs.
    listed: bool,
    /// The pod has ended: the entry tells nothing any more.
    over: bool,
}

impl Known {
    fn tells(&self) -> bool {
        !self.listed && !self.over
    }
}

/// The newest content of the file that could be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointTable {
    entries: BTreeMap<Key, Known>,
    /// Why the newest look at the file told nothing, if it did not.
    damaged: Option<String>,
}

impl CheckpointTable {
    /// What was found beside an answer of List.
    pub(crate) fn read(&mut self, now: Time, checkpoint: Checkpoint, holdings: &[Holding]) {
        match checkpoint {
            Checkpoint::Unread | Checkpoint::Missing => self.damaged = None,
            Checkpoint::Damaged { why } => self.damaged = Some(why),
            Checkpoint::Read { entries } => {
                self.damaged = None;
                self.replace(now, entries);
            }
        }
        if self.entries.is_empty() {
            return;
        }
        let listed: BTreeSet<(&str, &str)> = holdings
            .iter()
            .flat_map(|holding| holding.ids.iter().map(|id| (holding.resource.as_str(), id.as_str())))
            .collect();
        for ((_, _, resource), known) in &mut self.entries {
            let has = |id: &String| listed.contains(&(resource.as_str(), id.as_str()));
            known.listed |= known.ids.iter().all(has);
        }
    }

    /// What the API server has told of pods: one that has ended does not come back.
    pub(crate) fn follow(&mut self, pods: &Pods) {
        for ((uid, _, _), known) in self.entries.iter_mut().filter(|(_, known)| known.tells()) {
            known.over = pods.fate(uid, known.since) == Fate::Over;
        }
    }

    /// Another kubelet process answers from here on.
    pub(crate) fn kubelet_started(&mut self) {
        for known in self.entries.values_mut() {
            known.listed = false;
        }
    }

    fn replace(&mut self, now: Time, entries: Vec<CheckpointEntry>) {
        let mut before = std::mem::take(&mut self.entries);
        for CheckpointEntry { pod_uid, container, resource, ids } in entries {
            let key = (pod_uid, container, resource);
            let known = before.remove(&key).filter(|known| known.ids == ids);
            self.entries.insert(key, known.unwrap_or(Known { ids, since: now, listed: false, over: false }));
        }
    }

    /// Why the newest look at the file told nothing, if it did not.
    pub(crate) fn damaged(&self) -> Option<&str> {
        self.damaged.as_deref()
    }

    /// The entries that count as held although List does not have them.
    pub(crate) fn alone(&self, now: Time, pods: &Pods) -> Vec<Alone<'_>> {
        let mut alone = Vec::new();
        for ((uid, container, resource), known) in self.entries.iter().filter(|(_, known)| known.tells()) {
            let (who, is_known) = match pods.fate(uid, known.since) {
                Fate::Lives(pod) => (format!("{}/{container}", pod.full_name()), true),
                Fate::Unknown if now.since(known.since) < UNKNOWN_MAX => {
                    (format!("pod {uid}/{container}"), false)
                }
                Fate::Over | Fate::Unknown => continue,
            };
            alone.push(Alone { who, is_known, resource, ids: &known.ids, since: known.since });
        }
        alone
    }
}

/// An entry that counts as held although List does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alone<'a> {
    /// For people.
    pub(crate) who: String,
    /// The API server has named the pod.
    pub(crate) is_known: bool,
    pub(crate) resource: &'a str,
    pub(crate) ids: &'a [String],
    /// When it was first seen.
    pub(crate) since: Time,
}

impl Plugin {
    /// Says once that the file tells nothing.
    pub(crate) fn tell_checkpoint(&mut self) {
        match self.checkpoint.damaged() {
            None => drop(self.said.remove("checkpoint")),
            Some(why) => {
                let message = format!(
                    "the kubelet's checkpoint cannot be read: {why}; init containers that hold a GPU are not seen (the \
                     kubelet writes it anew with the next allocation)"
                );
                self.say_once("checkpoint", Severity::Warning, "CheckpointUnreadable", message);
            }
        }
    }

    /// Whether the kubelet's checkpoint names holders that nobody else does, and since when the newest of those that no
    /// answer about pods explains.
    pub(crate) fn holders_alone(&self) -> (bool, Option<Time>) {
        let alone = self.checkpoint.alone(self.now, &self.pods);
        let ours = alone.iter().filter(|entry| entry.ids.iter().any(|id| self.is_ours(&gpu_of(id))));
        let unexplained = ours.clone().filter(|entry| !entry.is_known).map(|entry| entry.since).max();
        (ours.count() > 0, unexplained)
    }

    fn is_ours(&self, gpu: &GpuUuid) -> bool {
        self.gpus.contains_key(gpu) || self.gone.contains_key(gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound_pod::{BoundPod, PodPhase};

    const GPU: &str = "nvidia.com/gpu";

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn file(entries: &[(&str, &str, &str)]) -> Checkpoint {
        let entry = |(uid, container, id): &(&str, &str, &str)| CheckpointEntry {
            pod_uid: (*uid).into(),
            container: (*container).into(),
            resource: GPU.into(),
            ids: vec![(*id).into()],
        };
        Checkpoint::Read { entries: entries.iter().map(entry).collect() }
    }

    fn listed(id: &str) -> Vec<Holding> {
        vec![Holding {
            namespace: "default".into(),
            pod: "p".into(),
            container: "main".into(),
            resource: GPU.into(),
            ids: vec![id.into()],
        }]
    }

    /// The API server's answer to a list that was asked for then.
    fn told(asked_ms: u64, pods: &[(&str, PodPhase)]) -> Pods {
        let pod = |(uid, phase): &(&str, PodPhase)| BoundPod {
            uid: (*uid).into(),
            namespace: "default".into(),
            name: format!("pod-{uid}"),
            phase: *phase,
            deleting: false,
            requests: BTreeMap::new(),
            owner: None,
            created_s: 0,
        };
        Pods::answered(at(asked_ms), pods.iter().map(pod).collect())
    }

    fn who(table: &CheckpointTable, now_ms: u64, pods: &Pods) -> Vec<String> {
        table.alone(at(now_ms), pods).into_iter().map(|entry| entry.who).collect()
    }

    #[test]
    fn an_init_container_that_list_leaves_out_holds_its_gpu_while_its_pod_lives() {
        let mut table = CheckpointTable::default();
        table.read(at(0), file(&[("u1", "init", "GPU-a")]), &[]);
        assert_eq!(who(&table, 1, &Pods::default()), ["pod u1/init"], "nobody has asked the API server");
        for phase in [PodPhase::Bound, PodPhase::Admitted] {
            assert_eq!(
                who(&table, 600_000, &told(0, &[("u1", phase)])),
                ["default/pod-u1/init"],
                "{phase:?}"
            );
        }
        assert!(who(&table, 1, &told(0, &[("u1", PodPhase::Over)])).is_empty());
        assert!(who(&table, 1, &told(0, &[])).is_empty(), "the API server does not have it");
    }

    #[test]
    fn an_entry_of_a_pod_that_nobody_knows_does_not_block_for_ever() {
        let mut table = CheckpointTable::default();
        table.read(at(1_000), file(&[("u1", "init", "GPU-a")]), &[]);
        let stale = told(0, &[]);
        assert_eq!(who(&table, 2_000, &stale).len(), 1, "the list was asked for before");
        let last_ms = 1_000 + u64::try_from(UNKNOWN_MAX.as_millis()).unwrap_or(u64::MAX);
        assert_eq!(who(&table, last_ms - 1, &stale).len(), 1);
        assert!(who(&table, last_ms, &stale).is_empty());
    }

    #[test]
    fn what_list_has_or_had_is_lists_to_tell() {
        let mut table = CheckpointTable::default();
        let entries = file(&[("u1", "main", "GPU-a"), ("u2", "init", "GPU-b")]);
        table.read(at(0), entries.clone(), &listed("GPU-a"));
        assert_eq!(who(&table, 0, &Pods::default()), ["pod u2/init"]);
        table.read(at(100), entries.clone(), &[]);
        assert_eq!(who(&table, 100, &Pods::default()), ["pod u2/init"], "the pod with GPU-a has ended");
        table.follow(&told(100, &[]));
        table.read(at(200), entries, &[]);
        assert!(
            who(&table, 200, &Pods::default()).is_empty(),
            "what was told once holds when nobody asks any more"
        );
    }

    #[test]
    fn a_kubelet_that_starts_and_lists_nothing_frees_nobody() {
        let mut table = CheckpointTable::default();
        let entries = file(&[("u1", "main", "GPU-a"), ("u2", "main", "GPU-b")]);
        table.read(at(0), entries.clone(), &listed("GPU-a"));
        table.follow(&told(0, &[("u1", PodPhase::Admitted), ("u2", PodPhase::Over)]));
        let lives = told(0, &[("u1", PodPhase::Admitted)]);
        assert!(who(&table, 1, &lives).is_empty());
        table.kubelet_started();
        table.read(at(100), entries.clone(), &[]);
        assert_eq!(who(&table, 100, &lives), ["default/pod-u1/main"], "and who has ended stays so");
        table.read(at(200), entries, &listed("GPU-a"));
        assert!(who(&table, 200, &lives).is_empty(), "List has it again");
    }

    #[test]
    fn a_damaged_or_missing_file_proves_nothing_and_a_good_one_forgets_what_it_does_not_have() {
        let mut table = CheckpointTable::default();
        table.read(at(0), file(&[("u1", "init", "GPU-a")]), &[]);
        table.read(at(1), Checkpoint::Damaged { why: "no JSON".into() }, &[]);
        assert_eq!((who(&table, 1, &Pods::default()).len(), table.damaged()), (1, Some("no JSON")));
        table.read(at(2), Checkpoint::Missing, &[]);
        assert_eq!((who(&table, 2, &Pods::default()).len(), table.damaged()), (1, None));
        table.read(at(3), file(&[]), &[]);
        assert!(who(&table, 3, &Pods::default()).is_empty());
    }

    #[test]
    fn devices_that_pass_to_another_container_are_a_new_entry() {
        let mut table = CheckpointTable::default();
        table.read(at(0), file(&[("u1", "init", "GPU-a")]), &listed("GPU-a"));
        table.read(at(10), file(&[("u1", "init", "GPU-b")]), &[]);
        assert_eq!(who(&table, 10, &Pods::default()), ["pod u1/init"]);
    }
}
