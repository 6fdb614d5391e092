//! What a stage with limits leaves of an expectation, because what it cannot see must be told and not count as true.

use std::borrow::Cow;

use super::Observer;
use super::player::Player;
use crate::expect::narrow;
use crate::invariants::Invariant;
use crate::on::Stage;
use crate::report::Outcome;
use crate::scenario::{Expectation, Step, Verb, Watch};

/// As much of an expectation as the stage can see.
pub(super) struct Narrowed<'e> {
    /// What is left, with the time that it takes there; nothing when nobody can look at any of it.
    pub(super) expectation: Option<Cow<'e, Expectation>>,
    /// What was left out, and why.
    pub(super) unseen: String,
}

impl<S: Stage, O: Observer> Player<'_, S, O> {
    pub(super) fn narrowed<'e>(&self, expectation: &'e Expectation) -> Narrowed<'e> {
        let Some(limits) = self.stage.limits() else {
            return Narrowed { expectation: Some(Cow::Borrowed(expectation)), unseen: String::new() };
        };
        let (pattern, left_out) = narrow::narrow(&expectation.pattern, &limits.hidden);
        let within = expectation.within.saturating_add(limits.patience);
        let left = pattern.map(|pattern| Expectation { within, holds: expectation.holds, pattern });
        Narrowed { expectation: left.map(Cow::Owned), unseen: narrow::told(&left_out) }
    }

    /// The same of a step, if it expects something.
    pub(super) fn expected<'e>(&self, step: &'e Step) -> Option<Narrowed<'e>> {
        match &step.verb {
            Verb::Expect(expectation) => Some(self.narrowed(expectation)),
            _ => None,
        }
    }

    /// Why nobody can watch for this: a pattern with a part left out would be another one.
    pub(super) fn hides(&self, watch: &Watch) -> Option<String> {
        let (_, left_out) = narrow::narrow(&watch.pattern, &self.stage.limits()?.hidden);
        (!left_out.is_empty()).then(|| narrow::told(&left_out))
    }

    /// Whether the stage shows enough to judge the invariant of this sentence.
    pub(super) fn judges(&self, sentence: &str) -> bool {
        let Some(limits) = self.stage.limits() else { return true };
        let unjudged = Invariant::of(sentence).and_then(|invariant| limits.unjudged.get(&invariant));
        unjudged.is_none()
    }

    /// A last word about invariants that nobody judged.
    pub(super) fn say_what_was_not_judged(&mut self) {
        let Some(limits) = self.stage.limits() else { return };
        let reasons = limits.unjudged.iter().map(|(invariant, why)| format!("`{}`: {why}", invariant.name()));
        let reasons: Vec<String> = reasons.collect();
        if !reasons.is_empty() {
            let text = "what must hold after every step and was not judged".to_owned();
            self.last_word(text, Outcome::Skipped { reason: reasons.join("\n") });
        }
    }
}

/// What passed, and was not all seen, passed in part.
pub(super) fn in_part(outcome: Outcome, unseen: String) -> Outcome {
    match outcome {
        Outcome::Passed if !unseen.is_empty() => Outcome::PassedInPart { unseen },
        outcome => outcome,
    }
}
