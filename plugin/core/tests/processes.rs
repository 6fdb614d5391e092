//! A GPU that the kubelet gives to nobody, and processes on it, told to the core alone.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod shell;

use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::drain::DRAINING;
use plugin_core::event::{ComputeProcess, Event, ProcessList};
use plugin_core::inventory::GpuUuid;
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};
use plugin_core::mps::Actual;
use plugin_core::view::GpuStatus;
use shell::{Node, assert_replays, gpu, shared};

const SLICED: &str = "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - {name: nvidia.com/gpu, replicas: 2}\n";
const SERVER: (u32, &str) = (90, "/usr/bin/nvidia-cuda-mps-server -d");
const TRAIN: (u32, &str) = (4711, "/usr/bin/python3 train.py");

fn uuid(index: u32) -> GpuUuid {
    GpuUuid::new(format!("GPU-{index}"))
}

fn list(processes: &[(u32, &str)]) -> ProcessList {
    let process = |(pid, name): &(u32, &str)| ComputeProcess {
        pid: *pid,
        name: Some((*name).to_owned()),
        used_bytes: Some(1 << 30),
        gpu_instance: None,
        compute_instance: None,
    };
    ProcessList::Read { processes: processes.iter().map(process).collect() }
}

fn node(gpus: u32) -> Node {
    let mut node = Node::new(gpus);
    node.files.insert("sliced".into(), SLICED.into());
    node.start();
    node
}

fn set(node: &mut Node, gpu: u32, list: ProcessList) {
    node.processes.insert(uuid(gpu), list);
}

fn status(node: &Node) -> GpuStatus {
    node.plugin.view().status.gpus[0].clone()
}

fn state(node: &Node) -> String {
    status(node).state
}

fn said(node: &Node, reason: &str) -> Vec<String> {
    let of_reason = node.said.iter().filter(|said| said.starts_with(&format!("{reason}: ")));
    of_reason.cloned().collect()
}

fn looks(node: &Node) -> usize {
    node.actions.iter().filter(|action| matches!(action, Action::ReadProcesses { .. })).count()
}

#[test]
fn a_gpu_waits_for_a_process_that_is_of_no_pod_and_goes_on_when_it_ends() {
    let mut node = node(1);
    set(&mut node, 0, list(&[TRAIN]));
    node.set_config_label(Some("sliced"));
    assert_eq!((state(&node).as_str(), node.counts(&shared())), ("draining", (0, 0)));
    assert_eq!(status(&node).holders, ["process 4711 (python3)"], "it counts from the first look");
    let told: Vec<_> = status(&node).processes.iter().map(|p| (p.pid, p.used_bytes)).collect();
    assert_eq!(told, [(4711, Some(1 << 30))]);
    let expected = "0 `GPU-0` nvidia.com/gpu → nvidia.com/gpu.shared, held by process 4711 (python3)";
    assert_eq!(node.annotations.get(DRAINING).map(String::as_str), Some(expected));
    assert!(said(&node, "GpuDraining")[0].contains("held by process 4711 (python3)"), "{:?}", node.said);
    node.wait(Duration::from_millis(4_900));
    assert_eq!(said(&node, "UninvitedProcess").len(), 0, "a pod's own process may linger");
    node.wait(Duration::from_secs(300));
    let named = said(&node, "UninvitedProcess");
    assert_eq!(named.len(), 1, "once: {named:?}");
    assert!(
        named[0].contains("GPU `GPU-0` (index 0), but process 4711 (python3) computes on it"),
        "{named:?}"
    );
    assert!(looks(&node) < 160, "no hot poll: {} looks in five minutes", looks(&node));
    node.processes.clear();
    node.wait(Duration::from_secs(2));
    assert_eq!((state(&node).as_str(), node.counts(&shared())), ("settled", (2, 2)));
    assert_eq!((status(&node).holders, status(&node).processes), (vec![], vec![]));
    assert!(!node.annotations.contains_key(DRAINING));
    let before = looks(&node);
    node.wait(Duration::from_secs(600));
    assert_eq!(looks(&node), before, "nobody asks about a GPU that waits for nothing");
    assert_replays(&node);
}

