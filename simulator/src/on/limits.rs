//! What a stage cannot do that the others can, because a run must say so instead of passing for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::expect::Hidden;
use crate::invariants::Invariant;

/// The limits of a stage.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Parts of the world that it cannot see; what an expectation says of them is left out and told.
    pub hidden: Vec<Hidden>,
    /// Invariants that it cannot judge, and why.
    pub unjudged: BTreeMap<Invariant, String>,
    /// How much longer than the story says an expectation may take, because timers that the story scales are real there.
    pub patience: Duration,
}
