//! MPS between two processes: the plugin decides which GPUs need a control daemon and writes [`Desired`]; the supervisor
//! (`tandem-device-plugin mps`) obeys and answers with [`Actual`]. So a restart of the plugin never touches a client.
//!
//! One control daemon per GPU: a fault spreads through shared daemons, and a running daemon cannot gain a GPU that was
//! freed later. Host directory `<mpsRoot>/<resource>/<uuid>/pipe`, mounted at the container path that NVIDIA's plugin uses.

mod messages;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ResourceName;
use crate::inventory::{ComputeMode, GpuUuid};

pub use messages::{SupervisorAction, SupervisorEvent};
pub use supervisor::Supervisor;

/// The most MPS clients that one GPU serves: 48 from Volta on (CUDA up to 13.0), 16 before (CUDA MPS guide).
pub fn clients_max(compute_capability: (u32, u32)) -> u32 {
    if compute_capability >= (7, 0) { 48 } else { 16 }
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
}

/// Content of `<mpsRoot>/desired.json`: what the plugin wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Grows with every change.
    pub generation: u64,
    /// The GPUs that need a daemon. A GPU that is absent needs none, and gets its compute mode back.
    pub daemons: BTreeMap<GpuUuid, DesiredDaemon>,
}

/// How one control daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DaemonStatus {
    /// Compute mode, directories, process and limits are being set up.
    Starting,
    /// It answers, and its limits are set.
    Ready,
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
