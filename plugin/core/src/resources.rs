//! What a GPU can be to the kubelet: a role, its device ids, and the control daemon that it needs.

use serde::{Deserialize, Serialize};

use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::mps::DesiredDaemon;
use crate::view::Strategy;

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
}

/// What one MPS client may use of its GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Limits {
    /// Of its threads, in percent.
    pub active_thread_percentage: u32,
    /// Of its memory, in MiB; unlimited where the GPU's memory is not known.
    pub memory_mib: Option<u64>,
}

impl Role {
    /// The whole GPU for one holder, as `nvidia.com/gpu`.
    pub fn exclusive() -> Self {
        Role::whole(ResourceName::gpu())
    }

    /// The whole GPU for one holder, under a name.
    pub fn whole(resource: ResourceName) -> Self {
        Role { resource, strategy: Strategy::Exclusive, replicas: 1, limits: None }
    }

    /// The role that an earlier run of the plugin gave a GPU, read from the daemon that it wished for.
    pub fn of_daemon(daemon: &DesiredDaemon) -> Self {
        let limits = Limits {
            active_thread_percentage: daemon.active_thread_percentage,
            memory_mib: daemon.pinned_memory_limit_mib,
        };
        let (resource, replicas) = (daemon.resource.clone(), daemon.replicas);
        Role { resource, strategy: Strategy::Mps, replicas, limits: Some(limits) }
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
            pinned_memory_limit_mib: limits.memory_mib,
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
