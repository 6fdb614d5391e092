//! The immutable snapshot that gRPC handlers answer from: built by the plugin after each event, swapped, never locked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::allocate::{AllocateError, Allocation, ContainerEdits};
use crate::budget::Budget;
use crate::config::{AllocationPolicy, ResourceName};
use crate::inventory::GpuUuid;
use crate::links::Links;
use crate::mps::ClientLimits;
use crate::ownership::processes::ComputeProcess;
use crate::prefer::{self, PreferError};
use crate::taints::Taint;
use crate::time_slice::TimeSliceStatus;

/// How the GPUs of a resource are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// One holder per GPU.
    Exclusive,
    /// Replicas that take turns.
    TimeSlicing,
    /// Replicas that are clients of the GPU's MPS control daemon.
    Mps,
}

/// One device as the kubelet counts it: a GPU or a replica of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `GPU-…` or `GPU-…::3`; of a MIG device `MIG-…` or `MIG-…::3`.
    pub id: String,
    /// Whether it may be handed out; a held device stays healthy unless its GPU is really ill.
    pub healthy: bool,
    /// Whether an Allocate for it is answered: also for an unhealthy id while its GPU still plays this role, because a refusal
    /// would end a pod for good.
    pub granted: bool,
    /// What is handed out and shared as one thing: a GPU, or a MIG device of one.
    pub gpu: GpuUuid,
    /// The physical GPU that it is, or is a part of.
    pub parent: GpuUuid,
    /// The GPU's NUMA node.
    pub numa_node: Option<u32>,
    /// How its GPU is shared.
    pub strategy: Strategy,
    /// Position of the GPU in NVML's enumeration.
    pub gpu_index: u32,
    /// The `N` of the GPU's `/dev/nvidiaN`.
    pub gpu_minor: u32,
    /// What it is on its GPU, when it is a MIG device.
    pub mig: Option<MigPart>,
    /// What it means to an MPS client, when it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mps: Option<MpsShare>,
}

/// What a replica means to an MPS client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MpsShare {
    /// One control daemon serves all GPUs of the resource.
    pub per_resource: bool,
    /// What its container is told.
    #[serde(default)]
    pub client: ClientLimits,
}

/// Which part of its GPU a MIG device is, and by which nodes it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigPart {
    /// Its position on its GPU: the `M` of the index `N:M`.
    pub index: u32,
    /// The `/dev/nvidia-caps` nodes of its GPU instance and its compute instance.
    pub nodes: Vec<String>,
}

/// What is served for one extended resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Its devices, by id. Shared with the streams: a changed list is a new `Arc`.
    pub devices: Arc<BTreeMap<String, Device>>,
    /// Refuse requests for more than one shared device.
    pub one_shared_device_at_most: bool,
    /// How replicas are spread over GPUs.
    pub policy: AllocationPolicy,
    /// The memory of each replica, when the driver holds containers to it.
    pub budget: Option<Budget>,
}

/// The state of one GPU or MIG device, for people: `/state` and `status` print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuStatus {
    /// The GPU or MIG device.
    pub uuid: GpuUuid,
    /// NVML's index.
    pub index: u32,
    /// The product name; a MIG device's ends with its profile.
    pub name: String,
    /// A MIG device's position on its GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_index: Option<u32>,
    /// `found`, `starting`, `settled`, `draining`, `converting` or `unused`.
    pub state: String,
    /// Why nothing on it can be used now, if it cannot.
    #[serde(default)]
    pub ill: Option<String>,
    /// The extended resource that it serves now, if any.
    pub resource: Option<String>,
    /// The sharing strategy that it has now, if any.
    pub strategy: Option<Strategy>,
    /// The extended resource that it will serve, when it is changing.
    pub next_resource: Option<String>,
    /// Who holds it: `namespace/pod/container`, `(allocation not yet seen)`, or `process 4711 (python3)`.
    pub holders: Vec<String>,
    /// Its MPS control daemon, when it has one.
    pub mps: Option<crate::mps::DaemonStatus>,
    /// The pods that it waits for, while it drains.
    #[serde(default)]
    pub blockers: Vec<Blocker>,
    /// The processes that it waits for: no pod holds it, and its role changes when they have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ComputeProcess>,
    /// When it came into its state, in milliseconds on the clock of this process (see [`Status::now_ms`]).
    #[serde(default)]
    pub since_ms: u64,
    /// It drains for longer than the configuration allows.
    #[serde(default)]
    pub overdue: bool,
    /// Its time-slice interval, where that is the plugin's matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_slice: Option<TimeSliceStatus>,
}

