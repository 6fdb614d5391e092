//! The fuzzer against planted mistakes, and what it makes against what the language and the player make of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::again::again;
use super::campaign::{Goal, On, Plan, fuzz};
use super::failure::{Failure, Kind};
use super::generate::{STEPS_MIN, short_story, story};
use super::kind::DRAWN;
use super::label::Label;
use super::run::run;
use super::shrink::{Failing, shrink};
use super::story::{Step, Story};
use super::write;
use crate::on::model::Sabotage;
use crate::scenario::{Verb, read_text};

/// Seeds whose stories must be green; a campaign plays as many as there is time for.
const SEEDS_GREEN: std::ops::RangeInclusive<u64> = 1..=20;
/// Seeds with which a planted mistake must be found.
const SEEDS_MAX: u64 = 25;
/// Steps of a shrunk story must be fewer.
const STEPS_SHRUNK_MAX: usize = 10;
/// How long finding and shrinking one mistake may take.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The first seed that fails with a planted mistake, in a way that shows it.
fn first_failure(sabotage: Sabotage, is_expected: impl Fn(&Kind) -> bool) -> Failing {
    let found = (1..=SEEDS_MAX).find_map(|seed| {
        let story = story(seed).unwrap();
        let outcome = run(&story, seed, Some(sabotage));
        let shows = outcome.failure.filter(|failure| is_expected(&failure.kind));
        shows.map(|failure| Failing { story, seed, failure, excused: outcome.excused })
    });
    found.unwrap_or_else(|| panic!("{sabotage:?} is not found by {SEEDS_MAX} seeds"))
}

/// A planted mistake is found, is nobody else's, is shrunk, and the written file fails by itself in the same way.
fn is_found(sabotage: Sabotage, is_expected: impl Fn(&Kind) -> bool) {
    let begun = worked();
    let found = first_failure(sabotage, &is_expected);
    let seed = found.seed;
    assert_eq!(run(&found.story, seed, None).failure, None, "seed {seed} fails without the mistake");
    let small = shrink(found, Some(sabotage));
    assert!(is_expected(&small.failure.kind), "{}", small.failure);
    let steps = small.story.steps.len();
    let text = write::file(&small);
    assert!(steps < STEPS_SHRUNK_MAX, "{steps} steps\n{text}");
    let played = again(&small, Some(sabotage)).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(played.fails(&small.failure.kind), "the file does not fail in the same way: {played:?}\n{text}");
    let took = worked().saturating_sub(begun);
    assert!(took < TIME_MAX, "it took {took:?}");
}

/// How long this thread has been computing: other load on the machine does not count.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn is_invariant(kind: &Kind, words: &[&str]) -> bool {
    matches!(kind, Kind::Invariant(name) if words.iter().any(|words| name.starts_with(words)))
}

#[test]
fn made_up_stories_break_nothing() {
    for seed in SEEDS_GREEN {
        let failure = run(&story(seed).unwrap(), seed, None).failure;
        assert_eq!(failure.as_ref().map(ToString::to_string), None, "seed {seed}");
    }
}

#[test]
fn two_holders_of_one_gpu_are_found() {
    is_found(Sabotage::BlindToHolders, |kind| {
        is_invariant(kind, &["a GPU held exclusively", "all holders of a GPU", "no more holders"])
    });
}

#[test]
fn a_lost_registration_after_a_restart_is_found() {
    is_found(Sabotage::NoSecondRegistration, |kind| {
        matches!(kind, Kind::Unsettled("readiness" | "allocatable"))
    });
}

#[test]
fn a_leaked_mps_daemon_is_found() {
    is_found(Sabotage::ImmortalDaemons, |kind| matches!(kind, Kind::Unsettled("MPS daemon") | Kind::Leak));
}

#[test]
fn an_off_by_one_in_replicas_is_found() {
    is_found(Sabotage::OneReplicaMore, |kind| is_invariant(kind, &["allocatable never exceeds what exists"]));
}

#[test]
fn a_wrong_environment_variable_is_found() {
    is_found(Sabotage::WrongEnvironment, |kind| {
        is_invariant(kind, &["`NVIDIA_VISIBLE_DEVICES` names exactly the GPUs"])
    });
}

#[test]
fn every_story_has_two_nodes_twenty_steps_a_flip_and_a_fault() {
    for seed in 0..200 {
        let story = story(seed).unwrap();
        let any = |wanted: fn(&Step) -> bool| story.steps.iter().any(wanted);
        assert!(story.nodes.len() >= 2, "seed {seed}");
        assert!(story.steps.len() >= STEPS_MIN, "seed {seed}");
        assert!(any(|step| matches!(step, Step::Flip { .. })), "seed {seed}");
        assert!(any(|step| matches!(step, Step::Fault(_))), "seed {seed}");
        let mut mended = story.clone();
        mended.mend();
        assert_eq!(mended, story, "seed {seed} refers to what is not there");
    }
}

