//! Each invariant is broken once, because a check that cannot fail is worth nothing.

use super::*;
use crate::world::{ContainerView, GpuView, MigView, NodeView, PodView, gpu_of};

fn pod(ids: &[(&str, &str)]) -> PodView {
    let mut view = PodView { phase: "Running".into(), node: Some("n1".into()), ..PodView::default() };
    for (resource, id) in ids {
        view.ids.entry((*resource).to_owned()).or_default().push((*id).to_owned());
        view.gpus.push(gpu_of(id).to_owned());
    }
    view.gpus.sort();
    view.gpus.dedup();
    let env = BTreeMap::from([(VISIBLE.to_owned(), view.gpus.join(","))]);
    view.env = env.clone();
    view.containers.insert("main".into(), ContainerView { env, ..ContainerView::default() });
    view
}

/// A node with two GPUs, whose pods were given devices while each GPU had so many.
fn world(replicas: u64, pods: &[(&str, PodView)]) -> World {
    let mut world = World::default();
    world
        .nodes
        .insert("n1".to_owned(), NodeView { gpus: vec![GpuView::default(); 2], ..NodeView::default() });
    for (name, pod) in pods {
        let mut pod = pod.clone();
        pod.replicas = pod.gpus.iter().map(|gpu| (gpu.clone(), replicas)).collect();
        world.pods.insert((*name).to_owned(), pod);
    }
    world
}

fn broken(world: &World) -> String {
    Invariants::default().check(world).join("\n")
}

/// Judges by a configuration that asks for four replicas.
fn four_asked() -> Invariants {
    let mut invariants = Invariants::default();
    let text = "sharing: {mps: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}".to_owned();
    invariants.configs(&BTreeMap::from([("default".to_owned(), text)]));
    invariants
}

const GPU: &str = "nvidia.com/gpu";
const SHARED: &str = "nvidia.com/gpu.shared";

#[test]
fn a_proper_world_breaks_nothing() {
    let pods = [
        ("a", pod(&[(GPU, "GPU-1")])),
        ("b", pod(&[(SHARED, "GPU-2::0")])),
        ("c", pod(&[(SHARED, "GPU-2::1")])),
    ];
    assert_eq!(broken(&world(4, &pods)), "");
}

#[test]
fn two_holders_of_an_exclusive_gpu_are_seen() {
    let pods = [("a", pod(&[(GPU, "GPU-1")])), ("b", pod(&[(GPU, "GPU-1")]))];
    let text = broken(&world(4, &pods));
    assert!(text.contains("one holder") && text.contains("held twice"), "{text}");
}

#[test]
fn two_strategies_on_one_gpu_are_seen() {
    let pods = [("a", pod(&[(GPU, "GPU-1")])), ("b", pod(&[(SHARED, "GPU-1::0")]))];
    assert!(broken(&world(4, &pods)).contains("share one strategy"));
}

#[test]
fn more_holders_than_replicas_are_seen() {
    let pods = [("a", pod(&[(SHARED, "GPU-1::0")])), ("b", pod(&[(SHARED, "GPU-1::1")]))];
    assert!(broken(&world(1, &pods)).contains("no more holders than replicas"));
    assert_eq!(broken(&world(2, &pods)), "");
    let mut later = world(2, &pods[..1]);
    later.pods.extend(world(1, &pods[1..]).pods);
    assert_eq!(broken(&later), "", "replicas at the time of handing out count");
}

#[test]
fn an_environment_with_another_gpu_is_seen() {
    let mut wrong = pod(&[(GPU, "GPU-1")]);
    wrong.containers.get_mut("main").unwrap().env.insert(VISIBLE.to_owned(), "GPU-2".into());
    assert!(broken(&world(1, &[("a", wrong)])).contains("names exactly the GPUs"));
}

#[test]
fn a_pod_that_the_plugin_failed_is_seen_but_its_own_fault_is_not() {
    let mut failed =
        PodView { phase: "Failed".into(), reason: "UnexpectedAdmissionError".into(), ..PodView::default() };
    assert!(broken(&world(1, &[("a", failed.clone())])).contains("no pod fails because of the plugin"));
    failed.message = format!("x {OWN_FAULT} is 1; found 2");
    assert_eq!(broken(&world(1, &[("a", failed)])), "");
}

#[test]
fn a_device_that_changes_under_a_running_pod_is_seen() {
    let mut invariants = Invariants::default();
    assert!(invariants.check(&world(4, &[("a", pod(&[(SHARED, "GPU-1::0")]))])).is_empty());
    let text = invariants.check(&world(4, &[("a", pod(&[(SHARED, "GPU-2::0")]))])).join("\n");
    assert!(text.contains("never changes its meaning"), "{text}");
    assert!(invariants.check(&world(4, &[])).is_empty());
    assert!(
        invariants.check(&world(4, &[("a", pod(&[(GPU, "GPU-2")]))])).is_empty(),
        "a new pod of that name"
    );
}

