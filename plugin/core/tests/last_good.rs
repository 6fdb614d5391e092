//! Which configuration serves when the one that is asked for is missing, bad or unknown: over restarts of the plugin.
#![allow(missing_docs, clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::annotations::{APPLIED, APPLIED_HASH, FAILED, OWNED, REASON, REQUESTED};
use plugin_core::event::Event;
use plugin_core::last_good::fingerprint;
use shell::{DEFAULT, MPS, Node, assert_replays, gpu, shared};

const SLICED: &str =
    "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 3\n";

fn sliced() -> Node {
    let mut node = Node::new(2);
    node.files.insert("sliced".into(), SLICED.into());
    node.labels.insert(shell::CONFIG_LABEL.into(), "sliced".into());
    node.start();
    assert_eq!(node.counts(&gpu()), (6, 6));
    node
}

fn applied(node: &Node) -> Option<String> {
    node.plugin.view().status.config_applied.clone()
}

#[test]
fn a_config_that_was_spoiled_while_the_plugin_was_away_is_served_as_it_was() {
    let mut node = sliced();
    for spoiled in [Some("version: v1\nsharing: 7\n"), None] {
        match spoiled {
            Some(text) => node.files.insert("sliced".into(), text.into()),
            None => node.files.remove("sliced"),
        };
        node.restart_plugin();
        assert_eq!(node.counts(&gpu()), (6, 6), "{spoiled:?}");
        let view = node.plugin.view();
        assert!(view.status.ready && view.status.config_stands_in, "{:?}", view.status);
        assert_eq!(view.status.config_requested.as_deref(), Some("sliced"));
        assert!(!view.status.config_problems.is_empty());
        assert_replays(&node);
    }
    // the good text again: it is no stand-in any more, and nothing changes for the kubelet
    let listens = |n: &Node| n.actions.iter().filter(|a| matches!(a, Action::Listen { .. })).count();
    let before = listens(&node);
    node.edit("sliced", SLICED);
    let status = node.plugin.view().status.clone();
    assert!(!status.config_stands_in && status.config_problems.is_empty(), "{status:?}");
    assert_eq!(listens(&node), before);
    assert_replays(&node);
}

#[test]
fn without_a_last_good_one_a_bad_config_serves_nothing_stays_up_and_is_not_ready() {
    let mut node = Node::new(2);
    node.labels.insert(shell::CONFIG_LABEL.into(), "nothing".into());
    node.start();
    node.wait(Duration::from_secs(120));
    assert_eq!((node.counts(&gpu()), &node.exit), ((0, 0), &None));
    assert!(!node.plugin.view().status.ready);
    node.set_config_label(Some("default"));
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert_replays(&node);
}

#[test]
fn a_label_that_was_set_before_the_plugin_starts_is_the_only_config_it_ever_serves() {
    let mut node = Node::new(2);
    node.labels.insert(shell::CONFIG_LABEL.into(), "mps-config".into());
    node.api_is_up = false;
    node.start();
    node.wait(Duration::from_secs(60));
    assert_eq!(node.counts(&gpu()), (0, 0), "the default is not served while the label is not known");
    let waits = node.said.iter().filter(|s| s.starts_with("ConfigUnknown")).count();
    assert_eq!(waits, 1, "{:?}", node.said);
    node.api_is_up = true;
    node.tell_node();
    assert_eq!((node.counts(&gpu()), node.counts(&shared())), ((0, 0), (8, 8)));
    let listened = |a: &&Action| matches!(a, Action::Listen { resource, .. } if *resource == gpu());
    assert_eq!(node.actions.iter().filter(listened).count(), 0);
    assert_replays(&node);
}

#[test]
fn an_api_server_that_is_away_at_start_leaves_the_last_good_config_serving() {
    let mut node = sliced();
    node.api_is_up = false;
    node.restart_plugin();
    assert_eq!(node.counts(&gpu()), (6, 6));
    assert!(node.plugin.view().status.ready && node.plugin.view().status.config_stands_in);
    assert_replays(&node);
    node.labels.insert(shell::CONFIG_LABEL.into(), "default".into());
    node.api_is_up = true;
    node.tell_node();
    node.wait(Duration::from_secs(40));
    assert_eq!((node.counts(&gpu()), applied(&node).as_deref()), ((2, 2), Some("default")));
    assert_replays(&node);
}

