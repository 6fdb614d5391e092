//! The steady load: every pod goes the whole way, and the figures add up.

use super::*;
use crate::on::model::Load;

fn load(resource: &str, at_once: usize, pods: u64) -> Load {
    Load {
        resource: resource.to_owned(),
        at_once,
        pods,
        runs: Duration::from_secs(2),
    }
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
    let done = stage
        .bear(&load("nvidia.com/gpu", 8, 100), Duration::from_secs(600))
        .unwrap();
    assert_eq!((done.ended, done.failed), (100, 0));
    assert_eq!(stage.violations(), [] as [&str; 0]);
    assert!(done.took > Duration::from_secs(40), "{done:?}");
}

#[test]
fn a_load_that_nobody_can_serve_is_reported_and_not_waited_for() {
    let mut stage = one_node(1, options(3));
    let error = stage
        .bear(&load("nvidia.com/other", 1, 1), Duration::from_secs(30))
        .unwrap_err();
    assert!(error.to_string().contains("0 had ended"), "{error}");
}

#[test]
#[ignore = "measures; run with --release --nocapture"]
fn measure() {
    for (name, gpus, at_once, invariants, journals) in [
        ("bare", 8, 8, false, false),
        ("backlog", 8, 64, false, false),
        ("journals", 8, 8, false, true),
        ("invariants", 8, 8, true, false),
    ] {
        let options = ModelOptions { seed: 1, journals, invariants };
        let mut stage = one_node(gpus, options);
        pass(&mut stage, Duration::from_secs(15));
        let begun = std::time::Instant::now();
        let load = load("nvidia.com/gpu", at_once, 20_000);
        let done = stage.bear(&load, Duration::from_secs(1_000_000)).unwrap();
        let took = begun.elapsed();
        let per_pod = took / 20_000;
        println!("{name}: {per_pod:?} per pod, {done:?}");
    }
}
