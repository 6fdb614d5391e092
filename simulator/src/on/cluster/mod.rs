//! The cluster stage: a story on a cluster that exists, through its API alone, as an operator with kubectl would play it.
//!
//! `settings` says which cluster and what of it is the story's; `mapping` finds a Node for each node of the story;
//! `client` asks the API server; `actions` is what verbs do; `look` and `daemon_pods` make the world's view; `limits` is what
//! cannot be seen here, `touched` what is given back at the end.

mod actions;
mod client;
mod daemon_pods;
mod limits;
mod look;
mod mapping;
mod settings;
mod touched;

use std::path::Path;
use std::time::{Duration, Instant};

use client::{Connection, Kind};
use daemon_pods::DaemonPods;
use mapping::Mapping;
use touched::Touched;

pub use mapping::ROLE_LABEL;
pub use settings::{ClusterSettings, NAMESPACE, PodsAt};

use super::wire::splitmix;
use super::{Done, Limits, Stage, StageError};
use crate::scenario::{Scenario, Verb};
use crate::world::World;

/// The least time between two looks: each asks the API server several times.
const LOOK_SPACING: Duration = Duration::from_millis(100);
/// How many names a message lists.
const NAMES_SHOWN_MAX: usize = 5;

/// A cluster that exists.
#[derive(Debug)]
pub struct ClusterStage {
    begun: Instant,
    random: u64,
    connection: Connection,
    settings: ClusterSettings,
    mapping: Mapping,
    plugin: Option<DaemonPods>,
    mps: Option<DaemonPods>,
    limits: Limits,
    touched: Touched,
    /// What the API server could not be asked at the last look.
    lost: Vec<String>,
}

impl ClusterStage {
    /// Finds the story's nodes, sees that its namespace is empty, and brings its configurations into the config map.
    ///
    /// # Errors
    /// The cluster cannot be reached, or is not as the story needs it; nothing is changed then.
    pub async fn start(
        scenario: &Scenario,
        settings: &ClusterSettings,
        seed: u64,
    ) -> Result<ClusterStage, StageError> {
        let connection = Connection::open(settings).await?;
        let nodes = connection.list(Kind::Node, None, "").await?;
        let mapping = mapping::map(&scenario.nodes, &settings.nodes, &nodes)
            .map_err(|error| StageError::Cluster { what: "map the story's nodes".to_owned(), error })?;
        let mut stage = ClusterStage {
            begun: Instant::now(),
            random: seed,
            connection,
            settings: settings.clone(),
            mapping,
            plugin: settings.plugin_pods.clone().map(DaemonPods::new),
            mps: settings.mps_pods.clone().map(DaemonPods::new),
            limits: Limits::default(),
            touched: Touched::default(),
            lost: Vec::new(),
        };
        stage.is_free().await?;
        let no_account = stage.why_no_account().await?;
        stage.limits = limits::limits(scenario, settings, no_account.as_deref());
        stage.bring_configs(&scenario.configs).await?;
        Ok(stage)
    }

    /// A story counts all pods of its namespace.
    async fn is_free(&self) -> Result<(), StageError> {
        let namespace = &self.settings.namespace;
        let pods = self.connection.list(Kind::Pod, Some(namespace), "").await?;
        let names: Vec<&str> =
            pods.iter().filter_map(|pod| pod.pointer("/metadata/name")?.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let shown = names.get(..names.len().min(NAMES_SHOWN_MAX)).unwrap_or_default().join("`, `");
        let error = format!("it has {} pods: `{shown}` (hint: --namespace names an empty one)", names.len());
        Err(StageError::Cluster { what: format!("use namespace `{namespace}` for a story"), error })
    }

    /// Why the plugin's own account cannot be read, if it cannot.
    async fn why_no_account(&mut self) -> Result<Option<String>, StageError> {
        let Some(pods) = &mut self.plugin else {
            return Ok(Some("nobody says where the plugin's pods are (hint: --plugin-pods)".to_owned()));
        };
        pods.look(&self.connection).await?;
        if let Some(node) = self.mapping.values().find(|node| pods.on(node).is_none()) {
            let error = format!("there is none on Node `{node}`");
            return Err(StageError::Cluster {
                what: format!("find the plugin's pods `{}`", pods.at()),
                error,
            });
        }
        for node in self.mapping.values() {
            if let Err(error) = pods.account(&self.connection, node).await {
                return Ok(Some(error.to_string()));
            }
        }
        Ok(None)
    }

    /// Leaves the logs of the plugin's pods in a directory.
    ///
    /// # Errors
    /// The first that cannot be read or written; the others are left all the same.
    pub async fn leave_logs(&self, directory: &Path) -> Result<(), StageError> {
        let mut first = Ok(());
        for pods in self.plugin.iter().chain(&self.mps) {
            for (node, pod) in pods.all() {
                let path = directory.join(format!("{node}-{}.log", pod.name));
                let left = match self.connection.log(&pods.at().namespace, &pod.name).await {
                    Ok(log) => std::fs::write(&path, log).map_err(|error| StageError::File {
                        what: "write",
                        path: path.clone(),
                        error,
                    }),
                    Err(error) => Err(error),
                };
                first = first.and(left);
            }
        }
        first
    }
}

impl Stage for ClusterStage {
    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        self.perform(verb).await
    }

    async fn look(&mut self) -> Result<World, StageError> {
        self.view().await
    }

    fn limits(&self) -> Option<&Limits> {
        Some(&self.limits)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn is_virtual(&self) -> bool {
        false
    }

    fn draw(&mut self) -> u64 {
        self.random = splitmix(self.random);
        self.random
    }

    async fn pause(&mut self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn changed(&mut self, at_most: Duration) {
        tokio::time::sleep(at_most.max(LOOK_SPACING)).await;
    }

    fn deaths(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lost)
    }

    async fn finish(&mut self) -> Vec<String> {
        self.give_back().await
    }
}
