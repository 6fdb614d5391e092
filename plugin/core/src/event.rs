//! The closed list of what can happen to the plugin. Facts that a decision needs arrive inside the event.

mod tag;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::bound_pod::{BoundPod, PodPhase};
use crate::cdi::Found;
use crate::config::ResourceName;
pub use crate::holding::{Checkpoint, CheckpointEntry, Holding};
use crate::inventory::{Facts, GpuUuid};
use crate::mps::{Actual, Desired};
pub use crate::ownership::processes::{ComputeProcess, ProcessList};
use crate::plugin::Settings;
use crate::taints::Taint;
use crate::takeover::Allocatable;

/// Something that happened. The tag (`event` in JSON) is also the log field and the metric label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The process is up. Always first, exactly once.
    Started {
        /// How this process was told to behave: command line and environment, already parsed.
        settings: Box<Settings>,
        /// The MPS daemons that an earlier run of the plugin asked for, read from `desired.json`.
        mps_desired: Option<Desired>,
    },
    /// The time asked for by `poll_timeout` has come.
    Timeout,
    /// SIGHUP: the operator wants everything read again.
    ReloadRequested,
    /// SIGTERM or SIGINT.
    StopRequested,
    /// Answer to `FindGpus`, and told whenever a look finds something else: NVML is up and reported these.
    GpusFound {
        /// What it reported.
        facts: Facts,
    },
    /// Answer to `FindGpus`: there is no driver library on this node.
    NoDriver {
        /// The loader's message.
        why: String,
    },
    /// Answer to `FindGpus`: the library is there, but NVML cannot be used.
    DriverFailed {
        /// NVML's message.
        why: String,
    },
    /// Answer to `FindGpus`: a machine whose GPUs have no NVML that this program could use.
    PlatformUnsupported {
        /// `tegra` or `wsl`.
        platform: String,
        /// How that is known.
        why: String,
    },
    /// A call to the driver has not returned in its time. It goes on, and is answered when it returns.
    DriverStuck {
        /// The call, as the tag of its action.
        call: String,
        /// The GPU that it is about, if it is about one.
        gpu: Option<GpuUuid>,
        /// For how many seconds it has been waited for.
        waited_s: u64,
    },
    /// The state file with the last good configuration, before anything else is told; absent on a new node.
    LastGoodRead {
        /// Its content, whatever it is.
        text: Option<String>,
    },
    /// The state file is there, but cannot be read.
    LastGoodUnreadable {
        /// The path and the reason.
        why: String,
    },
    /// Answer to `KeepLastGood`: it could not be written.
    LastGoodNotKept {
        /// The path and the reason.
        why: String,
    },
    /// The state file with what is known of the GPUs, before anything else is told; absent on a new node.
    KeptGpusRead {
        /// Its content, whatever it is.
        text: Option<String>,
    },
    /// The state file is there, but cannot be read.
    KeptGpusUnreadable {
        /// The path and the reason.
        why: String,
    },
    /// Answer to `KeepGpus`: it could not be written.
    KeptGpusFailed {
        /// The path and the reason.
        why: String,
    },
    /// The configuration files as they are now: name → text. A single `--config-file` is one entry.
    ConfigRead {
        /// All files of the directory.
        files: BTreeMap<String, String>,
    },
    /// The configuration could not be read.
    ConfigUnreadable {
        /// The object and the reason.
        why: String,
    },
    /// The Node object's labels as they are now.
    NodeRead {
        /// All labels.
        labels: BTreeMap<String, String>,
    },
    /// The Node's taints as they are now; told before the labels of the same Node.
    TaintsRead {
        /// All taints.
        taints: Vec<Taint>,
        /// The annotation [`NOTE`](crate::taints::NOTE).
        note: Option<String>,
    },
    /// What the Node promises of extended resources (`status.allocatable`), told when it changes.
    FiguresRead {
        /// Resource → count.
        allocatable: BTreeMap<String, u64>,
    },
    /// The API server does not answer about the Node.
    NodeUnreadable {
        /// The reason.
        why: String,
    },
    /// Answer to `PatchLabels`: done.
    LabelsPatched,
    /// Answer to `PatchLabels`: refused or unreachable.
    LabelsFailed {
        /// The reason.
        why: String,
    },
    /// Answer to `PatchAnnotations`: done.
    AnnotationsPatched,
    /// Answer to `PatchAnnotations`: refused or unreachable.
    AnnotationsFailed {
        /// The reason.
        why: String,
    },
    /// Answer to `PatchTaints`: done.
    TaintsPatched,
    /// Answer to `PatchTaints`: they are not as they were seen, or the API server refuses or cannot be reached.
    TaintsFailed {
        /// The reason.
        why: String,
    },
    /// The kubelet's socket was created (also: found at start).
    KubeletAppeared {
        /// How long ago it was made. A journal that does not tell is of a kubelet that was there.
        #[serde(default = "crate::kubelet_start::long_ago")]
        age_ms: u64,
        /// The kubelet's checkpoint is there: it may have handed out devices before.
        #[serde(default)]
        has_checkpoint: bool,
    },
    /// The kubelet's socket is gone.
    KubeletGone,
    /// Answer to `Listen`: the resource's server accepts connections.
    Listening {
        /// The extended resource.
        resource: ResourceName,
        /// The socket's file name.
        endpoint: String,
        /// Which of the resource's sockets since the start; what is told of an older one changes nothing.
        attempt: u64,
    },
    /// Answer to `Listen`: the socket could not be made.
    ListenFailed {
        /// The extended resource.
        resource: ResourceName,
        /// Which of the resource's sockets since the start; what is told of an older one changes nothing.
        attempt: u64,
        /// The reason.
        why: String,
    },
    /// Answer to `Register`: the kubelet took it.
    Registered {
        /// The extended resource.
        resource: ResourceName,
        /// Which of the resource's sockets since the start; what is told of an older one changes nothing.
        attempt: u64,
    },
    /// Answer to `Register`: the kubelet refused or did not answer.
    RegisterFailed {
        /// The extended resource.
        resource: ResourceName,
        /// Which of the resource's sockets since the start; what is told of an older one changes nothing.
        attempt: u64,
        /// The reason.
        why: String,
    },
    /// The kubelet opened ListAndWatch.
    StreamOpened {
        /// The extended resource.
        resource: ResourceName,
    },
    /// A ListAndWatch stream ended from the kubelet's side, and none is left for the resource.
    StreamClosed {
        /// The extended resource.
        resource: ResourceName,
        /// Which of the resource's sockets since the start; what is told of an older one changes nothing.
        attempt: u64,
    },
    /// An Allocate was answered from the view of this generation. Written before the answer leaves.
    Allocated {
        /// The extended resource.
        resource: ResourceName,
        /// The device ids of one container.
        ids: Vec<String>,
        /// The view that answered.
        view_generation: u64,
        /// The error text, when it was refused.
        refused: Option<String>,
    },
    /// Answer to `ReadHolders`: who holds what. The read began after the action was taken.
    HoldersRead {
        /// PodResources List, flattened.
        holdings: Vec<Holding>,
        /// The kubelet's checkpoint, read just after.
        #[serde(default)]
        checkpoint: Checkpoint,
    },
    /// Answer to `ReadHolders`: the kubelet does not tell.
    HoldersUnreadable {
        /// The reason.
        why: String,
        /// The kubelet's checkpoint, read just after.
        #[serde(default)]
        checkpoint: Checkpoint,
    },
    /// Answer to `WatchPods`, and told again whenever they change: the pods that are bound to this Node. The list was asked
    /// for after the action was taken.
    PodsRead {
        /// Which watch since the start; what is told of an older one changes nothing.
        attempt: u64,
        /// All of them.
        pods: Vec<BoundPod>,
    },
    /// Answer to `WatchPods`: the API server does not tell, or there are too many. The shell goes on trying.
    PodsUnreadable {
        /// Which watch since the start.
        attempt: u64,
        /// The reason.
        why: String,
    },
    /// Answer to `ReadAllocatable`: what the kubelet may hand out of the resources that were asked for.
    AllocatableRead {
        /// By extended resource.
        devices: Allocatable,
    },
    /// Answer to `ReadAllocatable`: the kubelet does not tell.
    AllocatableUnreadable {
        /// The reason.
        why: String,
        /// This kubelet never will.
        unsupported: bool,
    },
    /// The MPS supervisor's report, or its absence, as found in `actual.json` and its lock.
    MpsReported {
        /// Whether a supervisor process is alive on this node.
        supervisor_alive: bool,
        /// Its last report.
        actual: Option<Actual>,
    },
    /// Answer to `WriteMpsDesired`: it could not be written.
    MpsDesiredFailed {
        /// The path and the reason.
        why: String,
    },
    /// Answer to `FindDriverFiles`.
    DriverFilesFound {
        /// Which search; what is told of an older one changes nothing.
        attempt: u64,
        /// What is there.
        found: Found,
    },
    /// Answer to `WriteCdiSpecs`: done.
    CdiSpecsWritten,
    /// Answer to `WriteCdiSpecs`: they could not be written.
    CdiSpecsFailed {
        /// The path and the reason.
        why: String,
    },
    /// Answer to `ReadProcesses`: what NVML tells. It was asked after the action was taken.
    ProcessesRead {
        /// The physical GPU.
        gpu: GpuUuid,
        /// The answer.
        list: ProcessList,
    },
    /// Answer to `SetTimeSlice`: done.
    TimeSliceSet(crate::time_slice::SliceSet),
    /// Answer to `SetTimeSlice`: it could not be set.
    TimeSliceFailed(crate::time_slice::SliceFailure),
}