#[test]
fn each_process_is_named_once_and_a_short_one_never() {
    let mut node = node(1);
    set(&mut node, 0, list(&[(1, "short")]));
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(3));
    set(&mut node, 0, list(&[(2, "long")]));
    node.wait(Duration::from_secs(20));
    set(&mut node, 0, list(&[(2, "long"), (3, "later")]));
    node.wait(Duration::from_secs(20));
    set(&mut node, 0, list(&[(3, "later")]));
    node.wait(Duration::from_secs(20));
    let named = said(&node, "UninvitedProcess");
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named[0].contains("process 2 (long) computes"), "{named:?}");
    assert!(named[1].contains("process 2 (long), process 3 (later) computes"), "{named:?}");
    assert_eq!(state(&node), "draining");
}

#[test]
fn a_label_that_is_taken_back_returns_the_gpu_whatever_computes_on_it() {
    let mut node = node(1);
    set(&mut node, 0, list(&[TRAIN]));
    node.set_config_label(Some("sliced"));
    assert_eq!(state(&node), "draining");
    node.set_config_label(None);
    assert_eq!((state(&node).as_str(), node.counts(&gpu())), ("settled", (1, 1)));
    let before = looks(&node);
    node.wait(Duration::from_secs(60));
    assert_eq!(looks(&node), before);
    assert_replays(&node);
}

/// What NVML answers, whether the GPU changes its role, what is said of it how often.
#[test]
fn only_an_answer_that_says_none_or_that_there_is_no_such_list_frees_a_gpu() {
    let failed = ProcessList::Failed { why: "the driver does not answer".into() };
    let rows = [
        (list(&[]), "settled", 0, 0),
        (ProcessList::Unsupported, "settled", 0, 0),
        (failed, "draining", 1, 0),
        (list(&[TRAIN]), "draining", 0, 1),
        (list(&[SERVER]), "draining", 0, 1),
    ];
    for (answer, expected, unreadable, uninvited) in rows {
        let mut node = node(1);
        set(&mut node, 0, answer.clone());
        node.set_config_label(Some("sliced"));
        node.wait(Duration::from_secs(60));
        assert_eq!(state(&node), expected, "{answer:?}");
        let times = (said(&node, "ProcessesUnreadable").len(), said(&node, "UninvitedProcess").len());
        assert_eq!(times, (unreadable, uninvited), "{answer:?}: {:?}", node.said);
        node.processes.clear();
        node.wait(Duration::from_secs(6));
        assert_eq!(state(&node), "settled", "after {answer:?}");
        assert_replays(&node);
    }
}

#[test]
fn while_nvml_is_silent_the_gpu_waits_and_is_asked_once() {
    let mut node = node(1);
    node.nvml_is_silent = true;
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(60));
    assert_eq!((state(&node).as_str(), looks(&node)), ("draining", 1));
    node.nvml_is_silent = false;
    node.tell(Event::ProcessesRead { gpu: uuid(0), list: list(&[]) });
    assert_eq!(state(&node), "settled");
}

#[test]
fn an_answer_from_before_the_ledger_said_free_frees_nothing() {
    let mut node = node(1);
    node.nvml_is_silent = true;
    node.set_config_label(Some("sliced"));
    assert_eq!(looks(&node), 1);
    // a late pod comes and goes while the look is under way
    node.admit("late", &gpu(), &["GPU-0"]).unwrap();
    node.wait(Duration::from_secs(3));
    node.delete("late");
    node.wait(Duration::from_secs(10));
    assert_eq!((state(&node).as_str(), looks(&node)), ("draining", 1));
    node.tell(Event::ProcessesRead { gpu: uuid(0), list: list(&[]) });
    assert_eq!((state(&node).as_str(), looks(&node)), ("draining", 2), "that answer is from before the pod");
    node.tell(Event::ProcessesRead { gpu: uuid(0), list: list(&[]) });
    assert_eq!(state(&node), "settled");
    assert_replays(&node);
}

