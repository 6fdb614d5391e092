//! One expectation while it is waited for, because several of a `parallel` are waited for at the same time.

use std::time::Duration;

use serde_json::Value;

use crate::expect::{self, Memory, Mismatch};
use crate::scenario::Expectation;

/// An expectation and the name under which its world is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'w> {
    /// The step's name.
    pub(super) name: Option<&'w str>,
    /// What is expected.
    pub(super) expectation: &'w Expectation,
}

/// What a look says of an expectation.
pub(super) enum Verdict {
    /// It is not true yet.
    Waits(Vec<Mismatch>),
    /// It is true and must stay so a little longer.
    Holds,
    /// It became true and stayed so.
    Passed,
    /// It did not become true, or did not stay so.
    Failed {
        /// How long it was true, if it was.
        lasted: Option<Duration>,
        /// What is not as expected.
        missing: Vec<Mismatch>,
    },
}

/// An expectation under way.
pub(super) struct Waiting<'w> {
    /// What is wanted.
    pub(super) wanted: Wanted<'w>,
    /// It has passed.
    pub(super) is_over: bool,
    true_since: Option<Duration>,
}

impl<'w> Waiting<'w> {
    pub(super) fn new(wanted: Wanted<'w>) -> Self {
        Waiting { wanted, is_over: false, true_since: None }
    }

    /// Judges a world, `age` after the step began.
    pub(super) fn judge(&mut self, world: &Value, memory: &Memory, age: Duration) -> Verdict {
        let expectation = self.wanted.expectation;
        let missing = expect::check(&expectation.pattern, world, memory);
        if missing.is_empty() {
            let since = *self.true_since.get_or_insert(age);
            self.is_over = age.saturating_sub(since) >= expectation.holds;
            return match self.is_over {
                true => Verdict::Passed,
                false => Verdict::Holds,
            };
        }
        let lasted = self.true_since.map(|since| age.saturating_sub(since));
        match lasted.is_some() || age >= expectation.within {
            true => Verdict::Failed { lasted, missing },
            false => Verdict::Waits(missing),
        }
    }
}
