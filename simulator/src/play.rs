//! Plays a scenario step by step, because waiting, recording and judging must be the same on every stage.

mod disturbances;
mod looking;
mod narrowed;
mod player;
mod waiting;
mod watches;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use self::disturbances::Disturbances;
use self::player::Player;
use self::watches::Watches;
use crate::expect::{Memory, Mismatch};
use crate::invariants::Invariants;
use crate::on::Stage;
use crate::report::{StepReport, describe};
use crate::scenario::{Expectation, Scenario};
use crate::timeline::Recorder;
use crate::world::World;

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
        invariants: Invariants::of(scenario).excusing(&scenario.excuses),
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

/// Resolves when somebody asked to stop; never when nobody can any more.
pub async fn asked(stop: &mut Stop) {
    if stop.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
#[path = "play_tests.rs"]
mod tests;
