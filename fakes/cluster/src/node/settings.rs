//! What a simulated node is made with: its identity, its size, and the kubelet's timers with their real values as defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::kubelet::wire::{KubeletError, KubeletSettings};

use crate::api::ApiError;

/// How often a kubelet writes its node's status (Kubernetes 1.36: `nodeStatusUpdateFrequency`).
pub const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How long after its start changes are written at once.
pub const QUICK_START: Duration = Duration::from_secs(1);
/// How long after a failed creation of a container it is tried again (Kubernetes 1.36: first back-off).
pub const START_RETRY: Duration = Duration::from_secs(10);

/// One simulated node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// Labels besides those every kubelet sets (host name, operating system, architecture).
    pub labels: BTreeMap<String, String>,
    /// Capacity of what is not a device: `cpu`, `memory`, `pods` …, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// The address in the node's status and its pods'.
    pub address: String,
    /// Where and how the kubelet's device manager runs.
    pub kubelet: KubeletSettings,
    /// Time between two writes of the node's status.
    pub status_every: Duration,
    /// For this long after the kubelet's start changes of resources are written at once.
    pub quick_start: Duration,
    /// Time until a container that could not be created is tried again.
    pub start_retry: Duration,
    /// How long containers take to end after they were asked to. They are killed at the end of their grace period.
    pub stop_takes: Duration,
    /// Where the container runtime looks for CDI specs.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Grace periods are multiplied by this; 1 is real time.
    pub grace_scale: f64,
}

impl NodeSettings {
    /// A node with 8 CPUs, 32 GiB, room for 110 pods, and real timers, whose containers end as soon as they are asked to.
    pub fn new(name: &str, kubelet: KubeletSettings) -> NodeSettings {
        let capacity = [("cpu", "8"), ("memory", "32Gi"), ("ephemeral-storage", "100Gi"), ("pods", "110")];
        NodeSettings {
            name: name.to_string(),
            labels: BTreeMap::new(),
            capacity: capacity.map(|(name, amount)| (name.to_string(), amount.to_string())).into(),
            address: "127.0.0.1".to_string(),
            kubelet,
            status_every: STATUS_EVERY,
            quick_start: QUICK_START,
            start_retry: START_RETRY,
            stop_takes: Duration::ZERO,
            cdi_spec_dirs: Vec::new(),
            grace_scale: 1.0,
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    /// The kubelet did not start.
    #[error("node `{node}` has no kubelet: {why}")]
    Kubelet {
        /// The node.
        node: String,
        /// What the kubelet says.
        why: KubeletError,
    },
    /// The API server refused the Node object.
    #[error("node `{node}` could not be registered: {why}")]
    Register {
        /// The node.
        node: String,
        /// What the API server says.
        why: ApiError,
    },
}

/// Why a running pod could not be told to end or restart.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// There is no such pod.
    #[error(transparent)]
    NotFound(#[from] ApiError),
    /// The pod has no running container of that name on this node.
    #[error("pod `{pod}` has no running container on node `{node}`")]
    NotRunning {
        /// The pod's name.
        pod: String,
        /// The node.
        node: String,
    },
    /// Only a running kubelet can follow a container's end.
    #[error("the kubelet of node `{node}` is stopped")]
    KubeletStopped {
        /// The node.
        node: String,
    },
}
