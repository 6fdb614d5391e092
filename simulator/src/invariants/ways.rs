//! Which GPUs a container runtime gives to a pod, by each of the ways in which it may have been told.

use std::collections::{BTreeMap, BTreeSet};

use super::VISIBLE;
use super::seen::{GpuName, PartName};
use crate::world::ContainerView;

/// Where one file is mounted per device.
const MOUNTS: &str = "/var/run/nvidia-container-devices";
/// Below it, what is no GPU.
const CHANNELS: &str = "imex/";
/// What a GPU's device node begins with.
const NODE: &str = "/dev/nvidia";
/// What the nodes of MIG devices begin with.
const CAPABILITY: &str = "/dev/nvidia-caps/nvidia-cap";

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

/// The nodes that the names lead to, not the names: a name may lie. With the node of a MIG device its GPU's is there too.
fn by_cdi(container: &ContainerView, gpus: &[GpuName<'_>]) -> Option<BTreeSet<String>> {
    if container.cdi.is_empty() {
        return None;
    }
    let path = |node: &String| Some(node.split(" -> ").nth(1)?.split(' ').next()?.to_owned());
    let paths: BTreeSet<String> = container.cdi_nodes.iter().filter_map(path).collect();
    let opens =
        |part: &&PartName| part.capability.is_some_and(|n| paths.contains(&format!("{CAPABILITY}{n}")));
    let mut given = BTreeSet::new();
    for path in &paths {
        let Some(minor) = path.strip_prefix(NODE).and_then(|minor| minor.parse::<u32>().ok()) else {
            continue;
        };
        let Some(gpu) = gpus.iter().find(|gpu| gpu.minor == minor) else {
            given.insert(path.clone());
            continue;
        };
        let parts: Vec<String> = gpu.parts.iter().filter(opens).map(|part| part.uuid.clone()).collect();
        let whole = parts.len() == gpu.parts.len() && container.cdi.iter().any(|name| is_whole(name, gpu));
        given.extend(if parts.is_empty() || whole { vec![gpu.uuid.to_owned()] } else { parts });
    }
    Some(given)
}

/// Whether a CDI name is that of a GPU and not of a part.
fn is_whole(name: &str, gpu: &GpuName<'_>) -> bool {
    let device = name.rsplit_once('=').map_or(name, |(_, device)| device);
    device == gpu.uuid || device == gpu.index.to_string()
}

/// A UUID from a name, which may be an index: of a GPU, or of a GPU and its MIG device.
fn uuid(name: &str, gpus: &[GpuName<'_>]) -> String {
    let (gpu, part) = name.split_once(':').map_or((name, None), |(gpu, part)| (gpu, Some(part)));
    let gpu = gpu.parse().ok().and_then(|index: u32| gpus.iter().find(|gpu| gpu.index == index));
    let known = match (gpu, part) {
        (Some(gpu), None) => Some(gpu.uuid.to_owned()),
        (Some(gpu), Some(part)) => {
            let index: Option<u32> = part.parse().ok();
            gpu.parts.iter().find(|part| Some(part.index) == index).map(|part| part.uuid.clone())
        }
        (None, _) => None,
    };
    known.unwrap_or_else(|| name.to_owned())
}
