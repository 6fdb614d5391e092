//! Kubelets before 1.34 list pods that have ended for as long as they exist: they hold nothing, once the API server says so.

#![allow(clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::event::{BoundPod, PodPhase};
use shell::{Node, assert_replays, gpu, shared};

fn job(phase: PodPhase) -> BoundPod {
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

/// A node whose GPU 0 drains from a job's hands.
fn drains() -> Node {
    let mut node = Node::started(2);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.set_pods(vec![job(PodPhase::Admitted)]);
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(20));
    assert_eq!(node.states(), ["draining", "settled"]);
    node
}

#[test]
fn a_pod_that_has_ended_and_is_still_listed_holds_nothing() {
    let mut node = drains();
    node.set_pods(vec![job(PodPhase::Over)]);
    node.wait(Duration::from_secs(10));
    assert_eq!((node.states(), node.counts(&shared())), (vec!["settled".to_owned(); 2], (8, 8)));
    assert_replays(&node);
}

#[test]
fn another_plugin_process_is_not_misled_by_it_either() {
    let mut node = drains();
    node.set_pods(vec![job(PodPhase::Over)]);
    node.restart_plugin();
    node.wait(Duration::from_secs(20));
    assert_eq!((node.states(), node.counts(&shared())), (vec!["settled".to_owned(); 2], (8, 8)));
}

#[test]
fn what_is_handed_out_after_its_end_is_held_by_another_pod_of_that_name() {
    let mut node = drains();
    node.set_pods(vec![job(PodPhase::Over)]);
    // the next pod of a StatefulSet comes before the API server has told of it
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["draining", "settled"]);
    node.delete("job");
    node.wait(Duration::from_secs(20));
    assert_eq!(node.states(), ["settled", "settled"]);
    assert_replays(&node);
}

#[test]
fn without_an_api_server_that_says_so_what_is_listed_holds() {
    let mut node = drains();
    node.api_is_up = false;
    node.wait(Duration::from_secs(120));
    assert_eq!(node.states(), ["draining", "settled"]);
}
