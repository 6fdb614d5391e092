//! Takes the world's view from a cluster: API objects, and what the plugin's pods say of themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::Kind;
use super::{ClusterStage, DaemonPods};
use crate::on::StageError;
use crate::on::wire::look::add_account;
use crate::on::wire::objects;
use crate::world::{GpuView, MpsView, NodeView, PluginView, PodView, World};

/// How the UUID of a whole GPU begins.
const GPU_PREFIX: &str = "GPU-";

impl ClusterStage {
    pub(super) async fn view(&mut self) -> Result<World, StageError> {
        let namespace = Some(self.settings.namespace.as_str());
        let nodes = self.connection.list(Kind::Node, None, "").await?;
        let pods = self.connection.list(Kind::Pod, namespace, "").await?;
        let events = self.connection.list(Kind::Event, namespace, "").await?;
        for daemons in self.plugin.iter_mut().chain(&mut self.mps) {
            daemons.look(&self.connection).await?;
        }
        let mut world = World::default();
        for object in &pods {
            let mut view = pod(object, &events);
            let story =
                |node: &String| self.mapping.iter().find(|(_, real)| *real == node).map(|(name, _)| name);
            if let Some(name) = view.node.as_ref().and_then(story) {
                view.node = Some(name.clone());
            }
            *world.phases.entry(view.phase.clone()).or_default() += 1;
            world.pods.insert(text(object, "/metadata/name"), view);
        }
        for (name, real) in &self.mapping {
            let object = nodes.iter().find(|object| text(object, "/metadata/name") == *real);
            let mut view = object.map(objects::node).unwrap_or_default();
            if let Some(daemons) = &self.mps {
                let running = daemons.on(real).is_some_and(|pod| pod.running);
                view.mps = MpsView { running, starts: daemons.starts(real) };
            }
            if let Some(daemons) = &self.plugin {
                self.add_plugin(&mut view, daemons, real).await;
            }
            world.nodes.insert(name.clone(), view);
        }
        Ok(world)
    }

    async fn add_plugin(&self, view: &mut NodeView, daemons: &DaemonPods, node: &str) {
        let pod = daemons.on(node);
        view.plugin = PluginView {
            running: pod.is_some_and(|pod| pod.running),
            ready: pod.is_some_and(|pod| pod.ready),
            starts: daemons.starts(node),
            // one that does not answer is seen as that
            state: daemons.account(&self.connection, node).await.unwrap_or_default(),
            ..PluginView::default()
        };
        view.gpus = gpus(&view.plugin.state);
        add_account(view);
    }
}

/// The GPUs that the plugin tells of.
fn gpus(state: &Value) -> Vec<GpuView> {
    let accounts = state.get("gpus").and_then(Value::as_array).into_iter().flatten();
    let whole = accounts.filter(|account| text(account, "/uuid").starts_with(GPU_PREFIX));
    let view = |account: &Value| GpuView {
        uuid: text(account, "/uuid"),
        index: account["index"].as_u64().and_then(|index| u32::try_from(index).ok()).unwrap_or_default(),
        ..GpuView::default()
    };
    whole.map(view).collect()
}

fn pod(object: &Value, events: &[Value]) -> PodView {
    let uid = text(object, "/metadata/uid");
    // a kubelet's everyday events come when they come; what is wrong is told by warnings
    let about = events
        .iter()
        .filter(|event| text(event, "/involvedObject/uid") == uid && text(event, "/type") == "Warning");
    let about: Vec<&Value> = about.collect();
    let mut view = objects::pod(object, BTreeMap::new(), BTreeMap::new(), &about);
    let statuses = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    view.restarts = statuses.into_iter().flatten().filter_map(|status| status["restartCount"].as_u64()).sum();
    view
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_shows_its_restarts_and_its_own_warnings() {
        let object = json!({
            "metadata": {"uid": "1"},
            "status": {"phase": "Running", "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}]},
        });
        let event = |uid: &str, kind: &str, reason: &str| json!({"involvedObject": {"uid": uid}, "type": kind, "reason": reason, "message": "m"});
        let events = [
            event("1", "Normal", "Pulled"),
            event("1", "Warning", "FailedScheduling"),
            event("2", "Warning", "Failed"),
        ];
        let view = pod(&object, &events);
        assert_eq!((view.restarts, view.events), (3, vec!["FailedScheduling: m".to_owned()]));
    }

    #[test]
    fn whole_gpus_are_taken_from_the_plugins_account() {
        let state = json!({"gpus": [{"uuid": "GPU-a", "index": 1, "state": "settled", "resource": "nvidia.com/gpu"},
                                    {"uuid": "MIG-b", "index": 0}]});
        let mut view = NodeView { gpus: gpus(&state), ..NodeView::default() };
        view.plugin.state = state;
        add_account(&mut view);
        assert_eq!(view.gpus.len(), 1);
        assert_eq!((view.gpus[0].index, view.gpus[0].role.as_deref()), (1, Some("nvidia.com/gpu")));
        assert!(gpus(&Value::Null).is_empty());
    }
}
