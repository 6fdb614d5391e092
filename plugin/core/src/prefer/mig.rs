//! MIG devices come from as few GPUs as possible, and from the fullest of those, so that GPUs stay free as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::GpuUuid;
use crate::view::Device;

/// At most `count` of the free devices: GPUs that the container is on already, then the GPU with the most free devices until
/// one has room for the rest, and of those with room the one with the least.
pub(super) fn take(free: &[&Device], must: &[&Device], count: usize) -> Vec<String> {
    let used: BTreeSet<&GpuUuid> = must.iter().map(|device| &device.parent).collect();
    let mut by_parent: BTreeMap<&GpuUuid, Vec<&Device>> = BTreeMap::new();
    for device in free {
        by_parent.entry(&device.parent).or_default().push(device);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let missing = count - chosen.len();
        let next = by_parent.iter().min_by_key(|(parent, devices)| {
            let room = devices.len();
            let fits = room >= missing;
            let index = devices.first().map_or(u32::MAX, |device| device.gpu_index);
            (!used.contains(*parent), !fits, if fits { room } else { usize::MAX - room }, index)
        });
        let Some(parent) = next.map(|(parent, _)| *parent) else {
            break;
        };
        let mut devices = by_parent.remove(parent).unwrap_or_default();
        devices.sort_by_key(|device| device.mig.as_ref().map(|part| part.index));
        chosen.extend(devices.into_iter().take(missing).map(|device| device.id.clone()));
    }
    chosen
}
