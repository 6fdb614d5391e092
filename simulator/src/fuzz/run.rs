//! Plays one story on the model stage and judges it: at every change that can be seen, once the faults have stopped, and
//! at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;

use super::excuse::Excuses;
use super::failure::{Failure, Kind};
use super::settle;
use super::story::{Label, Step, Story};
use super::tally::Tally;
use super::wishes::Wishes;
use super::write;
use crate::faults::Fault;
use crate::on::model::{ModelOptions, ModelStage, Sabotage};
use crate::on::{Done, Stage, StageError};
use crate::scenario::{Selection, Verb, read_text};

/// How long after the last fault the cluster may take to come to rest, in virtual time: a boot, the longest back-offs, the
/// kubelet's grace for a plugin that is gone, and the thirty seconds in which withdrawn devices stay listed.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(600);
/// How long what has come to rest must stay so, in virtual time.
pub const RESTS_FOR: Duration = Duration::from_secs(2);
/// How often the cluster is looked at while nothing changes, in virtual time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a run leaves.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How it failed, if it did.
    pub failure: Option<Failure>,
    /// What happened.
    pub tally: Tally,
    /// Invariants that a fault explained, by their names in scenarios.
    pub excused: BTreeSet<&'static str>,
    /// Steps that could not be done, such as the deletion of a pod that is gone.
    pub idle: BTreeSet<usize>,
}

/// Plays a story and judges it.
pub fn run(story: &Story, seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let mut outcome = Outcome::default();
    let started = start(story, seed);
    match started {
        Ok(mut stage) => {
            if let Some(sabotage) = sabotage {
                stage.sabotage(sabotage);
            }
            let mut player = Player::new(stage, story, &mut outcome);
            let failure = player.play().err();
            let Player { mut stage, excuses, .. } = player;
            outcome.tally.end(&mut stage);
            outcome.excused = excuses.used;
            outcome.failure = failure;
        }
        Err(why) => {
            outcome.failure = Some(Failure::of_simulator(why));
        }
    }
    outcome
}

/// The cluster is what the written file says, so that a replay cannot be about another one.
fn start(story: &Story, seed: u64) -> Result<ModelStage, String> {
    let text = write::cluster(story);
    let scenario = read_text("fuzz.yaml", &text).map_err(|problems| problems.to_string())?;
    let options = ModelOptions { seed, journals: false, invariants: true };
    ModelStage::start(&scenario, options).map_err(|error| error.to_string())
}

struct Player<'r> {
    stage: ModelStage,
    story: &'r Story,
    outcome: &'r mut Outcome,
    excuses: Excuses,
    wishes: BTreeMap<&'r str, Wishes>,
    step: usize,
    faults_end: Duration,
    emptied: bool,
}

