//! Which GPUs a count takes: as many without NVLink as there are, because whole ones make use of it, and those that leave the
//! others whole islands; the lowest indexes among equals.

use crate::inventory::{Facts, GpuUuid};
use crate::links::{LINKED_GPUS_MAX, Links, Pair};
use crate::prefer::search::{self, Field, whole_islands};
use crate::unit::Unit;

/// `count` of these GPUs and MIG devices, or all of them if there are not so many.
pub(super) fn pick<'f>(own: Vec<Unit<'f>>, count: usize, facts: &Facts) -> Vec<Unit<'f>> {
    if count >= own.len() || own.len() > LINKED_GPUS_MAX {
        return own.into_iter().take(count).collect();
    }
    let links = Links::of(facts);
    let places: Vec<Option<usize>> = own.iter().map(|unit| links.place(&unit.gpu.uuid)).collect();
    let pair = |one: Option<usize>, other: Option<usize>| {
        let known = one.zip(other).and_then(|(one, other)| links.pair(one, other)).unwrap_or_default();
        // what is shared need not be close to each other
        Pair { near: 0, ..known }
    };
    let uuids: Vec<&GpuUuid> = own.iter().map(|unit| &unit.gpu.uuid).collect();
    let island = |gpu: &GpuUuid| links.place(gpu).and_then(|place| links.island(place));
    let linked = |one: &Option<usize>| places.iter().any(|other| pair(*one, *other).joined);
    let field = Field {
        pairs: places.iter().flat_map(|one| places.iter().map(move |other| pair(*one, *other))).collect(),
        near_given: places.iter().map(|place| u64::from(!linked(place))).collect(),
        whole_island: whole_islands(&uuids, island),
    };
    let (chosen, _) = search::best(&field, count);
    chosen.into_iter().filter_map(|place| own.get(place).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;
    use crate::links::Link;

    /// Eight GPUs, four to a NUMA node; `pairs` have four NVLinks.
    fn facts(pairs: &[(u32, u32)]) -> Facts {
        let mut facts = board::node("8*a100-sxm4-40gb").unwrap();
        facts.gpus.iter_mut().for_each(|gpu| gpu.numa_node = Some(gpu.index / 4));
        let link =
            |between: &(u32, u32)| Link { between: *between, nvlinks: 4, switch_links: 0, ancestor: None };
        facts.links = pairs.iter().map(link).collect();
        facts
    }

    fn picked(facts: &Facts, free: &[u32], count: usize) -> Vec<u32> {
        let own = facts.gpus.iter().filter(|gpu| free.contains(&gpu.index)).map(Unit::whole).collect();
        pick(own, count, facts).iter().map(|unit| unit.gpu.index).collect()
    }

    const ALL: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn without_nvlink_numa_nodes_are_left_whole() {
        let facts = facts(&[]);
        assert_eq!(picked(&facts, &ALL, 2), [0, 1]);
        assert_eq!(picked(&facts, &ALL, 4), [0, 1, 2, 3]);
        assert_eq!(picked(&facts, &ALL[1..], 2), [1, 2], "of the node that is broken already");
        assert_eq!(picked(&facts, &[0, 1, 2, 3, 5, 6, 7], 2), [5, 6]);
        assert_eq!(picked(&facts, &ALL, 9), ALL);
    }

    #[test]
    fn pairs_of_gpus_on_nvlink_are_left_whole() {
        let facts = facts(&[(0, 1), (2, 3), (6, 7)]);
        assert_eq!(picked(&facts, &ALL, 1), [4], "4 and 5 have no link");
        assert_eq!(picked(&facts, &ALL, 2), [4, 5]);
        assert_eq!(picked(&facts, &ALL, 4), [4, 5, 6, 7]);
        assert_eq!(
            picked(&facts, &ALL[1..], 1),
            [1],
            "its pair is broken already, and 4 and 5 are an island"
        );
    }
}
