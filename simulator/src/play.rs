//! Plays a scenario step by step, because waiting, recording and judging must be the same on every stage.

mod disturbances;
mod waiting;
mod watches;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use self::disturbances::Disturbances;
use self::waiting::{Verdict, Waiting, Wanted};
use self::watches::Watches;
use crate::expect::{self, Memory, Mismatch};
use crate::invariants::{Invariant, Invariants};
use crate::on::{Done, Stage, StageError};
use crate::report::{Outcome, StepReport, describe};
use crate::scenario::{Change, Expectation, Scenario, Selection, Step, Verb};
use crate::timeline::Recorder;
use crate::world::World;

/// How long the player waits at most before it looks again, in the stage's time.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a violated invariant may last before it counts: two looks are never one instant.
const VIOLATION_SETTLES_WITHIN: Duration = Duration::from_millis(500);
/// The longest `advance` that is waited for where time is real.
const ADVANCE_REAL_MAX: Duration = Duration::from_secs(2);

/// Hears how a run goes.
pub trait Observer {
    /// A step begins.
    fn begins(&mut self, index: usize, text: &str);
    /// An expectation is not true yet.
    fn waits(&mut self, waited: Duration, within: Duration, missing: &[Mismatch]);
    /// A step ended.
    fn ends(&mut self, report: &StepReport);
}

/// An expectation and the world in which it became true.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The step's number, from 0.
    pub step: usize,
    /// What was expected.
    pub expectation: Expectation,
    /// The world it matched.
    pub world: Value,
    /// The worlds of earlier named steps.
    pub memory: Memory,
}

/// What a play leaves: how each step went and what was seen.
#[derive(Debug, Default)]
pub struct Played {
    /// One report for every step, also for those that were not reached.
    pub steps: Vec<StepReport>,
    /// Every expectation that became true, with its world.
    pub recorded: Vec<Recorded>,
    /// The last world seen.
    pub world: World,
    /// The run as spans and markers, for the report.
    pub recorder: Recorder,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// True once somebody asked to stop.
pub type Stop = watch::Receiver<bool>;

/// Plays all steps; stops at the first that fails.
pub async fn play(
    scenario: &Scenario,
    stage: &mut impl Stage,
    observer: &mut impl Observer,
    stop: Stop,
) -> Played {
    let mut player = Player {
        scenario,
        stage,
        observer,
        stop,
        invariants: Invariants::excusing(&scenario.excuses),
        watches: Watches::default(),
        disturbances: Disturbances::default(),
        memory: Memory::new(),
        json: Value::Null,
        played: Played::default(),
    };
    let mut ended = false;
    for (index, step) in scenario.steps.iter().enumerate() {
        let text = describe(step);
        if ended {
            player.played.steps.push(StepReport::not_reached(index, text));
            continue;
        }
        player.observer.begins(index, &text);
        let begun = player.stage.now();
        let mut outcome = player.step(index, step).await;
        if outcome.is_fine()
            && let Some(failure) = player.aftermath().await
        {
            outcome = failure;
        }
        player.watches.ends(step);
        ended = !outcome.is_fine();
        let report = player.report(index, text, begun, outcome);
        let now = player.stage.now();
        player.played.recorder.step(now, step, &report);
        player.played.steps.push(report);
    }
    if !ended {
        player.close();
    }
    player.played
}

struct Player<'p, S, O> {
    scenario: &'p Scenario,
    stage: &'p mut S,
    observer: &'p mut O,
    stop: Stop,
    invariants: Invariants,
    watches: Watches,
    disturbances: Disturbances,
    memory: Memory,
    /// The last world seen, as patterns read it.
    json: Value,
    played: Played,
}

