//! What the kubelet gave a pod and how many devices there were then, counted from the lists that it chose from.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use fake_cluster::kubelet::ledger::DeviceList;

use crate::world::{ContainerView, gpu_of};

/// Resource → device ids, sorted.
pub type DeviceIds = Arc<BTreeMap<String, Vec<String>>>;

/// What a pod was given, in parts that many may keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Its device ids.
    pub ids: DeviceIds,
    /// GPU → devices in the kubelet's list from which they were chosen; empty when that list is not known any more.
    pub replicas: Arc<BTreeMap<String, u64>>,
    /// By container.
    pub containers: Arc<BTreeMap<String, ContainerView>>,
}

/// How many healthy devices each GPU has in a list; withdrawn ones stay in it for a while.
pub fn count_by_gpu(list: &DeviceList) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (id, _) in list.iter().filter(|(_, device)| device.healthy) {
        *counts.entry(gpu_of(id).to_owned()).or_default() += 1;
    }
    counts
}

/// How many healthy devices the GPUs of these ids had in the lists that they were chosen from.
pub fn replicas_of(
    ids: &BTreeMap<String, Vec<String>>,
    chosen_from: &[(String, DeviceList)],
) -> BTreeMap<String, u64> {
    let mut replicas = BTreeMap::new();
    for (resource, list) in chosen_from {
        for id in ids.get(resource).into_iter().flatten() {
            let gpu = gpu_of(id);
            let from = list.range::<str, _>((Bound::Included(gpu), Bound::Unbounded));
            let siblings = from.take_while(|(id, _)| gpu_of(id) == gpu);
            let count = siblings.filter(|(_, device)| device.healthy).count() as u64;
            let most = replicas.entry(gpu.to_owned()).or_default();
            *most = count.max(*most);
        }
    }
    replicas
}
