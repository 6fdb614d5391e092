//! GPUs in MIG mode under every MIG strategy: what is offered, what is named and left out, and that a GPU and its parts
//! never change under a holder.

#![allow(clippy::unwrap_used)]

mod shell;

use std::collections::BTreeSet;
use std::time::Duration;

use plugin_core::config::{Overrides, ResourceName, Strictness, read};
use plugin_core::effect::{Effect, effect};
use plugin_core::event::Event;
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};
use plugin_core::resources::gpu_of;
use proptest::prelude::*;
use shell::{Node, assert_replays, facts};

const MIB: u64 = 1 << 20;
/// How long ids of a role that was left stay listed, and some more.
const RETIRED: Duration = Duration::from_secs(31);

/// A100s: `None` is a GPU whose MIG mode is off.
fn a100s(layouts: &[Option<&[&str]>]) -> Facts {
    let mut out = facts(u32::try_from(layouts.len()).unwrap());
    for (gpu, layout) in out.gpus.iter_mut().zip(layouts) {
        gpu.uuid = GpuUuid::new(format!("GPU-{:08x}-06c0-7d70-1a51-e59b25b2c16c", gpu.index));
        gpu.name = "NVIDIA A100-SXM4-40GB".into();
        gpu.memory_bytes = 40_960 * MIB;
        gpu.compute_capability = (8, 0);
        gpu.mig_capable = true;
        gpu.mig_enabled = layout.is_some();
        gpu.mig =
            (0..).zip(layout.unwrap_or_default()).map(|(part, name)| mig(gpu.index, part, name)).collect();
    }
    out
}

fn mig(gpu: u32, index: u32, profile: &str) -> MigFacts {
    let number = |end| profile.split(['.', '+']).find_map(|part| part.strip_suffix(end)?.parse().ok());
    let slices: u32 = number("g").unwrap();
    let node = |n| format!("/dev/nvidia-caps/nvidia-cap{}", 100 * gpu + 10 * index + n);
    MigFacts {
        uuid: uuid(gpu, index, profile),
        index,
        gpu_instance: index + 7,
        compute_instance: 0,
        profile: profile.to_owned(),
        slices: MigSlices { gpu: slices, compute: number("c").unwrap_or(slices) },
        memory_bytes: u64::from(number("gb").unwrap()) * 1024 * MIB,
        engines: MigEngines { multiprocessors: 14 * slices, copy: slices, ..MigEngines::default() },
        nodes: vec![node(1), node(2)],
    }
}

/// Of one GPU, place and size; another size is another device.
fn uuid(gpu: u32, index: u32, profile: &str) -> GpuUuid {
    let size: u32 = profile.bytes().map(u32::from).sum();
    GpuUuid::new(format!("MIG-{gpu:08x}-{index:04x}-{size:04x}-1a51-e59b25b2c16c"))
}

fn on(text: &str, facts: &Facts) -> Effect {
    let read = read("f", text, Strictness::Warn).unwrap();
    effect(&read, &Overrides::default(), facts)
}

/// `gpu: 0, 1:0×2` per resource.
fn offered(effect: &Effect, facts: &Facts) -> Vec<String> {
    let one = |(uuid, count): (&GpuUuid, &u32)| {
        let index = facts.unit(uuid).unwrap().index();
        if *count == 1 { index } else { format!("{index}×{count}") }
    };
    let mut out = Vec::new();
    for (name, counts) in &effect.resources {
        let mut parts: Vec<String> = counts.iter().map(one).collect();
        parts.sort();
        out.push(format!("{}: {}", name.without_prefix(), parts.join(" ")));
    }
    out
}

fn config(strategy: &str, rest: &str) -> String {
    format!("version: v1\nflags: {{migStrategy: {strategy}}}\n{rest}")
}

type Row<'a> = (&'a [Option<&'a [&'a str]>], &'a str, &'a str, &'a [&'a str], &'a [&'a str]);

