//! Device lists and what they add up to: the kubelet keeps three views per resource, and their small disagreements
//! are what nodes show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plugin_api::{HEALTHY, UNHEALTHY, deviceplugin as api};

use super::Ledger;

/// Device IDs by resource.
pub(super) type IdsByResource = BTreeMap<String, BTreeSet<String>>;

/// One list of a plugin, by device ID; those who took devices from it keep it.
pub type DeviceList = Arc<BTreeMap<String, Device>>;

/// One listed device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device ID.
    pub id: String,
    /// Whether the plugin called it exactly "Healthy".
    pub healthy: bool,
    /// Its NUMA nodes; `None` without topology.
    pub numa_nodes: Option<Vec<i64>>,
}

impl Device {
    /// The device of a list message.
    pub fn from_api(device: &api::Device) -> Device {
        Device {
            id: device.id.clone(),
            healthy: device.health == HEALTHY,
            numa_nodes: device
                .topology
                .as_ref()
                .map(|topology| topology.nodes.iter().map(|node| node.id).collect()),
        }
    }

    /// Its NUMA nodes; empty without topology.
    pub(super) fn nodes(&self) -> &[i64] {
        self.numa_nodes.as_deref().unwrap_or_default()
    }
}

/// What a node reports for one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCount {
    /// Healthy and unhealthy devices.
    pub capacity: u64,
    /// Healthy devices, in use or not.
    pub allocatable: u64,
}

/// What the node status gets from the device manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The resources that count.
    pub resources: BTreeMap<String, ResourceCount>,
    /// Resources that this very question removed.
    pub removed_now: BTreeSet<String>,
    /// All resources that were removed and have not come back; the node keeps their keys with 0.
    pub removed: BTreeSet<String>,
}

/// All lists, as the kubelet keeps them. A missing key and an empty set are two things.
#[derive(Debug, Default)]
pub(super) struct DeviceTables {
    pub(super) all: BTreeMap<String, DeviceList>,
    pub(super) healthy: IdsByResource,
    pub(super) unhealthy: IdsByResource,
    pub(super) in_use: IdsByResource,
    pub(super) removed: BTreeSet<String>,
}

impl DeviceTables {
    /// Whether the device manager feels responsible for this name.
    pub(super) fn is_ours(&self, resource: &str) -> bool {
        self.healthy.contains_key(resource) || self.in_use.contains_key(resource)
    }

    /// Moves every healthy device to the unhealthy ones.
    pub(super) fn mark_all_unhealthy(&mut self, resource: &str) {
        let healthy = self.healthy.get_mut(resource).map(std::mem::take).unwrap_or_default();
        self.unhealthy.entry(resource.to_owned()).or_default().extend(healthy);
    }

    fn forget(&mut self, resource: &str) {
        self.all.remove(resource);
        self.healthy.remove(resource);
        self.unhealthy.remove(resource);
        self.removed.insert(resource.to_owned());
    }
}

impl Ledger {
    /// A list message for `resource` arrived, from whichever stream: it replaces all that was known.
    pub fn list_received(&mut self, resource: &str, devices: &[Device]) {
        let mut all = BTreeMap::new();
        let (mut healthy, mut unhealthy) = (BTreeSet::new(), BTreeSet::new());
        for device in devices {
            let (into, other) =
                if device.healthy { (&mut healthy, &mut unhealthy) } else { (&mut unhealthy, &mut healthy) };
            into.insert(device.id.clone());
            if !self.profile.duplicate_ids_count_twice {
                other.remove(&device.id);
            }
            all.insert(device.id.clone(), device.clone());
        }
        self.devices.all.insert(resource.to_owned(), Arc::new(all));
        self.devices.healthy.insert(resource.to_owned(), healthy);
        self.devices.unhealthy.insert(resource.to_owned(), unhealthy);
        self.devices.removed.remove(resource);
        self.write_checkpoint();
    }

    /// The newest list of each resource.
    pub fn lists(&self) -> &BTreeMap<String, DeviceList> {
        &self.devices.all
    }

    /// What the node status is to show. Only this question removes a resource whose plugin has been gone for longer
    /// than the grace period.
    pub fn capacity(&mut self, now: Duration) -> Capacity {
        let names: BTreeSet<String> =
            self.devices.healthy.keys().chain(self.devices.unhealthy.keys()).cloned().collect();
        let mut capacity = Capacity::default();
        for name in names {
            if self.endpoints.counts(&name, now, self.grace) {
                let size = |sets: &IdsByResource| sets.get(&name).map_or(0, |ids| ids.len() as u64);
                let allocatable = size(&self.devices.healthy);
                let count =
                    ResourceCount { capacity: allocatable + size(&self.devices.unhealthy), allocatable };
                capacity.resources.insert(name, count);
            } else {
                self.endpoints.forget(&name);
                self.devices.forget(&name);
                self.write_checkpoint();
                capacity.removed_now.insert(name);
            }
        }
        capacity.removed = self.devices.removed.clone();
        capacity
    }

    /// The health that a pod's status shows for a device.
    pub fn health_of(&self, resource: &str, id: &str) -> &'static str {
        match self.devices.all.get(resource).and_then(|devices| devices.get(id)) {
            Some(device) if device.healthy => HEALTHY,
            Some(_) => UNHEALTHY,
            None if self.profile.removed_device_reads_healthy => HEALTHY,
            None => "Unknown",
        }
    }
}
