//! Who holds which GPU, kept up to date pod by pod, so that one change costs a look at its GPUs and not at the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::given::{DeviceIds, Given};
use super::seen::PodSeen;
use crate::world::gpu_of;

/// The holders of every GPU of every node.
#[derive(Debug, Default)]
pub(super) struct Holders {
    nodes: BTreeMap<String, BTreeMap<String, Vec<Holder>>>,
    pods: BTreeMap<Arc<str>, Place>,
}

/// A pod with devices of a GPU.
#[derive(Debug)]
struct Holder {
    pod: Arc<str>,
    given: Given,
}

/// Where a pod was counted, and with what.
#[derive(Debug)]
struct Place {
    node: String,
    ids: DeviceIds,
}

/// One device of one pod.
struct Held<'h> {
    pod: &'h str,
    resource: &'h str,
    id: &'h str,
}

impl Holders {
    /// Counts a pod where it is now; `true` when it holds other devices than before.
    pub(super) fn place(&mut self, seen: &PodSeen<'_>) -> bool {
        let ids = &seen.given.ids;
        let Some(node) = seen.node.filter(|_| seen.holds() && !ids.is_empty()) else {
            self.remove(seen.name);
            return false;
        };
        let before = self.pods.get(seen.name);
        let same = |place: &Place| Arc::ptr_eq(&place.ids, ids) || place.ids == *ids;
        if before.is_some_and(|place| place.node == node && same(place)) {
            return false;
        }
        self.remove(seen.name);
        let pod: Arc<str> = seen.name.into();
        let gpus = self.nodes.entry(node.to_owned()).or_default();
        for gpu in gpus_of(ids) {
            let holders = gpus.entry(gpu.to_owned()).or_default();
            holders.push(Holder { pod: Arc::clone(&pod), given: seen.given.clone() });
        }
        self.pods.insert(pod, Place { node: node.to_owned(), ids: Arc::clone(ids) });
        true
    }

    /// The pod holds nothing any more.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(place) = self.pods.remove(name) else {
            return;
        };
        let Some(gpus) = self.nodes.get_mut(&place.node) else {
            return;
        };
        for gpu in gpus_of(&place.ids) {
            if let Some(holders) = gpus.get_mut(gpu) {
                holders.retain(|holder| *holder.pod != *name);
            }
        }
    }

    /// Forgets all pods but these.
    pub(super) fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        let gone: Vec<Arc<str>> = self.pods.keys().filter(|name| !stays(name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    /// What is wrong with the GPUs that a pod holds.
    pub(super) fn judge_pod(&self, seen: &PodSeen<'_>, broken: &mut Vec<String>) {
        let gpus = seen.node.and_then(|node| Some((node, self.nodes.get(node)?)));
        let Some((node, gpus)) = gpus else { return };
        for gpu in gpus_of(&seen.given.ids) {
            let holders = gpus.get(gpu).map_or(&[] as &[Holder], Vec::as_slice);
            judge(node, gpu, holders, broken);
        }
    }

    /// A GPU and its MIG devices are never held at the same time.
    pub(super) fn judge_parts(&self, seen: &PodSeen<'_>, broken: &mut Vec<String>) {
        let held = seen.node.and_then(|node| Some((node, self.nodes.get(node)?)));
        let Some((node, held)) = held else { return };
        let is_held = |uuid: &str| held.get(uuid).is_some_and(|holders| !holders.is_empty());
        let own = gpus_of(&seen.given.ids);
        for gpu in seen.gpus.iter().filter(|gpu| is_held(gpu.uuid)) {
            let mine = |uuid: &str| own.contains(&gpu.uuid) || own.contains(&uuid);
            let parts = gpu.parts.iter().filter(|part| is_held(&part.uuid) && mine(&part.uuid));
            broken.extend(parts.map(|part| {
                let (whole, part) = (gpu.uuid, &part.uuid);
                format!(
                    "all holders of a GPU share one strategy: `{whole}` on `{node}` is held as a whole and as its MIG device `{part}`"
                )
            }));
        }
    }

    /// What is wrong with any GPU.
    pub(super) fn judge_all(&self, broken: &mut Vec<String>) {
        for (node, gpus) in &self.nodes {
            for (gpu, holders) in gpus {
                judge(node, gpu, holders, broken);
            }
        }
    }
}

fn judge(node: &str, gpu: &str, holders: &[Holder], broken: &mut Vec<String>) {
    let mut held: Vec<Held<'_>> = holders.iter().flat_map(|holder| of_gpu(holder, gpu)).collect();
    let Some(first) = held.first() else { return };
    let is_shared = |held: &Held<'_>| held.id.contains("::");
    let strategy = (first.resource, is_shared(first));
    let one_strategy = held.iter().all(|held| (held.resource, is_shared(held)) == strategy);
    let exclusive = held.iter().any(|held| !is_shared(held));
    let who = || holders.iter().map(|holder| holder.pod.as_ref()).collect::<Vec<_>>().join(", ");
    if exclusive && holders.len() > 1 {
        let who = who();
        broken.push(format!("a GPU held exclusively has one holder: `{gpu}` on `{node}` is held by {who}"));
    }
    if !one_strategy {
        let mut resources: Vec<&str> = held.iter().map(|held| held.resource).collect();
        resources.sort_unstable();
        resources.dedup();
        broken.push(format!(
            "all holders of a GPU share one strategy: `{gpu}` on `{node}` is held as {} by {}",
            resources.join(" and "),
            who()
        ));
    }
    // as they were when handed out; nobody knows it when all were handed out by an earlier kubelet
    let replicas = holders.iter().filter_map(|holder| holder.given.replicas.get(gpu)).max();
    if let Some(replicas) = replicas.filter(|replicas| held.len() as u64 > **replicas) {
        let who = held.iter().map(|held| held.pod).collect::<Vec<_>>().join(", ");
        let count = held.len();
        broken.push(format!(
            "no more holders than replicas: `{gpu}` on `{node}` has {count} of {replicas}: {who}"
        ));
    }
    held.sort_unstable_by_key(|held| held.id);
    if held.is_sorted_by(|one, next| one.id < next.id) {
        return;
    }
    let who = who();
    broken.push(format!("a device is handed out once: `{gpu}` on `{node}` has a device held twice by {who}"));
}

fn of_gpu<'h>(holder: &'h Holder, gpu: &'h str) -> impl Iterator<Item = Held<'h>> {
    let pairs = holder.given.ids.iter().flat_map(|(resource, ids)| ids.iter().map(move |id| (resource, id)));
    pairs.filter(move |(_, id)| gpu_of(id) == gpu).map(|(resource, id)| Held {
        pod: &holder.pod,
        resource,
        id,
    })
}

/// The GPUs behind the ids, each once.
pub(super) fn gpus_of(ids: &BTreeMap<String, Vec<String>>) -> Vec<&str> {
    let mut gpus: Vec<&str> = ids.values().flatten().map(|id| gpu_of(id)).collect();
    gpus.sort_unstable();
    gpus.dedup();
    gpus
}
