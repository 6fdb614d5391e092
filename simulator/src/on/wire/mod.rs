//! The wire stage: the real plugin binary against a fake driver library and a simulated cluster, over real sockets.
//!
//! Per run a temporary directory with short paths for sockets (`layout`), an API server and a scheduler (`cluster`),
//! and per node a kubelet with its node agent (`node`), the fake driver (`driver`), and the plugin's two processes
//! (`launch`, `programs`, `process`), started by the
//! simulated DaemonSet controller (`daemons`), or by what DaemonSets of the API server say (`deployed`). What can be seen from the outside
//! becomes the world's view (`look`, `objects`, `logs`).

mod actions;
pub mod binaries;
mod books;
mod capabilities;
mod config_map;
mod daemons;
mod deployed;
pub(super) mod driver;
mod end;
mod faults;
mod http;
mod kubelet_deaths;
mod launch;
mod layout;
mod logs;
pub(super) mod look;
mod node;
mod node_programs;
pub(super) mod objects;
mod other_plugins;
mod process;
mod programs;
mod spawn;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fake_cluster::api::{ApiHandle, ApiServer, kubeconfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub use binaries::Binaries;
use daemons::Daemons;
pub use deployed::cannot_play;
use deployed::{Deployment, examine};
use node::Node;
use programs::{MPS, PLUGIN, Programs};

use super::{Done, Stage, StageError};
use crate::run::RunOptions;
use crate::scenario::{Scenario, Verb};
use crate::world::World;

/// The namespace of scenario pods.
const NAMESPACE: &str = "default";
/// How many lines of what `doctor` and probes said are shown: all.
const ASKED_LINES: usize = 100;
/// How often ends of faults and the work of pods are seen to while time passes.
const TEND_EVERY: Duration = Duration::from_millis(20);

/// A simulated cluster with the real plugin on its nodes.
#[derive(Debug)]
pub struct WireStage {
    begun: std::time::Instant,
    /// What the seed has come to; drawn from for probabilities.
    random: u64,
    /// Faults that end by themselves.
    endings: Vec<faults::Ending>,
    workloads: workloads::Workloads,
    /// How long after its death a kubelet is started again.
    kubelet_restart: Duration,
    temporary: Option<TempDir>,
    directory: PathBuf,
    kubeconfig: PathBuf,
    keep: bool,
    api: ApiHandle,
    server: Option<ApiServer>,
    scheduler: JoinHandle<()>,
    programs: Programs,
    nodes: Vec<Node>,
    daemons: Option<Daemons>,
}

impl WireStage {
    /// Starts API server, scheduler and nodes; the DaemonSet controllers then start the plugin. With `manifests` they start
    /// what these objects say, and what is applied later; the story's own configurations are then not used.
    ///
    /// # Errors
    /// What could not be started; everything started before is stopped again.
    pub async fn start(
        scenario: &Scenario,
        binaries: &Binaries,
        options: &RunOptions,
        run_dir: &Path,
        manifests: Option<&[Value]>,
    ) -> Result<WireStage, StageError> {
        let temporary = layout::temporary().map_err(|error| StageError::File {
            what: "make a temporary directory in",
            path: std::env::temp_dir(),
            error,
        })?;
        let api = ApiHandle::empty_cluster().map_err(|error| refused("start an empty cluster", &error))?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = ApiServer::start(api.clone(), address)
            .await
            .map_err(|error| refused("start the API server", &error))?;
        let directory = temporary.path().to_path_buf();
        let kubeconfig = directory.join("kubeconfig");
        kubeconfig::write(&kubeconfig, &server.url()).map_err(|error| StageError::File {
            what: "write",
            path: kubeconfig.clone(),
            error,
        })?;
        let scheduler = tokio::spawn(fake_cluster::scheduler::run(api.clone()));
        let mut stage = WireStage {
            begun: std::time::Instant::now(),
            random: options.seed,
            endings: Vec::new(),
            workloads: workloads::Workloads::new(scenario.timers.crash_back_off),
            kubelet_restart: scenario.timers.kubelet_restart,
            temporary: Some(temporary),
            directory,
            kubeconfig,
            keep: options.keep,
            api,
            server: Some(server),
            scheduler,
            programs: Programs::default(),
            nodes: Vec::new(),
            daemons: None,
        };
        match stage.start_nodes(scenario, binaries, options, run_dir, manifests).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.finish().await;
                Err(error)
            }
        }
    }

    async fn start_nodes(
        &mut self,
        scenario: &Scenario,
        binaries: &Binaries,
        options: &RunOptions,
        run_dir: &Path,
        manifests: Option<&[Value]>,
    ) -> Result<(), StageError> {
        match manifests {
            Some(objects) => deployed::apply(&self.api, objects)?,
            None => config_map::create(&self.api, &scenario.configs)?,
        }
        for (index, spec) in (0_u64..).zip(&scenario.nodes) {
            let setting = node::Setting {
                scenario,
                spec,
                binaries,
                directory: &self.directory,
                run_dir,
                kubeconfig: &self.kubeconfig,
                seed: options.seed.wrapping_add(index),
                deployed: manifests.is_some(),
            };
            self.nodes.push(Node::start(&setting, &self.api, &self.programs).await?);
        }
        let (api, programs) = (&self.api, &self.programs);
        self.daemons = Some(if manifests.is_some() {
            let url = self.server.as_ref().map(ApiServer::url).unwrap_or_default();
            let how = (binaries, self.directory.as_path(), url.as_str());
            Daemons::Deployed(Deployment::start(api, programs, &self.nodes, how, scenario)?)
        } else {
            let launches = self.nodes.iter().flat_map(|node| node.launches.clone()).collect();
            Daemons::Fixed(daemons::start(api, programs, &launches))
        });
        Ok(())
    }

    /// The kubeconfig file of the API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Asks `doctor` and the probes of what manifests started, once the story is told.
    pub async fn examine(&self) {
        if let Some(Daemons::Deployed(deployment)) = &self.daemons {
            deployment.examine().await;
        }
    }

    /// The ends of all logs, by `node/process`.
    pub fn log_ends(&self, lines: usize) -> Vec<(String, String)> {
        let mut ends = Vec::new();
        for node in &self.nodes {
            let own = [PLUGIN, MPS].map(|program| (program.to_owned(), lines));
            let asked = [PLUGIN, MPS].map(|program| (examine::log_of(program), ASKED_LINES));
            for (program, lines) in own.into_iter().chain(asked) {
                let end = logs::end(&node.layout.log(&program), lines);
                if !end.is_empty() {
                    ends.push((format!("{}/{program}", node.name), end));
                }
            }
        }
        ends
    }
}

