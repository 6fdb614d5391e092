//! How close GPUs are to each other: the links that the backend found, and what follows from them for choices.
//!
//! A pair that nothing is known about counts by its NUMA nodes. Two GPUs on NVLink, directly or through NVSwitches, are on
//! one island; GPUs without NVLink share an island where they share a NUMA node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inventory::{Facts, GpuUuid};

/// Most GPUs of one node whose links are looked at.
pub const LINKED_GPUS_MAX: usize = 64;
/// Points of a pair for each direct NVLink, as in NVIDIA's plugin (v0.20).
const NVLINK_POINTS: u32 = 100;
/// Points of a pair that NVSwitches join (ours; NVIDIA's plugin counts none): less than one direct NVLink, more than PCIe.
const NVSWITCH_POINTS: u32 = 80;
/// What parts a pair costs: NVLinks before NVSwitches before PCIe, whatever the sums over 64 GPUs come to.
const NVLINK_CUT_SHIFT: u32 = 40;
const NVSWITCH_CUT_SHIFT: u32 = 20;
/// More links than a pair can have; keeps sums of costs in their bits.
const LINKS_COUNTED_MAX: u32 = 64;

/// The nearest thing that two GPUs have in common on PCIe, from far to near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ancestor {
    /// Only the machine: between them lies the connection of two NUMA nodes.
    System,
    /// A NUMA node.
    NumaNode,
    /// A host bridge.
    HostBridge,
    /// Several PCIe switches, no host bridge between.
    Switches,
    /// One PCIe switch.
    Switch,
    /// The board.
    Board,
}

impl Ancestor {
    /// NVIDIA's points for the pair.
    fn points(self) -> u32 {
        match self {
            Ancestor::System => 10,
            Ancestor::NumaNode => 20,
            Ancestor::HostBridge => 30,
            Ancestor::Switches => 40,
            Ancestor::Switch => 50,
            Ancestor::Board => 60,
        }
    }
}

/// What joins two GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Their NVML indexes, the lower first.
    pub between: (u32, u32),
    /// NVLinks from one to the other; where the two ends disagree, the smaller number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nvlinks: u32,
    /// NVLinks with which both hang on NVSwitches; the smaller number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub switch_links: u32,
    /// Their nearest common ancestor on PCIe, where the driver tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<Ancestor>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How close two GPUs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Points for having both.
    pub(crate) near: u32,
    /// What it costs to have one and leave the other.
    pub(crate) cut: u64,
    /// They are joined by NVLink, directly or through NVSwitches.
    pub(crate) joined: bool,
    /// They share a NUMA node or something nearer.
    pub(crate) neighbours: bool,
}

impl Pair {
    fn new(nvlinks: u32, switch_links: u32, ancestor: Ancestor) -> Self {
        let (nvlinks, switch_links) = (nvlinks.min(LINKS_COUNTED_MAX), switch_links.min(LINKS_COUNTED_MAX));
        let by_switch = if switch_links > 0 { NVSWITCH_POINTS } else { 0 };
        let points = ancestor.points();
        Pair {
            near: nvlinks * NVLINK_POINTS + by_switch + points,
            cut: (u64::from(nvlinks) << NVLINK_CUT_SHIFT)
                + (u64::from(switch_links) << NVSWITCH_CUT_SHIFT)
                + u64::from(points),
            joined: nvlinks > 0 || switch_links > 0,
            neighbours: ancestor > Ancestor::System,
        }
    }

    /// All that is known of two GPUs without a link: their NUMA nodes.
    pub(crate) fn by_numa(one: Option<u32>, other: Option<u32>) -> Self {
        Pair::new(0, 0, ancestor_by_numa(one, other))
    }
}

fn ancestor_by_numa(one: Option<u32>, other: Option<u32>) -> Ancestor {
    if one.is_some() && one == other { Ancestor::NumaNode } else { Ancestor::System }
}

/// The links of a node, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    places: BTreeMap<GpuUuid, usize>,
    /// Row by row.
    pairs: Vec<Pair>,
    /// By place: which island, NVLink alone.
    nvlink_islands: Vec<usize>,
    /// By place: which island, NUMA nodes for GPUs without NVLink.
    islands: Vec<usize>,
}

impl Links {
    /// Of the node's first [`LINKED_GPUS_MAX`] GPUs.
    pub fn of(facts: &Facts) -> Self {
        let gpus: Vec<_> = facts.gpus.iter().take(LINKED_GPUS_MAX).collect();
        let known: BTreeMap<(u32, u32), &Link> =
            facts.links.iter().map(|link| (link.between, link)).collect();
        let pair = |a: usize, b: usize| {
            let (one, other) = (gpus.get(a)?, gpus.get(b)?);
            let between = (one.index.min(other.index), one.index.max(other.index));
            let numa = ancestor_by_numa(one.numa_node, other.numa_node);
            let link = known.get(&between);
            let ancestor = link.and_then(|link| link.ancestor).unwrap_or(numa);
            Some(Pair::new(link.map_or(0, |l| l.nvlinks), link.map_or(0, |l| l.switch_links), ancestor))
        };
        let count = gpus.len();
        let pairs: Vec<Pair> = (0..count * count)
            .map(|at| (at / count, at % count))
            .map(|(a, b)| if a == b { Pair::default() } else { pair(a, b).unwrap_or_default() })
            .collect();
        let at = |a: usize, b: usize| pairs.get(a * count + b).copied().unwrap_or_default();
        let nvlink_islands = components(count, |a, b| at(a, b).joined);
        let alone = |a: usize| (0..count).all(|b| !at(a, b).joined);
        let islands =
            components(count, |a, b| at(a, b).joined || at(a, b).neighbours && alone(a) && alone(b));
        let places = gpus.iter().enumerate().map(|(place, gpu)| (gpu.uuid.clone(), place)).collect();
        Links { places, pairs, nvlink_islands, islands }
    }

