//! Plays a scenario step by step, because waiting, recording and judging must be the same on every stage.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::expect::{self, Memory, Mismatch};
use crate::invariants::Invariants;
use crate::on::{Done, Stage, StageError};
use crate::report::{Outcome, StepReport, describe};
use crate::scenario::{Expectation, Scenario, Verb};
use crate::timeline::Recorder;
use crate::world::World;

/// How long the player waits at most before it looks again, in the stage's time.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a violated invariant may last before it counts: two looks are never one instant.
const VIOLATION_SETTLES_WITHIN: Duration = Duration::from_millis(500);

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
    mut stop: Stop,
) -> Played {
    let mut player = Player {
        stage,
        observer,
        invariants: Invariants::default(),
        played: Played::default(),
    };
    let mut memory = Memory::new();
    let mut ended = false;
    for (index, step) in scenario.steps.iter().enumerate() {
        let text = describe(step);
        if ended {
            player.played.steps.push(StepReport::not_reached(index, text));
            continue;
        }
        player.observer.begins(index, &text);
        let begun = player.stage.now();
        let mut outcome = match &step.verb {
            Verb::Wait(duration) => player.wait(*duration, &mut stop).await,
            Verb::Expect(expectation) => {
                player
                    .expect(scenario, index, expectation, &mut memory, &mut stop)
                    .await
            }
            verb => player.act(verb).await,
        };
        if outcome.is_fine() {
            if let Some(failure) = player.aftermath().await {
                outcome = failure;
            } else if let (Some(name), Some(recorded)) = (&step.name, player.played.recorded.last())
                && recorded.step == index
            {
                memory.insert(name.clone(), recorded.world.clone());
            }
        }
        ended = !outcome.is_fine();
        player.played.interrupted |= matches!(outcome, Outcome::Interrupted);
        let report = StepReport {
            index,
            text,
            outcome,
            took: player.stage.now().saturating_sub(begun),
        };
        player.observer.ends(&report);
        player.played.recorder.step(player.stage.now(), step, &report);
        player.played.steps.push(report);
    }
    player.played
}

struct Player<'p, S, O> {
    stage: &'p mut S,
    observer: &'p mut O,
    invariants: Invariants,
    played: Played,
}

impl<S: Stage, O: Observer> Player<'_, S, O> {
    async fn act(&mut self, verb: &Verb) -> Outcome {
        match self.stage.act(verb).await {
            Ok(Done::Did) => Outcome::Passed,
            Ok(Done::Skipped(reason)) => Outcome::Skipped { reason },
            Err(error) => Outcome::Broken {
                error: error.to_string(),
            },
        }
    }

    async fn wait(&mut self, duration: Duration, stop: &mut Stop) -> Outcome {
        tokio::select! {
            () = self.stage.pause(duration) => Outcome::Passed,
            () = asked(stop) => Outcome::Interrupted,
        }
    }

    /// Waits until the pattern matches, then until it has held long enough.
    async fn expect(
        &mut self,
        scenario: &Scenario,
        step: usize,
        expectation: &Expectation,
        memory: &mut Memory,
        stop: &mut Stop,
    ) -> Outcome {
        let begun = self.stage.now();
        let mut true_since: Option<Duration> = None;
        loop {
            let deaths = self.stage.deaths();
            if !deaths.is_empty() {
                return Outcome::Broken {
                    error: deaths.join("\n"),
                };
            }
            let world = match self.look().await {
                Ok(world) => world,
                Err(error) => {
                    return Outcome::Broken {
                        error: error.to_string(),
                    };
                }
            };
            let json = world.to_json();
            let missing = expect::check(&expectation.pattern, &json, memory);
            if missing.is_empty() {
                let since = *true_since.get_or_insert_with(|| self.stage.now());
                if self.stage.now().saturating_sub(since) >= expectation.holds {
                    let expectation = expectation.clone();
                    self.played.recorded.push(Recorded {
                        step,
                        expectation,
                        world: json,
                        memory: memory.clone(),
                    });
                    return Outcome::Passed;
                }
            } else if true_since.is_some() || self.stage.now().saturating_sub(begun) >= expectation.within {
                let lasted = true_since.map(|since| self.stage.now().saturating_sub(since));
                let diff = expect::render(&scenario.file, &missing);
                return Outcome::Unmet {
                    within: expectation.within,
                    lasted,
                    diff,
                };
            } else {
                self.observer.waits(self.stage.now().saturating_sub(begun), expectation.within, &missing);
            }
            tokio::select! {
                () = self.stage.changed(LOOK_EVERY) => {}
                () = asked(stop) => return Outcome::Interrupted,
            }
        }
    }

    /// What must be true after every step: invariants hold and no process died unasked.
    async fn aftermath(&mut self) -> Option<Outcome> {
        let deaths = self.stage.deaths();
        if !deaths.is_empty() {
            return Some(Outcome::Broken {
                error: deaths.join("\n"),
            });
        }
        let begun = self.stage.now();
        loop {
            let world = match self.look().await {
                Ok(world) => world,
                Err(error) => {
                    return Some(Outcome::Broken {
                        error: error.to_string(),
                    });
                }
            };
            let violations = self.invariants.check(&world);
            if violations.is_empty() {
                return None;
            }
            if self.stage.now().saturating_sub(begun) >= VIOLATION_SETTLES_WITHIN {
                return Some(Outcome::Violated { violations });
            }
            self.stage.changed(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self) -> Result<World, StageError> {
        let world = self.stage.look().await?;
        if world != self.played.world {
            self.played.recorder.see(self.stage.now(), &world.to_json());
            self.played.world = world.clone();
        }
        Ok(world)
    }
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