impl Stage for WireStage {
    async fn act(&mut self, verb: &Verb) -> Result<Done, StageError> {
        self.perform(verb).await
    }

    async fn look(&mut self) -> Result<World, StageError> {
        self.tend().await;
        self.view().await
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
        let end = tokio::time::Instant::now() + duration;
        // ends because every turn but the last takes `TEND_EVERY`
        while self.has_future() && tokio::time::Instant::now() < end {
            self.tend().await;
            let next = tokio::time::Instant::now() + TEND_EVERY;
            tokio::time::sleep_until(next.min(end)).await;
        }
        tokio::time::sleep_until(end).await;
    }

    async fn changed(&mut self, at_most: Duration) {
        self.tend().await;
        let mut changes = self.api.subscribe();
        changes.mark_unchanged();
        // A bound that passes without a change is the usual case: drivers and processes do not notify.
        let _passed = tokio::time::timeout(at_most, changes.changed()).await;
    }

    fn deaths(&mut self) -> Vec<String> {
        self.programs.deaths()
    }

    async fn finish(&mut self) -> Vec<String> {
        self.end_faults().await;
        self.end_workloads();
        self.programs.finish();
        if let Some(daemons) = self.daemons.take() {
            daemons.stop().await;
        }
        let mut leaks = self.programs.deaths();
        for node in &mut self.nodes {
            node.stop().await;
        }
        self.scheduler.abort();
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        leaks.extend(self.leftovers().await);
        process::kill_all_with(&self.directory);
        leaks.extend(self.nodes.iter().flat_map(Node::leaks));
        if let Some(temporary) = self.temporary.take() {
            if self.keep {
                let kept = temporary.keep();
                eprintln!("temporary directory kept: {}", kept.display());
            } else if let Err(error) = temporary.close() {
                leaks.push(format!("temporary directory `{}`: {error}", self.directory.display()));
            }
        }
        leaks
    }
}

/// The next number of a seeded sequence (SplitMix64).
pub(super) fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A refusal of a part of the cluster.
fn refused(what: impl Into<String>, error: &dyn std::fmt::Display) -> StageError {
    StageError::Cluster { what: what.into(), error: error.to_string() }
}
