//! The model stage: the whole cluster in one process, one thread and virtual time. plugin-core, the core's MPS
//! supervisor, fake-gpu and the fake kubelet's ledger are the real ones; what lies between them are happenings.
//!
//! One seed decides how long everything takes ([`latency`]) and so which of two racing things comes first; the same seed
//! gives the same journals, byte for byte. The loop is [`engine`], the list of everything that can happen [`happening`],
//! the parts are [`api`] (API server, scheduler), [`node`] with [`kubelet`], [`plugin`], [`mps`], [`host`] and
//! [`programs`] (DaemonSets, crashes) with [`workloads`]; [`verbs`] and [`faults`] act on them from outside, [`look`] is what can be seen.

mod api;
mod cluster;
mod engine;
mod faults;
mod happening;
mod host;
mod journal;
mod journals;
mod judge;
mod kubelet;
mod latency;
mod library;
mod links;
mod look;
mod message;
mod mig;
mod mps;
mod node;
mod node_looks;
mod node_mps;
mod plugin;
mod program;
mod programs;
mod random;
mod saboteur;
mod settings;
mod taints;
#[cfg(test)]
mod tests;
mod throughput;
mod verbs;
mod workloads;

use std::collections::BTreeMap;
use std::time::Duration;

use self::cluster::Cluster;
use self::judge::Judge;
use self::look::Picture;
use super::{Done, Stage, StageError};
use crate::invariants::Invariants;
use crate::scenario::{Scenario, Verb};
use crate::world::World;

pub use judge::Violation;
pub use saboteur::Sabotage;
pub use throughput::{Load, Throughput};

/// How long programs may take to end at the end of a run.
const FINISH_MAX: Duration = Duration::from_secs(60);
/// Happenings in a row of which nothing can be seen; then whoever waits is asked whether it wants to go on.
const STEPS_MAX: u32 = 100_000;
/// How a run is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOptions {
    /// Decides every latency.
    pub seed: u64,
    /// Keep every process's journal in memory.
    pub journals: bool,
    /// Check the invariants whenever something that can be seen has changed, not only after steps.
    pub invariants: bool,
}

/// A simulated cluster in virtual time.
#[derive(Debug)]
pub struct ModelStage {
    cluster: Cluster,
    picture: Picture,
    config_map_sync: Duration,
    judge: Option<Judge>,
}

impl ModelStage {
    /// Installs every node; nothing happens until time passes.
    ///
    /// # Errors
    /// A node that cannot be made, or a plugin argument that the model does not know.
    pub fn start(scenario: &Scenario, options: ModelOptions) -> Result<ModelStage, StageError> {
        let mut cluster = Cluster::new(scenario, options.seed, options.journals)?;
        if options.invariants {
            cluster.api.changes.judge();
        }
        Ok(ModelStage {
            cluster,
            picture: Picture::default(),
            config_map_sync: scenario.timers.config_map_sync,
            judge: options.invariants.then(|| Judge::new(Invariants::of(scenario))),
        })
    }

    /// Plants a mistake in the plugin of every node; before time passes.
    pub fn sabotage(&mut self, mistake: Sabotage) {
        for node in &mut self.cluster.nodes {
            node.host.sabotage = Some(mistake);
        }
    }

    /// Changes the plugin's config map, as `kubectl apply` does; kubelets project it within the scenario's `configMapSync`.
    pub fn edit_configs(&mut self, configs: BTreeMap<String, String>) {
        if let Some(judge) = &mut self.judge {
            judge.configs(&configs);
        }
        self.cluster.edit_configs(configs, self.config_map_sync);
    }

    /// How many happenings there were so far, and are to come.
    pub fn happenings(&self) -> u64 {
        self.cluster.engine.count()
    }

    /// Violations of invariants; only when they are checked at every change.
    pub fn violations(&self) -> &[Violation] {
        self.judge.as_ref().map_or(&[], |judge| &judge.found)
    }

    /// The violations since the last time this was asked.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        self.judge.as_mut().map(|judge| std::mem::take(&mut judge.found)).unwrap_or_default()
    }

    /// The world now.
    pub fn world(&mut self) -> &World {
        self.picture.look(&mut self.cluster)
    }

    /// Lets time pass until something that can be seen has changed, or the bound is over.
    pub fn advance(&mut self, at_most: Duration) {
        if self.cluster.api.changes.take_any() {
            return self.check();
        }
        let bound = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let limit = self.cluster.engine.now().saturating_add(bound);
        for _ in 0..STEPS_MAX {
            if !self.cluster.step(limit) {
                return;
            }
            if self.cluster.api.changes.take_any() {
                return self.check();
            }
        }
    }

    fn check(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.look(&mut self.cluster);
        }
    }

    /// What is left behind on each node.
    fn leaks(&self) -> Vec<String> {
        self.cluster.nodes.iter().flat_map(node::Node::leaks).collect()
    }
}

impl Stage for ModelStage {
    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        self.perform(verb)
    }

    async fn look(&mut self) -> Result<World, StageError> {
        Ok(self.world().clone())
    }

    async fn changed(&mut self, at_most: Duration) {
        self.advance(at_most);
        // a request to stop must be heard between two happenings
        tokio::task::yield_now().await;
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.cluster.engine.now())
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn draw(&mut self) -> u64 {
        self.cluster.engine.draw()
    }

    async fn pause(&mut self, duration: Duration) {
        let end = self.now().saturating_add(duration);
        while self.now() < end {
            self.advance(end.saturating_sub(self.now()));
            tokio::task::yield_now().await;
        }
    }

    fn deaths(&mut self) -> Vec<String> {
        let nodes = self.cluster.nodes.iter_mut();
        nodes.flat_map(|node| std::mem::take(&mut node.deaths)).collect()
    }

    fn broken_between(&self) -> Vec<String> {
        self.violations().iter().map(Violation::to_string).collect()
    }

    async fn finish(&mut self) -> Vec<String> {
        let cluster = &mut self.cluster;
        for node in &mut cluster.nodes {
            node.is_closing = true;
            node.work_is_lost();
            node.works.clear();
        }
        cluster.api.want_reconcile(&mut cluster.engine);
        let ended = |cluster: &Cluster| cluster.nodes.iter().all(node::Node::has_ended);
        let all_ended = cluster.advance_until(FINISH_MAX, ended);
        let mut leaks = self.deaths();
        if !all_ended {
            leaks.push(format!("programs still ran after {FINISH_MAX:?}"));
        }
        leaks.extend(self.leaks());
        leaks
    }
}

/// A refusal of a part of the cluster.
fn refused(what: impl Into<String>, error: &dyn std::fmt::Display) -> StageError {
    StageError::Cluster { what: what.into(), error: error.to_string() }
}
