//! Pods on a node with a plugin.

use super::plugin::{OnAllocate, answer};
use super::*;
use crate::kubelet::profile::Profile;

#[tokio::test]
async fn a_pod_gets_exactly_what_the_plugin_answered() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b c d", EVERYTHING).await;
    let admission = node.kubelet.admit(&pod("p1", 2)).await.unwrap();
    let ids = &admission.devices["app"][RES];
    assert_eq!(ids, &["c", "d"], "the plugin's preference");
    assert_eq!(node.kubelet.devices_of("p1"), admission.devices);
    let options = node.kubelet.start_container("p1", "app").await.unwrap();
    let answered = answer(ids);
    assert_eq!((options.envs, options.annotations), (answered.envs, answered.annotations));
    assert_eq!((options.mounts, options.devices), (answered.mounts, answered.devices));
    assert_eq!(options.cdi_devices, ["vendor.test/dev=c", "vendor.test/dev=d"]);
    let calls = ["options", "list", "prefer a b c d", "allocate c d", "prepare c d"];
    assert_eq!(plugin.calls(), calls);
    node.kubelet.start_container("p1", "app").await.unwrap();
    assert_eq!(plugin.calls().len(), calls.len() + 1, "prepared again, not allocated again");
    assert_eq!(node.kubelet.running()["p1"].len(), 1);
    node.kubelet.container_stopped("p1", "app");
    assert!(node.kubelet.running().is_empty());
}

#[tokio::test]
async fn init_containers_devices_are_reused() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b c", EVERYTHING).await;
    let mut wanted = pod("p1", 1);
    let limits = BTreeMap::from([(RES.to_owned(), 3)]);
    let init = ContainerRequest { name: "init".to_owned(), kind: ContainerKind::Init, limits };
    wanted.containers.insert(0, init);
    let admission = node.kubelet.admit(&wanted).await.unwrap();
    assert_eq!(admission.devices["init"][RES], ["a", "b", "c"]);
    assert_eq!(admission.devices["app"][RES].len(), 1);
    let prefers = plugin.calls().iter().filter(|call| call.starts_with("prefer")).count();
    assert_eq!(prefers, 1, "reuse that covers the request asks nothing");
}

#[tokio::test]
async fn a_plugins_refusal_is_the_pods_message() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a b", PLAIN).await;
    plugin.next_allocate(OnAllocate::Fail("request for 'a': too many"));
    let (reason, message) = rejection(node.kubelet.admit(&pod("p1", 2)).await);
    assert_eq!(reason, "UnexpectedAdmissionError");
    assert_eq!(
        message,
        "Pod was rejected: Allocate failed due to rpc error: code = Unknown desc = request for 'a': too many, \
         which is unexpected"
    );
    let admitted = node.kubelet.admit(&pod("p2", 2)).await;
    assert!(admitted.is_ok(), "nothing stays in use: {admitted:?}");
}

#[tokio::test]
async fn an_answer_without_a_container_is_refused_and_its_devices_leak() {
    let node = Node::start().await;
    let plugin = node.plugin("p.sock", "a", PLAIN).await;
    plugin.next_allocate(OnAllocate::AnswerNothing);
    let (_, message) = rejection(node.kubelet.admit(&pod("p1", 1)).await);
    assert!(message.contains("due to no containers return in allocation response, which"), "{message}");
    let (_, message) = rejection(node.kubelet.admit(&pod("p2", 1)).await);
    assert!(message.contains("Requested: 1, Available: 0, which is unexpected"), "{message}");
}

#[tokio::test]
async fn a_plugin_that_dies_in_allocate_is_unavailable() {
    let node = Node::start().await;
    let mut plugin = node.plugin("p.sock", "a", PLAIN).await;
    plugin.next_allocate(OnAllocate::Hang);
    let wanted = pod("p1", 1);
    let die = async {
        // The options, the list and this.
        plugin.wait_for_calls(3).await;
        plugin.kill();
    };
    let (outcome, ()) = tokio::join!(node.kubelet.admit(&wanted), die);
    let (_, message) = rejection(outcome);
    let expected = "rpc error: code = Unavailable desc = error reading from server: EOF, which is unexpected";
    assert!(message.ends_with(expected), "{message}");
}

