//! Stories of the time-slice interval of GPUs: set, given back, set again, and refused, told to the core alone.
#![allow(missing_docs, clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::config::TimeSlice::{self, Default as Own, Long, Short};
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use shell::{CONFIG_LABEL, MPS, Node, assert_replays, facts, gpu, shared};

fn sliced(interval: &str) -> String {
    format!(
        "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - {{name: nvidia.com/gpu, replicas: 4{interval}}}\n"
    )
}

fn node(interval: &str) -> Node {
    let mut node = Node::new(2);
    node.files.insert("sliced".into(), sliced(interval));
    node.labels.insert(CONFIG_LABEL.into(), "sliced".into());
    node.start();
    node
}

/// What was asked of nvidia-smi about the first GPU.
fn asked(node: &Node) -> Vec<TimeSlice> {
    let first = GpuUuid::new("GPU-0");
    let set = |action: &Action| match action {
        Action::SetTimeSlice { gpu, interval } if *gpu == first => Some(*interval),
        _ => None,
    };
    node.actions.iter().filter_map(set).collect()
}

fn has(node: &Node) -> Vec<TimeSlice> {
    node.time_slices.values().copied().collect()
}

fn said(node: &Node, part: &str) -> usize {
    node.said.iter().filter(|said| said.contains(part)).count()
}

#[test]
fn a_node_whose_configuration_names_no_interval_never_touches_one() {
    let mut node = node("");
    node.set_config_label(Some("default"));
    node.wait(Duration::from_secs(60));
    node.set_config_label(Some("mps-config"));
    node.set_config_label(Some("sliced"));
    node.restart_plugin();
    node.wait(Duration::from_secs(60));
    assert_eq!(asked(&node), []);
    assert_eq!(node.plugin.view().status.gpus[0].time_slice, None);
}

#[test]
fn an_interval_is_set_when_the_role_begins_and_given_back_before_the_next_one_is_offered() {
    for (config, text) in [("default", None), ("mps-config", Some(MPS)), ("plain", Some(sliced("").as_str()))]
    {
        let mut node = node(", interval: short");
        if let Some(text) = text {
            node.edit(config, text);
        }
        assert_eq!(has(&node), [Short, Short]);
        let status = node.plugin.view().status.gpus[0].time_slice.clone().unwrap();
        assert_eq!((status.wanted, status.set, status.why), (Short, Some(Short), None));
        node.admit("a", &shared(), &["GPU-0::1"]).unwrap();
        node.set_config_label(Some(config));
        node.wait(Duration::from_secs(5));
        let drains = config != "plain";
        assert_eq!(has(&node), if drains { [Short, Own] } else { [Own, Own] }, "held ones keep it");
        node.delete("a");
        node.wait(Duration::from_secs(5));
        assert_eq!((has(&node), asked(&node)), (vec![Own, Own], vec![Short, Own]), "{config}");
        assert_eq!(node.plugin.view().status.gpus[0].time_slice, None, "{config}");
        assert!(!node.kept_gpus.as_ref().unwrap().contains("short"), "{:?}", node.kept_gpus);
        node.wait(Duration::from_secs(600));
        assert_eq!(asked(&node).len(), 2);
        assert_replays(&node);
    }
}

#[test]
fn another_interval_is_no_drain() {
    let mut node = node(", interval: short");
    node.admit("a", &shared(), &["GPU-0::1"]).unwrap();
    node.edit("sliced", &sliced(", interval: Long"));
    assert_eq!((has(&node), node.states()), (vec![Long, Long], vec!["settled".to_owned(); 2]));
    assert_eq!(node.counts(&shared()), (8, 8));
    node.edit("sliced", &sliced(", interval: default"));
    assert_eq!(asked(&node), [Short, Long, Own], "asked for by name");
    node.edit("sliced", &sliced(", interval: medium"));
    node.edit("sliced", &sliced(""));
    assert_eq!((has(&node), node.states()), (vec![Own, Own], vec!["settled".to_owned(); 2]));
    assert_eq!(said(&node, "drain"), 0, "{:?}", node.said);
}

#[test]
fn a_plugin_that_was_killed_gives_back_what_it_set_and_sets_again_what_holds() {
    let mut node = node(", interval: short");
    let noted =
        node.actions.iter().position(|a| matches!(a, Action::KeepGpus { text } if text.contains("short")));
    let done = node.actions.iter().position(|a| matches!(a, Action::SetTimeSlice { .. }));
    assert!(noted.is_some() && noted < done, "noted before it is done: {noted:?} {done:?}");
    node.restart_plugin();
    assert_eq!(asked(&node), [Short, Short], "another driver may have been loaded meanwhile");
    // the label is changed while no plugin runs
    node.labels.insert(CONFIG_LABEL.into(), "default".into());
    node.restart_plugin();
    assert_eq!((has(&node), asked(&node)), (vec![Own, Own], vec![Short, Short, Own]));
    node.restart_plugin();
    node.wait(Duration::from_secs(600));
    assert_eq!(asked(&node).len(), 3);
    assert_replays(&node);
}

