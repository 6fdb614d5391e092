//! Every single thing that keeps a node from being at rest, on nodes that are at rest but for it.

use super::super::division::GPU;
use super::super::label::{Devices, Group, GroupName, Label, MigStrategy, Parts, Sharing};
use super::super::story::{Cut, Machine, Profile};
use super::*;
use crate::world::MigView;

const MPS: Label = Label::Shared(Sharing { mps: true, replicas: 4, renamed: true });
const CUT: Cut = Cut { profile: Profile::Large, count: 2 };

fn machine(gpus: u32, mig: Option<Cut>) -> Machine {
    Machine { name: "n".to_owned(), gpus, mig }
}

/// A node at rest whose GPUs follow a division, the first ones in its groups.
fn at_rest_on(machine: &Machine, label: &Label) -> World {
    let mut wishes = Wishes::new(machine);
    wishes.flip(label, false);
    let division = wishes.divisions().remove(0);
    let takes = division.takes(machine.gpus);
    let mut roles: Vec<&Role> = takes.iter().flat_map(|(role, count)| vec![*role; *count as usize]).collect();
    roles.resize(machine.gpus as usize, &division.rest);
    let mut node = NodeView::default();
    (node.plugin.running, node.plugin.ready) = (true, true);
    for (index, role) in (0..).zip(roles) {
        let parts = machine.mig.map(|cut| {
            let part = |part| MigView { uuid: format!("MIG-{index}-{part}"), ..MigView::default() };
            (0..cut.count).map(part).collect()
        });
        node.gpus.push(GpuView {
            uuid: format!("GPU-{index}"),
            index,
            compute_mode: if role.mps { "Exclusive_Process" } else { "Default" }.to_owned(),
            time_slice: role.time_slice.to_owned(),
            mps_daemon: if role.mps { "running" } else { "absent" }.to_owned(),
            state: Some(if role.in_parts { "unused" } else { "settled" }.to_owned()),
            role: (!role.in_parts).then(|| role.resource.clone()),
            mig: parts,
            ..GpuView::default()
        });
        let before = allocatable(&node, &role.resource);
        let devices = node.gpus.last().map_or(0, |gpu| role.devices(gpu));
        node.allocatable.insert(role.resource.clone(), (before + devices).into());
    }
    if let Some((strategy, replicas)) = division.rest.labels {
        node.labels.insert(REPLICAS_LABEL.to_owned(), replicas.to_string());
        node.labels.insert(STRATEGY_LABEL.to_owned(), strategy.to_owned());
    }
    let mps = node.gpus.iter().any(|gpu| gpu.mps_daemon == "running");
    node.labels.insert(MPS_LABEL.to_owned(), mps.to_string());
    let mut world = World::default();
    world.nodes.insert("n".to_owned(), node);
    world
}

fn at_rest(label: &Label) -> World {
    at_rest_on(&machine(1, None), label)
}

fn topic(world: &World, wishes: &Wishes) -> Option<&'static str> {
    missing(world, &[("n", wishes.clone())].into()).map(|missing| missing.topic)
}

fn wishes_on(machine: &Machine, labels: &[&Label]) -> Wishes {
    let mut wishes = Wishes::new(machine);
    labels.iter().for_each(|label| wishes.flip(label, false));
    wishes
}

fn wishes(labels: &[&Label]) -> Wishes {
    wishes_on(&machine(1, None), labels)
}

#[test]
fn a_node_is_at_rest_in_the_role_that_its_label_asks_for_and_in_no_other() {
    for label in [Label::Absent, MPS] {
        assert_eq!(topic(&at_rest(&label), &wishes(&[&label])), None);
    }
    assert_eq!(topic(&at_rest(&Label::Absent), &wishes(&[&MPS])), Some("free GPU"));
    assert_eq!(topic(&at_rest(&MPS), &wishes(&[&MPS, &Label::Absent])), Some("free GPU"));
}

#[test]
fn after_a_wrong_label_any_earlier_role_will_do() {
    let wishes = wishes(&[&MPS, &Label::Broken]);
    assert_eq!(topic(&at_rest(&MPS), &wishes), None);
    assert_eq!(topic(&at_rest(&Label::Absent), &wishes), None);
}

#[test]
fn each_thing_that_is_wrong_is_missed() {
    type Change = fn(&mut NodeView);
    let changes: [(&str, Change); 8] = [
        ("plugin", |node| node.plugin.running = false),
        ("readiness", |node| node.plugin.ready = false),
        ("MPS daemon", |node| node.gpus[0].mps_daemon = "absent".to_owned()),
        ("compute mode", |node| {
            node.gpus[0].compute_mode = "Default".to_owned();
        }),
        ("time slice", |node| node.gpus[0].time_slice = "short".to_owned()),
        ("allocatable", |node| node.allocatable.clear()),
        ("old resource", |node| {
            node.allocatable.insert(GPU.to_owned(), 1.into());
        }),
        ("label", |node| {
            node.labels.insert(REPLICAS_LABEL.to_owned(), "2".to_owned());
        }),
    ];
    for (expected, change) in changes {
        let mut world = at_rest(&MPS);
        world.nodes.values_mut().for_each(change);
        assert_eq!(topic(&world, &wishes(&[&MPS])), Some(expected));
    }
}

