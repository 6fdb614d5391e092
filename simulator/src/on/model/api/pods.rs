//! The pods as API objects: who makes, binds, changes and removes them, and who is told.

use std::sync::Arc;
use std::time::Duration;

use fake_cluster::kubelet::PodRequest;

use super::super::engine::Engine;
use super::super::happening::{Happening, PodId, What};
use super::super::latency;
use super::template::Template;
use super::{Api, NAMESPACE, WAITING_WRITES_MAX};
use crate::scenario::Workload;
use crate::world::Condition;

/// The most pods at one time.
pub(in crate::on::model) const PODS_MAX: usize = 200_000;
/// Events of a pod that are kept: the first ones.
const EVENTS_MAX: usize = 20;

/// A pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::on::model) enum Phase {
    /// Not running yet.
    Pending,
    /// Its containers run.
    Running,
    /// Its containers ended well.
    Succeeded,
    /// It was refused.
    Failed,
}

impl Phase {
    /// As the API writes it.
    pub(in crate::on::model) fn text(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }

    /// Whether it will not change any more.
    pub(in crate::on::model) fn is_over(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// What becomes of a pod by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::on::model) enum Fate {
    /// It runs until somebody deletes it.
    Stays,
    /// Its containers end after this time, and it is deleted then, as a Job's pods are.
    EndsAfter(Duration),
}

/// A pod.
#[derive(Debug)]
pub(in crate::on::model) struct Pod {
    /// Its name.
    pub(in crate::on::model) name: Arc<str>,
    /// What the kubelet is told of it.
    pub(in crate::on::model) request: Arc<PodRequest>,
    /// What it was made from.
    pub(in crate::on::model) template: Arc<Template>,
    /// The number of the node it is bound to.
    pub(in crate::on::model) node: Option<usize>,
    /// Its phase.
    pub(in crate::on::model) phase: Phase,
    /// Its kubelet has written that it was admitted.
    pub(in crate::on::model) admitted: bool,
    /// `status.reason`.
    pub(in crate::on::model) reason: String,
    /// `status.message`.
    pub(in crate::on::model) message: String,
    /// Why it has no node.
    pub(in crate::on::model) unschedulable: Option<Arc<str>>,
    /// Events about it, `reason: message`.
    pub(in crate::on::model) events: Vec<String>,
    /// Somebody deleted it.
    pub(in crate::on::model) deleting: bool,
    /// What becomes of it.
    pub(in crate::on::model) fate: Fate,
    /// What it does on its GPUs.
    pub(in crate::on::model) work: Option<Arc<Workload>>,
    /// How often containers of it were started again.
    pub(in crate::on::model) restarts: u64,
    /// How its containers ended so far.
    pub(in crate::on::model) ended: Vec<String>,
}

impl Pod {
    /// The `PodScheduled` condition.
    pub(in crate::on::model) fn scheduled(&self) -> Option<Condition> {
        let condition = |status: &str, reason: &str, message: &str| Condition {
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        match (self.node, &self.unschedulable) {
            (Some(_), _) => Some(condition("True", "", "")),
            (None, Some(message)) => Some(condition("False", "Unschedulable", message)),
            (None, None) => None,
        }
    }

    /// Adds an event about it.
    pub(in crate::on::model) fn tell(&mut self, event: String) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }
}

/// A pod's `metadata.uid`.
pub(in crate::on::model) fn uid(id: PodId) -> String {
    format!("{:08x}", id.0)
}

/// A kubelet's news of a pod.
#[derive(Debug, Clone)]
pub(in crate::on::model) enum StatusWrite {
    /// It was admitted; its containers are being created.
    Admitted(PodId),
    /// Its containers run.
    Running(PodId),
    /// It was refused: reason and message.
    Failed(PodId, String, String),
    /// Its containers ended well.
    Succeeded(PodId),
    /// Its containers ended with an error.
    Ended(PodId),
    /// It was deleted and its containers have ended.
    Gone(PodId),
}

impl Api {
    /// Makes a pod.
    ///
    /// # Errors
    /// Its name is taken, or there are too many.
    pub(in crate::on::model) fn create_pod(
        &mut self,
        engine: &mut Engine,
        template: &Arc<Template>,
        name: &str,
        fate: Fate,
    ) -> Result<PodId, String> {
        if self.names.contains_key(name) {
            return Err(format!("pods \"{name}\" already exists"));
        }
        if self.pods.len() >= PODS_MAX {
            return Err(format!("there are {PODS_MAX} pods already"));
        }
        self.created += 1;
        let id = PodId(self.created);
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), id);
        let request = PodRequest {
            uid: uid(id),
            namespace: NAMESPACE.to_owned(),
            name: name.as_ref().to_owned(),
            containers: template.containers.clone(),
        };
        let request = Arc::new(request);
        let pod = Pod {
            name,
            request,
            template: Arc::clone(template),
            node: None,
            phase: Phase::Pending,
            admitted: false,
            reason: String::new(),
            message: String::new(),
            unschedulable: None,
            events: Vec::new(),
            deleting: false,
            fate,
            work: None,
            restarts: 0,
            ended: Vec::new(),
        };
        self.await_node(id, template);
        self.pods.insert(id, pod);
        self.changes.pod(id, None);
        self.want_schedule(engine);
        Ok(id)
    }

    /// Marks a pod as deleted; one that no kubelet knows is gone at once.
    pub(in crate::on::model) fn delete_pod(&mut self, engine: &mut Engine, id: PodId) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        match pod.node {
            Some(node) if !pod.phase.is_over() => {
                pod.deleting = true;
                self.want_replicas(engine);
                self.pods_changed(engine, Some(node));
                self.tell_kubelet(engine, node, id);
            }
            // an ended pod on a node goes at once, too; its kubelet hears of it
            Some(node) => {
                self.remove_pod(engine, id);
                self.tell_kubelet(engine, node, id);
            }
            None => self.remove_pod(engine, id),
        }
    }

    /// Takes a kubelet's news, now or when the API server is back.
    pub(in crate::on::model) fn write_status(&mut self, engine: &mut Engine, write: StatusWrite) {
        if !self.up {
            if self.waiting_writes.len() < WAITING_WRITES_MAX {
                self.waiting_writes.push(write);
            }
            return;
        }
        let (id, phase, reason, message) = match write {
            StatusWrite::Admitted(id) => return self.is_admitted(engine, id),
            StatusWrite::Running(id) => (id, Phase::Running, String::new(), String::new()),
            StatusWrite::Failed(id, reason, message) => (id, Phase::Failed, reason, message),
            StatusWrite::Succeeded(id) => (id, Phase::Succeeded, String::new(), String::new()),
            StatusWrite::Ended(id) => (id, Phase::Failed, String::new(), String::new()),
            StatusWrite::Gone(id) => return self.remove_pod(engine, id),
        };
        let Some(pod) = self.pods.get_mut(&id).filter(|pod| !pod.phase.is_over()) else {
            return;
        };
        pod.phase = phase;
        if phase == Phase::Failed && !reason.is_empty() {
            pod.tell(format!("{reason}: {message}"));
            if self.failed.len() < PODS_MAX {
                self.failed.push(id);
            }
        }
        (pod.reason, pod.message) = (reason, message);
        let (node, deleting) = (pod.node, pod.deleting);
        self.changes.pod(id, node);
        self.pods_changed(engine, node);
        if phase.is_over() {
            self.want_replicas(engine);
            self.release(engine, id);
            if deleting {
                self.remove_pod(engine, id);
            }
        }
    }

    /// Nothing that can be seen changes but the status that a plugin's watch of pods is told.
    fn is_admitted(&mut self, engine: &mut Engine, id: PodId) {
        if let Some(pod) = self.pods.get_mut(&id).filter(|pod| !pod.admitted) {
            pod.admitted = true;
            let node = pod.node;
            self.pods_changed(engine, node);
        }
    }

    /// Lets the kubelet of a node know of a pod's present state.
    pub(super) fn tell_kubelet(&mut self, engine: &mut Engine, node: usize, id: PodId) {
        if let Some(entry) = self.nodes.get_mut(node) {
            let what = What::PodSeen(id);
            engine.through(&mut entry.pod_watch, latency::WATCH, Happening::Node { node, what });
        }
    }

    fn remove_pod(&mut self, engine: &mut Engine, id: PodId) {
        let Some(pod) = self.pods.get(&id) else { return };
        let (node, over) = (pod.node, pod.phase.is_over());
        if !over {
            self.release(engine, id);
        }
        if let Some(pod) = self.pods.remove(&id) {
            self.names.remove(&pod.name);
            self.stop_waiting(id, &pod.template);
        }
        if let Some(entry) = node.and_then(|node| self.nodes.get_mut(node)) {
            entry.bound.remove(&id);
        }
        self.changes.pod(id, node);
        self.pods_changed(engine, node);
        self.want_replicas(engine);
    }
}