#[test]
fn every_kind_of_fault_that_is_counted_is_drawn_and_every_label_too() {
    let stories: Vec<Story> = (0..500).map(|seed| story(seed).unwrap()).collect();
    let steps = || stories.iter().flat_map(|story| &story.steps);
    let faults: BTreeSet<&str> = steps()
        .filter_map(|step| match step {
            Step::Fault(spec) => Some(spec.fault.tag()),
            _ => None,
        })
        .collect();
    assert_eq!(faults, DRAWN.into());
    let any = |wanted: fn(&Label) -> bool| {
        steps().any(|step| matches!(step, Step::Flip { label, .. } if wanted(label)))
    };
    assert!(any(|label| matches!(label, Label::Mixed(groups) if groups.len() == 3)));
    assert!(any(|label| matches!(label, Label::Parts(_))) && any(|label| *label == Label::Edited));
}

#[test]
fn a_story_for_real_time_is_short_and_impatient() {
    for seed in 0..200 {
        let story = short_story(seed).unwrap();
        let waits = story.steps.iter().map(|step| match step {
            Step::Wait(time) => *time,
            Step::Fault(spec) => spec.lasts.unwrap_or_default(),
            _ => Duration::ZERO,
        });
        assert!(waits.sum::<Duration>() < Duration::from_secs(60), "seed {seed}");
        assert!(story.nodes.len() == 2, "seed {seed}");
    }
}

#[test]
fn a_seed_always_tells_the_same_story_and_plays_it_in_the_same_way() {
    assert_eq!(story(7).unwrap(), story(7).unwrap());
    assert_ne!(story(7).unwrap(), story(8).unwrap());
    let story = story(7).unwrap();
    assert_eq!(run(&story, 7, None).tally, run(&story, 7, None).tally);
}

/// A failing run of a story, as if its end had been unexpected.
fn failing(story: Story, seed: u64) -> Failing {
    Failing {
        story,
        seed,
        failure: Failure {
            kind: Kind::Leak,
            message: "a: b # c".to_owned(),
            at: Duration::ZERO,
            step: 0,
            emptied: true,
            demand: Some("nodes: {node-1: {plugin: {ready: true}}}".to_owned()),
        },
        excused: ["noRefusal"].into(),
    }
}

#[test]
fn what_is_written_is_read_as_the_same_steps() {
    for seed in 0..50 {
        let story = story(seed).unwrap();
        let text = write::file(&failing(story.clone(), seed));
        let scenario = read_text("found.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(scenario.nodes.len(), story.nodes.len());
        for (step, read) in story.steps.iter().zip(&scenario.steps) {
            match (step, &read.verb) {
                (Step::Wait(time), Verb::Wait(read)) => assert_eq!(time, read),
                (Step::Fault(fault), Verb::Fault { spec, probability }) => {
                    assert_eq!((fault, 1.0), (spec, *probability));
                }
                (step, read) => assert_eq!(step.verb().as_ref(), Some(read)),
            }
        }
    }
}

#[test]
fn a_story_without_its_nodes_and_pods_is_mended() {
    let mut story = story(3).unwrap();
    story.nodes.retain(|node| node.name == "node-1");
    story.nodes[0].gpus = 1;
    story.steps.retain(|step| !matches!(step, Step::Create(_)));
    story.mend();
    for step in &story.steps {
        match step {
            Step::Flip { node, .. } => assert_eq!(node, "node-1"),
            Step::Fault(spec) => assert!(spec.node == "node-1" || spec.node == "*", "{spec:?}"),
            Step::Delete(names) | Step::Finish(names) => panic!("{names:?} never were"),
            Step::Create(_) | Step::Edit(_) | Step::Wait(_) => {}
        }
    }
}

#[test]
fn a_campaign_counts_every_seed_and_keeps_the_first_failure_of_a_kind() {
    let plan = Plan {
        goal: Goal::Seeds(12),
        first_seed: 1,
        jobs: 3,
        keep_going: true,
        on: On::Model(Some(Sabotage::WrongEnvironment)),
    };
    let mut told = 0;
    let findings = fuzz(&plan, |stories, _| told = stories);
    assert_eq!((told, findings.tally.stories), (12, 12));
    let alone = first_failure(Sabotage::WrongEnvironment, |_| true);
    let kept = &findings.failures[&alone.failure.kind];
    assert_eq!((kept.seed, &kept.failure), (alone.seed, &alone.failure));
}
