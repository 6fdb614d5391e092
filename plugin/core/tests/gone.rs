//! Ids never leave a list in one step, told to the core alone: whatever takes a GPU or a role away.

mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use shell::{Node, assert_replays, facts, gpu, shared};

/// The ids of a resource with their health.
fn list(node: &Node, resource: &ResourceName) -> BTreeMap<String, bool> {
    let devices = node.plugin.view().devices(resource);
    devices.iter().flat_map(|d| d.values()).map(|d| (d.id.clone(), d.healthy)).collect()
}

fn ids(list: &[(&str, bool)]) -> BTreeMap<String, bool> {
    list.iter().map(|(id, healthy)| ((*id).to_owned(), *healthy)).collect()
}

/// GPU 1 of two is pulled out.
fn pull(node: &mut Node) {
    let mut left = facts(2);
    left.gpus.truncate(1);
    node.facts = Some(left);
    node.tell(Event::ReloadRequested);
}

#[test]
fn a_pulled_gpu_stays_listed_as_unhealthy_and_leaves_after_half_a_minute() {
    let mut node = Node::started(2);
    pull(&mut node);
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true), ("GPU-1", false)]));
    let said: Vec<&String> = node.said.iter().filter(|s| s.starts_with("GpuGone")).collect();
    assert!(said.len() == 1 && said[0].contains("GPU `GPU-1` (index 1) is gone"), "{said:?}");
    assert!(node.admit("late", &gpu(), &["GPU-1"]).is_err(), "nobody can use it");
    node.wait(Duration::from_secs(29));
    assert_eq!(list(&node, &gpu()).len(), 2);
    node.wait(Duration::from_secs(2));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true)]));
    let next = node.plugin.poll_timeout().map(|at| at.since(node.now));
    assert!(next.is_none_or(|pause| pause > Duration::from_secs(60)), "nothing keeps it awake: {next:?}");
    assert_replays(&node);
}

#[test]
fn the_id_of_a_pulled_gpu_that_a_pod_holds_stays_listed_until_the_pod_is_gone() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-1"]).unwrap();
    node.wait(Duration::from_secs(1));
    pull(&mut node);
    node.wait(Duration::from_secs(300));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true), ("GPU-1", false)]));
    node.delete("training");
    node.wait(Duration::from_secs(3));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true)]));
    assert_replays(&node);
}

#[test]
fn of_a_pulled_shared_gpu_only_held_replicas_stay() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-config"));
    node.admit("a", &shared(), &["GPU-1::0"]).unwrap();
    node.admit("b", &shared(), &["GPU-1::2"]).unwrap();
    node.wait(Duration::from_secs(40));
    pull(&mut node);
    assert_eq!(list(&node, &shared()).len(), 8);
    node.wait(Duration::from_secs(31));
    let left = |node: &Node| -> Vec<String> {
        list(node, &shared()).into_iter().filter(|(_, healthy)| !healthy).map(|(id, _)| id).collect()
    };
    assert_eq!(left(&node), ["GPU-1::0", "GPU-1::2"]);
    node.delete("a");
    node.wait(Duration::from_secs(3));
    assert_eq!(left(&node), ["GPU-1::2"]);
    assert_replays(&node);
}

#[test]
fn a_gpu_that_comes_back_serves_its_holder_under_the_same_id() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-1"]).unwrap();
    node.wait(Duration::from_secs(1));
    pull(&mut node);
    node.wait(Duration::from_secs(60));
    node.facts = Some(facts(2));
    node.tell(Event::ReloadRequested);
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true), ("GPU-1", true)]));
    assert_eq!(node.states(), ["settled", "settled"]);
    assert_replays(&node);
}

#[test]
fn a_gpu_that_comes_back_has_the_role_that_its_holder_knows_whatever_it_was_before_that() {
    let mut node = Node::new(2);
    let sliced = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, rename: gpu.turns, replicas: 2}]}}";
    node.files.insert("turns".into(), sliced.into());
    node.start();
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(40));
    // this process finds daemons that an earlier one has wished
    node.restart_plugin();
    node.wait(Duration::from_secs(10));
    node.set_config_label(Some("turns"));
    node.wait(Duration::from_secs(40));
    let turns = ResourceName::parse("nvidia.com/gpu.turns").unwrap();
    node.admit("training", &turns, &["GPU-1::0"]).unwrap();
    node.set_config_label(None);
    node.wait(Duration::from_secs(10));
    pull(&mut node);
    node.wait(Duration::from_secs(60));
    node.facts = Some(facts(2));
    node.tell(Event::ReloadRequested);
    node.wait(Duration::from_secs(10));
    assert_eq!(list(&node, &turns).get("GPU-1::0"), Some(&true), "{:?}", node.plugin.view().status.gpus);
    assert_eq!(node.states(), ["settled", "draining"]);
    assert!(node.desired.as_ref().is_some_and(|desired| desired.daemons.is_empty()), "{:?}", node.desired);
    assert_replays(&node);
}

#[test]
fn a_driver_that_is_unloaded_takes_no_id_from_the_list_and_no_socket_from_a_holder() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-0"]).unwrap();
    node.wait(Duration::from_secs(1));
    node.facts = None;
    node.tell(Event::ReloadRequested);
    // a reload takes seconds
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true), ("GPU-1", true)]));
    node.wait(Duration::from_secs(60));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", false), ("GPU-1", false)]));
    assert!(!node.actions.contains(&Action::Close { resource: gpu() }));
    node.facts = Some(facts(2));
    node.wait(Duration::from_secs(11));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-0", true), ("GPU-1", true)]));
    assert_eq!(registrations(&node, &gpu()), 1, "the kubelet was never left");
    assert_replays(&node);
}

#[test]
fn a_resource_that_is_replaced_keeps_its_socket_until_no_pod_holds_one_of_its_ids() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-1"]).unwrap();
    node.wait(Duration::from_secs(1));
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(300));
    assert_eq!(list(&node, &gpu()), ids(&[("GPU-1", true)]));
    assert!(!node.actions.contains(&Action::Close { resource: gpu() }));
    node.delete("training");
    node.wait(Duration::from_secs(60));
    assert!(node.actions.contains(&Action::Close { resource: gpu() }));
    assert_replays(&node);
}

#[test]
fn a_resource_that_a_change_does_not_touch_keeps_socket_and_registration() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(60));
    let before = node.actions.len();
    // the same sharing, other flags, and another GPU that comes and goes
    node.edit(
        "mps-config",
        &shell::MPS.replace("sharing:", "flags:\n  plugin:\n    passDeviceSpecs: true\nsharing:"),
    );
    node.facts = Some(facts(3));
    node.tell(Event::ReloadRequested);
    node.wait(Duration::from_secs(60));
    pull(&mut node);
    node.wait(Duration::from_secs(60));
    let touched = node.actions[before..].iter().filter(|action| {
        matches!(action, Action::Listen { .. } | Action::Register { .. } | Action::Close { .. })
    });
    assert_eq!(touched.count(), 0);
    assert_eq!(registrations(&node, &shared()), 1);
}

fn registrations(node: &Node, resource: &ResourceName) -> usize {
    let is_it = |a: &&Action| matches!(a, Action::Register { resource: r, .. } if r == resource);
    node.actions.iter().filter(is_it).count()
}
