//! Processes on GPUs: who gets a context, who not, and who is gone.

use crate::error::GpuError;
use crate::event::NO_INSTANCE;
use crate::mig::MigInstance;
use crate::record::{ComputeMode, Gpu, Node, PROCESSES_MAX, Process};
use crate::text::Text;

/// Device memory an MPS server takes on each GPU with clients: 27 MiB seen on a V100.
pub const MPS_SERVER_MEMORY_BYTES: u64 = 27 << 20;

/// The ids of processes that no pod started: above those of Linux (`PID_MAX_LIMIT`, 2^22).
const UNINVITED_PIDS: std::ops::Range<u32> = 4_500_000..4_600_000;
/// The name of its program.
const UNINVITED_NAME: &str = "python3";

/// What a process on a GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessKind {
    /// A program with its own context.
    Plain,
    /// A program whose work goes through an MPS server.
    MpsClient,
    /// An MPS server: owns the context of its clients.
    MpsServer,
}

impl ProcessKind {
    fn number(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::MpsClient => 1,
            Self::MpsServer => 2,
        }
    }
}

impl Process {
    /// What the process is.
    pub fn kind(&self) -> ProcessKind {
        match self.kind {
            1 => ProcessKind::MpsClient,
            2 => ProcessKind::MpsServer,
            _ => ProcessKind::Plain,
        }
    }
}

/// A process to start on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Process id on the node.
    pub pid: u32,
    /// NVML index of the GPU.
    pub gpu: u32,
    /// What it is.
    pub kind: ProcessKind,
    /// Name of the program.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// MPS client: pid of its server.
    pub server_pid: u32,
    /// MPS client: pinned memory limit in bytes; 0: none.
    pub limit_bytes: u64,
    /// MPS client: active thread percentage, in tenths.
    pub thread_percentage_tenths: u32,
    /// When a real process started (see [`crate::started_ticks`]), so that its death is noticed;
    /// 0: a simulated process, which lives until it is stopped.
    pub started_ticks: u64,
    /// The MIG device it runs on; without: the whole GPU.
    pub instance: Option<MigInstance>,
}

impl ProcessSpec {
    /// A simulated process of user 0 without limits.
    pub fn new(pid: u32, gpu: u32, kind: ProcessKind, name: &str) -> Self {
        Self {
            pid,
            gpu,
            kind,
            name: name.to_owned(),
            uid: 0,
            server_pid: 0,
            limit_bytes: 0,
            thread_percentage_tenths: 1000,
            started_ticks: 0,
            instance: None,
        }
    }
}

/// Whether the process with this id was started by [`Node::start_uninvited`].
pub fn is_uninvited(pid: u32) -> bool {
    UNINVITED_PIDS.contains(&pid)
}

impl Node {
    /// All processes, oldest first; a process on two GPUs is listed twice.
    pub fn processes(&self) -> &[Process] {
        &self.processes[..(self.process_count as usize).min(PROCESSES_MAX)]
    }

    /// Processes with a context on a GPU.
    pub fn processes_on(&self, gpu: u32) -> impl Iterator<Item = &Process> {
        self.processes().iter().filter(move |process| process.gpu == gpu)
    }

    /// Clients of an MPS server, each pid once.
    pub fn mps_clients(&self, server_pid: u32) -> Vec<u32> {
        let mut pids: Vec<u32> = Vec::new();
        for process in self.processes() {
            let client = process.kind() == ProcessKind::MpsClient && process.server_pid == server_pid;
            if client && !pids.contains(&process.pid) {
                pids.push(process.pid);
            }
        }
        pids
    }

    /// Makes a context for a process: what `cuInit` and `cuCtxCreate` decide.
    ///
    /// # Errors
    /// The GPU is unknown or lost; its fabric is not ready; its compute mode forbids it; the process has one already; an MPS
    /// client has no server, a server in FAULT, or too many companions; the table is full.
    pub fn start_process(&mut self, spec: &ProcessSpec) -> Result<(), GpuError> {
        let (pid, gpu) = (spec.pid, spec.gpu);
        let record = self.gpu(gpu)?;
        if record.lost != 0 {
            return Err(GpuError::Lost { uuid: record.uuid.as_str().to_owned() });
        }
        if self.fabric_starting != 0 {
            return Err(GpuError::FabricStarting { uuid: record.uuid.as_str().to_owned() });
        }
        if self.processes_on(gpu).any(|process| process.pid == pid) {
            return Err(GpuError::AlreadyRunning { pid, gpu });
        }
        match spec.instance {
            None if record.has_mig_on() => {
                return Err(GpuError::MigIsOn { uuid: record.uuid.as_str().to_owned() });
            }
            Some(instance) if record.mig_device(instance).is_none() => {
                let uuid = record.uuid.as_str().to_owned();
                return Err(GpuError::NoSuchMigDevice { uuid, instance });
            }
            _ => {}
        }
        self.admit(record, spec)?;
        let used_bytes = match spec.kind {
            ProcessKind::MpsServer => MPS_SERVER_MEMORY_BYTES,
            ProcessKind::Plain | ProcessKind::MpsClient => 0,
        };
        let free_bytes = self.memory(gpu)?.free_bytes;
        if used_bytes > free_bytes {
            let uuid = record.uuid.as_str().to_owned();
            return Err(GpuError::OutOfMemory { uuid, pid, asked_bytes: used_bytes, free_bytes });
        }
        let count = self.processes().len();
        let Some(slot) = self.processes.get_mut(count) else {
            return Err(GpuError::TableFull { table: "processes", max: PROCESSES_MAX });
        };
        *slot = Process {
            pid,
            gpu,
            kind: spec.kind.number(),
            server_pid: spec.server_pid,
            started_ticks: spec.started_ticks,
            used_bytes,
            limit_bytes: spec.limit_bytes,
            thread_percentage_tenths: spec.thread_percentage_tenths,
            uid: spec.uid,
            gpu_instance: spec.instance.map_or(NO_INSTANCE, |instance| instance.gpu_instance),
            compute_instance: spec.instance.map_or(NO_INSTANCE, |instance| instance.compute_instance),
            name: Text::new(&spec.name),
        };
        self.process_count += 1;
        Ok(())
    }

