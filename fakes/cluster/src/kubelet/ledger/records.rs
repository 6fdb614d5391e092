//! Which container holds which devices, with the plugin's answer: everything a container gets from a plugin is
//! merged from here, at its first start and at every later one.

use std::collections::{BTreeMap, BTreeSet};

use plugin_api::deviceplugin::{ContainerAllocateResponse, DeviceSpec, Mount};

use super::devices::{Device, DeviceList, IdsByResource};
use super::random::Random;
use crate::kubelet::pod::DevicesByContainer;

/// The NUMA node of a device without topology.
pub(super) const NO_NUMA_NODE: i64 = -1;

/// One container's devices of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// IDs by NUMA node; a device on two nodes stands under both.
    pub(super) devices: BTreeMap<i64, Vec<String>>,
    pub(super) response: ContainerAllocateResponse,
    /// The list that the devices were chosen from; unknown when it was read from the checkpoint.
    pub(super) listed: Option<DeviceList>,
}

impl Record {
    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.devices.values().flatten().cloned().collect()
    }

    /// The NUMA nodes of each ID; empty without topology.
    pub(super) fn nodes_by_id(&self) -> BTreeMap<&str, Vec<i64>> {
        let mut nodes: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (node, ids) in &self.devices {
            for id in ids {
                let of_id = nodes.entry(id).or_default();
                if *node != NO_NUMA_NODE {
                    of_id.push(*node);
                }
            }
        }
        nodes
    }

    pub(super) fn add(&mut self, id: &str, device: Option<&Device>) {
        let nodes = device.map(Device::nodes).unwrap_or_default();
        for node in if nodes.is_empty() { &[NO_NUMA_NODE] } else { nodes } {
            self.devices.entry(*node).or_default().push(id.to_owned());
        }
    }
}

/// What a container gets from all its plugins together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunOptions {
    /// Environment; the pod spec's own variables override these.
    pub envs: BTreeMap<String, String>,
    /// Mounts, one per container path.
    pub mounts: Vec<Mount>,
    /// Device nodes, one per container path.
    pub devices: Vec<DeviceSpec>,
    /// Annotations of the container.
    pub annotations: BTreeMap<String, String>,
    /// Fully qualified CDI names, each once.
    pub cdi_devices: Vec<String>,
}

impl RunOptions {
    /// Adds a plugin's answer; what is already there wins.
    fn merge(&mut self, response: &ContainerAllocateResponse) {
        for (name, value) in &response.envs {
            self.envs.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for mount in &response.mounts {
            if !self.mounts.iter().any(|known| known.container_path == mount.container_path) {
                self.mounts.push(mount.clone());
            }
        }
        for device in &response.devices {
            if !self.devices.iter().any(|known| known.container_path == device.container_path) {
                self.devices.push(device.clone());
            }
        }
        for (key, value) in &response.annotations {
            self.annotations.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for cdi in &response.cdi_devices {
            if !self.cdi_devices.contains(&cdi.name) {
                self.cdi_devices.push(cdi.name.clone());
            }
        }
    }
}

type ByResource = BTreeMap<String, Record>;

/// Pod UID, container, resource.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_pod: BTreeMap<String, BTreeMap<String, ByResource>>,
}

impl Records {
    /// Takes all pods but these out.
    pub(super) fn keep(&mut self, stays: impl Fn(&str) -> bool) -> Records {
        let gone: Vec<String> = self.by_pod.keys().filter(|uid| !stays(uid)).cloned().collect();
        Records { by_pod: gone.into_iter().filter_map(|uid| self.by_pod.remove_entry(&uid)).collect() }
    }

    /// Puts pods in.
    pub(super) fn add(&mut self, more: Records) {
        self.by_pod.extend(more.by_pod);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_pod.is_empty()
    }

    pub(super) fn has_pod(&self, uid: &str) -> bool {
        self.by_pod.contains_key(uid)
    }

    pub(super) fn insert(&mut self, uid: &str, container: &str, resource: &str, record: Record) {
        self.by_pod
            .entry(uid.to_owned())
            .or_default()
            .entry(container.to_owned())
            .or_default()
            .insert(resource.to_owned(), record);
    }

    /// Takes one container's devices of one resource out again.
    pub(super) fn remove_one(&mut self, uid: &str, container: &str, resource: &str) {
        let Some(containers) = self.by_pod.get_mut(uid) else {
            return;
        };
        if let Some(resources) = containers.get_mut(container) {
            resources.remove(resource);
        }
        containers.retain(|_, resources| !resources.is_empty());
        if containers.is_empty() {
            self.by_pod.remove(uid);
        }
    }

    pub(super) fn container(&self, uid: &str, container: &str) -> Option<&ByResource> {
        self.by_pod.get(uid)?.get(container)
    }

    pub(super) fn get(&self, uid: &str, container: &str, resource: &str) -> Option<&Record> {
        self.container(uid, container)?.get(resource)
    }

    /// The records of one pod with their resources.
    pub(super) fn of_pod(&self, uid: &str) -> impl Iterator<Item = (&str, &Record)> {
        let containers = self.by_pod.get(uid).into_iter().flat_map(|containers| containers.values());
        containers.flatten().map(|(resource, record)| (resource.as_str(), record))
    }

    /// Every record with its pod, container and resource.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &str, &Record)> {
        self.by_pod.iter().flat_map(|(uid, containers)| {
            containers.iter().flat_map(move |(container, resources)| {
                resources.iter().map(move |(resource, record)| {
                    (uid.as_str(), container.as_str(), resource.as_str(), record)
                })
            })
        })
    }

    /// The IDs that the records hold, by resource, sorted.
    pub(super) fn held(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut held: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (_, _, resource, record) in self.iter() {
            held.entry(resource).or_default().extend(record.devices.values().flatten().map(String::as_str));
        }
        held.values_mut().for_each(|ids| ids.sort_unstable());
        held
    }

    /// The IDs that the records hold, by resource.
    pub(super) fn in_use(&self) -> IdsByResource {
        let mut in_use = IdsByResource::new();
        for (_, _, resource, record) in self.iter() {
            in_use.entry(resource.to_owned()).or_default().extend(record.ids());
        }
        in_use
    }

    pub(super) fn devices_of(&self, uid: &str) -> DevicesByContainer {
        let mut devices = DevicesByContainer::new();
        for (container, resources) in self.by_pod.get(uid).into_iter().flatten() {
            let of_container = devices.entry(container.clone()).or_default();
            for (resource, record) in resources {
                of_container.insert(resource.clone(), record.ids().into_iter().collect());
            }
        }
        devices
    }

    /// The merged answers of one container's plugins, in any order; `None` when nothing is recorded.
    pub(super) fn run_options(&self, uid: &str, container: &str, random: &mut Random) -> Option<RunOptions> {
        let resources = self.container(uid, container)?;
        let mut options = RunOptions::default();
        for resource in random.arrange(&resources.keys().collect()) {
            if let Some(record) = resources.get(resource) {
                options.merge(&record.response);
            }
        }
        Some(options)
    }
}
