//! From a seed to a story: proptest strategies for everything that a user, a scheduler and bad luck can do to a cluster.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::kind::{Kind, kinds};
use super::story::{Ask, Label, Machine, Pod, Sharing, Step, Story};
use crate::faults::{Fault, FaultSpec};

/// Nodes with GPUs.
const GPU_NODES_MAX: usize = 3;
/// GPUs of one node.
const GPUS_MAX: u32 = 8;
/// Fewest steps of a story.
pub const STEPS_MIN: usize = 20;
/// Most steps of a story, before pods that one step creates together are counted one by one.
const STEPS_MAX: usize = 32;
/// Pods that are created together.
const PODS_AT_ONCE_MAX: u32 = 4;
/// Pods that are deleted together.
const DELETED_AT_ONCE_MAX: usize = 3;
/// How long a story waits instead of a step that has nothing to do.
const INSTEAD_MS: u64 = 1_000;
/// Longest time that PodResources lists nothing after a start.
const EMPTY_MAX_MS: u64 = 4_000;
/// Longest time that a fault lasts which ends by itself.
const LASTS_MAX_MS: u64 = 30_000;

/// Where the seed could not be made into a story.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed} gives no story: {why}")]
pub struct NoStory {
    seed: u64,
    why: String,
}

/// The story of a seed; always the same one.
///
/// # Errors
/// A strategy that finds no value, which is a mistake of this module.
pub fn story(seed: u64) -> Result<Story, NoStory> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = stories().new_tree(&mut runner);
    tree.map(|tree| tree.current()).map_err(|why| NoStory { seed, why: why.to_string() })
}

/// Stories with two nodes, one flip and one fault at least.
pub fn stories() -> impl Strategy<Value = Story> {
    let gpus = vec(1..=GPUS_MAX, 1..=GPU_NODES_MAX);
    let steps = vec(drafts(), STEPS_MIN..=STEPS_MAX);
    let musts = (flips(), faults(), any::<Index>(), any::<Index>());
    (gpus, any::<bool>(), any::<bool>(), steps, musts).prop_map(
        |(gpus, has_cpu_node, quick_timers, mut drafts, (flip, fault, first, second))| {
            if !drafts.iter().any(|draft| matches!(draft, Draft::Flip { .. })) {
                drafts.insert(first.index(drafts.len()), flip);
            }
            if !drafts.iter().any(|draft| matches!(draft, Draft::Fault { .. })) {
                drafts.insert(second.index(drafts.len()), fault);
            }
            Author::new(&gpus, has_cpu_node).write(drafts, quick_timers)
        },
    )
}

/// A step that does not know yet which nodes, GPUs and pods there are.
#[derive(Debug, Clone)]
enum Draft {
    Flip { node: Index, label: Label },
    Create { containers: Vec<Ask>, count: u32 },
    Delete { pods: Vec<Index> },
    Fault { node: Index, gpu: Index, kind: Kind, lasts_ms: Option<u64> },
    Wait(u64),
}

fn drafts() -> impl Strategy<Value = Draft> {
    prop_oneof![
        4 => flips(),
        7 => creations(),
        4 => vec(any::<Index>(), 1..=DELETED_AT_ONCE_MAX).prop_map(|pods| Draft::Delete { pods }),
        4 => faults(),
        7 => waits(),
    ]
}

fn flips() -> impl Strategy<Value = Draft> {
    let replicas = 2_u32..=8;
    let sharing = (any::<bool>(), replicas, proptest::bool::weighted(0.75));
    let sharing =
        sharing.prop_map(|(mps, replicas, renamed)| Label::Shared(Sharing { mps, replicas, renamed }));
    let label = prop_oneof![
        3 => Just(Label::Absent),
        1 => Just(Label::Default),
        6 => sharing,
        1 => Just(Label::Broken),
        1 => Just(Label::Missing),
    ];
    (any::<Index>(), label).prop_map(|(node, label)| Draft::Flip { node, label })
}

fn creations() -> impl Strategy<Value = Draft> {
    let ask = |init, gpus, shared| Ask { init, gpus, shared };
    let exclusive = (1_u32..=3).prop_map(move |gpus| vec![ask(false, gpus, 0)]);
    // an init container that asks for more than the others is left out: PodResources does not list what only it holds
    let init = (1_u32..=2).prop_map(move |gpus| vec![ask(true, gpus, 0), ask(false, gpus, 0)]);
    let containers = prop_oneof![
        5 => exclusive,
        6 => Just(vec![ask(false, 0, 1)]),
        1 => Just(vec![ask(false, 0, 2)]),
        1 => Just(vec![ask(false, 1, 0), ask(false, 1, 0)]),
        1 => Just(vec![ask(false, 0, 1), ask(false, 0, 1)]),
        1 => Just(vec![ask(false, 1, 0), ask(false, 0, 1)]),
        1 => Just(vec![ask(true, 0, 1), ask(false, 0, 1)]),
        1 => init,
    ];
    (containers, 1..=PODS_AT_ONCE_MAX).prop_map(|(containers, count)| Draft::Create { containers, count })
}

