//! The closed list of what can happen in the model: every effect of every part is one of these, at its own time, so
//! that anything can come between a cause and its effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::kubelet::ledger::ClientId;
use plugin_core::cdi::Search;
use plugin_core::config::{ResourceName, TimeSlice};
use plugin_core::event::{BoundPod, Event};
use plugin_core::inventory::GpuUuid;
use plugin_core::mps::SupervisorEvent;
use plugin_core::view::Device;

use super::message::{Answer, Call, Dial, NodePatch, Register};
use super::taints::NodeTaints;
use crate::on::driver_faults;

/// A pod by the number of its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodId(pub(super) u64);

/// A device plugin server: which life of the plugin opened it, and its number in that life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId {
    /// The plugin process's life.
    pub(super) life: u32,
    /// Counted in that life.
    pub(super) number: u32,
}

/// One kubelet's connection to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    /// The kubelet process's life.
    pub(super) kubelet: u32,
    /// The kubelet's registration.
    pub(super) client: ClientId,
    /// The server.
    pub(super) server: ServerId,
}

/// A device list as a stream sends it.
pub(super) type Devices = Option<Arc<BTreeMap<String, Device>>>;
/// What the plugin's watch shows of a Node.
#[derive(Debug, Clone)]
pub(super) struct NodeShown {
    pub(super) labels: Arc<Labels>,
    pub(super) taints: Arc<NodeTaints>,
    /// What it promises of extended resources.
    pub(super) figures: Arc<BTreeMap<String, u64>>,
}

/// Labels of a Node.
pub(super) type Labels = BTreeMap<String, String>;
/// Changes of labels or annotations; `None` removes the key.
pub(super) type Changes = BTreeMap<String, Option<String>>;

/// One of the plugin's two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    /// `tandem-device-plugin run`.
    Plugin,
    /// `tandem-device-plugin mps`.
    Mps,
}

/// A fault of a node that ends by itself.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// PodResources answers as it should.
    ListTrouble,
    /// One of the driver.
    Driver(driver_faults::Ending),
    /// These MPS control daemons answer again.
    MpsDaemonHang(Vec<u32>),
    /// The disk has room again.
    DiskFull,
    /// MPS directories can be made again.
    MpsDirectoryBlocked,
    /// The kernel has inotify watches again.
    InotifyExhausted,
    /// The Node object is registered again.
    NodeRecreated,
}

/// A fault of the API server that ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiEnding {
    /// It answers again.
    Down,
    /// It answers quickly again.
    Slow,
    /// It serves the plugin's requests again.
    Refuses,
    /// It remembers versions again.
    WatchExpired,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// The scheduler makes a pass.
    Schedule,
    /// The controller of Deployments looks.
    Replicas,
    /// The DaemonSet controller compares nodes' labels with what runs.
    Reconcile,
    /// A fault of the API server ends by itself.
    ApiFaultEnds(ApiEnding),
    /// Something happens on one node.
    Node {
        /// The node's number.
        node: usize,
        /// What.
        what: What,
    },
}

/// Something that happens on one node. A number called life names a process: what was meant for an earlier one is lost.
#[derive(Debug)]
pub(super) enum What {
    /// The DaemonSet's program starts.
    ProgramStarts(Which),
    /// A program that was asked to stop has had its time.
    StopOverdue(Which, u32),
    /// The machine is up again.
    Boots,
    /// The kubelet's socket exists, and refuses connections until [`What::KubeletStarts`].
    KubeletBinds,
    /// A fault ends by itself.
    FaultEnds(Ending),

