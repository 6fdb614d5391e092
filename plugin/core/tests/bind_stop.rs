//! A change of roles refuses nobody: binds are stopped, pods on their way are admitted, then ids are withdrawn.

#![allow(clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::event::{BoundPod, Event, PodPhase};
use plugin_core::plugin::Settings;
use plugin_core::withdraw::SWITCHING;
use shell::{Node, assert_replays, gpu, shared};

const SLICED: &str = "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A node of two whole GPUs with a configuration that shares them.
fn node() -> Node {
    let mut node = Node::new(2);
    node.files.insert("sliced".into(), SLICED.into());
    node.start();
    assert_eq!(node.counts(&gpu()), (2, 2));
    node
}

fn pod(name: &str, phase: PodPhase) -> BoundPod {
    BoundPod {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        phase,
        deleting: false,
        requests: [(gpu().to_string(), 1)].into(),
        owner: None,
        created_s: 0,
    }
}

fn is_tainted(node: &Node) -> bool {
    node.taints.iter().any(|taint| taint.key == SWITCHING && taint.effect == "NoSchedule")
}

#[test]
fn a_pod_that_is_bound_and_not_admitted_is_waited_for_and_then_holds_its_gpu() {
    let mut node = node();
    node.set_pods(vec![pod("late", PodPhase::Bound)]);
    node.set_config_label(Some("sliced"));
    node.wait(seconds(5));
    assert!(is_tainted(&node));
    assert_eq!(
        (node.counts(&gpu()), node.counts(&shared())),
        ((2, 2), (0, 0)),
        "its device is there when it comes"
    );
    node.admit("late", &gpu(), &["GPU-1"]).unwrap();
    node.wait(seconds(3));
    assert_eq!(node.states(), ["settled", "draining"]);
    assert_eq!((node.counts(&gpu()).1, node.counts(&shared())), (1, (4, 4)));
    node.wait(seconds(2));
    assert!(!is_tainted(&node), "a GPU that drains keeps nobody away");
    node.set_pods(vec![pod("late", PodPhase::Admitted)]);
    node.delete("late");
    node.set_pods(Vec::new());
    node.wait(seconds(40));
    assert_eq!((node.counts(&gpu()), node.counts(&shared())), ((0, 0), (8, 8)));
    assert!(!is_tainted(&node));
    assert_replays(&node);
}

#[test]
fn a_pod_that_is_never_admitted_is_named_after_a_bounded_wait() {
    let mut node = node();
    node.set_pods(vec![pod("stuck", PodPhase::Bound)]);
    node.set_config_label(Some("sliced"));
    node.wait(seconds(29));
    assert_eq!(node.counts(&gpu()), (2, 2));
    node.wait(seconds(3));
    assert_eq!(node.counts(&shared()), (8, 8));
    let said = node.said.iter().find(|said| said.starts_with("PodsNotAwaited")).unwrap();
    assert!(said.contains("default/stuck"), "{said}");
}

#[test]
fn pods_that_ask_for_nothing_of_ours_or_are_admitted_keep_nobody_waiting() {
    let mut node = node();
    let mut other = pod("other", PodPhase::Bound);
    other.requests = [("example.com/fpga".to_owned(), 1)].into();
    node.set_pods(vec![other, pod("runs", PodPhase::Admitted), pod("ended", PodPhase::Over)]);
    node.set_config_label(Some("sliced"));
    node.wait(seconds(1));
    assert_eq!(node.counts(&shared()), (8, 8));
}

#[test]
fn the_taint_stays_until_the_nodes_figures_follow_and_not_for_good() {
    let mut node = node();
    node.kubelet_tells = false;
    node.set_config_label(Some("sliced"));
    node.wait(seconds(10));
    assert_eq!(node.counts(&shared()), (8, 8));
    assert!(is_tainted(&node), "the Node still promises two whole GPUs");
    node.tell(Event::FiguresRead { allocatable: [(gpu().to_string(), 0)].into() });
    node.wait(seconds(1));
    assert!(!is_tainted(&node));
    node.tell(Event::FiguresRead { allocatable: [(shared().to_string(), 8)].into() });
    node.set_config_label(None);
    node.wait(seconds(20));
    assert!(is_tainted(&node));
    node.wait(seconds(20));
    assert!(!is_tainted(&node), "the kubelet does not write its Node");
    assert!(node.said.iter().any(|said| said.starts_with("FiguresDoNotFollow")), "{:?}", node.said);
}

#[test]
fn while_the_api_server_is_away_the_nodes_figures_cannot_follow_and_the_taint_stays_for_when_it_is_back() {
    let mut node = node();
    node.kubelet_tells = false;
    node.set_config_label(Some("sliced"));
    node.wait(seconds(5));
    assert_eq!(node.counts(&shared()), (8, 8));
    node.api_is_up = false;
    node.tell_node();
    node.wait(seconds(120));
    node.api_is_up = true;
    node.tell_node();
    node.wait(seconds(5));
    assert!(is_tainted(&node), "its scheduler still believes in two whole GPUs");
    node.tell(Event::FiguresRead { allocatable: [(shared().to_string(), 8)].into() });
    node.wait(seconds(1));
    assert!(!is_tainted(&node));
}

