//! What writing everything down costs, and how fast it plays again.

use std::hint::black_box;
use std::time::Duration;

use benches::churn::{Churn, lifecycle};
use benches::node::{EXCLUSIVE, MPS_NAME, Node};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plugin_core::event::Event;
use plugin_core::journal::{Entry, parse, replay};
use plugin_core::time::Time;

/// Pods in the recorded run.
const PODS: usize = 100;

fn lines(entries: &[Entry]) -> Vec<String> {
    entries.iter().filter_map(|e| e.to_line().ok()).collect()
}

/// A start, a flip to MPS and back, and pods that come and go.
fn run() -> Vec<Entry> {
    let mut node = Node::recorded(8, EXCLUSIVE);
    node.label(Some(MPS_NAME));
    node.label(None);
    node.wait(Duration::from_secs(60));
    let mut churn = Churn::new(&node, 4);
    for _ in 0..PODS {
        let round = churn.round();
        if let Event::HoldersRead { holdings, .. } = &round.holders {
            node.holdings.clone_from(holdings);
        }
        node.tell(round.allocated);
        node.wait(Duration::from_millis(300));
    }
    node.journal.unwrap_or_default()
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal write");
    let mut node = Node::started(8, &benches::node::time_slicing(100));
    let mut churn = Churn::new(&node, 80);
    let resource = churn.resource().clone();
    for _ in 0..80 {
        let round = churn.round();
        assert!(lifecycle(&mut node.plugin, &mut node.now, &resource, round));
    }
    let round = churn.round();
    let now = Time::from_millis(1);
    for (name, event) in [("allocated", round.allocated), ("80 holders read", round.holders)] {
        let entry = Entry::event(now, event);
        group.throughput(Throughput::Bytes(entry.to_line().map_or(0, |l| l.len()) as u64));
        group.bench_function(name, |b| b.iter(|| black_box(&entry).to_line()));
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal read");
    let entries = run();
    let text = lines(&entries).join("\n");
    assert_eq!(parse(&text).as_ref(), Ok(&entries));
    assert!(replay(&entries).is_ok_and(|actions| actions > PODS));
    group.throughput(Throughput::Elements(entries.len() as u64));
    group.bench_function("parse", |b| b.iter(|| parse(black_box(&text))));
    group.bench_function("replay", |b| b.iter(|| replay(black_box(&entries))));
    group.finish();
}

/// Enough for figures that repeat within a few percent on a quiet machine.
fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = journal;
    config = short();
    targets = write, read
}
criterion_main!(journal);
