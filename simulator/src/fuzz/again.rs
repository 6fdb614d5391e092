//! A written story, read and played again: what a person does with the file must fail as the find did. The steps of a file have
//! latencies of their own, so a failure that only a race decides may be gone there.

use futures::FutureExt;
use tokio::sync::watch;

use super::failure::Kind;
use super::shrink::Failing;
use super::write;
use crate::expect::Mismatch;
use crate::on::Stage;
use crate::on::model::{ModelOptions, ModelStage, Sabotage};
use crate::play::{Observer, play};
use crate::report::{Outcome, StepReport};
use crate::scenario::read_text;

/// How often the stage lets others have their turn, at most; a long story does some thousand times.
const TURNS_MAX: usize = 1_000_000;

/// How a file's play ended.
#[derive(Debug, Default)]
pub struct Again {
    steps: Vec<Outcome>,
    /// What was left behind, and invariants broken after the last step.
    rest: (Vec<String>, Vec<String>),
}

impl Again {
    /// Whether it failed in this way.
    pub fn fails(&self, kind: &Kind) -> bool {
        let (leaks, broken) = &self.rest;
        let any = |wanted: fn(&Outcome) -> bool| self.steps.iter().any(wanted);
        match kind {
            Kind::Invariant(name) => {
                let steps = self.steps.iter().filter_map(|outcome| match outcome {
                    Outcome::Violated { violations } => Some(violations),
                    _ => None,
                });
                steps
                    .flatten()
                    .chain(broken)
                    .any(|sentence| Kind::of_invariant(sentence) == Kind::Invariant(name.clone()))
            }
            Kind::Leak => !leaks.is_empty(),
            Kind::Unsettled(_) => any(|outcome| matches!(outcome, Outcome::Unmet { .. })),
            Kind::Death | Kind::Simulator => any(|outcome| matches!(outcome, Outcome::Broken { .. })),
        }
    }
}

/// Writes a find, reads the file and plays it as `tandem-sim run --stage model` does.
///
/// # Errors
/// The file cannot be read, or its cluster cannot be started.
pub fn again(failing: &Failing, sabotage: Option<Sabotage>) -> Result<Again, String> {
    let text = write::file(failing);
    let scenario = read_text("found.yaml", &text).map_err(|problems| problems.to_string())?;
    let options = ModelOptions { seed: failing.seed, journals: false, invariants: true };
    let mut stage = ModelStage::start(&scenario, options).map_err(|error| error.to_string())?;
    sabotage.into_iter().for_each(|mistake| stage.sabotage(mistake));
    let (_nobody_stops_it, stop) = watch::channel(false);
    let played = async {
        let played = play(&scenario, &mut stage, &mut Silent, stop).await;
        let leaks = stage.finish().await;
        let steps = played.steps.into_iter().map(|step| step.outcome).collect();
        Again { steps, rest: (leaks, stage.broken_between()) }
    };
    let mut played = std::pin::pin!(played);
    // time is virtual, so nothing is ever waited for: the stage only lets others have their turn, and there are none
    let mut turns = std::iter::repeat_with(|| played.as_mut().now_or_never()).take(TURNS_MAX);
    turns.find_map(|over| over).ok_or_else(|| format!("the file is not over after {TURNS_MAX} turns"))
}

struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _: usize, _: &str) {}
    fn waits(&mut self, _: std::time::Duration, _: std::time::Duration, _: &[Mismatch]) {}
    fn ends(&mut self, _: &StepReport) {}
}
