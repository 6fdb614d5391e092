//! What a recorder makes of snapshots, and what it leaves out.

use std::time::Duration;

use serde_json::{Value, json};

use super::recorder::Bounds;
use super::*;
use crate::report::{Outcome, RunReport, StepReport};
use crate::scenario::problem::Place;
use crate::scenario::{Step, Verb};
use crate::world::World;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One node with one shared GPU and the pods that hold a replica of it.
fn shared(state: &str, pods: &[(&str, u32)]) -> Value {
    let holders: Vec<&str> = pods.iter().map(|(name, _)| *name).collect();
    let pods: serde_json::Map<String, Value> = pods
        .iter()
        .map(|(name, replica)| {
            let ids = json!({"nvidia.com/gpu.shared": [format!("GPU-a::{replica}")]});
            let pod = json!({"phase": "Running", "node": "n1", "ids": ids, "resources": {"nvidia.com/gpu.shared": 1}});
            ((*name).to_owned(), pod)
        })
        .collect();
    json!({
        "nodes": {"n1": {
            "ready": true,
            "labels": {"nvidia.com/gpu.replicas": if state == "settled" { "4" } else { "1" }},
            "allocatable": {"cpu": 8, "nvidia.com/gpu.shared": 4},
            "plugin": {"running": true, "ready": true, "state": {"config_applied": "mps-config", "switch": "settled"}},
            "gpus": [{
                "uuid": "GPU-a", "index": 0, "role": "nvidia.com/gpu.shared", "state": state, "holders": holders,
                "plugin": {"strategy": "mps"}, "computeMode": "Exclusive_Process", "mpsDaemon": "running",
            }],
        }},
        "pods": pods,
    })
}

fn recorded(snapshots: &[(u64, Value)]) -> Timeline {
    let mut recorder = Recorder::default();
    for (at, world) in snapshots {
        recorder.see(ms(*at), world);
    }
    recorder.finish(Header::default(), None)
}

#[test]
fn equal_snapshots_are_one_span_that_lasts_until_something_changes() {
    let timeline = recorded(&[
        (0, shared("settled", &[])),
        (100, shared("settled", &[])),
        (250, shared("settled", &[("a", 2)])),
        (900, shared("settled", &[("a", 2)])),
    ]);
    let spans = &timeline.nodes[0].gpus[0].spans;
    let times: Vec<(f64, f64)> = spans.iter().map(|span| (span.from, span.to)).collect();
    assert_eq!(times, [(0.0, 0.25), (0.25, 0.9)]);
    assert_eq!(spans[1].is.holders, [Holder { slot: Some(2), pod: "a".into() }]);
    assert_eq!(spans[0].is.replicas, 4);
    assert_eq!(timeline.nodes[0].spans.len(), 1, "the node itself did not change");
    assert_eq!(timeline.nodes[0].spans[0].is.allocatable, [("nvidia.com/gpu.shared".to_owned(), 4)].into());
}

#[test]
fn a_draining_gpu_keeps_the_number_of_replicas_that_its_holders_know() {
    let timeline = recorded(&[
        (0, shared("settled", &[("a", 0)])),
        (10, shared("draining", &[("a", 0)])),
        (20, json!({})),
    ]);
    let spans = &timeline.nodes[0].gpus[0].spans;
    assert_eq!((spans[1].is.state.as_str(), spans[1].is.replicas), ("draining", 4));
}

#[test]
fn while_the_plugin_is_away_a_held_gpu_stays_divided_as_it_was() {
    let mut silent = shared("settled", &[("a", 0)]);
    for key in ["role", "state", "plugin"] {
        silent["nodes"]["n1"]["gpus"][0].as_object_mut().unwrap().remove(key);
    }
    let timeline = recorded(&[
        (0, shared("settled", &[("a", 0)])),
        (10, silent),
        (20, shared("draining", &[("a", 0)])),
        (30, json!({})),
    ]);
    let spans = &timeline.nodes[0].gpus[0].spans;
    let was: Vec<_> =
        spans.iter().map(|span| (span.is.state.as_str(), span.is.role.is_some(), span.is.replicas)).collect();
    assert_eq!(was, [("settled", true, 4), ("found", false, 4), ("draining", true, 4)]);
}

