//! The kubelet's own start, end and restart, its files, and podresources.

use super::plugin::TestPlugin;
use super::*;
use crate::kubelet::ledger::{CHECKPOINT_FILE, Checkpoint};
use plugin_api::podresources::{
    AllocatableResourcesRequest, GetPodResourcesRequest, ListPodResourcesRequest,
};
use std::os::unix::fs::PermissionsExt as _;
use tonic::Code;

#[tokio::test]
async fn a_start_sweeps_sockets_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("device-plugins");
    std::fs::create_dir_all(plugins.join("folder")).unwrap();
    let keep = ["file", "folder/inner.sock"];
    let sweep = ["old.sock", ".hidden", "link.sock"];
    std::fs::write(plugins.join("file"), "kept").unwrap();
    for socket in ["old.sock", ".hidden", "folder/inner.sock"] {
        drop(std::os::unix::net::UnixListener::bind(plugins.join(socket)).unwrap());
    }
    std::os::unix::fs::symlink(plugins.join("folder/inner.sock"), plugins.join("link.sock")).unwrap();
    let kubelet = Kubelet::start(Node::settings(dir.path())).await.unwrap();
    assert!(kubelet.is_serving());
    for name in keep {
        assert!(plugins.join(name).exists(), "{name} stays");
    }
    for name in sweep {
        assert!(std::fs::symlink_metadata(plugins.join(name)).is_err(), "{name} goes");
    }
}

#[tokio::test]
async fn a_stopped_kubelet_ends_streams_and_refuses_connections_on_a_socket_that_stays() {
    let node = Node::start().await;
    let mut plugin = node.plugin("p.sock", "a", PLAIN).await;
    plugin.wait_for_streams(1).await;
    node.kubelet.stop().await;
    plugin.wait_for_streams(0).await;
    let socket = node.plugins_dir().join(KUBELET_SOCKET);
    assert!(socket.exists());
    let refused = std::os::unix::net::UnixStream::connect(&socket).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(node.kubelet.admit(&pod("p1", 1)).await, Err(AdmitError::KubeletGone));
}

#[tokio::test]
async fn a_restart_keeps_running_pods_and_their_devices_while_the_plugin_is_away() {
    let mut node = Node::start().await;
    let mut plugin = node.plugin("p.sock", "a b", EVERYTHING).await;
    let held = node.kubelet.admit(&pod("p1", 1)).await.unwrap().devices;
    let options = node.kubelet.start_container("p1", "app").await.unwrap();
    let allocations =
        |plugin: &TestPlugin| plugin.calls().iter().filter(|c| c.starts_with("allocate")).count();

    node.restart().await;
    plugin.wait_for_streams(0).await;
    assert!(!node.plugins_dir().join("p.sock").exists(), "the plugin's socket was swept");
    assert_eq!(node.counts(), Some((0, 0)));
    let admission = node.kubelet.admit(&pod("p1", 1)).await.unwrap();
    assert_eq!(admission.devices, held);
    node.kubelet.sources_ready();
    assert_eq!(node.kubelet.start_container("p1", "app").await.unwrap(), options);
    assert_eq!(allocations(&plugin), 1);
    rejection(node.kubelet.admit(&pod("p2", 1)).await);

    plugin.kill();
    let plugin = node.plugin("p.sock", "a b", EVERYTHING).await;
    let other = node.kubelet.admit(&pod("p3", 1)).await.unwrap().devices;
    assert_ne!(other, held);
    assert_eq!(allocations(&plugin), 1, "only the new pod is allocated");
}

