//! Preferences for arbitrary machines and requests: always valid, always the same, and never worse than NVIDIA's plugin.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plugin_core::config::{AllocationPolicy, ResourceName};
use plugin_core::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};
use plugin_core::links::{Ancestor, Link, Links};
use plugin_core::view::{Device, MigPart, ResourceView, Strategy as Sharing, View};
use proptest::prelude::*;

const ANCESTORS: [Ancestor; 6] = [
    Ancestor::System,
    Ancestor::NumaNode,
    Ancestor::HostBridge,
    Ancestor::Switches,
    Ancestor::Switch,
    Ancestor::Board,
];

/// A machine: what joins each pair, and the NUMA nodes.
#[derive(Clone, Debug)]
struct Machine {
    numa: Vec<Option<u32>>,
    links: Vec<Link>,
}

impl Machine {
    fn count(&self) -> usize {
        self.numa.len()
    }

    fn uuid(index: usize) -> GpuUuid {
        GpuUuid::new(format!("GPU-{index:02}"))
    }

    fn facts(&self) -> Facts {
        let gpu = |(index, numa): (usize, &Option<u32>)| GpuFacts {
            uuid: Machine::uuid(index),
            index: u32::try_from(index).unwrap(),
            minor: 0,
            name: "Tesla T4".into(),
            memory_bytes: 16 << 30,
            compute_capability: (7, 5),
            pci_bus_id: format!("00000000:{index:02X}:00.0"),
            numa_node: *numa,
            mig_capable: false,
            mig_enabled: false,
            mig: Vec::new(),
            compute_mode: ComputeMode::Default,
        };
        let gpus = self.numa.iter().enumerate().map(gpu).collect();
        Facts { gpus, links: self.links.clone(), ..Facts::default() }
    }

    /// Each GPU as one exclusive device.
    fn view(&self) -> View {
        let devices: Vec<Device> = (0..self.count()).map(|n| device(n, n, Sharing::Exclusive)).collect();
        View { links: Arc::new(Links::of(&self.facts())), ..view(devices, AllocationPolicy::Distributed) }
    }

    fn link(&self, a: usize, b: usize) -> &Link {
        let between = (u32::try_from(a.min(b)).unwrap(), u32::try_from(a.max(b)).unwrap());
        self.links.iter().find(|link| link.between == between).unwrap()
    }

    /// NVIDIA's points for a pair, worked out anew.
    fn points(&self, a: usize, b: usize) -> u32 {
        let link = self.link(a, b);
        let at = ANCESTORS.iter().position(|ancestor| Some(*ancestor) == link.ancestor).unwrap();
        [10, 20, 30, 40, 50, 60][at] + 100 * link.nvlinks
    }

    fn points_of(&self, set: &[usize]) -> u32 {
        let pairs = set.iter().flat_map(|a| set.iter().filter(move |b| a < b).map(move |b| (*a, *b)));
        pairs.map(|(a, b)| self.points(a, b)).sum()
    }
}

fn device(index: usize, numa: usize, strategy: Sharing) -> Device {
    let gpu = Machine::uuid(index);
    Device {
        id: gpu.to_string(),
        healthy: true,
        granted: true,
        parent: gpu.clone(),
        gpu,
        numa_node: u32::try_from(numa).ok(),
        strategy,
        gpu_index: u32::try_from(index).unwrap(),
        gpu_minor: 0,
        mig: None,
        mps: None,
    }
}

fn view(devices: Vec<Device>, policy: AllocationPolicy) -> View {
    let devices: BTreeMap<String, Device> = devices.into_iter().map(|d| (d.id.clone(), d)).collect();
    let served =
        ResourceView { devices: Arc::new(devices), one_shared_device_at_most: false, policy, budget: None };
    View { resources: [(ResourceName::gpu(), served)].into(), ..View::default() }
}

fn ask(view: &View, available: &[String], must: &[String], size: usize) -> Vec<String> {
    view.prefer(&ResourceName::gpu(), available, must, size).unwrap()
}

fn ids(indexes: &[usize]) -> Vec<String> {
    indexes.iter().map(|index| Machine::uuid(*index).to_string()).collect()
}

fn indexes(ids: &[String]) -> Vec<usize> {
    ids.iter().map(|id| id.trim_start_matches("GPU-").parse().unwrap()).collect()
}

/// Any links between any pairs; without NVSwitches, which NVIDIA's plugin does not count.
fn machine(most: usize) -> impl Strategy<Value = Machine> {
    let ancestor = prop::sample::select(ANCESTORS.to_vec());
    let pair = (prop_oneof![2 => Just(0_u32), 1 => 1..5_u32], ancestor);
    (2..=most, prop::collection::vec(pair, most * most)).prop_map(|(count, pairs)| {
        let count32 = u32::try_from(count).unwrap();
        let all = (0..count32).flat_map(|a| (a + 1..count32).map(move |b| (a, b)));
        let link = |(between, (nvlinks, ancestor))| Link {
            between,
            nvlinks,
            switch_links: 0,
            ancestor: Some(ancestor),
        };
        Machine { numa: vec![None; count], links: all.zip(pairs).map(link).collect() }
    })
}