fn faults() -> impl Strategy<Value = Draft> {
    let lasts = proptest::option::of(100..=LASTS_MAX_MS);
    (any::<Index>(), any::<Index>(), kinds(), lasts).prop_map(|(node, gpu, kind, lasts_ms)| Draft::Fault {
        node,
        gpu,
        kind,
        lasts_ms,
    })
}

fn wait(millis: u64) -> Vec<Step> {
    vec![Step::Wait(Duration::from_millis(millis))]
}

/// Mostly short: what matters happens while something else is still under way.
fn waits() -> impl Strategy<Value = Draft> {
    let millis = prop_oneof![4 => 1..300_u64, 4 => 300..5_000_u64, 2 => 5_000..40_000_u64];
    millis.prop_map(Draft::Wait)
}

/// Makes steps of drafts: names for nodes and pods, in the order of the story.
struct Author {
    nodes: Vec<Machine>,
    pods: Vec<String>,
    named: u32,
}

impl Author {
    fn new(gpus: &[u32], has_cpu_node: bool) -> Author {
        let with = gpus
            .iter()
            .enumerate()
            .map(|(index, gpus)| Machine { name: format!("node-{}", index + 1), gpus: *gpus });
        let mut nodes: Vec<Machine> = with.collect();
        if has_cpu_node || nodes.len() < 2 {
            nodes.push(Machine { name: "cpu".to_owned(), gpus: 0 });
        }
        Author { nodes, pods: Vec::new(), named: 0 }
    }

    fn write(mut self, drafts: Vec<Draft>, quick_timers: bool) -> Story {
        let steps = drafts.into_iter().flat_map(|draft| self.steps(draft)).collect();
        Story { nodes: self.nodes, quick_timers, steps }
    }

    fn steps(&mut self, draft: Draft) -> Vec<Step> {
        match draft {
            Draft::Flip { node, label } => {
                let node = node.get(&self.nodes).name.clone();
                vec![Step::Flip { node, label }]
            }
            Draft::Create { containers, count } => {
                let pods = (0..count).map(|_| {
                    self.named += 1;
                    let name = format!("pod-{}", self.named);
                    self.pods.push(name.clone());
                    let containers = containers.clone();
                    Step::Create(Pod { name, containers })
                });
                pods.collect()
            }
            Draft::Delete { pods } => {
                let mut names = Vec::new();
                for index in pods {
                    if !self.pods.is_empty() {
                        names.push(self.pods.remove(index.index(self.pods.len())));
                    }
                }
                match names.is_empty() {
                    // nobody is there to be deleted: time passes instead, so that no story is too short
                    true => wait(INSTEAD_MS),
                    false => vec![Step::Delete(names)],
                }
            }
            Draft::Fault { node, gpu, kind, lasts_ms } => {
                vec![Step::Fault(self.fault(&node, &gpu, kind, lasts_ms))]
            }
            Draft::Wait(millis) => wait(millis),
        }
    }

    fn fault(&self, node: &Index, gpu: &Index, kind: Kind, lasts_ms: Option<u64>) -> FaultSpec {
        let with_gpus: Vec<&Machine> = self.nodes.iter().filter(|node| node.gpus > 0).collect();
        let on_gpu = *node.get(&with_gpus);
        let index = u32::try_from(gpu.index(on_gpu.gpus.max(1) as usize)).unwrap_or(0);
        let on_all = |all: bool| (!all).then_some(index);
        let (fault, node) = match kind {
            Kind::Plain(fault) if fault.is_of_cluster() => (fault, "*"),
            Kind::Plain(fault) => (fault, node.get(&self.nodes).name.as_str()),
            kind => (kind.of_gpu(index, on_all), on_gpu.name.as_str()),
        };
        let lasts_ms = match fault {
            // what would last for good otherwise must end, so that the cluster can come to rest
            Fault::GpuLost { .. } | Fault::NvmlHang => lasts_ms.or(Some(LASTS_MAX_MS)),
            // a kubelet that shows nothing for longer has lost its pods, and no plugin can know better
            Fault::PodResourcesEmpty => Some(lasts_ms.unwrap_or(EMPTY_MAX_MS).min(EMPTY_MAX_MS)),
            _ => lasts_ms,
        };
        let lasts = lasts_ms.filter(|_| fault.can_last()).map(Duration::from_millis);
        let node = node.to_owned();
        FaultSpec { fault, node, lasts }
    }
}
