//! Pods on the node: seen, admitted, started, ended. Containers outlive the kubelet's process; the pod's API object hears
//! of it when the API server answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::api::pods::{StatusWrite, uid};
use super::super::engine::Context;
use super::super::happening::{PodId, What};
use super::super::latency::{self, Latency, SECOND};
use super::Kubelet;
use super::admission::Turn;
use crate::invariants::{Given, replicas_of};

/// How long until a kubelet that cannot list its pods tries again.
const LIST_AGAIN: Latency = Latency { least: SECOND / 2, most: SECOND };

/// Where a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Seen, and not admitted yet.
    Waiting,
    /// Admitted; its containers are being created.
    Starting,
    /// Its containers run.
    Running,
    /// Refused, or its containers have ended.
    Over,
}

/// A pod on this node.
#[derive(Debug)]
pub(super) struct Local {
    /// `metadata.uid`.
    pub(super) uid: String,
    /// The present kubelet process has seen it.
    pub(super) is_known: bool,
    pub(super) stage: Stage,
    pub(super) deleting: bool,
    /// Containers without a record have had their second allocation.
    pub(super) allocated_again: bool,
    pub(super) given: Given,
}

impl Local {
    /// Whether its containers run.
    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// The machine went down.
    pub(super) fn lose_containers(&mut self) {
        if self.stage == Stage::Running {
            self.stage = Stage::Starting;
        }
    }
}

impl Kubelet {
    /// Notes the devices of a pod: those of its admission, or those of a container that had no record when it started.
    pub(super) fn note_devices(&mut self, id: PodId) {
        let (Some(local), Some(running)) = (self.pods.get_mut(&id), &self.running) else {
            return;
        };
        let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (resource, more) in running.ledger.devices_of(&local.uid).into_values().flatten() {
            ids.entry(resource).or_default().extend(more);
        }
        for list in ids.values_mut() {
            list.sort();
            list.dedup();
        }
        let replicas = replicas_of(&ids, &running.ledger.chosen_from(&local.uid));
        if *local.given.ids != ids {
            local.given.ids = Arc::new(ids);
        }
        if !replicas.is_empty() {
            local.given.replicas = Arc::new(replicas);
        }
    }

    /// What a pod was given, as long as it is on this node.
    pub(in super::super) fn given(&self, id: PodId) -> Option<&Given> {
        self.pods.get(&id).map(|local| &local.given)
    }

    /// The first list of pods after a start. The answer is why the kubelet died, if it did.
    pub(in super::super) fn pods_listed(&mut self, cx: &mut Context<'_>, life: u32) -> Option<String> {
        self.living(life)?;
        if !cx.api.is_up() {
            cx.after(LIST_AGAIN, What::PodsListed(life));
            return None;
        }
        let bound: Vec<PodId> =
            cx.api.nodes.get(cx.node).into_iter().flat_map(|node| node.bound.iter().copied()).collect();
        let gone: Vec<PodId> = self.pods.keys().filter(|id| !bound.contains(id)).copied().collect();
        for id in bound.into_iter().chain(gone) {
            self.see(cx, id);
        }
        if let Some(running) = &mut self.running {
            running.listed = true;
        }
        self.admit_next(cx)
    }

    /// The API server is back: what was missed is listed.
    pub(in super::super) fn lists_again(&mut self, cx: &mut Context<'_>) {
        if self.running.is_some() {
            cx.after(latency::API, What::PodsListed(self.life));
        }
    }

    /// The watch tells of a pod. The answer is why the kubelet died, if it did.
    pub(in super::super) fn pod_seen(&mut self, cx: &mut Context<'_>, id: PodId) -> Option<String> {
        // before the first list nothing is watched, and without an API server the list that follows tells
        let watching = self.running.as_ref().is_some_and(|running| running.listed);
        if !watching {
            return None;
        }
        if !cx.api.is_up() {
            cx.after(LIST_AGAIN, What::PodSeen(id));
            return None;
        }
        self.see(cx, id);
        self.admit_next(cx)
    }

    fn see(&mut self, cx: &mut Context<'_>, id: PodId) {
        let Some(pod) = cx.api.pods.get(&id) else {
            return self.forget(id);
        };
        let (deleting, over) = (pod.deleting, pod.phase.is_over());
        let known = self.pods.get(&id).is_some_and(|local| local.is_known);
        if deleting {
            return self.delete(cx, id);
        }
        if over || known {
            return;
        }
        let local = self.pods.entry(id).or_insert_with(|| Local {
            uid: uid(id),
            is_known: true,
            stage: Stage::Waiting,
            deleting: false,
            allocated_again: false,
            given: Given::default(),
        });
        local.is_known = true;
        if let Some(running) = &mut self.running {
            running.queue.push_back(Turn { pod: id, container: None });
        }
    }

