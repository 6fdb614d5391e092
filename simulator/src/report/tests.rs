//! The three reports of one run.

use std::time::Duration;

use super::*;
use crate::scenario::problem::Place;
use crate::scenario::{Step, Verb};
use crate::world::{Condition, GpuView, NodeView, PodView};
use serde_json::json as value;

fn step(index: usize, outcome: Outcome) -> StepReport {
    StepReport { index, text: format!("step <{index}>"), outcome, took: Duration::from_millis(310) }
}

fn report(outcomes: Vec<Outcome>) -> RunReport {
    RunReport {
        scenario: "mixed".into(),
        file: "scenarios/mixed.yaml".into(),
        story: "a story".into(),
        stage: "wire".into(),
        seed: 7,
        timers_scaled: vec![],
        steps: outcomes.into_iter().enumerate().map(|(index, outcome)| step(index, outcome)).collect(),
        leaks: vec![],
        world: World::default(),
        recorded: vec![],
        run_dir: "/runs/mixed-1".into(),
        logs: vec![],
        took: Duration::from_secs(3),
        interrupted: false,
    }
}

fn unmet() -> Outcome {
    Outcome::Unmet {
        within: Duration::from_secs(5),
        lasted: None,
        diff: "pods.a.phase\n  - expected & \"x\"\n".into(),
    }
}

#[test]
fn a_run_passes_only_when_every_step_did_and_nothing_leaked() {
    let skipped = Outcome::Skipped { reason: "r".into() };
    assert!(report(vec![Outcome::Passed, skipped]).passed());
    for outcome in [unmet(), Outcome::Interrupted, Outcome::NotReached, Outcome::Broken { error: "e".into() }]
    {
        assert!(!report(vec![Outcome::Passed, outcome]).passed());
    }
    let mut leaky = report(vec![Outcome::Passed]);
    leaky.leaks.push("a socket".into());
    assert!(!leaky.passed());
}

#[test]
fn junit_has_a_case_per_step_and_escapes_what_it_quotes() {
    let xml = junit::render(&[report(vec![Outcome::Passed, unmet(), Outcome::NotReached])]);
    assert!(
        xml.contains("<testsuite name=\"mixed\" tests=\"3\" failures=\"1\" skipped=\"1\" time=\"3.000\">"),
        "{xml}"
    );
    assert!(xml.contains("name=\"01 step &lt;0&gt;\""), "{xml}");
    assert!(xml.contains("expected &amp; &quot;x&quot;"), "{xml}");
}

#[test]
fn a_leak_is_a_failed_case_of_its_own() {
    let mut leaky = report(vec![Outcome::Passed]);
    leaky.leaks.push("process 7".into());
    let xml = junit::render(&[leaky]);
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("process 7"), "{xml}");
}

#[test]
fn json_tells_outcomes_and_the_verdict() {
    let json = json::render(&[report(vec![Outcome::Passed, unmet()])]);
    assert_eq!(json["version"], 1);
    assert_eq!(json["passed"], false);
    assert_eq!(json["runs"][0]["steps"][1]["outcome"], "unmet");
    assert_eq!(json["runs"][0]["steps"][0]["number"], 1);
}

#[test]
fn the_table_shows_who_holds_what_and_why_others_wait() {
    let node = NodeView {
        capacity: [("nvidia.com/gpu".to_owned(), value!(2)), ("cpu".to_owned(), value!(8))].into(),
        allocatable: [("nvidia.com/gpu".to_owned(), value!(2))].into(),
        gpus: vec![
            GpuView { uuid: "GPU-a".into(), index: 0, ..GpuView::default() },
            GpuView { uuid: "GPU-b".into(), index: 1, ..GpuView::default() },
        ],
        ..NodeView::default()
    };
    let running = PodView {
        phase: "Running".into(),
        node: Some("n1".into()),
        ids: [("nvidia.com/gpu".to_owned(), vec!["GPU-b".to_owned()])].into(),
        ..PodView::default()
    };
    let scheduled = Some(Condition { message: "0/1 nodes".into(), ..Condition::default() });
    let pending = PodView { phase: "Pending".into(), scheduled, ..PodView::default() };
    let world = World {
        nodes: [("n1".to_owned(), node), ("cpu-1".to_owned(), NodeView::default())].into(),
        pods: [("a".to_owned(), running), ("b".to_owned(), pending)].into(),
        ..World::default()
    };
    assert_eq!(
        table::render(&world),
        "NODE   RESOURCE                ALLOCATABLE  CAPACITY  PODS ON DEVICES\n\
         cpu-1  (no extended resource)\n\
         n1     nvidia.com/gpu                    2         2  GPU 1: a\n\
         b: Pending — 0/1 nodes\n"
    );
}

#[test]
fn a_step_is_described_in_the_words_of_kubectl() {
    let label = Step {
        name: Some("flip".into()),
        ..Step::new(
            Place::START,
            Verb::Label { node: "gpu-2".into(), set: [("a".to_owned(), "b".to_owned())].into() },
        )
    };
    assert_eq!(describe(&label), "flip  [label gpu-2 a=b]");
    let unlabel = Verb::Unlabel { node: "n".into(), keys: vec!["a".into()] };
    assert_eq!(describe(&Step::new(Place::START, unlabel)), "label n a-");
}
