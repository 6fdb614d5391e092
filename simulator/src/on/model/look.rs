//! The world's view, kept up to date: only nodes and pods that changed are looked at again.

use super::api::changes::Parts;
use super::api::pods::Pod;
use super::cluster::Cluster;
use super::happening::PodId;
use super::node::Node;
use crate::on::wire::{driver, look, objects};
use crate::world::{GpuView, MpsView, NodeView, PluginView, PodView, World, gpu_of};

/// The view, once somebody has looked.
#[derive(Debug, Default)]
pub(super) struct Picture {
    world: Option<World>,
    /// The names of pods, which are gone from the cluster when their views must go.
    names: std::collections::BTreeMap<PodId, String>,
}

impl Picture {
    /// The world now.
    pub(super) fn look(&mut self, cluster: &mut Cluster) -> &World {
        let (nodes, pods) = if self.world.is_some() {
            cluster.api.changes.take()
        } else {
            cluster.api.changes.watch();
            let nodes = (0..cluster.nodes.len()).map(|node| (node, Parts::ALL)).collect();
            (nodes, cluster.api.pods.keys().copied().collect())
        };
        let mut world = self.world.take().unwrap_or_default();
        for id in pods {
            self.show_pod(&mut world, cluster, id);
        }
        for (number, parts) in nodes {
            show_node(&mut world, cluster, number, parts);
        }
        self.world.insert(world)
    }

    fn show_pod(&mut self, world: &mut World, cluster: &Cluster, id: PodId) {
        let before = self.names.get(&id).and_then(|name| world.pods.remove(name));
        if let Some(before) = before {
            let left = world.phases.get(&before.phase).map_or(0, |count| count.saturating_sub(1));
            match left {
                0 => world.phases.remove(&before.phase),
                left => world.phases.insert(before.phase, left),
            };
        }
        let Some(pod) = cluster.api.pods.get(&id) else {
            self.names.remove(&id);
            return;
        };
        let view = pod_view(cluster, id, pod);
        *world.phases.entry(view.phase.clone()).or_default() += 1;
        self.names.insert(id, pod.name.to_string());
        world.pods.insert(pod.name.to_string(), view);
    }
}

fn pod_view(cluster: &Cluster, id: PodId, pod: &Pod) -> PodView {
    let node = pod.node.and_then(|number| cluster.nodes.get(number));
    let given = node.and_then(|node| node.kubelet.given(id)).cloned().unwrap_or_default();
    let first = given.containers.get(&pod.template.first).cloned().unwrap_or_default();
    let mut gpus: Vec<String> = given.ids.values().flatten().map(|id| gpu_of(id).to_owned()).collect();
    gpus.sort();
    gpus.dedup();
    PodView {
        phase: pod.phase.text().to_owned(),
        reason: pod.reason.clone(),
        message: pod.message.clone(),
        node: node.map(|node| node.name.clone()),
        scheduled: pod.scheduled(),
        labels: pod.template.labels.clone(),
        resources: pod.template.resources.clone(),
        ids: given.ids.as_ref().clone(),
        replicas: given.replicas.as_ref().clone(),
        gpus,
        env: first.env,
        mounts: first.mounts,
        devices: first.devices,
        cdi: first.cdi,
        cdi_nodes: first.cdi_nodes,
        containers: given.containers.as_ref().clone(),
        events: pod.events.clone(),
        restarts: pod.restarts,
        ended: pod.ended.clone(),
    }
}

fn show_node(world: &mut World, cluster: &Cluster, number: usize, parts: Parts) {
    let (Some(node), Some(entry)) = (cluster.nodes.get(number), cluster.api.nodes.get(number)) else {
        return;
    };
    let mut view = world.nodes.remove(&node.name).unwrap_or_default();
    if parts.object {
        view = NodeView {
            plugin: view.plugin,
            mps: view.mps,
            kubelet: view.kubelet,
            gpus: view.gpus,
            lists: view.lists,
            ..objects::node(&entry.object)
        };
    }
    if parts.processes {
        view.lists.clone_from(node.kubelet.lists());
        view.plugin = plugin_view(node);
        view.kubelet = node.kubelet.view();
        view.mps = MpsView { running: node.mps.process.is_some(), starts: node.mps.starts };
    }
    if parts.gpus {
        let gpus = node.host.gpus.as_ref().map(|gpus| gpus.snapshot().gpus);
        view.gpus = gpus.iter().flatten().map(driver::gpu).collect();
    }
    if parts.gpus || parts.holders {
        let pods = entry.bound.iter().filter_map(|id| cluster.api.pods.get(id));
        let views = pods.filter_map(|pod| Some((pod.name.as_ref(), world.pods.get(pod.name.as_ref())?)));
        show_holders(&mut view.gpus, views);
    }
    if parts.gpus || parts.processes {
        look::add_account(&mut view);
    }
    world.nodes.insert(node.name.clone(), view);
}

fn plugin_view(node: &Node) -> PluginView {
    let mut warnings = node.warnings.clone();
    let mut view = PluginView {
        starts: node.plugin.starts,
        registered: node.kubelet.registered(),
        registrations: node.kubelet.registrations().clone(),
        driver: PluginView::driver_is(node.host.has_parked_calls()),
        ..PluginView::default()
    };
    if let Some(shell) = &node.plugin.process {
        let status = &shell.view().status;
        warnings.extend(shell.warnings.iter().cloned());
        view.running = true;
        view.ready = status.ready;
        view.state = serde_json::to_value(status).unwrap_or_default();
    }
    view.warnings = warnings;
    view
}

/// The pods that hold each GPU, by the kubelet's books.
fn show_holders<'p>(views: &mut [GpuView], pods: impl Iterator<Item = (&'p str, &'p PodView)>) {
    for view in views.iter_mut() {
        view.forget_holders();
    }
    for (name, pod) in pods.filter(|(_, pod)| World::holds_devices(pod)) {
        let ids = pod.ids.iter().flat_map(|(resource, ids)| ids.iter().map(move |id| (resource, id)));
        for (resource, id) in ids {
            views.iter_mut().for_each(|view| view.note_holder(name, resource, id));
        }
    }
    for view in views {
        view.sort_holders();
    }
}
