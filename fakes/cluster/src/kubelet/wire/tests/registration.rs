//! Registration and list streams.

use super::plugin::{TestPlugin, devices};
use super::*;
use crate::kubelet::profile::Profile;
use tonic::Code;

#[tokio::test]
async fn a_registration_is_answered_after_the_plugin_told_its_options() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b !c", PLAIN).await;
    assert_eq!(plugin.calls(), ["options", "list"]);
    assert_eq!(node.counts(), Some((3, 2)));
    plugin.send("!a b c d");
    node.until_counts(4, 3).await;
    let kinds = node.kubelet.events(0);
    let at = |wanted: fn(&WireEvent) -> bool| kinds.iter().position(|logged| wanted(&logged.event));
    let received = at(|event| matches!(event, WireEvent::RegisterReceived { .. }));
    let answered = at(|event| matches!(event, WireEvent::RegisterAnswered { error: None, .. }));
    assert!(received.is_some() && received < answered);
}

#[tokio::test]
async fn a_wrong_version_or_name_is_refused_with_code_unknown() {
    let node = Node::start().await;
    let status = node.register_as("v1", RES, "p.sock").await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(
        status.message(),
        "requested API version \"v1\" is not supported by kubelet. Supported version is [\"v1beta1\"]"
    );
    for name in ["gpu", "Vendor.test/dev", "kubernetes.io/dev", ""] {
        let status = node.register_as("v1beta1", name, "p.sock").await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(status.message(), format!("the ResourceName {name:?} is invalid"));
    }
    assert!(node.kubelet.resources().resources.is_empty());
}

#[tokio::test]
async fn a_kubelet_of_1_25_answers_first_and_then_names_the_sockets_path_which_rust_refuses() {
    let node = Node::start_with(|settings| settings.ledger.profile = Profile::v1_25()).await;
    let plugin = TestPlugin::serve(&node.plugins_dir(), "p.sock", "a b", PLAIN);
    node.register("p.sock").await.unwrap();
    let failed = |node: &Node| node.count(|event| matches!(event, WireEvent::ConnectFailed { .. })) == 1;
    node.until(failed).await;
    let events = node.kubelet.events(0);
    let whys = events.iter().filter_map(|logged| match &logged.event {
        WireEvent::ConnectFailed { why, .. } => Some(why.as_str()),
        _ => None,
    });
    assert_eq!(
        whys.collect::<Vec<_>>(),
        [
            "failed to get device plugin options: rpc error: code = Internal desc = stream terminated by RST_STREAM \
             with error code: PROTOCOL_ERROR"
        ]
    );
    assert!(plugin.calls().is_empty(), "no call reaches it");
    assert_eq!(node.counts(), None);
}

#[tokio::test]
async fn a_socket_that_nobody_serves_ends_at_the_dial_timeout() {
    let node = Node::start_with(|settings| settings.dial_timeout = Duration::from_millis(80)).await;
    for endpoint in ["missing.sock", "", "/tmp/elsewhere.sock"] {
        let status = node.register(endpoint).await.unwrap_err();
        assert_eq!(status.message(), "failed to dial device plugin: context deadline exceeded");
        assert_eq!(status.code(), Code::Unknown);
    }
    assert_eq!(node.counts(), None);
}

#[tokio::test]
async fn a_plugin_that_begins_to_serve_while_it_is_dialled_is_reached() {
    let node = Node::start().await;
    let asked = |node: &Node| node.count(|event| matches!(event, WireEvent::RegisterReceived { .. })) == 1;
    let late = async {
        node.until(asked).await;
        TestPlugin::serve(&node.plugins_dir(), "late.sock", "a", PLAIN)
    };
    let (registered, _plugin) = tokio::join!(node.register("late.sock"), late);
    registered.unwrap();
    node.until_counts(1, 1).await;
}

