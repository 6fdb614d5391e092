//! The kubelet's last look at a pod, after its devices were allocated: whether the node's figures, which may be
//! older than the device manager's, still have room.

use std::collections::BTreeMap;

use super::{Ledger, is_extended_resource};
use crate::kubelet::pod::{PodRequest, Rejection};

impl Ledger {
    /// The extended resources that a node status written at this moment would show as allocatable; removes nothing.
    pub fn allocatable_figures(&self) -> BTreeMap<String, u64> {
        let counted = self
            .devices
            .unhealthy
            .keys()
            .map(|name| (name.clone(), self.devices.healthy.get(name).map_or(0, |ids| ids.len() as u64)));
        self.devices.removed.iter().map(|name| (name.clone(), 0)).chain(counted).collect()
    }

    /// Compares the pod's extended resources with what the node object shows as `allocatable` (keys with 0 included).
    ///
    /// A resource that the node does not show at all is not compared: such a pod runs without a device. For a pod with
    /// devices the figures are raised to what is in use, so that an unhealthy device does not refuse its holder.
    pub fn check_fit(&self, pod: &PodRequest, allocatable: &BTreeMap<String, u64>) -> Result<(), Rejection> {
        let has_devices = self.records.has_pod(&pod.uid);
        for (resource, requested) in pod.requests() {
            let in_use = self.devices.in_use.get(&resource).filter(|_| has_devices);
            let in_use = in_use.map(|ids| ids.len() as u64);
            let Some(capacity) = allocatable.get(&resource).copied().max(in_use) else {
                continue;
            };
            if requested == 0 || !is_extended_resource(&resource) {
                continue;
            }
            let used = self.used_by_others(&pod.uid, &resource);
            if requested.saturating_add(used) > capacity {
                let message = format!(
                    "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, \
                     used: {used}, capacity: {capacity}"
                );
                return Err(Rejection { reason: format!("OutOf{resource}"), message });
            }
        }
        Ok(())
    }

    fn used_by_others(&self, uid: &str, resource: &str) -> u64 {
        self.pods
            .iter()
            .filter(|(other, pod)| other.as_str() != uid && pod.active)
            .map(|(_, pod)| pod.requests.get(resource).copied().unwrap_or(0))
            .fold(0, u64::saturating_add)
    }
}
