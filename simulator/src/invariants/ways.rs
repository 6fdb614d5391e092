//! Which GPUs a container runtime gives to a pod, by each of the ways in which it may have been told.

use std::collections::{BTreeMap, BTreeSet};

use super::VISIBLE;
use super::seen::GpuName;
use crate::world::ContainerView;

/// Where one file is mounted per device.
const MOUNTS: &str = "/var/run/nvidia-container-devices";
/// Below it, what is no GPU.
const CHANNELS: &str = "imex/";
/// What a GPU's device node begins with.
const NODE: &str = "/dev/nvidia";

/// What one way gives a container; `None` when the container was not told in this way.
type Way = fn(&ContainerView, &[GpuName<'_>]) -> Option<BTreeSet<String>>;

/// Each way that is used, with the GPUs that it gives all containers together.
pub(super) fn gpus(
    containers: &BTreeMap<String, ContainerView>,
    gpus: &[GpuName<'_>],
) -> Vec<(&'static str, BTreeSet<String>)> {
    let ways: [(&str, Way); 3] =
        [("environment", by_environment), ("mounts", by_mounts), ("CDI names", by_cdi)];
    let mut used = Vec::new();
    for (name, way) in ways {
        let given: Vec<BTreeSet<String>> =
            containers.values().filter_map(|container| way(container, gpus)).collect();
        if !given.is_empty() {
            used.push((name, given.into_iter().flatten().collect()));
        }
    }
    used
}

fn by_environment(container: &ContainerView, gpus: &[GpuName<'_>]) -> Option<BTreeSet<String>> {
    let value = container.env.get(VISIBLE).filter(|value| *value != MOUNTS)?;
    Some(value.split(',').map(|name| uuid(name, gpus)).collect())
}

fn by_mounts(container: &ContainerView, gpus: &[GpuName<'_>]) -> Option<BTreeSet<String>> {
    container.env.get(VISIBLE).filter(|value| *value == MOUNTS)?;
    let name = |mount: &String| {
        let path = mount.split(" -> ").nth(1)?.strip_prefix(MOUNTS)?.strip_prefix('/')?.to_owned();
        (!path.starts_with(CHANNELS)).then_some(path)
    };
    Some(container.mounts.iter().filter_map(name).map(|name| uuid(&name, gpus)).collect())
}

/// The nodes that the names lead to, not the names: a name may lie.
fn by_cdi(container: &ContainerView, gpus: &[GpuName<'_>]) -> Option<BTreeSet<String>> {
    if container.cdi.is_empty() {
        return None;
    }
    let gpu = |node: &String| {
        let path = node.split(" -> ").nth(1)?.split(' ').next()?.to_owned();
        let minor: u32 = path.strip_prefix(NODE)?.parse().ok()?;
        let known = gpus.iter().find(|gpu| gpu.minor == minor);
        Some(known.map_or(path, |gpu| gpu.uuid.to_owned()))
    };
    Some(container.cdi_nodes.iter().filter_map(gpu).collect())
}

/// A GPU's UUID from a name, which may be its index.
fn uuid(name: &str, gpus: &[GpuName<'_>]) -> String {
    let index: Option<u32> = name.parse().ok();
    let known = index.and_then(|index| gpus.iter().find(|gpu| gpu.index == index));
    known.map_or_else(|| name.to_owned(), |gpu| gpu.uuid.to_owned())
}
