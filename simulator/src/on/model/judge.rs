//! The invariants at every change: only what has changed is judged, straight from the model's parts and without a view of
//! the world.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fake_gpu::{ProcessKind, is_uninvited};

use super::cluster::Cluster;
use super::happening::PodId;
use super::latency;
use crate::invariants::{GpuName, Invariants, NodeSeen, PodSeen, config_of, is_gpu};
use crate::on::wire::driver;

/// Violations that are remembered.
const VIOLATIONS_MAX: usize = 100;

/// An invariant that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// How, in a sentence.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s: {}", self.at as f64 / latency::SECOND as f64, self.sentence)
    }
}

/// GPUs on which pods compute, with their compute modes.
fn in_use(gpus: &fake_gpu::Node) -> Vec<(&str, &str)> {
    if gpus.processes().is_empty() {
        return Vec::new();
    }
    let computes = |gpu: &&fake_gpu::Gpu| {
        gpus.processes_on(gpu.index)
            .any(|process| process.kind() != ProcessKind::MpsServer && !is_uninvited(process.pid))
    };
    gpus.gpus()
        .iter()
        .filter(computes)
        .map(|gpu| (gpu.uuid.as_str(), driver::compute_mode(gpu.mode())))
        .collect()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Judge {
    invariants: Invariants,
    /// The names of pods, which are gone from the cluster when they must be forgotten.
    names: BTreeMap<PodId, Arc<str>>,
    /// What was found.
    pub(super) found: Vec<Violation>,
}

impl Judge {
    /// Has seen nothing yet.
    pub(super) fn new(invariants: Invariants) -> Judge {
        Judge { invariants, names: BTreeMap::new(), found: Vec::new() }
    }

    /// The configurations change.
    pub(super) fn configs(&mut self, configs: &BTreeMap<String, String>) {
        self.invariants.configs(configs);
    }

    /// Judges what has changed since the last time.
    pub(super) fn look(&mut self, cluster: &mut Cluster) {
        let changed = cluster.api.changes.take_to_judge();
        for (number, labels) in changed.labels {
            if let Some(node) = cluster.nodes.get(number) {
                self.invariants.asks(&node.name, config_of(&labels));
            }
        }
        for number in changed.nodes {
            self.node(cluster, number);
        }
        for number in changed.gpus {
            self.modes(cluster, number);
        }
        for id in changed.pods {
            self.pod(cluster, id);
        }
    }

    fn modes(&mut self, cluster: &Cluster, number: usize) {
        let Some(node) = cluster.nodes.get(number) else { return };
        let in_use = node.host.gpus.as_deref().map(in_use).unwrap_or_default();
        let broken = self.invariants.modes(&node.name, &in_use);
        self.note(cluster, broken);
    }

    fn node(&mut self, cluster: &Cluster, number: usize) {
        let (Some(node), Some(entry)) = (cluster.nodes.get(number), cluster.api.nodes.get(number)) else {
            return;
        };
        let allocatable = entry.extended.iter().map(|(resource, count)| (resource.as_str(), *count));
        let gpus = node.host.gpus.as_deref();
        let broken = self.invariants.node(&NodeSeen {
            name: &node.name,
            config: config_of(&entry.labels),
            gpus: gpus.map_or(0, |gpus| gpus.gpus().iter().map(|gpu| 1 + gpu.mig_devices().count()).sum()),
            allocatable: allocatable.filter(|(resource, _)| is_gpu(resource)).collect(),
            lists: node.kubelet.lists(),
        });
        self.note(cluster, broken);
    }

    fn pod(&mut self, cluster: &Cluster, id: PodId) {
        let Some(pod) = cluster.api.pods.get(&id) else {
            if let Some(name) = self.names.remove(&id) {
                self.invariants.pod_gone(&name);
            }
            return;
        };
        let node = pod.node.and_then(|number| cluster.nodes.get(number));
        let gpus = node
            .and_then(|node| node.host.gpus.as_ref())
            .map_or_else(Vec::new, |gpus| gpus.gpus().iter().map(GpuName::of_driver).collect());
        self.names.entry(id).or_insert_with(|| Arc::clone(&pod.name));
        let broken = self.invariants.pod(&PodSeen {
            name: &pod.name,
            node: node.map(|node| node.name.as_str()),
            phase: pod.phase.text(),
            reason: &pod.reason,
            message: &pod.message,
            given: node.and_then(|node| node.kubelet.given(id)).cloned().unwrap_or_default(),
            gpus: &gpus,
        });
        self.note(cluster, broken);
    }

    fn note(&mut self, cluster: &Cluster, broken: Vec<String>) {
        let at = cluster.engine.now();
        let room = VIOLATIONS_MAX.saturating_sub(self.found.len());
        self.found.extend(broken.into_iter().take(room).map(|sentence| Violation { at, sentence }));
    }
}