#[tokio::test]
async fn a_plugin_orphaned_by_a_failed_registration_leaves_an_unreachable_resource() {
    let node = Node::start_with(|settings| settings.dial_timeout = Duration::from_millis(50)).await;
    let mut plugin = node.plugin("p.sock", "a b", PLAIN).await;
    assert!(node.register("missing.sock").await.is_err());
    plugin.kill();
    node.until(|node| node.count(|event| matches!(event, WireEvent::StreamEnded { .. })) == 1).await;
    assert_eq!(node.counts(), Some((2, 2)), "nobody notices its death");
    let (_, message) = rejection(node.kubelet.admit(&pod("p1", 1)).await);
    let socket = node.plugins_dir().join("p.sock");
    let expected = format!(
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix \
         {}: connect: connection refused\"",
        socket.display()
    );
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn a_plugin_that_hangs_holds_up_every_other_pod_until_the_kubelet_ends() {
    let node = Node::start().await;
    let mut plugin = node.plugin("p.sock", "a b", PLAIN).await;
    plugin.next_allocate(OnAllocate::Hang);
    let (first, second) = (pod("p1", 1), pod("p2", 1));
    let stop = async {
        // The options, the list and this.
        plugin.wait_for_calls(3).await;
        node.kubelet.stop().await;
    };
    let (one, two, ()) = tokio::join!(node.kubelet.admit(&first), node.kubelet.admit(&second), stop);
    assert_eq!((one, two), (Err(AdmitError::KubeletGone), Err(AdmitError::KubeletGone)));
    assert_eq!(plugin.calls().iter().filter(|call| call.starts_with("allocate")).count(), 1);
}

#[tokio::test]
async fn a_device_removed_during_its_allocate_kills_only_the_kubelet_that_has_the_defect() {
    for (profile, survives) in [(Profile::v1_36(), false), (Profile::fixed(), true)] {
        let node = Node::start_with(|settings| settings.ledger.profile = profile).await;
        let plugin = node.plugin("p.sock", "a", PLAIN).await;
        plugin.next_allocate(OnAllocate::ListFirst("b"));
        let wanted = pod("p1", 1);
        let shrink = async {
            let lists = |node: &Node| node.count(|e| matches!(e, WireEvent::ListReceived { .. })) == 2;
            node.until(lists).await;
            plugin.go_on();
        };
        let (outcome, ()) = tokio::join!(node.kubelet.admit(&wanted), shrink);
        assert_eq!(outcome.is_ok(), survives, "{outcome:?}");
        assert_eq!(node.kubelet.is_serving(), survives);
    }
}

#[tokio::test]
async fn a_preparation_that_takes_too_long_fails_the_start() {
    let short = Duration::from_secs(1);
    let node = Node::start_with(|settings| settings.pre_start_timeout = short).await;
    let plugin = node.plugin("p.sock", "a", EVERYTHING).await;
    node.kubelet.admit(&pod("p1", 1)).await.unwrap();
    plugin.seen.lock().unwrap().hang_pre_start = true;
    let error = node.kubelet.start_container("p1", "app").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "device plugin PreStartContainer rpc failed with err: rpc error: code = DeadlineExceeded desc = context \
         deadline exceeded"
    );
    plugin.seen.lock().unwrap().hang_pre_start = false;
    assert!(node.kubelet.start_container("p1", "app").await.is_ok(), "worth another try");
}

#[tokio::test]
async fn a_pod_with_devices_fits_although_the_node_object_still_shows_none() {
    let node = Node::start().await;
    let _plugin = node.plugin("p.sock", "a b", PLAIN).await;
    node.kubelet.set_node_allocatable(BTreeMap::from([(RES.to_owned(), 0)]));
    for uid in ["p1", "p2"] {
        let outcome = node.kubelet.admit(&pod(uid, 1)).await;
        assert!(outcome.is_ok(), "the figure is raised to what is in use: {outcome:?}");
    }
}

#[tokio::test]
async fn a_resource_without_a_plugin_is_refused_if_the_node_shows_zero_and_ignored_if_it_shows_nothing() {
    let node = Node::start().await;
    let other = |uid: &str| {
        let mut wanted = pod(uid, 1);
        wanted.containers[0].limits = BTreeMap::from([("other.test/dev".to_owned(), 1)]);
        wanted
    };
    assert!(node.kubelet.admit(&other("p1")).await.is_ok(), "it runs without a device");
    node.kubelet.pod_removed("p1");
    node.kubelet.set_node_allocatable(BTreeMap::from([("other.test/dev".to_owned(), 0)]));
    let (reason, message) = rejection(node.kubelet.admit(&other("p2")).await);
    assert_eq!(reason, "OutOfother.test/dev");
    assert_eq!(
        message,
        "Pod was rejected: Node didn't have enough resource: other.test/dev, requested: 1, used: 0, capacity: 0"
    );
}

#[tokio::test]
async fn admission_can_run_on_a_task_of_its_own() {
    let node = Node::start().await;
    let _plugin = node.plugin("p.sock", "a", EVERYTHING).await;
    let kubelet = std::sync::Arc::new(node.kubelet);
    let task = tokio::spawn(async move {
        kubelet.admit(&pod("p1", 1)).await.unwrap();
        kubelet.start_container("p1", "app").await.unwrap()
    });
    assert_eq!(task.await.unwrap().envs["DEVICES"], "a");
}
