//! How the process was told to behave: constant over its life, and part of the journal's first line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cdi::CdiSettings;
use crate::config::{Fallback, Overrides};

/// The Node label that names the configuration, unless told otherwise.
pub const CONFIG_LABEL: &str = "nvidia.com/device-plugin.config";

/// Where configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum ConfigSource {
    /// Nowhere: flags, environment and defaults only.
    #[default]
    None,
    /// One file (`--config-file`). `ConfigRead` carries it as its only entry.
    File,
    /// A directory with one file per configuration, chosen by the Node's label.
    Directory {
        /// The configuration of nodes without the label (`--default-config`).
        default_config: Option<String>,
        /// What to try when there is no default (`--fallback-strategies`).
        fallback: Vec<Fallback>,
    },
}

/// The named intervals of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between two looks for a driver that is missing or not well, and for GPUs whose fabric is not complete.
    pub driver_retry: Duration,
    /// Between two looks at the GPUs while all is well; the shell tells what changed.
    #[serde(default = "gpu_look")]
    pub gpu_look: Duration,
    /// How long a look at the GPUs may take before that is told.
    #[serde(default = "driver_patience")]
    pub driver_patience: Duration,
    /// Between two PodResources reads while a GPU is draining or an allocation is not yet seen.
    pub holders_poll: Duration,
    /// For how long an allocation must be absent from PodResources until it counts as never admitted.
    pub hint_absence: Duration,
    /// How long an unheld id stays in the list as unhealthy before it leaves.
    pub retire_after: Duration,
    /// How long to wait for the Node's labels at start before the last good configuration stands in.
    pub node_wait: Duration,
    /// How long a staged switch waits for an MPS supervisor before it says so.
    pub supervisor_wait: Duration,
    /// How long shared devices wait for the taint of the Node at most.
    #[serde(default = "taint_wait")]
    pub taint_wait: Duration,
}

/// A GPU that was pulled out or put in is noticed within this time.
fn gpu_look() -> Duration {
    Duration::from_secs(30)
}

/// Eight GPUs without persistence mode take seconds.
fn driver_patience() -> Duration {
    Duration::from_secs(10)
}

/// Pods must not wait for long for an API server that is away.
fn taint_wait() -> Duration {
    Duration::from_secs(30)
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            driver_retry: Duration::from_secs(10),
            gpu_look: gpu_look(),
            driver_patience: driver_patience(),
            holders_poll: Duration::from_secs(1),
            hint_absence: Duration::from_secs(5),
            retire_after: Duration::from_secs(30),
            node_wait: Duration::from_secs(10),
            supervisor_wait: Duration::from_secs(60),
            taint_wait: taint_wait(),
        }
    }
}

/// How this process was told to behave; constant over its life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The Node object that this plugin speaks for; without it no label is read or written.
    pub node_name: Option<String>,
    /// The label that names the configuration; empty means [`CONFIG_LABEL`].
    pub config_label: String,
    /// Where configuration comes from.
    pub config_source: ConfigSource,
    /// Refuse a configuration with an unknown key instead of warning about it.
    pub strict: bool,
    /// Ignore what NVIDIA's plugin ignores (`devices`, `rename`, `resources`) and let MPS win over time-slicing.
    #[serde(default)]
    pub nvidia_compat: bool,
    /// What the command line and the environment set.
    pub overrides: Overrides,
    /// The named intervals.
    pub timing: Timing,
    /// How CDI specs are made.
    #[serde(default)]
    pub cdi: CdiSettings,
}

impl Settings {
    /// The label that names the configuration.
    pub fn label_key(&self) -> &str {
        if self.config_label.is_empty() { CONFIG_LABEL } else { &self.config_label }
    }
}