#[tokio::test]
async fn the_checkpoint_file_is_private_and_readable_and_a_bad_one_is_ignored() {
    let mut node = Node::start().await;
    let _plugin = node.plugin("p.sock", "a", PLAIN).await;
    node.kubelet.admit(&pod("p1", 1)).await.unwrap();
    let path = node.plugins_dir().join(CHECKPOINT_FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let entries = Checkpoint::from_text(&text).unwrap().entries.unwrap();
    assert_eq!(entries[0].pod_uid, "p1");
    std::fs::write(&path, text.replace("p1", "p2")).unwrap();
    node.restart().await;
    assert!(node.kubelet.devices_of("p1").is_empty() && node.kubelet.devices_of("p2").is_empty());
    assert_eq!(node.count(|event| matches!(event, WireEvent::CheckpointFailed { .. })), 1);
    assert!(path.exists(), "it is left as it is");
}

#[tokio::test]
async fn podresources_tells_who_holds_what() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b", PLAIN).await;
    node.kubelet.admit(&pod("p1", 1)).await.unwrap();
    plugin.send("a b !c");
    node.until_counts(3, 2).await;
    let mut client = node.pod_resources().await;
    let listed = client.list(ListPodResourcesRequest {}).await.unwrap().into_inner().pod_resources;
    assert_eq!((listed[0].name.as_str(), listed[0].namespace.as_str()), ("p1", "default"));
    let held = node.kubelet.devices_of("p1")["app"][RES].clone();
    assert_eq!(listed[0].containers[0].devices[0].device_ids, held);
    let get = |name: &str| GetPodResourcesRequest {
        pod_name: name.to_owned(),
        pod_namespace: "default".to_owned(),
    };
    let one = client.get(get("p1")).await.unwrap().into_inner().pod_resources;
    assert_eq!(one.as_ref(), Some(&listed[0]));
    let all = client.get_allocatable_resources(AllocatableResourcesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.devices.len(), 2);
    node.kubelet.pod_terminated("p1");
    let status = client.get(get("p1")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "pod p1 in namespace default not found"));
}

#[tokio::test]
async fn podresources_refuses_calls_beyond_its_rate() {
    let node = Node::start().await;
    let mut client = node.pod_resources().await;
    let begun = std::time::Instant::now();
    let mut allowed = 0.0;
    let refused = loop {
        match client.list(ListPodResourcesRequest {}).await {
            Ok(_) => allowed += 1.0,
            Err(status) => break status,
        }
        assert!(begun.elapsed() < PATIENCE, "the limit never came");
    };
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "rejected by rate limit"));
    let most = CALLS_BURST + CALLS_PER_SECOND * begun.elapsed().as_secs_f64();
    assert!(CALLS_BURST <= allowed && allowed <= most, "{allowed} of at most {most}");
}

#[tokio::test]
async fn a_list_can_be_late_refused_or_of_pods_that_have_gone() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b", PLAIN).await;
    node.kubelet.admit(&pod("p1", 1)).await.unwrap();
    plugin.send("a b");
    node.until_counts(2, 2).await;
    let mut client = node.pod_resources().await;
    let listed = async |client: &mut PodResourcesListerClient<Channel>| {
        let answer = client.list(ListPodResourcesRequest {}).await?.into_inner();
        Ok::<_, Status>(answer.pod_resources.into_iter().map(|pod| pod.name).collect::<Vec<_>>())
    };
    node.kubelet.trouble_list(Some(ListTrouble::Slow(Duration::from_millis(50))));
    let begun = std::time::Instant::now();
    assert_eq!(listed(&mut client).await.unwrap(), ["p1"]);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    node.kubelet.trouble_list(Some(ListTrouble::Limited));
    assert_eq!(listed(&mut client).await.unwrap_err().code(), Code::ResourceExhausted);
    node.kubelet.trouble_list(Some(ListTrouble::Stale));
    node.kubelet.pod_terminated("p1");
    assert_eq!(listed(&mut client).await.unwrap(), ["p1"]);
    node.kubelet.trouble_list(None);
    assert!(listed(&mut client).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120));
    let error = Kubelet::start(KubeletSettings::new(&long, dir.path())).await.unwrap_err();
    assert!(matches!(&error, KubeletError::Bind { path, .. } if path.starts_with(&long)), "{error}");
}