/// Each row: layouts, strategy, the rest of the file, what is offered, what is said.
fn assert_rows(rows: &[Row<'_>]) {
    for (layouts, strategy, rest, expected, said) in rows {
        let facts = a100s(layouts);
        let text = config(strategy, rest);
        let effect = on(&text, &facts);
        let told: Vec<String> = effect.problems.iter().map(ToString::to_string).collect();
        assert_eq!(offered(&effect, &facts), *expected, "{layouts:?}\n{text}{told:#?}");
        assert_eq!(told.len(), said.len(), "{layouts:?}\n{text}{told:#?}");
        for (told, said) in told.iter().zip(*said) {
            assert!(told.contains(said), "{told}\ndoes not say {said}");
        }
    }
}

const MIXED: &[&str] = &["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb+me"];
const SMALL: &[&str] = &["1g.5gb", "1g.5gb"];
const LARGE: &[&str] = &["3g.20gb", "3g.20gb"];

#[test]
fn each_strategy_offers_what_nvidias_plugin_offers_where_that_serves() {
    assert_rows(&[
        (&[None, Some(MIXED)], "none", "", &["gpu: 0 1"], &[]),
        (&[None, Some(&[])], "none", "", &["gpu: 0 1"], &[]),
        (&[Some(SMALL), Some(SMALL)], "single", "", &["gpu: 0:0 0:1 1:0 1:1"], &[]),
        (&[None, None], "single", "", &["gpu: 0 1"], &[]),
        (
            &[None, Some(MIXED)],
            "mixed",
            "",
            &["gpu: 0", "mig-1g.5gb: 1:2", "mig-1g.5gb.me: 1:3", "mig-2g.10gb: 1:1", "mig-3g.20gb: 1:0"],
            &[],
        ),
        (&[None, None], "mixed", "", &["gpu: 0 1"], &[]),
    ]);
}

#[test]
fn a_layout_that_ends_nvidias_plugin_is_named_and_the_rest_is_served() {
    let half = &["1c.2g.10gb", "1c.2g.10gb", "1g.5gb"][..];
    assert_rows(&[
        (
            &[Some(&[]), Some(SMALL)],
            "single",
            "",
            &["gpu: 1:0 1:1"],
            &["GPU 0 is in MIG mode and has no MIG devices, so it serves nothing (hint: create"],
        ),
        (&[Some(&[]), None], "mixed", "", &["gpu: 1"], &["GPU 0 is in MIG mode and has no MIG devices"]),
        (
            &[Some(SMALL), Some(LARGE), Some(SMALL)],
            "single",
            "",
            &["gpu: 0:0 0:1 2:0 2:1"],
            &[
                "`nvidia.com/gpu` is a MIG device `1g.5gb` on this node under the MIG strategy `single`, so a MIG device `3g.20gb` at index 1:0, 1:1 serves nothing",
            ],
        ),
        (
            &[None, Some(SMALL), None],
            "single",
            "",
            &["gpu: 0 2"],
            &[
                "is a whole GPU on this node under the MIG strategy `single`, so a MIG device `1g.5gb` at index",
            ],
        ),
        // at a tie the lowest index counts
        (
            &[Some(SMALL), None],
            "single",
            "",
            &["gpu: 0:0 0:1"],
            &["so a whole GPU at index 1 serves nothing"],
        ),
        (
            &[Some(half)],
            "mixed",
            "",
            &["mig-1g.5gb: 0:2"],
            &[
                "MIG device 0:0, 0:1 is a `1c.2g.10gb`, which has no resource name under the MIG strategy `mixed`, so it serves nothing (hint: name it by `resources.mig`",
            ],
        ),
        (
            &[Some(half)],
            "mixed",
            "resources: {mig: [{pattern: 1c.*, name: half}]}",
            &["half: 0:0 0:1", "mig-1g.5gb: 0:2"],
            &[],
        ),
    ]);
}

#[test]
fn patterns_name_mig_devices_by_their_profile() {
    let small = "resources: {mig: [{pattern: 1g.5gb, name: small}, {pattern: '*', name: part}]}";
    assert_rows(&[
        (&[Some(MIXED)], "mixed", small, &["part: 0:0 0:1 0:3", "small: 0:2"], &[]),
        (&[Some(&["1g.5gb"]), Some(LARGE)], "single", small, &["part: 1:0 1:1", "small: 0:0"], &[]),
        (&[Some(MIXED)], "none", small, &["gpu: 0"], &["`resources.mig` has no effect"]),
        (
            &[Some(SMALL), None],
            "mixed",
            "resources: {mig: [{pattern: '*', name: gpu}]}",
            &[],
            &["`nvidia.com/gpu` would be a whole MIG device (MIG device 0:0) and a whole GPU (GPU 1)"],
        ),
    ]);
}

#[test]
fn mig_devices_are_shared_and_selected_one_by_one() {
    let sliced = |entry: &str| format!("sharing: {{timeSlicing: {{resources: [{{replicas: 2, {entry}}}]}}}}");
    let by_uuid = format!("name: mig-1g.5gb, rename: s, devices: [{}]", uuid(0, 1, "1g.5gb"));
    let by_instances =
        "name: mig-1g.5gb, rename: s, devices: [MIG-GPU-00000000-06c0-7d70-1a51-e59b25b2c16c/8/0]";
    let apart = &["gpu: 1", "mig-1g.5gb: 0:0", "s: 0:1×2"][..];
    let whole = &["gpu: 1", "mig-1g.5gb: 0:0 0:1"][..];
    let layout = &[Some(SMALL), None][..];
    assert_rows(&[
        (layout, "mixed", &sliced("name: mig-1g.5gb"), &["gpu: 1", "mig-1g.5gb: 0:0×2 0:1×2"], &[]),
        (layout, "mixed", &sliced("name: gpu"), &["gpu: 1×2", "mig-1g.5gb: 0:0 0:1"], &[]),
        (layout, "mixed", &sliced("name: mig-1g.5gb, rename: s, devices: ['0:1']"), apart, &[]),
        (layout, "mixed", &sliced(&by_uuid), apart, &[]),
        (layout, "mixed", &sliced(by_instances), apart, &[]),
        (
            layout,
            "mixed",
            &sliced("name: mig-1g.5gb, rename: s, devices: 1"),
            &["gpu: 1", "mig-1g.5gb: 0:1", "s: 0:0×2"],
            &[],
        ),
        (
            layout,
            "mixed",
            &sliced("name: mig-1g.5gb, rename: s, devices: [0]"),
            whole,
            &["selects `0`, a GPU in MIG mode, which is its MIG devices (hint: select MIG devices by"],
        ),
        (
            layout,
            "mixed",
            &sliced("name: mig-1g.5gb, rename: s, devices: [GPU-00000000-06c0-7d70-1a51-e59b25b2c16c]"),
            whole,
            &["a GPU in MIG mode"],
        ),
        (
            layout,
            "mixed",
            &sliced("name: gpu, rename: s, devices: ['0:1']"),
            whole,
            &["which is `nvidia.com/mig-1g.5gb` and not"],
        ),
        (
            layout,
            "none",
            &sliced("name: gpu, rename: s, devices: ['0:1']"),
            &["gpu: 0 1"],
            &["a MIG device that has no name"],
        ),
    ]);
}

#[test]
fn mps_never_shares_mig() {
    let mps = "sharing: {mps: {resources: [{name: gpu, replicas: 2}]}}";
    assert_rows(&[
        (
            &[None, Some(SMALL)],
            "none",
            mps,
            &[],
            &["MPS cannot share a GPU in MIG mode, but `sharing.mps.resources[0]` would share GPU 1"],
        ),
        (
            &[Some(&["1g.5gb"])],
            "single",
            mps,
            &[],
            &["MPS cannot share MIG devices, but `sharing.mps.resources[0]` would share MIG device 0:0"],
        ),
        (&[None], "single", mps, &["gpu: 0×2"], &[]),
    ]);
}

#[test]
fn an_interval_of_time_slicing_is_that_of_whole_gpus() {
    let of = |name: &str| {
        format!("sharing: {{timeSlicing: {{resources: [{{name: {name}, replicas: 2, interval: short}}]}}}}")
    };
    let refused = "`sharing.timeSlicing.resources[0].interval` is `short`, but only whole GPUs have an interval of time-slicing";
    assert_rows(&[
        (&[Some(SMALL)], "mixed", &of("mig-1g.5gb"), &[], &[refused, "MIG device 0:1"]),
        (&[Some(&["1g.5gb"])], "single", &of("gpu"), &[], &[refused]),
        (&[Some(SMALL)], "none", &of("gpu"), &[], &[refused]),
        (&[None, Some(SMALL)], "mixed", &of("gpu"), &["gpu: 0×2", "mig-1g.5gb: 1:0 1:1"], &[]),
    ]);
}

#[test]
fn a_mig_device_that_no_container_could_open_is_left_out() {
    let mut facts = a100s(&[Some(SMALL)]);
    facts.gpus[0].mig[1].nodes.clear();
    let specs = "version: v1\nflags: {migStrategy: mixed, plugin: {passDeviceSpecs: true}}";
    let found = on(specs, &facts);
    assert_eq!(offered(&found, &facts), ["mig-1g.5gb: 0:0"]);
    assert!(found.problems[0].to_string().contains("device nodes of MIG device 0:1 are not known"));
    assert_eq!(offered(&on(&config("mixed", ""), &facts), &facts), ["mig-1g.5gb: 0:0 0:1"]);
}

#[test]
fn labels_are_those_of_gpu_feature_discovery() {
    let facts = a100s(&[None, Some(MIXED)]);
    let sliced = "sharing: {timeSlicing: {resources: [{name: mig-1g.5gb, replicas: 2}]}}";
    let labels = on(&config("mixed", sliced), &facts).labels;
    for (key, value) in [
        ("mig.strategy", "mixed"),
        ("gpu.product", "NVIDIA-A100-SXM4-40GB"),
        ("gpu.count", "2"),
        ("gpu.replicas", "1"),
        ("mig-1g.5gb.count", "1"),
        ("mig-1g.5gb.replicas", "2"),
        ("mig-1g.5gb.sharing-strategy", "time-slicing"),
        ("mig-1g.5gb.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED"),
        ("mig-1g.5gb.me.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gbme"),
        ("mig-1g.5gb.me.replicas", "1"),
        ("mig-3g.20gb.memory", "20480"),
        ("mig-3g.20gb.multiprocessors", "42"),
        ("mig-3g.20gb.slices.gi", "3"),
        ("mig-3g.20gb.slices.ci", "3"),
        ("mig-3g.20gb.engines.copy", "3"),
        ("mig-3g.20gb.engines.ofa", "0"),
    ] {
        assert_eq!(labels.get(&format!("nvidia.com/{key}")).map(String::as_str), Some(value), "{key}");
    }
    assert!(labels.keys().all(|key| plugin_core::labels::owns(key)));

    let parents = on(&config("mixed", ""), &a100s(&[Some(SMALL)])).labels;
    assert_eq!(
        (parents["nvidia.com/gpu.count"].as_str(), parents["nvidia.com/gpu.replicas"].as_str()),
        ("1", "0")
    );

    let single = on(&config("single", ""), &a100s(&[Some(SMALL), Some(SMALL)])).labels;
    for (key, value) in [
        ("mig.strategy", "single"),
        ("gpu.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"),
        ("gpu.count", "4"),
        ("gpu.replicas", "1"),
        ("gpu.memory", "5120"),
        ("gpu.multiprocessors", "14"),
        ("gpu.slices.gi", "1"),
    ] {
        assert_eq!(single.get(&format!("nvidia.com/{key}")).map(String::as_str), Some(value), "{key}");
    }
    assert!(!on(&config("none", ""), &facts).labels.contains_key("nvidia.com/mig.strategy"));
}

/// A node with these layouts, under a configuration.
fn node(layouts: &[Option<&[&str]>], text: &str) -> Node {
    let mut node = Node::new(1);
    node.facts = Some(a100s(layouts));
    node.files.insert("default".into(), text.to_owned());
    node.start();
    node
}

fn named(name: &str) -> ResourceName {
    ResourceName::parse(name).unwrap()
}

/// Healthy ids of a resource, sorted.
fn healthy(node: &Node, name: &str) -> Vec<String> {
    let devices = node.plugin.view().devices(&named(name));
    devices.iter().flat_map(|d| d.values()).filter(|d| d.healthy).map(|d| d.id.clone()).collect()
}

#[test]
fn a_gpu_held_as_a_whole_becomes_its_parts_when_it_is_free() {
    let mut node = node(&[Some(SMALL)], &config("none", ""));
    let whole = healthy(&node, "gpu");
    node.admit("p", &named("gpu"), &[&whole[0]]).unwrap();
    node.edit("default", &config("mixed", ""));
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "gpu"), whole, "its holder keeps it");
    assert_eq!(node.counts(&named("mig-1g.5gb")), (0, 0));
    node.delete("p");
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2);
    assert_eq!(node.counts(&named("gpu")), (0, 0));
    let states = &node.plugin.view().status.gpus;
    let shown: Vec<(&str, Option<u32>)> = states.iter().map(|g| (g.state.as_str(), g.mig_index)).collect();
    assert_eq!(shown, [("unused", None), ("settled", Some(0)), ("settled", Some(1))]);
    assert_replays(&node);
}

