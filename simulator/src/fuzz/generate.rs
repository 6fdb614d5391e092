//! From a seed to a story: proptest strategies for everything that a user, a scheduler and bad luck can do to a cluster.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::author::{Asked, Author, Draft, Flip, Pace, Want};
use super::kind::kinds;
use super::label::{Devices, Group, GroupName, Label, MigStrategy, Parts, Sharing};
use super::pod::Resource;
use super::story::{Cut, Profile, Story, Timers};

/// Fewest steps of a story in virtual time.
pub const STEPS_MIN: usize = 20;
/// Pods that are created together.
const PODS_AT_ONCE_MAX: u32 = 4;
/// Pods that are deleted, or end, together.
const TOGETHER_MAX: usize = 3;
/// Indexes that the lists of a configuration may name; a node may have fewer GPUs.
const LISTED_MAX: u32 = 6;
/// Flips in quick succession.
const RAPID_MAX: usize = 8;

/// How large a story is.
#[derive(Debug, Clone)]
struct Size {
    /// Nodes with GPUs.
    nodes_max: usize,
    /// GPUs of one node.
    gpus_max: u32,
    /// Steps, before pods and flips that come together are counted one by one.
    steps: std::ops::RangeInclusive<usize>,
    /// Either of these.
    timers: [Timers; 2],
    pace: Pace,
}

impl Size {
    /// In virtual time.
    const VIRTUAL: Size = Size {
        nodes_max: 3,
        gpus_max: 8,
        steps: STEPS_MIN..=32,
        timers: [Timers::Real, Timers::Quick],
        pace: Pace::VIRTUAL,
    };
    /// In real time.
    const REAL: Size =
        Size { nodes_max: 1, gpus_max: 4, steps: 6..=12, timers: [Timers::Short; 2], pace: Pace::REAL };
}

/// Where the seed could not be made into a story.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed} gives no story: {why}")]
pub struct NoStory {
    seed: u64,
    why: String,
}

/// The story of a seed for virtual time; always the same one.
///
/// # Errors
/// A strategy that finds no value, which is a mistake of this module.
pub fn story(seed: u64) -> Result<Story, NoStory> {
    made_of(seed, &Size::VIRTUAL)
}

/// The story of a seed for real time: shorter, and its waits are.
///
/// # Errors
/// As [`story`].
pub fn short_story(seed: u64) -> Result<Story, NoStory> {
    made_of(seed, &Size::REAL)
}

fn made_of(seed: u64, size: &Size) -> Result<Story, NoStory> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = stories(size).new_tree(&mut runner);
    tree.map(|tree| tree.current()).map_err(|why| NoStory { seed, why: why.to_string() })
}

/// Stories with two nodes, one flip and one fault at least.
fn stories(size: &Size) -> impl Strategy<Value = Story> + use<> {
    let (pace, timers) = (size.pace, size.timers);
    let gpus = vec(1..=size.gpus_max, 1..=size.nodes_max);
    let steps = vec(drafts(), size.steps.clone());
    let musts = (flips(), faults(), any::<Index>(), any::<Index>());
    let cut = proptest::option::weighted(0.15, cuts());
    let timers = proptest::sample::select(timers.to_vec());
    (gpus, cut, any::<bool>(), timers, steps, musts).prop_map(
        move |(gpus, cut, has_cpu_node, timers, mut drafts, (flip, fault, first, second))| {
            if !drafts.iter().any(Draft::flips) {
                drafts.insert(first.index(drafts.len()), flip);
            }
            if !drafts.iter().any(Draft::fails) {
                drafts.insert(second.index(drafts.len()), fault);
            }
            Author::new(&gpus, cut, has_cpu_node, pace).write(drafts, timers)
        },
    )
}

fn cuts() -> impl Strategy<Value = Cut> {
    let profile = prop_oneof![Just(Profile::Small), Just(Profile::Medium), Just(Profile::Large)];
    profile.prop_flat_map(|profile| (1..=profile.most()).prop_map(move |count| Cut { profile, count }))
}

fn drafts() -> impl Strategy<Value = Draft> {
    let pods = || vec(any::<Index>(), 1..=TOGETHER_MAX);
    prop_oneof![
        8 => flips(),
        1 => rapid_flips(),
        2 => flips_back(),
        4 => faults_amid_a_switch(),
        1 => edits(),
        14 => creations(),
        6 => pods().prop_map(|pods| Draft::Delete { pods }),
        2 => pods().prop_map(|pods| Draft::Finish { pods }),
        8 => faults(),
        14 => waits(),
    ]
}

fn flips() -> impl Strategy<Value = Draft> {
    (any::<Index>(), flip()).prop_map(|(node, flip)| Draft::Flip { node, flip })
}

/// Several within a second or two.
fn rapid_flips() -> impl Strategy<Value = Draft> {
    let flips = vec((flip(), 1..=250_u64), 2..=RAPID_MAX);
    (any::<Index>(), flips).prop_map(|(node, flips)| Draft::Rapid { node, flips })
}

