//! What a run was, because the terminal, JSON and JUnit tell the same facts in three ways.

mod describe;
pub mod html;
pub mod json;
pub mod junit;
pub mod table;
pub mod terminal;

pub use describe::describe;

use std::path::PathBuf;
use std::time::Duration;

use crate::play::Recorded;
use crate::world::World;

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// As the scenario says.
    Passed,
    /// As the scenario says, as far as this stage can see.
    PassedInPart {
        /// What nobody looked at, and why.
        unseen: String,
    },
    /// This stage cannot do it.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// An expectation did not become true, or did not stay true.
    Unmet {
        /// The bound.
        within: Duration,
        /// How long it was true, if it was.
        lasted: Option<Duration>,
        /// Expected against found.
        diff: String,
    },
    /// An invariant is broken.
    Violated {
        /// Each in a sentence.
        violations: Vec<String>,
    },
    /// Something that must never be true was.
    Forbidden {
        /// Which step forbids it.
        rule: String,
        /// What was found where.
        evidence: String,
    },
    /// Something that must become true once did not.
    NeverExercised {
        /// Which steps want it, and what was missing.
        what: Vec<String>,
    },
    /// The stage could not do the step, or a process died.
    Broken {
        /// Why.
        error: String,
    },
    /// Somebody asked to stop.
    Interrupted,
    /// An earlier step ended the run.
    NotReached,
}

impl Outcome {
    /// The word for it in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::PassedInPart { .. } => "passed in part",
            Outcome::Skipped { .. } => "skipped",
            Outcome::Unmet { .. } => "unmet",
            Outcome::Violated { .. } => "violated",
            Outcome::Forbidden { .. } => "forbidden",
            Outcome::NeverExercised { .. } => "never exercised",
            Outcome::Broken { .. } => "broken",
            Outcome::Interrupted => "interrupted",
            Outcome::NotReached => "not reached",
        }
    }

    /// Whether the step counts as done.
    pub fn is_fine(&self) -> bool {
        matches!(self, Outcome::Passed | Outcome::PassedInPart { .. } | Outcome::Skipped { .. })
    }

    /// What is to be told about it beyond the word.
    pub fn details(&self) -> Option<String> {
        match self {
            Outcome::Passed | Outcome::Interrupted | Outcome::NotReached => None,
            Outcome::PassedInPart { unseen } => Some(format!("not looked at:\n{unseen}")),
            Outcome::Skipped { reason } => Some(reason.clone()),
            Outcome::Unmet { within, lasted: None, diff } => {
                Some(format!("not true within {}:\n{diff}", seconds(*within)))
            }
            Outcome::Unmet { lasted: Some(lasted), diff, .. } => {
                Some(format!("was true for {} only:\n{diff}", seconds(*lasted)))
            }
            Outcome::Violated { violations } => Some(format!("invariant broken:\n{}", violations.join("\n"))),
            Outcome::Forbidden { rule, evidence } => Some(format!("became true: {rule}\n{evidence}")),
            Outcome::NeverExercised { what } => Some(format!("never became true:\n{}", what.join("\n"))),
            Outcome::Broken { error } => Some(error.clone()),
        }
    }
}

/// How one step went.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step's number, from 0.
    pub index: usize,
    /// What it says.
    pub text: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl StepReport {
    /// A step that an earlier failure kept from being played.
    pub fn not_reached(index: usize, text: String) -> Self {
        StepReport { index, text, outcome: Outcome::NotReached, took: Duration::ZERO }
    }
}

/// One scenario played once.
#[derive(Debug)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub file: String,
    /// Its story.
    pub story: String,
    /// The stage it played on.
    pub stage: String,
    /// The seed of everything random in the simulated cluster.
    pub seed: u64,
    /// Timers that differ from the real ones.
    pub timers_scaled: Vec<String>,
    /// The steps.
    pub steps: Vec<StepReport>,
    /// What was left behind at the end.
    pub leaks: Vec<String>,
    /// The last world seen.
    pub world: World,
    /// Expectations and the worlds they matched.
    pub recorded: Vec<Recorded>,
    /// Where journals, logs and reports lie.
    pub run_dir: PathBuf,
    /// Ends of the logs of processes, by name; filled when the run failed.
    pub logs: Vec<(String, String)>,
    /// Wall time without the build.
    pub took: Duration,
    /// Whether somebody asked to stop.
    pub interrupted: bool,
}

impl RunReport {
    /// Whether every step passed (or was skipped) and nothing leaked.
    pub fn passed(&self) -> bool {
        !self.interrupted && self.leaks.is_empty() && self.steps.iter().all(|step| step.outcome.is_fine())
    }
}

/// A duration as people read it: `0.31s`, `12.0s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.2}s") } else { format!("{seconds:.1}s") }
}

#[cfg(test)]
mod tests;
