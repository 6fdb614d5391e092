//! Who has which devices: the kubelet's own answers, as far as a decision needs them.

use serde::{Deserialize, Serialize};

/// One device of one container, as the kubelet's PodResources List tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holding {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// The extended resource.
    pub resource: String,
    /// The device ids that the container holds.
    pub ids: Vec<String>,
}

/// The kubelet's file of handed-out devices, as it was found beside an answer of PodResources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "file", rename_all = "snake_case")]
pub enum Checkpoint {
    /// Nobody looked: a journal of a plugin that did not read it.
    #[default]
    Unread,
    /// There is none.
    Missing,
    /// It cannot be read, or is not what a kubelet writes.
    Damaged {
        /// The path and the reason.
        why: String,
    },
    /// Its allocations.
    Read {
        /// In the file's order.
        entries: Vec<CheckpointEntry>,
    },
}

/// One container's devices of one resource, as the checkpoint has them. It names pods by their UID alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckpointEntry {
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// The extended resource.
    pub resource: String,
    /// The device ids, each once.
    pub ids: Vec<String>,
}
