//! The Node: its labels and taints read as they change; labels, annotations and taints written when the core asks. Nothing here knows what
//! one of them means.

pub(crate) mod node_taints;

use std::collections::BTreeMap;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use plugin_core::event::Event;
use serde_json::json;
use tokio::sync::mpsc;

use crate::node_client::{self, ApiBackoff, NodeSettings, WRITE_TIME_MAX};
use crate::node_watch::node_taints::TaintChange;

/// A change of the Node's metadata: key → value, `None` removes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodePatch {
    /// Of its labels.
    Labels(BTreeMap<String, Option<String>>),
    /// Of its annotations.
    Annotations(BTreeMap<String, Option<String>>),
    /// Of its taints.
    Taints(TaintChange),
}

impl NodePatch {
    /// How the core hears that it was not written.
    pub(crate) fn failed(&self) -> fn(String) -> Event {
        match self {
            NodePatch::Labels(_) => |why| Event::LabelsFailed { why },
            NodePatch::Annotations(_) => |why| Event::AnnotationsFailed { why },
            NodePatch::Taints(_) => |why| Event::TaintsFailed { why },
        }
    }

    fn written(&self) -> Event {
        match self {
            NodePatch::Labels(_) => Event::LabelsPatched,
            NodePatch::Annotations(_) => Event::AnnotationsPatched,
            NodePatch::Taints(_) => Event::TaintsPatched,
        }
    }

    async fn write(&self, nodes: &Api<Node>, name: &str) -> Result<(), String> {
        let body = match self {
            NodePatch::Labels(labels) => json!({ "metadata": { "labels": labels } }),
            NodePatch::Annotations(annotations) => json!({ "metadata": { "annotations": annotations } }),
            NodePatch::Taints(change) => return change.write(nodes, name).await,
        };
        let written = nodes.patch(name, &PatchParams::default(), &Patch::Merge(body)).await;
        written.map(drop).map_err(|e| node_client::told(&e))
    }
}

/// Tells the Node's taints and labels at once and whenever they change, and when the API server stops to answer.
pub(crate) async fn watch(client: Client, settings: NodeSettings, events: mpsc::Sender<Event>) {
    let own = watcher::Config::default().fields(&format!("metadata.name={}", settings.name));
    let stream = watcher(Api::<Node>::all(client), own).backoff(ApiBackoff::new());
    tell(stream, &settings.name, events).await;
}

