//! What must never, or sometimes, be true while a scenario plays: every look of the player is judged by it.

use serde_json::Value;

use crate::expect::{self, Memory, Mismatch};
use crate::report::Outcome;
use crate::scenario::{Step, Watch};

/// Everything that is watched for.
#[derive(Debug, Default)]
pub(super) struct Watches {
    all: Vec<Watching>,
}

#[derive(Debug)]
struct Watching {
    step: usize,
    name: Option<String>,
    watch: Watch,
    /// It must never be true; otherwise it must be true once.
    never: bool,
    /// It was true once.
    seen: bool,
    /// Nobody looks any more.
    over: bool,
    /// What was missing at the last look.
    missing: Vec<Mismatch>,
}

impl Watches {
    /// Begins to watch.
    pub(super) fn add(&mut self, step: usize, written: &Step, watch: &Watch, never: bool) -> Outcome {
        self.all.push(Watching {
            step,
            name: written.name.clone(),
            watch: watch.clone(),
            never,
            seen: false,
            over: false,
            missing: Vec::new(),
        });
        Outcome::Passed
    }

    /// Whether a look can find anything.
    pub(super) fn are_active(&self) -> bool {
        self.all.iter().any(Watching::is_active)
    }

    /// Judges a look; the answer is the first thing that must never be and is.
    pub(super) fn see(&mut self, file: &str, world: &Value, memory: &Memory) -> Option<Outcome> {
        for watching in self.all.iter_mut().filter(|watching| watching.is_active()) {
            match expect::witness(&watching.watch.pattern, world, memory) {
                Ok(leaves) if watching.never => {
                    let rule = watching.title();
                    let evidence = expect::render_witness(file, &leaves);
                    return Some(Outcome::Forbidden { rule, evidence });
                }
                Ok(_) => watching.seen = true,
                Err(missing) => watching.missing = missing,
            }
        }
        None
    }

    /// A step is done: whoever watches until then stops.
    pub(super) fn ends(&mut self, step: &Step) {
        let Some(name) = &step.name else { return };
        for watching in &mut self.all {
            watching.over |= watching.watch.until.as_ref() == Some(name);
        }
    }

    /// What should have been true once and was not, with what was missing at the last look.
    pub(super) fn unexercised(&self, file: &str) -> Vec<String> {
        let never_seen = self.all.iter().filter(|watching| !watching.never && !watching.seen);
        never_seen
            .map(|watching| {
                let diff = expect::render(file, &watching.missing);
                format!("{}; at the last look:\n{diff}", watching.title())
            })
            .collect()
    }
}

impl Watching {
    fn is_active(&self) -> bool {
        !self.over && (self.never || !self.seen)
    }

    fn title(&self) -> String {
        let word = if self.never { "never" } else { "sometimes" };
        match &self.name {
            Some(name) => format!("{name} [{word}, step {}]", self.step + 1),
            None => format!("{word} of step {}", self.step + 1),
        }
    }
}
