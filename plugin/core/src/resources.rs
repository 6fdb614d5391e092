//! What a GPU can be to the kubelet: a role, its device ids, and the control daemon that it needs.

use serde::{Deserialize, Serialize};

use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::mps::{ClientLimits, DaemonGpu, DesiredDaemon};
use crate::view::{MpsShare, Strategy};

/// What stands between a GPU's UUID and the number of a replica.
const REPLICA_SEPARATOR: &str = "::";

/// What one GPU is to the kubelet: which resource it serves and how it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Role {
    /// The extended resource.
    pub resource: ResourceName,
    /// How it is shared.
    pub strategy: Strategy,
    /// How many devices it is; 1 when exclusive.
    pub replicas: u32,
    /// What each of its MPS clients may use; under the other strategies nothing limits them.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// All GPUs of its MPS control daemon, in NVML's order, where one daemon serves the whole resource; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemon_gpus: Vec<DaemonGpu>,
}

/// What one MPS client may use of its GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Limits {
    /// Of its threads, in percent.
    pub active_thread_percentage: u32,
    /// Of its memory, in MiB; unlimited where the GPU's memory is not known.
    pub memory_mib: Option<u64>,
    /// What a container is told of it.
    #[serde(default, skip_serializing_if = "ClientLimits::is_empty")]
    pub client: ClientLimits,
}

impl Role {
    /// The whole GPU for one holder, as `nvidia.com/gpu`.
    pub fn exclusive() -> Self {
        Role::whole(ResourceName::gpu())
    }

    /// The whole GPU for one holder, under a name.
    pub fn whole(resource: ResourceName) -> Self {
        Role { resource, strategy: Strategy::Exclusive, replicas: 1, limits: None, daemon_gpus: Vec::new() }
    }

    /// The role that an earlier run of the plugin gave a GPU, read from the daemon that it wished for.
    pub fn of_daemon(daemon: &DesiredDaemon) -> Self {
        let limits = Limits {
            active_thread_percentage: daemon.active_thread_percentage,
            memory_mib: daemon.pinned_memory_limit_mib,
            client: daemon.client,
        };
        let (resource, replicas) = (daemon.resource.clone(), daemon.replicas);
        let daemon_gpus = daemon.gpus.clone();
        Role { resource, strategy: Strategy::Mps, replicas, limits: Some(limits), daemon_gpus }
    }

    /// Replicas that take turns, as earlier Allocates know them.
    pub(crate) fn time_sliced(resource: ResourceName, replicas: u32) -> Self {
        Role { resource, strategy: Strategy::TimeSlicing, replicas, limits: None, daemon_gpus: Vec::new() }
    }

    /// What each device of it means to an MPS client.
    pub(crate) fn mps_share(&self) -> Option<MpsShare> {
        let limits = self.limits.filter(|_| self.strategy == Strategy::Mps)?;
        Some(MpsShare { per_resource: !self.daemon_gpus.is_empty(), client: limits.client })
    }

    /// The device ids under which a GPU in this role is known: its UUID, or `UUID::0`, `UUID::1`, ….
    pub fn device_ids(&self, gpu: &GpuUuid) -> Vec<String> {
        match self.strategy {
            Strategy::Exclusive => vec![gpu.to_string()],
            Strategy::TimeSlicing | Strategy::Mps => {
                (0..self.replicas).map(|n| format!("{gpu}{REPLICA_SEPARATOR}{n}")).collect()
            }
        }
    }

    /// Whether the two differ in the number of replicas at most, and nothing but the list of ids has to change between them:
    /// time-slicing needs no daemon that knows its clients.
    pub fn is_resize_of(&self, other: &Role) -> bool {
        let sliced = |role: &Role| role.strategy == Strategy::TimeSlicing;
        sliced(self) && sliced(other) && self.resource == other.resource
    }

    /// The control daemon that this role needs.
    pub fn daemon(&self) -> Option<DesiredDaemon> {
        let limits = self.limits.filter(|_| self.strategy == Strategy::Mps)?;
        Some(DesiredDaemon {
            resource: self.resource.clone(),
            replicas: self.replicas,
            active_thread_percentage: limits.active_thread_percentage,
            // all GPUs of one daemon must wish for the same one
            pinned_memory_limit_mib: self.daemon_gpus.first().map_or(limits.memory_mib, |gpu| gpu.memory_mib),
            client: limits.client,
            gpus: self.daemon_gpus.clone(),
        })
    }
}

/// The physical GPU behind a device id: the id without its replica number.
pub fn gpu_of(device_id: &str) -> GpuUuid {
    GpuUuid::new(device_id.split_once(REPLICA_SEPARATOR).map_or(device_id, |(gpu, _)| gpu))
}

/// The number of a replica, when the id names one.
pub fn replica_of(device_id: &str) -> Option<u32> {
    device_id.split_once(REPLICA_SEPARATOR).and_then(|(_, n)| n.parse().ok())
}
