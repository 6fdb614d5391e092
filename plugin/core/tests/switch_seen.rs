//! What people see of a switch, and what becomes of it when it is abandoned or the plugin restarts, told to the core alone.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::drain::DRAINING;
use plugin_core::event::{Checkpoint, CheckpointEntry};
use plugin_core::view::GpuStatus;
use shell::{Node, assert_replays, gpu, shared};

fn sliced(replicas: u32) -> String {
    format!(
        "version: v1\nsharing:\n  drainDeadline: 10m\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: {replicas}\n"
    )
}

fn node(replicas: u32) -> Node {
    let mut node = Node::new(1);
    node.files.insert("sliced".into(), sliced(replicas));
    node.files.insert("default".into(), "version: v1\nsharing: {drainDeadline: 10m}".into());
    node.start();
    node
}

fn status(node: &Node) -> GpuStatus {
    node.plugin.view().status.gpus[0].clone()
}

/// Healthy ids by their last part.
fn healthy(node: &Node) -> Vec<String> {
    let view = node.plugin.view();
    let devices = view.devices(&shared()).unwrap_or_default();
    let healthy = devices.values().filter(|device| device.healthy);
    healthy.map(|device| device.id.trim_start_matches("GPU-0").to_owned()).collect()
}

fn said(node: &Node, reason: &str) -> usize {
    node.said.iter().filter(|said| said.starts_with(&format!("{reason}: "))).count()
}

#[test]
fn a_drain_shows_whom_it_waits_for_and_is_announced_once_when_it_takes_too_long() {
    let mut node = node(4);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("sliced"));
    assert_eq!((status(&node).state.as_str(), status(&node).overdue), ("draining", false));
    let expected = "0 `GPU-0` nvidia.com/gpu → nvidia.com/gpu.shared, held by default/job/main";
    assert_eq!(node.annotations.get(DRAINING).map(String::as_str), Some(expected));
    let since = status(&node).since_ms;
    node.wait(Duration::from_secs(599));
    assert_eq!(
        (status(&node).since_ms, status(&node).overdue, said(&node, "DrainOverdue")),
        (since, false, 0)
    );
    node.wait(Duration::from_secs(2));
    assert_eq!((status(&node).overdue, said(&node, "DrainOverdue")), (true, 1));
    assert!(node.said.iter().any(|said| said.contains("held by default/job/main (hint: delete these pods")));
    node.wait(Duration::from_secs(600));
    assert_eq!(said(&node, "DrainOverdue"), 1, "and nothing is done about it");
    let pods: Vec<String> = status(&node).blockers.iter().map(|blocker| blocker.pod.clone()).collect();
    assert_eq!(pods, ["default/job"]);
    assert_eq!(status(&node).holders, ["default/job/main"]);
    node.delete("job");
    node.wait(Duration::from_secs(10));
    assert_eq!((status(&node).state.as_str(), status(&node).overdue), ("settled", false));
    assert!(status(&node).since_ms > since && !node.annotations.contains_key(DRAINING));
    assert_replays(&node);
}

#[test]
fn a_drain_can_be_abandoned_and_begins_anew_with_its_own_deadline() {
    let mut node = node(4);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(700));
    node.set_config_label(None);
    assert_eq!((status(&node).state.as_str(), status(&node).overdue), ("settled", false));
    assert_eq!(node.counts(&gpu()), (1, 1));
    assert_eq!(node.counts(&shared()), (0, 0), "nothing of it was ever offered");
    assert!(!node.annotations.contains_key(DRAINING));
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(500));
    assert_eq!((status(&node).state.as_str(), status(&node).overdue), ("draining", false));
    node.wait(Duration::from_secs(200));
    assert_eq!(said(&node, "DrainOverdue"), 2);
    assert_replays(&node);
}

#[test]
fn a_drain_goes_on_after_a_restart_of_the_plugin() {
    let mut node = node(4);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("sliced"));
    node.restart_plugin();
    assert_eq!(status(&node).state, "draining");
    assert!(node.annotations.get(DRAINING).is_some_and(|text| text.contains("default/job/main")));
    assert_eq!((node.counts(&gpu()), node.counts(&shared())), ((1, 1), (0, 0)));
    node.delete("job");
    node.wait(Duration::from_secs(10));
    assert_eq!((status(&node).state.as_str(), node.counts(&shared())), ("settled", (4, 4)));
}

#[test]
fn without_a_deadline_a_drain_is_never_late() {
    let mut node = Node::started(1);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    node.files.insert("sliced".into(), sliced(2).replace("  drainDeadline: 10m\n", ""));
    node.edit("sliced", &sliced(2).replace("  drainDeadline: 10m\n", ""));
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(900));
    assert_eq!((status(&node).state.as_str(), status(&node).overdue), ("draining", false));
    assert_eq!(said(&node, "DrainOverdue"), 0);
}

