//! MPS between two processes: the plugin decides which GPUs need a control daemon and writes [`Desired`]; the supervisor
//! (`tandem-device-plugin mps`) obeys and answers with [`Actual`]. So a restart of the plugin never touches a client.
//!
//! One control daemon per GPU: a fault spreads through shared daemons, and a running daemon cannot gain a GPU that was
//! freed later. Host directory `<mpsRoot>/<resource>/<uuid>/pipe`, mounted at the container path that NVIDIA's plugin uses.
//! Where a pod may hold several replicas (`failRequestsGreaterThanOne: false`) its replicas can lie on several GPUs, and a
//! client talks to one daemon: there one daemon serves all GPUs of the resource, from `<mpsRoot>/<resource>/pipe`, and they
//! change their role together.

mod alone;
mod machine;
mod messages;
mod ready;
mod reconcile;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ResourceName;
use crate::inventory::{ComputeMode, GpuUuid};

pub use alone::desired as desired_alone;
pub use messages::{SupervisorAction, SupervisorEvent};
pub use ready::not_ready_because;
pub use supervisor::Supervisor;

/// The first compute capability whose GPUs give each MPS client an address space of its own: Volta.
const VOLTA: (u32, u32) = (7, 0);
/// The first CUDA version that serves more clients.
const MORE_CLIENTS: (u32, u32) = (13, 1);

/// The most MPS clients that one GPU serves: from Volta on 60, or 48 with a driver for CUDA 13.0 and older; 16 before (CUDA
/// MPS guide).
pub fn clients_max(compute_capability: (u32, u32), cuda_version: (u32, u32)) -> u32 {
    match (compute_capability >= VOLTA, cuda_version >= MORE_CLIENTS) {
        (true, true) => 60,
        (true, false) => 48,
        (false, _) => 16,
    }
}

/// What each replica of a container may use, as the configuration says it: the container is told in its environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientLimits {
    /// `CUDA_MPS_ACTIVE_THREAD_PERCENTAGE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_thread_percentage: Option<u32>,
    /// `CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

impl ClientLimits {
    /// Nothing is configured, and containers are told nothing.
    pub fn is_empty(&self) -> bool {
        *self == ClientLimits::default()
    }
}

/// One control daemon that should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredDaemon {
    /// The shared resource that its GPU serves; part of the directory.
    pub resource: ResourceName,
    /// How many replicas share the GPU.
    pub replicas: u32,
    /// `set_default_active_thread_percentage`: as configured, or 100 / replicas as NVIDIA's daemon computes it.
    pub active_thread_percentage: u32,
    /// `set_default_device_pinned_mem_limit` in MiB: as configured, or memory / replicas, rounded down. `None` when the memory
    /// is unknown.
    pub pinned_memory_limit_mib: Option<u64>,
    /// What containers are told; no business of the daemon.
    #[serde(default, skip_serializing_if = "ClientLimits::is_empty")]
    pub client: ClientLimits,
    /// All GPUs that it serves, in the order of its CUDA ordinals; empty when it serves the GPU that it is wished for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<DaemonGpu>,
}

/// One of the GPUs of a daemon that serves a whole resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DaemonGpu {
    /// The GPU.
    pub uuid: GpuUuid,
    /// `set_default_device_pinned_mem_limit` for it, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

impl DesiredDaemon {
    /// The GPUs that it serves when it is wished for `gpu`, in the order of its CUDA ordinals.
    pub fn serves(&self, gpu: &GpuUuid) -> Vec<DaemonGpu> {
        match self.gpus.is_empty() {
            true => vec![DaemonGpu { uuid: gpu.clone(), memory_mib: self.pinned_memory_limit_mib }],
            false => self.gpus.clone(),
        }
    }

    /// The first of them, by which it goes.
    pub fn first<'a>(&'a self, gpu: &'a GpuUuid) -> &'a GpuUuid {
        self.gpus.first().map_or(gpu, |first| &first.uuid)
    }

    /// Whether it serves all GPUs of its resource.
    pub fn is_per_resource(&self) -> bool {
        !self.gpus.is_empty()
    }

    /// Its pipe directory below an MPS root.
    pub fn pipe_dir(&self, mps_root: &str, gpu: &GpuUuid) -> String {
        pipe_dir(mps_root, &self.resource, (!self.is_per_resource()).then_some(gpu))
    }
}

/// The pipe directory of one GPU's control daemon below an MPS root, or that of a daemon for the whole resource.
pub fn pipe_dir(mps_root: &str, resource: &ResourceName, gpu: Option<&GpuUuid>) -> String {
    match gpu {
        Some(gpu) => format!("{mps_root}/{resource}/{gpu}/pipe"),
        None => format!("{mps_root}/{resource}/pipe"),
    }
}

/// Control daemons by the first GPU that each serves.
pub type Daemons = BTreeMap<GpuUuid, DesiredDaemon>;

/// Content of `<mpsRoot>/desired.json`: what the plugin wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Grows with every change.
    pub generation: u64,
    /// The GPUs that need a daemon. A GPU that is absent needs none, and gets its compute mode back.
    pub daemons: BTreeMap<GpuUuid, DesiredDaemon>,
}

impl Desired {
    /// What was wished, of what the supervisor runs: for a plugin whose own note is lost. A daemon that serves several GPUs is wished
    /// for each of them.
    pub fn of_running(daemons: &Daemons, generation: u64) -> Self {
        let wishes = daemons.iter().flat_map(|(first, daemon)| {
            daemon.serves(first).into_iter().map(|gpu| (gpu.uuid, daemon.clone()))
        });
        Desired { generation, daemons: wishes.collect() }
    }
}

/// How one control daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DaemonStatus {
    /// Compute mode, directories, process and limits are being set up.
    Starting,
    /// It answers, and its limits are set.
    Ready,
    /// It runs, but takes no new clients: a server of it is in `FAULT`, or it does not answer. The supervisor looks again.
    Ill {
        /// What it said.
        why: String,
    },
    /// It is quitting, or the compute mode is being given back.
    Stopping,
    /// It could not be started or died; the supervisor tries again by itself.
    Failed {
        /// The last error.
        why: String,
    },
}

/// Content of `<mpsRoot>/actual.json`: what the supervisor has. A GPU that is absent has no daemon and its own compute mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actual {
    /// The `Desired` generation that this answers.
    pub generation: u64,
    /// GPUs with a daemon in any state.
    pub daemons: BTreeMap<GpuUuid, DaemonStatus>,
}

impl Actual {
    /// Whether the GPU's daemon serves.
    pub fn is_ready(&self, gpu: &GpuUuid) -> bool {
        self.daemons.get(gpu) == Some(&DaemonStatus::Ready)
    }
}

/// The compute modes found before MPS changed them, kept on disk so that a crash cannot lose them.
pub type OriginalModes = BTreeMap<GpuUuid, ComputeMode>;
