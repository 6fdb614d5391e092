//! The steady load: every pod goes the whole way, and the figures add up.

use super::*;
use crate::on::model::Load;

fn load(resource: &str, at_once: usize, pods: u64) -> Load {
    Load { resource: resource.to_owned(), at_once, pods, runs: Duration::from_secs(2) }
}

fn one_node(gpus: u32, options: ModelOptions) -> ModelStage {
    let text = format!(
        "story: a load\nnodes: [{{name: n, gpus: {{board: tesla-t4, count: {gpus}}}}}]\n\
         configs: {{default: 'version: v1'}}\nsteps: [{{wait: 1s}}]\n"
    );
    ModelStage::start(&read_text("load.yaml", &text).unwrap(), options).unwrap()
}

#[test]
fn a_load_ends_with_every_pod_served_and_every_invariant_kept() {
    let mut stage = one_node(4, options(3));
    pass(&mut stage, Duration::from_secs(15));
    let done = stage.bear(&load("nvidia.com/gpu", 8, 100), Duration::from_secs(600)).unwrap();
    assert_eq!((done.ended, done.failed), (100, 0));
    assert_eq!(stage.violations(), []);
    assert!(done.took > Duration::from_secs(40), "{done:?}");
}

#[test]
fn a_load_that_nobody_can_serve_is_reported_and_not_waited_for() {
    let mut stage = one_node(1, options(3));
    let error = stage.bear(&load("nvidia.com/other", 1, 1), Duration::from_secs(30)).unwrap_err();
    assert!(error.to_string().contains("0 had ended"), "{error}");
}

/// Run with `cargo test --release -p simulator -- --ignored --nocapture measure`.
#[test]
#[ignore = "measures: only a release build on a quiet machine tells anything"]
fn measure_pods_per_second_on_one_node_with_eight_gpus() {
    const PODS: u32 = 20_000;
    for (name, at_once, journals, invariants) in [
        ("nothing kept", 8, false, false),
        ("a backlog", 64, false, false),
        ("journals kept", 8, true, false),
        ("invariants at every change", 8, false, true),
    ] {
        let options = ModelOptions { seed: 1, journals, invariants };
        let mut stage = one_node(8, options);
        pass(&mut stage, Duration::from_secs(15));
        let begun = std::time::Instant::now();
        let load = load("nvidia.com/gpu", at_once, u64::from(PODS));
        let done = stage.bear(&load, Duration::from_secs(1_000_000)).unwrap();
        let took = begun.elapsed();
        assert_eq!((done.ended, done.failed), (u64::from(PODS), 0));
        let happenings = done.happenings / u64::from(PODS);
        println!("{name}: {:?} and {happenings} happenings per pod", took / PODS);
    }
}

/// Run with `cargo test --release -p simulator -- --ignored --nocapture measure`.
#[test]
#[ignore = "measures: only a release build on a quiet machine tells anything"]
fn measure_a_thousand_nodes_with_eight_gpus_and_twenty_thousand_pods() {
    let text = "story: a load\nnodes: [{name: n, gpus: {board: tesla-t4, count: 8}}]\n\
                configs: {default: 'version: v1'}\nsteps: [{wait: 1s}]\n";
    let mut scenario = read_text("load.yaml", text).unwrap();
    let node = scenario.nodes[0].clone();
    let named = |number| crate::scenario::NodeSpec { name: format!("n-{number:04}"), ..node.clone() };
    scenario.nodes = (0..1000).map(named).collect();
    let begun = std::time::Instant::now();
    let options = ModelOptions { seed: 1, journals: false, invariants: false };
    let mut stage = ModelStage::start(&scenario, options).unwrap();
    pass(&mut stage, Duration::from_secs(15));
    let started = begun.elapsed();
    let mut load = load("nvidia.com/gpu", 10_000, 20_000);
    load.runs = Duration::from_secs(60);
    let done = stage.bear(&load, Duration::from_secs(1_000_000)).unwrap();
    assert_eq!((done.ended, done.failed), (20_000, 0));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("started in {started:?}, done in {:?}, {memory:?}, {done:?}", begun.elapsed());
}
