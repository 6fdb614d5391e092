//! A plugin and its kubelet start together, told to the core alone: the kubelet's first lists are empty whoever holds what.

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::Event;
use shell::{MPS, Node, assert_replays, gpu, shared};

/// A node with a pod on GPU 0, whose plugin and kubelet have just started: the kubelet lists nobody yet.
fn both_start(age_ms: u64, has_checkpoint: bool) -> Node {
    let mut node = Node::started(2);
    assert!(node.admit("training", &gpu(), &["GPU-0"]).is_ok());
    let files = [("default".to_owned(), MPS.to_owned())].into();
    node.files = files;
    node.supervisor_alive = true;
    let holdings = std::mem::take(&mut node.holdings);
    node.kubelet = (age_ms, has_checkpoint);
    node.restart_plugin();
    node.holdings = holdings;
    node
}

#[test]
fn an_empty_list_of_a_kubelet_that_starts_frees_no_gpu() {
    let mut node = both_start(0, true);
    assert_eq!(node.states(), ["found", "found"]);
    assert_eq!((node.counts(&gpu()), node.counts(&shared())), ((0, 0), (0, 0)));
    node.wait(Duration::from_secs(10));
    assert_eq!(node.states(), ["draining", "settled"], "the pod was listed in time");
    assert_eq!(node.counts(&gpu()), (1, 1));
    assert_eq!(node.counts(&shared()), (4, 4));
    assert_replays(&node);
}

#[test]
fn a_gpu_that_a_starting_kubelet_lists_as_held_serves_its_holder_at_once() {
    let mut node = both_start(0, true);
    node.wait(Duration::from_secs(2));
    assert_eq!(node.states(), ["draining", "found"]);
    assert_eq!(node.counts(&gpu()), (1, 1));
}

#[test]
fn an_unheld_gpu_waits_for_what_is_left_of_the_kubelets_start_and_no_longer() {
    let mut node = both_start(3_000, true);
    node.wait(Duration::from_millis(1_900));
    assert_eq!(node.states()[1], "found");
    node.wait(Duration::from_millis(200));
    assert_eq!(node.states()[1], "settled");
    let reads = node.actions.iter().filter(|a| **a == plugin_core::action::Action::ReadHolders).count();
    assert!(reads < 12, "{reads} reads: a kubelet allows 100 a second to all");
}

#[test]
fn the_lists_of_a_kubelet_without_a_checkpoint_and_of_one_that_is_up_are_complete() {
    for kubelet in [(0, false), (60_000, true)] {
        let mut node = Node::new(2);
        node.kubelet = kubelet;
        node.start();
        assert_eq!(node.counts(&gpu()), (2, 2), "{kubelet:?}");
    }
}

#[test]
fn a_starting_kubelet_that_does_not_tell_yet_is_waited_for_and_one_that_never_tells_is_not() {
    let mut node = Node::new(1);
    node.kubelet = (0, true);
    node.holders_readable = false;
    node.start();
    node.wait(Duration::from_secs(20));
    assert_eq!(node.counts(&gpu()), (0, 0), "its socket may exist long before it listens");
    node.wait(Duration::from_secs(15));
    assert_eq!(node.counts(&gpu()), (1, 1), "as without the directory of PodResources");
}

#[test]
fn a_kubelet_that_restarts_beside_a_running_plugin_proves_nothing_at_first_either() {
    let mut node = Node::started(1);
    node.tell(Event::KubeletGone);
    node.tell(Event::KubeletAppeared { age_ms: 0, has_checkpoint: true });
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(4));
    assert_eq!(node.states(), ["draining"]);
    node.wait(Duration::from_secs(3));
    assert_eq!(node.states(), ["settled"]);
    assert_eq!(node.counts(&shared()), (4, 4));
}

/// A node whose plugin starts again, for whole GPUs, while its kubelet does not answer and a pod holds a replica of GPU 0.
fn plugin_starts_beside_a_silent_kubelet() -> (Node, Vec<plugin_core::event::Holding>) {
    let mut node = Node::started(1);
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(10));
    assert!(node.admit("client", &shared(), &["GPU-0::1"]).is_ok());
    node.set_config_label(None);
    node.kubelet = (60_000, true);
    node.holders_readable = false;
    let holdings = std::mem::take(&mut node.holdings);
    node.restart_plugin();
    (node, holdings)
}

#[test]
fn a_kubelet_that_is_silent_for_a_moment_is_no_reason_to_believe_that_nobody_holds_a_gpu() {
    let (mut node, holdings) = plugin_starts_beside_a_silent_kubelet();
    node.wait(Duration::from_secs(20));
    assert_eq!((node.states(), node.counts(&gpu())), (vec!["found".to_owned()], (0, 0)));
    node.holders_readable = true;
    node.holdings = holdings;
    node.wait(Duration::from_secs(2));
    assert_eq!((node.states(), node.counts(&gpu())), (vec!["draining".to_owned()], (0, 0)));
    assert_eq!(node.counts(&shared()).1, 1, "its own id");
    assert_replays(&node);
}

#[test]
fn what_was_served_without_knowing_waits_again_when_a_kubelet_starts_that_will_tell() {
    let (mut node, holdings) = plugin_starts_beside_a_silent_kubelet();
    node.wait(Duration::from_secs(40));
    assert_eq!(node.counts(&gpu()), (1, 1), "as where the kubelet never tells");
    node.holders_readable = true;
    node.tell(Event::KubeletGone);
    node.tell(Event::KubeletAppeared { age_ms: 0, has_checkpoint: true });
    node.wait(Duration::from_secs(2));
    assert_eq!(node.counts(&gpu()).1, 0, "an empty list proves nothing yet");
    node.holdings = holdings;
    node.wait(Duration::from_secs(10));
    assert_eq!((node.states(), node.counts(&gpu()).1), (vec!["draining".to_owned()], 0));
    assert_eq!(node.counts(&shared()).1, 1);
}

#[test]
fn a_kubelet_that_begins_to_tell_late_is_heard() {
    let (mut node, holdings) = plugin_starts_beside_a_silent_kubelet();
    node.wait(Duration::from_secs(40));
    node.holders_readable = true;
    node.holdings = holdings;
    node.wait(Duration::from_secs(2));
    assert_eq!((node.states(), node.counts(&gpu()).1), (vec!["draining".to_owned()], 0));
}

#[test]
fn a_kubelet_that_is_found_late_is_registered_with_once_and_one_that_is_new_again() {
    let mut node = Node::started(1);
    let listens = |node: &Node| node.actions.iter().filter(|a| matches!(a, Action::Listen { .. })).count();
    node.wait(Duration::from_secs(1));
    for (age_ms, expected) in [(60_000, 1), (900, 2)] {
        node.tell(Event::KubeletGone);
        node.tell(Event::KubeletAppeared { age_ms, has_checkpoint: true });
        node.wait(Duration::from_secs(10));
        assert_eq!((listens(&node), node.counts(&gpu())), (expected, (1, 1)), "{age_ms} ms old");
    }
    assert_replays(&node);
}
