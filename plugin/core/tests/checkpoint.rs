//! Plain init containers hold GPUs too, and only the kubelet's checkpoint and the API server know of them.

#![allow(clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::{BoundPod, Checkpoint, CheckpointEntry, PodPhase};
use shell::{MPS, Node, assert_replays, gpu, shared};

fn init_container(ids: &[&str]) -> Checkpoint {
    Checkpoint::Read {
        entries: vec![CheckpointEntry {
            pod_uid: "u1".into(),
            container: "prepare".into(),
            resource: gpu().to_string(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }],
    }
}

fn pod(phase: PodPhase) -> BoundPod {
    BoundPod {
        uid: "u1".into(),
        namespace: "default".into(),
        name: "job".into(),
        phase,
        deleting: false,
        requests: [(gpu().to_string(), 1)].into(),
        owner: None,
        created_s: 0,
    }
}

/// A node whose GPU 0 has an init container, and which is asked to share its GPUs.
fn flipped(api_is_up: bool) -> Node {
    let mut node = Node::started(2);
    node.checkpoint = init_container(&["GPU-0"]);
    node.set_pods(vec![pod(PodPhase::Admitted)]);
    node.api_is_up = api_is_up;
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(60));
    node
}

fn holders(node: &Node) -> Vec<String> {
    node.plugin.view().status.gpus[0].holders.clone()
}

#[test]
fn a_gpu_of_an_init_container_drains_until_its_pod_is_over() {
    let mut node = flipped(true);
    assert_eq!((node.states()[0].as_str(), node.states()[1].as_str()), ("draining", "settled"));
    assert_eq!((node.counts(&gpu()), node.counts(&shared())), ((1, 1), (4, 4)));
    assert_eq!(holders(&node), ["default/job/prepare"]);
    assert!(node.pods_watched.is_some());
    node.set_pods(vec![pod(PodPhase::Over)]);
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["settled", "settled"], "the file still has the entry");
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_eq!(node.pods_watched, None, "nobody waits any more");
    assert_replays(&node);
}

#[test]
fn an_entry_of_a_deleted_pod_delays_a_flip_by_one_question_to_the_api_server() {
    let mut node = Node::started(1);
    node.checkpoint = init_container(&["GPU-0"]);
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(15));
    assert_eq!(node.states(), ["settled"]);
    assert_eq!(node.counts(&shared()), (4, 4));
}

#[test]
fn where_no_api_server_answers_an_unknown_pod_keeps_its_gpu_for_five_minutes() {
    let mut node = flipped(false);
    assert_eq!(node.states()[0], "draining");
    assert_eq!(holders(&node), ["pod u1/prepare"]);
    node.wait(Duration::from_secs(330));
    assert_eq!(node.states(), ["settled", "settled"], "nor can it be tainted");
}

#[test]
fn a_damaged_checkpoint_is_said_once_and_stops_nothing() {
    let mut node = Node::started(1);
    node.checkpoint = Checkpoint::Damaged { why: "`/var/lib/kubelet/x`: no JSON".into() };
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["settled"]);
    let said = node.said.iter().filter(|said| said.starts_with("CheckpointUnreadable")).count();
    assert_eq!(said, 1);
}

#[test]
fn a_plugin_that_starts_finds_the_init_container_under_the_role_that_it_knows() {
    let mut node = Node::started(2);
    node.checkpoint = init_container(&["GPU-0"]);
    node.pods = vec![pod(PodPhase::Admitted)];
    node.files = [("default".to_owned(), MPS.to_owned())].into();
    node.supervisor_alive = true;
    node.restart_plugin();
    node.wait(Duration::from_secs(30));
    assert_eq!(node.states(), ["draining", "settled"]);
    assert_eq!(node.counts(&gpu()), (1, 1));
}

#[test]
fn a_node_in_peace_asks_nothing_about_pods() {
    let mut node = Node::started(2);
    node.checkpoint = init_container(&["GPU-0"]);
    node.admit("p", &gpu(), &["GPU-1"]).unwrap();
    node.wait(Duration::from_secs(600));
    assert!(!node.actions.iter().any(|action| matches!(action, Action::WatchPods { .. })));
}

#[test]
fn where_the_kubelet_never_lists_who_holds_a_gpu_its_checkpoint_tells() {
    let mut node = Node::started(2);
    let sliced = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, rename: gpu.turns, replicas: 2}]}}";
    node.files = [("default".to_owned(), sliced.to_owned())].into();
    node.checkpoint = init_container(&["GPU-0"]);
    node.pods = vec![pod(PodPhase::Admitted)];
    node.holders_readable = false;
    node.restart_plugin();
    node.wait(Duration::from_secs(120));
    assert_eq!(node.states(), ["draining", "settled"]);
    assert_eq!(node.counts(&gpu()), (1, 1), "its own id");
    assert_eq!(holders(&node), ["default/job/prepare"]);
    node.set_pods(vec![pod(PodPhase::Over)]);
    node.wait(Duration::from_secs(60));
    assert!(holders(&node).is_empty(), "{:?}", holders(&node));
    assert_eq!(node.states(), ["draining", "settled"], "nobody vouches that it is free");
    node.holders_readable = true;
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["settled", "settled"], "the file still has the entry");
    assert_replays(&node);
}
