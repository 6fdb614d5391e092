//! Which GPUs of a node are in use, told from the pods alone.

use std::collections::BTreeMap;

use super::wishes::Wishes;
use crate::world::{GpuView, NodeView, World, gpu_of};

/// GPU → resource → ids in use, of the GPUs and MIG devices that the node has now. A GPU whose MIG device has vanished under its
/// holder is held, too.
pub(super) type Held<'w> = BTreeMap<&'w str, BTreeMap<&'w str, u64>>;

/// What pods hold of a node.
pub(super) fn held<'w>(world: &'w World, name: &str, node: &'w NodeView, wishes: &Wishes) -> Held<'w> {
    let mut held = Held::new();
    let here =
        world.pods.values().filter(|pod| pod.node.as_deref() == Some(name) && World::holds_devices(pod));
    for (resource, ids) in here.flat_map(|pod| &pod.ids) {
        for id in ids {
            let uuid = gpu_of(id);
            let of = wishes.parent(uuid).unwrap_or(uuid);
            let Some(gpu) = node.gpus.iter().find(|gpu| gpu.uuid == of) else { continue };
            let of_gpu = held.entry(&gpu.uuid).or_default();
            if gpu.uuid == uuid || gpu.mig.iter().flatten().any(|mig| mig.uuid == uuid) {
                *of_gpu.entry(resource).or_default() += 1;
            }
        }
    }
    held
}

/// The GPUs of which nobody holds anything.
pub(super) fn free<'w>(node: &'w NodeView, held: &Held<'_>) -> impl Iterator<Item = &'w GpuView> {
    node.gpus.iter().filter(|gpu| !held.contains_key(gpu.uuid.as_str()))
}
