//! Plays one story and judges it: at every change that can be seen, once the faults have stopped, and at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;

use super::excuse::Excuses;
use super::failure::{Failure, Kind};
use super::ground::Ground;
use super::label::Label;
use super::settle;
use super::story::{Step, Story};
use super::tally::{Counter, Tally, nameless};
use super::wishes::Wishes;
use super::write;
use crate::faults::{Fault, FaultSpec};
use crate::on::model::{ModelOptions, ModelStage, Sabotage};
use crate::on::{Done, StageError};
use crate::scenario::{Selection, Verb, read_text};
use crate::world::World;

/// Most happenings of one story, where they are counted: a hundred times as many as a long one has. What goes on for longer
/// goes round in circles.
const HAPPENINGS_MAX: u64 = 200_000;

/// What a run leaves.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How it failed, if it did.
    pub failure: Option<Failure>,
    /// What happened.
    pub tally: Tally,
    /// Invariants that a fault explained, by their names in scenarios.
    pub excused: BTreeSet<&'static str>,
}

/// Plays a story on the model stage and judges it.
pub fn run(story: &Story, seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let mut stage = match start(story, seed) {
        Ok(stage) => stage,
        Err(why) => {
            return Outcome { failure: Some(Failure::of_simulator(why)), ..Outcome::default() };
        }
    };
    if let Some(sabotage) = sabotage {
        stage.sabotage(sabotage);
    }
    // time is virtual, so nothing is ever waited for
    let outcome = play(&mut stage, story).now_or_never();
    outcome.unwrap_or_else(|| {
        let failure = Failure::of_simulator("the model stage waited for something".to_owned());
        Outcome { failure: Some(failure), ..Outcome::default() }
    })
}

/// The cluster is what the written file says, so that a replay cannot be about another one.
fn start(story: &Story, seed: u64) -> Result<ModelStage, String> {
    let text = write::cluster(story);
    let scenario = read_text("fuzz.yaml", &text).map_err(|problems| problems.to_string())?;
    let options = ModelOptions { seed, journals: false, invariants: true };
    ModelStage::start(&scenario, options).map_err(|error| error.to_string())
}

/// Plays a story on a stage that has just been started, and stops the stage.
pub(super) async fn play<G: Ground>(ground: &mut G, story: &Story) -> Outcome {
    let nodes = story.nodes.iter();
    let mut player = Player {
        ground,
        story,
        counter: Counter::default(),
        excuses: Excuses::default(),
        wishes: nodes.map(|node| (node.name.as_str(), Wishes::new(node))).collect(),
        step: 0,
        faults_end: Duration::ZERO,
        emptied: false,
    };
    let mut failure = player.play().await.err();
    let (happenings, seconds) = (player.ground.happenings(), player.ground.now().as_secs());
    player.counter.end(player.ground.world(), happenings, seconds);
    // also what has failed must be put away, and leave nothing
    let left = player.finish().await.err();
    failure = failure.or(left);
    Outcome { failure, tally: player.counter.tally, excused: player.excuses.used }
}

struct Player<'r, G> {
    ground: &'r mut G,
    story: &'r Story,
    counter: Counter,
    excuses: Excuses,
    wishes: BTreeMap<&'r str, Wishes>,
    step: usize,
    faults_end: Duration,
    emptied: bool,
}