impl<'r> Player<'r> {
    fn new(stage: ModelStage, story: &'r Story, outcome: &'r mut Outcome) -> Player<'r> {
        let nodes = story.nodes.iter();
        Player {
            stage,
            story,
            outcome,
            excuses: Excuses::default(),
            wishes: nodes.map(|node| (node.name.as_str(), Wishes::new(node.gpus))).collect(),
            step: 0,
            faults_end: Duration::ZERO,
            emptied: false,
        }
    }

    fn play(&mut self) -> Result<(), Failure> {
        for (index, step) in self.story.steps.iter().enumerate() {
            self.step = index;
            if !self.act(step)? {
                self.outcome.idle.insert(index);
            }
            self.judge()?;
        }
        self.step = self.story.steps.len();
        let left = self.faults_end.saturating_sub(self.stage.now());
        self.pass(left)?;
        // with whoever still runs, then with an empty cluster
        self.settle()?;
        self.delete_all()?;
        self.settle()?;
        self.finish()
    }

    /// Does a step; `false` when there was nothing to do.
    fn act(&mut self, step: &Step) -> Result<bool, Failure> {
        self.outcome.tally.steps += 1;
        let done = match step {
            Step::Wait(time) => {
                self.pass(*time)?;
                return Ok(true);
            }
            Step::Fault(spec) => {
                // a player draws whether a fault happens at all
                self.stage.draw();
                let done = self.stage.fault(spec);
                let now = self.stage.now();
                if matches!(done, Ok(Done::Did)) {
                    let until = self.excuses.fault(spec, now);
                    self.faults_end = self.faults_end.max(until);
                    self.outcome.tally.fault(spec.fault);
                }
                done
            }
            Step::Flip { .. } | Step::Create(_) | Step::Delete(_) => match step.verb() {
                Some(verb) => self.verb(&verb),
                None => return Ok(false),
            },
        };
        let did = matches!(done, Ok(Done::Did));
        if did {
            self.note(step);
        }
        Ok(did)
    }

    fn verb(&mut self, verb: &Verb) -> Result<Done, StageError> {
        let done = self.stage.act(verb).now_or_never();
        done.unwrap_or_else(|| Ok(Done::Skipped("the model waits for nothing".to_owned())))
    }

    fn note(&mut self, step: &Step) {
        match step {
            Step::Flip { node, label } => {
                self.outcome.tally.flips += 1;
                let now = self.stage.now();
                let applied = self.stage.world().nodes.get(node).map(|n| &n.plugin.state["config_applied"]);
                let early = applied.is_none_or(serde_json::Value::is_null);
                self.excuses.flip(node, now);
                if let Some(wishes) = self.wishes.get_mut(node.as_str()) {
                    wishes.flip(*label, early);
                }
                self.outcome.tally.wrong_labels += u64::from(!label.is_good());
                self.outcome.tally.removed_labels += u64::from(*label == Label::Absent);
            }
            Step::Create(_) => self.outcome.tally.pods += 1,
            Step::Delete(names) => self.outcome.tally.deleted += names.len() as u64,
            Step::Fault(spec) if spec.fault == Fault::NodeRecreated => {
                if let Some(wishes) = self.wishes.get_mut(spec.node.as_str()) {
                    wishes.flip(Label::Absent, false);
                }
            }
            Step::Fault(_) | Step::Wait(_) => {}
        }
    }

    /// Lets time pass and judges everything that can be seen.
    fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.stage.now().saturating_add(time);
        while self.stage.now() < end {
            self.stage.advance(end.saturating_sub(self.stage.now()));
            self.judge()?;
        }
        Ok(())
    }

    /// What must be true at every moment.
    fn judge(&mut self) -> Result<(), Failure> {
        let deaths = self.stage.deaths();
        if !deaths.is_empty() {
            return Err(self.failure(Kind::Death, deaths.join("\n")));
        }
        let now = self.stage.now();
        let world = self.stage.world();
        self.outcome.tally.look(world);
        self.excuses.look(world, now);
        for found in self.stage.take_violations() {
            let (sentence, world) = (found.sentence, self.stage.world());
            if !self.excuses.covers(&sentence, world, now) {
                return Err(self.failure(Kind::of_invariant(&sentence), sentence));
            }
        }
        Ok(())
    }

    /// Waits until every node is at rest, and stays so.
    fn settle(&mut self) -> Result<(), Failure> {
        let begun = self.stage.now();
        let mut since = None;
        loop {
            let now = self.stage.now();
            let missing = settle::missing(self.stage.world(), &self.wishes);
            match (missing, since) {
                (None, Some(since)) if now.saturating_sub(since) >= RESTS_FOR => return Ok(()),
                (None, _) => since = since.or(Some(now)),
                (Some(missing), _) if now.saturating_sub(begun) >= SETTLES_WITHIN => {
                    let message = format!("not within {SETTLES_WITHIN:?}: {}", missing.message);
                    let failure = self.failure(Kind::Unsettled(missing.topic), message);
                    return Err(Failure { demand: Some(missing.demand), ..failure });
                }
                (Some(_), _) => since = None,
            }
            self.stage.advance(LOOK_EVERY);
            self.judge()?;
        }
    }

    fn delete_all(&mut self) -> Result<(), Failure> {
        self.emptied = true;
        if self.stage.world().pods.is_empty() {
            return Ok(());
        }
        let all = Verb::Delete(Selection::Names(vec!["*".to_owned()]));
        match self.verb(&all) {
            Ok(_) => self.judge(),
            Err(error) => Err(self.failure(Kind::Simulator, error.to_string())),
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let mut leaks = self.stage.finish().now_or_never().unwrap_or_default();
        leaks.retain(|leak| !self.excuses.covers_leak(leak));
        match leaks.is_empty() {
            true => Ok(()),
            false => Err(self.failure(Kind::Leak, leaks.join("\n"))),
        }
    }

    fn failure(&self, kind: Kind, message: String) -> Failure {
        Failure { kind, message, at: self.stage.now(), step: self.step, emptied: self.emptied, demand: None }
    }
}
