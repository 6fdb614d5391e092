//! What the node has, as plain data: the backend reports it once and again when it changes; every decision reads it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::links::Link;
use crate::mig::MigFacts;

/// The UUID of a physical GPU, as NVML prints it: `GPU-…`; or of a MIG device, which plays a role of its own: `MIG-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuUuid(String);

impl GpuUuid {
    /// Takes NVML's text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        GpuUuid(text.into())
    }

    /// NVML's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GpuUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may open contexts on a GPU (`nvmlComputeMode_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeMode {
    /// Any number of processes.
    #[default]
    Default,
    /// One thread of one process; deprecated by NVIDIA.
    ExclusiveThread,
    /// Nobody.
    Prohibited,
    /// One process; an MPS server counts as that one, which is why MPS wants this mode.
    ExclusiveProcess,
}

/// One physical GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuFacts {
    /// NVML's UUID.
    pub uuid: GpuUuid,
    /// NVML's enumeration index.
    pub index: u32,
    /// The `N` of `/dev/nvidiaN`.
    pub minor: u32,
    /// The product name, for example `Tesla T4`.
    pub name: String,
    /// Total memory in bytes.
    pub memory_bytes: u64,
    /// Compute capability: major, minor.
    pub compute_capability: (u32, u32),
    /// PCI bus id in NVML's long form, for example `00000000:00:1E.0`.
    pub pci_bus_id: String,
    /// The NUMA node of its PCI device, where the system tells.
    pub numa_node: Option<u32>,
    /// Whether the board has MIG at all.
    pub mig_capable: bool,
    /// The mode found when the backend last looked.
    pub compute_mode: ComputeMode,
    /// Whether it is in MIG mode: then it computes only through its MIG devices.
    #[serde(default)]
    pub mig_enabled: bool,
    /// Its MIG devices, by index.
    #[serde(default)]
    pub mig: Vec<MigFacts>,
}

/// Everything that the backend reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The driver's version, `X.Y[.Z]`.
    pub driver_version: String,
    /// The CUDA driver API version: major, minor.
    pub cuda_version: (u32, u32),
    /// The GPUs, in NVML's order; display-only boards are already left out.
    pub gpus: Vec<GpuFacts>,
    /// What joins them, a pair at a time; pairs that nothing is known about are left out.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Which control nodes exist under the dev root: `/dev/nvidiactl`, `/dev/nvidia-uvm`, …
    pub control_nodes: Vec<String>,
    /// Those of `gpus` whose NVLink fabric is not complete: no process gets a context on them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starting: Vec<GpuUuid>,
    /// Why GPUs that the driver counts could not be read, one entry for each; they do not say who they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

impl Facts {
    /// The GPUs by UUID.
    pub fn by_uuid(&self) -> BTreeMap<&GpuUuid, &GpuFacts> {
        self.gpus.iter().map(|g| (&g.uuid, g)).collect()
    }

    /// The GPU with this UUID.
    pub fn gpu(&self, uuid: &GpuUuid) -> Option<&GpuFacts> {
        self.gpus.iter().find(|g| &g.uuid == uuid)
    }
}
