//! The player on a stage that is a table, because waiting and judging need no cluster.

use std::collections::VecDeque;

use super::*;
use crate::on::{Done, StageError};
use crate::scenario::{Process, Selection, Verb, read_text};
use crate::world::PodView;

/// Shows one world after the other; the last one stays.
#[derive(Default)]
struct Table {
    worlds: VecDeque<World>,
    acted: Vec<Verb>,
    deaths: Vec<String>,
    clock: Duration,
    is_virtual: bool,
    drawn: u64,
}

impl Stage for Table {
    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        self.acted.push(verb.clone());
        match verb {
            Verb::Kill { .. } => Ok(Done::Skipped("nothing to kill here".into())),
            Verb::Restart { .. } => {
                Err(StageError::Cluster { what: "restart".into(), error: "refused".into() })
            }
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

    fn is_virtual(&self) -> bool {
        self.is_virtual
    }

    fn draw(&mut self) -> u64 {
        self.drawn
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
    let pod = PodView { phase: phase.into(), ..PodView::default() };
    World { pods: [("p".to_owned(), pod)].into(), ..World::default() }
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
    let mut stage = Table { worlds: ["Pending", "Pending", "Running"].map(world).into(), ..Table::default() };
    let played = played(&mut stage, "- expect: {pods: {p: {phase: Running}}}\n").await;
    assert_eq!(words(&played), ["passed", "passed"]);
    assert_eq!(played.recorded.len(), 1);
    assert_eq!(played.recorded[0].world["pods"]["p"]["phase"], "Running");
}

#[tokio::test]
async fn an_expectation_that_stays_false_fails_with_a_diff_and_ends_the_run() {
    let mut stage = Table { worlds: [world("Failed")].into(), ..Table::default() };
    let played =
        played(&mut stage, "- expect: {within: 50ms, pods: {p: {phase: Running}}}\n- wait: 1s\n").await;
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
    let mut stage =
        Table { worlds: ["Running", "Running", "Running", "Failed"].map(world).into(), ..Table::default() };
    let played = played(&mut stage, "- expect: {holds: 10s, pods: {p: {phase: Running}}}\n").await;
    assert_eq!(words(&played)[1], "unmet");
    assert!(played.steps[1].outcome.details().unwrap().contains("was true for"));
}

#[tokio::test]
async fn a_later_step_compares_with_the_world_of_a_named_one() {
    let steps = "- name: before\n  expect: {pods: {p: {phase: Running}}}\n\
                 - expect: {within: 10ms, pods: {p: {phase: {unchangedSince: before}}}}\n";
    let mut stage = Table { worlds: [world("Running")].into(), ..Table::default() };
    assert_eq!(words(&played(&mut stage, steps).await), ["passed", "passed", "passed"]);
    let changing = ["Running", "Running", "Running", "Succeeded"].map(world);
    let mut stage = Table { worlds: changing.into(), ..Table::default() };
    assert_eq!(words(&played(&mut stage, steps).await), ["passed", "passed", "unmet"]);
}

#[tokio::test]
async fn a_step_that_the_stage_cannot_do_is_skipped_with_its_reason_and_a_refused_one_ends_the_run() {
    let mut stage = Table::default();
    let played = played(&mut stage, "- kill: {plugin: n}\n- restart: {kubelet: n}\n- wait: 1ms\n").await;
    assert_eq!(words(&played), ["passed", "skipped", "broken", "not reached"]);
    assert_eq!(played.steps[1].outcome.details().as_deref(), Some("nothing to kill here"));
    assert_eq!(stage.acted.last(), Some(&Verb::Restart { process: Process::Kubelet, node: "n".into() }));
}

#[tokio::test]
async fn a_death_that_nobody_asked_for_ends_the_run_by_name() {
    let mut stage = Table { deaths: vec!["`plugin` on `n` was killed".into()], ..Table::default() };
    let played = played(&mut stage, "- wait: 1ms\n").await;
    assert_eq!(words(&played), ["broken", "not reached"]);
    assert!(played.steps[0].outcome.details().unwrap().contains("`plugin` on `n`"));
}

#[tokio::test]
async fn a_death_ends_an_expectation_at_once_and_not_at_its_bound() {
    let text = format!("{HEAD}- expect: {{within: 1h, pods: {{p: {{phase: x}}}}}}\n");
    let mut scenario = read_text("s.yaml", &text).unwrap();
    scenario.steps.remove(0);
    let mut stage = Table { deaths: vec!["`plugin` on `n` was killed".into()], ..Table::default() };
    let (_stop, asked) = watch::channel(false);
    assert_eq!(words(&play(&scenario, &mut stage, &mut Silent, asked).await), ["broken"]);
}

#[tokio::test]
async fn a_broken_invariant_ends_the_run() {
    let mut bad = world("Failed");
    bad.pods.get_mut("p").unwrap().reason = "UnexpectedAdmissionError".into();
    let mut stage = Table { worlds: [bad].into(), ..Table::default() };
    assert_eq!(words(&played(&mut stage, "- wait: 1ms\n").await), ["violated", "not reached"]);
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

fn node(count: u64) -> World {
    let mut world = world("Running");
    let mut view = crate::world::NodeView::default();
    view.capacity.insert("nvidia.com/gpu".to_owned(), count.into());
    world.nodes.insert("n".to_owned(), view);
    world
}

#[tokio::test]
async fn what_must_never_be_true_ends_the_run_with_the_evidence() {
    let mut stage = Table { worlds: [node(4), node(4), node(0), node(4)].into(), ..Table::default() };
    let steps = "- never: {nodes: {\"*\": {capacity: {nvidia.com/gpu: 0}}}}\n- expect: {within: 10s, nodes: {n: {capacity: {nvidia.com/gpu: 9}}}}\n";
    let played = played(&mut stage, steps).await;
    assert_eq!(words(&played), ["passed", "passed", "forbidden"]);
    let details = played.steps[2].outcome.details().unwrap();
    assert!(
        details.contains("never of step 2") && details.contains("nodes.n.capacity.nvidia.com/gpu"),
        "{details}"
    );
    assert!(details.contains("- never     0") && details.contains("+ found     0"), "{details}");
}

#[tokio::test]
async fn never_ends_with_the_step_that_it_names() {
    let mut stage =
        Table { worlds: [node(4), node(4), node(4), node(4), node(0)].into(), ..Table::default() };
    let steps = "- never: {until: settled, nodes: {n: {capacity: {nvidia.com/gpu: 0}}}}\n\
                 - name: settled\n  expect: {nodes: {n: {capacity: {nvidia.com/gpu: 4}}}}\n\
                 - expect: {nodes: {n: {capacity: {nvidia.com/gpu: 0}}}}\n";
    assert_eq!(words(&played(&mut stage, steps).await), ["passed", "passed", "passed", "passed"]);
}

#[tokio::test]
async fn what_never_became_true_fails_under_its_own_heading() {
    let seen = "- sometimes: {pods: {p: {phase: Running}}}\n- wait: 1ms\n";
    let mut stage =
        Table { worlds: ["Pending", "Pending", "Running", "Failed"].map(world).into(), ..Table::default() };
    assert_eq!(words(&played(&mut stage, seen).await), ["passed", "passed", "passed"]);
    let mut stage = Table { worlds: [world("Pending")].into(), ..Table::default() };
    let played = played(&mut stage, seen).await;
    assert_eq!(words(&played), ["passed", "passed", "passed", "never exercised"]);
    let details = played.steps[3].outcome.details().unwrap();
    assert!(details.contains("sometimes of step 2") && details.contains("pods.p.phase"), "{details}");
}

#[tokio::test]
async fn steps_of_a_parallel_act_without_a_look_and_are_awaited_together() {
    let mut stage = Table {
        worlds: ["Pending", "Running", "Running", "Succeeded"].map(world).into(),
        ..Table::default()
    };
    let steps = "- parallel:\n  - kill: {plugin: n}\n  - label: {node: n, set: {a: b}}\n\
                 \x20 - expect: {pods: {p: {phase: Running}}}\n  - expect: {pods: {p: {phase: Succeeded}}}\n";
    let played = played(&mut stage, steps).await;
    assert_eq!(words(&played), ["passed", "skipped"]);
    assert_eq!(
        played.steps[1].outcome.details().as_deref(),
        Some("kill the plugin of n: nothing to kill here")
    );
    assert_eq!((stage.acted.len(), played.recorded.len()), (3, 2));
}

#[tokio::test]
async fn much_time_passes_only_where_it_is_virtual() {
    for (is_virtual, word) in [(true, "passed"), (false, "skipped")] {
        let mut stage = Table { is_virtual, ..Table::default() };
        // a `sometimes` that is seen at once keeps the wait from sleeping
        let steps = "- never: {pods: {p: {phase: Failed}}}\n- advance: 2h\n";
        assert_eq!(words(&played(&mut stage, steps).await)[2], word);
    }
}

#[tokio::test]
async fn the_seed_decides_whether_a_likely_fault_happens() {
    for (drawn, word) in [(0, "passed"), (u64::MAX, "skipped")] {
        let mut stage = Table { drawn, ..Table::default() };
        let steps = "- fault: {kind: pluginCrash, node: n, probability: 0.5}\n";
        assert_eq!(words(&played(&mut stage, steps).await)[1], word);
    }
}

#[tokio::test]
async fn a_group_of_pods_is_scaled_by_creating_and_deleting() {
    let mut stage = Table::default();
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: g}, spec: {containers: [{name: c}]}}";
    let steps = format!(
        "- apply: [{{count: 2, manifest: {pod}}}]\n- scale: {{pods: g, count: 3}}\n- scale: {{pods: g, count: 1}}\n"
    );
    played(&mut stage, &steps).await;
    let [.., Verb::Apply(grown), Verb::Delete(Selection::Names(shrunk))] = stage.acted.as_slice() else {
        panic!("{:?}", stage.acted)
    };
    assert_eq!(grown[0].names, ["g-3"]);
    assert_eq!(shrunk, &["g-2", "g-3"]);
}

#[tokio::test]
async fn an_excuse_suspends_its_invariant_alone_and_an_unused_one_is_an_error() {
    let mut refused = world("Failed");
    refused.pods.get_mut("p").unwrap().reason = "UnexpectedAdmissionError".into();
    for (excuse, expected) in
        [("noRefusal", vec!["passed", "passed"]), ("oneStrategy", vec!["violated", "not reached"])]
    {
        let text = format!("excuses: [{excuse}]\n{HEAD}- wait: 1ms\n");
        let scenario = read_text("s.yaml", &text).unwrap();
        let mut stage = Table { worlds: [refused.clone()].into(), ..Table::default() };
        let (_stop, asked) = watch::channel(false);
        assert_eq!(words(&play(&scenario, &mut stage, &mut Silent, asked).await), expected);
    }
    let scenario = read_text("s.yaml", &format!("excuses: [noRefusal]\n{HEAD}")).unwrap();
    let (_stop, asked) = watch::channel(false);
    let played = play(&scenario, &mut Table::default(), &mut Silent, asked).await;
    assert_eq!(words(&played), ["passed", "broken"]);
    assert!(played.steps[1].outcome.details().unwrap().contains("`noRefusal`"));
}
