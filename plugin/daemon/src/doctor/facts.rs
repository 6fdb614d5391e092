//! What was seen on a node, as plain data: all that a judgement may use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plugin_core::inventory::Facts;
use plugin_core::view::Status;
use serde::Deserialize;

use crate::gpu::FindError;

/// Something that was looked at, or why it could not be.
pub(super) type Seen<T> = Result<T, String>;

/// A CDI spec file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CdiFile {
    /// The file.
    pub(super) path: PathBuf,
    /// Position of its directory: later ones win.
    pub(super) priority: usize,
    /// Its content, or why it cannot be read.
    pub(super) spec: Result<CdiSpec, String>,
    /// Device nodes, files and programs that it names and the host lacks.
    pub(super) missing: Vec<String>,
}

/// What matters of a CDI spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CdiSpec {
    /// `vendor/class`.
    pub(super) kind: String,
    /// Its devices.
    pub(super) devices: Vec<CdiDevice>,
    /// What every device brings.
    pub(super) container_edits: CdiEdits,
}

/// A device of a CDI spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CdiDevice {
    /// Its name.
    pub(super) name: String,
    /// What it brings.
    pub(super) container_edits: CdiEdits,
}

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CdiEdits {
    /// Device nodes.
    pub(super) device_nodes: Vec<CdiDeviceNode>,
    /// Bind mounts.
    pub(super) mounts: Vec<CdiMount>,
    /// Programs that the runtime starts.
    pub(super) hooks: Vec<CdiHook>,
}

/// A bind mount of a CDI device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CdiMount {
    /// On the host.
    pub(super) host_path: String,
}

/// A program that a CDI device brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct CdiHook {
    /// On the host.
    pub(super) path: String,
}

/// A device node of a CDI spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CdiDeviceNode {
    /// In the container.
    pub(super) path: String,
    /// On the host, when it differs.
    pub(super) host_path: Option<String>,
}

/// The toolkit's settings that decide whether a container gets its GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Toolkit {
    /// `nvidia-container-runtime.mode`.
    pub(super) mode: Option<String>,
    /// `accept-nvidia-visible-devices-envvar-when-unprivileged`.
    pub(super) envvar_unprivileged: Option<bool>,
}

/// A device node of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceNode {
    /// Its path.
    pub(super) path: String,
    /// It exists.
    pub(super) exists: bool,
    /// `/dev/char` has a link to it.
    pub(super) linked: bool,
}

/// A socket that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// Its file name, or path.
    pub(super) name: String,
    /// It accepts connections.
    pub(super) accepts: bool,
}

/// The Node object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeObject {
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Allocatable amounts as they are written.
    pub(super) allocatable: BTreeMap<String, String>,
}

/// What somebody may do at the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    /// Who: the user's name; empty where the API server does not tell.
    pub(super) user: String,
    /// `verb resource` → allowed.
    pub(super) allowed: BTreeMap<String, bool>,
}

/// A DaemonSet that runs, or would run, on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DaemonSet {
    /// `namespace/name`.
    pub(super) name: String,
    /// It tolerates the shared taint.
    pub(super) tolerates: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct NodeFacts {
    /// The running plugin's state.
    pub(super) plugin: Seen<Status>,
    /// What the driver library says.
    pub(super) driver: Result<Facts, FindError>,
    /// Device nodes that the driver's GPUs need.
    pub(super) device_nodes: Vec<DeviceNode>,
    /// GPUs whose NVLink fabric is not complete.
    pub(super) fabric: Seen<Vec<String>>,
    /// Registration and PodResources sockets.
    pub(super) kubelet: Vec<Socket>,
    /// Other sockets beside the kubelet's.
    pub(super) plugin_sockets: Seen<Vec<Socket>>,
    /// The state directory can be written.
    pub(super) state_dir: Seen<()>,
    /// The MPS root can be written; the text of an error names it.
    pub(super) mps_root: Seen<()>,
    /// A supervisor holds its lock.
    pub(super) supervisor_alive: bool,
    /// The processes of the whole machine are seen from here.
    pub(super) host_processes: Seen<bool>,
    /// CDI spec files.
    pub(super) cdi: Vec<CdiFile>,
    /// The toolkit's configuration.
    pub(super) toolkit: Seen<Toolkit>,
    /// The kubelet's cgroup driver.
    pub(super) cgroup_driver: Seen<String>,
    /// Names of runtime classes.
    pub(super) runtime_classes: Seen<Vec<String>>,
    /// What this service account may do.
    pub(super) permissions: Seen<Permissions>,
    /// The Node's name, if one is set.
    pub(super) node_name: Option<String>,
    /// The Node object.
    pub(super) node: Seen<NodeObject>,
    /// DaemonSets, when a taint of shared nodes is configured.
    pub(super) daemon_sets: Seen<Vec<DaemonSet>>,
}
