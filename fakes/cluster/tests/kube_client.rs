//! The kube client and its watcher against the fake API server: the calls a device plugin makes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use fake_cluster::api::{ApiHandle, ApiServer, DeleteOptions, Faults, Key, Part, PatchKind, Resource};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Client, Config};
use serde_json::{Value, json};

const WAIT_MAX: Duration = Duration::from_secs(10);

async fn cluster() -> (ApiHandle, ApiServer, Client) {
    let handle = ApiHandle::empty_cluster().unwrap();
    for name in ["n1", "n2"] {
        let node = json!({"metadata": {"name": name}});
        handle.write(|store, now| store.create(Resource::Nodes, "", node, now)).unwrap();
    }
    let server = ApiServer::start(handle.clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let client = Client::try_from(Config::new(server.url().parse().unwrap())).unwrap();
    (handle, server, client)
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    tokio::time::timeout(WAIT_MAX, stream.next())
        .await
        .expect("the stream is silent")
        .expect("the stream ended")
}

fn label(handle: &ApiHandle, node: &str, value: &str) {
    let patch = json!({"metadata": {"labels": {"config": value}}});
    handle
        .write(|store, now| store.patch(&Key::node(node), PatchKind::Merge, &patch, Part::Main, now))
        .unwrap();
}

#[tokio::test]
async fn a_watcher_of_one_node_sees_its_label_flip_and_not_the_other_nodes() {
    let (handle, _server, client) = cluster().await;
    let config = watcher::Config::default().fields("metadata.name=n1");
    let mut events = Box::pin(watcher(Api::<Node>::all(client), config));
    assert!(matches!(next(&mut events).await, Ok(watcher::Event::Init)));
    assert!(
        matches!(next(&mut events).await, Ok(watcher::Event::InitApply(n)) if n.metadata.name.as_deref() == Some("n1"))
    );
    assert!(matches!(next(&mut events).await, Ok(watcher::Event::InitDone)));
    label(&handle, "n2", "other");
    label(&handle, "n1", "mps-config");
    let Ok(watcher::Event::Apply(node)) = next(&mut events).await else {
        panic!("expected the changed node")
    };
    assert_eq!(node.metadata.labels.unwrap()["config"], "mps-config");
    handle.write(|store, now| store.delete(&Key::node("n1"), &DeleteOptions::default(), now)).unwrap();
    assert!(matches!(next(&mut events).await, Ok(watcher::Event::Delete(_))));
}

#[tokio::test]
async fn a_watcher_with_streaming_lists_gets_its_initial_objects_and_the_end_of_them() {
    let (_handle, _server, client) = cluster().await;
    let config = watcher::Config::default().streaming_lists();
    let mut events = Box::pin(watcher(Api::<Node>::all(client), config));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(match next(&mut events).await.unwrap() {
            watcher::Event::Init => "init",
            watcher::Event::InitApply(_) => "apply",
            watcher::Event::InitDone => "done",
            _ => "other",
        });
    }
    assert_eq!(kinds, ["init", "apply", "apply", "done"]);
}

#[tokio::test]
async fn a_watch_from_a_compacted_version_is_told_410_in_its_stream() {
    let (handle, _server, client) = cluster().await;
    let nodes = Api::<Node>::all(client);
    label(&handle, "n1", "a");
    label(&handle, "n1", "b");
    handle.write(|store, _| store.compact());
    let mut stream = Box::pin(nodes.watch(&WatchParams::default(), "2").await.unwrap());
    assert!(matches!(next(&mut stream).await, Ok(WatchEvent::Error(status)) if status.code == 410));
}

