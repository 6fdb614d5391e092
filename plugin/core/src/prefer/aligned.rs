//! Whole GPUs are chosen close to each other, and so that what is left stays well connected.

use super::search::{self, Field, whole_islands};
use crate::inventory::GpuUuid;
use crate::links::{LINKED_GPUS_MAX, Links, Pair};
use crate::view::Device;

/// At most `count` of the free devices.
pub(super) fn take(links: &Links, free: &[&Device], must: &[&Device], count: usize) -> Vec<String> {
    let mut free = free.to_vec();
    free.sort_by_key(|device| (device.gpu_index, &device.id));
    let places = if count < free.len() && count < LINKED_GPUS_MAX {
        free.truncate(LINKED_GPUS_MAX);
        search::best(&field(links, &free, must), count).0
    } else {
        (0..free.len()).collect()
    };
    places
        .into_iter()
        .take(count)
        .filter_map(|place| free.get(place))
        .map(|device| device.id.clone())
        .collect()
}

fn field(links: &Links, free: &[&Device], must: &[&Device]) -> Field {
    let place = |device: &Device| links.place(&device.gpu);
    let pair = |one: &Device, other: &Device| {
        let known = place(one).zip(place(other)).and_then(|(one, other)| links.pair(one, other));
        known.unwrap_or_else(|| Pair::by_numa(one.numa_node, other.numa_node))
    };
    let near_given = |one: &Device| must.iter().map(|other| u64::from(pair(one, other).near)).sum::<u64>();
    let gpus: Vec<&GpuUuid> = free.iter().map(|device| &device.gpu).collect();
    Field {
        pairs: free
            .iter()
            .flat_map(|one| free.iter().map(move |other| (one, other)))
            .map(|(one, other)| if one.id == other.id { Pair::default() } else { pair(one, other) })
            .collect(),
        near_given: free.iter().map(|device| near_given(device)).collect(),
        whole_island: whole_islands(&gpus, |gpu| {
            links.place(gpu).and_then(|place| links.nvlink_island(place))
        }),
    }
}
