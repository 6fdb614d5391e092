//! What a node's programs share without a network: sockets in the kubelet's directory, files of the MPS root, the config
//! volume and the GPUs. It outlives every process on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fake_gpu::{ComputeMode as GpuMode, Gpu, GpuError, MpsDaemon, Node as Gpus, Text};
use plugin_core::cdi::{Found, NodeAccess, Search};
use plugin_core::inventory::{ComputeMode, GpuUuid};
use plugin_core::mps::{Actual, Daemons, Desired, DesiredDaemon, OriginalModes};

use super::happening::{ServerId, What};
use super::latency::{self, Latency};
use super::library::Library;
use super::mps::server::Daemon;
use super::saboteur::Sabotage;

/// How the MPS root is written in paths, as in the view of the world.
pub(super) const MPS_ROOT: &str = "<mpsRoot>";
/// The flag of a supervisor that leaves compute modes as they are.
pub(super) const KEEP_MODES: &str = "--keep-compute-mode";
/// First process id that is given out.
const PID_FIRST: u32 = 1_000;

/// A plugin's socket on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    /// Which file it is: one that was made anew under the same name is another one.
    pub(super) identity: u64,
    /// Who bound it.
    pub(super) server: ServerId,
}

/// The files of the MPS root.
#[derive(Debug, Default)]
pub(super) struct MpsFiles {
    /// `desired.json`.
    pub(super) desired: Option<Desired>,
    /// `actual.json`.
    pub(super) actual: Option<Actual>,
    /// `compute-modes.json`.
    pub(super) originals: Option<OriginalModes>,
    /// `daemons.json`.
    pub(super) daemons: Option<Daemons>,
    /// A pipe directory was made.
    pub(super) has_directories: bool,
    /// A file stands where they should be made.
    pub(super) is_blocked: bool,
    /// The supervisor is started with [`KEEP_MODES`].
    pub(super) keeps_modes: bool,
    /// The life of the supervisor that holds the lock.
    pub(super) lock: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Host {
    /// Plugins' sockets by file name.
    pub(super) sockets: BTreeMap<String, Socket>,
    /// The kubelet's registration socket, which file it is.
    pub(super) kubelet_socket: Option<u64>,
    /// When it was made, in nanoseconds.
    pub(super) kubelet_socket_made: u64,
    /// The kubelet's checkpoint file is there: it is written with the first device list, and with every allocation.
    pub(super) has_checkpoint: bool,
    /// Servers that accept connections.
    pub(super) accepting: BTreeSet<ServerId>,
    /// The MPS root.
    pub(super) mps: MpsFiles,
    /// The plugin's state file with the last good configuration.
    pub(super) last_good: Option<String>,
    /// The state file with what is known of the GPUs.
    pub(super) kept_gpus: Option<String>,
    /// The CDI spec directory, which lies in memory: name → text.
    pub(super) cdi: BTreeMap<String, String>,
    /// What the config map holds.
    pub(super) config_map: Arc<BTreeMap<String, String>>,
    /// What the config volume shows.
    pub(super) config: Arc<BTreeMap<String, String>>,
    /// GPUs and driver; `None` without a driver library.
    pub(super) gpus: Option<Box<Gpus>>,
    /// What each MPS control daemon keeps to itself, by its process id.
    pub(super) daemons: BTreeMap<u32, Daemon>,
    /// MPS control daemons that do not answer.
    pub(super) hung: BTreeSet<u32>,
    /// The disk is full.
    pub(super) disk_full: bool,
    /// The kernel has no inotify watch left.
    pub(super) no_inotify: bool,
    /// Until when the watch of the kubelet's directory is one of a directory that is gone, in nanoseconds.
    pub(super) blind_until: u64,
    /// NVML calls that do not return, as what happens when they do.
    pub(super) parked: Vec<What>,
    /// A mistake that is planted in the plugin's programs.
    pub(super) sabotage: Option<Sabotage>,
    identities: u64,
    pids: u32,
}

impl Host {
    /// A machine that was just installed.
    pub(super) fn new(gpus: Option<Box<Gpus>>, config: Arc<BTreeMap<String, String>>) -> Host {
        Host {
            sockets: BTreeMap::new(),
            kubelet_socket: None,
            kubelet_socket_made: 0,
            has_checkpoint: false,
            accepting: BTreeSet::new(),
            mps: MpsFiles::default(),
            last_good: None,
            kept_gpus: None,
            cdi: BTreeMap::new(),
            config_map: Arc::clone(&config),
            config,
            gpus,
            daemons: BTreeMap::new(),
            hung: BTreeSet::new(),
            disk_full: false,
            no_inotify: false,
            blind_until: 0,
            parked: Vec::new(),
            sabotage: None,
            identities: 0,
            pids: PID_FIRST,
        }
    }

    /// A process id that nobody had before.
    pub(super) fn new_pid(&mut self) -> u32 {
        self.pids += 1;
        self.pids - 1
    }

    /// The number of a new file.
    pub(super) fn new_identity(&mut self) -> u64 {
        self.identities += 1;
        self.identities
    }

    /// How long news of a change in a directory take.
    pub(super) fn news(&self, now: u64) -> Latency {
        if self.no_inotify || now < self.blind_until { latency::SLOW_LOOK } else { latency::DIRECTORY }
    }

    /// The machine went down: what lay in memory is lost, and no call of an old process is waited for.
    pub(super) fn reboots(&mut self) {
        self.mps = MpsFiles::default();
        self.cdi.clear();
        self.parked.clear();
        self.hung.clear();
    }

