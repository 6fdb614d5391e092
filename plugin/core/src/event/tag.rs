//! The name of each event, and what old journals leave out, apart from the list that people read.

use super::Event;

impl Event {
    /// The snake_case tag: journal tag, log field and metric label.
    pub fn tag(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::Timeout => "timeout",
            Event::ReloadRequested => "reload_requested",
            Event::StopRequested => "stop_requested",
            Event::GpusFound { .. } => "gpus_found",
            Event::NoDriver { .. } => "no_driver",
            Event::DriverFailed { .. } => "driver_failed",
            Event::PlatformUnsupported { .. } => "platform_unsupported",
            Event::DriverStuck { .. } => "driver_stuck",
            Event::LastGoodRead { .. } => "last_good_read",
            Event::LastGoodUnreadable { .. } => "last_good_unreadable",
            Event::LastGoodNotKept { .. } => "last_good_not_kept",
            Event::KeptGpusRead { .. } => "kept_gpus_read",
            Event::KeptGpusUnreadable { .. } => "kept_gpus_unreadable",
            Event::KeptGpusFailed { .. } => "kept_gpus_failed",
            Event::ConfigRead { .. } => "config_read",
            Event::ConfigUnreadable { .. } => "config_unreadable",
            Event::NodeRead { .. } => "node_read",
            Event::TaintsRead { .. } => "taints_read",
            Event::FiguresRead { .. } => "figures_read",
            Event::NodeUnreadable { .. } => "node_unreadable",
            Event::LabelsPatched => "labels_patched",
            Event::LabelsFailed { .. } => "labels_failed",
            Event::AnnotationsPatched => "annotations_patched",
            Event::AnnotationsFailed { .. } => "annotations_failed",
            Event::TaintsPatched => "taints_patched",
            Event::TaintsFailed { .. } => "taints_failed",
            Event::KubeletAppeared { .. } => "kubelet_appeared",
            Event::KubeletGone => "kubelet_gone",
            Event::Listening { .. } => "listening",
            Event::ListenFailed { .. } => "listen_failed",
            Event::Registered { .. } => "registered",
            Event::RegisterFailed { .. } => "register_failed",
            Event::StreamOpened { .. } => "stream_opened",
            Event::StreamClosed { .. } => "stream_closed",
            Event::Allocated { .. } => "allocated",
            Event::HoldersRead { .. } => "holders_read",
            Event::HoldersUnreadable { .. } => "holders_unreadable",
            Event::PodsRead { .. } => "pods_read",
            Event::PodsUnreadable { .. } => "pods_unreadable",
            Event::AllocatableRead { .. } => "allocatable_read",
            Event::AllocatableUnreadable { .. } => "allocatable_unreadable",
            Event::MpsReported { .. } => "mps_reported",
            Event::MpsDesiredFailed { .. } => "mps_desired_failed",
            Event::DriverFilesFound { .. } => "driver_files_found",
            Event::CdiSpecsWritten => "cdi_specs_written",
            Event::CdiSpecsFailed { .. } => "cdi_specs_failed",
            Event::ProcessesRead { .. } => "processes_read",
        }
    }
}

/// The age of a kubelet of which none is told: its lists are complete.
pub(super) fn long_ago() -> u64 {
    u64::from(u32::MAX)
}