impl<S: Stage, O: Observer> Player<'_, S, O> {
    async fn step(&mut self, index: usize, step: &Step) -> Outcome {
        match &step.verb {
            Verb::Wait(duration) => self.wait(*duration).await,
            Verb::Advance(duration) => match advances(self.stage, *duration) {
                Ok(()) => self.wait(*duration).await,
                Err(reason) => Outcome::Skipped { reason },
            },
            Verb::Expect(expectation) => {
                let one = Wanted { name: step.name.as_deref(), expectation };
                self.until(index, &[one], Duration::ZERO).await
            }
            Verb::Never(watch) => self.watches.add(index, step, watch, true),
            Verb::Sometimes(watch) => self.watches.add(index, step, watch, false),
            Verb::Parallel(steps) => self.together(index, steps).await,
            verb => self.act(verb).await,
        }
    }

    /// Does a step that is neither a wait nor a demand.
    async fn act(&mut self, verb: &Verb) -> Outcome {
        let verb = match verb {
            Verb::Fault { probability, .. } if !happens(self.stage, *probability) => {
                let reason = format!("the seed decided against it (probability {probability})");
                return Outcome::Skipped { reason };
            }
            Verb::Scale { change, .. } => match change {
                Change::Grow(apply) => &Verb::Apply(vec![apply.clone()]),
                Change::Shrink(names) => &Verb::Delete(Selection::Names(names.clone())),
                Change::Nothing => return Outcome::Passed,
            },
            verb => verb,
        };
        self.disturbances.note(verb, self.stage.now());
        match self.stage.act(verb).await {
            Ok(Done::Did) => Outcome::Passed,
            Ok(Done::Skipped(reason)) => Outcome::Skipped { reason },
            Err(error) => broken(&error),
        }
    }

    /// Acts without a look between the steps, then waits for all that they demand.
    async fn together(&mut self, index: usize, steps: &[Step]) -> Outcome {
        let mut skipped = Vec::new();
        let mut wanted = Vec::new();
        let mut at_least = Duration::ZERO;
        for step in steps {
            match &step.verb {
                Verb::Wait(duration) => at_least = at_least.max(*duration),
                Verb::Advance(duration) => match advances(self.stage, *duration) {
                    Ok(()) => at_least = at_least.max(*duration),
                    Err(reason) => skipped.push(format!("{}: {reason}", describe(step))),
                },
                Verb::Expect(expectation) => wanted.push(Wanted { name: step.name.as_deref(), expectation }),
                verb => match self.act(verb).await {
                    Outcome::Passed => {}
                    Outcome::Skipped { reason } => skipped.push(format!("{}: {reason}", describe(step))),
                    failed => return failed,
                },
            }
        }
        match self.until(index, &wanted, at_least).await {
            Outcome::Passed if !skipped.is_empty() => Outcome::Skipped { reason: skipped.join("; ") },
            outcome => outcome,
        }
    }

    async fn wait(&mut self, duration: Duration) -> Outcome {
        if self.watches.are_active() {
            return self.until(0, &[], duration).await;
        }
        tokio::select! {
            () = self.stage.pause(duration) => Outcome::Passed,
            () = asked(&mut self.stop) => Outcome::Interrupted,
        }
    }

    /// Looks again and again until everything wanted has become true and has held, and the time has passed.
    async fn until(&mut self, step: usize, wanted: &[Wanted<'_>], at_least: Duration) -> Outcome {
        let begun = self.stage.now();
        let mut waits: Vec<Waiting<'_>> = wanted.iter().map(|wanted| Waiting::new(*wanted)).collect();
        loop {
            let deaths = self.stage.deaths();
            if !deaths.is_empty() {
                let error = deaths.join("\n");
                return Outcome::Broken { error };
            }
            if let Err(outcome) = self.look().await {
                return outcome;
            }
            let age = self.stage.now().saturating_sub(begun);
            for wait in waits.iter_mut().filter(|wait| !wait.is_over) {
                let missing = match wait.judge(&self.json, &self.memory, age) {
                    Verdict::Waits(missing) => missing,
                    Verdict::Holds => continue,
                    Verdict::Passed => {
                        self.record(step, &wait.wanted);
                        continue;
                    }
                    Verdict::Failed { lasted, missing } => {
                        return Outcome::Unmet {
                            within: wait.wanted.expectation.within,
                            lasted,
                            diff: expect::render(&self.scenario.file, &missing),
                        };
                    }
                };
                self.observer.waits(age, wait.wanted.expectation.within, &missing);
            }
            let all_over = waits.iter().all(|wait| wait.is_over);
            let left = at_least.saturating_sub(age);
            if all_over && left.is_zero() {
                return Outcome::Passed;
            }
            let look_after = match all_over {
                true if self.stage.is_virtual() => left,
                true => left.min(LOOK_EVERY),
                false => LOOK_EVERY,
            };
            tokio::select! {
                () = self.stage.changed(look_after) => {}
                () = asked(&mut self.stop) => return Outcome::Interrupted,
            }
        }
    }

    fn record(&mut self, step: usize, wanted: &Wanted<'_>) {
        self.played.recorded.push(Recorded {
            step,
            expectation: wanted.expectation.clone(),
            world: self.json.clone(),
            memory: self.memory.clone(),
        });
        if let Some(name) = wanted.name {
            self.memory.insert(name.to_owned(), self.json.clone());
        }
    }

    /// What must be true after every step: invariants hold and no process died unasked.
    async fn aftermath(&mut self) -> Option<Outcome> {
        let begun = self.stage.now();
        loop {
            let deaths = self.stage.deaths();
            if !deaths.is_empty() {
                let error = deaths.join("\n");
                return Some(Outcome::Broken { error });
            }
            if let Err(outcome) = self.look().await {
                return Some(outcome);
            }
            let violations = self.violations();
            if violations.is_empty() {
                return None;
            }
            if self.stage.now().saturating_sub(begun) >= VIOLATION_SETTLES_WITHIN {
                return Some(Outcome::Violated { violations });
            }
            self.stage.changed(LOOK_EVERY).await;
        }
    }

    /// Invariants that the last world breaks and nothing excuses.
    fn violations(&mut self) -> Vec<String> {
        let now = self.stage.now();
        let mut violations = self.invariants.check(&self.played.world);
        violations.retain(|sentence| !self.disturbances.explain(&self.played.world, sentence, now));
        violations
    }

    /// Looks; what must never be there ends the step.
    async fn look(&mut self) -> Result<(), Outcome> {
        let world = self.stage.look().await.map_err(|error| broken(&error))?;
        if world != self.played.world || self.json.is_null() {
            self.json = world.to_json();
            self.played.recorder.see(self.stage.now(), &self.json);
            self.played.world = world;
        }
        match self.watches.see(&self.scenario.file, &self.json, &self.memory) {
            Some(forbidden) => Err(forbidden),
            None => Ok(()),
        }
    }

    /// What can only be said at the end of a run that went well.
    fn close(&mut self) {
        let mut violations = self.stage.broken_between().to_vec();
        let (world, now) = (&self.played.world, self.stage.now());
        violations.retain(|sentence| {
            !self.invariants.excuses(sentence) && !self.disturbances.explain(world, sentence, now)
        });
        if !violations.is_empty() {
            let text = "what must hold at every change".to_owned();
            self.last_word(text, Outcome::Violated { violations });
        }
        let what = self.watches.unexercised(&self.scenario.file);
        if !what.is_empty() {
            let text = "what must become true sometimes".to_owned();
            self.last_word(text, Outcome::NeverExercised { what });
        }
        let unused = self.invariants.unused_excuses();
        if !unused.is_empty() {
            let names: Vec<&str> = unused.into_iter().map(Invariant::name).collect();
            let error = format!("unused excuses: `{}`; nothing broke them", names.join("`, `"));
            self.last_word("excuses".to_owned(), Outcome::Broken { error });
        }
    }

    fn last_word(&mut self, text: String, outcome: Outcome) {
        let index = self.played.steps.len();
        self.observer.begins(index, &text);
        let report = self.report(index, text, self.stage.now(), outcome);
        self.played.steps.push(report);
    }

    fn report(&mut self, index: usize, text: String, begun: Duration, outcome: Outcome) -> StepReport {
        self.played.interrupted |= matches!(outcome, Outcome::Interrupted);
        let report = StepReport { index, text, outcome, took: self.stage.now().saturating_sub(begun) };
        self.observer.ends(&report);
        report
    }
}

/// Whether much time can pass on this stage.
///
/// # Errors
/// Why not.
fn advances(stage: &impl Stage, duration: Duration) -> Result<(), String> {
    if stage.is_virtual() || duration <= ADVANCE_REAL_MAX {
        return Ok(());
    }
    Err(format!("time is real on this stage; at most {ADVANCE_REAL_MAX:?} is waited for"))
}

/// Whether something that is so likely happens this time.
fn happens(stage: &mut impl Stage, probability: f64) -> bool {
    // 53 bits, as many as a float holds
    let share = (stage.draw() >> 11) as f64 / (1_u64 << 53) as f64;
    share < probability
}

fn broken(error: &StageError) -> Outcome {
    Outcome::Broken { error: error.to_string() }
}

/// Resolves when somebody asked to stop; never when nobody can any more.
pub async fn asked(stop: &mut Stop) {
    if stop.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
#[path = "play_tests.rs"]
mod tests;
