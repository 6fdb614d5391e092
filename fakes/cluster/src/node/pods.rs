//! A kubelet's main loop: admits the pods bound to its node one at a time, in the order of their creation, and has
//! their containers created and ended. A hung Allocate holds up everything here, as on a real node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::cdi;
use super::nodestatus;
use super::podstatus;
use super::runtime::ContainerSnapshot;
use super::shared::{Life, is_terminating, uid};
use crate::api::{DeleteOptions, Key, Resource};
use crate::kubelet::pod::ContainerKind;
use crate::kubelet::wire::AdmitError;
use crate::scheduler::fit::has_ended;

/// Runs until the kubelet ends.
pub(super) async fn run(life: Life) {
    let mut pods = Pods { life, admitted: BTreeSet::new(), busy: BTreeSet::new(), workers: JoinSet::new() };
    let mut changes = pods.life.node.handle.subscribe();
    let mut known_all = false;
    loop {
        changes.mark_unchanged();
        match pods.step().await {
            Step::Again => continue,
            Step::KubeletGone => break,
            Step::Settled => {}
        }
        if !known_all {
            pods.life.kubelet.sources_ready();
            known_all = true;
        }
        tokio::select! {
            () = pods.life.ended() => break,
            changed = changes.changed() => if changed.is_err() { break },
            Some(done) = pods.workers.join_next() => pods.note(done),
        }
    }
    pods.workers.shutdown().await;
}

/// What one look at the pods led to.
enum Step {
    /// A pod was admitted or refused: look again, things may have changed meanwhile.
    Again,
    /// Nothing to do but wait.
    Settled,
    /// This kubelet is no more.
    KubeletGone,
}

struct Pods {
    life: Life,
    /// Uids of pods this kubelet has decided about. Bounded by the pods bound to the node.
    admitted: BTreeSet<String>,
    /// Uids of pods with a worker: at most one each.
    busy: BTreeSet<String>,
    workers: JoinSet<String>,
}

impl Pods {
    async fn step(&mut self) -> Step {
        let pods = self.life.node.pods();
        self.forget_gone(&pods);
        for pod in &pods {
            let known = self.admitted.contains(uid(pod));
            if self.busy.contains(uid(pod)) {
                continue;
            }
            if is_terminating(pod) {
                self.work(pod, |life, pod| async move { terminate(&life, &pod).await });
            } else if !known && !has_ended(pod) {
                self.admitted.insert(uid(pod).to_string());
                return self.admit(pod).await;
            }
        }
        Step::Settled
    }

    /// Pods deleted without grace are gone from the API before their containers have ended.
    fn forget_gone(&mut self, pods: &[Arc<Value>]) {
        let present: BTreeSet<&str> = pods.iter().map(|pod| uid(pod)).collect();
        let known = self.life.node.runtime.uids().into_iter().chain(self.admitted.iter().cloned());
        let gone: BTreeSet<String> = known.filter(|uid| !present.contains(uid.as_str())).collect();
        for uid in gone.into_iter().filter(|uid| !self.busy.contains(uid)) {
            self.life.kubelet.pod_terminated(&uid);
            self.life.kubelet.pod_removed(&uid);
            self.life.node.runtime.remove(&uid);
            self.admitted.remove(&uid);
        }
    }

    async fn admit(&mut self, pod: &Arc<Value>) -> Step {
        let life = &self.life;
        let node = life.node.handle.read(|store| store.get(&Key::node(&life.node.settings.name)));
        if let Ok(node) = node {
            life.kubelet.set_node_allocatable(nodestatus::extended_allocatable(&node));
        }
        match life.kubelet.admit(&podstatus::request(pod)).await {
            Ok(_) if life.node.runtime.runs(uid(pod)) => life.node.show_containers(&life.kubelet, pod),
            Ok(_) => self.work(pod, |life, pod| async move { create_containers(&life, &pod).await }),
            Err(AdmitError::Rejected(rejection)) => {
                life.node.runtime.all_ended(uid(pod));
                life.node.change_pod(pod, |pod, now| podstatus::rejected(pod, &rejection, now));
                life.node.report(pod, true, &rejection.reason, &rejection.message);
            }
            Err(AdmitError::KubeletGone) => return Step::KubeletGone,
        }
        Step::Again
    }

