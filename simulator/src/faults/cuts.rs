//! Which faults make calls fail that no plugin can save.

use super::Fault;

impl Fault {
    /// Whether a kubelet and its plugin lose each other by it, or a GPU cannot be used for a while: calls that are under way
    /// then fail, and no plugin can prevent that.
    pub fn cuts_calls(&self) -> bool {
        match self {
            Fault::PluginCrash
            | Fault::PluginRestart
            | Fault::PluginUpgrade
            | Fault::PluginOomKilled
            | Fault::KubeletRestart
            | Fault::KubeletHang
            | Fault::KubeletSocketRace
            | Fault::PodResourcesEmpty
            | Fault::PluginDirectoryRecreated
            | Fault::CheckpointLost
            | Fault::NodeRecreated
            | Fault::GpuLost { .. }
            | Fault::GpuHang { .. }
            | Fault::GpuUnplugged { .. }
            | Fault::MpsDaemonCrash { .. }
            | Fault::MpsDaemonHang { .. }
            | Fault::MpsOomKilled
            | Fault::Suspend
            | Fault::NodeReboot => true,
            Fault::SupervisorCrash
            | Fault::MpsFault { .. }
            | Fault::MpsControlMissing
            | Fault::MpsControlHang
            | Fault::MpsControlGarbage
            | Fault::MpsControlFails
            | Fault::NvidiaSmiMissing
            | Fault::NvidiaSmiHang
            | Fault::NvidiaSmiFails
            | Fault::MpsDirectoryBlocked
            | Fault::PodResourcesUnavailable
            | Fault::PodResourcesSlow { .. }
            | Fault::PodResourcesLimited
            | Fault::PodResourcesStale
            | Fault::ApiServerDown
            | Fault::ApiServerSlow { .. }
            | Fault::ApiServerRefuses { .. }
            | Fault::WatchDrop
            | Fault::WatchExpired
            | Fault::Xid { .. }
            | Fault::EccError { .. }
            | Fault::NvmlError { .. }
            | Fault::NvmlSlow { .. }
            | Fault::NvmlHang
            | Fault::DriverUpgrade
            | Fault::LateDeviceNodes
            | Fault::FabricNotReady
            | Fault::DiskFull
            | Fault::InotifyExhausted
            | Fault::UninvitedProcess { .. }
            | Fault::ProcessesUnreadable { .. }
            | Fault::DeviceCgroupsRewritten => false,
        }
    }
}
