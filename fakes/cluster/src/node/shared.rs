//! What the tasks of one node have in common, and the few writes to the API that all of them make.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::podstatus;
use super::runtime::Runtime;
use super::settings::NodeSettings;
use crate::api::events::{EventText, record};
use crate::api::{ApiHandle, Key, Part, Resource, Selector, Timestamp};
use crate::kubelet::wire::Kubelet;

/// Who writes a node's Events.
const COMPONENT: &str = "kubelet";

/// One node, for as long as it exists; kubelets come and go.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) handle: ApiHandle,
    pub(super) settings: NodeSettings,
    pub(super) runtime: Runtime,
}

/// One kubelet's lifetime on a node.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) node: Arc<Shared>,
    pub(super) kubelet: Arc<Kubelet>,
    /// True once the kubelet is to end.
    pub(super) ending: watch::Receiver<bool>,
}

impl Life {
    /// Waits for the end of this kubelet.
    pub(super) async fn ended(&self) {
        // An error means that the sender is gone, which is an end as well.
        let _ = self.ending.clone().wait_for(|ending| *ending).await;
    }

    /// Sleeps; false when the kubelet ended first.
    pub(super) async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.ended() => false,
        }
    }
}

impl Shared {
    /// The pods bound to this node, in the order of their creation.
    pub(super) fn pods(&self) -> Vec<Arc<Value>> {
        let fields = format!("spec.nodeName={}", self.settings.name);
        let selector = Selector::parse(Resource::Pods, "", &fields).unwrap_or_default();
        self.handle.read(|store| store.pods_by_creation(&selector))
    }

    /// The pod as it is now; `None` when it is gone or another one took its name.
    pub(super) fn pod(&self, pod: &Value) -> Option<Arc<Value>> {
        let key = Key::of(Resource::Pods, pod);
        let now = self.handle.read(|store| store.get(&key)).ok()?;
        (now["metadata"]["uid"] == pod["metadata"]["uid"]).then_some(now)
    }

    /// Changes the status of a pod unless it is gone.
    pub(super) fn change_pod(&self, pod: &Value, change: impl FnOnce(&mut Value, Timestamp)) {
        let key = Key::of(Resource::Pods, pod);
        let outcome = self.handle.write(|store, now| {
            let mut changed = store.get(&key)?.as_ref().clone();
            if changed["metadata"]["uid"] != pod["metadata"]["uid"] {
                return Ok(());
            }
            change(&mut changed, now);
            store.update(&key, changed, Part::Status).map(|_| ())
        });
        if let Err(refused) = outcome {
            tracing::debug!(pod = key.name, %refused, "pod status not written");
        }
    }

    /// Writes a pod's status from its containers.
    pub(super) fn show_containers(&self, kubelet: &Kubelet, pod: &Value) {
        let present = self.runtime.of_pod(uid(pod));
        let health = |resource: &str, id: &str| kubelet.health_of(resource, id);
        self.change_pod(pod, |pod, now| {
            podstatus::running(pod, &present, &self.settings.address, health, now);
        });
    }

    /// Records an Event about an object of this node.
    pub(super) fn report(&self, about: &Value, warning: bool, reason: &str, message: &str) {
        let text = EventText { warning, reason, message, component: COMPONENT };
        self.handle.write(|store, now| record(store, about, text, now));
    }
}

/// A pod's uid.
pub(super) fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// True once a pod's deletion was asked for.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}
