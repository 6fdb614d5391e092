//! Makes steps of drafts: names for nodes and pods, in the order of the story, and times that its stage has patience for.

use std::time::Duration;

use proptest::sample::Index;

use super::kind::Kind;
use super::label::{Label, Parts};
use super::pod::{Ask, Pod, Resource};
use super::story::{Cut, Machine, Step, Story, Timers};
use crate::faults::{Fault, FaultSpec};

/// Longest time that a fault lasts which ends by itself.
pub(super) const LASTS_MAX_MS: u64 = 30_000;
/// How long a story waits instead of a step that has nothing to do.
const INSTEAD_MS: u64 = 1_000;
/// Longest time that PodResources lists nothing after a start.
const EMPTY_MAX_MS: u64 = 4_000;
/// How long after their deletion pods are gone, unless something is wrong.
const GONE_AFTER_MS: u64 = 5_000;

/// A step that does not know yet which nodes, GPUs and pods there are.
#[derive(Debug, Clone)]
pub(super) enum Draft {
    Flip { node: Index, flip: Flip },
    Rapid { node: Index, flips: Vec<(Flip, u64)> },
    Back { node: Index, flip: Flip, millis: u64 },
    Amid { node: Index, flip: Flip, millis: u64, fault: Box<Draft> },
    Edit(Label),
    Create { containers: Vec<Want>, count: u32 },
    Delete { pods: Vec<Index> },
    Finish { pods: Vec<Index> },
    Fault { node: Index, gpu: Index, kind: Kind, lasts_ms: Option<u64> },
    Wait(u64),
}

/// A label for whichever node it is.
#[derive(Debug, Clone)]
pub(super) struct Flip {
    /// For GPUs that are not in MIG mode.
    pub(super) label: Label,
    /// For those that are, instead of roles that they cannot play.
    pub(super) parts: Parts,
}

/// What a container asks for, before it is known what MIG devices there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    pub(super) init: bool,
    pub(super) of: Asked,
    pub(super) count: u32,
}

/// An extended resource.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Of(Resource),
    /// MIG devices, where there are some.
    Part {
        shared: bool,
    },
}

/// How much time a stage has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    wait_max_ms: u64,
    lasts_max_ms: u64,
    delay_max: Duration,
}

impl Pace {
    /// Virtual time is free.
    pub(super) const VIRTUAL: Pace =
        Pace { wait_max_ms: u64::MAX, lasts_max_ms: LASTS_MAX_MS, delay_max: Duration::MAX };
    /// Real time is not.
    pub(super) const REAL: Pace =
        Pace { wait_max_ms: 1_500, lasts_max_ms: 3_000, delay_max: Duration::from_millis(200) };
}

impl Draft {
    /// Whether the label of a node changes.
    pub(super) fn flips(&self) -> bool {
        matches!(self, Draft::Flip { .. } | Draft::Rapid { .. } | Draft::Back { .. } | Draft::Amid { .. })
    }

    /// Whether something goes wrong.
    pub(super) fn fails(&self) -> bool {
        matches!(self, Draft::Fault { .. } | Draft::Amid { .. })
    }
}

/// See the module.
pub(super) struct Author {
    nodes: Vec<Machine>,
    /// What each node's label said last.
    labels: Vec<Label>,
    pods: Vec<String>,
    named: u32,
    pace: Pace,
}

impl Author {
    /// Of a cluster with so many GPUs on each node; those of the last one are cut.
    pub(super) fn new(gpus: &[u32], cut: Option<Cut>, has_cpu_node: bool, pace: Pace) -> Author {
        let last = gpus.len();
        let with = (1..).zip(gpus).map(|(number, gpus)| Machine {
            name: format!("node-{number}"),
            gpus: *gpus,
            mig: cut.filter(|_| number == last),
        });
        let mut nodes: Vec<Machine> = with.collect();
        if has_cpu_node || nodes.len() < 2 {
            nodes.push(Machine { name: "cpu".to_owned(), gpus: 0, mig: None });
        }
        let labels = vec![Label::Absent; nodes.len()];
        Author { nodes, labels, pods: Vec::new(), named: 0, pace }
    }

    /// The whole story.
    pub(super) fn write(mut self, drafts: Vec<Draft>, timers: Timers) -> Story {
        let mut steps = Vec::new();
        for draft in drafts {
            self.steps(draft, &mut steps);
        }
        Story { nodes: self.nodes, timers, steps }
    }

    fn steps(&mut self, draft: Draft, steps: &mut Vec<Step>) {
        match draft {
            Draft::Flip { node, flip } => {
                let node = node.index(self.nodes.len());
                steps.push(self.flip(node, flip));
            }
            Draft::Rapid { node, flips } => {
                let node = node.index(self.nodes.len());
                for (flip, millis) in flips {
                    steps.push(self.flip(node, flip));
                    steps.push(self.wait(millis));
                }
            }
            Draft::Back { node, flip, millis } => {
                let node = node.index(self.nodes.len());
                let before = self.labels.get(node).cloned().unwrap_or(Label::Absent);
                steps.push(self.flip(node, flip));
                steps.push(self.wait(millis));
                steps.push(self.label(node, before));
            }
            Draft::Amid { node, flip, millis, fault } => {
                let with_gpus = self.nodes.iter().filter(|node| node.gpus > 0).count();
                steps.push(self.flip(node.index(with_gpus), flip));
                steps.push(self.wait(millis));
                if let Draft::Fault { gpu, kind, lasts_ms, .. } = *fault {
                    self.fault(&node, &gpu, kind, lasts_ms, steps);
                }
            }
            Draft::Edit(text) => steps.push(Step::Edit(text)),
            Draft::Create { containers, count } => {
                let containers: Vec<Ask> = containers.into_iter().map(|want| self.ask(want)).collect();
                for _ in 0..count {
                    self.named += 1;
                    let name = format!("pod-{}", self.named);
                    self.pods.push(name.clone());
                    steps.push(Step::Create(Pod { name, containers: containers.clone() }));
                }
            }
            Draft::Delete { pods } => steps.push(self.some(pods, Step::Delete)),
            Draft::Finish { pods } => steps.push(self.some(pods, Step::Finish)),
            Draft::Fault { node, gpu, kind, lasts_ms } => self.fault(&node, &gpu, kind, lasts_ms, steps),
            Draft::Wait(millis) => steps.push(self.wait(millis)),
        }
    }