/// To another role and back, mostly while GPUs still drain.
fn flips_back() -> impl Strategy<Value = Draft> {
    (any::<Index>(), flip(), moments()).prop_map(|(node, flip, millis)| Draft::Back { node, flip, millis })
}

/// Mostly while GPUs drain or convert.
fn faults_amid_a_switch() -> impl Strategy<Value = Draft> {
    (any::<Index>(), flip(), moments(), faults()).prop_map(|(node, flip, millis, fault)| Draft::Amid {
        node,
        flip,
        millis,
        fault: Box::new(fault),
    })
}

fn moments() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1..200_u64, 3 => 200..2_000_u64, 1 => 2_000..12_000_u64]
}

fn flip() -> impl Strategy<Value = Flip> {
    let label = prop_oneof![
        3 => Just(Label::Absent),
        1 => Just(Label::Default),
        5 => sharing().prop_map(Label::Shared),
        5 => mixes(),
        1 => Just(Label::Edited),
        1 => Just(Label::Broken),
        1 => Just(Label::Missing),
    ];
    let strategy = prop_oneof![Just(MigStrategy::None), Just(MigStrategy::Single), Just(MigStrategy::Mixed)];
    let parts = (strategy, 1_u32..=3).prop_map(|(strategy, replicas)| Parts { strategy, replicas });
    (label, parts).prop_map(|(label, parts)| Flip { label, parts })
}

fn sharing() -> impl Strategy<Value = Sharing> {
    let replicas = 2_u32..=8;
    let sharing = (any::<bool>(), replicas, proptest::bool::weighted(0.75));
    sharing.prop_map(|(mps, replicas, renamed)| Sharing { mps, replicas, renamed })
}

/// One to three groups. Each index belongs to one list at most.
fn mixes() -> impl Strategy<Value = Label> {
    let names = proptest::sample::subsequence(GroupName::ALL.to_vec(), 1..=GroupName::ALL.len());
    let owners = vec(0..=GroupName::ALL.len(), LISTED_MAX as usize);
    let each = vec((2_u32..=6, any::<bool>(), 1_u32..=4), GroupName::ALL.len());
    (names, owners, each).prop_map(|(names, owners, each)| {
        let groups =
            names.into_iter().zip(each).enumerate().map(|(group, (name, (replicas, listed, count)))| {
                let own = |(index, owner): (u32, &usize)| (*owner == group).then_some(index);
                let list: BTreeSet<u32> = (0..).zip(&owners).filter_map(own).collect();
                let devices =
                    if listed && !list.is_empty() { Devices::List(list) } else { Devices::Count(count) };
                Group { name, replicas, devices }
            });
        Label::Mixed(groups.collect())
    })
}

/// New texts of the edited configuration.
fn edits() -> impl Strategy<Value = Draft> {
    let text = prop_oneof![4 => sharing().prop_map(Label::Shared), 4 => mixes(), 1 => Just(Label::Broken)];
    text.prop_map(Draft::Edit)
}

fn creations() -> impl Strategy<Value = Draft> {
    let ask = |init, of, count| Want { init, of, count };
    let (gpu, shared) = (Asked::Of(Resource::Gpu), Asked::Of(Resource::Shared));
    let exclusive = (1_u32..=3).prop_map(move |gpus| vec![ask(false, gpu, gpus)]);
    // what only an init container holds is not listed by PodResources, and stays the pod's
    let init = (1_u32..=2, 1_u32..=2)
        .prop_map(move |(init, main)| vec![ask(true, gpu, init), ask(false, gpu, main)]);
    let group = proptest::sample::select(GroupName::ALL.to_vec());
    let group = group.prop_map(move |name| vec![ask(false, Asked::Of(Resource::Group(name)), 1)]);
    let part = any::<bool>().prop_map(move |shared| vec![ask(false, Asked::Part { shared }, 1)]);
    let containers = prop_oneof![
        5 => exclusive,
        5 => Just(vec![ask(false, shared, 1)]),
        5 => group,
        2 => part,
        1 => Just(vec![ask(false, shared, 2)]),
        1 => Just(vec![ask(false, gpu, 1), ask(false, gpu, 1)]),
        1 => Just(vec![ask(false, shared, 1), ask(false, shared, 1)]),
        1 => Just(vec![ask(false, gpu, 1), ask(false, shared, 1)]),
        1 => Just(vec![ask(true, shared, 1), ask(false, shared, 1)]),
        1 => init,
    ];
    (containers, 1..=PODS_AT_ONCE_MAX).prop_map(|(containers, count)| Draft::Create { containers, count })
}

fn faults() -> impl Strategy<Value = Draft> {
    let lasts = proptest::option::of(100..=super::author::LASTS_MAX_MS);
    (any::<Index>(), any::<Index>(), kinds(), lasts).prop_map(|(node, gpu, kind, lasts_ms)| Draft::Fault {
        node,
        gpu,
        kind,
        lasts_ms,
    })
}

/// Mostly short: what matters happens while something else is still under way.
fn waits() -> impl Strategy<Value = Draft> {
    let millis = prop_oneof![4 => 1..300_u64, 4 => 300..5_000_u64, 2 => 5_000..40_000_u64];
    millis.prop_map(Draft::Wait)
}
