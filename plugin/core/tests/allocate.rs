//! What Allocate answers, as one reviewed table: device list strategies × device ID strategies × sharing × device nodes, and
//! the examples worked out from NVIDIA's plugin.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use plugin_core::allocate::{AllocateError, Allocation, CdiEdits, ContainerEdits, IDS_MAX};
use plugin_core::budget::Budget;
use plugin_core::cdi::{Class, VENDOR};
use plugin_core::config::{AllocationPolicy, ResourceName};
use plugin_core::inventory::GpuUuid;
use plugin_core::view::{Device, MigPart, ResourceView, Strategy, View};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

const TABLE: &str = "tests/snapshots/allocate.txt";

fn device(gpu: &str, id: &str, strategy: Strategy) -> (String, Device) {
    let index = u32::from(gpu != "GPU-a");
    let device = Device {
        id: id.to_owned(),
        healthy: true,
        granted: true,
        gpu: GpuUuid::new(gpu),
        parent: GpuUuid::new(gpu),
        numa_node: None,
        strategy,
        gpu_index: index,
        gpu_minor: index + 4,
        mig: None,
        mps: None,
    };
    (id.to_owned(), device)
}

fn view(strategy: Strategy, edits: ContainerEdits) -> View {
    let devices = match strategy {
        Strategy::Exclusive => vec![device("GPU-a", "GPU-a", strategy), device("GPU-b", "GPU-b", strategy)],
        Strategy::TimeSlicing | Strategy::Mps => ["a::0", "a::1", "a::2", "b::0"]
            .map(|id| device(&format!("GPU-{}", &id[..1]), &format!("GPU-{id}"), strategy))
            .to_vec(),
    };
    let served = ResourceView {
        devices: Arc::new(devices.into_iter().collect()),
        one_shared_device_at_most: false,
        policy: AllocationPolicy::Distributed,
        budget: None,
    };
    View { resources: [(ResourceName::gpu().shared(), served)].into(), edits, ..View::default() }
}

/// Strategies are named by the first letters of `envvar`, `volume-mounts`, `cdi-annotations`, `cdi-cri`.
fn edits(strategies: &str) -> ContainerEdits {
    let has = |word: &str| strategies.split('+').any(|one| one == word);
    ContainerEdits {
        envvar: has("envvar"),
        volume_mounts: has("volume-mounts"),
        cdi: CdiEdits {
            annotation_prefix: has("cdi-annotations").then(|| "cdi.k8s.io/".to_owned()),
            cri: has("cdi-cri"),
            vendor: VENDOR.to_owned(),
            features: BTreeSet::new(),
        },
        control_nodes: ["/dev/nvidiactl".to_owned(), "/dev/nvidia-uvm".to_owned()].into(),
        mps_root: "/run/nvidia/mps".to_owned(),
        ..ContainerEdits::default()
    }
}

fn answer(view: &View, ids: &[&str]) -> Allocation {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    view.allocate(&ResourceName::gpu().shared(), &ids).unwrap()
}

/// One line per thing that a container gets.
fn told(got: &Allocation) -> Vec<String> {
    let envs = got.envs.iter().map(|(name, value)| format!("env {name}={value}"));
    let mounts = got.mounts.iter().map(|m| format!("mount {} -> {}", m.host_path, m.container_path));
    let nodes = got.device_nodes.iter().map(|n| format!("node {} ({})", n.container_path, n.permissions));
    let annotations = got.annotations.iter().map(|(key, value)| format!("annotation {key}={value}"));
    let cdi = got.cdi_devices.iter().map(|name| format!("cdi {name}"));
    envs.chain(mounts).chain(nodes).chain(annotations).chain(cdi).collect()
}

fn combinations() -> Vec<String> {
    let words = ["envvar", "volume-mounts", "cdi-annotations", "cdi-cri"];
    let chosen = |mask: usize| -> Vec<&str> {
        words.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, word)| *word).collect()
    };
    (0..16).map(|mask| chosen(mask).join("+")).collect()
}

