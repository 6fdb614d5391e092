//! Everything about a node at one moment, owned, for expectations and reports.

use crate::memory::Memory;
use crate::mig::{MigDevice, MigInstance, mig_minors};
use crate::process::ProcessKind;
use crate::record::{ComputeMode, Gpu, MpsDaemon, Node, Process};
use crate::time_slice::TimeSlice;

/// A node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeSnapshot {
    /// Name of the node.
    pub name: String,
    /// Whether the driver is loaded.
    pub driver_loaded: bool,
    /// Driver version.
    pub driver_version: String,
    /// CUDA version, 1000 × major + 10 × minor.
    pub cuda_version: u32,
    /// GPUs in NVML's order.
    pub gpus: Vec<GpuSnapshot>,
    /// Running MPS control daemons.
    pub mps_daemons: Vec<MpsDaemonSnapshot>,
}

/// A GPU at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GpuSnapshot {
    /// NVML index.
    pub index: u32,
    /// `/dev/nvidia<minor>`.
    pub minor: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// PCI address.
    pub pci_bus_id: String,
    /// NUMA node, if any.
    pub numa_node: Option<u32>,
    /// Fallen off the bus.
    pub lost: bool,
    /// Compute mode in force.
    pub compute_mode: ComputeMode,
    /// Compute mode when the node was made.
    pub compute_mode_original: ComputeMode,
    /// Time slice in force.
    pub time_slice: TimeSlice,
    /// MPS servers on it report FAULT.
    pub mps_fault: bool,
    /// Pid of the first MPS control daemon that sees the GPU.
    pub mps_daemon_pid: Option<u32>,
    /// How busy it is, in percent.
    pub utilization_percent: u32,
    /// Memory in bytes.
    pub memory: Memory,
    /// Whether MIG mode is on.
    pub mig_mode: bool,
    /// Its MIG devices, by index.
    pub mig_devices: Vec<MigSnapshot>,
    /// Processes with a context, oldest first.
    pub processes: Vec<ProcessSnapshot>,
    /// Events so far.
    pub event_count: u64,
}

/// A MIG device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MigSnapshot {
    /// NVML index on its GPU.
    pub index: u32,
    /// GPU and compute instance.
    #[serde(flatten)]
    pub instance: MigInstance,
    /// `MIG-…`.
    pub uuid: String,
    /// What it was cut to, such as `1g.5gb`.
    pub profile: String,
    /// First memory slice.
    pub start: u32,
    /// Minor numbers of the capability device nodes of its GPU instance and of itself.
    pub minors: Option<(u32, u32)>,
    /// Memory in bytes.
    pub memory: Memory,
}

/// A process on a GPU at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ProcessSnapshot {
    /// Process id.
    pub pid: u32,
    /// Name of the program.
    pub name: String,
    /// The MIG device it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<MigInstance>,
    /// What it is.
    pub kind: ProcessKind,
    /// MPS client: pid of its server.
    pub server_pid: Option<u32>,
    /// Memory in use, bytes.
    pub used_bytes: u64,
    /// Its limit, bytes.
    pub limit_bytes: Option<u64>,
    /// Active thread percentage, in tenths.
    pub thread_percentage_tenths: u32,
}

/// An MPS control daemon at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MpsDaemonSnapshot {
    /// Process id.
    pub pid: u32,
    /// Pipe directory.
    pub pipe_directory: String,
    /// NVML indexes of the GPUs it sees.
    pub gpus: Vec<u32>,
}

impl Node {
    /// Everything, owned.
    pub fn snapshot(&self) -> NodeSnapshot {
        NodeSnapshot {
            name: self.name.as_str().to_owned(),
            driver_loaded: self.driver_loaded != 0,
            driver_version: self.driver_version.as_str().to_owned(),
            cuda_version: self.cuda_version,
            gpus: self.gpus().iter().map(|gpu| self.gpu_snapshot(gpu)).collect(),
            mps_daemons: self.mps_daemons().iter().map(|daemon| self.daemon_snapshot(daemon)).collect(),
        }
    }

    fn gpu_snapshot(&self, gpu: &Gpu) -> GpuSnapshot {
        let board = &gpu.board;
        let memory = self.memory(gpu.index).unwrap_or(Memory {
            total_bytes: board.memory_total_bytes,
            reserved_bytes: board.memory_reserved_bytes,
            used_bytes: 0,
            free_bytes: 0,
        });
        GpuSnapshot {
            index: gpu.index,
            minor: gpu.minor,
            uuid: gpu.uuid.as_str().to_owned(),
            name: board.name.as_str().to_owned(),
            pci_bus_id: gpu.pci_bus_id(),
            numa_node: u32::try_from(gpu.numa_node).ok(),
            lost: gpu.lost != 0,
            compute_mode: gpu.mode(),
            compute_mode_original: gpu.mode_original(),
            time_slice: gpu.time_slice(),
            utilization_percent: gpu.utilization_percent,
            mps_fault: gpu.mps_fault != 0,
            mps_daemon_pid: self.mps_daemons().iter().find(|d| d.sees(gpu.index)).map(|d| d.pid),
            memory,
            mig_mode: gpu.has_mig_on(),
            mig_devices: gpu.mig_devices().filter_map(|device| self.mig_snapshot(gpu, &device)).collect(),
            processes: self.processes_on(gpu.index).map(process_snapshot).collect(),
            event_count: gpu.event_count,
        }
    }

    fn mig_snapshot(&self, gpu: &Gpu, device: &MigDevice<'_>) -> Option<MigSnapshot> {
        Some(MigSnapshot {
            index: device.index,
            instance: device.instance,
            uuid: device.uuid(),
            profile: device.name(),
            start: device.start,
            minors: mig_minors(gpu.minor, device.instance),
            memory: self.mig_memory(gpu.index, device.instance).ok()?,
        })
    }

    fn daemon_snapshot(&self, daemon: &MpsDaemon) -> MpsDaemonSnapshot {
        MpsDaemonSnapshot {
            pid: daemon.pid,
            pipe_directory: daemon.pipe_directory.as_str().to_owned(),
            gpus: self.gpus().iter().map(|gpu| gpu.index).filter(|gpu| daemon.sees(*gpu)).collect(),
        }
    }
}

impl MpsDaemon {
    /// Whether the daemon sees the GPU with this NVML index.
    pub fn sees(&self, gpu: u32) -> bool {
        self.gpus.checked_shr(gpu).unwrap_or(0) & 1 == 1
    }
}

fn process_snapshot(process: &Process) -> ProcessSnapshot {
    ProcessSnapshot {
        pid: process.pid,
        name: process.name.as_str().to_owned(),
        instance: process.instance(),
        kind: process.kind(),
        server_pid: (process.server_pid != 0).then_some(process.server_pid),
        used_bytes: process.used_bytes,
        limit_bytes: (process.limit_bytes != 0).then_some(process.limit_bytes),
        thread_percentage_tenths: process.thread_percentage_tenths,
    }
}