#[test]
fn a_pod_that_is_gone_leaves_a_gap_and_comes_back_on_its_own_lane() {
    let timeline = recorded(&[
        (0, shared("settled", &[("a", 0)])),
        (10, shared("settled", &[])),
        (20, shared("settled", &[("b", 0)])),
        (30, shared("settled", &[("a", 1)])),
        (40, shared("settled", &[("a", 1)])),
    ]);
    let names: Vec<&str> = timeline.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let times: Vec<(f64, f64)> = timeline.pods[0].spans.iter().map(|span| (span.from, span.to)).collect();
    assert_eq!(times, [(0.0, 0.01), (0.03, 0.04)]);
    assert!(timeline.pods[0].there && !timeline.pods[1].there);
}

#[test]
fn a_gpu_that_the_driver_does_not_list_any_more_is_lost() {
    let mut without = shared("settled", &[]);
    without["nodes"]["n1"]["gpus"] = json!([]);
    let timeline = recorded(&[(0, shared("settled", &[])), (10, without), (20, shared("settled", &[]))]);
    let states: Vec<&str> =
        timeline.nodes[0].gpus[0].spans.iter().map(|span| span.is.state.as_str()).collect();
    assert_eq!(states, ["settled", "lost", "settled"]);
}

#[test]
fn memory_is_kept_as_its_changes_and_does_not_split_spans() {
    let mut worlds = vec![];
    for (at, used) in [(0, 0_u64), (10, 0), (20, 7), (30, 7), (40, 3)] {
        let mut world = shared("settled", &[]);
        world["nodes"]["n1"]["gpus"][0]["memory"] = json!({"used": used, "total": 16});
        worlds.push((at, world));
    }
    let gpu = &recorded(&worlds).nodes[0].gpus[0];
    assert_eq!(gpu.spans.len(), 1);
    let memory = gpu.memory.as_ref().unwrap();
    assert_eq!((memory.total, memory.used.as_slice()), (16, [(0.0, 0), (0.02, 7), (0.04, 3)].as_slice()));
}

#[test]
fn an_ill_gpu_says_why_and_a_healthy_one_nothing() {
    let mut world = shared("settled", &[]);
    for (said, expected) in
        [(json!("healthy"), None), (json!("Xid 79"), Some("Xid 79")), (json!({"reason": "ECC"}), Some("ECC"))]
    {
        world["nodes"]["n1"]["gpus"][0]["plugin"]["health"] = said;
        let timeline = recorded(&[(0, world.clone())]);
        assert_eq!(timeline.nodes[0].gpus[0].spans[0].is.ill.as_deref(), expected);
    }
}

#[test]
fn the_real_view_of_an_empty_cluster_and_nonsense_are_both_read() {
    assert_eq!(
        recorded(&[(0, World::default().to_json()), (5, json!([1, "x"])), (7, Value::Null)]).nodes,
        []
    );
}

