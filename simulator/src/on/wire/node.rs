//! One simulated node: its paths, driver, kubelet with node agent, config volume, and how its programs are started.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fake_cluster::api::{ApiHandle, Key, Resource};
use fake_cluster::kubelet::ledger::Order;
use fake_cluster::kubelet::wire::{Kubelet, KubeletSettings, StartTrouble};
use fake_cluster::node::config_volume::ConfigVolume;
use fake_cluster::node::settings::PodError;
use fake_cluster::node::{NodeAgent, NodeSettings};
use fake_gpu::NodeFile;

use super::binaries::Binaries;
use super::books::Books;
use super::driver::Driver;
use super::kubelet_deaths::KubeletLives;
use super::layout::NodeLayout;
use super::other_plugins::OtherPlugins;
use super::process::Launch;
use super::programs::{MPS, Name, PLUGIN, Programs};
use super::{config_map, deployed, launch, objects, refused};
use crate::invariants::{count_by_gpu, replicas_of};
use crate::on::{Done, StageError};
use crate::scenario::{GpuNode, NodeSpec, Scenario};
use crate::world::{ContainerView, DeviceCounts};

/// Instead of an MPS root, whose paths are shortened for people: no path holds it.
const NOT_SHORTENED: &str = "\0";

/// What a node is made from.
pub(super) struct Setting<'s> {
    /// The scenario.
    pub(super) scenario: &'s Scenario,
    /// The node in it.
    pub(super) spec: &'s NodeSpec,
    /// The build products.
    pub(super) binaries: &'s Binaries,
    /// The run's temporary directory.
    pub(super) directory: &'s Path,
    /// The run's kept directory.
    pub(super) run_dir: &'s Path,
    /// The API server's kubeconfig.
    pub(super) kubeconfig: &'s Path,
    /// Seed of this node's kubelet.
    pub(super) seed: u64,
    /// Whether DaemonSets of the API server say what runs, and not the laboratory.
    pub(super) deployed: bool,
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name.
    pub(super) name: String,
    /// Its paths.
    pub(super) layout: NodeLayout,
    /// Its driver, if one is installed.
    pub(super) driver: Option<Driver>,
    binaries: Binaries,
    pub(super) launches: BTreeMap<Name, Launch>,
    pub(super) programs: Programs,
    config: Option<ConfigVolume>,
    agent: NodeAgent,
    pub(super) lives: KubeletLives,
    pub(super) other_plugins: OtherPlugins,
    books: Books,
    pub(super) mps_root: String,
}

/// What a pod was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Settings by container.
    pub(super) containers: BTreeMap<String, ContainerView>,
    /// Device ids by resource.
    pub(super) ids: BTreeMap<String, Vec<String>>,
    /// How many devices each of its GPUs had when they were handed out.
    pub(super) replicas: BTreeMap<String, u64>,
    /// How often its containers were started again.
    pub(super) restarts: u64,
}

impl Node {
    /// Makes paths and driver, then starts the kubelet and the node agent.
    ///
    /// # Errors
    /// What could not be made or started.
    pub(super) async fn start(
        setting: &Setting<'_>,
        api: &ApiHandle,
        programs: &Programs,
    ) -> Result<Node, StageError> {
        let Setting { scenario, spec, binaries, .. } = setting;
        let name = spec.name.clone();
        let layout = NodeLayout::create(setting.directory, setting.run_dir, &name)
            .map_err(|(path, error)| StageError::File { what: "create directory", path, error })?;
        let driver = match &spec.gpus {
            Some(gpus) => Some(Driver::install(&name, gpus, &layout, binaries)?),
            None => None,
        };
        let key = Key::new(Resource::ConfigMaps, config_map::NAMESPACE, config_map::NAME);
        let config =
            ConfigVolume::start(api.clone(), key, layout.config.clone(), scenario.timers.config_map_sync)
                .map_err(|error| StageError::File {
                    what: "project the config map into",
                    path: layout.config.clone(),
                    error,
                })?;
        let plugin = launch::plugin(binaries, &layout, &name, setting.kubeconfig, &scenario.plugin);
        let mps = launch::mps(binaries, &layout, &scenario.mps_args);
        let named = |program| Name { node: name.clone(), program };
        let launches = BTreeMap::from([(named(PLUGIN), plugin), (named(MPS), mps)]);
        let agent = NodeAgent::start(api.clone(), agent_settings(setting, &layout))
            .await
            .map_err(|error| refused(format!("start node `{name}`"), &error))?;
        Ok(Node {
            mps_root: deployed::mps_root(&layout, setting.deployed),
            agent,
            lives: KubeletLives { starts: 1, ..KubeletLives::default() },
            other_plugins: OtherPlugins::start(spec, binaries, &layout)?,
            books: Books::default(),
            layout,
            driver,
            binaries: (*binaries).clone(),
            launches,
            programs: programs.clone(),
            config: Some(config),
            name,
        })
    }

    /// Whether a program lives, and how often it was started.
    pub(super) fn status(&self, program: &'static str) -> (bool, u64) {
        self.programs.status(&self.program(program))
    }

    /// What the kubelet gave a pod's containers, and its device ids by resource.
    pub(super) fn given(&self, uid: &str) -> Given {
        let mut views = BTreeMap::new();
        let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut restarts = 0;
        let mut chosen_from = Vec::new();
        for container in self.agent.containers_of(uid) {
            restarts += u64::from(container.restarts);
            for (resource, found) in &container.ids {
                ids.entry(resource.clone()).or_default().extend(found.iter().cloned());
            }
            chosen_from.extend(container.chosen_from.clone());
            views.insert(container.container.clone(), objects::container(&container, &self.mps_root));
        }
        for found in ids.values_mut() {
            found.sort();
            found.dedup();
        }
        let replicas = replicas_of(&ids, &chosen_from);
        Given { containers: views, ids, replicas, restarts }
    }

