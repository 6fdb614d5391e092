//! What `effect` tells is what a node ends with: for any configuration that can hold, on any board, by any way there.

#![allow(clippy::unwrap_used)]

mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::config::{Overrides, ResourceName, Strictness, read};
use plugin_core::effect::{Effect, effect};
use plugin_core::event::Event;
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::plugin::{ConfigSource, Settings};
use proptest::prelude::*;
use shell::{Node, assert_replays, facts, gpu, shared};

/// `GPU-…` with the form that a `devices` list takes.
fn uuid(index: u32) -> String {
    format!("GPU-{index:08x}-06c0-7d70-1a51-e59b25b2c16c")
}

fn node_facts(memory_gib: &[u64]) -> Facts {
    let mut out = facts(u32::try_from(memory_gib.len()).unwrap());
    for (gpu, gib) in out.gpus.iter_mut().zip(memory_gib) {
        gpu.uuid = GpuUuid::new(uuid(gpu.index));
        gpu.memory_bytes = gib * 1024 * 1024 * 1024;
        if *gib > 20 {
            gpu.name = "NVIDIA A100-PCIE-40GB".into();
            gpu.compute_capability = (8, 0);
        }
    }
    out
}

fn devices() -> impl Strategy<Value = String> {
    let device = prop_oneof![(0..5_u32).prop_map(|n| n.to_string()), (0..5_u32).prop_map(uuid)];
    prop_oneof![
        2 => Just("all".to_owned()),
        2 => (1..5_u32).prop_map(|n| n.to_string()),
        5 => prop::collection::vec(device, 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
    ]
}

fn entry(mps: bool) -> impl Strategy<Value = String> {
    let name = prop_oneof![4 => Just("gpu"), 1 => Just("a100"), 1 => Just("mig-1g.5gb")];
    let rename = prop::option::of(prop_oneof![Just("one"), Just("two"), Just("gpu.shared")]);
    let size = prop_oneof![
        3 => (2..9_u32).prop_map(|n| format!("replicas: {n}")),
        1 => (1..9_u32).prop_map(|g| format!("replicas: auto, memoryPerReplica: {g}Gi")),
        1 => (2..5_u32).prop_map(|n| format!("replicas: {n}, memoryPerReplica: 2Gi")),
    ];
    let policy = prop::option::of(prop_oneof![Just("packed"), Just("distributed")]);
    let limits = prop::option::of((1..101_u32, 1..12_u32));
    (name, rename, devices(), size, policy, limits).prop_map(
        move |(name, rename, devices, size, policy, limits)| {
            let mut out = format!("name: {name}, devices: {devices}, {size}");
            out.extend(rename.map(|rename| format!(", rename: {rename}")));
            out.extend(policy.map(|policy| format!(", allocationPolicy: {policy}")));
            if let Some((percentage, gib)) = limits.filter(|_| mps) {
                out.push_str(&format!(", activeThreadPercentage: {percentage}, pinnedMemoryLimit: {gib}Gi"));
            }
            format!("{{{out}}}")
        },
    )
}

/// Any configuration with any sharing: most of them can hold on some node, not all.
fn config() -> impl Strategy<Value = String> {
    let block = |mps| (any::<bool>(), prop::collection::vec(entry(mps), 1..4));
    let some = |mps| prop::option::of(block(mps));
    (some(true), some(false), any::<bool>()).prop_map(|(mps, sliced, patterns)| {
        let block = |name: &str, block: Option<(bool, Vec<String>)>| {
            let text = |(rename, entries): (bool, Vec<String>)| {
                format!("{name}: {{renameByDefault: {rename}, resources: [{}]}}", entries.join(", "))
            };
            block.map(text)
        };
        let blocks: Vec<String> =
            [block("mps", mps), block("timeSlicing", sliced)].into_iter().flatten().collect();
        let patterns = if patterns { "resources: {gpus: [{pattern: \"*A100*\", name: a100}]}\n" } else { "" };
        format!("{patterns}sharing: {{{}}}\n", blocks.join(", "))
    })
}

/// The configuration as its text gives it, on these GPUs.
fn told(text: &str, facts: &Facts) -> Option<Effect> {
    let read = read("default", text, Strictness::Warn).ok()?;
    Some(effect(&read, &Overrides::default(), facts))
}

fn put(node: &mut Node, text: &str) {
    let files = [("default".to_owned(), text.to_owned())].into();
    node.tell(Event::ConfigRead { files });
    node.wait(Duration::from_secs(40));
}

/// What the node offers, by resource and GPU; an unhealthy device is none.
fn offered(node: &Node) -> BTreeMap<ResourceName, BTreeMap<GpuUuid, u32>> {
    let mut out: BTreeMap<ResourceName, BTreeMap<GpuUuid, u32>> = BTreeMap::new();
    for (name, served) in &node.plugin.view().resources {
        for device in served.devices.values().filter(|d| d.healthy && d.granted) {
            *out.entry(name.clone()).or_default().entry(device.gpu.clone()).or_default() += 1;
        }
    }
    out
}

fn assert_is(node: &Node, told: &Effect, text: &str) {
    let status = &node.plugin.view().status;
    assert_eq!(status.config_problems, [""; 0], "{text}");
    assert_eq!(offered(node), told.resources, "{text}");
    let daemons = node.desired.clone().map(|d| d.daemons).unwrap_or_default();
    assert_eq!(daemons, told.daemons, "{text}");
    for (key, value) in &told.labels {
        assert_eq!(node.labels.get(key), Some(value), "{key}\n{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_node_ends_with_what_effect_tells_or_refuses_with_its_problems(
        texts in prop::collection::vec(config(), 1..4),
        memory in prop::collection::vec(prop_oneof![Just(15_u64), Just(40)], 1..5),
    ) {
        let mut node = Node::new(0);
        node.facts = Some(node_facts(&memory));
        node.start();
        let facts = node.facts.clone().unwrap();
        let mut last = told(shell::DEFAULT, &facts).unwrap();
        for text in texts {
            put(&mut node, &text);
            match told(&text, &facts) {
                Some(told) if told.applies => {
                    assert_is(&node, &told, &text);
                    last = told;
                }
                told => {
                    let said = node.plugin.view().status.config_problems.clone();
                    prop_assert!(!said.is_empty(), "{text}");
                    let expected = told.iter().flat_map(|t| &t.problems);
                    let expected = expected.filter(|p| p.severity == plugin_core::config::Severity::Error);
                    for problem in expected {
                        prop_assert!(said.contains(&problem.to_string()), "{problem}: {said:?}");
                    }
                    prop_assert_eq!(offered(&node), last.resources.clone(), "the last good one stays: {}", text);
                }
            }
        }
        assert_replays(&node);
    }
}

const MIXED: &str = "sharing: {mps: {resources: [{name: gpu, replicas: 4, rename: m, devices: [0]}]}, \
    timeSlicing: {resources: [{name: gpu, replicas: 2, rename: s, devices: [1, 2]}]}}";

fn name(text: &str) -> ResourceName {
    ResourceName::parse(text).unwrap()
}

#[test]
fn whole_time_sliced_and_mps_shared_gpus_live_on_one_node() {
    let mut node = Node::started(4);
    put(&mut node, MIXED);
    assert_eq!(node.counts(&name("m")), (4, 4));
    assert_eq!(node.counts(&name("s")), (4, 4));
    assert_eq!(node.counts(&gpu()), (1, 1));
    assert_eq!(node.states(), ["settled"; 4]);
    assert_eq!(node.label("mps.capable"), Some("true"));
    assert_eq!(node.desired.as_ref().unwrap().daemons.len(), 1);
    let view = node.plugin.view();
    let sliced = view.allocate(&name("s"), &["GPU-1::0".into()]).unwrap();
    assert!(sliced.mounts.is_empty() && !sliced.envs.contains_key("CUDA_MPS_PIPE_DIRECTORY"));
    let mps = view.allocate(&name("m"), &["GPU-0::0".into()]).unwrap();
    assert_eq!(mps.envs["CUDA_MPS_PIPE_DIRECTORY"], "/mps/nvidia.com/m/pipe");
    assert_replays(&node);
}

#[test]
fn each_shared_resource_has_its_own_allocation_policy() {
    let mut node = Node::started(4);
    let entry = |name: &str, devices: &str, more: &str| {
        format!("{{name: gpu, replicas: 3, rename: {name}, devices: {devices}{more}}}")
    };
    let packed = entry("p", "[0, 1]", ", allocationPolicy: packed");
    let other = entry("d", "[2, 3]", "");
    let sharing = format!("sharing: {{timeSlicing: {{resources: [{packed}, {other}]}}}}");
    let preferred = |node: &Node, resource: &str| {
        let view = node.plugin.view();
        let all: Vec<String> = view.devices(&name(resource)).unwrap().keys().cloned().collect();
        view.prefer(&name(resource), &all, &[], 2).unwrap()
    };
    put(&mut node, &sharing);
    assert_eq!(preferred(&node, "p"), ["GPU-0::0", "GPU-0::1"]);
    assert_eq!(preferred(&node, "d"), ["GPU-2::0", "GPU-3::0"]);
    put(&mut node, &format!("flags: {{plugin: {{sharedDevicesAllocationPolicy: packed}}}}\n{sharing}"));
    assert_eq!(preferred(&node, "d"), ["GPU-2::0", "GPU-2::1"]);
}

#[test]
fn only_gpus_whose_role_changes_are_touched() {
    let mut node = Node::started(4);
    put(&mut node, MIXED);
    node.admit("on-mps", &name("m"), &["GPU-0::1"]).unwrap();
    node.admit("on-slice", &name("s"), &["GPU-1::0"]).unwrap();
    node.admit("whole", &gpu(), &["GPU-3"]).unwrap();
    node.wait(Duration::from_secs(2));
    let before = node.actions.len();
    put(&mut node, &MIXED.replace("[1, 2]", "[1]"));
    assert_eq!(node.states(), ["settled"; 4]);
    assert_eq!(node.counts(&name("s")), (2, 2));
    assert_eq!(node.counts(&gpu()), (2, 2));
    let closed = node.actions[before..].iter().any(|a| {
        matches!(
            a,
            plugin_core::action::Action::Close { .. }
                | plugin_core::action::Action::Listen { .. }
                | plugin_core::action::Action::WriteMpsDesired { .. }
        )
    });
    assert!(!closed, "{:?}", &node.actions[before..]);
}

#[test]
fn a_held_gpu_moves_between_strategies_only_when_it_is_free() {
    let mut node = Node::started(2);
    put(
        &mut node,
        "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, rename: s, devices: [0]}]}}",
    );
    node.admit("a", &name("s"), &["GPU-0::1"]).unwrap();
    node.wait(Duration::from_secs(1));
    put(&mut node, "sharing: {mps: {resources: [{name: gpu, replicas: 3, rename: m, devices: [0]}]}}");
    assert_eq!(node.states(), ["draining", "settled"]);
    assert_eq!((node.counts(&name("s")), node.counts(&name("m")).1), ((1, 1), 0));
    node.delete("a");
    node.wait(Duration::from_secs(40));
    assert_eq!((node.counts(&name("s")).0, node.counts(&name("m"))), (0, (3, 3)));
}

#[test]
fn another_limit_drains_the_gpu_because_a_running_mps_server_keeps_its_own() {
    let with = |percentage: u32| {
        format!(
            "sharing: {{mps: {{resources: [{{name: gpu, replicas: 4, rename: m, activeThreadPercentage: {percentage}}}]}}}}"
        )
    };
    let mut node = Node::started(1);
    put(&mut node, &with(50));
    node.admit("a", &name("m"), &["GPU-0::1"]).unwrap();
    node.wait(Duration::from_secs(1));
    put(&mut node, &with(60));
    assert_eq!(node.states(), ["draining"]);
    let percentage =
        |node: &Node| node.desired.as_ref().unwrap().daemons[&GpuUuid::new("GPU-0")].active_thread_percentage;
    assert_eq!(percentage(&node), 50);
    put(&mut node, &with(50));
    assert_eq!(node.states(), ["settled"], "taken back: nothing changed");
    put(&mut node, &with(60));
    node.delete("a");
    node.wait(Duration::from_secs(40));
    assert_eq!((node.states(), percentage(&node)), (vec!["settled".to_owned()], 60));
}

#[test]
fn a_plugin_that_restarts_with_another_limit_leaves_the_daemon_to_its_clients() {
    let mut node = Node::started(1);
    node.set_config_label(Some("mps-config"));
    node.admit("a", &shared(), &["GPU-0::0"]).unwrap();
    node.wait(Duration::from_secs(1));
    let before = node.desired.clone();
    let files = |replicas: u32| {
        let text = shell::MPS.replace("replicas: 4", &format!("replicas: {replicas}"));
        [("mps-config".to_owned(), text)].into()
    };
    // a new process that reads other files than the old one
    node.plugin = plugin_core::plugin::Plugin::new();
    let settings = Settings {
        node_name: Some("gpu-2".into()),
        config_source: ConfigSource::Directory { default_config: None, fallback: Vec::new() },
        ..Settings::default()
    };
    node.tell(Event::Started { settings: Box::new(settings), mps_desired: before.clone() });
    node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
    node.tell(Event::MpsReported { supervisor_alive: true, actual: node.actual.clone() });
    node.tell(Event::ConfigRead { files: files(2) });
    node.tell(Event::NodeRead { labels: node.labels.clone() });
    node.wait(Duration::from_secs(5));
    assert_eq!(node.states(), ["draining"]);
    assert_eq!(node.desired.as_ref().unwrap().daemons, before.as_ref().unwrap().daemons);
    node.delete("a");
    node.wait(Duration::from_secs(75));
    assert_eq!((node.states(), node.counts(&shared())), (vec!["settled".to_owned()], (2, 2)));
}

#[test]
fn with_nvidia_compat_a_node_offers_what_nvidias_plugin_would() {
    let mut node = Node::new(2);
    let settings = Settings { nvidia_compat: true, config_source: ConfigSource::File, ..Settings::default() };
    node.tell(Event::Started { settings: Box::new(settings), mps_desired: None });
    node.supervisor_alive = true;
    node.tell(Event::MpsReported { supervisor_alive: true, actual: None });
    node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
    put(&mut node, MIXED);
    assert_eq!(node.counts(&gpu()), (8, 8), "MPS for all, under the name of whole GPUs");
    let warned = node.said.iter().filter(|s| s.starts_with("ConfigWarning")).count();
    assert_eq!(warned, 3, "devices, rename, time-slicing: {:?}", node.said);
}