    fn work<F>(&mut self, pod: &Arc<Value>, task: impl FnOnce(Life, Arc<Value>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let uid = uid(pod).to_string();
        self.busy.insert(uid.clone());
        let task = task(self.life.clone(), pod.clone());
        self.workers.spawn(async move {
            task.await;
            uid
        });
    }

    fn note(&mut self, done: Result<String, tokio::task::JoinError>) {
        match done {
            Ok(uid) => {
                self.busy.remove(&uid);
            }
            Err(why) => tracing::error!(%why, "a pod's worker broke off"),
        }
    }
}

/// Creates a pod's containers in order, trying again after failures, until they run or the pod is to go.
async fn create_containers(life: &Life, pod: &Arc<Value>) {
    loop {
        match create_all(life, pod).await {
            Ok(()) => return life.node.show_containers(&life.kubelet, pod),
            Err((container, why)) => {
                life.node.change_pod(pod, |pod, _| podstatus::waiting(pod, &container, &why));
                life.node.report(pod, true, "Failed", &format!("Error: {why}"));
            }
        }
        if !wait_for_retry(life, pod).await {
            return;
        }
    }
}

/// Waits for the next try; false when the pod is to go or the kubelet ends.
async fn wait_for_retry(life: &Life, pod: &Arc<Value>) -> bool {
    let is_unwanted = || life.node.pod(pod).is_none_or(|pod| is_terminating(&pod));
    let mut changes = life.node.handle.subscribe();
    let retry = tokio::time::Instant::now() + life.node.settings.start_retry;
    loop {
        if is_unwanted() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep_until(retry) => return !is_unwanted(),
            () = life.ended() => return false,
            changed = changes.changed() => if changed.is_err() { return false },
        }
    }
}

async fn create_all(life: &Life, pod: &Arc<Value>) -> Result<(), (String, String)> {
    for (spec, kind) in podstatus::containers(pod) {
        let name = spec["name"].as_str().unwrap_or_default();
        if life.node.runtime.of_pod(uid(pod)).get(name).is_some_and(|container| container.running) {
            continue;
        }
        create(life, pod, spec).await.map_err(|why| (name.to_string(), why))?;
        if kind == ContainerKind::Init {
            // Init containers have nothing to do here: they end as soon as they run.
            life.node.runtime.ended(uid(pod), name);
            life.kubelet.container_stopped(uid(pod), name);
        }
    }
    Ok(())
}

/// Creates one container, also again after its end.
pub(super) async fn create(life: &Life, pod: &Value, spec: &Value) -> Result<(), String> {
    let name = spec["name"].as_str().unwrap_or_default();
    let options = life.kubelet.start_container(uid(pod), name).await.map_err(|why| why.to_string())?;
    let injected = cdi::inject(&cdi::read(&life.node.settings.cdi_spec_dirs), &cdi::names(&options))?;
    let ids = life.kubelet.devices_of(uid(pod)).remove(name).unwrap_or_default();
    let chosen_from = life.kubelet.chosen_from(uid(pod));
    let created =
        ContainerSnapshot { chosen_from, injected, ..ContainerSnapshot::new(pod, spec, &options, ids) };
    life.node.runtime.created(created);
    life.node.report(pod, false, "Started", &format!("Started container {name}"));
    Ok(())
}

/// Ends a pod's containers within its grace period and confirms the deletion.
async fn terminate(life: &Life, pod: &Arc<Value>) {
    let node = &life.node;
    if node.runtime.runs(uid(pod)) {
        node.report(pod, false, "Killing", "Stopping all containers of the pod");
        let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
        let grace = Duration::from_secs(grace).mul_f64(node.settings.grace_scale.max(0.0));
        if !life.sleep(node.settings.stop_takes.min(grace)).await {
            return;
        }
    }
    for container in node.runtime.of_pod(uid(pod)).keys() {
        node.runtime.ended(uid(pod), container);
        life.kubelet.container_stopped(uid(pod), container);
    }
    life.kubelet.pod_terminated(uid(pod));
    node.change_pod(pod, |pod, now| podstatus::ended(pod, 0, now));
    let key = Key::of(Resource::Pods, pod);
    let confirm = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: Some(uid(pod).to_string()),
        resource_version: None,
    };
    if let Err(refused) = node.handle.write(|store, now| store.delete(&key, &confirm, now)) {
        tracing::debug!(pod = key.name, %refused, "the pod was gone before its deletion was confirmed");
    }
    life.kubelet.pod_removed(uid(pod));
    node.runtime.remove(uid(pod));
}