    /// A plugin that starts removes the sockets that one left behind that was killed.
    pub(super) fn remove_dead_sockets(&mut self) {
        let accepting = &self.accepting;
        self.sockets.retain(|_, socket| accepting.contains(&socket.server));
    }

    /// What a search for the driver's files finds.
    pub(super) fn find(&self, search: &Search) -> Found {
        let installed = self.gpus.is_some();
        let library = |pattern: &&String| installed && pattern.starts_with("/usr/lib64/*.so.");
        let path = |pattern: &String| pattern.replace('*', "libcuda");
        let libraries = search.files.iter().filter(library).map(|pattern| (path(pattern), path(pattern)));
        let world = NodeAccess { world: true, gid: 0 };
        let node = |path: &&String| installed && !path.contains('*') && path.starts_with("/dev/nvidia");
        let nodes = search.nodes.iter().filter(node).filter(|path| !path.contains("imex"));
        Found {
            files: libraries.collect(),
            nodes: nodes.map(|path| (path.clone(), world)).collect(),
            drm: BTreeMap::new(),
            specs: self.cdi.clone(),
        }
    }

    /// The compute mode of a GPU.
    pub(super) fn mode(&self, loaded: &mut Library, gpu: &GpuUuid) -> Result<ComputeMode, String> {
        self.library(loaded).map_err(|why| format!("GPU `{gpu}`: {why}"))?;
        let record = self.gpu(gpu)?;
        match (record.lost, record.nvml_error) {
            (0, 0) => Ok(from_gpu(record.mode())),
            (0, code) => Err(format!("GPU `{gpu}`: error {code}")),
            _ => Err(format!("GPU `{gpu}`: GPU is lost")),
        }
    }

    /// Changes the compute mode of a GPU.
    pub(super) fn set_mode(
        &mut self,
        loaded: &mut Library,
        gpu: &GpuUuid,
        mode: ComputeMode,
    ) -> Result<(), String> {
        self.mode(loaded, gpu)?;
        let index = self.gpu(gpu)?.index;
        let gpus = self.gpus.as_mut().ok_or("there is no driver")?;
        gpus.set_compute_mode(index, to_gpu(mode)).map_err(|e: GpuError| e.to_string())
    }

    /// The pid of the MPS control daemon that serves this directory.
    pub(super) fn mps_daemon(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Option<u32> {
        let directory = wanted.pipe_dir(MPS_ROOT, gpu);
        let daemons = self.gpus.as_ref()?.mps_daemons();
        daemons.iter().find(|d| d.pipe_directory.as_str() == directory).map(|d| d.pid)
    }

    /// Starts an MPS control daemon on one GPU.
    pub(super) fn start_mps_daemon(&mut self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Result<u32, String> {
        let mut seen = 0;
        for gpu in wanted.serves(gpu) {
            let record = self.gpu(&gpu.uuid)?;
            if record.lost != 0 {
                return Err(format!("MPS command `-d` failed: GPU `{}` is lost", gpu.uuid));
            }
            seen |= 1 << record.index;
        }
        let pid = self.new_pid();
        let daemon = MpsDaemon {
            pid,
            reserved: 0,
            started_ticks: 0,
            gpus: seen,
            pipe_directory: Text::new(&wanted.pipe_dir(MPS_ROOT, gpu)),
        };
        let gpus = self.gpus.as_mut().ok_or("there is no driver")?;
        gpus.add_mps_daemon(daemon).map_err(|e| e.to_string())?;
        Ok(pid)
    }

    /// Whether a daemon with this pid runs.
    pub(super) fn mps_daemon_lives(&self, pid: u32) -> bool {
        let daemons = self.gpus.iter().flat_map(|gpus| gpus.mps_daemons());
        daemons.into_iter().any(|daemon| daemon.pid == pid)
    }

    /// Pids of the daemons that see a GPU, or of all.
    pub(super) fn mps_daemons_on(&self, gpu: Option<u32>) -> Vec<u32> {
        let daemons = self.gpus.iter().flat_map(|gpus| gpus.mps_daemons());
        let on = |daemon: &&MpsDaemon| gpu.is_none_or(|index| daemon.sees(index));
        daemons.filter(on).map(|daemon| daemon.pid).collect()
    }

    /// The NVML index of a GPU.
    pub(super) fn index(&self, gpu: &GpuUuid) -> Option<u32> {
        self.gpu(gpu).ok().map(|record| record.index)
    }

    fn gpu(&self, gpu: &GpuUuid) -> Result<&Gpu, String> {
        let found = self.gpus.as_ref().and_then(|gpus| gpus.gpu_by_uuid(gpu.as_str()));
        found.ok_or_else(|| format!("GPU `{gpu}`: not found"))
    }
}

pub(super) fn from_gpu(mode: GpuMode) -> ComputeMode {
    match mode {
        GpuMode::Default => ComputeMode::Default,
        GpuMode::ExclusiveThread => ComputeMode::ExclusiveThread,
        GpuMode::Prohibited => ComputeMode::Prohibited,
        GpuMode::ExclusiveProcess => ComputeMode::ExclusiveProcess,
    }
}

fn to_gpu(mode: ComputeMode) -> GpuMode {
    match mode {
        ComputeMode::Default => GpuMode::Default,
        ComputeMode::ExclusiveThread => GpuMode::ExclusiveThread,
        ComputeMode::Prohibited => GpuMode::Prohibited,
        ComputeMode::ExclusiveProcess => GpuMode::ExclusiveProcess,
    }
}