#[tokio::test]
async fn an_expired_watch_makes_the_watcher_list_again() {
    let (handle, server, client) = cluster().await;
    server.set_faults(Faults { expire_watches: true, ..Faults::default() });
    let mut events = Box::pin(watcher(Api::<Node>::all(client), watcher::Config::default()));
    while !matches!(next(&mut events).await, Ok(watcher::Event::InitDone)) {}
    assert!(next(&mut events).await.is_err());
    server.set_faults(Faults::default());
    label(&handle, "n1", "late");
    loop {
        if let Ok(watcher::Event::InitApply(node) | watcher::Event::Apply(node)) = next(&mut events).await
            && node.metadata.labels.is_some()
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_merge_patch_with_an_old_version_is_a_conflict() {
    let (_handle, _server, client) = cluster().await;
    let nodes = Api::<Node>::all(client);
    let seen = nodes.get("n1").await.unwrap().metadata.resource_version.unwrap();
    let taint = json!([{"key": "shared", "value": "true", "effect": "NoSchedule"}]);
    let patch = json!({"metadata": {"resourceVersion": seen}, "spec": {"taints": taint}});
    let params = PatchParams::default();
    let patched = nodes.patch("n1", &params, &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.spec.unwrap().taints.unwrap()[0].key, "shared");
    let again = json!({"metadata": {"resourceVersion": seen}, "spec": {"taints": null}});
    let refused = nodes.patch("n1", &params, &Patch::Merge(&again)).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
}

#[tokio::test]
async fn pods_and_events_go_through_the_typed_client() {
    let (_handle, _server, client) = cluster().await;
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}}))
        .unwrap();
    let created = pods.create(&PostParams::default(), &pod).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("p-") && name.len() == 7, "{name}");
    let requests = created.spec.unwrap().containers[0].resources.clone().unwrap().requests.unwrap();
    assert_eq!(requests["nvidia.com/gpu"].0, "2");
    let pending = ListParams::default().fields("status.phase=Pending,spec.nodeName=");
    assert_eq!(pods.list(&pending).await.unwrap().items.len(), 1);
    pods.delete(&name, &Default::default()).await.unwrap();
    assert!(pods.get_opt(&name).await.unwrap().is_none());

    let event: Event =
        serde_json::from_value(json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Node",
        "name": "n1"}, "reason": "Switched", "message": "m", "type": "Normal"}))
        .unwrap();
    let events = Api::<Event>::namespaced(client, "default");
    events.create(&PostParams::default(), &event).await.unwrap();
    let about = ListParams::default().fields("involvedObject.name=n1,reason=Switched");
    assert_eq!(events.list(&about).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_refused_request_carries_its_code_and_a_stopped_server_frees_its_port() {
    let (handle, server, client) = cluster().await;
    let nodes = Api::<Node>::all(client);
    server.set_faults(Faults { refuse_with: Some(500), ..Faults::default() });
    assert!(matches!(nodes.get("n1").await, Err(kube::Error::Api(status)) if status.code == 500));
    server.set_faults(Faults { down: true, ..Faults::default() });
    assert!(nodes.get("n1").await.is_err());
    server.set_faults(Faults::default());
    assert!(nodes.get("n1").await.is_ok());
    let address = server.address();
    server.stop().await;
    let again = ApiServer::start(handle, address).await.expect("the port is free again");
    assert_eq!(again.address(), address);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (handle, server, _client) = cluster().await;
    let refused = ApiServer::start(handle, server.address()).await.expect_err("the port is taken");
    assert!(refused.to_string().contains(&server.address().to_string()), "{refused}");
}

#[tokio::test]
async fn unknown_paths_and_broken_bodies_are_refused_with_a_status() {
    let (_handle, _server, client) = cluster().await;
    let request = |method: &str, path: &str, body: &str| {
        hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.as_bytes().to_vec())
            .unwrap()
    };
    for (method, path, body, code) in [
        ("GET", "/api/v1/secrets", "", 404),
        ("GET", "/apis/batch/v1/jobs", "", 404),
        ("POST", "/api/v1/pods", "{}", 405),
        ("POST", "/api/v1/nodes", "{", 400),
        ("POST", "/api/v1/nodes", "[]", 400),
        ("POST", "/api/v1/nodes", "{\"metadata\": 3}", 400),
        ("POST", "/api/v1/nodes", "{\"kind\": \"Pod\"}", 400),
        ("POST", "/api/v1/nodes", "{}", 422),
        ("PATCH", "/api/v1/nodes/n1", "{}", 415),
        ("POST", "/api/v1/namespaces/none/pods", "{}", 404),
        ("GET", "/api/v1/nodes?fieldSelector=spec.color%3Dred", "", 400),
        ("GET", "/api/v1/nodes?watch=1&resourceVersion=old", "", 400),
        ("GET", "/api/v1/nodes/n1/scale", "", 404),
    ] {
        let refused = client.request::<Value>(request(method, path, body)).await;
        match refused {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, code, "{method} {path}"),
            other => panic!("{method} {path}: {other:?}"),
        }
    }
}
