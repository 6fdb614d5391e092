//! A made-up story as plain data, because what is to be shrunk must be small, legal after every cut, and writable as a
//! scenario file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_core::settings::CONFIG_LABEL;

use super::label::{EDITED, Label, Sharing};
use super::pod::Pod;
use crate::faults::FaultSpec;
use crate::scenario::{Apply, Selection, Verb};

/// What the edited configuration holds until a step changes it.
pub const EDITED_FIRST: Label = Label::Shared(Sharing { mps: false, replicas: 2, renamed: true });

/// A made-up story.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The cluster.
    pub nodes: Vec<Machine>,
    /// How long kubelets and the plugin take for what they do now and then.
    pub timers: Timers,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How long kubelets and the plugin take for what they do now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timers {
    /// As in production.
    Real,
    /// The kubelet's are seconds instead of tens of seconds.
    Quick,
    /// All are short, for a stage whose time is real.
    Short,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// How many GPUs it has; none means that it has no driver either.
    pub gpus: u32,
    /// What each GPU is cut into, when they are in MIG mode; one node of a story at most.
    pub mig: Option<Cut>,
}

/// The MIG devices of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// What each of them is.
    pub profile: Profile,
    /// How many there are.
    pub count: u32,
}

/// MIG profiles of the made-up nodes' board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// A seventh.
    Small,
    /// A quarter and a bit.
    Medium,
    /// Nearly a half.
    Large,
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
    /// The text of the edited configuration becomes that of another one.
    Edit(Label),
    /// A pod is created.
    Create(Pod),
    /// Pods are deleted together.
    Delete(Vec<String>),
    /// The containers of pods end by themselves.
    Finish(Vec<String>),
    /// Something goes wrong.
    Fault(FaultSpec),
    /// Time passes.
    Wait(Duration),
}

impl Profile {
    /// NVIDIA's name on an A100 with 40 GB.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Small => "1g.5gb",
            Profile::Medium => "2g.10gb",
            Profile::Large => "3g.20gb",
        }
    }

    /// How many of them a GPU has room for.
    pub fn most(self) -> u32 {
        match self {
            Profile::Small => 7,
            Profile::Medium => 3,
            Profile::Large => 2,
        }
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
            Step::Edit(label) => Verb::Edit { config: EDITED.to_owned(), text: label.text(None) },
            Step::Create(pod) => {
                Verb::Apply(vec![Apply { names: vec![pod.name.clone()], manifest: pod.manifest() }])
            }
            Step::Delete(pods) => Verb::Delete(Selection::Names(pods.clone())),
            Step::Finish(pods) => Verb::Finish { pods: Selection::Names(pods.clone()), exit_code: 0 },
            Step::Fault(_) | Step::Wait(_) => return None,
        })
    }
}

impl Story {
    /// What GPUs in MIG mode are cut into.
    fn profile(&self) -> Option<&'static str> {
        let cut = self.nodes.iter().find_map(|node| node.mig);
        cut.map(|cut| cut.profile.name())
    }

    /// The config map: every configuration that a step names, and the default.
    pub fn configs(&self) -> BTreeMap<String, String> {
        let profile = self.profile();
        let named = |label: &Label| Some((label.value()?, label.text(profile)?));
        let flips = self.steps.iter().filter_map(|step| match step {
            Step::Flip { label: Label::Edited, .. } | Step::Edit(_) => {
                Some((EDITED.to_owned(), EDITED_FIRST.text(None)?))
            }
            Step::Flip { label, .. } => named(label),
            Step::Create(_) | Step::Delete(_) | Step::Finish(_) | Step::Fault(_) | Step::Wait(_) => None,
        });
        flips.chain(Label::Default.config()).collect()
    }

    /// Drops what refers to nodes, GPUs or pods that a cut has removed.
    pub fn mend(&mut self) {
        let gpus: BTreeMap<&str, &Machine> = self.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        let mut pods: BTreeSet<String> = BTreeSet::new();
        self.steps.retain_mut(|step| match step {
            Step::Flip { node, label } => {
                let machine = gpus.get(node.as_str());
                machine.is_some_and(|m| m.mig.is_some() || !matches!(label, Label::Parts(_)))
            }
            Step::Edit(_) => true,
            Step::Create(pod) => pods.insert(pod.name.clone()),
            Step::Delete(names) | Step::Finish(names) => {
                names.retain(|name| pods.contains(name));
                !names.is_empty()
            }
            Step::Fault(spec) => {
                let there = gpus.get(spec.node.as_str()).map(|machine| machine.gpus);
                let fits = |count: u32| spec.fault.gpu().is_none_or(|index| index < count);
                spec.fault.is_of_cluster() || there.is_some_and(fits)
            }
            Step::Wait(time) => !time.is_zero(),
        });
    }
}
