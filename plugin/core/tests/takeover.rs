//! Registrations that come to nothing, and other plugins, told to the core alone.

mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use shell::{Node, assert_replays, gpu};

fn shows(ids: &[&str]) -> Option<BTreeMap<String, Vec<String>>> {
    Some([(gpu().to_string(), ids.iter().map(|id| (*id).to_owned()).collect())].into())
}

/// The socket names that were registered, in order.
fn endpoints(node: &Node) -> Vec<String> {
    let endpoints = node.actions.iter().filter_map(|action| match action {
        Action::Register { endpoint, .. } => Some(endpoint.clone()),
        _ => None,
    });
    endpoints.collect()
}

fn looks(node: &Node) -> usize {
    node.actions.iter().filter(|a| matches!(a, Action::ReadAllocatable { .. })).count()
}

fn said<'a>(node: &'a Node, reason: &str) -> Vec<&'a String> {
    node.said.iter().filter(|s| s.starts_with(reason)).collect()
}

#[test]
fn a_registration_that_the_kubelet_shows_is_looked_at_once_and_then_every_five_minutes() {
    let mut node = Node::started(2);
    node.wait(Duration::from_secs(10));
    assert_eq!((looks(&node), endpoints(&node).len()), (1, 1));
    node.wait(Duration::from_secs(3_600));
    assert_eq!((looks(&node), endpoints(&node).len()), (13, 1));
    assert_replays(&node);
}

#[test]
fn a_take_over_that_failed_in_silence_is_tried_again_on_a_new_socket() {
    let mut node = Node::started(2);
    node.allocatable = shows(&[]);
    node.wait(Duration::from_secs(3));
    assert_eq!(endpoints(&node), ["nvidia-gpu.sock", "nvidia-gpu-2.sock"]);
    let failed = said(&node, "TakeoverFailed");
    assert_eq!(failed.len(), 1, "{:?}", node.said);
    let parts =
        ["`nvidia.com/gpu`", "2 of its healthy devices", "never opened ListAndWatch", "`GPU-0`, `GPU-1`"];
    assert!(parts.iter().all(|part| failed[0].contains(part)), "{failed:?}");
    node.allocatable = Some(BTreeMap::new());
    node.wait(Duration::from_secs(60));
    assert_eq!(endpoints(&node).len(), 2, "now it is shown");
    assert!(node.plugin.view().status.ready);
    assert_replays(&node);
}

#[test]
fn one_difference_is_a_list_on_its_way() {
    let mut node = Node::started(2);
    node.allocatable = shows(&["GPU-0"]);
    node.wait(Duration::from_millis(1_500));
    assert_eq!(looks(&node), 1);
    node.allocatable = Some(BTreeMap::new());
    node.wait(Duration::from_secs(60));
    assert_eq!((looks(&node), endpoints(&node).len()), (2, 1));
    assert!(said(&node, "TakeoverFailed").is_empty());
}

#[test]
fn take_overs_that_keep_failing_are_tried_less_and_less_often() {
    let mut node = Node::started(1);
    node.allocatable = shows(&[]);
    node.wait(Duration::from_secs(3_600));
    let tries = endpoints(&node).len();
    assert!((50..80).contains(&tries), "about once a minute: {tries}");
    assert_eq!(said(&node, "TakeoverFailed").len(), 1);
}

#[test]
fn another_plugin_for_the_same_resource_is_named_with_its_devices_and_not_fought() {
    let mut node = Node::started(2);
    node.wait(Duration::from_secs(10));
    // it registers after us: the kubelet shows its devices, and our stream stays open
    node.allocatable = shows(&["GPU-w", "GPU-x", "GPU-y", "GPU-z"]);
    node.wait(Duration::from_secs(302));
    let rivals = said(&node, "RivalPlugin");
    assert_eq!(rivals.len(), 1, "{:?}", node.said);
    let parts =
        ["`nvidia.com/gpu`", "4 devices that are not ours", "remove one", "`GPU-w`, `GPU-x`, `GPU-y`, …"];
    assert!(parts.iter().all(|part| rivals[0].contains(part)), "{rivals:?}");
    let before = endpoints(&node).len();
    node.wait(Duration::from_secs(3_600));
    let tries = endpoints(&node).len() - before;
    assert!(tries < 80, "a registration a minute at most: {tries}");
    assert_eq!(said(&node, "RivalPlugin").len(), 1);
    assert_replays(&node);
}

