//! The player on a stage that is a table, because waiting and judging need no cluster.

use std::collections::VecDeque;

use super::*;
use crate::scenario::{Process, read_text};
use crate::world::PodView;

/// Shows one world after the other; the last one stays.
#[derive(Default)]
struct Table {
    worlds: VecDeque<World>,
    acted: Vec<Verb>,
    deaths: Vec<String>,
    clock: Duration,
}

impl Stage for Table {
    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        self.acted.push(verb.clone());
        match verb {
            Verb::Kill { .. } => Ok(Done::Skipped("nothing to kill here".into())),
            Verb::Restart { .. } => Err(StageError::Cluster {
                what: "restart".into(),
                error: "refused".into(),
            }),
            _ => Ok(Done::Did),
        }
    }

    async fn look(&mut self) -> Result<World, StageError> {
        let world = self.worlds.front().cloned().unwrap_or_default();
        if self.worlds.len() > 1 {
            self.worlds.pop_front();
        }
        Ok(world)
    }

    fn now(&self) -> Duration {
        self.clock
    }

    async fn pause(&mut self, duration: Duration) {
        tokio::time::sleep(duration).await;
        self.clock += duration;
    }

    async fn changed(&mut self, at_most: Duration) {
        self.clock += at_most;
        tokio::task::yield_now().await;
    }

    fn deaths(&mut self) -> Vec<String> {
        std::mem::take(&mut self.deaths)
    }

    async fn finish(&mut self) -> Vec<String> {
        Vec::new()
    }
}

struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _: usize, _: &str) {}
    fn waits(&mut self, _: Duration, _: Duration, _: &[Mismatch]) {}
    fn ends(&mut self, _: &StepReport) {}
}

fn world(phase: &str) -> World {
    let pod = PodView {
        phase: phase.into(),
        ..PodView::default()
    };
    World {
        pods: [("p".to_owned(), pod)].into(),
        ..World::default()
    }
}

const HEAD: &str = "\
story: s
nodes: [{name: n}]
steps:
- apply: [{manifest: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}}]
";

async fn played(stage: &mut Table, steps: &str) -> Played {
    let scenario = read_text("s.yaml", &format!("{HEAD}{steps}")).unwrap();
    let (_stop, asked) = watch::channel(false);
    play(&scenario, stage, &mut Silent, asked).await
}

fn words(played: &Played) -> Vec<&'static str> {
    played.steps.iter().map(|step| step.outcome.word()).collect()
}

#[tokio::test]
async fn an_expectation_waits_until_it_is_true_and_its_world_is_recorded() {
    let mut stage = Table {
        worlds: ["Pending", "Pending", "Running"].map(world).into(),
        ..Table::default()
    };
    let played = played(&mut stage, "- expect: {pods: {p: {phase: Running}}}\n").await;
    assert_eq!(words(&played), ["passed", "passed"]);
    assert_eq!(played.recorded.len(), 1);
    assert_eq!(played.recorded[0].world["pods"]["p"]["phase"], "Running");
}

#[tokio::test]
async fn an_expectation_that_stays_false_fails_with_a_diff_and_ends_the_run() {
    let mut stage = Table {
        worlds: [world("Failed")].into(),
        ..Table::default()
    };
    let played = played(
        &mut stage,
        "- expect: {within: 50ms, pods: {p: {phase: Running}}}\n- wait: 1s\n",
    )
    .await;
    assert_eq!(words(&played), ["passed", "unmet", "not reached"]);
    let details = played.steps[1].outcome.details().unwrap();
    assert!(details.contains("pods.p.phase   (s.yaml:5:44)"), "{details}");
    assert!(
        details.contains("expected  \"Running\"") && details.contains("found     \"Failed\""),
        "{details}"
    );
}