    /// The kubelet's newest device lists, counted.
    pub(super) fn lists(&self) -> DeviceCounts {
        let lists = self.agent.kubelet().map(|kubelet| kubelet.lists()).unwrap_or_default();
        lists.into_iter().map(|(resource, list)| (resource, count_by_gpu(&list))).collect()
    }

    /// Resources with a live endpoint → listed devices; resources → registrations so far.
    pub(super) fn registrations(&mut self) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
        if let Some(kubelet) = self.agent.kubelet() {
            self.books.read(kubelet);
        }
        (self.books.registered(), self.books.registrations())
    }

    /// Stops the kubelet and starts it again on the same directories.
    ///
    /// # Errors
    /// It does not start again.
    pub(super) async fn restart_kubelet(&mut self) -> Result<Done, StageError> {
        self.stop_kubelet().await;
        self.start_kubelet().await?;
        Ok(Done::Did)
    }

    /// Stops the kubelet and starts it with trouble: its socket refuses connections first, or PodResources lists nothing.
    ///
    /// # Errors
    /// It does not start again.
    pub(super) async fn restart_kubelet_with(
        &mut self,
        listens_after: Duration,
        lists_nothing_for: Duration,
    ) -> Result<Done, StageError> {
        self.stop_kubelet().await;
        self.agent.trouble_next_start(StartTrouble { listens_after, lists_nothing_for });
        self.start_kubelet().await?;
        Ok(Done::Did)
    }

    /// The kubelet's device manager, until it is stopped.
    pub(super) fn kubelet(&self) -> Option<&Kubelet> {
        self.agent.kubelet()
    }

    /// Stops the kubelet; containers go on running.
    pub(super) async fn stop_kubelet(&mut self) {
        self.registrations();
        self.agent.stop_kubelet().await;
        self.books.turn();
    }

    /// Starts the kubelet if it is stopped.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn start_kubelet(&mut self) -> Result<(), StageError> {
        let was_stopped = self.agent.kubelet().is_none();
        let started = self.agent.start_kubelet().await;
        self.lives.starts += u64::from(was_stopped && started.is_ok());
        started.map_err(|error| refused(format!("start the kubelet of node `{}`", self.name), &error))
    }

    /// What the first of a pod's containers that runs was given, with paths as they are on this machine.
    pub(super) fn running_container(&self, uid: &str) -> Option<ContainerView> {
        let containers = self.agent.containers_of(uid);
        let running = containers.iter().find(|container| container.running)?;
        Some(objects::container(running, NOT_SHORTENED))
    }

    /// Lets the containers of a pod end.
    ///
    /// # Errors
    /// The pod does not run here.
    pub(super) async fn finish(&mut self, pod: &Key, exit_code: i32) -> Result<(), PodError> {
        self.agent.finish(pod, exit_code).await
    }

    /// The state of its GPUs.
    ///
    /// # Errors
    /// It has no driver.
    pub(super) fn driver_state(&self, what: &str) -> Result<&NodeFile, StageError> {
        let driver = self.driver.as_ref();
        driver.map(Driver::state).ok_or_else(|| refused(what, &"the node has no driver"))
    }

    /// Installs a driver where none is.
    ///
    /// # Errors
    /// There is one already, or it cannot be installed.
    pub(super) fn install_driver(&mut self, gpus: &GpuNode) -> Result<Done, StageError> {
        if self.driver.is_some() {
            return Err(refused(
                format!("install a driver on node `{}`", self.name),
                &"there is one already",
            ));
        }
        self.driver = Some(Driver::install(&self.name, gpus, &self.layout, &self.binaries)?);
        Ok(Done::Did)
    }

    /// Stops the kubelet, the node agent and the config volume.
    pub(super) async fn stop(&mut self) {
        self.other_plugins.stop().await;
        self.agent.stop_kubelet().await;
        self.config = None;
    }

    /// What is left behind on this node.
    pub(super) fn leaks(&self) -> Vec<String> {
        let mut leaks = self.driver.as_ref().map(|driver| driver.leaks(&self.name)).unwrap_or_default();
        let sockets = std::fs::read_dir(&self.layout.device_plugins).into_iter().flatten().flatten();
        for entry in sockets {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".sock") && name != "kubelet.sock" && !name.starts_with(launch::OTHER_SOCKET) {
                leaks.push(format!("socket `{name}` of node `{}`", self.name));
            }
        }
        leaks
    }
}

fn agent_settings(setting: &Setting<'_>, layout: &NodeLayout) -> NodeSettings {
    let timers = &setting.scenario.timers;
    let mut kubelet = KubeletSettings::new(&layout.device_plugins, &layout.pod_resources);
    kubelet.ledger.endpoint_stop_grace = timers.endpoint_grace;
    kubelet.register_after = timers.registration;
    kubelet.ledger.order = Order::Seeded(setting.seed);
    kubelet.ledger.profile = setting.spec.kubelet.profile();
    let mut settings = NodeSettings::new(&setting.spec.name, kubelet);
    settings.labels = setting.spec.labels.clone();
    settings.cdi_spec_dirs = vec![layout.cdi.clone()];
    settings.status_every = timers.node_status_update;
    settings.stop_takes = timers.termination;
    settings
}
