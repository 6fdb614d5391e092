//! The world as a scenario sees it, because expectations, invariants and the closing table must read one view,
//! taken from the outside: API objects, kubelet, driver and processes.

mod fields;
mod mig;
mod neighbours;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub use self::fields::{GPU_FIELDS, MEMORY_FIELDS, MPS_FIELDS, NODE_FIELDS, PLUGIN_FIELDS};
pub use self::mig::MigView;
pub use neighbours::{KUBELET_FIELDS, KubeletView, OTHER_PLUGIN_FIELDS, OtherPluginView};

/// The sections of the view that an `expect` block may name.
pub const SECTIONS: &[&str] = &["nodes", "pods", "phases"];
/// The fields of a pod that an `expect` block may name.
pub const POD_FIELDS: &[&str] = &[
    "phase",
    "reason",
    "message",
    "node",
    "scheduled",
    "resources",
    "ids",
    "gpus",
    "env",
    "mounts",
    "devices",
    "cdi",
    "cdiNodes",
    "containers",
    "labels",
    "events",
    "restarts",
    "ended",
];

/// Everything that can be seen of the cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct World {
    /// By node name.
    pub nodes: BTreeMap<String, NodeView>,
    /// By pod name (namespace `default`).
    pub pods: BTreeMap<String, PodView>,
    /// How many pods are in each phase.
    pub phases: BTreeMap<String, u64>,
}

/// A node: its API object, its GPUs and the processes on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// The `Ready` condition.
    pub ready: bool,
    /// Labels of the API object.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the API object.
    pub annotations: BTreeMap<String, String>,
    /// Taints as `key=value:effect`.
    pub taints: Vec<String>,
    /// `status.capacity`; whole quantities as numbers, others as text.
    pub capacity: BTreeMap<String, Value>,
    /// `status.allocatable`, likewise.
    pub allocatable: BTreeMap<String, Value>,
    /// The physical GPUs, by index.
    pub gpus: Vec<GpuView>,
    /// The plugin process.
    pub plugin: PluginView,
    /// The MPS supervisor process.
    pub mps: MpsView,
    /// The kubelet.
    pub kubelet: KubeletView,
    /// Device plugins that are not ours, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other_plugins: BTreeMap<String, OtherPluginView>,
    /// The kubelet's newest device lists, for invariants.
    #[serde(skip)]
    pub lists: DeviceCounts,
}

/// A physical GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuView {
    /// `GPU-…`.
    pub uuid: String,
    /// NVML index.
    pub index: u32,
    /// The `N` of its `/dev/nvidiaN`.
    pub minor: u32,
    /// `default`, `exclusive-process`, `prohibited`, …, as the driver says.
    pub compute_mode: String,
    /// `default`, `short`, `medium` or `long`: the interval of time-slicing, as the driver has it.
    pub time_slice: String,
    /// `running`, `absent` or `fault`: whether a live MPS control daemon serves this GPU, and its servers take clients.
    pub mps_daemon: String,
    /// `healthy`, or `lost` when it has fallen off the bus, as the driver says.
    pub health: String,
    /// Its memory.
    pub memory: MemoryView,
    /// How many processes have a context on it, of pods or of nobody, MPS servers not counted.
    pub processes: u64,
    /// How busy it is, in percent, as NVML tells it.
    pub utilization: u32,
    /// Its MIG devices; absent while MIG mode is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<Vec<MigView>>,
    /// The pods whose devices are on this GPU according to the kubelet, sorted, once per device.
    pub holders: Vec<String>,
    /// The resource names under which it is held, sorted, each once.
    pub resources: Vec<String>,
    /// What the plugin says of its role; absent when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the plugin says of its state, such as `draining`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Everything that the plugin says of it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub plugin: Value,
}

/// The memory of a GPU, as NVML tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryView {
    /// Bytes used by processes.
    pub used: u64,
    /// Bytes in all.
    pub total: u64,
    /// MiB used by processes, rounded down.
    #[serde(rename = "usedMiB")]
    pub used_mib: u64,
}