#[test]
fn a_gpu_that_a_pod_holds_is_not_looked_at() {
    let mut node = node(1);
    node.admit("job", &gpu(), &["GPU-0"]).unwrap();
    set(&mut node, 0, list(&[TRAIN]));
    node.set_config_label(Some("sliced"));
    node.wait(Duration::from_secs(60));
    assert_eq!((looks(&node), status(&node).holders), (0, vec!["default/job/main".to_owned()]));
    node.delete("job");
    node.wait(Duration::from_secs(3));
    assert_eq!(status(&node).holders, ["process 4711 (python3)"], "it outlives its pod");
    node.processes.clear();
    node.wait(Duration::from_secs(3));
    assert_eq!((state(&node).as_str(), said(&node, "UninvitedProcess").len()), ("settled", 0));
}

#[test]
fn the_nodes_own_mps_server_blocks_no_way_back_and_a_client_does() {
    let mut node = node(1);
    set(&mut node, 0, list(&[SERVER]));
    node.set_config_label(Some("mps-config"));
    assert_eq!(state(&node), "settled", "{:?}", node.said);
    set(&mut node, 0, list(&[SERVER, TRAIN]));
    node.set_config_label(None);
    node.wait(Duration::from_secs(10));
    assert_eq!(status(&node).holders, ["process 4711 (python3)"]);
    set(&mut node, 0, list(&[SERVER]));
    node.wait(Duration::from_secs(2));
    assert_eq!((state(&node).as_str(), node.counts(&gpu())), ("settled", (1, 1)));
    assert_replays(&node);
}

const PER_RESOURCE: &str = "version: v1\nsharing:\n  mps:\n    renameByDefault: true\n    failRequestsGreaterThanOne: false\n    resources:\n    - {name: nvidia.com/gpu, replicas: 2}\n";

#[test]
fn gpus_of_one_daemon_wait_for_a_process_on_any_of_them() {
    let mut node = node(2);
    node.files.insert("together".into(), PER_RESOURCE.into());
    node.edit("together", PER_RESOURCE);
    node.set_config_label(Some("together"));
    node.wait(Duration::from_secs(1));
    assert_eq!(node.states(), ["settled", "settled"], "{:?}", node.said);
    set(&mut node, 1, list(&[TRAIN]));
    node.set_config_label(None);
    node.wait(Duration::from_secs(10));
    assert_eq!(node.states(), ["draining", "draining"]);
    node.processes.clear();
    node.wait(Duration::from_secs(2));
    assert_eq!((node.states(), node.counts(&gpu())), (vec!["settled".into(), "settled".into()], (2, 2)));
}

#[test]
fn at_the_start_only_a_gpu_that_becomes_mps_waits_and_keeps_no_other_from_its_daemon() {
    let mut node = Node::new(2);
    node.files.insert("sliced".into(), SLICED.into());
    set(&mut node, 0, list(&[TRAIN]));
    set(&mut node, 1, list(&[]));
    node.labels.insert(shell::CONFIG_LABEL.into(), "mps-config".into());
    node.start();
    node.wait(Duration::from_secs(10));
    assert_eq!(node.states(), ["found", "settled"], "{:?}", node.said);
    assert_eq!(status(&node).holders, ["process 4711 (python3)"]);
    assert_eq!(said(&node, "UninvitedProcess").len(), 1);
    node.processes.clear();
    node.wait(Duration::from_secs(2));
    assert_eq!(node.states(), ["settled", "settled"]);
    assert_replays(&node);

    for config in ["default", "sliced"] {
        let mut node = Node::new(1);
        node.files.insert("sliced".into(), SLICED.into());
        set(&mut node, 0, list(&[TRAIN]));
        node.labels.insert(shell::CONFIG_LABEL.into(), config.into());
        node.start();
        assert_eq!((state(&node).as_str(), looks(&node)), ("settled", 0), "{config}");
    }
}

#[test]
fn a_plugin_that_comes_back_to_its_daemon_asks_nobody() {
    let mut node = node(1);
    node.set_config_label(Some("mps-config"));
    assert_eq!(state(&node), "settled");
    let desired = node.desired.clone();
    set(&mut node, 0, list(&[SERVER, TRAIN]));
    let before = looks(&node);
    node.restart_plugin();
    node.wait(Duration::from_secs(5));
    assert_eq!((state(&node).as_str(), looks(&node)), ("settled", before), "{:?}", node.said);
    assert_eq!(node.desired, desired, "its daemon is the same");

    // another wish than the one that its daemon was started for
    let other = shell::MPS.replace("replicas: 4", "replicas: 2");
    node.files.insert("mps-config".into(), other);
    node.restart_plugin();
    node.wait(Duration::from_secs(5));
    assert_eq!((state(&node).as_str(), node.desired.clone()), ("found", desired), "{:?}", node.said);
    assert!(node.actual.as_ref().is_some_and(|actual: &Actual| !actual.daemons.is_empty()));
    set(&mut node, 0, list(&[SERVER]));
    node.wait(Duration::from_secs(3));
    assert_eq!((state(&node).as_str(), node.counts(&shared())), ("settled", (2, 2)));
}

