//! What a scenario file means once it is read, because the player works with values and not with text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::other_plugin::OtherPlugin;
use super::verb::Step;
use crate::invariants::Invariant;

/// One story.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file as it was named.
    pub file: String,
    /// The file's name without its ending.
    pub name: String,
    /// What the story tells, in a sentence or two.
    pub story: String,
    /// The variant that was chosen, when the file has several.
    pub variant: Option<String>,
    /// The stages that it may play on.
    pub stages: Vec<StageName>,
    /// Why it does not play on the others.
    pub not_on: BTreeMap<StageName, String>,
    /// Words to choose scenarios by: the file's and the variant's.
    pub labels: Vec<String>,
    /// Invariants that the story is known to break, through no fault of the plugin.
    pub excuses: Vec<Invariant>,
    /// The kubelet's timers.
    pub timers: Timers,
    /// What the plugin is started with beyond the stage's own settings.
    pub plugin: PluginSettings,
    /// More command-line arguments of `mps`.
    pub mps_args: Vec<String>,
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
    /// Everything in one process and virtual time; a seed decides what comes first.
    Model,
    /// The real binary over real sockets, with a fake driver library and a simulated cluster.
    Wire,
    /// The deployed plugin on a cluster that exists, through its API server.
    Cluster,
}

impl StageName {
    /// The stages that need nothing but this machine.
    pub const ALL: &'static [StageName] = &[StageName::Model, StageName::Wire];
    /// Every stage's name.
    pub const NAMES: &'static [&'static str] = &["model", "wire", "cluster"];

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<StageName> {
        let known = [StageName::Model, StageName::Wire, StageName::Cluster];
        known.into_iter().find(|stage| stage.to_string() == name)
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StageName::Model => "model",
            StageName::Wire => "wire",
            StageName::Cluster => "cluster",
        })
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
    /// How long a container that ended waits before its next start: 10 s, doubled each time up to 5 min.
    pub crash_back_off: Duration,
    /// How long after its death by a defect a kubelet is started again: 10 s (`RestartSec` of its systemd unit).
    pub kubelet_restart: Duration,
    /// How long a kubelet is busy with other things before it sees to a registration: none.
    pub registration: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            node_status_update: Duration::from_secs(10),
            endpoint_grace: Duration::from_secs(300),
            termination: Duration::from_secs(1),
            config_map_sync: Duration::from_secs(60),
            crash_back_off: Duration::from_secs(10),
            kubelet_restart: Duration::from_secs(10),
            registration: Duration::ZERO,
        }
    }
}

impl Timers {
    /// The timers that differ from the real ones, as `name real→scaled`.
    pub fn scaled(&self) -> Vec<String> {
        let real = Timers::default();
        [
            ("nodeStatusUpdate", real.node_status_update, self.node_status_update),
            ("endpointGrace", real.endpoint_grace, self.endpoint_grace),
            ("termination", real.termination, self.termination),
            ("configMapSync", real.config_map_sync, self.config_map_sync),
            ("crashBackOff", real.crash_back_off, self.crash_back_off),
            ("kubeletRestart", real.kubelet_restart, self.kubelet_restart),
            ("registration", real.registration, self.registration),
        ]
        .into_iter()
        .filter(|(_, real, scaled)| real != scaled)
        .map(|(name, real, scaled)| format!("{name} {real:?}→{scaled:?}"))
        .collect()
    }
}

impl Scenario {
    /// The scenario's name, and the variant's if there is one: `name (variant)`.
    pub fn title(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{} ({variant})", self.name),
            None => self.name.clone(),
        }
    }

    /// Why it does not play on this stage, if it does not.
    pub fn refuses(&self, stage: StageName) -> Option<&str> {
        if self.stages.contains(&stage) {
            return None;
        }
        match (self.not_on.get(&stage), stage) {
            (Some(reason), _) => Some(reason),
            // what real sockets can play, a real cluster can
            (None, StageName::Cluster) => self.refuses(StageName::Wire),
            (None, _) => Some("`stages` does not name it"),
        }
    }

    /// What is not as in production: the kubelet's scaled timers and the plugin's changed settings.
    pub fn scaled(&self) -> Vec<String> {
        let mut scaled = self.timers.scaled();
        scaled.extend(self.plugin.env.iter().map(|(name, value)| format!("plugin {name}={value}")));
        if !self.plugin.args.is_empty() {
            scaled.push(format!("plugin {}", self.plugin.args.join(" ")));
        }
        if !self.mps_args.is_empty() {
            scaled.push(format!("mps {}", self.mps_args.join(" ")));
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
    /// Which kubelet runs on it.
    pub kubelet: KubeletProfile,
    /// Device plugins on it that are not ours.
    pub other_plugins: Vec<OtherPlugin>,
}

/// Which kubelet is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KubeletProfile {
    /// Kubernetes 1.36 with its known defects.
    #[default]
    V1_36,
    /// Kubernetes 1.37: several plugins may serve one resource.
    V1_37,
    /// Kubernetes 1.25, which names sockets in a way that plugins in Rust refuse.
    V1_25,
    /// Kubernetes 1.36 without them.
    Fixed,
}

impl KubeletProfile {
    /// The names in scenario files.
    pub const NAMES: &'static [&'static str] = &["1.36", "1.37", "1.25", "fixed"];

    /// What the simulated kubelet is told.
    pub fn profile(self) -> fake_cluster::kubelet::Profile {
        match self {
            KubeletProfile::V1_36 => fake_cluster::kubelet::Profile::v1_36(),
            KubeletProfile::V1_37 => fake_cluster::kubelet::Profile::v1_37(),
            KubeletProfile::V1_25 => fake_cluster::kubelet::Profile::v1_25(),
            KubeletProfile::Fixed => fake_cluster::kubelet::Profile::fixed(),
        }
    }

    /// The profile of that name.
    pub fn parse(name: &str) -> Option<KubeletProfile> {
        match name {
            "1.36" => Some(KubeletProfile::V1_36),
            "1.37" => Some(KubeletProfile::V1_37),
            "1.25" => Some(KubeletProfile::V1_25),
            "fixed" => Some(KubeletProfile::Fixed),
            _ => None,
        }
    }
}

/// The GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuNode {
    /// The board profile, such as `tesla-t4`.
    pub board: String,
    /// How many.
    pub count: u32,
    /// The NUMA node of each GPU, by index; empty on a machine without NUMA.
    pub numa: Vec<u32>,
    /// What GPUs with MIG mode on are cut into, by index; MIG is off on the others.
    pub mig: BTreeMap<u32, Vec<String>>,
    /// How their NVLinks are connected; as usual for the board when absent.
    pub links: Option<fake_gpu::Wiring>,
    /// The driver's version; a current one when absent.
    pub driver_version: Option<String>,
    /// The CUDA version as `major.minor`; a current one when absent.
    pub cuda_version: Option<String>,
}

impl GpuNode {
    /// The GPUs as the fake driver is told of them.
    pub fn spec(&self, node: &str) -> fake_gpu::NodeSpec {
        let mut spec = fake_gpu::NodeSpec::uniform(node, &self.board, self.count as usize);
        for (gpu, numa) in spec.gpus.iter_mut().zip(&self.numa) {
            gpu.numa_node = Some(*numa);
        }
        for (index, gpu) in (0..).zip(&mut spec.gpus) {
            gpu.mig = self.mig.get(&index).cloned();
        }
        if let Some(version) = &self.driver_version {
            spec.driver_version.clone_from(version);
        }
        if let Some(version) = &self.cuda_version {
            spec.cuda_version.clone_from(version);
        }
        spec.wiring = self.links;
        spec
    }
}
