//! How the player looks at the world: until something is true, while time passes, and after every step.

use std::time::Duration;

use super::player::Player;
use super::waiting::{Verdict, Waiting, Wanted};
use super::{Observer, Recorded, asked};
use crate::expect;
use crate::on::{Stage, StageError};
use crate::report::Outcome;

/// How long the player waits at most before it looks again, in the stage's time.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a violated invariant may last before it counts: two looks are never one instant.
const VIOLATION_SETTLES_WITHIN: Duration = Duration::from_millis(500);

impl<S: Stage, O: Observer> Player<'_, S, O> {
    pub(super) async fn wait(&mut self, duration: Duration) -> Outcome {
        if self.watches.are_active() {
            return self.until(0, &[], duration).await;
        }
        tokio::select! {
            () = self.stage.pause(duration) => Outcome::Passed,
            () = asked(&mut self.stop) => Outcome::Interrupted,
        }
    }

    /// Looks again and again until everything wanted has become true and has held, and the time has passed.
    pub(super) async fn until(&mut self, step: usize, wanted: &[Wanted<'_>], at_least: Duration) -> Outcome {
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
    pub(super) async fn aftermath(&mut self) -> Option<Outcome> {
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
        violations.retain(|sentence| {
            self.judges(sentence) && !self.disturbances.explain(&self.played.world, sentence, now)
        });
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
}

/// The stage could not do it.
pub(super) fn broken(error: &StageError) -> Outcome {
    Outcome::Broken { error: error.to_string() }
}
