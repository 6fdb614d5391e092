//! The closed list of what can happen in the model: every effect of every part is one of these, at its own time, so
//! that anything can come between a cause and its effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::kubelet::ledger::{AllocateCall, CallError, ClientId, PreferredCall};
use plugin_core::allocate::Allocation;
use plugin_core::cdi::Search;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use plugin_core::mps::SupervisorEvent;
use plugin_core::view::Device;

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
/// Labels of a Node.
pub(super) type Labels = BTreeMap<String, String>;
/// Changes of labels; `None` removes the key.
pub(super) type LabelPatch = BTreeMap<String, Option<String>>;

/// One of the plugin's two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    /// `tandem-device-plugin run`.
    Plugin,
    /// `tandem-device-plugin mps`.
    Mps,
}

/// A fault that ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// PodResources answers again.
    PodResources,
    /// A GPU is back on its bus.
    GpuLost(u32),
}

/// What the kubelet asks a server.
#[derive(Debug)]
pub(super) enum Request {
    /// GetPreferredAllocation.
    Preferred(PreferredCall),
    /// Allocate.
    Allocate(AllocateCall),
}

/// What the server answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// To GetPreferredAllocation.
    Preferred(Result<Vec<String>, CallError>),
    /// To Allocate.
    Allocate(Result<Allocation, CallError>),
}

/// A call on its way to a server.
#[derive(Debug)]
pub(super) struct Call {
    /// The kubelet process's life.
    pub(super) kubelet: u32,
    /// The kubelet's number for it.
    pub(super) number: u64,
    /// Whom it asks.
    pub(super) server: ServerId,
    /// What it asks.
    pub(super) request: Request,
}

/// A Register call on its way to the kubelet.
#[derive(Debug, Clone)]
pub(super) struct Register {
    /// The plugin process's life.
    pub(super) plugin: u32,
    /// The extended resource.
    pub(super) resource: ResourceName,
    /// The socket's file name.
    pub(super) endpoint: String,
    /// Which of the resource's sockets.
    pub(super) attempt: u64,
}

impl Register {
    /// The answer as the plugin hears of it.
    pub(super) fn answered(self, result: Result<(), String>) -> Event {
        let Register { resource, attempt, .. } = self;
        match result {
            Ok(()) => Event::Registered { resource, attempt },
            Err(why) => Event::RegisterFailed { resource, attempt, why },
        }
    }
}

/// A kubelet that tries to reach the plugin that registered.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// The kubelet process's life.
    pub(super) kubelet: u32,
    /// The call that it answers.
    pub(super) call: Register,
    /// The registration.
    pub(super) client: ClientId,
    /// When the kubelet gives up, in nanoseconds.
    pub(super) until: u64,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// The scheduler makes a pass.
    Schedule,
    /// The DaemonSet controller compares nodes' labels with what runs.
    Reconcile,
    /// The API server answers again.
    ApiReturns,
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
    /// The plugin's watch of its Node delivers a version.
    NodeSeen(u64, Arc<Labels>),
    /// The plugin's watch of its Node breaks.
    NodeWatchBreaks,
    /// The plugin lists its Node (again).
    NodeListed(u32),
    /// NVML has listed the GPUs.
    GpusListed(u32),
    /// The driver's files and the spec directory have been looked at.
    DriverFilesLooked(u32, u64, Box<Search>),
    /// CDI specs are replaced.
    SpecsWritten(u32, BTreeMap<String, String>),
    /// `desired.json` is replaced.
    DesiredWritten(u32),
    /// A label patch reaches the API server.
    PatchArrives(u32, Box<LabelPatch>),
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
    /// The effect at the head of a GPU's queue is done.
    EffectDone(u32, GpuUuid),
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
                | What::Ticks(..)
                | What::PodsListed(_)
                | What::PodSeen(_)
                | What::ContainersStart(..)
                | What::PodTerminated(..)
        )
    }
}