#[test]
fn a_whole_gpu_waits_until_the_last_of_its_parts_is_free() {
    let mut node = node(&[Some(SMALL)], &config("mixed", ""));
    let parts = healthy(&node, "mig-1g.5gb");
    node.admit("p", &named("mig-1g.5gb"), &[&parts[1]]).unwrap();
    node.edit("default", &config("none", ""));
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "mig-1g.5gb"), [parts[1].clone()]);
    assert_eq!(node.counts(&named("gpu")), (0, 0));
    node.restart_plugin();
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "mig-1g.5gb"), [parts[1].clone()], "a new plugin knows what is held");
    assert_eq!(node.counts(&named("gpu")), (0, 0));
    node.delete("p");
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "gpu").len(), 1);
    assert_eq!(node.counts(&named("mig-1g.5gb")), (0, 0));
    assert_replays(&node);
}

#[test]
fn a_late_allocate_of_the_whole_withdraws_the_parts_until_it_ends() {
    let mut node = node(&[Some(SMALL)], &config("none", ""));
    let whole = healthy(&node, "gpu");
    node.edit("default", &config("mixed", ""));
    node.wait(Duration::from_secs(2));
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2);
    // the kubelet asked before the flip, and the answer is told of only now
    let late =
        Event::Allocated { resource: named("gpu"), ids: whole.clone(), view_generation: 1, refused: None };
    node.tell(late);
    assert_eq!(healthy(&node, "mig-1g.5gb"), Vec::<String>::new());
    assert_eq!(healthy(&node, "gpu"), whole, "a holder's id is not ill");
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2, "the pod was never admitted");
    assert_replays(&node);
}

