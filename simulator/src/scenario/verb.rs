//! What a step of a scenario does: the closed list of verbs, as values.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::other_plugin::OtherAct;
use super::problem::Place;
use super::schema::GpuNode;
use crate::expect::Pattern;
use crate::faults::FaultSpec;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where the step stands.
    pub place: Place,
    /// Its path in the document, up to its verb, such as `steps[3].expect`.
    pub path: String,
    /// The author's name for it; other steps refer to it.
    pub name: Option<String>,
    /// Which turn of a `repeat` it is, from 1, and of how many.
    pub turn: Option<(u64, u64)>,
    /// What happens.
    pub verb: Verb,
}

impl Step {
    /// A step without a name.
    pub fn new(place: Place, verb: Verb) -> Step {
        Step { place, path: String::new(), name: None, turn: None, verb }
    }
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
    /// Creates pods and Deployments, and replaces the plugin's config map.
    ApplyAll(Vec<Object>),
    /// Deletes pods.
    Delete(Selection),
    /// Deletes Deployments, and with them their pods.
    DeleteDeployments(Vec<String>),
    /// Changes how many pods a Deployment has.
    ScaleDeployment {
        /// Its name.
        name: String,
        /// How many pods it is to have.
        count: u64,
    },
    /// Brings a group of pods, made by an `apply` with `count`, to another size.
    Scale {
        /// The group: the name in its manifest.
        group: String,
        /// How many pods it is to have.
        count: u64,
        /// What that means at this step.
        change: Change,
    },
    /// The containers of running pods end by themselves.
    Finish {
        /// Which pods.
        pods: Selection,
        /// Their exit code.
        exit_code: i32,
    },
    /// Replaces one configuration in the plugin's config map.
    Edit {
        /// The configuration's name.
        config: String,
        /// Its new text; `None` removes it.
        text: Option<String>,
    },
    /// Gives pods something to do on their GPUs.
    Workload(Workload),
    /// Something goes wrong.
    Fault {
        /// What, where and for how long.
        spec: FaultSpec,
        /// How likely it is, from 0 to 1; the seed decides.
        probability: f64,
    },
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
    /// Starts, stops or signals a device plugin that is not ours.
    OtherPlugin {
        /// The node.
        node: String,
        /// The plugin's name on it.
        name: String,
        /// What is done.
        act: OtherAct,
    },
    /// Installs a driver (library and GPUs) on a node that has none.
    InstallDriver {
        /// The node.
        node: String,
        /// What it gets.
        gpus: GpuNode,
    },
    /// Cuts a GPU into MIG devices.
    Mig {
        /// The node.
        node: String,
        /// The GPU's NVML index.
        gpu: u32,
        /// Its MIG devices; `None` switches MIG mode off.
        layout: Option<Vec<String>>,
    },
    /// Lets time pass, on every stage.
    Wait(Duration),
    /// Lets much time pass where time is virtual.
    Advance(Duration),
    /// Demands something of the world.
    Expect(Expectation),
    /// From here on something must not become true.
    Never(Watch),
    /// From here on something must become true once at least.
    Sometimes(Watch),
    /// Steps that happen without a look between them; then all their waits and expectations run side by side.
    Parallel(Vec<Step>),
}

/// The name of the plugin's config map.
pub const CONFIG_MAP: &str = "nvidia-device-plugin-configs";

/// An API object to create.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// Pods.
    Pods(Apply),
    /// A Deployment; its pods are `<name>-1`, `<name>-2`, … in the order in which they are made.
    Deployment {
        /// Its name.
        name: String,
        /// How many pods it asks for.
        replicas: u64,
        /// The manifest, as written.
        manifest: Value,
    },
    /// The plugin's config map: all configurations, in place of those before.
    ConfigMap(BTreeMap<String, String>),
}

/// Pods to create.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The names of the pods, `<name>` or `<name>-1` … `<name>-<count>`.
    pub names: Vec<String>,
    /// The Kubernetes manifest, as written; each pod gets its own name.
    pub manifest: Value,
}

/// What bringing a group of pods to another size means.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// These are created.
    Grow(Apply),
    /// These are deleted.
    Shrink(Vec<String>),
    /// It has that size.
    Nothing,
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// By name; a name may be a glob.
    Names(Vec<String>),
    /// By labels.
    Labels(BTreeMap<String, String>),
}

/// What pods do on their GPUs, from the start of their container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which pods, among those that exist at this step.
    pub pods: Selection,
    /// Device memory in MiB over time, on each of the pod's GPUs: it changes at each point and stays until the next.
    pub memory: Vec<(Duration, u64)>,
    /// How busy it keeps each of its GPUs over time, in percent.
    pub compute: Vec<(Duration, u64)>,
    /// When the process ends by itself, and with which exit code.
    pub ends: Option<(Duration, i32)>,
}

impl Workload {
    /// The memory wanted at an age of the process, in MiB.
    pub fn wanted_mib(&self, age: Duration) -> u64 {
        at_age(&self.memory, age)
    }

    /// How busy it keeps its GPUs at an age of the process, in percent.
    pub fn wanted_percent(&self, age: Duration) -> u64 {
        at_age(&self.compute, age)
    }

    /// When something is next to happen after this age.
    pub fn next_change(&self, age: Duration) -> Option<Duration> {
        let points = self.memory.iter().chain(&self.compute).map(|(at, _)| *at);
        points.chain(self.ends.map(|(at, _)| at)).filter(|at| *at > age).min()
    }
}

/// The value of a curve, which changes at each point and stays until the next.
fn at_age(curve: &[(Duration, u64)], age: Duration) -> u64 {
    let past = curve.iter().take_while(|(at, _)| *at <= age);
    past.last().map_or(0, |(_, value)| *value)
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

/// What a `never` or `sometimes` step looks for. A name with `*` stands for any one that it covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The step after which nobody looks any more; the end of the run when absent.
    pub until: Option<String>,
    /// What to look for.
    pub pattern: Pattern,
}
