//! The kubelet's messages to and from the core's values, so that protobuf types end at this file.

use std::collections::BTreeMap;

use plugin_api::deviceplugin as pb;
use plugin_api::podresources as pod;
use plugin_api::{HEALTHY, UNHEALTHY};
use plugin_core::allocate::Allocation;
use plugin_core::event::Holding;
use plugin_core::view::Device;

/// A whole device list.
pub(crate) fn list_to_proto<'a>(devices: impl Iterator<Item = &'a Device>) -> pb::ListAndWatchResponse {
    pb::ListAndWatchResponse { devices: devices.map(device_to_proto).collect() }
}

fn device_to_proto(device: &Device) -> pb::Device {
    let node = |id: u32| pb::TopologyInfo { nodes: vec![pb::NumaNode { id: i64::from(id) }] };
    pb::Device {
        id: device.id.clone(),
        health: if device.healthy { HEALTHY } else { UNHEALTHY }.to_owned(),
        topology: device.numa_node.map(node),
    }
}

/// What one container gets.
pub(crate) fn allocation_to_proto(allocation: Allocation) -> pb::ContainerAllocateResponse {
    let mount = |m: plugin_core::allocate::Mount| pb::Mount {
        container_path: m.container_path,
        host_path: m.host_path,
        read_only: false,
    };
    let node = |n: plugin_core::allocate::DeviceNode| pb::DeviceSpec {
        container_path: n.container_path,
        host_path: n.host_path,
        permissions: n.permissions,
    };
    pb::ContainerAllocateResponse {
        envs: allocation.envs.into_iter().collect(),
        mounts: allocation.mounts.into_iter().map(mount).collect(),
        devices: allocation.device_nodes.into_iter().map(node).collect(),
        annotations: allocation.annotations.into_iter().collect(),
        cdi_devices: allocation.cdi_devices.into_iter().map(|name| pb::CdiDevice { name }).collect(),
    }
}

/// PodResources List, flattened: one holding per container and resource. The kubelet lists one entry per device and NUMA
/// node (Kubernetes 1.36), so ids are collected, each once.
pub(crate) fn holdings_from_proto(list: pod::ListPodResourcesResponse) -> Vec<Holding> {
    let mut ids: BTreeMap<(String, String, String, String), Vec<String>> = BTreeMap::new();
    for pod in list.pod_resources {
        for container in pod.containers {
            for devices in container.devices {
                let key =
                    (pod.namespace.clone(), pod.name.clone(), container.name.clone(), devices.resource_name);
                ids.entry(key).or_default().extend(devices.device_ids);
            }
        }
    }
    let holding = |((namespace, pod, container, resource), mut ids): (_, Vec<String>)| {
        ids.sort();
        ids.dedup();
        Holding { namespace, pod, container, resource, ids }
    };
    ids.into_iter().map(holding).collect()
}

#[cfg(test)]
mod tests {
    use plugin_core::inventory::GpuUuid;
    use plugin_core::view::Strategy;

    use super::*;

    fn device(id: &str, healthy: bool, numa_node: Option<u32>) -> Device {
        Device {
            id: id.into(),
            healthy,
            gpu: GpuUuid::new("GPU-a"),
            parent: GpuUuid::new("GPU-a"),
            numa_node,
            strategy: Strategy::Exclusive,
            gpu_index: 0,
            gpu_minor: 0,
            mig: None,
            mps: None,
            granted: healthy,
        }
    }

    #[test]
    fn a_device_without_a_numa_node_has_no_topology() {
        let devices = [device("GPU-a", true, Some(1)), device("GPU-b", false, None)];
        let list = list_to_proto(devices.iter()).devices;
        assert_eq!((list[0].health.as_str(), list[1].health.as_str()), ("Healthy", "Unhealthy"));
        assert_eq!(list[0].topology.as_ref().unwrap().nodes[0].id, 1);
        assert_eq!(list[1].topology, None);
    }

    #[test]
    fn entries_per_device_become_one_holding_per_container_and_resource() {
        let entry = |id: &str| pod::ContainerDevices {
            resource_name: "nvidia.com/gpu".into(),
            device_ids: vec![id.into()],
            topology: None,
        };
        let container = pod::ContainerResources {
            name: "main".into(),
            devices: vec![entry("GPU-b"), entry("GPU-a"), entry("GPU-a")],
            ..Default::default()
        };
        let pod = pod::PodResources {
            name: "p".into(),
            namespace: "ns".into(),
            containers: vec![container],
            ..Default::default()
        };
        let holdings = holdings_from_proto(pod::ListPodResourcesResponse { pod_resources: vec![pod] });
        assert_eq!(holdings.len(), 1);
        assert_eq!(holdings[0].ids, ["GPU-a", "GPU-b"]);
        assert_eq!((holdings[0].pod.as_str(), holdings[0].container.as_str()), ("p", "main"));
    }
}
