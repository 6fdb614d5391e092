//! The pods of this node as the API server has them, trimmed to what a decision needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a pod is, as its status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodPhase {
    /// Bound to the node; no kubelet has taken it yet.
    Bound,
    /// Admitted: the kubelet prepares or runs its containers.
    Admitted,
    /// Its containers have ended for good, or it was refused.
    Over,
}

/// One pod that is bound to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPod {
    /// The UID under which the kubelet knows it; of a static pod that is not its object's own.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How far it is.
    pub phase: PodPhase,
    /// Somebody deleted it, and it ends.
    #[serde(default)]
    pub deleting: bool,
    /// Extended resources that it asks for, with the count that its containers need at the same time.
    #[serde(default)]
    pub requests: BTreeMap<String, u64>,
    /// Who made it, as `Kind/name`.
    #[serde(default)]
    pub owner: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created_s: u64,
}

impl BoundPod {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