#[test]
fn a_group_with_a_gpu_too_few_or_too_many_is_missed() {
    let mix = |sliced| {
        let groups =
            [(GroupName::Mps, Devices::List([0].into())), (GroupName::Sliced, Devices::Count(sliced))];
        Label::Mixed(groups.map(|(name, devices)| Group { name, replicas: 3, devices }).into())
    };
    let node = machine(4, None);
    for asked in 1..=3 {
        let wishes = wishes_on(&node, &[&mix(asked)]);
        for there in 1..=3 {
            let expected = (asked != there).then_some("group");
            assert_eq!(topic(&at_rest_on(&node, &mix(there)), &wishes), expected, "{asked} {there}");
        }
    }
    // a GPU of a list plays the role of its group and no other
    let mut world = at_rest_on(&node, &mix(1));
    world.nodes.values_mut().for_each(|node| node.gpus[0].role = Some("nvidia.com/gpu.sliced".to_owned()));
    assert_eq!(topic(&world, &wishes_on(&node, &[&mix(1)])), Some("free GPU"));
}

#[test]
fn a_gpu_in_mig_mode_is_offered_as_its_parts() {
    let node = machine(2, Some(CUT));
    let label = Label::Parts(Parts { strategy: MigStrategy::Mixed, replicas: 1 });
    let wishes = wishes_on(&node, &[&label]);
    let mut world = at_rest_on(&node, &label);
    assert_eq!(topic(&world, &wishes), None);
    assert_eq!(world.nodes["n"].allocatable["nvidia.com/mig-3g.20gb"], 4);
    world.nodes.values_mut().for_each(|node| {
        node.allocatable.insert("nvidia.com/mig-3g.20gb".to_owned(), 3.into());
    });
    assert_eq!(topic(&world, &wishes), Some("allocatable"));
    assert_eq!(topic(&at_rest_on(&node, &Label::Absent), &wishes), Some("free GPU"));
    // a GPU that was put back has none
    world.nodes.values_mut().for_each(|node| {
        node.gpus[1].mig = Some(Vec::new());
        node.allocatable.insert("nvidia.com/mig-3g.20gb".to_owned(), 2.into());
    });
    assert_eq!(topic(&world, &wishes), None);
}

#[test]
fn a_kubelet_without_checkpoint_leaves_the_figures_of_what_nobody_registers() {
    let old = "nvidia.com/gpu.fine";
    let mut world = at_rest(&MPS);
    world.nodes.values_mut().for_each(|node| {
        node.allocatable.insert(old.to_owned(), 2.into());
    });
    let mut wishes = wishes(&[&MPS]);
    assert_eq!(topic(&world, &wishes), Some("old resource"));
    wishes.forget();
    assert_eq!(topic(&world, &wishes), None);
    world.nodes.values_mut().for_each(|node| {
        node.lists.insert(old.to_owned(), BTreeMap::new());
    });
    assert_eq!(topic(&world, &wishes), Some("old resource"), "it has registered since");
}

#[test]
fn who_was_admitted_by_a_kubelet_that_knew_nothing_may_wait_for_devices() {
    let mut world = at_rest(&MPS);
    let asks = [("nvidia.com/gpu.shared".to_owned(), 1)].into();
    let waiting = crate::world::PodView {
        node: Some("n".to_owned()),
        phase: "Pending".to_owned(),
        resources: asks,
        ..Default::default()
    };
    world.pods.insert("p".to_owned(), waiting);
    let mut wishes = wishes(&[&MPS]);
    wishes.look(&world, "n");
    assert_eq!(topic(&world, &wishes), Some("pod start"));
    wishes.forget();
    let mut registered = world.clone();
    registered.nodes.values_mut().for_each(|node| {
        node.plugin.registered.insert("nvidia.com/gpu.shared".to_owned(), 4);
    });
    wishes.look(&registered, "n");
    assert_eq!(topic(&registered, &wishes), Some("pod start"), "the kubelet knew");
    let without = |pod: &str| {
        format!(
            "`NVIDIA_VISIBLE_DEVICES` names exactly the GPUs of a pod's ids: pod `{pod}` has {{}} by no way, holds []"
        )
    };
    assert!(!wishes.covers(&without("p")));
    wishes.look(&world, "n");
    assert_eq!(topic(&registered, &wishes), None);
    assert!(wishes.covers(&without("p")) && !wishes.covers(&without("q")));
}

#[test]
fn a_node_without_a_configuration_that_holds_is_not_ready_and_takes_back_what_an_earlier_one_set() {
    let mut wishes = Wishes::new(&machine(1, None));
    wishes.flip(&Label::Broken, true);
    let mut world = at_rest(&Label::Absent);
    world.nodes.values_mut().for_each(|node| {
        node.allocatable.clear();
        node.plugin.ready = false;
    });
    assert_eq!(topic(&world, &wishes), None);
    let changed = |change: fn(&mut NodeView)| {
        let mut world = world.clone();
        world.nodes.values_mut().for_each(change);
        topic(&world, &wishes)
    };
    assert_eq!(changed(|node| node.plugin.ready = true), Some("readiness"));
    assert_eq!(
        changed(|node| node.gpus[0].compute_mode = "Exclusive_Process".to_owned()),
        Some("compute mode")
    );
}
