//! How fast the model stage plays: pods on one node, a cluster of a thousand nodes, and made-up stories.

use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use simulator::fuzz::campaign::{Goal, On, Plan, fuzz};
use simulator::on::Stage;
use simulator::on::model::{Load, ModelOptions, ModelStage};
use simulator::scenario::{NodeSpec, Scenario, read_text};

/// Nodes of the large cluster; fewer where nothing is measured.
const NODES: usize = if cfg!(debug_assertions) { 20 } else { 1_000 };
/// Pods of one round on one node.
const PODS: u64 = 1_000;
/// Stories of one round.
const STORIES: u64 = if cfg!(debug_assertions) { 4 } else { 100 };
/// More virtual time than any round needs.
const BOUND: Duration = Duration::from_secs(1_000_000);

fn cluster(nodes: usize) -> Option<Scenario> {
    let text = "story: a load\nnodes: [{name: n, gpus: {board: tesla-t4, count: 8}}]\n\
                configs: {default: 'version: v1'}\nsteps: [{wait: 1s}]\n";
    let mut scenario = read_text("load.yaml", text).ok()?;
    let node = scenario.nodes.remove(0);
    let named = |number| NodeSpec { name: format!("n-{number:04}"), ..node.clone() };
    scenario.nodes = (0..nodes).map(named).collect();
    Some(scenario)
}

/// A stage whose plugins have registered.
fn started(scenario: Option<&Scenario>, invariants: bool) -> Option<ModelStage> {
    let options = ModelOptions { seed: 1, journals: false, invariants };
    let mut stage = ModelStage::start(scenario?, options).ok()?;
    let end = stage.now() + Duration::from_secs(15);
    while stage.now() < end {
        stage.advance(end - stage.now());
    }
    Some(stage)
}

fn bear(stage: &mut Option<ModelStage>, at_once: usize, pods: u64, runs: Duration) {
    let load = Load { resource: "nvidia.com/gpu".to_owned(), at_once, pods, runs };
    let done = stage.as_mut().and_then(|stage| stage.bear(&load, BOUND).ok());
    assert_eq!(done.map(|done| (done.ended, done.failed)), Some((pods, 0)), "every pod ends well");
    assert!(stage.iter().all(|stage| stage.violations().is_empty()));
}

fn pods(c: &mut Criterion) {
    let mut group = c.benchmark_group("model");
    group.throughput(Throughput::Elements(PODS));
    let scenario = cluster(1);
    for (name, invariants) in [("pods on 8 GPUs", true), ("pods on 8 GPUs, not judged", false)] {
        group.bench_function(name, |b| {
            let stage = || started(scenario.as_ref(), invariants);
            let work = |stage: &mut Option<ModelStage>| bear(stage, 8, PODS, Duration::from_secs(2));
            b.iter_batched_ref(stage, work, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// From nothing to the last pod's end.
fn nodes(c: &mut Criterion) {
    let mut group = c.benchmark_group("model");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_millis(1));
    let scenario = cluster(NODES);
    let pods = NODES as u64 * 20;
    group.bench_function("1,000 nodes and 20,000 pods", |b| {
        b.iter(|| bear(&mut started(scenario.as_ref(), false), NODES * 10, pods, Duration::from_secs(60)));
    });
    group.finish();
}

/// On one core.
fn stories(c: &mut Criterion) {
    let mut group = c.benchmark_group("fuzz");
    group.sample_size(10).throughput(Throughput::Elements(STORIES));
    let goal = Goal::Seeds(STORIES);
    let plan = Plan { goal, first_seed: 1, jobs: 1, keep_going: true, on: On::Model(None) };
    group.bench_function("stories", |b| b.iter(|| fuzz(&plan, |_, _| {})));
    group.finish();
}

criterion_group!(benches, pods, nodes, stories);
criterion_main!(benches);
