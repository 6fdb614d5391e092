//! Who has which devices: the kubelet's own answer, as far as a decision needs it.

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