#[test]
fn a_gpu_that_is_gone_does_not_exist_any_more() {
    let mut world = world(1, &[]);
    world.nodes.get_mut("n1").unwrap().allocatable.insert("nvidia.com/gpu".into(), 2.into());
    let mut invariants = Invariants::default();
    assert_eq!(invariants.check(&world), Vec::<String>::new());
    world.nodes.get_mut("n1").unwrap().gpus.pop();
    assert!(invariants.check(&world).concat().contains("is 2, at most 1"));
}

#[test]
fn more_allocatable_than_exists_is_seen() {
    let mut world = world(4, &[]);
    let allow = |world: &mut World, count: u64| {
        world.nodes.get_mut("n1").unwrap().allocatable.insert(SHARED.into(), count.into());
    };
    allow(&mut world, 8);
    assert_eq!(four_asked().check(&world), [] as [&str; 0]);
    allow(&mut world, 9);
    assert!(four_asked().check(&world).join("").contains("never exceeds"));
}

#[test]
fn a_list_with_more_devices_than_were_asked_for_is_seen_before_the_node_shows_them() {
    let mut world = world(4, &[]);
    let list = |count| BTreeMap::from([(SHARED.to_owned(), BTreeMap::from([("GPU-1".to_owned(), count)]))]);
    world.nodes.get_mut("n1").unwrap().lists = list(4);
    assert_eq!(four_asked().check(&world), [] as [&str; 0]);
    world.nodes.get_mut("n1").unwrap().lists = list(5);
    assert!(four_asked().check(&world).join("").contains("never exceeds"));
}

#[test]
fn a_change_is_judged_like_a_whole_world() {
    let mut invariants = Invariants::default();
    let (one, other) = (pod(&[(GPU, "GPU-1")]), pod(&[(SHARED, "GPU-1::0")]));
    let none: [&str; 0] = [];
    assert_eq!(invariants.pod(&PodSeen::of("a", &one, &[])), none);
    assert!(invariants.pod(&PodSeen::of("b", &other, &[])).join("").contains("share one strategy"));
    assert_eq!(invariants.pod(&PodSeen::of("b", &other, &[])), none, "each change is told once");
    invariants.pod_gone("a");
    assert_eq!(invariants.pod(&PodSeen::of("c", &pod(&[(SHARED, "GPU-1::1")]), &[])), none);
    let twice = invariants.pod(&PodSeen::of("d", &other, &[])).join("");
    assert!(twice.contains("handed out once"), "{twice}");
    let failed = PodView { phase: "Failed".into(), ..other };
    invariants.pod(&PodSeen::of("d", &failed, &[]));
    assert_eq!(
        invariants.pod(&PodSeen::of("e", &pod(&[(SHARED, "GPU-1::2")]), &[])),
        none,
        "an ended pod holds nothing"
    );
}

#[test]
fn gpus_are_counted_by_what_cdi_names_lead_to_and_not_by_the_names() {
    let told = |nodes: &[&str]| {
        let mut told = pod(&[(GPU, "GPU-1")]);
        let container = told.containers.get_mut("main").unwrap();
        container.env.clear();
        container.cdi = vec!["k8s.device-plugin.nvidia.com/gpu=GPU-1".to_owned()];
        container.cdi_nodes =
            nodes.iter().map(|node| format!("/driver/dev/{node} -> /dev/{node} (rwm)")).collect();
        told
    };
    let judged = |pod: PodView| {
        let mut world = world(1, &[("a", pod)]);
        let gpu =
            |uuid: &str, minor| GpuView { uuid: uuid.into(), minor, index: minor, ..GpuView::default() };
        world.nodes.get_mut("n1").unwrap().gpus = vec![gpu("GPU-0", 0), gpu("GPU-1", 1)];
        broken(&world)
    };
    assert_eq!(judged(told(&["nvidiactl", "nvidia1"])), "");
    for wrong in [&["nvidiactl"][..], &["nvidia0"], &["nvidia0", "nvidia1"], &["nvidia7"]] {
        let text = judged(told(wrong));
        assert!(text.contains("names exactly the GPUs") && text.contains("CDI"), "{wrong:?}: {text}");
    }
    let mut both = told(&["nvidia1"]);
    both.containers.get_mut("main").unwrap().env.insert(VISIBLE.into(), "GPU-0".into());
    assert!(judged(both.clone()).contains("environment"), "every way that is used must be right");
    both.containers.get_mut("main").unwrap().env.insert(VISIBLE.into(), "1".into());
    assert_eq!(judged(both), "", "an index is a name too");
}