#[test]
fn a_new_layout_takes_the_place_of_the_old_one_beside_a_holder() {
    let mut node = node(&[Some(SMALL), Some(SMALL)], &config("mixed", ""));
    let held = uuid(0, 0, "1g.5gb").to_string();
    node.admit("p", &named("mig-1g.5gb"), &[&held]).unwrap();
    let generation = node.plugin.view().generation;
    node.tell(Event::GpusFound { facts: a100s(&[Some(SMALL), Some(LARGE)]) });
    node.wait(RETIRED);
    assert!(node.plugin.view().generation > generation);
    assert_eq!(healthy(&node, "mig-3g.20gb").len(), 2);
    let expected = [held, uuid(0, 1, "1g.5gb").to_string()];
    assert_eq!(healthy(&node, "mig-1g.5gb"), expected, "the other GPU is as it was");
    let labels = &node.plugin.view().status.labels;
    assert_eq!(labels["nvidia.com/mig-3g.20gb.count"], "2");
    assert_eq!(labels["nvidia.com/mig-1g.5gb.count"], "2");
    assert_replays(&node);
}

#[test]
fn labels_of_profiles_that_are_gone_are_removed() {
    let mut node = node(&[Some(SMALL)], &config("mixed", ""));
    assert_eq!(node.label("mig-1g.5gb.count"), Some("2"));
    node.tell(Event::GpusFound { facts: a100s(&[Some(LARGE)]) });
    node.wait(RETIRED);
    assert_eq!((node.label("mig-1g.5gb.count"), node.label("mig-3g.20gb.count")), (None, Some("2")));
    node.tell(Event::GpusFound { facts: a100s(&[None]) });
    node.edit("default", &config("none", ""));
    node.wait(RETIRED);
    assert_eq!((node.label("mig-3g.20gb.count"), node.label("mig.strategy")), (None, None));
}

