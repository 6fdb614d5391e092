//! The records of a node's state: fixed size and valid for any bytes, so that they can lie in a shared file.

use crate::board::BoardRecord;
use crate::event::NO_INSTANCE;
use crate::mig::{Mig, MigInstance};
use crate::text::Text;

/// Most GPUs on one node.
pub const GPUS_MAX: usize = 64;
/// Most (process, GPU) pairs on one node: 16 MPS clients per GPU with 64 GPUs.
pub const PROCESSES_MAX: usize = 1024;
/// Events remembered per node; a reader that is further behind misses the oldest.
pub const EVENTS_MAX: usize = 256;
/// Most MPS control daemons on one node: one per GPU.
pub const DAEMONS_MAX: usize = 64;

/// Who may make a context on a GPU (NVML's compute modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeMode {
    /// Any number of processes.
    Default,
    /// Deprecated by NVIDIA; behaves as `ExclusiveProcess` here.
    ExclusiveThread,
    /// No process.
    Prohibited,
    /// One process, or one MPS server with its clients.
    ExclusiveProcess,
}

impl ComputeMode {
    /// NVML's number of this mode.
    pub fn number(self) -> u32 {
        match self {
            Self::Default => 0,
            Self::ExclusiveThread => 1,
            Self::Prohibited => 2,
            Self::ExclusiveProcess => 3,
        }
    }

    /// The mode of NVML's number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Default, Self::ExclusiveThread, Self::Prohibited, Self::ExclusiveProcess]
            .into_iter()
            .find(|mode| mode.number() == number)
    }
}

/// A physical GPU: its board's facts and what is going on with it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Gpu {
    /// NVML index.
    pub index: u32,
    /// Minor number: the GPU is `/dev/nvidia<minor>`.
    pub minor: u32,
    /// NUMA node, -1 if the machine has none.
    pub numa_node: i32,
    /// Non-zero: fallen off the bus.
    pub lost: u32,
    /// NVML number of the compute mode in force.
    pub compute_mode: u32,
    /// NVML number of the compute mode when the node was made.
    pub compute_mode_original: u32,
    /// Non-zero: an MPS server on this GPU reports FAULT.
    pub mps_fault: u32,
    /// Percentage of time the GPU was busy.
    pub utilization_percent: u32,
    /// PCI domain.
    pub pci_domain: u32,
    /// PCI bus.
    pub pci_bus: u32,
    /// PCI device (slot).
    pub pci_device: u32,
    /// Volatile corrected and uncorrected ECC errors.
    pub ecc_errors: [u32; 2],
    /// Non-zero: every NVML call about this GPU answers this code.
    pub nvml_error: u32,
    /// Non-zero: no NVML call about this GPU returns.
    pub nvml_hangs: u32,
    /// NVLinks that are connected.
    pub(crate) nvlinks: u32,
    /// PCI bus of the GPU that they end at, 0: NVSwitches.
    pub(crate) nvlink_peer_bus: u32,
    /// Non-zero: NVML answers this code when it is asked which processes are on this GPU.
    pub processes_error: u32,
    /// nvidia-smi's number of the time slice in force.
    pub(crate) time_slice: u32,
    /// Keeps the record free of padding.
    pub(crate) reserved: u32,
    /// Events raised on this GPU so far.
    pub event_count: u64,
    /// `GPU-…`.
    pub uuid: Text<48>,
    /// Serial number.
    pub serial: Text<24>,
    /// Facts of the board.
    pub board: BoardRecord,
    /// What it is cut into.
    pub mig: Mig,
}

impl Gpu {
    pub(crate) const EMPTY: Self = Self {
        index: 0,
        minor: 0,
        numa_node: -1,
        lost: 0,
        compute_mode: 0,
        compute_mode_original: 0,
        mps_fault: 0,
        utilization_percent: 0,
        pci_domain: 0,
        pci_bus: 0,
        pci_device: 0,
        ecc_errors: [0; 2],
        nvml_error: 0,
        nvml_hangs: 0,
        nvlinks: 0,
        nvlink_peer_bus: 0,
        processes_error: 0,
        time_slice: 0,
        reserved: 0,
        event_count: 0,
        uuid: Text::EMPTY,
        serial: Text::EMPTY,
        board: BoardRecord::EMPTY,
        mig: Mig::OFF,
    };

    /// The compute mode in force.
    pub fn mode(&self) -> ComputeMode {
        ComputeMode::from_number(self.compute_mode).unwrap_or(ComputeMode::Default)
    }

    /// The compute mode the GPU had when the node was made.
    pub fn mode_original(&self) -> ComputeMode {
        ComputeMode::from_number(self.compute_mode_original).unwrap_or(ComputeMode::Default)
    }

    /// PCI address as NVML writes it, `00000000:1E:00.0`.
    pub fn pci_bus_id(&self) -> String {
        format!("{:08X}:{:02X}:{:02X}.0", self.pci_domain, self.pci_bus, self.pci_device)
    }
}

