//! The stages that a scenario can play on, behind one trait, because a file must mean the same on all of them.

pub mod cluster;
mod driver_faults;
mod limits;
mod mig;
pub mod model;
pub mod wire;
mod work;

use std::time::Duration;

pub use self::limits::Limits;
use crate::scenario::Verb;
use crate::world::World;

/// A cluster on which a scenario plays.
pub trait Stage {
    /// Does what a step says; waits and demands are the player's and never come here.
    fn act(&mut self, verb: &Verb) -> impl Future<Output = Result<Done, StageError>>;

    /// What can be seen now, from the outside.
    fn look(&mut self) -> impl Future<Output = Result<World, StageError>>;

    /// What it cannot see or judge, and how much longer things take on it; nothing where a story means what it says.
    fn limits(&self) -> Option<&Limits> {
        None
    }

    /// How old the stage is, in its own time.
    fn now(&self) -> Duration;

    /// Whether that time is virtual, so that much of it passes in no time.
    fn is_virtual(&self) -> bool;

    /// A number that the run's seed decides.
    fn draw(&mut self) -> u64;

    /// Lets the stage's time pass.
    fn pause(&mut self, duration: Duration) -> impl Future<Output = ()>;

    /// Returns when something may have changed, or after the bound, in the stage's own time.
    fn changed(&mut self, at_most: Duration) -> impl Future<Output = ()>;

    /// Processes that ended although nobody asked them to, one sentence each; each is told once.
    fn deaths(&mut self) -> Vec<String>;

    /// Invariants that were broken between two looks, each with its time; for a stage that looks at every change.
    fn broken_between(&self) -> Vec<String> {
        Vec::new()
    }

    /// Stops everything and says what was left behind, one sentence each; afterwards nothing is.
    fn finish(&mut self) -> impl Future<Output = Vec<String>>;
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was done.
    Did,
    /// This stage cannot do it, and why.
    Skipped(String),
}

/// Why a stage could not do what a step says, or could not start.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A build product that the stage needs is not there.
    #[error("{0}")]
    Binary(#[from] wire::binaries::BinaryError),
    /// A file or directory.
    #[error("cannot {what} `{path}`: {error}")]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// Where.
        path: std::path::PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// A process could not be started.
    #[error("cannot start `{process}` on node `{node}`: {error}")]
    Spawn {
        /// The process.
        process: String,
        /// The node.
        node: String,
        /// Why.
        error: std::io::Error,
    },
    /// A part of the simulated cluster refused.
    #[error("{what}: {error}")]
    Cluster {
        /// What was tried and on which object.
        what: String,
        /// The part's own words.
        error: String,
    },
}
