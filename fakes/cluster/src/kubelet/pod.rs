//! What the kubelet is told about a pod and what it answers, so that its callers need not know the device manager.

use std::collections::BTreeMap;

/// Device IDs by container and resource.
pub type DevicesByContainer = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// How a container takes part in a pod's life; it decides who may reuse its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerKind {
    /// An init container that runs to its end: its devices pass on to later containers of the pod.
    Init,
    /// A restartable init container: it keeps its devices.
    Sidecar,
    /// An app container.
    App,
}

/// One container of a pod, as far as devices care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRequest {
    /// Its name, unique in the pod.
    pub name: String,
    /// When it runs.
    pub kind: ContainerKind,
    /// `resources.limits`, whole numbers; names without a device plugin are ignored.
    pub limits: BTreeMap<String, u64>,
}

/// A pod that was bound to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRequest {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Init containers and sidecars first, in the order of the pod spec, then app containers.
    pub containers: Vec<ContainerRequest>,
}

impl PodRequest {
    /// What the scheduler counts for this pod: the larger of its steady state (apps and sidecars) and the peak while
    /// an init container runs beside the sidecars started before it.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let mut steady: BTreeMap<String, u64> = BTreeMap::new();
        let mut peak: BTreeMap<String, u64> = BTreeMap::new();
        for container in &self.containers {
            for (resource, count) in &container.limits {
                let running = steady.entry(resource.clone()).or_default();
                let highest = peak.entry(resource.clone()).or_default();
                match container.kind {
                    ContainerKind::Init => *highest = (*highest).max(running.saturating_add(*count)),
                    ContainerKind::Sidecar | ContainerKind::App => {
                        *running = running.saturating_add(*count);
                        *highest = (*highest).max(*running);
                    }
                }
            }
        }
        peak
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerRequest> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// An admitted pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The device IDs that each container got, per resource.
    pub devices: DevicesByContainer,
}

/// A pod that the kubelet refused for good: its phase becomes Failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// `status.reason`: `UnexpectedAdmissionError` or `OutOf<resource>`.
    pub reason: String,
    /// `status.message`, as kubelet 1.36 writes it.
    pub message: String,
}
