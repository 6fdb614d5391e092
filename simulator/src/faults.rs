//! What can go wrong around the plugin, as values: a scenario or a fuzzer names a fault, a stage makes it happen.

mod cuts;

use std::time::Duration;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The plugin's process is killed; its container is started again.
    PluginCrash,
    /// The plugin is stopped in order and started again, as in an upgrade.
    PluginRestart,
    /// The MPS supervisor's process is killed and started again; its control daemons live on.
    SupervisorCrash,
    /// The MPS control program is not installed.
    MpsControlMissing,
    /// The MPS control program does not end, whatever it is asked.
    MpsControlHang,
    /// The MPS control program says what nobody understands, and ends well.
    MpsControlGarbage,
    /// The MPS control program ends with exit status 1.
    MpsControlFails,
    /// nvidia-smi is not installed.
    NvidiaSmiMissing,
    /// nvidia-smi does not end, whatever it is asked.
    NvidiaSmiHang,
    /// nvidia-smi ends with exit status 1.
    NvidiaSmiFails,
    /// A file stands where the directories of MPS control daemons should be made.
    MpsDirectoryBlocked,
    /// MPS control daemons are killed: one GPU's, or all of the node.
    MpsDaemonCrash {
        /// The GPU's NVML index.
        gpu: Option<u32>,
    },
    /// The kubelet's process ends and starts again, after the duration or at once.
    KubeletRestart,
    /// The kubelet does nothing for the duration.
    KubeletHang,
    /// PodResources does not answer for the duration.
    PodResourcesUnavailable,
    /// PodResources answers List late for the duration.
    PodResourcesSlow {
        /// By how much.
        delay: Duration,
    },
    /// PodResources refuses every call for the duration, as its rate limit does when others ask too much.
    PodResourcesLimited,
    /// PodResources lists for the duration also the pods that it lists now and that have gone since.
    PodResourcesStale,
    /// The API server does not answer for the duration; watches break.
    ApiServerDown,
    /// The plugin's watch of its Node breaks.
    WatchDrop,
    /// A GPU falls off its bus, for the duration or for good.
    GpuLost {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// The driver reports an Xid.
    Xid {
        /// The GPU's NVML index.
        gpu: u32,
        /// The code, such as 79.
        code: u32,
    },
    /// The driver reports an uncorrected ECC error.
    EccError {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// NVML calls answer an error code: those about one GPU, or all.
    NvmlError {
        /// The GPU's NVML index.
        gpu: Option<u32>,
        /// NVML's code, such as 999.
        code: u32,
    },
    /// Every NVML call takes this long.
    NvmlSlow {
        /// How long.
        delay: Duration,
    },
    /// NVML calls do not return, for the duration or for good.
    NvmlHang,
    /// NVML calls about one GPU do not return, for the duration or for good.
    GpuHang {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// A GPU is pulled out, for the duration or for good; the indexes of those behind it move up.
    GpuUnplugged {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// The driver is replaced under running programs: versions differ for the duration, then those that load NVML anew get
    /// the next version. Minor numbers are given anew.
    DriverUpgrade,
    /// The driver's device nodes are not there yet, so NVML does not initialise for the duration.
    LateDeviceNodes,
    /// The NVSwitch fabric is not ready: no process gets a context.
    FabricNotReady,
    /// MPS control daemons do not answer: one GPU's, or all of the node.
    MpsDaemonHang {
        /// The GPU's NVML index.
        gpu: Option<u32>,
    },
    /// The MPS servers of a GPU report FAULT and take no clients.
    MpsFault {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// The kernel kills the MPS supervisor's container: the supervisor and all its control daemons at once.
    MpsOomKilled,
    /// The kernel kills the plugin's container; it starts again after the duration, as after a back-off.
    PluginOomKilled,
    /// The plugin's pod is replaced by one of another version, which starts when its image is there: after the duration.
    PluginUpgrade,
    /// The API server takes this long for every answer.
    ApiServerSlow {
        /// How long.
        delay: Duration,
    },
    /// The API server refuses the plugin's requests.
    ApiServerRefuses {
        /// The HTTP status, such as 429 or 401.
        code: u32,
    },
    /// The API server has forgotten the version that a watch asks for (410 Gone), for the duration.
    WatchExpired,
    /// The kubelet starts anew and its socket refuses connections for the duration, between bind and listen.
    KubeletSocketRace,
    /// The kubelet starts anew and PodResources lists nothing for the duration.
    PodResourcesEmpty,
    /// The kubelet's device plugin directory is made anew: every socket is gone, and whoever watched it watches nothing.
    PluginDirectoryRecreated,
    /// The kubelet ends, its checkpoint file is lost, and it starts anew with nothing.
    CheckpointLost,
    /// The Node object is deleted and registered again after the duration, without the labels that it was given since.
    NodeRecreated,
    /// Nothing can be written to the disk.
    DiskFull,
    /// The machine stands still for the duration; afterwards its clocks have leapt.
    Suspend,
    /// The kernel has no inotify watch left: changes of directories are found by looking.
    InotifyExhausted,
    /// `systemctl daemon-reload` rewrites device cgroups: processes in containers lose their GPUs.
    DeviceCgroupsRewritten,
    /// The machine goes down and boots again.
    NodeReboot,
    /// A program that belongs to no pod computes on a GPU, for the duration or for good.
    UninvitedProcess {
        /// The GPU's NVML index.
        gpu: u32,
    },
    /// NVML answers an error code when it is asked which processes are on a GPU.
    ProcessesUnreadable {
        /// The GPU's NVML index.
        gpu: u32,
        /// NVML's code, such as 3 for "not supported".
        code: u32,
    },
}

/// A fault, where and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    /// What goes wrong.
    pub fault: Fault,
    /// On which nodes: a name, or a glob. The API server has no node.
    pub node: String,
    /// How long it lasts, where it ends by itself.
    pub lasts: Option<Duration>,
}

impl Fault {
    /// The word for it in scenarios and reports.
    pub fn tag(&self) -> &'static str {
        match self {
            Fault::PluginCrash => "pluginCrash",
            Fault::PluginRestart => "pluginRestart",
            Fault::PluginUpgrade => "pluginUpgrade",
            Fault::PluginOomKilled => "pluginOomKilled",
            Fault::SupervisorCrash => "supervisorCrash",
            Fault::MpsDaemonCrash { .. } => "mpsDaemonCrash",
            Fault::MpsDaemonHang { .. } => "mpsDaemonHang",
            Fault::MpsFault { .. } => "mpsFault",
            Fault::MpsOomKilled => "mpsOomKilled",
            Fault::MpsControlMissing => "mpsControlMissing",
            Fault::MpsControlHang => "mpsControlHang",
            Fault::MpsControlGarbage => "mpsControlGarbage",
            Fault::MpsControlFails => "mpsControlFails",
            Fault::NvidiaSmiMissing => "nvidiaSmiMissing",
            Fault::NvidiaSmiHang => "nvidiaSmiHang",
            Fault::NvidiaSmiFails => "nvidiaSmiFails",
            Fault::MpsDirectoryBlocked => "mpsDirectoryBlocked",
            Fault::KubeletRestart => "kubeletRestart",
            Fault::KubeletHang => "kubeletHang",
            Fault::KubeletSocketRace => "kubeletSocketRace",
            Fault::PodResourcesUnavailable => "podResourcesUnavailable",
            Fault::PodResourcesEmpty => "podResourcesEmpty",
            Fault::PodResourcesSlow { .. } => "podResourcesSlow",
            Fault::PodResourcesLimited => "podResourcesLimited",
            Fault::PodResourcesStale => "podResourcesStale",
            Fault::PluginDirectoryRecreated => "pluginDirectoryRecreated",
            Fault::CheckpointLost => "checkpointLost",
            Fault::ApiServerDown => "apiServerDown",
            Fault::ApiServerSlow { .. } => "apiServerSlow",
            Fault::ApiServerRefuses { .. } => "apiServerRefuses",
            Fault::WatchDrop => "watchDrop",
            Fault::WatchExpired => "watchExpired",
            Fault::NodeRecreated => "nodeRecreated",
            Fault::GpuLost { .. } => "gpuLost",
            Fault::GpuUnplugged { .. } => "gpuUnplugged",
            Fault::Xid { .. } => "xid",
            Fault::EccError { .. } => "eccError",
            Fault::NvmlError { .. } => "nvmlError",
            Fault::NvmlSlow { .. } => "nvmlSlow",
            Fault::NvmlHang => "nvmlHang",
            Fault::GpuHang { .. } => "gpuHang",
            Fault::DriverUpgrade => "driverUpgrade",
            Fault::LateDeviceNodes => "lateDeviceNodes",
            Fault::FabricNotReady => "fabricNotReady",
            Fault::DiskFull => "diskFull",
            Fault::Suspend => "suspend",
            Fault::InotifyExhausted => "inotifyExhausted",
            Fault::DeviceCgroupsRewritten => "deviceCgroupsRewritten",
            Fault::NodeReboot => "nodeReboot",
            Fault::UninvitedProcess { .. } => "uninvitedProcess",
            Fault::ProcessesUnreadable { .. } => "processesUnreadable",
        }
    }

    /// Whether it is the whole cluster's and happens on no node.
    pub fn is_of_cluster(&self) -> bool {
        matches!(
            self,
            Fault::ApiServerDown
                | Fault::ApiServerSlow { .. }
                | Fault::ApiServerRefuses { .. }
                | Fault::WatchExpired
        )
    }

    /// The GPU that it names.
    pub fn gpu(&self) -> Option<u32> {
        match *self {
            Fault::GpuLost { gpu }
            | Fault::GpuHang { gpu }
            | Fault::GpuUnplugged { gpu }
            | Fault::Xid { gpu, .. }
            | Fault::EccError { gpu }
            | Fault::UninvitedProcess { gpu }
            | Fault::ProcessesUnreadable { gpu, .. }
            | Fault::MpsFault { gpu } => Some(gpu),
            Fault::MpsDaemonCrash { gpu } | Fault::MpsDaemonHang { gpu } | Fault::NvmlError { gpu, .. } => {
                gpu
            }
            _ => None,
        }
    }

    /// The code that it names.
    pub fn code(&self) -> Option<u32> {
        match *self {
            Fault::Xid { code, .. }
            | Fault::NvmlError { code, .. }
            | Fault::ProcessesUnreadable { code, .. }
            | Fault::ApiServerRefuses { code } => Some(code),
            _ => None,
        }
    }

    /// The delay that it names.
    pub fn delay(&self) -> Option<Duration> {
        match *self {
            Fault::NvmlSlow { delay }
            | Fault::ApiServerSlow { delay }
            | Fault::PodResourcesSlow { delay } => Some(delay),
            _ => None,
        }
    }

    /// Whether it can end by itself after a duration.
    pub fn can_last(&self) -> bool {
        !matches!(
            self,
            Fault::PluginCrash
                | Fault::PluginRestart
                | Fault::SupervisorCrash
                | Fault::MpsDaemonCrash { .. }
                | Fault::WatchDrop
                | Fault::Xid { .. }
                | Fault::EccError { .. }
                | Fault::DeviceCgroupsRewritten
        )
    }
}