#[test]
fn a_node_of_gpus_without_mig_devices_is_said_and_serves_again_when_they_are_made() {
    let mut node = node(&[Some(&[])], &config("mixed", ""));
    assert!(node.plugin.view().resources.is_empty());
    assert!(
        node.said.iter().any(|said| said.contains("GPU 0 is in MIG mode and has no MIG devices")),
        "{:?}",
        node.said
    );
    node.tell(Event::GpusFound { facts: a100s(&[Some(SMALL)]) });
    node.wait(RETIRED);
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2);
    assert_replays(&node);
}

#[test]
fn a_configuration_that_was_taken_before_a_gpu_could_be_read_gives_way_to_the_last_good_one_if_it_does_not_fit()
 {
    let mut node = node(&[Some(SMALL)], &config("mixed", ""));
    let whole = node.facts.clone();
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2);
    // the plugin starts while the driver counts a GPU that it cannot read
    node.kept_gpus = None;
    let unread = |facts| Facts { gpus: Vec::new(), unreadable: vec!["it is lost".into()], ..facts };
    node.facts = whole.clone().map(unread);
    node.labels.insert(shell::CONFIG_LABEL.into(), "mps-config".into());
    node.restart_plugin();
    let status = node.plugin.view().status.clone();
    assert_eq!(status.config_applied.as_deref(), Some("mps-config"), "{:?}", status.config_problems);
    assert!(node.state.as_ref().unwrap().contains("migStrategy"), "it has proved nothing so far");
    node.tell(Event::GpusFound { facts: whole.unwrap() });
    node.wait(RETIRED);
    let status = node.plugin.view().status.clone();
    assert_eq!(healthy(&node, "mig-1g.5gb").len(), 2, "{:?}", node.said);
    assert!(status.ready && status.config_stands_in, "{status:?}");
    assert_eq!(status.config_applied.as_deref(), Some("default"));
    let refused = |said: &&String| said.starts_with("ConfigRefused") && said.contains("stands in");
    assert!(node.said.iter().any(|said| refused(&said)), "{:?}", node.said);
    assert_replays(&node);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Flip(usize),
    Relayout(usize),
    Admit(usize),
    Delete(usize),
    Wait(u64),
    RestartPlugin,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4usize).prop_map(Step::Flip),
        1 => (0..3usize).prop_map(Step::Relayout),
        6 => (0..64usize).prop_map(Step::Admit),
        3 => (0..64usize).prop_map(Step::Delete),
        4 => (1..40_000u64).prop_map(Step::Wait),
        1 => Just(Step::RestartPlugin),
    ]
}

