//! From a story that fails to the shortest one that still fails in the same way: steps, nodes, GPUs, pods, sharing and
//! times are cut for as long as the failure's kind stays, also when the written file is read and played again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::again::again;
use super::failure::{Failure, Kind};
use super::generate::STEPS_MIN;
use super::run::run;
use super::simpler::simpler;
use super::story::{Cut, Step, Story, Timers};
use crate::on::model::Sabotage;

/// Stories that are tried at most.
const TRIES_MAX: usize = 6_000;
/// How long shrinking may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Seeds that each cut is tried with: a cut changes every latency after it, and with it who wins a race.
const SEEDS_TRIED: u64 = 6;

/// A story that fails, and with which seed.
#[derive(Debug, Clone)]
pub struct Failing {
    /// The story.
    pub story: Story,
    /// The seed of the model stage.
    pub seed: u64,
    /// How it fails.
    pub failure: Failure,
    /// Invariants that were excused on the way, by their names in scenarios.
    pub excused: BTreeSet<&'static str>,
}

/// The shortest story that fails in the same way.
pub fn shrink(found: Failing, sabotage: Option<Sabotage>) -> Failing {
    let mut shrinker = Shrinker {
        kind: found.failure.kind.clone(),
        best: found,
        sabotage,
        is_written: false,
        tries: 0,
        until: Instant::now() + TIME_MAX,
    };
    shrinker.is_written = shrinker.fails_as_written(&shrinker.best);
    if !shrinker.is_written {
        // a race that this seed loses in the file; another may win it
        shrinker.take(shrinker.best.story.clone());
    }
    shrinker.forget_what_follows();
    // ends: every round but the last makes the story smaller, and the tries are bounded
    loop {
        let before = shrinker.best.story.clone();
        shrinker.cut_steps();
        shrinker.cut_nodes();
        shrinker.cut_parts();
        shrinker.cut_everything_else();
        if shrinker.best.story == before || shrinker.is_tired() {
            return shrinker.best;
        }
    }
}

struct Shrinker {
    kind: Kind,
    best: Failing,
    sabotage: Option<Sabotage>,
    /// Whether the file of the best fails too: from then on that of every shorter one must.
    is_written: bool,
    tries: usize,
    until: Instant,
}

impl Shrinker {
    fn is_tired(&self) -> bool {
        self.tries >= TRIES_MAX || Instant::now() >= self.until
    }

    /// Whether the file of a find fails in the same way.
    fn fails_as_written(&self, find: &Failing) -> bool {
        again(find, self.sabotage).is_ok_and(|played| played.fails(&self.kind))
    }

    /// Takes the story if it fails in the same way, and its file does. While there was no such file, a failing story is enough:
    /// what is shorter has fewer races.
    fn take(&mut self, mut story: Story) -> bool {
        story.mend();
        let is_known = self.is_written && story == self.best.story;
        if self.is_tired() || is_known || story.nodes.is_empty() {
            return false;
        }
        let mut unwritten = None;
        let seeds = std::iter::once(self.best.seed).chain(0..SEEDS_TRIED);
        for seed in seeds {
            self.tries += 1;
            let outcome = run(&story, seed, self.sabotage);
            if let Some(failure) = outcome.failure
                && failure.kind == self.kind
            {
                let find = Failing { story: story.clone(), seed, failure, excused: outcome.excused };
                if self.fails_as_written(&find) {
                    self.is_written = true;
                    self.best = find;
                    return true;
                }
                unwritten = unwritten.or(Some(find));
            }
        }
        match unwritten.filter(|find| !self.is_written && find.story != self.best.story) {
            Some(find) => {
                self.best = find;
                true
            }
            None => false,
        }
    }

    /// Steps after the failure cannot matter.
    fn forget_what_follows(&mut self) {
        let mut story = self.best.story.clone();
        story.steps.truncate(self.best.failure.step + 1);
        self.take(story);
    }

    /// First halves, then smaller and smaller parts.
    fn cut_steps(&mut self) {
        let mut size = self.best.story.steps.len().max(STEPS_MIN) / 2;
        while size > 0 {
            let mut from = 0;
            while from < self.best.story.steps.len() {
                let mut story = self.best.story.clone();
                let to = (from + size).min(story.steps.len());
                story.steps.drain(from..to);
                if !self.take(story) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    fn cut_nodes(&mut self) {
        for index in (0..self.best.story.nodes.len()).rev() {
            let mut story = self.best.story.clone();
            story.nodes.remove(index);
            self.take(story);
        }
        for index in 0..self.best.story.nodes.len() {
            // ends because each cut makes the number smaller
            while let Some(gpus) = self.best.story.nodes.get(index).map(|node| node.gpus) {
                let fewer = [1, gpus / 2, gpus.saturating_sub(1)];
                let cut = fewer.into_iter().filter(|fewer| *fewer > 0 && *fewer < gpus).any(|fewer| {
                    let mut story = self.best.story.clone();
                    if let Some(node) = story.nodes.get_mut(index) {
                        node.gpus = fewer;
                    }
                    self.take(story)
                });
                if !cut {
                    break;
                }
            }
        }
    }

    /// Fewer MIG devices, or none.
    fn cut_parts(&mut self) {
        for index in 0..self.best.story.nodes.len() {
            for count in [0, 1] {
                let mut story = self.best.story.clone();
                let Some(node) = story.nodes.get_mut(index) else { continue };
                node.mig = node.mig.filter(|_| count > 0).map(|cut| Cut { count, ..cut });
                self.take(story);
            }
        }
    }

    fn cut_everything_else(&mut self) {
        if self.best.story.timers != Timers::Real {
            let mut story = self.best.story.clone();
            story.timers = Timers::Real;
            self.take(story);
        }
        for index in 0..self.best.story.steps.len() {
            // ends because every simpler step is simpler than the one before
            while self.simplify(index) {}
        }
    }

    /// Makes one step simpler, if it can be.
    fn simplify(&mut self, index: usize) -> bool {
        let steps = &self.best.story.steps;
        let Some(step) = steps.get(index) else {
            return false;
        };
        let mut stories: Vec<Story> = Vec::new();
        if let (Step::Wait(first), Some(Step::Wait(second))) = (step, steps.get(index + 1)) {
            let mut story = self.best.story.clone();
            story.steps.remove(index + 1);
            if let Some(step) = story.steps.get_mut(index) {
                *step = Step::Wait(first.saturating_add(*second));
            }
            stories.push(story);
        }
        stories.extend(simpler(step).into_iter().filter_map(|simpler| {
            let mut story = self.best.story.clone();
            *story.steps.get_mut(index)? = simpler;
            Some(story)
        }));
        stories.into_iter().any(|story| self.take(story))
    }
}