impl<G: Ground> Player<'_, G> {
    async fn play(&mut self) -> Result<(), Failure> {
        for (index, step) in self.story.steps.iter().enumerate() {
            self.step = index;
            self.act(step).await?;
            self.judge()?;
        }
        self.step = self.story.steps.len();
        let left = self.faults_end.saturating_sub(self.ground.now());
        self.pass(left).await?;
        // with whoever still runs, then with an empty cluster
        self.settle().await?;
        self.delete_all().await?;
        self.settle().await
    }

    /// Does a step, if there is something to do.
    async fn act(&mut self, step: &Step) -> Result<(), Failure> {
        self.counter.tally.steps += 1;
        let done = match step {
            Step::Wait(time) => return self.pass(*time).await,
            Step::Fault(spec) => return self.fault(spec).await,
            Step::Flip { .. } | Step::Edit(_) | Step::Create(_) | Step::Delete(_) | Step::Finish(_) => {
                match step.verb() {
                    Some(verb) => self.ground.act(&verb).await,
                    None => return Ok(()),
                }
            }
        };
        if matches!(done, Ok(Done::Did)) {
            self.note(step);
        }
        Ok(())
    }

    async fn fault(&mut self, spec: &FaultSpec) -> Result<(), Failure> {
        if spec.fault == Fault::CheckpointLost && is_used(self.ground.world(), &spec.node) {
            // it would hand out again what pods still use, and no plugin can prevent that
            return Ok(());
        }
        let began = self.ground.now();
        let done = self.ground.act(&Verb::Fault { spec: spec.clone(), probability: 1.0 }).await;
        match done {
            Ok(Done::Did) => {
                let until = self.excuses.fault(spec, began, self.ground.now());
                self.faults_end = self.faults_end.max(until);
                self.counter.fault(spec.fault, self.ground.world());
                match spec.fault {
                    Fault::NodeRecreated => self.flipped(&spec.node, &Label::Absent),
                    Fault::DiskFull => self.note_at(&spec.node, Wishes::disk_filled),
                    Fault::CheckpointLost => self.note_at(&spec.node, Wishes::forget),
                    _ => {}
                }
            }
            Ok(Done::Skipped(why)) => self.counter.skipped(spec.fault, nameless(&why)),
            Err(error) => self.refused(spec, &error),
        }
        Ok(())
    }

    /// What a fault means for a node's wishes.
    fn note_at(&mut self, node: &str, note: fn(&mut Wishes)) {
        self.wishes.get_mut(node).into_iter().for_each(note);
    }

    /// Nothing is there to be hit, such as a program that does not run; on some stages that is an error.
    fn refused(&mut self, spec: &FaultSpec, error: &StageError) {
        self.counter.skipped(spec.fault, nameless(&error.to_string()));
    }

    fn note(&mut self, step: &Step) {
        let tally = &mut self.counter.tally;
        match step {
            Step::Flip { node, label } => {
                self.excuses.flip(node, self.ground.now());
                self.flipped(node, label);
            }
            Step::Edit(text) => {
                tally.edits += 1;
                let now = self.ground.now();
                for (node, wishes) in &mut self.wishes {
                    if wishes.follows_edits() {
                        self.excuses.edit(node, now);
                    }
                    wishes.edit(text, has_no_config(self.ground.world(), node));
                }
            }
            Step::Create(_) => tally.pods += 1,
            Step::Delete(names) => tally.deleted += names.len() as u64,
            Step::Finish(names) => tally.finished += names.len() as u64,
            Step::Fault(_) | Step::Wait(_) => {}
        }
    }

    fn flipped(&mut self, node: &str, label: &Label) {
        let early = has_no_config(self.ground.world(), node);
        if let Some(wishes) = self.wishes.get_mut(node) {
            self.counter.flip(wishes.newest().word(), label.word());
            wishes.flip(label, early);
        }
    }

    /// Lets time pass and judges everything that can be seen.
    async fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.ground.now().saturating_add(time);
        while self.ground.now() < end {
            self.advance(end.saturating_sub(self.ground.now())).await?;
        }
        Ok(())
    }

    async fn advance(&mut self, at_most: Duration) -> Result<(), Failure> {
        let happenings = self.ground.happenings();
        if happenings > HAPPENINGS_MAX {
            let message = format!("the story goes round in circles: {happenings} happenings");
            return Err(self.failure(Kind::Simulator, message));
        }
        match self.ground.advance(at_most).await {
            Ok(()) => self.judge(),
            Err(error) => Err(self.failure(Kind::Simulator, error.to_string())),
        }
    }

    /// What must be true at every moment.
    fn judge(&mut self) -> Result<(), Failure> {
        let deaths = self.ground.deaths();
        if !deaths.is_empty() {
            return Err(self.failure(Kind::Death, deaths.join("\n")));
        }
        let now = self.ground.now();
        let world = self.ground.world();
        self.counter.look(world);
        self.excuses.look(world, now);
        self.wishes.iter_mut().for_each(|(node, wishes)| wishes.look(world, node));
        for sentence in self.ground.violations() {
            let covered = self.wishes.values().any(|wishes| wishes.covers(&sentence));
            if !covered && !self.excuses.covers(&sentence, self.ground.world(), now) {
                return Err(self.failure(Kind::of_invariant(&sentence), sentence));
            }
        }
        Ok(())
    }

    /// Waits until every node is at rest, and stays so.
    async fn settle(&mut self) -> Result<(), Failure> {
        let patience = G::PATIENCE;
        let begun = self.ground.now();
        let mut since = None;
        loop {
            let now = self.ground.now();
            let missing = settle::missing(self.ground.world(), &self.wishes);
            match (missing, since) {
                (None, Some(since)) if now.saturating_sub(since) >= patience.rests_for => return Ok(()),
                (None, _) => since = since.or(Some(now)),
                (Some(missing), _) if now.saturating_sub(begun) >= patience.settles_within => {
                    let message = format!("not within {:?}: {}", patience.settles_within, missing.message);
                    let failure = self.failure(Kind::Unsettled(missing.topic), message);
                    return Err(Failure { demand: Some(missing.demand), ..failure });
                }
                (Some(_), _) => since = None,
            }
            self.advance(patience.look_every).await?;
        }
    }

    async fn delete_all(&mut self) -> Result<(), Failure> {
        self.emptied = true;
        if self.ground.world().pods.is_empty() {
            return Ok(());
        }
        let all = Verb::Delete(Selection::Names(vec!["*".to_owned()]));
        match self.ground.act(&all).await {
            Ok(_) => self.judge(),
            Err(error) => Err(self.failure(Kind::Simulator, error.to_string())),
        }
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        let mut leaks = self.ground.finish().await;
        leaks.retain(|leak| !self.excuses.covers_leak(leak));
        match leaks.is_empty() {
            true => Ok(()),
            false => Err(self.failure(Kind::Leak, leaks.join("\n"))),
        }
    }

    fn failure(&self, kind: Kind, message: String) -> Failure {
        Failure { kind, message, at: self.ground.now(), step: self.step, emptied: self.emptied, demand: None }
    }
}

/// Whether the plugin of a node has no configuration that has proved good: one that gives no GPU a role may not be.
fn has_no_config(world: &World, node: &str) -> bool {
    world
        .nodes
        .get(node)
        .is_none_or(|node| node.plugin.state["config_applied"].is_null() || node.plugin.registered.is_empty())
}

/// Whether pods are bound to a node that have not ended.
fn is_used(world: &World, node: &str) -> bool {
    world.pods.values().any(|pod| pod.node.as_deref() == Some(node) && World::holds_devices(pod))
}