fn table() -> String {
    let mut text = String::from(
        "# Two devices of two GPUs, the second GPU first; under sharing two replicas of each kind of order.\n\
         # strategies | device id | sharing | passDeviceSpecs: what the container gets\n",
    );
    let sharing = [
        ("exclusive", Strategy::Exclusive, &["GPU-b", "GPU-a"][..]),
        ("time-slicing", Strategy::TimeSlicing, &["GPU-a::2", "GPU-b::0", "GPU-a::0"][..]),
        ("mps", Strategy::Mps, &["GPU-a::1"][..]),
    ];
    for strategies in combinations() {
        for by_index in [false, true] {
            for (word, strategy, ids) in sharing {
                for device_specs in [false, true] {
                    let edits = ContainerEdits { by_index, device_specs, ..edits(&strategies) };
                    let got = answer(&view(strategy, edits), ids);
                    let by = if by_index { "index" } else { "uuid" };
                    let shown = if strategies.is_empty() { "(none)" } else { &strategies };
                    let nodes = if device_specs { "specs" } else { "-" };
                    writeln!(text, "{shown} | {by} | {word} | {nodes}").unwrap();
                    told(&got).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
                }
            }
        }
    }
    text.push_str("# IMEX channel 0, GDRCopy, GDS and MOFED, of which GDRCopy and MOFED have a spec\n");
    for strategies in combinations() {
        let mut edits = ContainerEdits {
            gdrcopy: true,
            gds: true,
            mofed: true,
            imex_channels: vec![0],
            device_specs: true,
            ..edits(&strategies)
        };
        edits.cdi.features = [Class::Gdrcopy, Class::Mofed].into();
        let shown = if strategies.is_empty() { "(none)" } else { &strategies };
        writeln!(text, "{shown} | uuid | exclusive | specs").unwrap();
        let got = answer(&view(Strategy::Exclusive, edits), &["GPU-a"]);
        told(&got).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
    }
    add_mig(&mut text);
    add_budgets(&mut text);
    text
}

/// Two replicas of one GPU and one of another: a container has the smallest share on all of its GPUs.
fn add_budgets(text: &mut String) {
    text.push_str("# Replicas of 3072 MiB, of at most 4096 MiB under MPS\n");
    let sharing = [
        ("time-slicing", Strategy::TimeSlicing, 3072, ["GPU-a::2", "GPU-a::0"].as_slice()),
        ("time-slicing", Strategy::TimeSlicing, 3072, &["GPU-a::2", "GPU-b::0", "GPU-a::0"]),
        ("mps", Strategy::Mps, 4096, &["GPU-a::1"]),
    ];
    for strategies in combinations() {
        for (word, strategy, limit_mib, ids) in sharing {
            let mut view = view(strategy, edits(&strategies));
            let served = view.resources.values_mut();
            served.for_each(|served| served.budget = Some(Budget { request_mib: 3072, limit_mib }));
            let got = answer(&view, ids);
            let shown = if strategies.is_empty() { "(none)" } else { &strategies };
            writeln!(text, "{shown} | uuid | {word} of {} | -", ids.len()).unwrap();
            told(&got).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
        }
    }
}

/// Two parts of GPU 1 and one of GPU 0, exclusive and as replicas.
fn add_mig(text: &mut String) {
    text.push_str("# MIG devices: two of one GPU, the later first, then one of the other GPU\n");
    let sharing = [
        ("exclusive", Strategy::Exclusive, ["MIG-c", "MIG-b", "MIG-a"].as_slice()),
        ("time-slicing", Strategy::TimeSlicing, &["MIG-c::1", "MIG-b::0", "MIG-c::0", "MIG-a::1"]),
    ];
    for strategies in combinations() {
        for by_index in [false, true] {
            for (word, strategy, ids) in sharing {
                for device_specs in [false, true] {
                    let edits = ContainerEdits { by_index, device_specs, ..edits(&strategies) };
                    let served = ResourceView {
                        devices: Arc::new(ids.iter().map(|id| part(id, strategy)).collect()),
                        one_shared_device_at_most: false,
                        policy: AllocationPolicy::Distributed,
                        budget: None,
                    };
                    let resources = [(ResourceName::gpu().shared(), served)].into();
                    let got = answer(&View { resources, edits, ..View::default() }, ids);
                    let by = if by_index { "index" } else { "uuid" };
                    let shown = if strategies.is_empty() { "(none)" } else { &strategies };
                    let nodes = if device_specs { "specs" } else { "-" };
                    writeln!(text, "{shown} | {by} | mig {word} | {nodes}").unwrap();
                    told(&got).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
                }
            }
        }
    }
}

