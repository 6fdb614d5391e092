//! Many seeds on every core: each worker takes the next seed, plays its story, and tells what became of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::failure::{Failure, Kind};
use super::generate::{self, NoStory};
use super::run::{Outcome, run};
use super::shrink::Failing;
use super::story::Story;
use super::tally::Tally;
use super::wire::Wire;
use crate::on::model::Sabotage;

/// Results that wait for the one who counts.
const QUEUE_MAX: usize = 256;
/// How often progress is told while no story ends.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Different kinds of failures that are kept.
const KINDS_MAX: usize = 50;

/// When fuzzing is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// After so many seeds.
    Seeds(u64),
    /// After so much real time.
    Time(Duration),
}

/// On which stage.
#[derive(Debug, Clone)]
pub enum On {
    /// In virtual time, perhaps with a planted mistake.
    Model(Option<Sabotage>),
    /// In real time.
    Wire(Wire),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When it is over.
    pub goal: Goal,
    /// The first seed; the others follow.
    pub first_seed: u64,
    /// Threads.
    pub jobs: usize,
    /// Go on after the first failure and keep one of each kind.
    pub keep_going: bool,
    /// Where the stories are played.
    pub on: On,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was exercised.
    pub tally: Tally,
    /// Of each kind of failure the one with the lowest seed.
    pub failures: BTreeMap<Kind, Failing>,
    /// How often each kind was met.
    pub counts: BTreeMap<Kind, u64>,
    /// Real time.
    pub took: Duration,
}

struct Played {
    seed: u64,
    outcome: Outcome,
}

/// Plays stories until the goal is reached or one fails. `tell` hears how many were played and how many kinds failed.
pub fn fuzz(plan: &Plan, mut tell: impl FnMut(u64, usize)) -> Findings {
    let begun = Instant::now();
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut findings = Findings::default();
    std::thread::scope(|scope| {
        let (sender, results) = sync_channel(QUEUE_MAX);
        for _ in 0..plan.jobs.max(1) {
            let sender = sender.clone();
            let (next, over) = (&next, &over);
            scope.spawn(move || work(plan, begun, next, over, &sender));
        }
        drop(sender);
        let mut stories = 0;
        // ends when the last worker has dropped its sender
        loop {
            match results.recv_timeout(TELL_EVERY) {
                Ok(played) => {
                    stories += 1;
                    let failed = findings.add(played, &plan.on);
                    if failed && !plan.keep_going {
                        over.store(true, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            tell(stories, findings.failures.len());
        }
    });
    findings.took = begun.elapsed();
    findings
}

fn work(plan: &Plan, begun: Instant, next: &AtomicU64, over: &AtomicBool, results: &SyncSender<Played>) {
    // ends with the goal, or when somebody says that it is over
    while !over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let reached = match plan.goal {
            Goal::Seeds(seeds) => number >= seeds,
            Goal::Time(time) => begun.elapsed() >= time,
        };
        if reached {
            return;
        }
        let seed = plan.first_seed.wrapping_add(number);
        let Some(outcome) = play(seed, &plan.on) else {
            // somebody asked to stop
            return over.store(true, Ordering::Relaxed);
        };
        if results.send(Played { seed, outcome }).is_err() {
            return;
        }
    }
}

/// Makes and plays the story of a seed. A panic is a finding like any other.
fn play(seed: u64, on: &On) -> Option<Outcome> {
    let simulator_failed =
        |message| Outcome { failure: Some(Failure::of_simulator(message)), ..Outcome::default() };
    let story = match on.story(seed) {
        Ok(story) => story,
        Err(error) => return Some(simulator_failed(error.to_string())),
    };
    let played = catch_unwind(AssertUnwindSafe(|| match on {
        On::Model(sabotage) => Some(run(&story, seed, *sabotage)),
        On::Wire(wire) => wire.run(&story, seed),
    }));
    played.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(simulator_failed(format!("a panic: {}", text.unwrap_or_default())))
    })
}

impl On {
    /// The story of a seed.
    fn story(&self, seed: u64) -> Result<Story, NoStory> {
        match self {
            On::Model(_) => generate::story(seed),
            On::Wire(_) => generate::short_story(seed),
        }
    }
}

impl Findings {
    /// Counts a story; `true` when it failed.
    fn add(&mut self, played: Played, on: &On) -> bool {
        let Played { seed, outcome } = played;
        self.tally.add(&outcome.tally);
        let Some(failure) = outcome.failure else {
            return false;
        };
        *self.counts.entry(failure.kind.clone()).or_default() += 1;
        let lower = self.failures.get(&failure.kind).is_none_or(|known| seed < known.seed);
        if lower
            && self.failures.len() < KINDS_MAX
            && let Ok(story) = on.story(seed)
        {
            let failing = Failing { story, seed, failure: failure.clone(), excused: outcome.excused };
            self.failures.insert(failure.kind, failing);
        }
        true
    }
}