/// The best set of the best partition, as NVIDIA's plugin v0.20 finds it: every way of dividing the available GPUs into sets of
/// `size`, the last ones padded; the highest total that has a set with all that is required, and in it the best such set.
struct Partitions<'m> {
    machine: &'m Machine,
    required: &'m [usize],
    size: usize,
    best: Option<(u32, Vec<usize>)>,
}

impl Partitions<'_> {
    fn set_of(machine: &Machine, available: &[usize], required: &[usize], size: usize) -> Vec<usize> {
        let mut search = Partitions { machine, required, size, best: None };
        let padding = (size - available.len() % size) % size;
        let mut left: Vec<Option<usize>> = available.iter().map(|gpu| Some(*gpu)).collect();
        left.extend(vec![None; padding]);
        search.divide(&left, &mut Vec::new());
        search.best.unwrap().1
    }

    fn divide(&mut self, left: &[Option<usize>], sets: &mut Vec<Vec<Option<usize>>>) {
        let Some((first, rest)) = left.split_first() else {
            self.judge(sets);
            return;
        };
        for mask in 0..1_u32 << rest.len() {
            if mask.count_ones() as usize + 1 == self.size {
                let taken = |n: &usize| mask >> n & 1 == 1;
                let set = std::iter::once(*first).chain((0..rest.len()).filter(taken).map(|n| rest[n]));
                let after: Vec<_> = (0..rest.len()).filter(|n| !taken(n)).map(|n| rest[n]).collect();
                sets.push(set.collect());
                self.divide(&after, sets);
                sets.pop();
            }
        }
    }

    fn judge(&mut self, sets: &[Vec<Option<usize>>]) {
        let full: Vec<Vec<usize>> = sets.iter().map(|set| set.iter().flatten().copied().collect()).collect();
        let total: u32 = full.iter().map(|set| self.machine.points_of(set)).sum();
        let fits =
            |set: &&Vec<usize>| set.len() == self.size && self.required.iter().all(|r| set.contains(r));
        let mut answer: Option<(u32, &Vec<usize>)> = None;
        for set in full.iter().filter(fits) {
            let points = self.machine.points_of(set);
            if answer.is_none_or(|(most, _)| points > most) {
                answer = Some((points, set));
            }
        }
        if let Some((_, set)) = answer
            && self.best.as_ref().is_none_or(|(most, _)| total > *most)
        {
            self.best = Some((total, set.clone()));
        }
    }
}

/// What an answer must be, whatever was asked.
fn valid(chosen: &[String], available: &[String], must: &[String], size: usize) -> Result<(), String> {
    let distinct: BTreeSet<&String> = chosen.iter().collect();
    let must: BTreeSet<&String> = must.iter().collect();
    let told = |what: &str| Err(format!("{what}: {chosen:?}"));
    if distinct.len() != chosen.len() {
        return told("an id twice");
    }
    if chosen.len() != size.max(must.len()) {
        return told("the wrong number");
    }
    if !must.is_subset(&distinct) {
        return told("a required id is missing");
    }
    let offered = |id: &String| available.contains(id) || must.contains(id);
    if chosen.iter().all(offered) { Ok(()) } else { told("an id that was not offered") }
}