/// A process with a context on one GPU.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Process id on the node.
    pub pid: u32,
    /// NVML index of the GPU.
    pub gpu: u32,
    /// Number of a [`crate::ProcessKind`].
    pub kind: u32,
    /// MPS client: pid of its server, else 0.
    pub server_pid: u32,
    /// When a real process started, in clock ticks since boot; 0: simulated, lives until stopped.
    pub started_ticks: u64,
    /// Device memory in use, bytes.
    pub used_bytes: u64,
    /// MPS client: pinned memory limit, bytes; 0: none.
    pub limit_bytes: u64,
    /// MPS client: active thread percentage, in tenths.
    pub thread_percentage_tenths: u32,
    /// User id.
    pub uid: u32,
    /// On a MIG device: its GPU instance, else [`crate::NO_INSTANCE`].
    pub gpu_instance: u32,
    /// On a MIG device: its compute instance, else [`crate::NO_INSTANCE`].
    pub compute_instance: u32,
    /// Name of the program.
    pub name: Text<36>,
}

impl Process {
    pub(crate) const EMPTY: Self = Self {
        pid: 0,
        gpu: 0,
        kind: 0,
        server_pid: 0,
        started_ticks: 0,
        used_bytes: 0,
        limit_bytes: 0,
        thread_percentage_tenths: 0,
        uid: 0,
        gpu_instance: NO_INSTANCE,
        compute_instance: NO_INSTANCE,
        name: Text::EMPTY,
    };

    /// The MIG device it runs on, if it does.
    pub fn instance(&self) -> Option<MigInstance> {
        let (gpu_instance, compute_instance) = (self.gpu_instance, self.compute_instance);
        (gpu_instance != NO_INSTANCE).then_some(MigInstance { gpu_instance, compute_instance })
    }
}

/// A running MPS control daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MpsDaemon {
    /// Process id.
    pub pid: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
    /// When it started, in clock ticks since boot; 0: simulated.
    pub started_ticks: u64,
    /// Bit n: the daemon sees GPU n.
    pub gpus: u64,
    /// Its pipe directory (the end of it, if it is long).
    pub pipe_directory: Text<252>,
}

impl MpsDaemon {
    pub(crate) const EMPTY: Self =
        Self { pid: 0, reserved: 0, started_ticks: 0, gpus: 0, pipe_directory: Text::EMPTY };
}

/// Something that happened on a GPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Counts up over the node, from 0.
    pub sequence: u64,
    /// Counts up over the GPU, from 1.
    pub gpu_sequence: u64,
    /// NVML bit of an [`crate::EventKind`].
    pub kind: u64,
    /// Xid code, or 0.
    pub data: u64,
    /// NVML index of the GPU.
    pub gpu: u32,
    /// GPU instance, or [`crate::NO_INSTANCE`].
    pub gpu_instance: u32,
    /// Compute instance, or [`crate::NO_INSTANCE`].
    pub compute_instance: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
}

impl Event {
    pub(crate) const EMPTY: Self = Self {
        sequence: 0,
        gpu_sequence: 0,
        kind: 0,
        data: 0,
        gpu: 0,
        gpu_instance: 0,
        compute_instance: 0,
        reserved: 0,
    };
}

/// One node: its driver, its GPUs, and all that runs on them.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the node.
    pub name: Text<64>,
    /// Driver version, like `595.91.07`.
    pub driver_version: Text<32>,
    /// CUDA version as NVML gives it: 1000 × major + 10 × minor.
    pub cuda_version: u32,
    /// Non-zero: the driver is loaded.
    pub driver_loaded: u32,
    pub(crate) gpu_count: u32,
    pub(crate) process_count: u32,
    pub(crate) daemon_count: u32,
    /// GPUs that were pulled out; their records follow those of the others.
    pub(crate) unplugged_count: u32,
    /// Non-zero: every NVML call answers this code.
    pub nvml_error: u32,
    /// How long every NVML call takes before it answers, in milliseconds.
    pub nvml_delay_ms: u32,
    /// Non-zero: NVML calls do not return.
    pub nvml_hangs: u32,
    /// Non-zero: the NVSwitch fabric is not ready, so no process gets a context.
    pub fabric_starting: u32,
    /// Number of a [`crate::ControlTrouble`]: what is wrong with the MPS control program.
    pub mps_control: u32,
    /// Number of a [`crate::ControlTrouble`]: what is wrong with nvidia-smi.
    pub(crate) smi: u32,
    pub(crate) event_next: u64,
    pub(crate) gpus: [Gpu; GPUS_MAX],
    pub(crate) processes: [Process; PROCESSES_MAX],
    pub(crate) daemons: [MpsDaemon; DAEMONS_MAX],
    pub(crate) events: [Event; EVENTS_MAX],
}
