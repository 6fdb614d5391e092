//! What a changed config map costs: reading one file with every problem in its place.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plugin_core::config::{Strictness, read};

/// A file that sets what most clusters set.
const USUAL: &str = "\
version: v1
flags:
  migStrategy: none
  failOnInitError: true
  nvidiaDriverRoot: /
  gdrcopyEnabled: false
  plugin:
    passDeviceSpecs: false
    deviceListStrategy:
    - envvar
    deviceIDStrategy: uuid
  gfd:
    oneshot: false
    noTimestamp: false
    sleepInterval: 60s
sharing:
  timeSlicing:
    renameByDefault: false
    failRequestsGreaterThanOne: false
    resources:
    - name: nvidia.com/gpu
      replicas: 10
";

/// How long the long files are, in bytes.
const LONG: usize = 72 * 1024;

/// Many resources, none wrong.
fn long() -> String {
    let mut text = "version: v1\nsharing:\n  timeSlicing:\n    resources:\n".to_owned();
    for number in 0.. {
        if text.len() >= LONG {
            break;
        }
        let _ = writeln!(text, "    - name: nvidia.com/mig-1g.{number}gb\n      replicas: 2");
    }
    text
}

/// Nothing but keys that do not exist.
fn wrong() -> String {
    let mut text = "version: v1\nflags:\n".to_owned();
    for number in 0.. {
        if text.len() >= LONG {
            break;
        }
        let _ = writeln!(text, "  migStrategie{number}: none");
    }
    text
}

fn config(c: &mut Criterion) {
    let mut group = c.benchmark_group("config");
    let cases = [
        ("usual", USUAL.to_owned(), true),
        ("72 KiB of resources", long(), true),
        ("72 KiB of unknown keys", wrong(), false),
    ];
    for (name, text, good) in cases {
        let result = read("config.yaml", &text, Strictness::Strict);
        assert_eq!(result.is_ok(), good, "{name}: {result:?}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| read("config.yaml", black_box(&text), Strictness::Strict)));
    }
    group.finish();
}

/// Enough for figures that repeat within a few percent on a quiet machine.
fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = files;
    config = short();
    targets = config
}
criterion_main!(files);
