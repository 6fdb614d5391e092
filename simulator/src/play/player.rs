//! The player of one run: what each kind of step does, and what is said when all are done.

use std::time::Duration;

use serde_json::Value;

use super::disturbances::Disturbances;
use super::looking::broken;
use super::narrowed::{Narrowed, in_part};
use super::waiting::Wanted;
use super::watches::Watches;
use super::{Observer, Played, Stop};
use crate::expect::Memory;
use crate::invariants::{Invariant, Invariants};
use crate::on::{Done, Stage};
use crate::report::{Outcome, StepReport, describe};
use crate::scenario::{Change, Scenario, Selection, Step, Verb};

/// The longest `advance` that is waited for where time is real.
const ADVANCE_REAL_MAX: Duration = Duration::from_secs(2);

/// One run under way.
pub(super) struct Player<'p, S, O> {
    pub(super) scenario: &'p Scenario,
    pub(super) stage: &'p mut S,
    pub(super) observer: &'p mut O,
    pub(super) stop: Stop,
    pub(super) invariants: Invariants,
    pub(super) watches: Watches,
    pub(super) disturbances: Disturbances,
    pub(super) memory: Memory,
    /// The last world seen, as patterns read it.
    pub(super) json: Value,
    pub(super) played: Played,
}

impl<S: Stage, O: Observer> Player<'_, S, O> {
    pub(super) async fn step(&mut self, index: usize, step: &Step) -> Outcome {
        match &step.verb {
            // a look at every change: the timeline shows it
            Verb::Wait(duration) => self.until(0, &[], *duration).await,
            Verb::Advance(duration) => match advances(self.stage, *duration) {
                Ok(()) => self.wait(*duration).await,
                Err(reason) => Outcome::Skipped { reason },
            },
            Verb::Expect(expectation) => {
                let Narrowed { expectation, unseen } = self.narrowed(expectation);
                let Some(expectation) = expectation else { return Outcome::Skipped { reason: unseen } };
                let one = Wanted { name: step.name.as_deref(), expectation: &expectation };
                in_part(self.until(index, &[one], Duration::ZERO).await, unseen)
            }
            Verb::Never(watch) | Verb::Sometimes(watch) => match self.hides(watch) {
                Some(reason) => Outcome::Skipped { reason },
                None => self.watches.add(index, step, watch, matches!(step.verb, Verb::Never(_))),
            },
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
        let mut unseen = Vec::new();
        let mut wanted = Vec::new();
        let mut at_least = Duration::ZERO;
        let expected: Vec<_> = steps.iter().map(|step| self.expected(step)).collect();
        for (step, expected) in steps.iter().zip(&expected) {
            match &step.verb {
                Verb::Wait(duration) => at_least = at_least.max(*duration),
                Verb::Advance(duration) => match advances(self.stage, *duration) {
                    Ok(()) => at_least = at_least.max(*duration),
                    Err(reason) => skipped.push(format!("{}: {reason}", describe(step))),
                },
                Verb::Expect(_) => {
                    unseen.extend(
                        expected.iter().map(|seen| seen.unseen.clone()).filter(|text| !text.is_empty()),
                    );
                    let seen = expected.iter().filter_map(|seen| seen.expectation.as_deref());
                    wanted.extend(seen.map(|expectation| Wanted { name: step.name.as_deref(), expectation }));
                }
                verb => match self.act(verb).await {
                    Outcome::Passed => {}
                    Outcome::Skipped { reason } => skipped.push(format!("{}: {reason}", describe(step))),
                    failed => return failed,
                },
            }
        }
        match self.until(index, &wanted, at_least).await {
            Outcome::Passed if !skipped.is_empty() => {
                skipped.extend(unseen);
                Outcome::Skipped { reason: skipped.join("; ") }
            }
            outcome => in_part(outcome, unseen.join("\n")),
        }
    }

    /// What can only be said at the end of a run that went well.
    pub(super) fn close(&mut self) {
        self.say_what_was_not_judged();
        let mut violations = self.stage.broken_between();
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

    pub(super) fn last_word(&mut self, text: String, outcome: Outcome) {
        let index = self.played.steps.len();
        self.observer.begins(index, &text);
        let report = self.report(index, text, self.stage.now(), outcome);
        self.played.steps.push(report);
    }

    pub(super) fn report(
        &mut self,
        index: usize,
        text: String,
        begun: Duration,
        outcome: Outcome,
    ) -> StepReport {
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
