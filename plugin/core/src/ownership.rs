//! Who holds which physical GPU, whatever resource name or device id the kubelet knows it by.
//!
//! There is no Deallocate, and Allocate is called before a pod is finally admitted. So three sources are joined: what
//! PodResources lists, what only the kubelet's checkpoint has ([`crate::checkpoint`]), and *hints* from Allocates that neither
//! has yet. What is listed of pods that have ended is left out. Nothing is forgotten at once: a holder must be absent from two
//! reads that lie apart. Wrong or missing data errs on the side of "held".

pub mod processes;
mod unlisted;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::checkpoint::Alone;
use crate::event::Holding;
use crate::inventory::GpuUuid;
use crate::resources::gpu_of;
use crate::time::Time;

/// One holder of a device id under one resource name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hold {
    gpu: GpuUuid,
    resource: String,
    /// `namespace/pod/container`; empty while only an Allocate was seen.
    who: Option<String>,
    /// The first read in which it was absent.
    absent_since: Option<Time>,
    /// How far apart two absent reads must lie.
    patience: Duration,
    /// The number of the newest read that listed it.
    listed_by: u64,
    /// When an Allocate was last answered with it.
    allocated: Option<Time>,
    /// Only the checkpoint has it, or had it when the kubelet last listed anything.
    unlisted: bool,
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    /// By device id; an id has at most one hold per resource name.
    holds: BTreeMap<String, Vec<Hold>>,
    /// How many reads were answered.
    reads: u64,
    /// When the newest read was asked for that proves what it does not list.
    evidence: Option<Time>,
    /// When the read under way was asked for.
    asked: Option<Time>,
    /// The newest read's error.
    unreadable: Option<String>,
    /// Listed pods that have ended, as `namespace/name`, and since when that is known.
    ended: BTreeMap<String, Time>,
}

impl Ownership {
    /// How far apart two reads must lie that both miss a holder which was listed before.
    const RELEASE: Duration = Duration::from_millis(200);

    /// A read of PodResources is asked for now.
    pub fn asked(&mut self, now: Time) {
        self.asked = Some(now);
    }

    /// Whether a read is under way.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// When the newest read was asked for that proves what it does not list.
    pub fn evidence(&self) -> Option<Time> {
        self.evidence
    }

    /// Why the newest read failed, if it did.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// An Allocate was answered with these devices. Tells whose holders changed.
    pub fn allocated(
        &mut self,
        now: Time,
        resource: &str,
        ids: &[String],
        hint_absence: Duration,
    ) -> BTreeSet<GpuUuid> {
        let mut touched = BTreeSet::new();
        for id in ids {
            let hold = match self.find(resource, id) {
                Some(hold) => hold,
                None => self.add(resource, id),
            };
            touched.insert(hold.gpu.clone());
            // an id that is handed out again is another pod's, and may be missing from reads for a while
            hold.who = None;
            hold.unlisted = false;
            hold.absent_since = None;
            hold.patience = hint_absence;
            hold.allocated = Some(now);
        }
        touched
    }

    /// The read under way was answered. Tells when it was asked for.
    pub fn answered(&mut self) -> Option<Time> {
        self.asked.take()
    }

    /// What PodResources answered; `proven` is when it was asked for, if what it does not list is absent. Tells whose holders
    /// changed.
    pub fn read(&mut self, now: Time, proven: Option<Time>, holdings: &[Holding]) -> BTreeSet<GpuUuid> {
        self.read_with(now, proven, holdings, &[])
    }