/// `MIG-a` is 0:0; `MIG-b` and `MIG-c` are 1:0 and 1:3.
fn part(id: &str, strategy: Strategy) -> (String, Device) {
    let (gpu, index) = match &id[..5] {
        "MIG-a" => ("GPU-a", 0),
        "MIG-b" => ("GPU-b", 0),
        _ => ("GPU-b", 3),
    };
    let (name, whole) = device(gpu, id, strategy);
    let node = |n: u32| format!("/dev/nvidia-caps/nvidia-cap{}", 100 * whole.gpu_index + 10 * index + n);
    let mig = MigPart { index, nodes: vec![node(1), node(2)] };
    (name, Device { gpu: GpuUuid::new(&id[..5]), mig: Some(mig), ..whole })
}

#[test]
fn every_combination_of_settings_answers_as_reviewed() {
    let table = table();
    if std::env::var_os("TANDEM_UPDATE_SNAPSHOTS").is_some() {
        return std::fs::write(TABLE, table).unwrap();
    }
    let reviewed = include_str!("snapshots/allocate.txt");
    let lines = table.lines().zip(reviewed.lines()).enumerate();
    let first = lines.into_iter().find(|(_, (now, before))| now != before);
    assert!(first.is_none(), "{first:?}; review, then TANDEM_UPDATE_SNAPSHOTS=1 cargo test -p plugin-core");
    assert_eq!(table.lines().count(), reviewed.lines().count());
}

#[test]
fn the_worked_examples_of_nvidias_plugin_with_cdi_come_out_exactly() {
    let cri = ContainerEdits { device_specs: true, ..edits("cdi-cri") };
    let got = answer(&view(Strategy::Exclusive, cri), &["GPU-a"]);
    assert_eq!(told(&got), ["cdi k8s.device-plugin.nvidia.com/gpu=GPU-a"], "no environment, no device nodes");

    let both = answer(&view(Strategy::Exclusive, edits("envvar+cdi-annotations")), &["GPU-a"]);
    assert_eq!(both.envs["NVIDIA_VISIBLE_DEVICES"], "GPU-a");
    let (key, value) = both.annotations.first_key_value().unwrap();
    assert!(key.starts_with("cdi.k8s.io/nvidia-device-plugin_"), "{key}");
    assert_eq!(value, "k8s.device-plugin.nvidia.com/gpu=GPU-a");
    assert_eq!(told(&both).len(), 2);

    let mps = answer(&view(Strategy::Mps, edits("cdi-cri")), &["GPU-a::1"]);
    assert_eq!(
        told(&mps),
        [
            "env CUDA_MPS_PIPE_DIRECTORY=/mps/nvidia.com/gpu.shared/pipe",
            "mount /run/nvidia/mps/nvidia.com/gpu.shared/GPU-a/pipe -> /mps/nvidia.com/gpu.shared/pipe",
            "mount /run/nvidia/mps/shm -> /dev/shm",
            "cdi k8s.device-plugin.nvidia.com/gpu=GPU-a",
        ],
        "the MPS block comes before the CDI short cut"
    );
}

#[test]
fn no_answer_has_anything_twice_whatever_is_asked_for() {
    for strategies in combinations() {
        let edits = ContainerEdits { device_specs: true, ..edits(&strategies) };
        let got =
            answer(&view(Strategy::TimeSlicing, edits), &["GPU-a::0", "GPU-a::0", "GPU-a::1", "GPU-a::0"]);
        let lines = told(&got);
        let distinct: BTreeSet<&String> = lines.iter().collect();
        assert_eq!(distinct.len(), lines.len(), "{strategies}: {lines:?}");
    }
}

#[test]
fn a_container_without_devices_gets_no_cdi_name_and_no_annotation() {
    let got = answer(&view(Strategy::Exclusive, edits("cdi-annotations+cdi-cri")), &[]);
    assert_eq!(got, Allocation::default());
}

/// Ids of both GPUs, whole and shared, and some that nobody has.
fn any_id() -> impl proptest::strategy::Strategy<Value = String> {
    let known = ["GPU-a", "GPU-b", "GPU-a::0", "GPU-a::1", "GPU-a::2", "GPU-b::0"];
    let other = ["", "GPU-x", "GPU-a::3", "GPU-a::", "::0", "MIG-a", "GPU-a,GPU-b", "all", "void"];
    prop_oneof![9 => prop::sample::select(known.to_vec()), 1 => prop::sample::select(other.to_vec())]
        .prop_map(str::to_owned)
}