#[test]
fn an_api_server_that_never_answers_is_waited_for_ten_seconds_before_the_last_good_config_serves() {
    let node = sliced();
    let state = node.state.clone();
    let mut node = Node::new(2);
    node.state = state;
    node.tell(Event::Started { settings: Box::new(Node::settings()), mps_desired: None });
    node.tell(Event::LastGoodRead { text: node.state.clone() });
    node.tell(Event::ConfigRead { files: node.files.clone() });
    node.wait(Duration::from_secs(9));
    assert_eq!(applied(&node), None);
    node.wait(Duration::from_secs(2));
    assert_eq!(applied(&node).as_deref(), Some("sliced"));
    assert_replays(&node);
}

#[test]
fn the_state_file_is_written_once_per_config_in_force_and_again_when_its_text_changes() {
    let mut node = sliced();
    let writes = |n: &Node| n.actions.iter().filter(|a| matches!(a, Action::KeepLastGood { .. })).count();
    assert_eq!(writes(&node), 1);
    node.restart_plugin();
    node.set_config_label(Some("nothing"));
    assert_eq!(writes(&node), 1, "a refused one is not kept");
    node.set_config_label(Some("sliced"));
    node.edit("sliced", &format!("# a comment\n{SLICED}"));
    assert_eq!(writes(&node), 2);
    assert!(node.state.as_ref().unwrap().contains("# a comment"));
}

#[test]
fn a_spoiled_or_foreign_state_file_is_told_once_ignored_and_replaced() {
    let other = sliced().state.unwrap().replace("gpu-2", "gpu-9");
    for spoiled in ["{\"version\":1", "\u{0}", other.as_str()] {
        let mut node = Node::new(2);
        node.state = Some(spoiled.to_owned());
        node.start();
        let told = node.said.iter().filter(|s| s.starts_with("LastGoodIgnored")).count();
        assert_eq!((told, node.counts(&gpu())), (1, (2, 2)), "{:?}", node.said);
        assert!(node.state.as_ref().unwrap().contains(&fingerprint(DEFAULT)), "replaced");
        assert_replays(&node);
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_warned_of_once_and_everything_else_goes_on() {
    let mut node = Node::new(2);
    node.state_is_writable = false;
    node.start();
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(40));
    assert_eq!(node.counts(&shared()), (8, 8));
    let told: Vec<&String> = node.said.iter().filter(|s| s.starts_with("LastGoodNotKept")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("/var/lib/tandem"), "{told:?}");
    node.state_is_writable = true;
    node.set_config_label(None);
    node.wait(Duration::from_secs(40));
    assert!(node.state.is_some());
    assert_replays(&node);
}

#[test]
fn a_last_good_config_that_is_staged_for_mps_waits_for_the_supervisor_as_any_other() {
    let mut node = Node::started(1);
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(40));
    node.files.clear();
    node.files.insert("default".into(), "nonsense: [".into());
    node.restart_plugin();
    assert_eq!(node.counts(&shared()), (4, 4));
    assert!(MPS.contains("mps") && node.plugin.view().status.config_stands_in);
    assert_replays(&node);
}

#[test]
fn the_nodes_annotations_say_what_is_applied_what_is_asked_for_and_why_they_differ() {
    let mut node = sliced();
    let value = |n: &Node, key: &str| n.annotations.get(key).cloned();
    assert_eq!(value(&node, APPLIED).as_deref(), Some("sliced"));
    assert_eq!(value(&node, APPLIED_HASH), Some(fingerprint(SLICED)));
    assert_eq!((value(&node, FAILED), value(&node, REASON)), (None, None));
    node.set_config_label(Some("slicde"));
    assert_eq!(value(&node, APPLIED).as_deref(), Some("sliced"));
    assert_eq!(value(&node, REQUESTED).as_deref(), Some("slicde"));
    assert_eq!(value(&node, FAILED).as_deref(), Some("slicde"));
    assert!(value(&node, REASON).unwrap().contains("slicde"));
    node.set_config_label(Some("sliced"));
    assert_eq!((value(&node, FAILED), value(&node, REASON)), (None, None));
    assert!(node.annotations.keys().all(|k| OWNED.contains(&k.as_str())));
    assert_replays(&node);
}

#[test]
fn annotations_that_could_not_be_written_are_written_later() {
    let mut node = sliced();
    node.api_is_up = false;
    node.edit("sliced", "version: v2");
    node.wait(Duration::from_secs(5));
    assert!(!node.annotations.contains_key(FAILED));
    node.api_is_up = true;
    node.wait(Duration::from_secs(31));
    assert_eq!(node.annotations.get(FAILED).map(String::as_str), Some("sliced"));
    assert_replays(&node);
}

#[test]
fn ignored_settings_are_listed_by_their_path() {
    let mut node = sliced();
    node.edit("sliced", &format!("{SLICED}flagz: 1\n"));
    assert_eq!(node.plugin.view().status.config_ignored, ["flagz"]);
}
