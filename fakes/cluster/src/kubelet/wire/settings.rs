//! What a kubelet is started with, and what can go wrong then.

use std::path::PathBuf;
use std::time::Duration;

use crate::kubelet::ledger::{LedgerSettings, RunningContainers};

/// How long the kubelet tries to reach a plugin that registers (kubelet 1.36).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a plugin may take to prepare devices (kubelet 1.36).
pub const PRE_START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a kubelet lives and how it behaves.
#[derive(Clone, Debug)]
pub struct KubeletSettings {
    /// Plugins' sockets, `kubelet.sock` and the checkpoint; `/var/lib/kubelet/device-plugins` on a node.
    pub device_plugins_dir: PathBuf,
    /// `kubelet.sock` of the podresources service; `/var/lib/kubelet/pod-resources` on a node.
    pub pod_resources_dir: PathBuf,
    /// Profile, grace period, order, and what is known of running pods.
    pub ledger: LedgerSettings,
    /// How long a plugin that registers may take to be reachable.
    pub dial_timeout: Duration,
    /// How long it is busy with other things before it sees to a registration.
    pub register_after: Duration,
    /// How long PreStartContainer may take.
    pub pre_start_timeout: Duration,
    /// What goes wrong at the start.
    pub trouble: StartTrouble,
}

/// A start that goes wrong on purpose. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartTrouble {
    /// How long its registration socket exists and refuses connections, between bind and listen.
    pub listens_after: Duration,
    /// How long PodResources lists nothing, as before the container runtime has answered.
    pub lists_nothing_for: Duration,
}

/// What is wrong with PodResources List while the kubelet runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTrouble {
    /// It answers so much later.
    Slow(Duration),
    /// Every call is refused as by the rate limit.
    Limited,
    /// Pods that it lists now stay listed when they have gone.
    Stale,
}

impl KubeletSettings {
    /// A first start with kubelet 1.36's values.
    pub fn new(device_plugins_dir: impl Into<PathBuf>, pod_resources_dir: impl Into<PathBuf>) -> Self {
        KubeletSettings {
            device_plugins_dir: device_plugins_dir.into(),
            pod_resources_dir: pod_resources_dir.into(),
            ledger: LedgerSettings::default(),
            dial_timeout: DIAL_TIMEOUT,
            register_after: Duration::ZERO,
            pre_start_timeout: PRE_START_TIMEOUT,
            trouble: StartTrouble::default(),
        }
    }

    /// The same kubelet after a restart: `running` are the containers that run now. The caller admits their pods
    /// again and then calls [`Kubelet::sources_ready`](super::Kubelet::sources_ready).
    pub fn restarted(mut self, running: RunningContainers) -> Self {
        self.ledger.running = running;
        self.ledger.sources_ready = false;
        self
    }
}

/// Why a kubelet did not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// A directory cannot be made or read.
    #[error("cannot use directory `{path}`: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A socket cannot be created.
    #[error("cannot listen on socket `{path}`: {source}; is its path shorter than 108 bytes?")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An old socket cannot be removed.
    #[error("cannot remove old socket `{path}`: {source}")]
    RemoveSocket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