fn sharing() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::Exclusive), Just(Strategy::TimeSlicing), Just(Strategy::Mps)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any request is answered for exactly the GPUs of its ids, or refused for a reason that is true of it.
    #[test]
    fn any_request_is_answered_for_exactly_its_gpus_or_refused_for_a_true_reason(
        mask in 0..16_usize,
        (by_index, device_specs, one_at_most) in any::<(bool, bool, bool)>(),
        strategy in sharing(),
        ids in prop::collection::vec(any_id(), 0..6),
        ill in prop::option::of(any_id()),
    ) {
        let edits = ContainerEdits { by_index, device_specs, ..edits(&combinations()[mask]) };
        let mut view = view(strategy, edits.clone());
        let served = view.resources.values_mut().next().unwrap();
        served.one_shared_device_at_most = one_at_most;
        if let Some(device) = ill.as_ref().and_then(|id| Arc::make_mut(&mut served.devices).get_mut(id)) {
            device.granted = false;
        }
        let devices = Arc::clone(&served.devices);
        let is_known = |id: &String| devices.contains_key(id);
        let name = ResourceName::gpu().shared();
        match view.allocate(&name, &ids) {
            Ok(answer) => {
                prop_assert!(ids.iter().all(|id| devices.get(id).is_some_and(|device| device.granted)));
                let mut gpus: Vec<&str> = Vec::new();
                for gpu in ids.iter().map(|id| devices[id].gpu.as_str()) {
                    if !gpus.contains(&gpu) {
                        gpus.push(gpu);
                    }
                }
                let called = |gpu: &&str| match (by_index, *gpu) {
                    (false, gpu) => gpu.to_owned(),
                    (true, "GPU-a") => "0".to_owned(),
                    (true, _) => "1".to_owned(),
                };
                let names: Vec<String> = gpus.iter().map(called).collect();
                let qualified: Vec<String> = names.iter().map(|n| format!("{VENDOR}/gpu={n}")).collect();
                if edits.cdi.cri {
                    prop_assert_eq!(&answer.cdi_devices, &qualified);
                }
                if edits.cdi.annotation_prefix.is_some() {
                    let listed: Vec<&String> = answer.annotations.values().collect();
                    let expected = qualified.join(",");
                    prop_assert_eq!(listed, if ids.is_empty() { vec![] } else { vec![&expected] });
                }
                let mounted = answer.mounts.iter().filter_map(|m| {
                    m.container_path.strip_prefix("/var/run/nvidia-container-devices/").map(str::to_owned)
                });
                prop_assert_eq!(mounted.collect::<Vec<_>>(), if edits.volume_mounts { names.clone() } else { vec![] });
                let visible = answer.envs.get("NVIDIA_VISIBLE_DEVICES").cloned();
                let expected = match (edits.volume_mounts, edits.envvar) {
                    (true, _) => Some("/var/run/nvidia-container-devices".to_owned()),
                    (false, true) => Some(names.join(",")),
                    (false, false) => None,
                };
                prop_assert_eq!(visible, expected);
                let opened = answer.device_nodes.iter().filter(|n| n.container_path.starts_with("/dev/nvidia4") || n.container_path.starts_with("/dev/nvidia5"));
                let all = device_specs && (edits.envvar || edits.volume_mounts);
                prop_assert_eq!(opened.count(), if all { names.len() } else { 0 });
            }
            Err(AllocateError::UnknownDevice { id, resource }) => {
                prop_assert!(ids.contains(&id) && !is_known(&id) && resource == name.to_string());
            }
            Err(AllocateError::MoreThanOneShared { found, .. }) => {
                prop_assert!(one_at_most && strategy != Strategy::Exclusive && found == ids.len() && found > 1);
            }
            Err(AllocateError::Unhealthy { id, .. }) => prop_assert!(ids.contains(&id) && ill == Some(id)),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn ten_thousand_ids_are_one_request_and_more_than_a_node_has_are_refused() {
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("GPU-a::{}", n % 3)).collect() };
    let view = view(Strategy::TimeSlicing, edits("envvar+volume-mounts+cdi-cri"));
    let name = ResourceName::gpu().shared();
    let answer = view.allocate(&name, &many(10_000)).unwrap();
    assert_eq!((answer.mounts.len(), answer.cdi_devices.len()), (1, 1));
    assert!(view.allocate(&name, &many(IDS_MAX)).is_ok());
    let refused = view.allocate(&name, &many(IDS_MAX + 1));
    assert_eq!(refused, Err(AllocateError::TooMany { resource: name.to_string(), found: IDS_MAX + 1 }));
}