const LAYOUTS: [[Option<&[&str]>; 3]; 3] =
    [[None, Some(SMALL), Some(SMALL)], [None, Some(SMALL), Some(LARGE)], [None, Some(SMALL), Some(&[])]];

fn configs() -> [String; 4] {
    let sliced =
        "sharing: {timeSlicing: {resources: [{name: mig-1g.5gb, replicas: 2}, {name: gpu, replicas: 2}]}}";
    [config("none", ""), config("single", ""), config("mixed", ""), config("mixed", sliced)]
}

/// From the outside: what is held is offered under no other name, neither are its parts or its whole.
fn check(node: &Node) {
    let facts = node.facts.as_ref().unwrap();
    let view = node.plugin.view();
    for holding in &node.holdings {
        for id in &holding.ids {
            let Some(held) = facts.unit(&gpu_of(id)) else { continue };
            for (name, resource) in &view.resources {
                for device in resource.devices.values().filter(|d| d.healthy || d.granted) {
                    let other = facts.unit(&device.gpu);
                    let related = other.is_some_and(|other| other.is_related(held));
                    assert!(!related, "{id} is held and {} of `{name}` is offered", device.id);
                    let renamed = device.gpu == gpu_of(id) && name.as_str() != holding.resource;
                    assert!(!renamed, "{id} is held as {} and offered as {name}", holding.resource);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_flips_and_layouts_offers_a_part_of_what_is_held(steps in prop::collection::vec(step(), 1..40)) {
        let configs = configs();
        let mut node = node(&LAYOUTS[0], &configs[0]);
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Flip(index) => node.edit("default", &configs[index]),
                Step::Relayout(index) => {
                    // the driver destroys no MIG device in use
                    let held: BTreeSet<GpuUuid> = node.holdings.iter().flat_map(|h| &h.ids).map(|id| gpu_of(id)).collect();
                    let now = node.facts.as_ref().unwrap();
                    if now.gpus[2].mig.iter().all(|mig| !held.contains(&mig.uuid)) {
                        let facts = a100s(&LAYOUTS[index]);
                        node.facts = Some(facts.clone());
                        node.tell(Event::GpusFound { facts });
                    }
                }
                Step::Admit(choice) => {
                    let taken: BTreeSet<String> = node.holdings.iter().flat_map(|h| h.ids.clone()).collect();
                    let view = node.plugin.view();
                    let all = view.resources.iter().flat_map(|(name, r)| r.devices.values().map(move |d| (name, d)));
                    let free: Vec<(ResourceName, String)> = all
                        .filter(|(_, d)| d.healthy && !taken.contains(&d.id))
                        .map(|(name, d)| (name.clone(), d.id.clone()))
                        .collect();
                    if !free.is_empty() {
                        let (name, id) = &free[choice % free.len()];
                        node.admit(&format!("p{number}"), name, &[id]).unwrap();
                    }
                }
                Step::Delete(choice) if !node.holdings.is_empty() => {
                    let pod = node.holdings[choice % node.holdings.len()].pod.clone();
                    node.delete(&pod);
                }
                Step::Delete(_) => {}
                Step::Wait(millis) => node.wait(Duration::from_millis(millis)),
                Step::RestartPlugin => node.restart_plugin(),
            }
            check(&node);
        }
        node.holdings.clear();
        node.wait(Duration::from_secs(90));
        let settled = node.plugin.view().status.gpus.iter().all(|g| g.state == "settled" || g.state == "unused");
        prop_assert!(settled, "{:?}", node.plugin.view().status.gpus);
        assert_replays(&node);
    }
}