#[test]
fn a_running_pod_that_was_told_nothing_is_seen() {
    let mut told = pod(&[(GPU, "GPU-1")]);
    told.containers.get_mut("main").unwrap().env.clear();
    assert!(broken(&world(1, &[("a", told)])).contains("names exactly the GPUs"));
}

/// A node whose second GPU has two MIG devices.
fn cut(pods: &[(&str, PodView)]) -> World {
    let mut world = world(1, pods);
    let part = |index: u32| MigView {
        index,
        uuid: format!("MIG-{index}"),
        gpu_instance: 7 + index,
        ..MigView::default()
    };
    let gpu = |uuid: &str, minor| GpuView { uuid: uuid.into(), minor, index: minor, ..GpuView::default() };
    let mig = Some(vec![part(0), part(1)]);
    world.nodes.get_mut("n1").unwrap().gpus = vec![gpu("GPU-0", 0), GpuView { mig, ..gpu("GPU-1", 1) }];
    world
}

#[test]
fn a_gpu_that_is_held_beside_its_own_mig_device_is_seen() {
    let (whole, part, other) = (pod(&[(GPU, "GPU-1")]), pod(&[(GPU, "MIG-1")]), pod(&[(GPU, "MIG-0")]));
    assert_eq!(broken(&cut(&[("a", part.clone()), ("b", other), ("c", pod(&[(GPU, "GPU-0")]))])), "");
    for pods in [[("a", whole.clone()), ("b", part.clone())], [("a", part), ("b", whole)]] {
        let text = broken(&cut(&pods));
        assert!(text.contains("`GPU-1` on `n1` is held as a whole and as its MIG device `MIG-1`"), "{text}");
    }
}

#[test]
fn a_mig_device_is_named_by_its_uuid_its_index_or_its_own_nodes() {
    let told = |visible: Option<&str>, nodes: &[&str]| {
        let mut told = pod(&[(GPU, "MIG-1")]);
        let container = told.containers.get_mut("main").unwrap();
        container.env = visible.map(|value| (VISIBLE.to_owned(), value.to_owned())).into_iter().collect();
        container.cdi =
            nodes.iter().take(1).map(|_| "k8s.device-plugin.nvidia.com/gpu=1:1".to_owned()).collect();
        container.cdi_nodes = nodes.iter().map(|node| format!("/d/{node} -> /dev/{node} (rwm)")).collect();
        broken(&cut(&[("a", told)]))
    };
    let nodes = |gpu_instance| {
        let instance = fake_gpu::MigInstance { gpu_instance, compute_instance: 0 };
        let (of_gpu, of_compute) = fake_gpu::mig_minors(1, instance).unwrap();
        [of_gpu, of_compute].map(|n| format!("nvidia-caps/nvidia-cap{n}"))
    };
    let (own, others) = (nodes(8), nodes(7));
    for (visible, nodes) in
        [(Some("MIG-1"), &[][..]), (Some("1:1"), &[]), (None, &["nvidia1", &own[0], &own[1]])]
    {
        assert_eq!(told(visible, nodes), "", "{visible:?} {nodes:?}");
    }
    let wrong = [
        (Some("MIG-0"), &[][..]),
        (Some("1:0"), &[]),
        (Some("1"), &[]),
        (None, &["nvidia1"]),
        (None, &["nvidia1", &others[0], &others[1]]),
        (None, &["nvidia1", &own[0], &own[1], &others[0], &others[1]]),
    ];
    for (visible, nodes) in wrong {
        assert!(told(visible, nodes).contains("names exactly the GPUs"), "{visible:?} {nodes:?}");
    }
}

#[test]
fn a_compute_mode_that_changes_under_a_pod_is_seen_and_one_that_changes_between_pods_is_none() {
    let seen = |mode: &str, processes: u64| {
        let mut world = world(1, &[]);
        let gpu = GpuView {
            uuid: "GPU-1".to_owned(),
            compute_mode: mode.to_owned(),
            holders: vec!["a".to_owned()],
            processes,
            ..GpuView::default()
        };
        world.nodes.values_mut().for_each(|node| node.gpus = vec![gpu.clone()]);
        world
    };
    let mut invariants = Invariants::default();
    for (mode, processes) in [("Default", 1), ("Default", 2), ("Default", 0), ("Exclusive_Process", 1)] {
        assert!(invariants.check(&seen(mode, processes)).is_empty(), "{mode} {processes}");
    }
    let broken = invariants.check(&seen("Default", 1)).join("\n");
    assert!(broken.contains("`GPU-1` on `n1` had Exclusive_Process, now Default"), "{broken}");
    assert!(invariants.check(&seen("Default", 1)).is_empty(), "it is told once");
    // somebody whom no pod has sent may come while a mode changes
    let mut uninvited = seen("Exclusive_Process", 1);
    uninvited.nodes.values_mut().for_each(|node| node.gpus[0].holders.clear());
    assert!(invariants.check(&uninvited).is_empty());
}