#[test]
fn streams_that_end_again_and_again_without_a_restart_are_told_and_answered_later_and_later() {
    let mut node = Node::started(1);
    node.allocatable = None;
    for _ in 0..20 {
        let attempt = node.actions.iter().filter(|a| matches!(a, Action::Listen { .. })).count() as u64;
        node.tell(Event::StreamClosed { resource: gpu(), attempt });
        node.wait(Duration::from_secs(61));
    }
    assert_eq!(endpoints(&node).len(), 21, "each is answered in the end");
    let rivals = said(&node, "RivalPlugin");
    assert_eq!(rivals.len(), 1, "{:?}", node.said);
    assert!(rivals[0].contains("left `nvidia.com/gpu` 3 times in a row"), "{rivals:?}");
}

#[test]
fn a_kubelet_that_cannot_tell_is_asked_once_and_that_is_said_once() {
    let mut node = Node::started(1);
    node.allocatable = None;
    node.wait(Duration::from_secs(600));
    node.tell(Event::KubeletAppeared { age_ms: 0, has_checkpoint: true });
    node.wait(Duration::from_secs(600));
    assert_eq!(looks(&node), 1);
    assert_eq!(said(&node, "AllocatableUnknown").len(), 1, "{:?}", node.said);
    assert!(node.plugin.view().status.ready);
}

#[test]
fn a_kubelet_restart_starts_the_looks_and_the_pauses_anew() {
    let mut node = Node::started(1);
    node.allocatable = shows(&[]);
    node.wait(Duration::from_secs(600));
    node.allocatable = Some(BTreeMap::new());
    let before = (looks(&node), endpoints(&node).len());
    node.tell(Event::KubeletAppeared { age_ms: 0, has_checkpoint: true });
    node.wait(Duration::from_secs(2));
    assert_eq!((looks(&node), endpoints(&node).len()), (before.0 + 1, before.1 + 1));
    assert_eq!(endpoints(&node).last().map(String::as_str), Some("nvidia-gpu.sock"));
}

#[test]
fn a_resource_that_the_kubelet_refuses_is_tried_again_by_itself_and_less_and_less_often() {
    let mut node = Node::new(2);
    let entry = "{name: nvidia.com/gpu, rename: nvidia.com/gpu.few, devices: [1], replicas: 2}";
    let text = format!("version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - {entry}\n");
    node.files.insert("default".into(), text);
    let few: ResourceName = ResourceName::parse("nvidia.com/gpu.few").unwrap();
    node.refused.insert(few.clone());
    node.start();
    node.wait(Duration::from_secs(60));
    let count = |node: &Node, resource: &ResourceName, listens: bool| {
        let is_it = |action: &&Action| match action {
            Action::Listen { resource: r, .. } => listens && r == resource,
            Action::Register { resource: r, .. } => !listens && r == resource,
            _ => false,
        };
        node.actions.iter().filter(is_it).count()
    };
    assert_eq!((count(&node, &gpu(), true), count(&node, &gpu(), false)), (1, 1), "the other one serves");
    let tries = count(&node, &few, false);
    assert!((10..=16).contains(&tries), "{tries} tries in a minute: 20 ms apart at first, 10 s in the end");
    assert_eq!(count(&node, &few, true), 1, "on one socket");
    node.refused.clear();
    node.wait(Duration::from_secs(10));
    assert_eq!(count(&node, &few, false), tries + 1);
    node.wait(Duration::from_secs(60));
    assert_eq!(count(&node, &few, false), tries + 1, "it serves");
    assert_eq!(count(&node, &gpu(), false), 1);
    assert_replays(&node);
}