/// The plugin process of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PluginView {
    /// Whether the process lives.
    pub running: bool,
    /// Whether `/ready` answers 200.
    pub ready: bool,
    /// How often it was started.
    pub starts: u64,
    /// Resources with a live endpoint at the kubelet → devices in the last list.
    pub registered: BTreeMap<String, u64>,
    /// Resource → how often it was registered at this node's kubelet, over all of the kubelet's lives.
    pub registrations: BTreeMap<String, u64>,
    /// The messages of its log at level warn or error.
    pub warnings: Vec<String>,
    /// `held` while it has the driver's library or device nodes open, which keeps a driver from being unloaded; `free`
    /// otherwise.
    pub driver: String,
    /// Its own account, `/state`; null when it does not answer.
    pub state: Value,
}

impl PluginView {
    /// The word for a driver that is held, or is not.
    pub fn driver_is(held: bool) -> String {
        if held { "held" } else { "free" }.to_owned()
    }
}

/// The MPS supervisor process of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MpsView {
    /// Whether the process lives.
    pub running: bool,
    /// How often it was started.
    pub starts: u64,
}

/// A pod: its API object and what its containers were given.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// `status.reason`; absent when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `status.message`; absent when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The node it is bound to; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The `PodScheduled` condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Condition>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Extended resources asked for, summed over its containers.
    pub resources: BTreeMap<String, u64>,
    /// Resource → device ids held, sorted.
    pub ids: BTreeMap<String, Vec<String>>,
    /// How many devices each of its GPUs had when they were handed out, for invariants.
    #[serde(skip)]
    pub replicas: BTreeMap<String, u64>,
    /// The GPUs behind those ids, sorted, each once.
    pub gpus: Vec<String>,
    /// Environment of the first container, as the device plugin set it.
    pub env: BTreeMap<String, String>,
    /// Mounts of the first container, `host -> container`, ` (ro)` appended when read-only. The run's
    /// temporary directories are written `<mpsRoot>`.
    pub mounts: Vec<String>,
    /// Device nodes of the first container, `host -> container (permissions)`.
    pub devices: Vec<String>,
    /// Qualified CDI names of the first container.
    pub cdi: Vec<String>,
    /// Device nodes that these names lead to, `host -> container (permissions)`.
    pub cdi_nodes: Vec<String>,
    /// What each container was given.
    pub containers: BTreeMap<String, ContainerView>,
    /// Events about the pod, `reason: message`, in order.
    pub events: Vec<String>,
    /// How often containers of it were started again.
    pub restarts: u64,
    /// How its containers ended so far, in a sentence each.
    pub ended: Vec<String>,
}

/// A condition of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason.
    pub reason: String,
    /// The message.
    pub message: String,
}

/// What a device plugin gave a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerView {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Mounts, as in [`PodView::mounts`].
    pub mounts: Vec<String>,
    /// Device nodes, as in [`PodView::devices`].
    pub devices: Vec<String>,
    /// Qualified CDI names.
    pub cdi: Vec<String>,
    /// As [`PodView::cdi_nodes`].
    pub cdi_nodes: Vec<String>,
}

/// Resource → GPU → healthy devices in a list.
pub type DeviceCounts = BTreeMap<String, BTreeMap<String, u64>>;
impl World {
    /// The view as JSON, which patterns are matched against.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Whether a pod still holds its devices: bound and not ended.
    pub fn holds_devices(pod: &PodView) -> bool {
        pod.node.is_some() && pod.phase != "Failed" && pod.phase != "Succeeded"
    }
}

/// The GPU (or MIG device) behind a device id: the part before `::`.
pub fn gpu_of(id: &str) -> &str {
    id.split_once("::").map_or(id, |(gpu, _)| gpu)
}

/// A Kubernetes quantity: a number when it is a whole one without suffix, else the text.
pub fn quantity(value: &Value) -> Value {
    match value.as_str().and_then(|text| text.parse::<i64>().ok()) {
        Some(number) => Value::from(number),
        None => value.clone(),
    }
}