#[test]
fn an_id_that_its_holder_leaves_during_a_drain_stays_for_who_is_bound_to_it() {
    let mut node = node();
    node.admit("holder", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("sliced"));
    node.wait(seconds(5));
    assert_eq!(node.states(), ["draining", "settled"]);
    // the holder ends, and a pod is bound in its place before anybody can stop that
    node.delete("holder");
    node.set_pods(vec![pod("next", PodPhase::Bound)]);
    node.wait(seconds(5));
    assert_eq!(node.counts(&gpu()).1, 1, "its id is healthy when the kubelet comes to it");
    assert!(is_tainted(&node));
    node.admit("next", &gpu(), &["GPU-0"]).unwrap();
    node.wait(seconds(5));
    assert_eq!((node.states()[0].as_str(), node.counts(&gpu()).1), ("draining", 1));
    assert!(!is_tainted(&node));
}

#[test]
fn a_process_that_finds_the_taint_of_an_earlier_one_takes_it_away() {
    let mut node = node();
    node.set_pods(vec![pod("late", PodPhase::Bound)]);
    node.set_config_label(Some("sliced"));
    assert!(is_tainted(&node));
    node.set_config_label(None);
    node.set_config_label(Some("sliced"));
    node.set_pods(Vec::new());
    node.labels.remove(shell::CONFIG_LABEL);
    node.restart_plugin();
    node.wait(seconds(40));
    assert!(!is_tainted(&node));
    assert_eq!(node.counts(&gpu()), (2, 2));
}

#[test]
fn a_flip_that_is_taken_back_while_pods_are_waited_for_takes_nothing_away() {
    let mut node = node();
    node.set_pods(vec![pod("late", PodPhase::Bound)]);
    node.set_config_label(Some("sliced"));
    node.wait(seconds(5));
    node.set_config_label(None);
    node.wait(seconds(5));
    assert!(!is_tainted(&node));
    assert_eq!((node.counts(&gpu()), node.states()), ((2, 2), vec!["settled".to_owned(); 2]));
}

#[test]
fn without_a_node_name_nobody_is_waited_for_and_that_is_said() {
    let mut node = Node::new(1);
    let settings = Settings { node_name: None, ..Node::settings() };
    node.files = [("default".to_owned(), shell::DEFAULT.to_owned())].into();
    node.tell(Event::Started { settings: Box::new(settings), mps_desired: None });
    node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
    node.tell(Event::ConfigRead { files: node.files.clone() });
    assert_eq!(node.counts(&gpu()), (1, 1));
    node.edit("default", SLICED);
    node.wait(seconds(1));
    assert_eq!(node.counts(&shared()), (4, 4));
    assert!(node.said.iter().any(|said| said.starts_with("PodsNotAwaited")), "{:?}", node.said);
}

#[test]
fn without_an_api_server_a_flip_waits_and_then_goes_on() {
    let mut node = node();
    node.api_is_up = false;
    node.edit("default", SLICED);
    node.taints_refused = true;
    node.wait(seconds(29));
    assert_eq!(node.counts(&gpu()), (2, 2));
    node.wait(seconds(5));
    assert_eq!(node.counts(&shared()), (8, 8));
    assert!(node.said.iter().any(|said| said.contains(SWITCHING)), "{:?}", node.said);
}

#[test]
fn who_waits_for_a_whole_gpu_does_not_take_the_one_that_drains() {
    let mut node = node();
    node.admit("holder", &gpu(), &["GPU-0"]).unwrap();
    node.set_pods(vec![pod("holder", PodPhase::Admitted)]);
    node.set_config_label(Some("sliced"));
    node.wait(seconds(5));
    assert!(!is_tainted(&node));
    node.set_pods(vec![BoundPod { deleting: true, ..pod("holder", PodPhase::Admitted) }]);
    node.wait(seconds(2));
    assert!(is_tainted(&node), "its device is free in a moment, and somebody may wait for it");
    assert_eq!(node.counts(&gpu()).1, 1, "and is still its own");
    node.delete("holder");
    node.set_pods(Vec::new());
    node.wait(seconds(5));
    assert_eq!((node.counts(&gpu()).1, node.counts(&shared())), (0, (8, 8)));
    assert!(!is_tainted(&node));
}

#[test]
fn a_holder_that_takes_its_time_to_end_keeps_pods_away_for_a_minute_at_most() {
    let mut node = node();
    node.admit("holder", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("sliced"));
    node.set_pods(vec![BoundPod { deleting: true, ..pod("holder", PodPhase::Admitted) }]);
    node.wait(seconds(50));
    assert!(is_tainted(&node));
    node.wait(seconds(20));
    assert!(!is_tainted(&node));
    assert_eq!(node.states()[0], "draining");
}
