//! A made-up story as plain data, because what is to be shrunk must be small, legal after every cut, and writable as a
//! scenario file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_core::settings::CONFIG_LABEL;
use serde_json::{Value, json};

use crate::faults::FaultSpec;
use crate::scenario::{Apply, Selection, Verb};

/// The name of a configuration that no config map holds.
const MISSING: &str = "no-such-config";
/// The name of the configuration that is wrong.
const BROKEN: &str = "broken";
/// The name of the configuration that nodes without the label get.
const DEFAULT: &str = "default";

/// A made-up story.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The cluster.
    pub nodes: Vec<Machine>,
    /// Kubelet timers in seconds instead of tens of seconds.
    pub quick_timers: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// How many GPUs it has; none means that it has no driver either.
    pub gpus: u32,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The configuration label of a node changes.
    Flip {
        /// The node.
        node: String,
        /// To what.
        label: Label,
    },
    /// A pod is created.
    Create(Pod),
    /// Pods are deleted together.
    Delete(Vec<String>),
    /// Something goes wrong.
    Fault(FaultSpec),
    /// Time passes.
    Wait(Duration),
}

/// What the configuration label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// It is removed.
    Absent,
    /// The default configuration, by name.
    Default,
    /// GPUs are shared.
    Shared(Sharing),
    /// A configuration that cannot be read.
    Broken,
    /// A configuration that does not exist.
    Missing,
}

/// How GPUs are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// By MPS; otherwise by time-slicing.
    pub mps: bool,
    /// Replicas of each GPU.
    pub replicas: u32,
    /// Whether the resource is called `nvidia.com/gpu.shared`.
    pub renamed: bool,
}

/// A pod and what its containers ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its containers, one at least.
    pub containers: Vec<Ask>,
}

/// What one container asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// It is an init container.
    pub init: bool,
    /// `nvidia.com/gpu`.
    pub gpus: u32,
    /// `nvidia.com/gpu.shared`.
    pub shared: u32,
}

impl Label {
    /// The value of the label; nothing when it is removed.
    pub fn value(&self) -> Option<String> {
        match self {
            Label::Absent => None,
            Label::Default => Some(DEFAULT.to_owned()),
            Label::Shared(sharing) => Some(sharing.name()),
            Label::Broken => Some(BROKEN.to_owned()),
            Label::Missing => Some(MISSING.to_owned()),
        }
    }

    /// Whether it names a configuration that can hold.
    pub fn is_good(&self) -> bool {
        match self {
            Label::Absent | Label::Default | Label::Shared(_) => true,
            Label::Broken | Label::Missing => false,
        }
    }

    /// The configuration's text, when the config map holds it.
    fn config(&self) -> Option<(String, String)> {
        let text = match self {
            Label::Absent | Label::Missing => return None,
            Label::Default => "version: v1\nflags:\n  migStrategy: none".to_owned(),
            Label::Shared(sharing) => sharing.config(),
            Label::Broken => "version: v1\nsharing:\n  mps: 7".to_owned(),
        };
        Some((self.value()?, text))
    }
}

impl Sharing {
    /// The configuration's name.
    fn name(&self) -> String {
        let strategy = if self.mps { "mps" } else { "sliced" };
        let name = if self.renamed { "" } else { "-same-name" };
        format!("{strategy}-{}{name}", self.replicas)
    }

    fn config(&self) -> String {
        let strategy = if self.mps { "mps" } else { "timeSlicing" };
        let (renamed, replicas) = (self.renamed, self.replicas);
        format!(
            "version: v1\nsharing:\n  {strategy}:\n    renameByDefault: {renamed}\n    resources:\n    - name: \
             nvidia.com/gpu\n      replicas: {replicas}"
        )
    }

    /// The extended resource.
    pub fn resource(&self) -> &'static str {
        if self.renamed { "nvidia.com/gpu.shared" } else { "nvidia.com/gpu" }
    }
}

impl Pod {
    /// The Kubernetes manifest.
    pub fn manifest(&self) -> Value {
        let list = |init: bool| {
            let chosen = self.containers.iter().filter(|ask| ask.init == init);
            let containers = chosen.enumerate().map(|(index, ask)| {
                let word = if init { "init" } else { "main" };
                json!({"name": format!("{word}-{index}"), "image": "cuda:13", "resources": {"limits": ask.limits()}})
            });
            containers.collect::<Vec<_>>()
        };
        let mut spec = json!({"containers": list(false)});
        if self.containers.iter().any(|ask| ask.init) {
            spec["initContainers"] = Value::from(list(true));
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec})
    }
}

impl Ask {
    fn limits(&self) -> BTreeMap<&'static str, u32> {
        let both = [("nvidia.com/gpu", self.gpus), ("nvidia.com/gpu.shared", self.shared)];
        both.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

impl Step {
    /// The verb of the scenario language; a fault and a wait have none here.
    pub fn verb(&self) -> Option<Verb> {
        Some(match self {
            Step::Flip { node, label } => match label.value() {
                Some(value) => {
                    Verb::Label { node: node.clone(), set: [(CONFIG_LABEL.to_owned(), value)].into() }
                }
                None => Verb::Unlabel { node: node.clone(), keys: vec![CONFIG_LABEL.to_owned()] },
            },
            Step::Create(pod) => {
                Verb::Apply(vec![Apply { names: vec![pod.name.clone()], manifest: pod.manifest() }])
            }
            Step::Delete(pods) => Verb::Delete(Selection::Names(pods.clone())),
            Step::Fault(_) | Step::Wait(_) => return None,
        })
    }
}

impl Story {
    /// The config map: every configuration that a step names, and the default.
    pub fn configs(&self) -> BTreeMap<String, String> {
        let flips = self.steps.iter().filter_map(|step| match step {
            Step::Flip { label, .. } => label.config(),
            Step::Create(_) | Step::Delete(_) | Step::Fault(_) | Step::Wait(_) => None,
        });
        flips.chain(Label::Default.config()).collect()
    }

    /// Drops what refers to nodes, GPUs or pods that a cut has removed.
    pub fn mend(&mut self) {
        let gpus: BTreeMap<&str, u32> = self.nodes.iter().map(|n| (n.name.as_str(), n.gpus)).collect();
        let mut pods: BTreeSet<String> = BTreeSet::new();
        self.steps.retain_mut(|step| match step {
            Step::Flip { node, .. } => gpus.contains_key(node.as_str()),
            Step::Create(pod) => pods.insert(pod.name.clone()),
            Step::Delete(names) => {
                names.retain(|name| pods.contains(name));
                !names.is_empty()
            }
            Step::Fault(spec) => {
                let there = gpus.get(spec.node.as_str()).copied();
                let fits = |count: u32| spec.fault.gpu().is_none_or(|index| index < count);
                spec.fault.is_of_cluster() || there.is_some_and(fits)
            }
            Step::Wait(time) => !time.is_zero(),
        });
    }
}
