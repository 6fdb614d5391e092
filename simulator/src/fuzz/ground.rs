//! Where a made-up story is played, because it is judged alike wherever that is.

use std::time::Duration;

use crate::on::model::ModelStage;
use crate::on::{Done, Stage, StageError};
use crate::scenario::Verb;
use crate::world::World;

/// How patient the judge of a story is on one stage, in the stage's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long after the last fault the cluster may take to come to rest.
    pub(super) settles_within: Duration,
    /// How long what has come to rest must stay so.
    pub(super) rests_for: Duration,
    /// How often the cluster is looked at while nothing changes.
    pub(super) look_every: Duration,
}

/// A stage as the judge of a story needs it.
pub(super) trait Ground {
    /// How patient the judge is here.
    const PATIENCE: Patience;

    /// Does what a step says.
    fn act(&mut self, verb: &Verb) -> impl Future<Output = Result<Done, StageError>>;

    /// Lets time pass until something that can be seen has changed, or the bound is over; then the world is seen anew.
    fn advance(&mut self, at_most: Duration) -> impl Future<Output = Result<(), StageError>>;

    /// The world as it was seen last.
    fn world(&mut self) -> &World;

    /// How old the stage is, in its own time.
    fn now(&self) -> Duration;

    /// Invariants that were broken since this was asked last.
    fn violations(&mut self) -> Vec<String>;

    /// Processes that ended unasked since this was asked last.
    fn deaths(&mut self) -> Vec<String>;

    /// How many happenings there were, where they are counted.
    fn happenings(&self) -> u64;

    /// Stops everything and says what was left behind.
    fn finish(&mut self) -> impl Future<Output = Vec<String>>;
}

impl Ground for ModelStage {
    /// A boot, the longest back-offs, the kubelet's grace for a plugin that is gone, and the thirty seconds in which
    /// withdrawn devices stay listed.
    const PATIENCE: Patience = Patience {
        settles_within: Duration::from_secs(600),
        rests_for: Duration::from_secs(2),
        look_every: Duration::from_secs(1),
    };

    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        if matches!(verb, Verb::Fault { .. }) {
            // a player draws whether a fault happens at all
            self.draw();
        }
        Stage::act(self, verb).await
    }

    async fn advance(&mut self, at_most: Duration) -> Result<(), StageError> {
        ModelStage::advance(self, at_most);
        Ok(())
    }

    fn world(&mut self) -> &World {
        ModelStage::world(self)
    }

    fn now(&self) -> Duration {
        Stage::now(self)
    }

    fn violations(&mut self) -> Vec<String> {
        self.take_violations().into_iter().map(|found| found.sentence).collect()
    }

    fn deaths(&mut self) -> Vec<String> {
        Stage::deaths(self)
    }

    fn happenings(&self) -> u64 {
        ModelStage::happenings(self)
    }

    async fn finish(&mut self) -> Vec<String> {
        Stage::finish(self).await
    }
}