/// Any devices: whole, replicas or MIG, ill or not, some of them unknown to the plugin.
fn devices() -> impl Strategy<Value = Vec<Device>> {
    let kind = prop_oneof![Just((Sharing::Exclusive, false)), Just((Sharing::Exclusive, true))];
    let kind = prop_oneof![3 => kind, 2 => Just((Sharing::TimeSlicing, false)), 1 => Just((Sharing::TimeSlicing, true))];
    let one = (0..6_usize, 0..4_u32, any::<bool>(), any::<bool>());
    (kind, prop::collection::vec(one, 1..40)).prop_map(|((strategy, mig), all)| {
        let make = |(gpu, part, healthy, granted): (usize, u32, bool, bool)| {
            let mut made = device(gpu, gpu / 2, strategy);
            (made.healthy, made.granted) = (healthy, healthy || granted);
            if mig {
                made.gpu = GpuUuid::new(format!("MIG-{gpu}-{part}"));
                made.id = made.gpu.to_string();
                made.mig = Some(MigPart { index: part, nodes: Vec::new() });
            }
            if strategy != Sharing::Exclusive {
                made.id = format!("{}::{part}", made.gpu);
            }
            made
        };
        all.into_iter().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_that_can_be_met_is_met(
        devices in devices(),
        packed in any::<bool>(),
        offered in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
        must in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        size in 0..50_usize,
    ) {
        let policy = if packed { AllocationPolicy::Packed } else { AllocationPolicy::Distributed };
        let known: Vec<String> = devices.iter().map(|device| device.id.clone()).collect();
        let view = view(devices, policy);
        // some ids come twice, some are not known
        let id = |(at, unknown): &(prop::sample::Index, bool)| {
            if *unknown { format!("GPU-old-{}", at.index(9)) } else { at.get(&known).clone() }
        };
        let available: Vec<String> = offered.iter().map(id).collect();
        let must: Vec<String> = match available.as_slice() {
            [] => Vec::new(),
            some => must.iter().map(|at| at.get(some).clone()).collect(),
        };
        let distinct: BTreeSet<&String> = available.iter().collect();
        let resource = ResourceName::gpu();
        match view.prefer(&resource, &available, &must, size) {
            Ok(chosen) => {
                prop_assert_eq!(valid(&chosen, &available, &must, size), Ok(()));
                // the order of what is offered does not matter
                let turned: Vec<String> = available.iter().rev().cloned().collect();
                prop_assert_eq!(view.prefer(&resource, &turned, &must, size).unwrap(), chosen.clone());
                // an ill device is never chosen while a healthy one is left
                let healthy = |id: &String| view.resources[&resource].devices.get(id).is_some_and(|d| d.healthy);
                let ill = chosen.iter().any(|id| !healthy(id) && !must.contains(id));
                let left = distinct.iter().any(|id| healthy(id) && !chosen.contains(id));
                prop_assert!(!(ill && left), "{:?}", chosen);
            }
            Err(_) => prop_assert!(distinct.len() < size),
        }
    }

    #[test]
    fn no_set_has_fewer_points_than_that_of_nvidias_plugin(
        machine in machine(7),
        mask in prop::collection::vec(prop::bool::weighted(0.85), 7),
        required in 0..3_usize,
        size in 1..6_usize,
    ) {
        let available: Vec<usize> = (0..machine.count()).filter(|n| mask[*n]).collect();
        prop_assume!(available.len() >= size && required <= size);
        let required = &available[..required];
        let theirs = Partitions::set_of(&machine, &available, required, size);
        let view = machine.view();
        let ours = indexes(&ask(&view, &ids(&available), &ids(required), size));
        prop_assert!(
            machine.points_of(&ours) >= machine.points_of(&theirs),
            "ours {:?}, theirs {:?}", ours, theirs
        );
    }

    #[test]
    fn one_gpu_is_never_taken_from_a_link_while_a_lone_one_is_free(
        machine in machine(10),
        mask in prop::collection::vec(any::<bool>(), 10),
    ) {
        let available: Vec<usize> = (0..machine.count()).filter(|n| mask[*n]).collect();
        prop_assume!(!available.is_empty());
        let lone = |a: usize| available.iter().all(|b| a == *b || machine.link(a, *b).nvlinks == 0);
        let chosen = indexes(&ask(&machine.view(), &ids(&available), &[], 1));
        prop_assert!(lone(chosen[0]) || !available.iter().any(|gpu| lone(*gpu)), "{:?}", chosen);
    }

    #[test]
    fn mig_devices_come_from_as_few_gpus_as_possible(
        free in prop::collection::vec(0..8_u32, 1..6),
        size in 1..12_usize,
    ) {
        let part = |gpu: usize, part: u32| {
            let mut made = device(gpu, 0, Sharing::Exclusive);
            made.gpu = GpuUuid::new(format!("MIG-{gpu}-{part}"));
            made.id = made.gpu.to_string();
            made.mig = Some(MigPart { index: part, nodes: Vec::new() });
            made
        };
        let devices: Vec<Device> =
            free.iter().enumerate().flat_map(|(gpu, count)| (0..*count).map(move |n| part(gpu, n))).collect();
        prop_assume!(devices.len() >= size);
        let available: Vec<String> = devices.iter().map(|device| device.id.clone()).collect();
        let parent: BTreeMap<String, GpuUuid> =
            devices.iter().map(|device| (device.id.clone(), device.parent.clone())).collect();
        let chosen = ask(&view(devices, AllocationPolicy::Distributed), &available, &[], size);
        let used: BTreeSet<&GpuUuid> = chosen.iter().map(|id| &parent[id]).collect();
        let mut room = free.clone();
        room.sort_unstable_by(|a, b| b.cmp(a));
        let fewest = (1..=room.len()).find(|n| room[..*n].iter().sum::<u32>() as usize >= size).unwrap();
        prop_assert_eq!(used.len(), fewest);
    }
}

/// `nvlinks` between the GPUs of each pair (0, 1), (2, 3), …; two pairs to a NUMA node.
fn pairs(count: u32) -> Machine {
    let link = |(a, b): (u32, u32)| Link {
        between: (a, b),
        nvlinks: if a / 2 == b / 2 { 4 } else { 0 },
        switch_links: 0,
        ancestor: Some(if a / 4 == b / 4 { Ancestor::NumaNode } else { Ancestor::System }),
    };
    let links = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).map(link).collect();
    Machine { numa: (0..count).map(|n| Some(n / 4)).collect(), links }
}

#[test]
fn single_gpus_come_from_the_pair_that_is_broken_already() {
    let view = pairs(8).view();
    let one = |free: &[usize]| indexes(&ask(&view, &ids(free), &[], 1));
    assert_eq!(one(&[0, 1, 2, 3, 4, 5, 7]), [7], "6 is taken");
    // both whole pairs: the one whose NUMA node is emptier already
    assert_eq!(one(&[0, 1, 2, 3, 4, 5]), [4]);
    let two = |free: &[usize]| indexes(&ask(&view, &ids(free), &[], 2));
    assert_eq!(two(&[0, 1, 2, 3, 6, 7]), [6, 7], "the node that is broken already");
    assert_eq!(indexes(&ask(&view, &ids(&[0, 1, 2, 3, 4, 5, 6, 7]), &ids(&[5]), 2)), [5, 4]);
    assert_eq!(indexes(&ask(&view, &ids(&[0, 1, 2, 3, 5, 6, 7]), &[], 3)), [5, 6, 7], "no pair is broken");
}

#[test]
fn behind_nvswitches_the_numa_node_that_is_broken_already_decides() {
    let mut machine = pairs(8);
    for link in &mut machine.links {
        (link.nvlinks, link.switch_links) = (0, 18);
    }
    let view = machine.view();
    assert_eq!(indexes(&ask(&view, &ids(&[0, 1, 2, 3, 4, 5, 6]), &[], 1)), [4]);
    assert_eq!(indexes(&ask(&view, &ids(&[0, 1, 2, 3, 4, 5, 6]), &[], 3)), [4, 5, 6]);
    assert_eq!(indexes(&ask(&view, &ids(&[0, 1, 2, 3, 4, 5, 6]), &[], 4)), [0, 1, 2, 3]);
}

#[test]
fn a_resource_that_is_not_served_is_left_to_allocate() {
    let view = View::default();
    assert_eq!(ask(&view, &ids(&[2, 1]), &[], 1), ids(&[1]));
}

/// Replicas of MIG devices and GPUs: `parents` GPUs with `parts` each (0: whole), shared by `replicas` (1: not shared).
fn large(parents: usize, parts: usize, replicas: usize) -> Vec<Device> {
    let mut devices = Vec::new();
    for gpu in 0..parents {
        for part in 0..parts.max(1) {
            for replica in 0..replicas {
                let shared = if replicas > 1 { Sharing::TimeSlicing } else { Sharing::Exclusive };
                let mut made = device(gpu, gpu / 8, shared);
                if parts > 0 {
                    made.gpu = GpuUuid::new(format!("MIG-{gpu:02}-{part}"));
                    made.mig = Some(MigPart { index: u32::try_from(part).unwrap(), nodes: Vec::new() });
                }
                made.id = match replicas {
                    1 => made.gpu.to_string(),
                    _ => format!("{}::{replica}", made.gpu),
                };
                devices.push(made);
            }
        }
    }
    devices
}

#[test]
fn a_request_of_any_size_among_ten_thousand_devices_is_met_in_little_time() {
    // what a node can have at most, and more: 64 GPUs; 10,000 replicas; 10,000 devices of as many GPUs
    let machines = [(64, 0, 1), (64, 7, 1), (16, 0, 625), (64, 7, 23), (10_000, 0, 1)];
    for (parents, parts, replicas) in machines {
        let devices = large(parents, parts, replicas);
        let all: Vec<String> = devices.iter().map(|device| device.id.clone()).collect();
        for policy in [AllocationPolicy::Distributed, AllocationPolicy::Packed] {
            let view = view(devices.clone(), policy);
            for size in [1, 2, 9, all.len() / 2, all.len() - 1, all.len()] {
                let must: Vec<String> = all.iter().rev().take(size / 2).cloned().collect();
                let begun = std::time::Instant::now();
                let chosen: BTreeSet<String> = ask(&view, &all, &must, size).into_iter().collect();
                let took = begun.elapsed();
                assert_eq!(chosen.len(), size, "{parents} {parts} {replicas}");
                assert!(must.iter().all(|id| chosen.contains(id)));
                // a kubelet waits for as long as it takes; this is without optimization, beside other tests
                assert!(took.as_secs() < 10, "{parents}·{parts}·{replicas}, {size}: {took:?}");
            }
        }
    }
}