    /// The same, with holders that only the kubelet's checkpoint names.
    pub(crate) fn read_with(
        &mut self,
        now: Time,
        proven: Option<Time>,
        holdings: &[Holding],
        alone: &[Alone<'_>],
    ) -> BTreeSet<GpuUuid> {
        self.evidence = proven.or(self.evidence);
        self.unreadable = None;
        self.reads += 1;
        let this = self.reads;
        let mut touched = BTreeSet::new();
        for holding in holdings {
            for id in &holding.ids {
                let hold = self.listed(&holding.resource, id);
                if !hold.who.as_deref().is_some_and(|who| names(who, holding)) {
                    hold.who = Some(format!("{}/{}/{}", holding.namespace, holding.pod, holding.container));
                    touched.insert(hold.gpu.clone());
                }
            }
        }
        for entry in alone {
            for id in entry.ids {
                let hold = self.listed(entry.resource, id);
                hold.unlisted = true;
                if hold.who.as_ref() != Some(&entry.who) {
                    hold.who = Some(entry.who.clone());
                    touched.insert(hold.gpu.clone());
                }
            }
        }
        let mut stays = |hold: &mut Hold| {
            if hold.listed_by == this {
                return true;
            }
            let since = *hold.absent_since.get_or_insert(now);
            let stays = since == now || now.since(since) < hold.patience;
            if !stays {
                touched.insert(hold.gpu.clone());
            }
            stays
        };
        self.holds.retain(|_, holds| {
            holds.retain_mut(&mut stays);
            !holds.is_empty()
        });
        touched
    }

    /// The newest read has this hold.
    fn listed(&mut self, resource: &str, id: &str) -> &mut Hold {
        let this = self.reads;
        if self.find(resource, id).is_none() {
            self.add(resource, id);
        }
        let holds = self.holds.entry(id.to_owned()).or_default();
        let index = holds.iter().position(|h| h.resource == resource).unwrap_or(0);
        let hold = &mut holds[index];
        hold.listed_by = this;
        hold.absent_since = None;
        hold.patience = Self::RELEASE;
        hold.unlisted = false;
        hold
    }

    fn find(&mut self, resource: &str, id: &str) -> Option<&mut Hold> {
        self.holds.get_mut(id)?.iter_mut().find(|h| h.resource == resource)
    }

    fn add(&mut self, resource: &str, id: &str) -> &mut Hold {
        let holds = self.holds.entry(id.to_owned()).or_default();
        let index = holds.len();
        holds.push(Hold {
            gpu: gpu_of(id),
            resource: resource.to_owned(),
            who: None,
            absent_since: None,
            patience: Self::RELEASE,
            listed_by: 0,
            allocated: None,
            unlisted: false,
        });
        &mut holds[index]
    }

    /// PodResources did not answer.
    pub fn unread(&mut self, why: String) {
        self.asked = None;
        self.unreadable = Some(why);
    }

    /// A new kubelet may list nothing until it has read its sources: holders must be absent for longer.
    pub fn kubelet_restarted(&mut self, hint_absence: Duration) {
        for hold in self.holds.values_mut().flatten() {
            hold.absent_since = None;
            hold.patience = hint_absence;
        }
    }

    /// Those of them that the kubelet lists, or was just given.
    pub(crate) fn listed_ids<'a>(&'a self, gpu: &'a GpuUuid, resource: &str) -> BTreeSet<&'a str> {
        let holds = self.of(gpu).filter(|(_, hold)| hold.resource == resource && !hold.unlisted);
        holds.map(|(id, _)| id).collect()
    }

    /// Whether anybody holds the GPU.
    pub fn is_held(&self, gpu: &GpuUuid) -> bool {
        self.of(gpu).next().is_some()
    }

    /// Whether a read should follow soon: somebody was handed a device that is not listed yet, or missing from one read.
    pub fn is_unsettled(&self) -> bool {
        self.holds.values().flatten().any(|h| h.who.is_none() || h.absent_since.is_some())
    }

    /// The ids of a GPU that are held under a resource.
    pub fn held_ids<'a>(&'a self, gpu: &'a GpuUuid, resource: &str) -> BTreeSet<&'a str> {
        self.of(gpu).filter(|(_, hold)| hold.resource == resource).map(|(id, _)| id).collect()
    }

    /// Every held (resource, id) of a GPU.
    pub fn holdings<'a>(&'a self, gpu: &'a GpuUuid) -> Vec<(&'a str, &'a str)> {
        self.of(gpu).map(|(id, hold)| (hold.resource.as_str(), id)).collect()
    }

    /// Who holds a GPU, for people.
    pub fn holders(&self, gpu: &GpuUuid) -> Vec<String> {
        let name = |h: &Hold| h.who.clone().unwrap_or_else(|| "(allocation not yet listed)".to_owned());
        let names: BTreeSet<String> = self.of(gpu).map(|(_, h)| name(h)).collect();
        names.into_iter().collect()
    }

    /// The pods that hold a GPU, as `namespace/name`.
    pub(crate) fn pods<'a>(&'a self, gpu: &'a GpuUuid) -> BTreeSet<&'a str> {
        let names = self.of(gpu).filter_map(|(_, hold)| hold.who.as_deref());
        names.filter_map(|who| who.rsplit_once('/').map(|(pod, _)| pod)).collect()
    }

