//! What a GPU refuses, so that programs and tests can tell the reasons apart.

use crate::mig::{MigError, MigInstance};

/// Why an operation on the node's GPUs was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No GPU has this index.
    #[error("no GPU `{gpu}` on the node, it has {count}")]
    NoSuchGpu {
        /// NVML index asked for.
        gpu: u32,
        /// GPUs on the node.
        count: u32,
    },
    /// The GPU has fallen off the bus.
    #[error("GPU `{uuid}` is lost")]
    Lost {
        /// The GPU.
        uuid: String,
    },
    /// The GPU cannot be cut into such MIG devices.
    #[error("GPU `{uuid}`: {why}")]
    Mig {
        /// The GPU.
        uuid: String,
        /// Why.
        why: MigError,
    },
    /// MIG mode is off.
    #[error("GPU `{uuid}`: MIG mode is off")]
    MigIsOff {
        /// The GPU.
        uuid: String,
    },
    /// MIG mode is on, and only its MIG devices can be used.
    #[error("GPU `{uuid}`: MIG mode is on; only a MIG device can be used so")]
    MigIsOn {
        /// The GPU.
        uuid: String,
    },
    /// No MIG device has these instances.
    #[error("GPU `{uuid}` has no MIG device with GPU instance {} and compute instance {}", instance.gpu_instance, instance.compute_instance)]
    NoSuchMigDevice {
        /// The GPU.
        uuid: String,
        /// What was asked for.
        instance: MigInstance,
    },
    /// Its architecture has no such setting.
    #[error("GPU `{uuid}`: setting its time slice is not supported")]
    NoTimeSlice {
        /// The GPU.
        uuid: String,
    },
    /// Processes are on it.
    #[error("GPU `{uuid}` is in use by {processes} processes")]
    InUse {
        /// The GPU.
        uuid: String,
        /// How many.
        processes: usize,
    },
    /// No GPU with this UUID was pulled out.
    #[error("GPU `{uuid}` was not pulled out")]
    NotUnplugged {
        /// The GPU.
        uuid: String,
    },
    /// The NVSwitch fabric is not ready.
    #[error("system not yet initialized: the fabric of GPU `{uuid}` is not ready (CUDA error 802)")]
    FabricStarting {
        /// The GPU.
        uuid: String,
    },
    /// The compute mode admits no further context.
    #[error("compute mode `{mode:?}` of GPU `{uuid}` forbids a context of process {pid}")]
    ComputeModeForbids {
        /// The GPU.
        uuid: String,
        /// Its mode.
        mode: crate::ComputeMode,
        /// Who asked.
        pid: u32,
    },
    /// The process already has a context on the GPU.
    #[error("process `{pid}` already runs on GPU {gpu}")]
    AlreadyRunning {
        /// The process.
        pid: u32,
        /// NVML index.
        gpu: u32,
    },
    /// The process has no context on the GPU.
    #[error("no process `{pid}` on GPU {gpu}")]
    NoSuchProcess {
        /// The process.
        pid: u32,
        /// NVML index.
        gpu: u32,
    },
    /// The GPU, or the MPS client's share of it, is full.
    #[error("out of memory on GPU `{uuid}`: process {pid} asked {asked_bytes} bytes, free {free_bytes}")]
    OutOfMemory {
        /// The GPU.
        uuid: String,
        /// Who asked.
        pid: u32,
        /// How much.
        asked_bytes: u64,
        /// How much this process could have had.
        free_bytes: u64,
    },
    /// A process frees more than it has.
    #[error("process `{pid}` frees {asked_bytes} bytes on GPU {gpu}, it has {used_bytes}")]
    FreesTooMuch {
        /// The process.
        pid: u32,
        /// NVML index.
        gpu: u32,
        /// How much it wanted to free.
        asked_bytes: u64,
        /// How much it has.
        used_bytes: u64,
    },
    /// An MPS client needs a server on the GPU.
    #[error("no MPS server `{server_pid}` on GPU {gpu}")]
    NoMpsServer {
        /// Server named by the client.
        server_pid: u32,
        /// NVML index.
        gpu: u32,
    },
    /// The MPS server is in FAULT: no new clients.
    #[error("MPS server of GPU `{uuid}` is not ready, status FAULT")]
    MpsServerNotReady {
        /// The GPU.
        uuid: String,
    },
    /// The GPU has as many MPS clients as MPS allows.
    #[error("too many MPS clients on GPU `{uuid}`, at most {max}")]
    TooManyMpsClients {
        /// The GPU.
        uuid: String,
        /// MPS's bound.
        max: usize,
    },
    /// A table of the state is full.
    #[error("table of {table} is full, at most {max}")]
    TableFull {
        /// Which table.
        table: &'static str,
        /// Its bound.
        max: usize,
    },
}
