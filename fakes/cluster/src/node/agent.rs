//! One simulated node: joins a kubelet's device manager to the API, so that a bound pod becomes a container with
//! devices and the node shows what its plugins offer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::runtime::{ContainerSnapshot, Runtime};
use super::settings::{NodeSettings, NodeStartError, PodError};
use super::shared::{Life, Shared, uid};
use super::{pods, podstatus, status};
use crate::api::{ApiHandle, Key};
use crate::kubelet::ledger::RunningContainers;
use crate::kubelet::pod::ContainerKind;
use crate::kubelet::wire::{Kubelet, KubeletSettings, StartTrouble};

/// How long the tasks of a stopped kubelet may take to end before they are cut off.
const TASKS_END_MAX: Duration = Duration::from_secs(2);

/// A simulated node. Dropping it ends its kubelet without ceremony; [`NodeAgent::stop_kubelet`] is the orderly way.
#[derive(Debug)]
pub struct NodeAgent {
    node: Arc<Shared>,
    running: Option<RunningKubelet>,
    /// The containers that ran when the last kubelet stopped.
    left_running: Option<RunningContainers>,
    next_trouble: StartTrouble,
}

#[derive(Debug)]
struct RunningKubelet {
    life: Life,
    ending: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for RunningKubelet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl NodeAgent {
    /// Registers the node with the API and starts its kubelet.
    ///
    /// # Errors
    /// The kubelet's directories or sockets cannot be used, or the API refuses the Node object.
    pub async fn start(handle: ApiHandle, settings: NodeSettings) -> Result<NodeAgent, NodeStartError> {
        let node = Arc::new(Shared { handle, settings, runtime: Runtime::default() });
        let mut agent =
            NodeAgent { node, running: None, left_running: None, next_trouble: StartTrouble::default() };
        agent.start_kubelet().await?;
        Ok(agent)
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.node.settings.name
    }

    /// The kubelet's device manager, while it runs: its events, devices and registrations.
    pub fn kubelet(&self) -> Option<&Kubelet> {
        self.running.as_ref().map(|running| running.life.kubelet.as_ref())
    }

    /// Every container on the node, by pod uid and container name. Containers of removed pods are gone.
    pub fn containers(&self) -> Vec<ContainerSnapshot> {
        self.node.runtime.all()
    }

    /// The containers of one pod.
    pub fn containers_of(&self, pod_uid: &str) -> Vec<ContainerSnapshot> {
        self.node.runtime.of_pod(pod_uid).into_values().collect()
    }

    /// Lets the kubelet's next start go wrong.
    pub fn trouble_next_start(&mut self, trouble: StartTrouble) {
        self.next_trouble = trouble;
    }

    /// Starts the kubelet if it is stopped; running containers are admitted again first.
    ///
    /// # Errors
    /// As [`NodeAgent::start`].
    pub async fn start_kubelet(&mut self) -> Result<(), NodeStartError> {
        if self.running.is_some() {
            return Ok(());
        }
        let name = self.name().to_string();
        let mut settings = self.node.settings.kubelet.clone();
        settings.trouble = std::mem::take(&mut self.next_trouble);
        let reset = holds_no_plugin(&settings);
        if let Some(running) = &self.left_running {
            settings = settings.restarted(running.clone());
        }
        status::register(&self.node, reset)
            .map_err(|why| NodeStartError::Register { node: name.clone(), why })?;
        let kubelet =
            Kubelet::start(settings).await.map_err(|why| NodeStartError::Kubelet { node: name, why })?;
        let (ending, ended) = watch::channel(false);
        let life = Life { node: self.node.clone(), kubelet: Arc::new(kubelet), ending: ended };
        status::write(&life);
        let tasks = vec![tokio::spawn(pods::run(life.clone())), tokio::spawn(status::run(life.clone()))];
        self.running = Some(RunningKubelet { life, ending, tasks });
        Ok(())
    }

    /// Stops the kubelet; containers go on running and the Node object stays as it is.
    pub async fn stop_kubelet(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.ending.send_replace(true);
        self.left_running = Some(running.life.kubelet.stop().await);
        for task in &mut running.tasks {
            if tokio::time::timeout(TASKS_END_MAX, &mut *task).await.is_err() {
                task.abort();
            }
        }
    }

    /// Stops and starts the kubelet.
    ///
    /// # Errors
    /// As [`NodeAgent::start`].
    pub async fn restart_kubelet(&mut self) -> Result<(), NodeStartError> {
        self.stop_kubelet().await;
        self.start_kubelet().await
    }

    /// Lets all app containers of a pod end with `exit_code`. Where the pod's restart policy says so they are created again
    /// at once (no back-off), else the pod has succeeded or failed.
    ///
    /// # Errors
    /// There is no such pod running here, or the kubelet is stopped.
    pub async fn finish(&self, pod: &Key, exit_code: i32) -> Result<(), PodError> {
        let (life, object) = self.running_pod(pod)?;
        let policy = object["spec"]["restartPolicy"].as_str().unwrap_or("Always");
        let again = policy == "Always" || policy == "OnFailure" && exit_code != 0;
        for (spec, kind) in podstatus::containers(&object) {
            let name = spec["name"].as_str().unwrap_or_default();
            self.node.runtime.ended(uid(&object), name);
            life.kubelet.container_stopped(uid(&object), name);
            if again && kind == ContainerKind::App {
                self.create_again(life, &object, spec).await;
            }
        }
        if again {
            self.node.show_containers(&life.kubelet, &object);
        } else {
            self.node.change_pod(&object, |object, now| podstatus::ended(object, exit_code, now));
            life.kubelet.pod_terminated(uid(&object));
        }
        Ok(())
    }

    /// Ends one running container and creates it again, as after a crash.
    ///
    /// # Errors
    /// There is no such container running here, or the kubelet is stopped.
    pub async fn restart_container(&self, pod: &Key, container: &str) -> Result<(), PodError> {
        let (life, object) = self.running_pod(pod)?;
        let spec =
            podstatus::containers(&object).map(|(spec, _)| spec).find(|spec| spec["name"] == container);
        let not_running = || PodError::NotRunning { pod: pod.name.clone(), node: self.name().to_string() };
        let spec = spec.ok_or_else(not_running)?;
        if !self.node.runtime.ended(uid(&object), container) {
            return Err(not_running());
        }
        life.kubelet.container_stopped(uid(&object), container);
        self.create_again(life, &object, spec).await;
        self.node.show_containers(&life.kubelet, &object);
        Ok(())
    }

    async fn create_again(&self, life: &Life, object: &Value, spec: &Value) {
        if let Err(why) = pods::create(life, object, spec).await {
            self.node.report(object, true, "Failed", &format!("Error: {why}"));
        }
    }

    fn running_pod(&self, pod: &Key) -> Result<(&Life, Arc<Value>), PodError> {
        let node = self.name().to_string();
        let Some(running) = &self.running else {
            return Err(PodError::KubeletStopped { node });
        };
        let object = self.node.handle.read(|store| store.get(pod))?;
        if !self.node.runtime.runs(uid(&object)) {
            return Err(PodError::NotRunning { pod: pod.name.clone(), node });
        }
        Ok((&running.life, object))
    }
}

/// True when no plugin has left a file in the device plugin directory: then a starting kubelet zeroes the node's
/// extended resources.
fn holds_no_plugin(settings: &KubeletSettings) -> bool {
    let Ok(entries) = std::fs::read_dir(&settings.device_plugins_dir) else {
        return true;
    };
    entries.flatten().all(|entry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_dir || entry.file_name().to_string_lossy().starts_with('.')
    })
}
