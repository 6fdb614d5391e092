//! Stories of the taint of a node that shares its GPUs, told to the core alone.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::Event;
use plugin_core::taints::{NOTE, Taint};
use shell::{Node, assert_replays, gpu, shared};

const TAINT: &str = "nvidia.com/gpu.shared=true:NoSchedule";
const SLICED: &str = "version: v1\nsharing:\n  taint: {}\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n";
const HALF: &str = "version: v1\nsharing:\n  taint: {}\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - {name: nvidia.com/gpu, replicas: 4, devices: 1}\n";

/// A node of two GPUs that serves whole ones, and has configurations that share all, and half of them.
fn node() -> Node {
    let mut node = Node::new(2);
    node.files.insert("sliced".into(), SLICED.into());
    node.files.insert("half".into(), HALF.into());
    node.start();
    node
}

fn taints(node: &Node) -> Vec<String> {
    node.taints.iter().map(Taint::to_string).collect()
}

fn foreign() -> Taint {
    Taint { key: "dedicated".into(), value: "ml".into(), effect: "NoExecute".into() }
}

/// The places in the list of actions of the taint's first patch and of the resource's first registration.
fn order(node: &Node) -> (usize, usize) {
    let at = |what: fn(&Action) -> bool| node.actions.iter().position(what).unwrap();
    let tainted = at(|action| matches!(action, Action::PatchTaints { .. }));
    let listens = at(|action| matches!(action, Action::Listen { resource, .. } if *resource == shared()));
    (tainted, listens)
}

#[test]
fn the_taint_is_there_before_shared_devices_are_and_goes_after_them() {
    let mut node = node();
    assert!(taints(&node).is_empty());
    node.taints.push(foreign());
    node.tell_node();
    node.set_config_label(Some("sliced"));
    assert_eq!(taints(&node), ["dedicated=ml:NoExecute", TAINT]);
    assert_eq!(node.annotations.get(NOTE).map(String::as_str), Some(TAINT));
    assert_eq!(node.counts(&shared()), (8, 8));
    let (tainted, listens) = order(&node);
    assert!(tainted < listens, "{tainted} {listens}");
    node.wait(Duration::from_secs(2));
    node.set_config_label(None);
    assert_eq!(node.counts(&shared()), (8, 0));
    node.wait(Duration::from_secs(29));
    assert!(taints(&node).contains(&TAINT.to_owned()), "shared ids are listed");
    node.wait(Duration::from_secs(2));
    assert_eq!(node.counts(&shared()), (0, 0));
    assert_eq!(taints(&node), ["dedicated=ml:NoExecute"]);
    assert!(!node.annotations.contains_key(NOTE));
    assert_replays(&node);
}

#[test]
fn shared_devices_are_absent_while_the_taint_cannot_be_set_and_for_so_long_only() {
    let mut node = node();
    node.taints_refused = true;
    node.set_config_label(Some("sliced"));
    // no taint can be set, and before ids are withdrawn one is waited for as well
    node.wait(Duration::from_secs(30));
    node.wait(Duration::from_secs(20));
    assert_eq!(node.counts(&shared()), (0, 0));
    assert!(
        !node.actions.iter().any(|a| matches!(a, Action::Listen { resource, .. } if *resource == shared()))
    );
    let why = node.plugin.view().status.not_ready_because.join("; ");
    assert!(why.contains("wait until the Node has its taint"), "{why}");
    node.wait(Duration::from_secs(11));
    assert_eq!(node.counts(&shared()), (8, 8), "a bounded wait");
    assert!(node.said.iter().any(|said| said.starts_with("SharedUntainted: ") && said.contains(TAINT)));
    node.taints_refused = false;
    node.wait(Duration::from_secs(31));
    assert_eq!(taints(&node), [TAINT], "it is tried on");
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_replays(&node);
}

#[test]
fn a_taint_that_can_be_set_again_lets_shared_devices_in_at_once() {
    let mut node = node();
    node.taints_refused = true;
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(5));
    node.taints_refused = false;
    node.wait(Duration::from_secs(10));
    assert_eq!(node.counts(&shared()), (8, 8));
    assert!(!node.said.iter().any(|said| said.starts_with("SharedUntainted")), "{:?}", node.said);
}

#[test]
fn a_node_with_a_whole_gpu_is_not_tainted() {
    let mut node = node();
    node.set_config_label(Some("half"));
    assert_eq!((node.counts(&shared()), taints(&node).len()), ((4, 4), 0));
    node.wait(Duration::from_secs(2));
    // the second GPU follows: its sharers are kept out until the taint is there, those of the first are served already
    node.set_config_label(Some("sliced"));
    assert_eq!((node.counts(&shared()), taints(&node)), ((8, 8), vec![TAINT.to_owned()]));
    node.wait(Duration::from_secs(2));
    node.set_config_label(Some("half"));
    assert_eq!(node.counts(&gpu()).1, 1);
    assert!(taints(&node).is_empty(), "a whole GPU is served");
    assert_replays(&node);
}