#[test]
fn a_name_that_somebody_chose_spoils_no_message() {
    let name = |name: &str| {
        let ProcessList::Read { processes } = list(&[(7, name)]) else { return String::new() };
        processes[0].to_string()
    };
    let rows = [
        ("/opt/x/python3 /data/train.py", "process 7 (python3)"),
        ("a\u{7}b", "process 7 (a?b)"),
        ("", "process 7"),
        ("/", "process 7"),
    ];
    for (given, expected) in rows {
        assert_eq!(name(given), expected);
    }
    assert_eq!(name(&"x".repeat(5_000)).len(), "process 7 ()".len() + 64);
}

/// A process by its GPU and compute instance, and the MIG devices of one GPU that wait for its end.
#[test]
fn a_mig_device_waits_for_processes_that_are_on_it_or_may_be() {
    let mig = |index: u32| MigFacts {
        uuid: GpuUuid::new(format!("MIG-{index}")),
        index,
        gpu_instance: index + 7,
        compute_instance: 0,
        profile: "1g.5gb".into(),
        slices: MigSlices { gpu: 1, compute: 1 },
        memory_bytes: 5 << 30,
        engines: MigEngines::default(),
        nodes: vec![
            format!("/dev/nvidia-caps/nvidia-cap{}", 3 + index),
            "/dev/nvidia-caps/nvidia-cap9".into(),
        ],
    };
    let rows: [(Option<u32>, Option<u32>, &[&str]); 5] = [
        (Some(7), Some(0), &["MIG-0"]),
        (Some(8), None, &["MIG-1"]),
        (Some(7), Some(3), &[]),
        (Some(9), Some(0), &[]),
        (None, None, &["MIG-0", "MIG-1"]),
    ];
    let text = |replicas: &str| {
        format!(
            "version: v1\nflags: {{migStrategy: mixed}}\nsharing:\n  timeSlicing:\n    resources:\n    - {{name: nvidia.com/mig-1g.5gb, rename: nvidia.com/{replicas}, replicas: 2}}\n"
        )
    };
    for (gpu_instance, compute_instance, expected) in rows {
        let mut node = Node::new(1);
        let gpu = &mut node.facts.as_mut().unwrap().gpus[0];
        (gpu.mig_capable, gpu.mig_enabled, gpu.mig) = (true, true, vec![mig(0), mig(1)]);
        node.files.insert("default".into(), text("a"));
        node.files.insert("other".into(), text("b"));
        node.start();
        let process =
            ComputeProcess { pid: 4711, name: None, used_bytes: None, gpu_instance, compute_instance };
        set(&mut node, 0, ProcessList::Read { processes: vec![process] });
        node.set_config_label(Some("other"));
        node.wait(Duration::from_secs(1));
        let gpus = node.plugin.view().status.gpus.clone();
        let waits = |gpu: &&GpuStatus| gpu.state == "draining";
        let waiting: Vec<&str> = gpus.iter().filter(waits).map(|gpu| gpu.uuid.as_str()).collect();
        assert_eq!(waiting, expected, "{gpu_instance:?}/{compute_instance:?}");
        let held = gpus.iter().filter(waits).all(|gpu| gpu.holders == ["process 4711"]);
        assert!(held, "{gpus:?}");
        let settled = gpus.iter().filter(|gpu| gpu.resource.as_deref() == Some("nvidia.com/b")).count();
        assert_eq!(settled, 2 - expected.len(), "{gpus:?}");
        node.processes.clear();
        node.wait(Duration::from_secs(3));
        assert!(node.plugin.view().status.gpus.iter().all(|gpu| gpu.state != "draining"));
        assert_replays(&node);
    }
}
