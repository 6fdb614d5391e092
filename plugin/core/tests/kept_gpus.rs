//! Stories of what is kept about GPUs across restarts and changes of the machine, told to the core alone.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::config::ResourceName;
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};
use shell::{Node, assert_replays, facts, gpu, shared};

const RETIRED: Duration = Duration::from_secs(31);
const TWO: &str = "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - {name: nvidia.com/gpu, replicas: 4, devices: 2}\n";

fn node(gpus: u32) -> Node {
    let mut node = Node::new(gpus);
    node.files.insert("default".into(), TWO.into());
    node.start();
    node
}

/// The GPUs that serve shared devices.
fn sharing(node: &Node) -> Vec<String> {
    let view = node.plugin.view();
    let gpus = view.status.gpus.iter().filter(|g| g.resource.as_deref() == Some(shared().as_str()));
    let mut uuids: Vec<String> = gpus.map(|g| g.uuid.to_string()).collect();
    uuids.sort();
    uuids
}

/// These GPUs in this order of index.
fn machine(order: &[&str]) -> Facts {
    let mut facts = facts(u32::try_from(order.len()).unwrap());
    for (gpu, uuid) in facts.gpus.iter_mut().zip(order) {
        gpu.uuid = GpuUuid::new(*uuid);
    }
    facts
}

fn see(node: &mut Node, facts: Facts) {
    node.facts = Some(facts.clone());
    node.tell(plugin_core::event::Event::GpusFound { facts });
    node.wait(RETIRED);
}

#[test]
fn a_count_keeps_its_gpus_whatever_is_put_in_pulled_out_or_numbered_anew() {
    let mut node = node(4);
    assert_eq!(sharing(&node), ["GPU-0", "GPU-1"]);
    for restarts in [false, true] {
        // what happens to the machine, and who shares then
        let rows: [(&[&str], &[&str]); 5] = [
            (&["GPU-9", "GPU-0", "GPU-1", "GPU-2", "GPU-3"], &["GPU-0", "GPU-1"]),
            (&["GPU-3", "GPU-2", "GPU-1", "GPU-0"], &["GPU-0", "GPU-1"]),
            // a GPU that is away keeps its place: no other one changes its role for it
            (&["GPU-0", "GPU-2", "GPU-3"], &["GPU-0"]),
            (&["GPU-2", "GPU-3"], &[]),
            (&["GPU-0", "GPU-1", "GPU-2", "GPU-3"], &["GPU-0", "GPU-1"]),
        ];
        for (order, expected) in rows {
            see(&mut node, machine(order));
            if restarts {
                node.restart_plugin();
                node.wait(RETIRED);
            }
            assert_eq!(sharing(&node), expected, "{order:?}");
            assert_eq!(node.counts(&gpu()).1, order.len() - expected.len());
        }
    }
    assert_replays(&node);
}

#[test]
fn another_sharing_chooses_anew_and_another_remark_does_not() {
    let mut node = node(4);
    see(&mut node, machine(&["GPU-3", "GPU-2", "GPU-1", "GPU-0"]));
    node.edit("default", &format!("# a remark\n{TWO}"));
    node.wait(RETIRED);
    assert_eq!(sharing(&node), ["GPU-0", "GPU-1"]);
    node.edit("default", &TWO.replace("replicas: 4", "replicas: 3"));
    node.wait(RETIRED);
    assert_eq!(sharing(&node), ["GPU-2", "GPU-3"], "the lowest indexes now");
    assert_replays(&node);
}

#[test]
fn a_count_that_found_too_few_takes_more_when_they_come() {
    let mut node = node(1);
    assert_eq!(sharing(&node), ["GPU-0"]);
    see(&mut node, machine(&["GPU-5", "GPU-6", "GPU-0"]));
    assert_eq!(sharing(&node), ["GPU-0", "GPU-5"]);
}

#[test]
fn a_damaged_state_file_is_told_and_ignored_and_replaced() {
    let mut node = node(4);
    see(&mut node, machine(&["GPU-3", "GPU-2", "GPU-1", "GPU-0"]));
    let kept = node.kept_gpus.clone().unwrap();
    node.kept_gpus = Some(kept[..kept.len() / 2].to_owned());
    node.restart_plugin();
    node.wait(RETIRED);
    assert_eq!(sharing(&node), ["GPU-2", "GPU-3"]);
    let told = node.said.iter().filter(|said| said.starts_with("KeptGpusIgnored: ")).count();
    assert_eq!(told, 1, "{:?}", node.said);
    assert!(node.kept_gpus.as_ref().is_some_and(|text| text.contains("GPU-3") && !text.contains("GPU-1")));
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_once_and_stops_nothing() {
    let mut node = Node::new(4);
    node.files.insert("default".into(), TWO.into());
    node.state_is_writable = false;
    node.start();
    see(&mut node, machine(&["GPU-3", "GPU-2", "GPU-1", "GPU-0"]));
    assert_eq!(sharing(&node), ["GPU-0", "GPU-1"], "this process knows");
    let told = node.said.iter().filter(|said| said.starts_with("KeptGpusNotKept: ")).count();
    assert_eq!(told, 1, "{:?}", node.said);
}

/// One A100, whole or with one MIG device.
fn a100(is_cut: bool) -> Facts {
    let mut facts = facts(1);
    let part = MigFacts {
        uuid: GpuUuid::new("MIG-0"),
        index: 0,
        gpu_instance: 7,
        compute_instance: 0,
        profile: "1g.5gb".into(),
        slices: MigSlices { gpu: 1, compute: 1 },
        memory_bytes: 5 << 30,
        engines: MigEngines::default(),
        nodes: vec!["/dev/nvidia-caps/nvidia-cap1".into(), "/dev/nvidia-caps/nvidia-cap2".into()],
    };
    facts.gpus[0].mig_capable = true;
    facts.gpus[0].mig_enabled = is_cut;
    facts.gpus[0].mig = if is_cut { vec![part] } else { Vec::new() };
    facts
}

#[test]
fn a_mig_device_that_vanished_keeps_its_gpu_held_after_a_restart_too() {
    let mig = ResourceName::parse("mig-1g.5gb").unwrap();
    for restarts in [false, true] {
        let mut node = Node::new(1);
        node.files = BTreeMap::from([("default".into(), "flags: {migStrategy: mixed}".into())]);
        node.facts = Some(a100(true));
        node.start();
        node.admit("pod", &mig, &["MIG-0"]).unwrap();
        see(&mut node, a100(false));
        if restarts {
            node.restart_plugin();
            node.wait(RETIRED);
        }
        assert_eq!(node.counts(&gpu()).1, 0, "restarts {restarts}: its holder may still use the GPU");
        let holders = node.plugin.view().status.gpus[0].holders.clone();
        assert_eq!(holders, ["default/pod/main (`MIG-0`, which is gone)"]);
        node.delete("pod");
        node.wait(Duration::from_secs(10));
        assert_eq!(node.counts(&gpu()), (1, 1), "restarts {restarts}");
        assert!(!node.kept_gpus.as_ref().unwrap().contains("MIG-0"), "{:?}", node.kept_gpus);
        assert_replays(&node);
    }
}
