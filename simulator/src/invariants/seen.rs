//! What invariants look at, wherever it comes from: a view of the world, or the parts of the model that changed.

use fake_gpu::{Gpu, MigDevice, MigInstance, mig_minors};

use super::given::Given;
use crate::world::{DeviceCounts, GpuView, MigView, NodeView, PodView};

/// The label that names a node's configuration.
const CONFIG_LABEL: &str = "nvidia.com/device-plugin.config";
/// The configuration of a node without that label.
pub(super) const CONFIG_DEFAULT: &str = "default";
/// How the names of resources begin whose devices are GPUs or MIG devices.
const GPU_RESOURCES: [&str; 2] = ["nvidia.com/gpu", "nvidia.com/mig-"];

/// A pod.
#[derive(Debug, Clone)]
pub struct PodSeen<'p> {
    /// Its name.
    pub name: &'p str,
    /// The node it is bound to.
    pub node: Option<&'p str>,
    /// Its phase, as the API writes it.
    pub phase: &'p str,
    /// `status.reason`.
    pub reason: &'p str,
    /// `status.message`.
    pub message: &'p str,
    /// What the kubelet gave it.
    pub given: Given,
    /// Its node's GPUs.
    pub gpus: &'p [GpuName<'p>],
}

impl<'n> GpuName<'n> {
    pub(super) fn of(gpu: &'n GpuView) -> GpuName<'n> {
        let part = |mig: &MigView| {
            let (gpu_instance, compute_instance) = (mig.gpu_instance, mig.compute_instance);
            PartName::new(
                mig.uuid.clone(),
                mig.index,
                gpu.minor,
                MigInstance { gpu_instance, compute_instance },
            )
        };
        let parts = gpu.mig.iter().flatten().map(part).collect();
        GpuName { uuid: &gpu.uuid, index: gpu.index, minor: gpu.minor, parts }
    }

    /// Of one of the driver's GPUs.
    pub fn of_driver(gpu: &'n Gpu) -> GpuName<'n> {
        let part = |mig: MigDevice<'_>| PartName::new(mig.uuid(), mig.index, gpu.minor, mig.instance);
        let parts = gpu.mig_devices().map(part).collect();
        GpuName { uuid: gpu.uuid.as_str(), index: gpu.index, minor: gpu.minor, parts }
    }
}

impl PartName {
    fn new(uuid: String, index: u32, gpu_minor: u32, instance: MigInstance) -> PartName {
        PartName { uuid, index, capability: mig_minors(gpu_minor, instance).map(|(_, compute)| compute) }
    }
}

/// How a MIG device of a GPU can be named.
#[derive(Debug, Clone)]
pub struct PartName {
    /// Its UUID.
    pub uuid: String,
    /// NVML index on its GPU.
    pub index: u32,
    /// The number of the node that opens its compute instance.
    pub capability: Option<u32>,
}

/// How a GPU of a node can be named.
#[derive(Debug, Clone)]
pub struct GpuName<'n> {
    /// Its UUID.
    pub uuid: &'n str,
    /// NVML index.
    pub index: u32,
    /// The `N` of its `/dev/nvidiaN`.
    pub minor: u32,
    /// Its MIG devices.
    pub parts: Vec<PartName>,
}

/// A node.
#[derive(Debug)]
pub struct NodeSeen<'n> {
    /// Its name.
    pub name: &'n str,
    /// The name of its configuration.
    pub config: &'n str,
    /// How many GPUs it has; MIG devices count beside them.
    pub gpus: usize,
    /// `status.allocatable` of its GPU resources.
    pub allocatable: Vec<(&'n str, u64)>,
    /// The kubelet's newest device lists, counted.
    pub lists: &'n DeviceCounts,
}

impl<'p> PodSeen<'p> {
    pub(super) fn of(name: &'p str, pod: &'p PodView, gpus: &'p [GpuName<'p>]) -> PodSeen<'p> {
        PodSeen {
            name,
            node: pod.node.as_deref(),
            phase: &pod.phase,
            reason: &pod.reason,
            message: &pod.message,
            given: Given {
                ids: pod.ids.clone().into(),
                replicas: pod.replicas.clone().into(),
                containers: pod.containers.clone().into(),
            },
            gpus,
        }
    }

    /// Whether it still holds its devices: bound and not ended.
    pub(super) fn holds(&self) -> bool {
        self.node.is_some() && self.phase != "Failed" && self.phase != "Succeeded"
    }
}

impl<'n> NodeSeen<'n> {
    pub(super) fn of(name: &'n str, node: &'n NodeView) -> NodeSeen<'n> {
        let amounts =
            node.allocatable.iter().filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?)));
        NodeSeen {
            name,
            config: config_of(&node.labels),
            gpus: node.gpus.len()
                + node.gpus.iter().map(|gpu| gpu.mig.iter().flatten().count()).sum::<usize>(),
            allocatable: amounts.filter(|(resource, _)| is_gpu(resource)).collect(),
            lists: &node.lists,
        }
    }
}

/// The GPUs of a node on which pods compute, and their compute modes. A process that nobody invited may come while a mode changes.
pub(super) fn modes_in_use(node: &NodeView) -> Vec<(&str, &str)> {
    let in_use = node.gpus.iter().filter(|gpu| gpu.processes > 0 && !gpu.holders.is_empty());
    in_use.map(|gpu| (gpu.uuid.as_str(), gpu.compute_mode.as_str())).collect()
}

/// The configuration that a node's labels ask for.
pub fn config_of(labels: &std::collections::BTreeMap<String, String>) -> &str {
    labels.get(CONFIG_LABEL).map_or(CONFIG_DEFAULT, String::as_str)
}

/// Whether a resource's devices are GPUs.
pub fn is_gpu(resource: &str) -> bool {
    GPU_RESOURCES.iter().any(|begin| resource.starts_with(begin))
}
