//! What a plugin's watch of the pods on its Node is told, while it watches.

use std::sync::Arc;

use plugin_core::event::{BoundPod, PodPhase};

use super::super::engine::Engine;
use super::super::happening::{Happening, PodId, What};
use super::super::latency;
use super::pods::{Phase, uid};
use super::{Api, EPOCH_SECONDS, NAMESPACE};

impl Api {
    /// The plugin of a node watches the pods on it from now on, or not any more.
    pub(in crate::on::model) fn watch_pods(&mut self, node: usize, watches: bool) {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.pods_watched = watches;
        }
    }

    /// A pod on a node changed.
    pub(super) fn pods_changed(&mut self, engine: &mut Engine, node: Option<usize>) {
        if let Some(node) = node
            && self.nodes.get(node).is_some_and(|entry| entry.pods_watched)
        {
            self.tell_pods(engine, node);
        }
    }

    /// The pods of a node as they are now, on their way to its plugin.
    pub(in crate::on::model) fn tell_pods(&mut self, engine: &mut Engine, node: usize) {
        let Some(entry) = self.nodes.get(node) else { return };
        let pods = entry.bound.iter().filter_map(|id| self.bound_pod(*id)).collect();
        let what = What::BoundPodsSeen(Arc::new(pods));
        if let Some(entry) = self.nodes.get_mut(node) {
            engine.through(&mut entry.bound_watch, latency::WATCH, Happening::Node { node, what });
        }
    }

    fn bound_pod(&self, id: PodId) -> Option<BoundPod> {
        let pod = self.pods.get(&id)?;
        Some(BoundPod {
            uid: uid(id),
            namespace: NAMESPACE.to_owned(),
            name: pod.name.as_ref().to_owned(),
            phase: match pod.phase {
                Phase::Succeeded | Phase::Failed => PodPhase::Over,
                Phase::Running => PodPhase::Admitted,
                Phase::Pending if pod.admitted => PodPhase::Admitted,
                Phase::Pending => PodPhase::Bound,
            },
            deleting: pod.deleting,
            requests: pod.template.extended.clone(),
            owner: None,
            created_s: EPOCH_SECONDS,
        })
    }
}
