//! A driver that hangs, fails, loses GPUs and gets new ones while the plugin serves.
#![allow(missing_docs, clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use shell::{MPS, Node, assert_replays, facts, gpu, shared};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn stuck() -> Event {
    Event::DriverStuck { call: "find_gpus".into(), gpu: None, waited_s: 10 }
}

fn looks(node: &Node) -> usize {
    node.actions.iter().filter(|a| matches!(a, Action::FindGpus)).count()
}

fn said(node: &Node, part: &str) -> usize {
    node.said.iter().filter(|said| said.contains(part)).count()
}

#[test]
fn a_driver_that_hangs_is_told_once_and_known_gpus_stay_served() {
    let mut node = Node::started(2);
    // a look that hangs is answered by nothing; the shell says so again for each try
    node.silent = true;
    node.tell(stuck());
    let before = looks(&node);
    for pause in [10, 20, 40, 80, 160, 300, 300] {
        node.wait(seconds(pause));
        node.tell(stuck());
    }
    assert_eq!(looks(&node) - before, 7, "one try after each pause");
    assert_eq!(said(&node, "does not answer"), 1, "{:?}", node.said);
    assert_eq!(node.counts(&gpu()), (2, 2));
    node.admit("a", &gpu(), &["GPU-0"]).unwrap();
    let status = node.plugin.view().status.clone();
    assert_eq!((status.driver_stuck.as_deref(), status.ready), (Some("find_gpus"), true));

    node.silent = false;
    node.wait(seconds(300));
    assert_eq!(said(&node, "answers again"), 1, "{:?}", node.said);
    assert_eq!(node.plugin.view().status.driver_stuck, None);
    assert_replays(&node);
}

#[test]
fn a_driver_that_hangs_at_the_start_does_not_end_the_process_and_its_late_answer_counts() {
    let mut node = Node::new(2);
    node.silent = true;
    node.start();
    node.tell(stuck());
    let status = node.plugin.view().status.clone();
    assert_eq!(status.not_ready_because[0], "the GPU driver does not answer");
    assert_eq!(node.exit, None);
    let facts = node.facts.clone().unwrap();
    node.tell(Event::GpusFound { facts });
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert_replays(&node);
}

#[test]
fn a_driver_that_fails_while_gpus_are_known_never_ends_the_process_and_makes_them_ill_after_a_while() {
    let mut node = Node::started(2);
    node.silent = true;
    let failed = || Event::DriverFailed { why: "driver/library version mismatch".into() };
    node.tell(failed());
    assert_eq!((node.exit.clone(), node.counts(&gpu())), (None, (2, 2)));
    for _ in 0..3 {
        node.wait(seconds(10));
        node.tell(failed());
    }
    assert_eq!(node.counts(&gpu()), (2, 0));
    assert_eq!(said(&node, "version mismatch"), 1, "{:?}", node.said);
    node.silent = false;
    node.wait(seconds(10));
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert_eq!(said(&node, "can be used again"), 1);
    assert_replays(&node);
}

#[test]
fn a_gpu_that_cannot_be_read_keeps_its_role_and_is_ill_until_it_can() {
    let mut node = Node::started(3);
    node.admit("a", &gpu(), &["GPU-1"]).unwrap();
    let whole = facts(3);
    let mut less = whole.clone();
    less.gpus.remove(1);
    less.unreadable = vec!["GPU index 1: GPU is lost".into()];
    node.tell(Event::GpusFound { facts: less });
    assert_eq!(node.counts(&gpu()), (3, 2));
    let status = node.plugin.view().status.clone();
    assert!(status.gpus[1].ill.is_some() && status.gpus[0].ill.is_none(), "{:?}", status.gpus);
    assert_eq!(status.gpus[1].holders.len(), 1);
    assert_eq!(said(&node, "`GPU-1` is lost"), 1, "{:?}", node.said);
    node.tell(Event::GpusFound { facts: whole });
    assert_eq!(node.counts(&gpu()), (3, 3));
    assert_eq!(said(&node, "`GPU-1` answers again"), 1);
    assert_replays(&node);
}

#[test]
fn a_gpu_that_is_pulled_out_is_gone_and_one_that_is_put_in_is_served() {
    let mut node = Node::started(2);
    let mut one = facts(2);
    one.gpus.remove(0);
    one.gpus[0].index = 0;
    node.tell(Event::GpusFound { facts: one });
    assert_eq!(node.plugin.view().status.gpus.len(), 1);
    let healthy = node.counts(&gpu()).1;
    assert_eq!(healthy, 1);
    assert_eq!(said(&node, "`GPU-0` (index 0) is gone"), 1, "{:?}", node.said);
    node.tell(Event::GpusFound { facts: facts(3) });
    assert_eq!(node.counts(&gpu()).1, 3);
    assert_eq!(said(&node, "is new on this node"), 2);
    assert_replays(&node);
}

#[test]
fn a_gpu_that_appears_while_a_refused_config_waits_gets_a_role_of_the_one_in_force() {
    let mut node = Node::new(1);
    node.set_config_label(Some("mps-config"));
    node.start();
    assert_eq!(node.counts(&shared()), (4, 4));
    node.edit("mps-config", "version: v1\nsharing: 7\n");
    let requested = node.plugin.view().status.config_problems.clone();
    assert!(!requested.is_empty());
    node.tell(Event::GpusFound { facts: facts(2) });
    node.wait(seconds(5));
    assert_eq!(node.counts(&shared()), (8, 8), "{:?}", node.states());
    assert!(!node.plugin.view().status.config_problems.is_empty());
    assert!(node.files["mps-config"].len() < MPS.len());
    assert_replays(&node);
}

#[test]
fn a_gpu_whose_fabric_is_not_complete_is_withheld_and_looked_at_until_it_is() {
    let mut node = Node::new(2);
    let starting = |node: &mut Node, gpus: &[u32]| {
        let gpus = gpus.iter().map(|n| GpuUuid::new(format!("GPU-{n}"))).collect();
        node.facts.as_mut().unwrap().starting = gpus;
    };
    starting(&mut node, &[1]);
    node.set_config_label(Some("mps-config"));
    node.start();
    // the other one does not wait for it, not even for its MPS daemon
    assert_eq!(node.states(), ["settled", "starting"]);
    assert_eq!(node.counts(&shared()), (4, 4));
    starting(&mut node, &[]);
    node.wait(seconds(10));
    assert_eq!(node.states(), ["settled", "settled"]);
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_eq!(said(&node, "not complete"), 1, "{:?}", node.said);
    assert_eq!(said(&node, "fabric of every GPU is complete"), 1);

    // one that served already is ill instead, and keeps its role
    starting(&mut node, &[0]);
    let facts = node.facts.clone().unwrap();
    node.tell(Event::GpusFound { facts });
    assert_eq!((node.states(), node.counts(&shared())), (vec!["settled".into(), "settled".into()], (8, 4)));
    assert_replays(&node);
}

#[test]
fn an_unsupported_platform_is_told_once_and_is_no_reason_to_end() {
    let mut node = Node::new(0);
    node.silent = true;
    node.start();
    for _ in 0..3 {
        let why = "`/etc/nv_tegra_release` is there, and no NVML".into();
        node.tell(Event::PlatformUnsupported { platform: "tegra".into(), why });
        node.wait(seconds(10));
    }
    assert_eq!(node.exit, None);
    assert_eq!(said(&node, "unsupported platform `tegra`"), 1, "{:?}", node.said);
    assert_replays(&node);
}