async fn tell(
    stream: impl Stream<Item = Result<watcher::Event<Node>, watcher::Error>>,
    name: &str,
    events: mpsc::Sender<Event>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut told: Option<Event> = None;
    let mut told_before: Vec<Event> = Vec::new();
    let mut listed = false;
    let absent = || Event::NodeUnreadable { why: format!("node `{name}` does not exist") };
    while let Some(change) = stream.next().await {
        let event = match change {
            Ok(watcher::Event::Init) => {
                listed = false;
                // a change that came and went while nobody watched may have undone what the core has written since
                told = told.filter(|told| matches!(told, Event::NodeUnreadable { .. }));
                None
            }
            Ok(watcher::Event::InitApply(node) | watcher::Event::Apply(node)) => {
                listed = true;
                let before = vec![node_taints::read(&node), figures(&node)];
                for event in before.iter().filter(|event| !told_before.contains(event)) {
                    if events.send(event.clone()).await.is_err() {
                        return;
                    }
                }
                told_before = before;
                Some(Event::NodeRead { labels: node.metadata.labels.unwrap_or_default() })
            }
            Ok(watcher::Event::InitDone) => (!listed).then(absent),
            Ok(watcher::Event::Delete(_)) => Some(absent()),
            Err(e) => {
                Some(Event::NodeUnreadable { why: format!("node `{name}`: {}", node_client::told(&e)) })
            }
        };
        let Some(event) = event.filter(|e| is_news(told.as_ref(), e)) else {
            continue;
        };
        told = Some(event.clone());
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// What the Node promises of extended resources: whole numbers of what has a domain in its name.
fn figures(node: &Node) -> Event {
    let promised = node.status.iter().flat_map(|status| status.allocatable.iter().flatten());
    let extended = promised.filter(|(name, _)| name.contains('/'));
    let allocatable = extended.filter_map(|(name, count)| Some((name.clone(), count.0.parse().ok()?)));
    Event::FiguresRead { allocatable: allocatable.collect() }
}

/// The kubelet updates its Node every few seconds; only labels, taints and figures matter here. A failure is told once, whatever its text.
fn is_news(told: Option<&Event>, event: &Event) -> bool {
    match (told, event) {
        (Some(Event::NodeUnreadable { .. }), Event::NodeUnreadable { .. }) => false,
        (told, event) => told != Some(event),
    }
}

/// Writes each patch in its order and answers it.
pub(crate) async fn write_patches(
    client: Client,
    settings: NodeSettings,
    patches: &mut mpsc::Receiver<NodePatch>,
    events: mpsc::Sender<Event>,
) {
    let nodes = Api::<Node>::all(client);
    while let Some(change) = patches.recv().await {
        let failed = change.failed();
        let write = change.write(&nodes, &settings.name);
        let event = match tokio::time::timeout(WRITE_TIME_MAX, write).await {
            Ok(Ok(())) => change.written(),
            Ok(Err(why)) => failed(format!("node `{}`: {why}", settings.name)),
            Err(_) => failed(format!("node `{}`: no answer within {WRITE_TIME_MAX:?}", settings.name)),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: &str) -> Node {
        let mut node = Node::default();
        node.metadata.labels = Some(BTreeMap::from([("k".to_owned(), value.to_owned())]));
        node
    }

    fn read(value: &str) -> Event {
        Event::NodeRead { labels: BTreeMap::from([("k".to_owned(), value.to_owned())]) }
    }

    /// What is told first of a Node without taints and extended resources.
    fn taints_and_figures() -> [Event; 2] {
        let taints = Event::TaintsRead { taints: Vec::new(), note: None };
        [taints, Event::FiguresRead { allocatable: BTreeMap::new() }]
    }

    async fn told(changes: Vec<Result<watcher::Event<Node>, watcher::Error>>) -> Vec<Event> {
        let (events, mut seen) = mpsc::channel(16);
        tell(futures::stream::iter(changes), "n1", events).await;
        let mut all = Vec::new();
        while let Some(event) = seen.recv().await {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn only_a_change_of_the_labels_is_told() {
        use watcher::Event::{Apply, Init, InitApply, InitDone};
        let changes = vec![
            Ok(Init),
            Ok(InitApply(node("a"))),
            Ok(InitDone),
            Ok(Apply(node("a"))),
            Ok(Apply(node("b"))),
        ];
        let [taints, figures] = taints_and_figures();
        let expected = [taints, figures, read("a"), read("b")];
        assert_eq!(told(changes).await, expected, "taints and figures once, before the labels");
    }

    #[tokio::test]
    async fn a_node_that_is_listed_anew_is_told_anew() {
        use watcher::Event::{Apply, Init, InitApply, InitDone};
        let listed = || [Ok(Init), Ok(InitApply(node("a"))), Ok(InitDone)];
        let changes = listed().into_iter().chain([Ok(Apply(node("a")))]).chain(listed()).collect();
        assert_eq!(told(changes).await[2..], [read("a"), read("a")]);
    }

    #[tokio::test]
    async fn a_node_that_does_not_exist_is_told_once_and_again_read_when_it_appears() {
        use watcher::Event::{Apply, Init, InitDone};
        let failed = || Err(watcher::Error::NoResourceVersion);
        let all = told(vec![Ok(Init), Ok(InitDone), failed(), failed(), Ok(Apply(node("a")))]).await;
        let [taints, figures] = taints_and_figures();
        assert_eq!(all[1..], [taints, figures, read("a")]);
        assert!(matches!(&all[0], Event::NodeUnreadable { why } if why.contains("`n1` does not exist")));
    }

    /// An API server that notes method, path, content type and body, and answers with a Node or an error.
    fn api_server(code: u16) -> (Client, mpsc::Receiver<[String; 4]>) {
        let (noted, requests) = mpsc::channel(4);
        let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
            let noted = noted.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
                let content_type = head.headers.get("content-type").and_then(|v| v.to_str().ok());
                let note =
                    [head.method.as_str(), head.uri.path(), content_type.unwrap_or("")].map(str::to_owned);
                let [method, path, content_type] = note;
                let body = String::from_utf8_lossy(&body).into_owned();
                let _ = noted.send([method, path, content_type, body]).await;
                let answer = if code == 200 {
                    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } })
                } else {
                    json!({ "kind": "Status", "code": code, "message": "node is gone", "reason": "NotFound" })
                };
                let mut response =
                    hyper::Response::new(kube::client::Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = hyper::StatusCode::from_u16(code)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
            }
        });
        (Client::new(service, "default"), requests)
    }

    async fn patched(
        code: u16,
        patch: fn(BTreeMap<String, Option<String>>) -> NodePatch,
    ) -> (Event, [String; 4]) {
        let (client, mut requests) = api_server(code);
        let settings = NodeSettings { name: "n1".into(), kubeconfig: None };
        let (patches, mut queue) = mpsc::channel(1);
        let (events, mut seen) = mpsc::channel(1);
        let change = [("a".into(), Some("1".into())), ("b".into(), None)];
        patches.send(patch(change.into())).await.unwrap();
        drop(patches);
        write_patches(client, settings, &mut queue, events).await;
        (seen.recv().await.unwrap(), requests.recv().await.unwrap())
    }

    #[tokio::test]
    async fn a_label_change_is_one_merge_patch_where_null_removes() {
        let (event, [method, path, content_type, body]) = patched(200, NodePatch::Labels).await;
        assert_eq!(event, Event::LabelsPatched);
        assert_eq!((method.as_str(), path.as_str()), ("PATCH", "/api/v1/nodes/n1"));
        assert_eq!(content_type, "application/merge-patch+json");
        assert_eq!(body, r#"{"metadata":{"labels":{"a":"1","b":null}}}"#);
    }

    #[tokio::test]
    async fn annotations_are_written_as_labels_are() {
        let (event, [.., body]) = patched(200, NodePatch::Annotations).await;
        assert_eq!(event, Event::AnnotationsPatched);
        assert_eq!(body, r#"{"metadata":{"annotations":{"a":"1","b":null}}}"#);
    }

    #[tokio::test]
    async fn a_refused_label_change_is_answered_with_the_reason() {
        let (event, _) = patched(404, NodePatch::Annotations).await;
        assert!(
            matches!(&event, Event::AnnotationsFailed { why } if why.contains("node is gone")),
            "{event:?}"
        );
        let (event, _) = patched(404, NodePatch::Labels).await;
        assert!(matches!(&event, Event::LabelsFailed { why } if why.contains("node is gone")), "{event:?}");
    }
}
