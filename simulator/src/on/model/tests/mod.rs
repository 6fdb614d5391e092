//! The model against whole stories, seeds and faults.

mod bench;
mod faults;
mod interleavings;
mod stories;
mod verbs;

use std::time::Duration;

use tokio::sync::watch;

use super::{ModelOptions, ModelStage, Violation};
use crate::expect::Mismatch;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, Stage};
use crate::play::{Observer, Played, play};
use crate::report::StepReport;
use crate::scenario::{Scenario, read_text};
use crate::world::World;

/// Two nodes with GPUs and one without, and the two configurations of the mixed cluster.
const HEAD: &str = "\
story: a test
timers: {nodeStatusUpdate: 1s, endpointGrace: 30s, termination: 1s, configMapSync: 1s}
nodes:
- {name: gpu, count: 2, gpus: {board: tesla-t4, count: 4}}
- {name: cpu-1}
configs:
  default: |-
    version: v1
    flags:
      migStrategy: none
  mps-config: |-
    version: v1
    sharing:
      mps:
        renameByDefault: true
        resources:
        - name: nvidia.com/gpu
          replicas: 4
  sliced: |-
    version: v1
    sharing:
      timeSlicing:
        resources:
        - name: nvidia.com/gpu
          replicas: 2
steps:
";

struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _: usize, _: &str) {}
    fn waits(&mut self, _: Duration, _: Duration, _: &[Mismatch]) {}
    fn ends(&mut self, _: &StepReport) {}
}

fn scenario(steps: &str) -> Scenario {
    read_text("test.yaml", &format!("{HEAD}{steps}")).unwrap()
}

fn options(seed: u64) -> ModelOptions {
    ModelOptions { seed, journals: true, invariants: true }
}

/// A stage and what a play on it left.
struct Run {
    stage: ModelStage,
    played: Played,
    leaks: Vec<String>,
}

fn run(scenario: &Scenario, seed: u64) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut stage = ModelStage::start(scenario, options(seed)).unwrap();
        let (_stop, asked) = watch::channel(false);
        let played = play(scenario, &mut stage, &mut Silent, asked).await;
        let leaks = stage.finish().await;
        Run { stage, played, leaks }
    })
}

impl Run {
    /// Every step passed, no invariant was broken in between, nothing is left behind, and the journals replay.
    fn assert_green(&self, seed: u64) {
        for step in &self.played.steps {
            let outcome = &step.outcome;
            assert_eq!(
                outcome.word(),
                "passed",
                "seed {seed}, {}: {}",
                step.text,
                outcome.details().unwrap_or_default()
            );
        }
        assert_eq!(self.stage.violations(), [], "seed {seed}");
        assert_eq!(self.leaks, [] as [&str; 0], "seed {seed}");
        for (node, entries) in self.stage.plugin_journals() {
            let replayed = plugin_core::journal::replay(entries);
            assert!(replayed.is_ok(), "seed {seed}, {node}: {replayed:?}");
        }
    }
}

/// A stage that is driven by hand.
fn stage(steps: &str, seed: u64) -> ModelStage {
    ModelStage::start(&scenario(steps), options(seed)).unwrap()
}

/// Lets time pass until the world is as wanted, or fails after a minute of virtual time.
fn until(stage: &mut ModelStage, what: &str, holds: impl Fn(&World) -> bool) {
    let end = stage.now() + Duration::from_secs(60);
    while !holds(stage.world()) {
        assert!(stage.now() < end, "not true within a minute: {what}\n{:#}", stage.world().to_json());
        stage.advance(Duration::from_millis(50));
    }
}

/// Lets time pass, whatever happens.
fn pass(stage: &mut ModelStage, time: Duration) {
    let end = stage.now() + time;
    while stage.now() < end {
        stage.advance(end - stage.now());
    }
}

fn fault(fault: Fault, node: &str, lasts: Option<Duration>) -> FaultSpec {
    FaultSpec { fault, node: node.to_owned(), lasts }
}