    /// Where a GPU is in the tables.
    pub(crate) fn place(&self, gpu: &GpuUuid) -> Option<usize> {
        self.places.get(gpu).copied()
    }

    /// How close the GPUs at two places are.
    pub(crate) fn pair(&self, one: usize, other: usize) -> Option<Pair> {
        self.pairs.get(one * self.places.len() + other).copied()
    }

    /// The NVLink island of the GPU at a place: its number, and how many GPUs are on it.
    pub(crate) fn nvlink_island(&self, place: usize) -> Option<(usize, usize)> {
        sized(&self.nvlink_islands, place)
    }

    /// The island of the GPU at a place, with NUMA nodes for GPUs without NVLink.
    pub(crate) fn island(&self, place: usize) -> Option<(usize, usize)> {
        sized(&self.islands, place)
    }
}

fn sized(islands: &[usize], place: usize) -> Option<(usize, usize)> {
    let island = *islands.get(place)?;
    Some((island, islands.iter().filter(|other| **other == island).count()))
}

/// The GPUs of each island, in NVML's order.
pub fn islands(facts: &Facts) -> Vec<Vec<GpuUuid>> {
    let links = Links::of(facts);
    let mut out: BTreeMap<usize, Vec<GpuUuid>> = BTreeMap::new();
    for gpu in &facts.gpus {
        if let Some((island, _)) = links.place(&gpu.uuid).and_then(|place| links.island(place)) {
            out.entry(island).or_default().push(gpu.uuid.clone());
        }
    }
    out.into_values().collect()
}

/// For each of `count` things the lowest one that it is joined to, over any number of steps.
fn components(count: usize, joined: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut component: Vec<usize> = (0..count).collect();
    for a in 0..count {
        for b in a + 1..count {
            let (Some(one), Some(other)) = (component.get(a).copied(), component.get(b).copied()) else {
                continue;
            };
            if one != other && joined(a, b) {
                let (low, high) = (one.min(other), one.max(other));
                component.iter_mut().filter(|c| **c == high).for_each(|c| *c = low);
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;

    fn facts(count: usize, numa: &[u32], links: &[(u32, u32, u32, u32)]) -> Facts {
        let mut facts = board::node(&format!("{count}*tesla-t4")).unwrap();
        for (gpu, numa) in facts.gpus.iter_mut().zip(numa) {
            gpu.numa_node = Some(*numa);
        }
        let link = |(a, b, nvlinks, switch_links): &(u32, u32, u32, u32)| Link {
            between: (*a, *b),
            nvlinks: *nvlinks,
            switch_links: *switch_links,
            ancestor: None,
        };
        facts.links = links.iter().map(link).collect();
        facts
    }

    fn numbers(facts: &Facts) -> Vec<Vec<u32>> {
        let number = |uuid: &GpuUuid| facts.gpu(uuid).unwrap().index;
        islands(facts).iter().map(|island| island.iter().map(number).collect()).collect()
    }

    #[test]
    fn islands_are_joined_by_nvlink_and_by_numa_nodes_where_there_is_none() {
        assert_eq!(numbers(&facts(3, &[], &[])), [[0], [1], [2]], "nothing is known");
        assert_eq!(numbers(&facts(4, &[0, 0, 1, 1], &[])), [[0, 1], [2, 3]]);
        // a chain is one island, and whoever has NVLink is not on a NUMA node's island
        let chain = facts(6, &[0, 0, 0, 0, 0, 1], &[(0, 1, 1, 0), (1, 2, 1, 0)]);
        assert_eq!(numbers(&chain), [vec![0, 1, 2], vec![3, 4], vec![5]]);
        let all: Vec<_> = (0..4).flat_map(|a| (a + 1..4).map(move |b| (a, b, 0, 18))).collect();
        assert_eq!(numbers(&facts(4, &[0, 0, 1, 1], &all)), [[0, 1, 2, 3]], "NVSwitch joins NUMA nodes");
    }

    #[test]
    fn a_pair_is_closer_the_more_joins_it() {
        let near = |nvlinks, switches, ancestor| Pair::new(nvlinks, switches, ancestor).near;
        let ladder = [
            near(0, 0, Ancestor::System),
            near(0, 0, Ancestor::NumaNode),
            near(0, 0, Ancestor::HostBridge),
            near(0, 0, Ancestor::Switches),
            near(0, 0, Ancestor::Switch),
            near(0, 0, Ancestor::Board),
            near(0, 18, Ancestor::System),
            near(1, 0, Ancestor::System),
            near(2, 0, Ancestor::System),
        ];
        assert!(ladder.is_sorted_by(|a, b| a < b), "{ladder:?}");
    }

    #[test]
    fn facts_of_earlier_journals_have_no_links() {
        let mut written = serde_json::to_value(facts(2, &[], &[(0, 1, 4, 0)])).unwrap();
        let read: Facts = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read.links.first().map(|link| link.nvlinks), Some(4));
        written.as_object_mut().unwrap().remove("links");
        let read: Facts = serde_json::from_value(written).unwrap();
        assert_eq!(read.links, []);
    }
}
