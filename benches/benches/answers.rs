//! What a gRPC handler computes while the kubelet waits: Allocate and GetPreferredAllocation, from the view alone.

use std::hint::black_box;
use std::time::Duration;

use benches::node::{EXCLUSIVE, MPS, Node, time_slicing};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plugin_core::config::ResourceName;
use plugin_core::view::View;

/// The replicas per GPU that NVIDIA's plugin was measured with.
const REPLICAS: [u32; 2] = [10, 100];

fn exclusive() -> Node {
    Node::started(8, EXCLUSIVE)
}

/// The ids of a resource in an order that repeats but is not sorted: the kubelet's has no order.
fn ids(view: &View, resource: &ResourceName) -> Vec<String> {
    let sorted: Vec<String> = view.devices(resource).map(|d| d.keys().cloned().collect()).unwrap_or_default();
    // 7 divides none of the counts used here, so every id comes once
    (0..sorted.len()).map(|n| sorted[n * 7 % sorted.len()].clone()).collect()
}

fn allocate(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocate");
    let shared = ResourceName::gpu().shared();
    let cases = [
        ("1 of 8 exclusive", EXCLUSIVE.to_owned(), ResourceName::gpu()),
        ("1 of 32 mps", MPS.to_owned(), shared),
        ("1 of 800 time-slicing", time_slicing(100), ResourceName::gpu()),
    ];
    for (name, config, resource) in cases {
        let mut node = Node::started(8, &config);
        node.wait(Duration::from_secs(60));
        let view = node.plugin.view();
        let request = vec![ids(&view, &resource).swap_remove(1)];
        assert!(view.allocate(&resource, &request).is_ok());
        group.bench_function(name, |b| b.iter(|| view.allocate(black_box(&resource), black_box(&request))));
    }
    group.finish();
}

fn prefer(c: &mut Criterion) {
    let mut group = c.benchmark_group("prefer");
    let resource = ResourceName::gpu();
    let nodes = std::iter::once(exclusive()).chain(REPLICAS.map(|n| Node::started(8, &time_slicing(n))));
    for node in nodes {
        let view = node.plugin.view();
        let available = ids(&view, &resource);
        for size in [1, 4] {
            let id = BenchmarkId::new(format!("pick {size}"), format!("of {}", available.len()));
            assert_eq!(view.prefer(&resource, &available, &[], size).map(|p| p.len()), Ok(size));
            group.bench_function(id, |b| {
                b.iter(|| view.prefer(black_box(&resource), black_box(&available), &[], size))
            });
        }
    }
    group.finish();
}

/// Enough for figures that repeat within a few percent on a quiet machine.
fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = answers;
    config = short();
    targets = allocate, prefer
}
criterion_main!(answers);