#[test]
fn every_bound_stops_growth_and_is_told() {
    let bounds = Bounds { spans: 8, spans_per_lane: 3, lanes: 3, markers: 2, samples: 2 };
    let mut recorder = Recorder::with_bounds(bounds);
    for at in 0..20_u64 {
        let mut world = shared(if at % 2 == 0 { "settled" } else { "draining" }, &[("a", 0), ("b", 1)]);
        world["nodes"]["n1"]["gpus"][0]["memory"] = json!({"used": at, "total": 16});
        recorder.see(ms(at), &world);
        recorder.mark(Marker { at: 0.001, ..Marker::default() });
    }
    let timeline = recorder.finish(Header::default(), None);
    assert_eq!(timeline.nodes[0].gpus[0].spans.len(), 3);
    assert_eq!(timeline.nodes[0].gpus[0].spans[2].to, 0.003, "a lane ends where it was cut");
    assert_eq!(timeline.pods.len(), 1);
    assert_eq!(timeline.markers.len(), 2);
    let told = timeline.truncated.join("\n");
    for part in ["3 per lane", "holds 3 of them", "18 markers", "18 changes of memory"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn time_never_runs_backwards() {
    let timeline = recorded(&[(50, shared("settled", &[])), (20, shared("draining", &[])), (60, json!({}))]);
    let spans = &timeline.nodes[0].gpus[0].spans;
    assert!(spans.iter().all(|span| span.from >= 0.05 && span.to >= span.from), "{spans:?}");
}

fn run(outcome: Outcome) -> RunReport {
    RunReport {
        scenario: "s".into(),
        file: "s.yaml".into(),
        story: "a story\n".into(),
        stage: "wire".into(),
        seed: 7,
        timers_scaled: vec![],
        steps: vec![step_report(0, outcome), StepReport::not_reached(1, "later".into())],
        leaks: vec![],
        world: World::default(),
        recorded: vec![],
        run_dir: "/runs/s".into(),
        logs: vec![],
        took: ms(3000),
        interrupted: false,
    }
}

fn step_report(index: usize, outcome: Outcome) -> StepReport {
    StepReport { index, text: "label n1 a=b".into(), outcome, took: ms(400) }
}

fn label() -> Step {
    let verb = Verb::Label { node: "n1".into(), set: [("a".to_owned(), "b".to_owned())].into() };
    Step::new(Place::START, verb)
}

#[test]
fn a_step_is_a_marker_from_its_begin_to_its_end() {
    let mut recorder = Recorder::default();
    recorder.step(ms(1000), &label(), &step_report(2, Outcome::Passed));
    let marker = &recorder.markers()[0];
    assert_eq!((marker.at, marker.until, marker.step), (0.6, Some(1.0), Some(3)));
    assert_eq!((marker.kind, marker.node.as_deref(), marker.ok), (Kind::Label, Some("n1"), Some(true)));
}

#[test]
fn a_broken_invariant_is_the_failure_and_names_what_it_concerns() {
    let violated = Outcome::Violated {
        violations: vec!["a GPU held exclusively has one holder: `GPU-a` on `n1` is held by aa, b".into()],
    };
    let mut recorder = Recorder::default();
    recorder.see(ms(0), &shared("settled", &[("aa", 0), ("a", 1), ("aab", 2)]));
    recorder.step(ms(1000), &label(), &step_report(0, violated.clone()));
    let timeline = recorder.of_run(&run(violated), Some("abc".into()));
    let failure = timeline.failure.unwrap();
    assert_eq!(failure.invariant.as_deref(), Some("a GPU held exclusively has one holder"));
    assert_eq!((failure.from, failure.at, failure.step), (0.6, 1.0, Some(1)));
    assert_eq!((failure.nodes, failure.pods), (vec!["n1".to_owned()], vec!["aa".to_owned()]));
    assert_eq!(failure.gpus, ["GPU-a"]);
    assert_eq!(timeline.markers[0].kind, Kind::Invariant);
    assert_eq!(timeline.header.verdict, Verdict::Failed);
    assert_eq!(timeline.header.not_reached, ["2  later"]);
}

#[test]
fn an_unmet_expectation_names_objects_by_their_paths() {
    let diff = "nodes.n1.gpus.0.state   (s.yaml:1:1)\n  - expected  settled\npods.a.phase\n".to_owned();
    let unmet = Outcome::Unmet { within: ms(400), lasted: None, diff };
    let mut recorder = Recorder::default();
    recorder.see(ms(0), &shared("settled", &[("a", 0), ("gpus", 1)]));
    let timeline = recorder.of_run(&run(unmet), None);
    let failure = timeline.failure.unwrap();
    assert_eq!((failure.gpus, failure.pods), (vec!["GPU-a".to_owned()], vec!["a".to_owned()]));
    assert!(failure.evidence.iter().any(|line| line.contains("- expected")), "{:?}", failure.evidence);
}

#[test]
fn what_was_left_behind_is_a_failure_of_its_own() {
    let mut leaky = run(Outcome::Passed);
    leaky.steps.truncate(1);
    leaky.leaks.push("process 7".into());
    let failure = Recorder::default().of_run(&leaky, None).failure.unwrap();
    assert_eq!((failure.step, failure.evidence), (None, vec!["process 7".to_owned()]));
}

#[test]
fn a_record_survives_being_written_and_read() {
    let mut recorder = Recorder::default();
    recorder.see(ms(0), &shared("settled", &[("a", 0)]));
    recorder.step(ms(1000), &label(), &step_report(0, Outcome::Passed));
    let timeline = recorder.of_run(&run(Outcome::Broken { error: "no `n1`".into() }), None);
    let text = serde_json::to_string(&timeline).unwrap();
    assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), timeline);
}
