//! What the plugin's loop computes between two events: the price of a pod, of a start and of a label flip.

use std::time::Duration;

use benches::churn::{Churn, allocated_and_read, lifecycle};
use benches::node::{EXCLUSIVE, MPS_NAME, Node, time_slicing};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// Name, configuration, pods at a time: few on whole GPUs, near the kubelet's usual limit of 110 on shared ones.
fn cases() -> [(&'static str, String, usize); 2] {
    [("8 exclusive", EXCLUSIVE.to_owned(), 4), ("800 time-slicing", time_slicing(100), 80)]
}

/// Longer than what an id that has left its role stays listed.
const RETIRED: Duration = Duration::from_secs(60);

fn pods(c: &mut Criterion) {
    let mut group = c.benchmark_group("pods");
    for (name, config, held) in cases() {
        let mut node = Node::started(8, &config);
        let mut churn = Churn::new(&node, held);
        group.bench_function(format!("allocated and read/{name}"), |b| {
            b.iter_batched(
                || churn.round(),
                |round| allocated_and_read(&mut node.plugin, &mut node.now, round),
                BatchSize::SmallInput,
            );
        });
        let mut node = Node::started(8, &config);
        let mut churn = Churn::new(&node, held);
        let resource = churn.resource().clone();
        group.bench_function(format!("lifecycle/{name}"), |b| {
            b.iter_batched(
                || churn.round(),
                |round| {
                    assert!(lifecycle(&mut node.plugin, &mut node.now, &resource, round));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("start to registered");
    for (name, config, _) in cases() {
        assert!(Node::started(8, &config).plugin.view().status.ready);
        group.bench_function(name, |b| b.iter(|| Node::started(8, &config)));
    }
    group.finish();
}

fn flip(c: &mut Criterion) {
    let mut group = c.benchmark_group("flip there and back");
    for (name, config, _) in cases() {
        let mut node = Node::started(8, &config);
        group.bench_function(format!("{name} and 32 mps"), |b| {
            b.iter(|| {
                for (label, in_force) in [(Some(MPS_NAME), MPS_NAME), (None, "default")] {
                    node.label(label);
                    node.wait(RETIRED);
                    let status = &node.plugin.view().status;
                    assert!(status.ready && status.config_applied.as_deref() == Some(in_force));
                    assert_eq!(status.switch, "settled");
                }
            });
        });
    }
    group.finish();
}

/// Enough for figures that repeat within a few percent on a quiet machine.
fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = events;
    config = short();
    targets = pods, start, flip
}
criterion_main!(events);
