//! What a scenario file means once it is read, because the player works with values and not with text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::problem::Place;
use crate::expect::Pattern;

/// The most nodes of a scenario on the wire stage, where each is a handful of processes.
pub const NODES_MAX: u64 = 32;
/// The most GPUs of one node; more than any board carries today.
pub const GPUS_MAX: u64 = 64;
/// The most pods that one step may apply.
pub const PODS_PER_STEP_MAX: u64 = 1000;
/// The most steps of a scenario.
pub const STEPS_MAX: usize = 1000;
/// The longest wait, bound or timer.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);
/// How long an `expect` waits when it names no bound.
pub const WITHIN_DEFAULT: Duration = Duration::from_secs(5);

/// One story.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file as it was named.
    pub file: String,
    /// The file's name without its ending.
    pub name: String,
    /// What the story tells, in a sentence or two.
    pub story: String,
    /// The stages that it may play on.
    pub stages: Vec<StageName>,
    /// Words to choose scenarios by.
    pub labels: Vec<String>,
    /// The kubelet's timers.
    pub timers: Timers,
    /// What the plugin is started with beyond the stage's own settings.
    pub plugin: PluginSettings,
    /// The cluster.
    pub nodes: Vec<NodeSpec>,
    /// The plugin's config map: name of a config → its text, verbatim.
    pub configs: BTreeMap<String, String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Where a scenario plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageName {
    /// The real binary over real sockets, with a fake driver library and a simulated cluster.
    Wire,
}

impl StageName {
    /// Every stage's name.
    pub const NAMES: &'static [&'static str] = &["wire"];

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<StageName> {
        (name == "wire").then_some(StageName::Wire)
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StageName::Wire => f.write_str("wire"),
        }
    }
}

/// The kubelet's timers; the defaults are the real ones of Kubernetes 1.36.
#[derive(Debug, Clone, PartialEq)]
pub struct Timers {
    /// How often the kubelet writes its node's status: 10 s.
    pub node_status_update: Duration,
    /// How long the capacity of a plugin that is gone stays: 5 min.
    pub endpoint_grace: Duration,
    /// How long a deleted pod's containers take to end: 1 s (a container that obeys SIGTERM).
    pub termination: Duration,
    /// How long a changed config map takes to reach its volume: 60 s.
    pub config_map_sync: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            node_status_update: Duration::from_secs(10),
            endpoint_grace: Duration::from_secs(300),
            termination: Duration::from_secs(1),
            config_map_sync: Duration::from_secs(60),
        }
    }
}

impl Timers {
    /// The timers that differ from the real ones, as `name real→scaled`.
    pub fn scaled(&self) -> Vec<String> {
        let real = Timers::default();
        [
            (
                "nodeStatusUpdate",
                real.node_status_update,
                self.node_status_update,
            ),
            ("endpointGrace", real.endpoint_grace, self.endpoint_grace),
            ("termination", real.termination, self.termination),
            ("configMapSync", real.config_map_sync, self.config_map_sync),
        ]
        .into_iter()
        .filter(|(_, real, scaled)| real != scaled)
        .map(|(name, real, scaled)| format!("{name} {real:?}→{scaled:?}"))
        .collect()
    }
}

impl Scenario {
    /// What is not as in production: the kubelet's scaled timers and the plugin's changed settings.
    pub fn scaled(&self) -> Vec<String> {
        let mut scaled = self.timers.scaled();
        scaled.extend(
            self.plugin
                .env
                .iter()
                .map(|(name, value)| format!("plugin {name}={value}")),
        );
        if !self.plugin.args.is_empty() {
            scaled.push(format!("plugin {}", self.plugin.args.join(" ")));
        }
        scaled
    }
}

/// What the plugin is started with beyond the stage's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSettings {
    /// More command-line arguments of `run`.
    pub args: Vec<String>,
    /// More environment variables of `run`.
    pub env: BTreeMap<String, String>,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node's name.
    pub name: String,
    /// Its GPUs and driver; `None` is a CPU-only node without a driver library.
    pub gpus: Option<GpuNode>,
    /// Labels that the node starts with.
    pub labels: BTreeMap<String, String>,
}

/// The GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuNode {
    /// The board profile, such as `tesla-t4`.
    pub board: String,
    /// How many.
    pub count: u32,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where the step stands.
    pub place: Place,
    /// The author's name for it; other steps refer to it.
    pub name: Option<String>,
    /// What happens.
    pub verb: Verb,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Sets labels of a node, as `kubectl label` does.
    Label {
        /// The node.
        node: String,
        /// The labels.
        set: BTreeMap<String, String>,
    },
    /// Removes labels of a node.
    Unlabel {
        /// The node.
        node: String,
        /// The labels' keys.
        keys: Vec<String>,
    },
    /// Creates pods.
    Apply(Vec<Apply>),
    /// Deletes pods.
    Delete(Selection),
    /// Stops a process of a node and starts it again.
    Restart {
        /// Which.
        process: Process,
        /// On which node.
        node: String,
    },
    /// Kills a process of a node with SIGKILL; its DaemonSet starts it again.
    Kill {
        /// Which.
        process: Process,
        /// On which node.
        node: String,
    },
    /// Installs a driver (library and GPUs) on a node that has none.
    InstallDriver {
        /// The node.
        node: String,
        /// What it gets.
        gpus: GpuNode,
    },
    /// Lets time pass.
    Wait(Duration),
    /// Demands something of the world.
    Expect(Expectation),
}

/// Pods to create.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The names of the pods, `<name>` or `<name>-1` … `<name>-<count>`.
    pub names: Vec<String>,
    /// The Kubernetes manifest, as written; each pod gets its own name.
    pub manifest: Value,
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// By name; a name may be a glob.
    Names(Vec<String>),
    /// By labels.
    Labels(BTreeMap<String, String>),
}

/// A process of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The simulated kubelet.
    Kubelet,
    /// `tandem-device-plugin run`.
    Plugin,
    /// `tandem-device-plugin mps`.
    Mps,
}

impl Process {
    /// The names in scenario files.
    pub const NAMES: &'static [&'static str] = &["kubelet", "plugin", "mps"];
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Process::Kubelet => "kubelet",
            Process::Plugin => "plugin",
            Process::Mps => "mps",
        })
    }
}

/// What an `expect` step demands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// How long it may take to become true.
    pub within: Duration,
    /// How long it must then stay true.
    pub holds: Duration,
    /// What must be true.
    pub pattern: Pattern,
}