    /// Starts a program on a GPU, or on its first MIG device, that belongs to no pod, and gives its process id.
    ///
    /// # Errors
    /// See [`Self::start_process`].
    pub fn start_uninvited(&mut self, gpu: u32) -> Result<u32, GpuError> {
        let is_free = |pid: &u32| self.processes().iter().all(|process| process.pid != *pid);
        let pid = UNINVITED_PIDS.into_iter().find(is_free).unwrap_or(UNINVITED_PIDS.start);
        let instance = self.gpu(gpu)?.mig_devices().next().map(|mig| mig.instance);
        let spec = ProcessSpec::new(pid, gpu, ProcessKind::Plain, UNINVITED_NAME);
        self.start_process(&ProcessSpec { instance, ..spec })?;
        Ok(pid)
    }

    /// Compute mode and MPS's own rules.
    fn admit(&self, gpu: &Gpu, spec: &ProcessSpec) -> Result<(), GpuError> {
        let uuid = || gpu.uuid.as_str().to_owned();
        let forbidden = GpuError::ComputeModeForbids { uuid: uuid(), mode: gpu.mode(), pid: spec.pid };
        let owners = || self.processes_on(gpu.index).filter(|p| p.kind() != ProcessKind::MpsClient).count();
        match (gpu.mode(), spec.kind) {
            (ComputeMode::Prohibited, _) => return Err(forbidden),
            (
                ComputeMode::ExclusiveProcess | ComputeMode::ExclusiveThread,
                ProcessKind::Plain | ProcessKind::MpsServer,
            ) if owners() > 0 => {
                return Err(forbidden);
            }
            _ => {}
        }
        if spec.kind != ProcessKind::MpsClient {
            return Ok(());
        }
        let is_server = |p: &Process| p.kind() == ProcessKind::MpsServer && p.pid == spec.server_pid;
        if !self.processes_on(gpu.index).any(is_server) {
            return Err(GpuError::NoMpsServer { server_pid: spec.server_pid, gpu: gpu.index });
        }
        if gpu.mps_fault != 0 {
            return Err(GpuError::MpsServerNotReady { uuid: uuid() });
        }
        let max = self.mps_clients_max(gpu);
        let clients = self.processes_on(gpu.index).filter(|p| p.kind() == ProcessKind::MpsClient).count();
        if clients >= max {
            return Err(GpuError::TooManyMpsClients { uuid: uuid(), max });
        }
        Ok(())
    }

    /// Most MPS clients of one GPU: 16 before Volta, then 48, and 60 from CUDA 13.1 (CUDA MPS guide).
    pub fn mps_clients_max(&self, gpu: &Gpu) -> usize {
        match (gpu.board.capability_major, self.cuda_version) {
            (..7, _) => 16,
            (_, ..13_010) => 48,
            _ => 60,
        }
    }

    /// Ends a process on every GPU; its memory is free again. False if it had no context.
    pub fn stop_process(&mut self, pid: u32) -> bool {
        let before = self.processes().len();
        self.remove_processes(|process| process.pid == pid);
        self.processes().len() < before
    }

    pub(crate) fn remove_processes(&mut self, gone: impl Fn(&Process) -> bool) {
        let mut kept = 0;
        for index in 0..self.processes().len() {
            let process = self.processes[index];
            if !gone(&process) {
                self.processes[kept] = process;
                kept += 1;
            }
        }
        self.process_count = u32::try_from(kept).unwrap_or(0);
    }

    /// Whether a real process or daemon on the list has died, by `alive(pid, started_ticks)`.
    pub(crate) fn has_dead(&self, alive: impl Fn(u32, u64) -> bool) -> bool {
        let process = |p: &Process| p.started_ticks != 0 && !alive(p.pid, p.started_ticks);
        self.processes().iter().any(process)
            || self.mps_daemons().iter().any(|d| d.started_ticks != 0 && !alive(d.pid, d.started_ticks))
    }

    /// Takes real processes and daemons that have died off the lists, as the driver does.
    pub(crate) fn remove_dead(&mut self, alive: impl Fn(u32, u64) -> bool) {
        self.remove_processes(|p| p.started_ticks != 0 && !alive(p.pid, p.started_ticks));
        self.remove_mps_daemons(|d| d.started_ticks != 0 && !alive(d.pid, d.started_ticks));
    }
}
