//! The whole cluster as one machine: the engine's next happening goes to whom it is for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugin_core::settings::Settings;

use super::api::Api;
use super::engine::{Context, Engine};
use super::happening::{ApiEnding, Happening, What};
use super::host::{Host, KEEP_MODES};
use super::kubelet::Kubelet;
use super::latency::{self, Latency};
use super::node::{Node, Still};
use super::program::Program;
use super::refused;
use super::settings;
use crate::on::StageError;
use crate::scenario::{GpuNode, Scenario};

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Time and future.
    pub(super) engine: Engine,
    /// The API server.
    pub(super) api: Api,
    /// The nodes, numbered as in the API.
    pub(super) nodes: Vec<Node>,
}

impl Cluster {
    /// Installs every node of a scenario and switches it on.
    ///
    /// # Errors
    /// A node that cannot be made, or a plugin argument that the model does not know.
    pub(super) fn new(scenario: &Scenario, seed: u64, journals_kept: bool) -> Result<Cluster, StageError> {
        let api = Api::new().map_err(|error| refused("start an empty cluster", &error))?;
        let mut cluster = Cluster { engine: Engine::new(seed), api, nodes: Vec::new() };
        let config = Arc::new(scenario.configs.clone());
        for spec in &scenario.nodes {
            let node = cluster.nodes.len();
            let gpus = spec.gpus.as_ref().map(|gpus| install(&spec.name, gpus)).transpose()?;
            let settings: Settings = settings::of(&scenario.plugin, &spec.name)?;
            cluster
                .api
                .add_node(&cluster.engine, &spec.name, &spec.labels)
                .map_err(|error| refused(format!("register node `{}`", spec.name), &error))?;
            let kubelet_seed = cluster.engine.draw();
            let mut host = Host::new(gpus, Arc::clone(&config));
            host.mps.keeps_modes = scenario.mps_args.iter().any(|arg| arg == KEEP_MODES);
            cluster.nodes.push(Node {
                name: spec.name.clone(),
                host,
                kubelet: Kubelet::new(scenario.timers.clone(), kubelet_seed)
                    .with_profile(spec.kubelet.profile()),
                plugin: Program::new(),
                mps: Program::new(),
                works: BTreeMap::new(),
                crash_back_off: scenario.timers.crash_back_off,
                settings,
                journals_kept,
                journals: Vec::new(),
                warnings: Vec::new(),
                deaths: Vec::new(),
                is_off: false,
                still: Still::default(),
                is_closing: false,
            });
            cluster.happens_on(node, latency::KUBELET_START, What::KubeletStarts);
        }
        cluster.api.want_reconcile(&mut cluster.engine);
        Ok(cluster)
    }

    /// Lets the next happening up to `limit` happen; `false` when there is none, and the time is `limit` then.
    pub(super) fn step(&mut self, limit: u64) -> bool {
        let Some(happening) = self.engine.next(limit) else {
            return false;
        };
        match happening {
            Happening::Schedule => self.api.schedule(&mut self.engine),
            Happening::Replicas => self.api.make_replicas(&mut self.engine),
            Happening::Reconcile => self.reconcile(),
            Happening::ApiFaultEnds(ending) => self.api_fault_ends(ending),
            Happening::Node { node, what } => {
                self.on(node, |node, cx| node.on(cx, what));
            }
        }
        true
    }

    /// Lets time pass until something is true, or the bound is over.
    pub(super) fn advance_until(&mut self, bound: Duration, holds: impl Fn(&Cluster) -> bool) -> bool {
        let limit = self.after(bound);
        while !holds(self) {
            if !self.step(limit) {
                return holds(self);
            }
        }
        true
    }

    /// Does something on a node, with what the node may reach beyond itself.
    pub(super) fn on<T>(
        &mut self,
        number: usize,
        work: impl FnOnce(&mut Node, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let node = self.nodes.get_mut(number)?;
        let mut cx = Context { engine: &mut self.engine, api: &mut self.api, node: number };
        Some(work(node, &mut cx))
    }

    /// Something happens on a node after a drawn time.
    pub(super) fn happens_on(&mut self, node: usize, latency: Latency, what: What) {
        self.engine.after(latency, Happening::Node { node, what });
    }

    /// The plugin's config map changes; each node's kubelet projects it some time later.
    pub(super) fn edit_configs(&mut self, configs: BTreeMap<String, String>, sync: Duration) {
        let configs = Arc::new(configs);
        let most = u64::try_from(sync.as_nanos()).unwrap_or(u64::MAX);
        let latency = Latency { least: 0, most };
        for number in 0..self.nodes.len() {
            if let Some(node) = self.nodes.get_mut(number) {
                node.host.config_map = Arc::clone(&configs);
            }
            self.happens_on(number, latency, What::ConfigProjected);
        }
    }

    /// The number of a node.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Deletes refused pods, as a controller that replaces them does; how many there were.
    pub(super) fn clear_failed(&mut self) -> u64 {
        let failed = std::mem::take(&mut self.api.failed);
        for id in &failed {
            self.api.delete_pod(&mut self.engine, *id);
        }
        failed.len() as u64
    }

    fn api_fault_ends(&mut self, ending: ApiEnding) {
        let trouble = &mut self.api.trouble;
        match ending {
            ApiEnding::Slow => trouble.delay = 0,
            ApiEnding::Refuses => trouble.refuses = None,
            ApiEnding::WatchExpired => trouble.expired = false,
            ApiEnding::Down => {
                self.api.come_back(&mut self.engine);
                for node in 0..self.nodes.len() {
                    self.on(node, |node, cx| node.kubelet.lists_again(cx));
                }
            }
        }
    }

    fn reconcile(&mut self) {
        self.api.reconciling();
        if !self.api.is_up() {
            // looks again when the API server is back
            return;
        }
        for number in 0..self.nodes.len() {
            let labels = self.api.nodes.get(number).map(|node| Arc::clone(&node.labels));
            if let Some(labels) = labels {
                self.on(number, |node, cx| node.reconcile(cx, &labels));
            }
        }
    }

    fn after(&self, by: Duration) -> u64 {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.engine.now().saturating_add(by)
    }
}

/// GPUs as the fake driver shows them.
///
/// # Errors
/// An unknown board or too many of them.
pub(super) fn install(node: &str, gpus: &GpuNode) -> Result<Box<fake_gpu::Node>, StageError> {
    fake_gpu::Node::new(&gpus.spec(node))
        .map_err(|error| refused(format!("install a driver on node `{node}`"), &error))
}