/// A pod that a draining GPU waits for, with what the API server has said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// `namespace/name`.
    pub pod: String,
    /// Who made it, as `Kind/name`.
    pub owner: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created_s: Option<u64>,
}

/// One resource, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Devices in the list.
    pub devices: usize,
    /// Healthy ones.
    pub healthy: usize,
    /// `down`, `listening`, `registering`, `serving` or `waiting`.
    pub registration: String,
    /// The socket's file name.
    pub endpoint: Option<String>,
    /// Successful registrations since start.
    pub registrations: u64,
}

/// What the plugin is doing, for people and probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Serving everything that the configuration asks for.
    pub ready: bool,
    /// Why it is not ready.
    pub not_ready_because: Vec<String>,
    /// The configuration that was asked for: the label's value, or how it was chosen.
    pub config_requested: Option<String>,
    /// The configuration that is in force.
    pub config_applied: Option<String>,
    /// The hash of its text.
    #[serde(default)]
    pub config_hash: Option<String>,
    /// It is the last good one of an earlier run: what is asked for is not known or is refused.
    #[serde(default)]
    pub config_stands_in: bool,
    /// Settings of it that are ignored.
    #[serde(default)]
    pub config_ignored: Vec<String>,
    /// `waiting`, `settled`, `staged` or `applying`.
    pub switch: String,
    /// The time of this answer, in milliseconds since the process began; the core itself leaves it open.
    #[serde(default)]
    pub now_ms: u64,
    /// Every problem of the configuration that was asked for.
    pub config_problems: Vec<String>,
    /// The call to the driver that does not return.
    #[serde(default)]
    pub driver_stuck: Option<String>,
    /// Why NVML cannot be used, although GPUs are known.
    #[serde(default)]
    pub driver_failing: Option<String>,
    /// How containers are told their devices: `envvar`, `cdi-cri`, ….
    #[serde(default)]
    pub device_list_strategy: Vec<String>,
    /// Every CDI name that a container may be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cdi_names: Vec<String>,
    /// By extended resource.
    pub resources: BTreeMap<String, ResourceStatus>,
    /// In NVML's order.
    pub gpus: Vec<GpuStatus>,
    /// Labels that the Node should carry.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the Node should carry.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The taint that the configuration in force asks for while all GPUs are shared.
    #[serde(default)]
    pub shared_taint: Option<Taint>,
}

/// The snapshot.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct View {
    /// Grows with every published change.
    pub generation: u64,
    /// What is served, by extended resource.
    pub resources: BTreeMap<ResourceName, ResourceView>,
    /// How containers are told about their devices.
    pub edits: ContainerEdits,
    /// For people and probes.
    pub status: Status,
    /// How close the node's GPUs are to each other.
    pub links: Arc<Links>,
}

impl View {
    /// The device list of a resource; `None` when it is not served.
    pub fn devices(&self, resource: &ResourceName) -> Option<Arc<BTreeMap<String, Device>>> {
        self.resources.get(resource).map(|r| Arc::clone(&r.devices))
    }

    /// What one container gets for these device ids.
    ///
    /// # Errors
    /// See [`AllocateError`]: nothing is handed out then.
    pub fn allocate(&self, resource: &ResourceName, ids: &[String]) -> Result<Allocation, AllocateError> {
        crate::allocate::allocate(self, resource, ids)
    }

    /// Which of `available` to hand out: always `size` ids, all of `must_include` among them, when that is possible.
    ///
    /// # Errors
    /// See [`PreferError`].
    pub fn prefer(
        &self,
        resource: &ResourceName,
        available: &[String],
        must_include: &[String],
        size: usize,
    ) -> Result<Vec<String>, PreferError> {
        prefer::prefer(self, resource, available, must_include, size)
    }
}