    fn wait(&self, millis: u64) -> Step {
        Step::Wait(Duration::from_millis(millis.min(self.pace.wait_max_ms)))
    }

    fn flip(&mut self, node: usize, flip: Flip) -> Step {
        let in_mig_mode = self.nodes.get(node).is_some_and(|machine| machine.mig.is_some());
        let label = match flip.label {
            Label::Mixed(_) | Label::Edited if in_mig_mode => Label::Parts(flip.parts),
            label => label,
        };
        self.label(node, label)
    }

    fn label(&mut self, node: usize, label: Label) -> Step {
        if let Some(last) = self.labels.get_mut(node) {
            last.clone_from(&label);
        }
        let name = self.nodes.get(node).map(|machine| machine.name.clone()).unwrap_or_default();
        Step::Flip { node: name, label }
    }

    fn ask(&self, want: Want) -> Ask {
        let cut = self.nodes.iter().find_map(|node| node.mig);
        let of = match (want.of, cut) {
            (Asked::Of(of), _) => of,
            (Asked::Part { .. }, None) => Resource::Gpu,
            (Asked::Part { shared: false }, Some(cut)) => Resource::Part(cut.profile),
            (Asked::Part { shared: true }, Some(cut)) => Resource::SharedPart(cut.profile),
        };
        Ask { init: want.init, of, count: want.count }
    }

    /// Something that happens to pods; each pod once.
    fn some(&mut self, pods: Vec<Index>, what: impl Fn(Vec<String>) -> Step) -> Step {
        let mut names = Vec::new();
        for index in pods {
            if !self.pods.is_empty() {
                names.push(self.pods.remove(index.index(self.pods.len())));
            }
        }
        match names.is_empty() {
            // nobody is there: time passes instead, so that no story is too short
            true => self.wait(INSTEAD_MS),
            false => what(names),
        }
    }

    fn fault(&mut self, node: &Index, gpu: &Index, kind: Kind, lasts_ms: Option<u64>, steps: &mut Vec<Step>) {
        let spec = self.spec(node, gpu, kind, lasts_ms);
        if spec.fault == Fault::CheckpointLost {
            // a kubelet that has lost its checkpoint hands out again what pods still use, and no plugin can prevent that
            if !self.pods.is_empty() {
                steps.push(Step::Delete(std::mem::take(&mut self.pods)));
            }
            steps.push(self.wait(GONE_AFTER_MS));
        }
        steps.push(Step::Fault(spec));
    }

    fn spec(&self, node: &Index, gpu: &Index, kind: Kind, lasts_ms: Option<u64>) -> FaultSpec {
        let with_gpus: Vec<&Machine> = self.nodes.iter().filter(|node| node.gpus > 0).collect();
        let on_gpu = *node.get(&with_gpus);
        let index = u32::try_from(gpu.index(on_gpu.gpus.max(1) as usize)).unwrap_or(0);
        let on_all = |all: bool| (!all).then_some(index);
        let (fault, node) = match kind {
            Kind::Plain(fault) if fault.is_of_cluster() => (fault, "*"),
            Kind::Plain(fault) => (fault, node.get(&self.nodes).name.as_str()),
            kind => (kind.of_gpu(index, on_all), on_gpu.name.as_str()),
        };
        let fault = self.paced(fault);
        let lasts_max_ms = self.pace.lasts_max_ms;
        let lasts_ms = match fault {
            // what would last for good otherwise must end, so that the cluster can come to rest
            Fault::GpuLost { .. }
            | Fault::NvmlHang
            | Fault::UninvitedProcess { .. }
            | Fault::ProcessesUnreadable { .. } => lasts_ms.or(Some(lasts_max_ms)),
            // a node without any GPU has nothing to tell
            Fault::GpuUnplugged { .. } if on_gpu.gpus < 2 => lasts_ms.or(Some(lasts_max_ms)),
            // a kubelet that shows nothing for longer has lost its pods, and no plugin can know better
            Fault::PodResourcesEmpty => Some(lasts_ms.unwrap_or(EMPTY_MAX_MS).min(EMPTY_MAX_MS)),
            _ => lasts_ms,
        };
        let lasts_ms = lasts_ms.map(|lasts| lasts.min(lasts_max_ms));
        let lasts = lasts_ms.filter(|_| fault.can_last()).map(Duration::from_millis);
        let node = node.to_owned();
        FaultSpec { fault, node, lasts }
    }

    fn paced(&self, fault: Fault) -> Fault {
        let max = self.pace.delay_max;
        match fault {
            Fault::NvmlSlow { delay } => Fault::NvmlSlow { delay: delay.min(max) },
            Fault::ApiServerSlow { delay } => Fault::ApiServerSlow { delay: delay.min(max) },
            Fault::PodResourcesSlow { delay } => Fault::PodResourcesSlow { delay: delay.min(max) },
            fault => fault,
        }
    }
}
