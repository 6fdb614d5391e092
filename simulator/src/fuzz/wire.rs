//! Made-up stories on the wire stage: the real binary in real time, so they are short, are looked at now and then instead of
//! at every change, and are not shrunk, because no run of theirs is like another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::Failure;
use super::ground::{Ground, Patience};
use super::run::{Outcome, play};
use super::story::Story;
use super::write;
use crate::invariants::Invariants;
use crate::on::wire::{Binaries, WireStage};
use crate::on::{Done, Stage, StageError};
use crate::run::{Leave, RunOptions};
use crate::run_dir;
use crate::scenario::{Scenario, Verb, read_text};
use crate::world::World;

/// How long one story may take, whatever it waits for.
const STORY_MAX: Duration = Duration::from_secs(600);
/// How often the cluster is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The real binaries, and where the logs of failing runs stay.
#[derive(Debug, Clone)]
pub struct Wire {
    /// What runs.
    pub binaries: Binaries,
    /// The directory of all runs.
    pub runs: PathBuf,
}

/// A cluster with the real plugin on its nodes, and what was seen of it.
pub(super) struct Seen {
    stage: WireStage,
    world: World,
    invariants: Invariants,
    broken: Vec<String>,
}

impl Wire {
    /// Plays a story and judges it; nothing when somebody asked to stop meanwhile. The logs of a run that failed stay.
    pub fn run(&self, story: &Story, seed: u64) -> Option<Outcome> {
        let failed =
            |why: String| Outcome { failure: Some(Failure::of_simulator(why)), ..Outcome::default() };
        // one thread: children are bound to the thread that starts them and must not outlive it
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Some(failed(format!("cannot start the runtime: {error}"))),
        };
        runtime.block_on(async {
            let played = async {
                let played = self.played(story, seed);
                let in_time = tokio::time::timeout(STORY_MAX, Box::pin(played)).await;
                in_time.unwrap_or_else(|_| Err(format!("the story was not over within {STORY_MAX:?}")))
            };
            tokio::select! {
                outcome = played => Some(outcome.unwrap_or_else(failed)),
                _ = tokio::signal::ctrl_c() => None,
            }
        })
    }

    async fn played(&self, story: &Story, seed: u64) -> Result<Outcome, String> {
        let text = write::cluster(story);
        let scenario = read_text("fuzz.yaml", &text).map_err(|problems| problems.to_string())?;
        let name = format!("fuzz-seed-{seed}");
        let directory = run_dir::create(&self.runs, &name)
            .map_err(|error| format!("cannot make a directory in `{}`: {error}", self.runs.display()))?;
        let mut seen = Seen::start(&scenario, &self.binaries, seed, &self.runs, &directory).await?;
        let mut outcome = play(&mut seen, story).await;
        match &mut outcome.failure {
            None => {
                if let Err(error) = std::fs::remove_dir_all(&directory) {
                    eprintln!("tandem-sim: `{}` stays: {error}", directory.display());
                }
            }
            Some(failure) => {
                failure.message.push_str(&format!("\njournals and logs: {}", directory.display()))
            }
        }
        Ok(outcome)
    }
}

impl Seen {
    async fn start(
        scenario: &Scenario,
        binaries: &Binaries,
        seed: u64,
        runs: &Path,
        directory: &Path,
    ) -> Result<Seen, String> {
        let options = RunOptions { seed, runs_root: runs.to_owned(), keep: false, leave: Leave::WhenFailed };
        let stage = WireStage::start(scenario, binaries, &options, directory, None).await;
        let stage = stage.map_err(|error| error.to_string())?;
        let invariants = Invariants::of(scenario);
        let mut seen = Seen { stage, world: World::default(), invariants, broken: Vec::new() };
        seen.look().await.map_err(|error| error.to_string())?;
        Ok(seen)
    }

    async fn look(&mut self) -> Result<(), StageError> {
        self.world = self.stage.look().await?;
        self.broken.extend(self.invariants.check(&self.world));
        Ok(())
    }
}

impl Ground for Seen {
    /// The plugin's own back-offs are real, everything else is scaled.
    const PATIENCE: Patience = Patience {
        settles_within: Duration::from_secs(150),
        rests_for: Duration::from_millis(500),
        look_every: LOOK_EVERY,
    };

    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        let done = self.stage.act(verb).await;
        self.look().await?;
        done
    }

    async fn advance(&mut self, at_most: Duration) -> Result<(), StageError> {
        self.stage.changed(at_most.min(LOOK_EVERY)).await;
        self.look().await
    }

    fn world(&mut self) -> &World {
        &self.world
    }

    fn now(&self) -> Duration {
        self.stage.now()
    }

    fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.broken)
    }

    fn deaths(&mut self) -> Vec<String> {
        self.stage.deaths()
    }

    fn happenings(&self) -> u64 {
        0
    }

    async fn finish(&mut self) -> Vec<String> {
        self.stage.finish().await
    }
}