#[test]
fn an_interval_is_set_again_when_the_driver_or_the_gpu_is_back() {
    let mut node = node(", interval: short");
    // somebody says that it may be another one
    node.tell(Event::ReloadRequested);
    assert_eq!(asked(&node), [Short, Short]);
    // it was loaded anew
    node.silent = true;
    node.tell(Event::DriverFailed { why: "driver/library version mismatch".into() });
    node.tell(Event::Timeout);
    assert_eq!(asked(&node), [Short, Short]);
    node.silent = false;
    node.wait(Duration::from_secs(10));
    assert_eq!(asked(&node), [Short, Short, Short]);
    // a GPU is pulled out and put back
    node.tell(Event::GpusFound { facts: facts(1) });
    node.tell(Event::GpusFound { facts: facts(2) });
    let second = |a: &&Action| matches!(a, Action::SetTimeSlice { gpu, .. } if gpu.as_str() == "GPU-1");
    assert_eq!(node.actions.iter().filter(second).count(), 4);
    assert_eq!(asked(&node).len(), 3, "the other one was there all the time");
    // a GPU was lost
    let mut lost = facts(2);
    lost.gpus.remove(1);
    lost.unreadable = vec!["GPU is lost".into()];
    node.tell(Event::GpusFound { facts: lost });
    node.wait(Duration::from_secs(200));
    assert_eq!(node.actions.iter().filter(second).count(), 4);
    node.tell(Event::GpusFound { facts: facts(2) });
    assert_eq!((node.actions.iter().filter(second).count(), asked(&node).len()), (5, 3));
    assert_replays(&node);
}

#[test]
fn a_failure_is_told_once_and_tried_again_and_the_gpu_serves() {
    let mut node = Node::new(1);
    node.time_slices_fail = Some(("`nvidia-smi` cannot be run: no such file".into(), false));
    node.files.insert("sliced".into(), sliced(", interval: short"));
    node.labels.insert(CONFIG_LABEL.into(), "sliced".into());
    node.start();
    assert_eq!(node.counts(&shared()), (4, 4));
    node.wait(Duration::from_secs(31));
    assert_eq!(asked(&node).len(), 5, "after 1, 2, 4 and 8 s");
    assert_eq!(said(&node, "TimeSliceFailed: "), 1, "{:?}", node.said);
    let status = node.plugin.view().status.clone();
    let slice = status.gpus[0].time_slice.clone().unwrap();
    assert_eq!((slice.set, status.ready), (None, true));
    assert!(slice.why.unwrap().contains("no such file"));
    node.time_slices_fail = None;
    node.wait(Duration::from_secs(16));
    assert_eq!((has(&node), said(&node, "TimeSliceSet: ")), (vec![Short], 1), "{:?}", node.said);
    node.wait(Duration::from_secs(3600));
    assert_eq!(
        asked(&node).len(),
        6 + 12,
        "set again every five minutes, because nobody tells that it was forgotten"
    );
    assert_replays(&node);
}

#[test]
fn a_gpu_without_the_setting_is_told_once_and_not_asked_again() {
    let mut node = Node::new(1);
    node.time_slices_fail = Some(("not supported".into(), true));
    node.files.insert("sliced".into(), sliced(", interval: short"));
    node.labels.insert(CONFIG_LABEL.into(), "sliced".into());
    node.start();
    node.edit("sliced", &sliced(", interval: long"));
    node.wait(Duration::from_secs(3600));
    node.set_config_label(Some("default"));
    node.wait(Duration::from_secs(3600));
    assert_eq!((asked(&node), said(&node, "TimeSliceUnsupported: ")), (vec![Short], 1), "{:?}", node.said);
    assert!(!node.kept_gpus.unwrap().contains("GPU-0"));
}

#[test]
fn a_reset_that_fails_is_tried_again_also_in_the_next_life() {
    let mut node = node(", interval: short");
    node.time_slices_fail = Some(("exit status 1".into(), false));
    node.set_config_label(Some("default"));
    node.wait(Duration::from_secs(5));
    assert_eq!((has(&node), node.counts(&gpu())), (vec![Short, Short], (2, 2)));
    assert_eq!(said(&node, "TimeSliceFailed: "), 2, "one for each GPU: {:?}", node.said);
    node.restart_plugin();
    assert_eq!(has(&node), [Short, Short]);
    node.time_slices_fail = None;
    node.wait(Duration::from_secs(5));
    assert_eq!(has(&node), [Own, Own]);
}