#[tokio::test]
async fn an_expectation_that_does_not_hold_long_enough_fails() {
    let mut stage = Table {
        worlds: ["Running", "Running", "Running", "Failed"].map(world).into(),
        ..Table::default()
    };
    let played = played(
        &mut stage,
        "- expect: {holds: 10s, pods: {p: {phase: Running}}}\n",
    )
    .await;
    assert_eq!(words(&played)[1], "unmet");
    assert!(
        played.steps[1]
            .outcome
            .details()
            .unwrap()
            .contains("was true for")
    );
}

#[tokio::test]
async fn a_later_step_compares_with_the_world_of_a_named_one() {
    let steps = "- name: before\n  expect: {pods: {p: {phase: Running}}}\n\
                 - expect: {within: 10ms, pods: {p: {phase: {unchangedSince: before}}}}\n";
    let mut stage = Table {
        worlds: [world("Running")].into(),
        ..Table::default()
    };
    assert_eq!(
        words(&played(&mut stage, steps).await),
        ["passed", "passed", "passed"]
    );
    let changing = ["Running", "Running", "Running", "Succeeded"].map(world);
    let mut stage = Table {
        worlds: changing.into(),
        ..Table::default()
    };
    assert_eq!(
        words(&played(&mut stage, steps).await),
        ["passed", "passed", "unmet"]
    );
}

#[tokio::test]
async fn a_step_that_the_stage_cannot_do_is_skipped_with_its_reason_and_a_refused_one_ends_the_run() {
    let mut stage = Table::default();
    let played = played(
        &mut stage,
        "- kill: {plugin: n}\n- restart: {kubelet: n}\n- wait: 1ms\n",
    )
    .await;
    assert_eq!(words(&played), ["passed", "skipped", "broken", "not reached"]);
    assert_eq!(
        played.steps[1].outcome.details().as_deref(),
        Some("nothing to kill here")
    );
    assert_eq!(
        stage.acted.last(),
        Some(&Verb::Restart {
            process: Process::Kubelet,
            node: "n".into()
        })
    );
}

#[tokio::test]
async fn a_death_that_nobody_asked_for_ends_the_run_by_name() {
    let mut stage = Table {
        deaths: vec!["`plugin` on `n` was killed".into()],
        ..Table::default()
    };
    let played = played(&mut stage, "- wait: 1ms\n").await;
    assert_eq!(words(&played), ["broken", "not reached"]);
    assert!(
        played.steps[0]
            .outcome
            .details()
            .unwrap()
            .contains("`plugin` on `n`")
    );
}

#[tokio::test]
async fn a_death_ends_an_expectation_at_once_and_not_at_its_bound() {
    let text = format!("{HEAD}- expect: {{within: 1h, pods: {{p: {{phase: x}}}}}}\n");
    let mut scenario = read_text("s.yaml", &text).unwrap();
    scenario.steps.remove(0);
    let mut stage = Table {
        deaths: vec!["`plugin` on `n` was killed".into()],
        ..Table::default()
    };
    let (_stop, asked) = watch::channel(false);
    assert_eq!(
        words(&play(&scenario, &mut stage, &mut Silent, asked).await),
        ["broken"]
    );
}

#[tokio::test]
async fn a_broken_invariant_ends_the_run() {
    let mut bad = world("Failed");
    bad.pods.get_mut("p").unwrap().reason = "UnexpectedAdmissionError".into();
    let mut stage = Table {
        worlds: [bad].into(),
        ..Table::default()
    };
    assert_eq!(
        words(&played(&mut stage, "- wait: 1ms\n").await),
        ["violated", "not reached"]
    );
}

#[tokio::test]
async fn a_request_to_stop_interrupts_a_wait() {
    let scenario = read_text("s.yaml", &format!("{HEAD}- wait: 1h\n")).unwrap();
    let (stop, asked) = watch::channel(false);
    stop.send(true).unwrap();
    let played = play(&scenario, &mut Table::default(), &mut Silent, asked).await;
    assert!(played.interrupted);
    assert_eq!(words(&played), ["passed", "interrupted"]);
}
