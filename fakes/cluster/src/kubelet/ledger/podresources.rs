//! The content of the podresources service: how a plugin or an agent learns which pod holds which device.

use std::collections::BTreeMap;

use plugin_api::podresources as api;

use super::{KnownPod, Ledger};
use crate::kubelet::pod::ContainerKind;

/// No such pod, or it is not active any more; the text is kubelet 1.36's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pod {name} in namespace {namespace} not found")]
pub struct PodNotFound {
    name: String,
    namespace: String,
}

impl Ledger {
    /// Every active pod, also those without devices, after the devices of gone pods were freed.
    pub fn list_pod_resources(&mut self) -> Vec<api::PodResources> {
        self.release_stale();
        self.pods
            .iter()
            .filter(|(_, pod)| pod.active)
            .map(|(uid, pod)| self.pod_resources(uid, pod))
            .collect()
    }

    /// One active pod; frees nothing.
    pub fn get_pod_resources(&self, namespace: &str, name: &str) -> Result<api::PodResources, PodNotFound> {
        self.pods
            .iter()
            .find(|(_, pod)| pod.active && pod.request.name == name && pod.request.namespace == namespace)
            .map(|(uid, pod)| self.pod_resources(uid, pod))
            .ok_or_else(|| PodNotFound { name: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// All healthy devices, whether free or in use: despite its name no list of what is free.
    pub fn allocatable_devices(&self) -> Vec<api::ContainerDevices> {
        let mut entries = Vec::new();
        for (resource, healthy) in &self.devices.healthy {
            let Some(all) = self.devices.all.get(resource) else {
                continue;
            };
            for id in healthy {
                let nodes = all.get(id).and_then(|device| device.numa_nodes.as_deref());
                push_entries(&mut entries, resource, id, nodes);
            }
        }
        entries
    }

    /// Sidecars, then app containers; a plain init container is never listed.
    fn pod_resources(&self, uid: &str, pod: &KnownPod) -> api::PodResources {
        let of_kind = |kind: ContainerKind| pod.request.containers.iter().filter(move |c| c.kind == kind);
        let containers = of_kind(ContainerKind::Sidecar)
            .chain(of_kind(ContainerKind::App))
            .map(|container| api::ContainerResources {
                name: container.name.clone(),
                devices: self.container_devices(uid, &container.name),
                ..api::ContainerResources::default()
            })
            .collect();
        api::PodResources {
            name: pod.request.name.clone(),
            namespace: pod.request.namespace.clone(),
            containers,
            ..api::PodResources::default()
        }
    }

    fn container_devices(&self, uid: &str, container: &str) -> Vec<api::ContainerDevices> {
        let mut entries = Vec::new();
        let nothing = BTreeMap::new();
        for (resource, record) in self.records.container(uid, container).unwrap_or(&nothing) {
            for (id, nodes) in record.nodes_by_id() {
                let nodes = if nodes.is_empty() { None } else { Some(nodes.as_slice()) };
                push_entries(&mut entries, resource, id, nodes);
            }
        }
        entries
    }
}

/// One entry per device and NUMA node; a device without topology has one entry, one with an empty topology none.
fn push_entries(entries: &mut Vec<api::ContainerDevices>, resource: &str, id: &str, nodes: Option<&[i64]>) {
    let entry = |topology| api::ContainerDevices {
        resource_name: resource.to_owned(),
        device_ids: vec![id.to_owned()],
        topology,
    };
    match nodes {
        None => entries.push(entry(None)),
        Some(nodes) => entries.extend(
            nodes.iter().map(|id| entry(Some(api::TopologyInfo { nodes: vec![api::NumaNode { id: *id }] }))),
        ),
    }
}