    /// How many devices of a resource the containers of `namespace/pod` have.
    pub(crate) fn given(&self, pod: &str, resource: &str) -> u64 {
        let is_of = |who: &str| who.strip_prefix(pod).is_some_and(|rest| rest.starts_with('/'));
        let holds = self.holds.values().flatten().filter(|hold| hold.resource == resource);
        holds.filter(|hold| hold.who.as_deref().is_some_and(is_of)).count() as u64
    }

    fn of<'a>(&'a self, gpu: &'a GpuUuid) -> impl Iterator<Item = (&'a str, &'a Hold)> {
        let from = (Bound::Included(gpu.as_str()), Bound::Unbounded);
        self.holds
            .range::<str, _>(from)
            .take_while(|(id, _)| id.starts_with(gpu.as_str()))
            .flat_map(|(id, holds)| holds.iter().map(move |hold| (id.as_str(), hold)))
            .filter(|(_, hold)| hold.gpu == *gpu)
    }
}

/// Whether `namespace/pod/container` is this holder.
fn names(who: &str, holding: &Holding) -> bool {
    let rest = who.strip_prefix(holding.namespace.as_str()).and_then(|r| r.strip_prefix('/'));
    let rest = rest.and_then(|r| r.strip_prefix(holding.pod.as_str()));
    rest.and_then(|r| r.strip_prefix('/')) == Some(holding.container.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: Duration = Duration::from_secs(5);

    fn gpu() -> GpuUuid {
        GpuUuid::new("GPU-a")
    }

    fn listed(id: &str) -> Vec<Holding> {
        vec![Holding {
            namespace: "default".into(),
            pod: "p".into(),
            container: "c".into(),
            resource: "nvidia.com/gpu.shared".into(),
            ids: vec![id.into()],
        }]
    }

    fn read(ledger: &mut Ownership, at_ms: u64, holdings: &[Holding]) {
        ledger.asked(Time::from_millis(at_ms));
        let asked = ledger.answered();
        ledger.read(Time::from_millis(at_ms), asked, holdings);
    }

    #[test]
    fn a_replica_is_attributed_to_its_physical_gpu_whatever_the_resource_is_called() {
        let mut ledger = Ownership::default();
        read(&mut ledger, 0, &listed("GPU-a::3"));
        assert!(ledger.is_held(&gpu()));
        assert_eq!(ledger.holders(&gpu()), ["default/p/c"]);
        assert!(!ledger.is_held(&GpuUuid::new("GPU-b")));
    }

    #[test]
    fn an_allocation_counts_until_two_reads_five_seconds_apart_miss_it() {
        let mut ledger = Ownership::default();
        ledger.allocated(Time::START, "nvidia.com/gpu", &["GPU-a".into()], HINT);
        for at_ms in [10, 1_000, 4_900, 5_009] {
            read(&mut ledger, at_ms, &[]);
            assert!(ledger.is_held(&gpu()), "forgotten after {at_ms} ms");
        }
        read(&mut ledger, 5_010, &[]);
        assert!(!ledger.is_held(&gpu()));
    }

    #[test]
    fn a_listed_holder_is_released_by_a_second_read_that_misses_it() {
        let mut ledger = Ownership::default();
        read(&mut ledger, 0, &listed("GPU-a::3"));
        read(&mut ledger, 1_000, &[]);
        assert!(ledger.is_held(&gpu()) && ledger.is_unsettled());
        read(&mut ledger, 1_200, &[]);
        assert!(!ledger.is_held(&gpu()));
    }

    #[test]
    fn a_kubelet_that_lists_nothing_right_after_its_start_releases_nobody() {
        let mut ledger = Ownership::default();
        read(&mut ledger, 0, &listed("GPU-a::3"));
        ledger.kubelet_restarted(HINT);
        read(&mut ledger, 1_000, &[]);
        read(&mut ledger, 3_000, &[]);
        assert!(ledger.is_held(&gpu()));
        read(&mut ledger, 3_500, &listed("GPU-a::3"));
        assert!(!ledger.is_unsettled());
    }

    #[test]
    fn an_id_handed_out_again_is_held_anew() {
        let mut ledger = Ownership::default();
        read(&mut ledger, 0, &listed("GPU-a::3"));
        read(&mut ledger, 1_000, &[]);
        ledger.allocated(Time::START, "nvidia.com/gpu.shared", &["GPU-a::3".into()], HINT);
        read(&mut ledger, 1_200, &[]);
        assert!(ledger.is_held(&gpu()));
    }
}