#[tokio::test]
async fn a_plugin_that_hangs_up_while_it_is_dialled_leaves_nothing_behind() {
    let node = Node::start().await;
    let gave_up = tokio::time::timeout(Duration::from_millis(50), node.register("missing.sock")).await;
    assert!(gave_up.is_err());
    let _plugin = node.plugin("p.sock", "a", PLAIN).await;
    assert_eq!(node.counts(), Some((1, 1)));
}

#[tokio::test]
async fn a_plugin_that_fails_to_tell_its_options_is_not_listed() {
    let node = Node::start().await;
    let plugin = TestPlugin::serve(&node.plugins_dir(), "p.sock", "a", PLAIN);
    plugin.seen.lock().unwrap().fail_options = true;
    let status = node.register("p.sock").await.unwrap_err();
    assert_eq!(
        status.message(),
        "failed to get device plugin options: rpc error: code = Internal desc = no options today"
    );
    assert_eq!(plugin.calls(), ["options"]);
    assert_eq!(node.counts(), None);
}

#[tokio::test]
async fn an_endpoint_is_joined_below_the_directory() {
    let node = Node::start().await;
    let _plugin = TestPlugin::serve(&node.plugins_dir(), "p.sock", "a", PLAIN);
    for endpoint in ["/p.sock", "../device-plugins/p.sock"] {
        node.register(endpoint).await.unwrap();
    }
    node.until_counts(1, 1).await;
}

#[tokio::test]
async fn a_second_plugin_takes_over_and_the_first_ones_end_takes_it_down() {
    let node = Node::start().await;
    let mut old = node.plugin("old.sock", "a b c", PLAIN).await;
    let mut new = node.plugin("new.sock", "a b c", PLAIN).await;
    old.wait_for_streams(1).await;
    new.wait_for_streams(1).await;
    assert_eq!(node.counts(), Some((3, 3)));
    old.kill();
    new.wait_for_streams(0).await;
    node.until_counts(3, 0).await;
    node.register(&new.endpoint).await.unwrap();
    node.until_counts(3, 3).await;
}

#[tokio::test]
async fn the_end_of_a_plugin_makes_its_devices_unhealthy_until_it_registers_again() {
    let node = Node::start().await;
    let mut plugin = node.plugin("p.sock", "a b", PLAIN).await;
    plugin.kill();
    node.until_counts(2, 0).await;
    let (reason, message) = rejection(node.kubelet.admit(&pod("p1", 1)).await);
    assert_eq!(reason, "UnexpectedAdmissionError");
    assert_eq!(
        message,
        "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices \
         vendor.test/dev, which is unexpected"
    );
    let _again = node.plugin("p.sock", "a b", PLAIN).await;
    assert_eq!(node.counts(), Some((2, 2)));
    assert!(node.kubelet.admit(&pod("p2", 1)).await.is_ok());
}

#[tokio::test]
async fn a_plugin_that_stays_away_loses_its_resource_when_the_node_asks() {
    let grace = Duration::from_millis(30);
    let node = Node::start_with(|settings| settings.ledger.endpoint_stop_grace = grace).await;
    let mut plugin = node.plugin("p.sock", "a b", PLAIN).await;
    plugin.kill();
    node.until(|node| node.count(|event| matches!(event, WireEvent::StreamEnded { .. })) == 1).await;
    tokio::time::sleep(grace * 2).await;
    let shown = node.kubelet.resources();
    assert!(shown.resources.is_empty() && shown.removed.contains(RES));
    assert_eq!(node.count(|event| matches!(event, WireEvent::ResourceRemoved { .. })), 1);
    assert!(node.kubelet.resources().removed.contains(RES), "its key stays");
}

#[tokio::test]
async fn a_list_over_four_mebibytes_ends_the_stream() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a", PLAIN).await;
    let long_ids = |count: usize| (0..count).map(|id| format!("{id:060}")).collect::<Vec<_>>().join(" ");
    plugin.send_devices(devices(&long_ids(50_000)));
    node.until_counts(50_000, 50_000).await;
    plugin.send_devices(devices(&long_ids(60_000)));
    node.until_counts(50_000, 0).await;
}
