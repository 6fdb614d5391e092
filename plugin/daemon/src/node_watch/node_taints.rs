//! The Node's taints: read from the object, and replaced as a whole when they are still as the core saw them.
//!
//! The API server has no way to add one taint, so a write names the version of the Node that was read before. Somebody else
//! wrote meanwhile: it is read again. Other taints are written back as they were read, with everything they carry.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use plugin_core::event::Event;
use plugin_core::taints::{NOTE, Taint};
use serde_json::json;

use crate::node_client;

/// Most tries of one write while others write the Node as well.
const TRIES_MAX: u32 = 5;
/// What the API server answers when the Node was changed meanwhile.
const CONFLICT: u16 = 409;

type Object = k8s_openapi::api::core::v1::Taint;

/// A change of the Node's taints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaintChange {
    /// As the core saw them.
    pub(crate) before: Vec<Taint>,
    /// As they should be.
    pub(crate) after: Vec<Taint>,
    /// The annotation that notes which are the plugin's; `None` removes it.
    pub(crate) note: Option<String>,
}

/// What the core hears of a Node's taints.
pub(crate) fn read(node: &Node) -> Event {
    let note = node.metadata.annotations.as_ref().and_then(|all| all.get(NOTE)).cloned();
    Event::TaintsRead { taints: taints(node).iter().map(taint).collect(), note }
}

fn taints(node: &Node) -> &[Object] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn taint(object: &Object) -> Taint {
    let value = object.value.clone().unwrap_or_default();
    Taint { key: object.key.clone(), value, effect: object.effect.clone() }
}

fn object(taint: &Taint) -> Object {
    let value = (!taint.value.is_empty()).then(|| taint.value.clone());
    Object { key: taint.key.clone(), value, effect: taint.effect.clone(), time_added: None }
}

impl TaintChange {
    /// Writes it.
    ///
    /// # Errors
    /// One line: they are not as they were seen, or the API server's reason.
    pub(crate) async fn write(&self, nodes: &Api<Node>, name: &str) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..TRIES_MAX {
            let node = nodes.get(name).await.map_err(|e| node_client::told(&e))?;
            let body = self.body(&node)?;
            match nodes.patch(name, &PatchParams::default(), &Patch::Merge(body)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == CONFLICT => why = status.message.clone(),
                Err(e) => return Err(node_client::told(&e)),
            }
        }
        Err(format!("somebody else changed it each of {TRIES_MAX} times: {why}"))
    }

    fn body(&self, node: &Node) -> Result<serde_json::Value, String> {
        let there = taints(node);
        if there.iter().map(taint).ne(self.before.iter().cloned()) {
            return Err("its taints have changed meanwhile".to_owned());
        }
        let kept = |wanted: &Taint| there.iter().find(|object| taint(object) == *wanted).cloned();
        let after: Vec<Object> = self.after.iter().map(|t| kept(t).unwrap_or_else(|| object(t))).collect();
        Ok(json!({
            "metadata": { "resourceVersion": node.metadata.resource_version, "annotations": { NOTE: self.note } },
            "spec": { "taints": after },
        }))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::Client;
    use tokio::sync::mpsc;

    use super::*;

    fn ours() -> Taint {
        Taint { key: "nvidia.com/gpu.shared".into(), value: "true".into(), effect: "NoSchedule".into() }
    }

    fn other() -> Object {
        let time_added = serde_json::from_value::<Time>(json!("2026-01-01T00:00:00Z")).ok();
        Object { key: "dedicated".into(), value: None, effect: "NoExecute".into(), time_added }
    }

    fn node(version: &str, taints: Vec<Object>) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some("n1".into());
        node.metadata.resource_version = Some(version.into());
        node.spec.get_or_insert_default().taints = Some(taints);
        node
    }

    fn add() -> TaintChange {
        let before = vec![taint(&other())];
        let after = vec![taint(&other()), ours()];
        TaintChange { before, after, note: Some(ours().to_string()) }
    }

    /// An API server that gives this Node, and refuses the first writes because of a conflict. Tells every write.
    fn api_server(node: Node, conflicts: usize) -> (Api<Node>, mpsc::Receiver<serde_json::Value>) {
        let (noted, writes) = mpsc::channel(8);
        let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(conflicts));
        let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
            let (noted, left, node) = (noted.clone(), std::sync::Arc::clone(&left), node.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
                let mut code = 200;
                let mut answer = serde_json::to_value(&node)?;
                if head.method == hyper::Method::PATCH {
                    let _ = noted.send(serde_json::from_slice(&body)?).await;
                    let order = std::sync::atomic::Ordering::Relaxed;
                    if left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok() {
                        code = CONFLICT;
                        answer = json!({ "kind": "Status", "code": code, "message": "modified", "reason": "Conflict" });
                    }
                }
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                let mut response = hyper::Response::new(body);
                *response.status_mut() = hyper::StatusCode::from_u16(code)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
            }
        });
        (Api::all(Client::new(service, "default")), writes)
    }

    #[tokio::test]
    async fn a_taint_is_added_with_the_version_that_was_read_and_others_stay_whole() {
        let (nodes, mut writes) = api_server(node("7", vec![other()]), 0);
        assert_eq!(add().write(&nodes, "n1").await, Ok(()));
        let expected = json!({
            "metadata": {
                "resourceVersion": "7",
                "annotations": { "tandem.dev/taints": "nvidia.com/gpu.shared=true:NoSchedule" },
            },
            "spec": { "taints": [
                { "key": "dedicated", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" },
                { "key": "nvidia.com/gpu.shared", "value": "true", "effect": "NoSchedule" },
            ] },
        });
        assert_eq!(writes.recv().await, Some(expected));
    }

    #[tokio::test]
    async fn a_conflict_is_tried_again_and_only_so_often() {
        let tries = usize::try_from(TRIES_MAX).unwrap();
        let (nodes, mut writes) = api_server(node("7", vec![other()]), tries - 1);
        assert_eq!(add().write(&nodes, "n1").await, Ok(()));
        let (nodes, _writes) = api_server(node("7", vec![other()]), tries);
        let why = add().write(&nodes, "n1").await.unwrap_err();
        assert!(why.contains("each of 5 times") && why.contains("modified"), "{why}");
        let mut count = 0;
        while writes.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, tries);
    }

    #[tokio::test]
    async fn taints_that_are_not_as_they_were_seen_are_left_alone() {
        let (nodes, mut writes) = api_server(node("7", vec![]), 0);
        let why = add().write(&nodes, "n1").await.unwrap_err();
        assert!(why.contains("have changed meanwhile"), "{why}");
        assert!(writes.try_recv().is_err(), "nothing was written");
    }

    #[test]
    fn the_core_hears_of_taints_and_of_the_note() {
        let mut node = node("7", vec![other(), object(&ours())]);
        node.metadata.annotations = Some([(NOTE.to_owned(), "n".to_owned())].into());
        let heard = Event::TaintsRead { taints: vec![taint(&other()), ours()], note: Some("n".into()) };
        assert_eq!(read(&node), heard);
        assert_eq!(read(&Node::default()), Event::TaintsRead { taints: vec![], note: None });
    }
}
