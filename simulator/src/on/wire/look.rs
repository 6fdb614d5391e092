//! Takes the world's view: API objects, the kubelets' books, the drivers' state, the processes, and the plugins' own
//! account over HTTP.

use std::collections::BTreeMap;

use fake_cluster::api::{Resource, Selector};
use serde_json::Value;

use super::node::Node;
use super::programs::{MPS, PLUGIN};
use super::{NAMESPACE, WireStage, driver, http, logs, objects};
use crate::on::StageError;
use crate::world::{MpsView, NodeView, PluginView, PodView, World};

impl WireStage {
    pub(super) async fn view(&mut self) -> Result<World, StageError> {
        let mut world = World::default();
        let everything = Selector::everything();
        let (pods, nodes, events) = self.api.read(|store| {
            let list = |resource, namespace| store.list(resource, namespace, &everything);
            (
                list(Resource::Pods, Some(NAMESPACE)),
                list(Resource::Nodes, None),
                list(Resource::Events, Some(NAMESPACE)),
            )
        });
        for object in &pods {
            let name = text(object, "/metadata/name");
            let view = self.pod(object, &events);
            *world.phases.entry(view.phase.clone()).or_default() += 1;
            world.pods.insert(name, view);
        }
        for node in &mut self.nodes {
            let object = nodes.iter().find(|object| text(object, "/metadata/name") == node.name);
            let mut view = object.map(|object| objects::node(object)).unwrap_or_default();
            view.plugin = plugin(node).await;
            view.mps = mps(node);
            view.kubelet = node.kubelet_view();
            view.other_plugins = node.other_plugins.view();
            view.lists = node.lists();
            view.gpus = gpus(node, &world.pods)?;
            add_account(&mut view);
            world.nodes.insert(node.name.clone(), view);
        }
        Ok(world)
    }

    fn pod(&self, object: &Value, events: &[std::sync::Arc<Value>]) -> PodView {
        let uid = text(object, "/metadata/uid");
        let node_name = text(object, "/spec/nodeName");
        let node = self.nodes.iter().find(|node| node.name == node_name);
        let given = node.map(|node| node.given(&uid)).unwrap_or_default();
        let about: Vec<&Value> = events
            .iter()
            .filter(|event| text(event, "/involvedObject/uid") == uid)
            .map(std::sync::Arc::as_ref)
            .collect();
        let mut view = objects::pod(object, given.containers, given.ids, &about);
        view.replicas = given.replicas;
        view.restarts = given.restarts;
        view.ended = self.workloads.ended(&text(object, "/metadata/name"));
        view
    }
}

async fn plugin(node: &mut Node) -> PluginView {
    let (running, starts) = node.status(PLUGIN);
    let (registered, registrations) = node.registrations();
    let mut view = PluginView {
        running,
        starts,
        registered,
        registrations,
        warnings: logs::warnings(&node.layout.log(PLUGIN)),
        driver: PluginView::driver_is(node.holds_driver()),
        ..PluginView::default()
    };
    let address = std::fs::read_to_string(&node.layout.admin_address).unwrap_or_default();
    if running && !address.trim().is_empty() {
        let address = address.trim();
        view.ready = http::get(address, "/ready").await.is_some_and(|(status, _)| status == 200);
        let state = http::get(address, "/state").await.filter(|(status, _)| *status == 200);
        view.state = state.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default();
    }
    view
}

fn mps(node: &Node) -> MpsView {
    let (running, starts) = node.status(MPS);
    MpsView { running, starts }
}

/// The GPUs with the pods that hold them, by the kubelet's books.
fn gpus(node: &Node, pods: &BTreeMap<String, PodView>) -> Result<Vec<crate::world::GpuView>, StageError> {
    let Some(driver) = &node.driver else {
        return Ok(Vec::new());
    };
    let mut views: Vec<_> = driver.snapshot()?.gpus.iter().map(driver::gpu).collect();
    for view in &mut views {
        for (name, pod) in pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(&node.name)) {
            if !World::holds_devices(pod) {
                continue;
            }
            for (resource, id) in
                pod.ids.iter().flat_map(|(resource, ids)| ids.iter().map(move |id| (resource, id)))
            {
                view.note_holder(name, resource, id);
            }
        }
        view.sort_holders();
    }
    Ok(views)
}

/// Adds to each GPU what the plugin says of it.
pub(in crate::on) fn add_account(view: &mut NodeView) {
    let accounts = view.plugin.state.get("gpus").and_then(Value::as_array).cloned().unwrap_or_default();
    for gpu in &mut view.gpus {
        if let Some(account) = accounts.iter().find(|account| text(account, "/uuid") == gpu.uuid) {
            gpu.state = account.get("state").and_then(Value::as_str).map(str::to_owned);
            gpu.role = account.get("resource").and_then(Value::as_str).map(str::to_owned);
            gpu.plugin = account.clone();
        }
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