    /// The pod is gone from the API.
    fn forget(&mut self, id: PodId) {
        // what was never seen here, or is gone already, is nothing to the ledger
        let Some(local) = self.pods.remove(&id) else { return };
        self.stopped.push(id);
        if let Some(running) = &mut self.running {
            running.ledger.pod_removed(&local.uid);
        }
    }

    fn delete(&mut self, cx: &mut Context<'_>, id: PodId) {
        let being_admitted =
            self.running.as_ref().is_some_and(|r| r.admitting.as_ref().is_some_and(|a| a.turn.pod == id));
        let Some(local) = self.pods.get_mut(&id) else {
            return self.gone(cx, id);
        };
        // a new kubelet process admits what it finds, also what is being deleted: until its containers have ended, the pod
        // keeps its devices
        let is_news = !std::mem::replace(&mut local.is_known, true);
        local.deleting = true;
        if is_news && matches!(local.stage, Stage::Starting | Stage::Running) {
            if let Some(running) = &mut self.running {
                running.queue.push_back(Turn { pod: id, container: None });
            }
            return;
        }
        match local.stage {
            // the main loop comes to it after the admission
            Stage::Waiting if being_admitted => {}
            Stage::Waiting | Stage::Over => {
                if let Some(running) = &mut self.running {
                    running.queue.retain(|turn| turn.pod != id);
                }
                self.gone(cx, id);
            }
            Stage::Starting | Stage::Running => self.terminate(cx, id),
        }
    }

    fn terminate(&mut self, cx: &mut Context<'_>, id: PodId) {
        let at = cx.now() + nanos(self.timers.termination);
        cx.at(at, What::PodTerminated(self.life, id));
    }

    /// A deleted pod's containers have ended.
    pub(in super::super) fn pod_terminated(&mut self, cx: &mut Context<'_>, life: u32, id: PodId) {
        if self.living(life).is_some() {
            self.gone(cx, id);
        }
    }

    fn gone(&mut self, cx: &mut Context<'_>, id: PodId) {
        self.forget(id);
        cx.api.write_status(cx.engine, StatusWrite::Gone(id));
        cx.show();
    }

    /// Whether a pod's containers run here.
    pub(in super::super) fn runs(&self, id: PodId) -> bool {
        self.pods.get(&id).is_some_and(Local::is_running)
    }

    /// A pod's containers ended by themselves, for good.
    pub(in super::super) fn containers_ended(&mut self, id: PodId) {
        if let Some(running) = &mut self.running {
            running.ledger.pod_terminated(&uid(id));
        }
        if let Some(local) = self.pods.get_mut(&id) {
            local.stage = Stage::Over;
        }
        self.stopped.push(id);
    }

    /// The pod was refused.
    pub(super) fn is_over(&mut self, id: PodId) {
        if let Some(local) = self.pods.get_mut(&id) {
            local.stage = Stage::Over;
            local.given = Given::default();
        }
    }

    /// The pod has its devices.
    pub(super) fn admitted(&mut self, cx: &mut Context<'_>, id: PodId) {
        self.note_devices(id);
        let Some(local) = self.pods.get_mut(&id).filter(|_| self.running.is_some()) else {
            return;
        };
        let deleting = local.deleting;
        cx.api.write_status(cx.engine, StatusWrite::Admitted(id));
        if local.stage != Stage::Running {
            local.stage = Stage::Starting;
            if !deleting {
                cx.after(latency::CONTAINER_START, What::ContainersStart(self.life, id));
            }
        }
        if deleting {
            self.terminate(cx, id);
        }
        cx.api.changes.pod(id, Some(cx.node));
    }

    /// A pod's containers ended by themselves; as a Job's pod it is removed.
    pub(in super::super) fn pod_finishes(&mut self, cx: &mut Context<'_>, id: PodId) {
        let running = self.pods.get(&id).is_some_and(Local::is_running);
        if !running {
            return;
        }
        if self.running.is_none() {
            return cx.after(LIST_AGAIN, What::PodFinishes(id));
        }
        cx.api.write_status(cx.engine, StatusWrite::Succeeded(id));
        self.gone(cx, id);
    }
}

pub(super) fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
