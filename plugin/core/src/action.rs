//! The closed list of what the shell may be asked to do. An effect that can fail is answered by an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cdi::Search;
use crate::config::{ResourceName, TimeSlice};
use crate::inventory::GpuUuid;
use crate::mps::Desired;
use crate::taints::Taint;

/// How much an announcement matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line in the log and a Normal Event.
    Info,
    /// Something is not as asked for: a warning in the log and a Warning Event.
    Warning,
}

/// Something to be done. The tag (`action` in JSON) is also the log field and the metric label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Load NVML and enumerate. Answered by `GpusFound`, `NoDriver`, `DriverFailed` or `PlatformUnsupported`, and by
    /// `DriverStuck` before that when it takes too long.
    FindGpus,
    /// Serve the device plugin API for a resource on a new socket. Answered by `Listening` or `ListenFailed`.
    /// A server that the resource already has is closed first.
    Listen {
        /// The extended resource.
        resource: ResourceName,
        /// The socket's file name in the kubelet's device plugin directory.
        endpoint: String,
        /// Which of the resource's sockets since the start; the answer repeats it.
        attempt: u64,
    },
    /// Tell the kubelet about it. Answered by `Registered` or `RegisterFailed`.
    Register {
        /// The extended resource.
        resource: ResourceName,
        /// The socket's file name.
        endpoint: String,
        /// Which of the resource's sockets since the start; the answer repeats it.
        attempt: u64,
    },
    /// End the resource's streams and server, remove its socket.
    Close {
        /// The extended resource.
        resource: ResourceName,
    },
    /// Ask the kubelet who holds what. Answered by `HoldersRead` or `HoldersUnreadable`.
    ReadHolders,
    /// List the pods that are bound to this Node and watch them from there on, instead of any earlier watch. Answered by
    /// `PodsRead` or `PodsUnreadable`, again and again until `IgnorePods`.
    WatchPods {
        /// Which watch since the start; the answers repeat it.
        attempt: u64,
    },
    /// End the watch of pods.
    IgnorePods,
    /// Ask the kubelet what it may hand out of these. Answered by `AllocatableRead` or `AllocatableUnreadable`.
    ReadAllocatable {
        /// The extended resources.
        resources: Vec<ResourceName>,
    },
    /// Read the configuration files again. Answered by `ConfigRead` or `ConfigUnreadable`.
    ReadConfig,
    /// Replace `desired.json` atomically. Only a failure is answered.
    WriteMpsDesired {
        /// Its content.
        desired: Desired,
    },
    /// Replace the state file with the last good configuration. Only a failure is answered, by `LastGoodNotKept`.
    KeepLastGood {
        /// Its whole content.
        text: String,
    },
    /// Replace the state file with what is known of the GPUs. Only a failure is answered, by `KeptGpusFailed`.
    KeepGpus {
        /// Its whole content.
        text: String,
    },
    /// Merge these into the Node's labels; `None` removes the key. Answered by `LabelsPatched` or `LabelsFailed`.
    PatchLabels {
        /// Key → value.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Look for what CDI specs need of the driver, and read the plugin's own files in the spec directory. Answered by
    /// `DriverFilesFound`.
    FindDriverFiles {
        /// Which search since the start; the answer repeats it.
        attempt: u64,
        /// What to look for.
        search: Search,
    },
    /// Replace these files in the spec directory, each in one step. Answered by `CdiSpecsWritten` or `CdiSpecsFailed`.
    WriteCdiSpecs {
        /// Name → text.
        specs: BTreeMap<String, String>,
    },
    /// Merge these into the Node's annotations; `None` removes the key. Answered by `AnnotationsPatched` or
    /// `AnnotationsFailed`.
    PatchAnnotations {
        /// Key → value.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Replace the Node's taints, if they are as they were seen, and note which are ours. Answered by `TaintsPatched` or
    /// `TaintsFailed`.
    PatchTaints {
        /// As they were seen.
        before: Vec<Taint>,
        /// As they should be.
        after: Vec<Taint>,
        /// The annotation [`NOTE`](crate::taints::NOTE); `None` removes it.
        note: Option<String>,
    },
    /// Set a GPU's time-slice interval. Answered by `TimeSliceSet` or `TimeSliceFailed`.
    SetTimeSlice {
        /// The GPU.
        gpu: GpuUuid,
        /// Its interval.
        interval: TimeSlice,
    },
    /// Say it: log, and a Kubernetes Event on the Node.
    Announce {
        /// How much it matters.
        severity: Severity,
        /// The Event's reason, in CamelCase.
        reason: String,
        /// One sentence: object, value, next step.
        message: String,
    },
    /// Ask NVML which compute processes are on a GPU. Answered by `ProcessesRead`, within seconds whatever the driver does.
    ReadProcesses {
        /// The physical GPU.
        gpu: GpuUuid,
    },
    /// End the process.
    Exit {
        /// 0 after a requested stop.
        code: u8,
        /// The one line that says why.
        why: String,
    },
}

impl Action {
    /// The snake_case tag: journal tag, log field and metric label.
    pub fn tag(&self) -> &'static str {
        match self {
            Action::FindGpus => "find_gpus",
            Action::Listen { .. } => "listen",
            Action::Register { .. } => "register",
            Action::Close { .. } => "close",
            Action::ReadHolders => "read_holders",
            Action::WatchPods { .. } => "watch_pods",
            Action::IgnorePods => "ignore_pods",
            Action::ReadAllocatable { .. } => "read_allocatable",
            Action::ReadConfig => "read_config",
            Action::WriteMpsDesired { .. } => "write_mps_desired",
            Action::KeepLastGood { .. } => "keep_last_good",
            Action::KeepGpus { .. } => "keep_gpus",
            Action::PatchLabels { .. } => "patch_labels",
            Action::PatchAnnotations { .. } => "patch_annotations",
            Action::PatchTaints { .. } => "patch_taints",
            Action::FindDriverFiles { .. } => "find_driver_files",
            Action::WriteCdiSpecs { .. } => "write_cdi_specs",
            Action::SetTimeSlice { .. } => "set_time_slice",
            Action::Announce { .. } => "announce",
            Action::ReadProcesses { .. } => "read_processes",
            Action::Exit { .. } => "exit",
        }
    }
}
