//! What an `expect` block may name of a node: the check of a scenario reads it before anything is started.

/// The fields of a node that an `expect` block may name.
pub const NODE_FIELDS: &[&str] = &[
    "ready",
    "labels",
    "annotations",
    "taints",
    "capacity",
    "allocatable",
    "gpus",
    "plugin",
    "mps",
    "kubelet",
    "otherPlugins",
];
/// The fields of a GPU that an `expect` block may name.
pub const GPU_FIELDS: &[&str] = &[
    "uuid",
    "index",
    "minor",
    "computeMode",
    "timeSlice",
    "mpsDaemon",
    "memory",
    "health",
    "processes",
    "utilization",
    "mig",
    "holders",
    "resources",
    "role",
    "state",
    "plugin",
];
/// The fields of a GPU's `memory` that an `expect` block may name.
pub const MEMORY_FIELDS: &[&str] = &["used", "total", "usedMiB"];
/// The fields of `plugin` that an `expect` block may name.
pub const PLUGIN_FIELDS: &[&str] =
    &["running", "ready", "starts", "registered", "registrations", "warnings", "driver", "state"];
/// The fields of `mps` that an `expect` block may name.
pub const MPS_FIELDS: &[&str] = &["running", "starts"];