#[test]
fn whole_gpus_beside_a_shared_one_that_drains_end_the_taint() {
    let mut node = node();
    node.set_config_label(Some("sliced"));
    node.admit("sharer", &shared(), &["GPU-0::1"]).unwrap();
    node.set_config_label(None);
    node.wait(Duration::from_secs(31));
    assert_eq!((node.states(), node.counts(&shared())), (vec!["draining".into(), "settled".into()], (1, 1)));
    assert!(taints(&node).is_empty(), "{:?}", taints(&node));
    let mut both = self::node();
    both.set_config_label(Some("sliced"));
    both.admit("a", &shared(), &["GPU-0::1"]).unwrap();
    both.admit("b", &shared(), &["GPU-1::1"]).unwrap();
    both.set_config_label(None);
    both.wait(Duration::from_secs(60));
    assert_eq!(taints(&both), [TAINT], "it serves shared devices and no whole GPU");
}

#[test]
fn a_new_process_knows_which_taint_is_its_own() {
    let mut node = node();
    node.taints.push(foreign());
    node.tell_node();
    node.set_config_label(Some("sliced"));
    node.set_config_label(None);
    node.wait(Duration::from_secs(10));
    node.restart_plugin();
    node.wait(Duration::from_secs(31));
    assert_eq!(taints(&node), ["dedicated=ml:NoExecute"]);
    assert!(!node.annotations.contains_key(NOTE));
    assert_replays(&node);
}

#[test]
fn a_restart_of_the_plugin_neither_takes_the_taint_away_nor_shared_devices() {
    let mut node = node();
    node.set_config_label(Some("sliced"));
    node.admit("sharer", &shared(), &["GPU-0::1"]).unwrap();
    node.actions.clear();
    node.restart_plugin();
    assert_eq!(node.counts(&shared()), (8, 8));
    assert!(!node.actions.iter().any(|a| matches!(a, Action::PatchTaints { .. })), "{:?}", node.actions);
    // nor does one while the API server is away: what stands in was in force before
    node.api_is_up = false;
    node.restart_plugin();
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_eq!(taints(&node), [TAINT]);
}

#[test]
fn a_taint_of_somebody_else_serves_and_is_left_alone() {
    let mut node = node();
    let other =
        Taint { key: "nvidia.com/gpu.shared".into(), value: "yes".into(), effect: "NoSchedule".into() };
    node.taints.push(other.clone());
    node.tell_node();
    node.set_config_label(Some("sliced"));
    assert_eq!(node.counts(&shared()), (8, 8));
    assert!(node.said.iter().any(|said| said.starts_with("TaintNotOurs")), "{:?}", node.said);
    node.set_config_label(None);
    node.wait(Duration::from_secs(31));
    assert_eq!(node.taints, [other]);
    assert!(!node.annotations.contains_key(NOTE));
}

#[test]
fn a_taint_that_is_taken_away_by_hand_comes_back_and_a_change_by_others_is_no_obstacle() {
    let mut node = node();
    node.set_config_label(Some("sliced"));
    node.taints.clear();
    node.tell_node();
    assert_eq!(taints(&node), [TAINT]);
    assert_eq!(node.counts(&shared()), (8, 8), "nothing that is served is taken back");
    // somebody adds one, and the watch tells it later than the plugin writes
    node.taints.push(foreign());
    node.set_config_label(None);
    node.wait(Duration::from_secs(31));
    assert_eq!(taints(&node), [TAINT, "dedicated=ml:NoExecute"], "not as they were seen");
    node.tell_node();
    node.wait(Duration::from_secs(31));
    assert_eq!(taints(&node), ["dedicated=ml:NoExecute"]);
}

#[test]
fn another_taint_in_the_configuration_replaces_the_one_before_in_one_step() {
    let mut node = node();
    node.set_config_label(Some("sliced"));
    node.actions.clear();
    node.edit(
        "sliced",
        &SLICED
            .replace("taint: {}", "taint: {key: example.com/shared, value: \"\", effect: PreferNoSchedule}"),
    );
    assert_eq!(taints(&node), ["example.com/shared:PreferNoSchedule"]);
    let patches = node.actions.iter().filter(|a| matches!(a, Action::PatchTaints { .. })).count();
    assert_eq!(patches, 1);
    node.edit("sliced", &SLICED.replace("  taint: {}\n", ""));
    assert!(taints(&node).is_empty(), "it is not asked for any more");
    assert_eq!(node.counts(&shared()), (8, 8));
}

#[test]
fn an_answer_that_the_watch_overtook_does_not_undo_what_it_told() {
    let mut node = node();
    node.taints_refused = true;
    node.set_config_label(Some("sliced"));
    let ours =
        Taint { key: "nvidia.com/gpu.shared".into(), value: "true".into(), effect: "NoSchedule".into() };
    node.taints = vec![ours, foreign()];
    node.annotations.insert(NOTE.into(), TAINT.into());
    node.tell_node();
    node.taints_refused = false;
    node.tell(Event::TaintsPatched);
    node.wait(Duration::from_secs(2));
    assert_eq!(node.counts(&shared()), (8, 8));
    node.set_config_label(None);
    node.wait(Duration::from_secs(32));
    assert_eq!(taints(&node), ["dedicated=ml:NoExecute"]);
}
