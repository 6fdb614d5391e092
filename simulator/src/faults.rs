//! What can go wrong around the plugin, as values: a scenario or a fuzzer names a fault, a stage makes it happen.

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
    /// The machine goes down and boots again.
    NodeReboot,
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
            Fault::SupervisorCrash => "supervisorCrash",
            Fault::MpsDaemonCrash { .. } => "mpsDaemonCrash",
            Fault::KubeletRestart => "kubeletRestart",
            Fault::KubeletHang => "kubeletHang",
            Fault::PodResourcesUnavailable => "podResourcesUnavailable",
            Fault::ApiServerDown => "apiServerDown",
            Fault::WatchDrop => "watchDrop",
            Fault::GpuLost { .. } => "gpuLost",
            Fault::Xid { .. } => "xid",
            Fault::NodeReboot => "nodeReboot",
        }
    }
}