    /// The plugin's loop takes the next event from its queue.
    PluginWakes(u32),
    /// The time that the plugin asked for has come.
    PluginDue(u32),
    /// An effect's answer reaches the plugin's queue.
    PluginTold(u32, Box<Event>),
    /// The plugin hears of a change in the kubelet's directory.
    KubeletDirectoryChanged(u32),
    /// The plugin looks at the MPS supervisor's report and lock.
    MpsReportLooked(u32),
    /// The plugin reads its configuration, because it was asked to or because it changed.
    ConfigLooked(u32, bool),
    /// A changed config map reaches its volume.
    ConfigProjected,
    /// The plugin's watch of its Node delivers a version, or that it was deleted.
    NodeSeen(u64, Option<NodeShown>),
    /// The plugin's watch of its Node breaks.
    NodeWatchBreaks,
    /// The plugin lists its Node (again).
    NodeListed(u32),
    /// The API server lists the pods on the node for this watch of a plugin process.
    BoundPodsListed(u32, u64),
    /// The plugin's watch of the pods on its node delivers them.
    BoundPodsSeen(Arc<Vec<BoundPod>>),
    /// NVML has listed the GPUs, for this look.
    GpusListed(u32, u64),
    /// The plugin looks at the GPUs by itself.
    GpusDue(u32),
    /// A look at the GPUs has taken too long, if it is not over.
    LookOverdue(u32, u64),
    /// The supervisor tries again to write what the disk had no room for.
    ReportDue(u32),
    /// NVML has listed the processes on a GPU, for this call.
    ProcessesListed(u32, GpuUuid, u64),
    /// A call for the processes on a GPU has taken too long, if it is not over.
    ProcessesOverdue(u32, GpuUuid, u64),
    /// The driver's files and the spec directory have been looked at.
    DriverFilesLooked(u32, u64, Box<Search>),
    /// CDI specs are replaced.
    SpecsWritten(u32, BTreeMap<String, String>),
    /// `desired.json` is replaced.
    DesiredWritten(u32),
    /// The state file is replaced.
    LastGoodWritten(u32),
    /// The state file with what is known of the GPUs is replaced.
    KeptGpusWritten(u32),
    /// nvidia-smi is done with a GPU's time slice.
    TimeSliceAsked(u32, GpuUuid, TimeSlice),
    /// A patch of the Node reaches the API server.
    PatchArrives(u32, Box<NodePatch>),
    /// The kubelet's ListAndWatch reaches the server.
    StreamAsked(StreamId),
    /// A server's task has found that somebody removed its socket.
    SocketLost(ServerId),
    /// The server sees that the kubelet left its stream.
    StreamLeft(StreamId),

    /// A kubelet process serves its sockets.
    KubeletStarts,
    /// A Register call reaches the kubelet.
    RegisterArrives(Box<Register>),
    /// The kubelet dials a plugin that registered.
    Dials(Box<Dial>),
    /// A device list reaches the kubelet.
    ListArrives(StreamId, Devices),
    /// The kubelet sees that a stream ended.
    StreamEnds(StreamId),
    /// A call reaches a server.
    CallArrives(Box<Call>),
    /// A call's answer reaches the kubelet.
    CallAnswered(u32, u64, Box<Answer>),
    /// A PodResources List reaches the kubelet.
    HoldersAsked(u32),
    /// A PodResources GetAllocatableResources reaches the kubelet.
    AllocatableAsked(u32, Vec<ResourceName>),
    /// The kubelet writes the node's status; quick ones are counted down.
    Ticks(u32, u32),
    /// A kubelet has listed its pods for the first time.
    PodsListed(u32),
    /// The kubelet's watch tells of a pod: bound, or being deleted.
    PodSeen(PodId),
    /// An admitted pod's containers are created.
    ContainersStart(u32, PodId),
    /// A pod's containers end by themselves.
    PodFinishes(PodId),
    /// A pod's containers have started, or it was given something to do.
    WorkBegins(PodId),
    /// The process of a pod does what its time has come for; a turn that is over is lost.
    WorkGoesOn(PodId, u64),
    /// A deleted pod's containers have ended.
    PodTerminated(u32, PodId),

    /// The supervisor's loop takes the next event from its queue.
    MpsWakes(u32),
    /// The time that the supervisor asked for has come.
    MpsDue(u32),
    /// An effect's answer reaches the supervisor's queue.
    MpsTold(u32, Box<SupervisorEvent>),
    /// The supervisor looks at `desired.json`.
    DesiredLooked(u32),
    /// A control daemon that runs is looked at; a watch that is over is lost.
    DaemonLooked(u32, GpuUuid, u64),
    /// The effect at the head of a GPU's queue is done.
    EffectDone(u32, GpuUuid),
    /// An NVML call about a GPU that hung returns.
    EffectReturns(u32, GpuUuid),
    /// An NVML call about a GPU has taken too long, if it is not over.
    EffectOverdue(u32, GpuUuid, u64),
}

impl What {
    /// Whether the kubelet process itself must do this; a kubelet that hangs does it later.
    pub(super) fn is_kubelets(&self) -> bool {
        matches!(
            self,
            What::RegisterArrives(..)
                | What::Dials(_)
                | What::ListArrives(..)
                | What::StreamEnds(_)
                | What::CallAnswered(..)
                | What::HoldersAsked(_)
                | What::AllocatableAsked(..)
                | What::Ticks(..)
                | What::PodsListed(_)
                | What::PodSeen(_)
                | What::ContainersStart(..)
                | What::PodTerminated(..)
        )
    }
}