/// From, held ids, to, healthy ids at once, healthy ids when the holders are gone.
#[test]
fn another_number_of_time_sliced_replicas_keeps_the_ids_of_running_pods() {
    let rows: [(u32, &[&str], u32, &[&str]); 6] = [
        (4, &["GPU-0::3"], 2, &["::0", "::3"]),
        (4, &["GPU-0::0"], 2, &["::0", "::1"]),
        (4, &["GPU-0::1", "GPU-0::2", "GPU-0::3"], 2, &["::1", "::2", "::3"]),
        (2, &["GPU-0::1"], 4, &["::0", "::1", "::2", "::3"]),
        (2, &["GPU-0::0", "GPU-0::1"], 3, &["::0", "::1", "::2"]),
        (4, &[], 2, &["::0", "::1"]),
    ];
    for restarts in [false, true] {
        for (from, held, to, expected) in rows {
            let mut node = node(from);
            node.set_config_label(Some("sliced"));
            for id in held {
                node.admit(id, &shared(), &[id]).unwrap();
            }
            node.wait(Duration::from_secs(1));
            node.edit("sliced", &sliced(to));
            if restarts {
                node.restart_plugin();
            }
            let case = format!("{from} → {to} with {held:?}, restarts {restarts}");
            assert_eq!(status(&node).state, "settled", "{case}");
            assert_eq!(healthy(&node), expected, "{case}");
            node.wait(Duration::from_secs(40));
            assert_eq!(healthy(&node), expected, "{case}");
            assert_eq!(
                node.counts(&shared()).0,
                expected.len().max(to as usize + surplus(held, to)),
                "{case}"
            );
            for id in held {
                node.delete(id);
            }
            node.wait(Duration::from_secs(40));
            let all: Vec<String> = (0..to).map(|n| format!("::{n}")).collect();
            assert_eq!((healthy(&node), node.counts(&shared()).0), (all, to as usize), "{case}");
            assert_replays(&node);
        }
    }
}

/// How many of these ids a GPU with so many replicas does not have.
fn surplus(held: &[&str], to: u32) -> usize {
    let number = |id: &&&str| id.rsplit(':').next().and_then(|n| n.parse::<u32>().ok()).unwrap();
    held.iter().filter(|id| number(id) >= to).count()
}

#[test]
fn a_late_allocate_of_a_replica_that_leaves_is_granted() {
    let mut node = node(4);
    node.set_config_label(Some("sliced"));
    node.edit("sliced", &sliced(2));
    node.admit("late", &shared(), &["GPU-0::2"]).unwrap();
    node.wait(Duration::from_secs(60));
    assert_eq!(healthy(&node), ["::0", "::2"]);
    node.edit("sliced", &sliced(4));
    assert_eq!(healthy(&node).len(), 4);
    assert_replays(&node);
}

#[test]
fn what_only_the_checkpoint_knows_of_pods_that_are_gone_keeps_no_replica_back() {
    let mut node = node(4);
    node.set_config_label(Some("sliced"));
    node.admit("last", &shared(), &["GPU-0::3"]).unwrap();
    let left = |n: u32| CheckpointEntry {
        pod_uid: format!("gone-{n}"),
        container: "main".into(),
        resource: shared().to_string(),
        ids: vec![format!("GPU-0::{n}")],
    };
    node.checkpoint = Checkpoint::Read { entries: (0..3).map(left).collect() };
    node.wait(Duration::from_secs(2));
    node.edit("sliced", &sliced(2));
    node.wait(Duration::from_secs(40));
    assert_eq!(healthy(&node), ["::0", "::3"]);
    assert_replays(&node);
}

#[test]
fn a_gpu_with_fewer_replicas_asks_for_holders_only_while_one_too_many_is_held() {
    let mut node = node(4);
    node.set_config_label(Some("sliced"));
    node.admit("stays", &shared(), &["GPU-0::0"]).unwrap();
    node.admit("leaves", &shared(), &["GPU-0::3"]).unwrap();
    node.edit("sliced", &sliced(2));
    node.wait(Duration::from_secs(60));
    let reads = |node: &Node| node.actions.iter().filter(|action| **action == Action::ReadHolders).count();
    let before = reads(&node);
    node.wait(Duration::from_secs(60));
    assert!(reads(&node) > before, "it waits for a release");
    node.delete("leaves");
    node.wait(Duration::from_secs(10));
    let before = reads(&node);
    node.wait(Duration::from_secs(600));
    assert_eq!((reads(&node), healthy(&node).len()), (before, 2));
}
