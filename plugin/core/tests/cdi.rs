//! CDI specs over the life of a node: what they say, when they are written, and what a name means to whom.

#![allow(clippy::unwrap_used)]

mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::cdi::{
    CdiSettings, Found, Hook, NodeAccess, Search, Spec, annotation_key, files, is_class, is_device, is_vendor,
};
use plugin_core::config::{Config, Effective, Overrides, Strictness, read};
use plugin_core::event::Event;
use proptest::prelude::*;
use shell::{Node, assert_replays, facts, gpu};

const CDI: &str = "version: v1\nflags:\n  plugin:\n    deviceListStrategy: [cdi-cri, cdi-annotations]\n";
const BY_INDEX: &str =
    "version: v1\nflags:\n  plugin:\n    deviceListStrategy: [cdi-cri]\n    deviceIDStrategy: index\n";
const GPU_FILE: &str = "k8s.device-plugin.nvidia.com-gpu.json";

fn driver() -> Found {
    let file = |path: &str| (path.to_owned(), path.to_owned());
    let node = |path: &str, world, gid| (path.to_owned(), NodeAccess { world, gid });
    Found {
        files: [
            file("/usr/lib64/libcuda.so.595.91.07"),
            file("/usr/lib64/libnvidia-ml.so.595.91.07"),
            ("/lib64/libcuda.so.595.91.07".to_owned(), "/usr/lib64/libcuda.so.595.91.07".to_owned()),
            file("/usr/bin/nvidia-smi"),
            file("/run/nvidia-persistenced/socket"),
            file("/etc/cufile.json"),
        ]
        .into(),
        nodes: [
            node("/dev/nvidiactl", true, 0),
            node("/dev/nvidia-uvm", true, 0),
            node("/dev/dri/card1", false, 44),
            node("/dev/dri/renderD128", true, 105),
            node("/dev/gdrdrv", true, 0),
            node("/dev/infiniband/uverbs0", true, 0),
            node("/dev/infiniband/rdma_cm", true, 0),
            node("/dev/nvidia-caps-imex-channels/channel0", true, 0),
        ]
        .into(),
        drm: [("0000:00:00.0".to_owned(), vec!["/dev/dri/card1".into(), "/dev/dri/renderD128".into()])]
            .into(),
        specs: BTreeMap::new(),
    }
}

fn flags(text: &str) -> Effective {
    let read = read("c", text, Strictness::Strict).unwrap();
    Effective::resolve(&Overrides::default(), &read.config)
}

fn specs(text: &str, settings: &CdiSettings) -> BTreeMap<String, Spec> {
    let texts = files(&flags(text), settings, &facts(2), &driver());
    texts.iter().map(|(name, text)| (name.clone(), serde_json::from_str(text).unwrap())).collect()
}

/// The device nodes of qualified names, as a runtime finds them: name → kind → spec → device.
fn resolve<'a>(
    files: &BTreeMap<String, String>,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<BTreeSet<String>, String> {
    let specs: Vec<Spec> = files.values().map(|text| serde_json::from_str(text).unwrap()).collect();
    let mut nodes = BTreeSet::new();
    for name in names {
        let (kind, device) = name.split_once('=').ok_or("not qualified")?;
        let spec = specs.iter().find(|spec| spec.kind == kind).ok_or(format!("unresolvable {name}"))?;
        let device = spec.devices.iter().find(|d| d.name == device).ok_or(format!("unresolvable {name}"))?;
        nodes.extend(device.container_edits.device_nodes.iter().map(|node| node.path.clone()));
    }
    Ok(nodes)
}

fn cdi_node(config: &str) -> Node {
    let mut node = Node::new(2);
    node.found = driver();
    node.files.insert("default".into(), config.into());
    node.start();
    node
}

fn gpu_spec(node: &Node) -> Spec {
    serde_json::from_str(&node.found.specs[GPU_FILE]).unwrap()
}

fn names(spec: &Spec) -> Vec<&str> {
    spec.devices.iter().map(|device| device.name.as_str()).collect()
}

#[test]
fn the_spec_of_two_gpus_reads_as_reviewed() {
    let flags = flags("version: v1\nflags: {nvidiaDriverRoot: /run/nvidia/driver, nvidiaDevRoot: /}");
    let texts = files(&flags, &CdiSettings::default(), &facts(2), &driver());
    assert_eq!(texts.keys().collect::<Vec<_>>(), [GPU_FILE]);
    let reviewed = include_str!("snapshots/cdi-gpu.json");
    if std::env::var_os("TANDEM_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write("tests/snapshots/cdi-gpu.json", &texts[GPU_FILE]).unwrap();
    } else {
        assert_eq!(
            texts[GPU_FILE], reviewed,
            "review, then TANDEM_UPDATE_SNAPSHOTS=1 cargo test -p plugin-core"
        );
    }
}

#[test]
fn each_feature_has_a_file_only_where_its_devices_are() {
    let all = "version: v1\nflags: {gdrcopyEnabled: true, gdsEnabled: true, mofedEnabled: true}\nimex: {channelIDs: [0]}";
    let specs = specs(all, &CdiSettings { vendor: "example.com".into(), ..CdiSettings::default() });
    let kinds: Vec<&str> = specs.values().map(|spec| spec.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["example.com/gdrcopy", "example.com/gpu", "example.com/imex-channel", "example.com/mofed"],
        "no /dev/nvidia-fs*, so no gds"
    );
    let channel = &specs["example.com-imex-channel.json"];
    assert_eq!(names(channel), ["0"]);
    assert!(channel.container_edits.env.is_empty(), "only GPUs and features keep a NVIDIA runtime away");
    assert_eq!(names(&specs["example.com-mofed.json"]), ["all"]);
    assert_eq!(specs["example.com-mofed.json"].devices[0].container_edits.device_nodes.len(), 2);
}

#[test]
fn a_feature_that_is_on_is_told_by_its_variable_and_by_name_where_it_has_a_spec() {
    let on = "version: v1\nflags: {gdrcopyEnabled: true, gdsEnabled: true, mofedEnabled: true, plugin: {deviceListStrategy: [STRATEGY], passDeviceSpecs: true}}\nimex: {channelIDs: [0]}";
    let kind = |word: &str| format!("k8s.device-plugin.nvidia.com/{word}");
    for (strategy, by_name) in [("envvar", false), ("volume-mounts", false), ("cdi-cri", true)] {
        let mut with_channel = facts(2);
        with_channel.control_nodes.push("/dev/nvidia-caps-imex-channels/channel0".into());
        let mut node = Node::new(2);
        node.found = driver();
        node.facts = Some(with_channel);
        node.files.insert("default".into(), on.replace("STRATEGY", strategy));
        node.start();
        let answer = node.plugin.view().allocate(&gpu(), &["GPU-1".to_owned()]).unwrap();
        for name in ["NVIDIA_GDRCOPY", "NVIDIA_GDS", "NVIDIA_MOFED"] {
            assert_eq!(answer.envs.get(name).map(String::as_str), Some("enabled"), "{strategy} {name}");
        }
        // the driver has no /dev/nvidia-fs, so there is no spec of GDS and nothing to resolve
        let names = [kind("gpu=GPU-1"), kind("imex-channel=0"), kind("gdrcopy=all"), kind("mofed=all")];
        assert_eq!(answer.cdi_devices, if by_name { names.to_vec() } else { vec![] }, "{strategy}");
        let opened: Vec<&str> = answer.device_nodes.iter().map(|n| n.container_path.as_str()).collect();
        let channel = "/dev/nvidia-caps-imex-channels/channel0";
        assert_eq!(opened.contains(&channel), !by_name, "{strategy}: {opened:?}");
        if by_name {
            let nodes = resolve(&node.found.specs, &answer.cdi_devices).unwrap();
            let all = [
                "/dev/gdrdrv",
                "/dev/infiniband/rdma_cm",
                "/dev/infiniband/uverbs0",
                channel,
                "/dev/nvidia1",
            ];
            assert_eq!(nodes, all.map(str::to_owned).into(), "each name leads to its nodes");
            let told = &node.plugin.view().status.cdi_names;
            assert!(answer.cdi_devices.iter().all(|name| told.contains(name)), "{told:?}");
            assert!(resolve(&node.found.specs, told).is_ok());
        } else {
            assert!(node.plugin.view().status.cdi_names.is_empty());
        }
    }
}

#[test]
fn hooks_follow_the_programs_name_and_may_be_left_out() {
    let calls = |program: &str, disabled: &[Hook]| -> Vec<Vec<String>> {
        let text = format!("version: v1\nflags: {{plugin: {{nvidiaCTKPath: {program}}}}}");
        let disabled_hooks = disabled.iter().copied().collect();
        let specs = specs(&text, &CdiSettings { disabled_hooks, ..CdiSettings::default() });
        specs[GPU_FILE].container_edits.hooks.iter().map(|hook| hook.args.clone()).collect()
    };
    let large = calls("/usr/bin/nvidia-ctk", &[]);
    assert!(large.iter().all(|args| args[..2] == ["nvidia-ctk", "hook"]), "{large:?}");
    assert_eq!(large[0][2..], ["create-symlinks", "--link", "libcuda.so.1::/usr/lib64/libcuda.so"]);
    assert_eq!(large[1][2..], ["enable-cuda-compat", "--host-driver-version=595.91.07"]);
    assert_eq!(large[2][2..], ["update-ldcache", "--folder", "/usr/lib64"]);
    let small = calls("/opt/nvidia-cdi-hook", &[Hook::UpdateLdcache]);
    let subcommands: Vec<&str> = small.iter().map(|args| args[1].as_str()).collect();
    assert_eq!(subcommands, ["create-symlinks", "enable-cuda-compat", "disable-device-node-modification"]);
    assert!(calls("/x", &Hook::EVERY).is_empty());
}

#[test]
fn the_version_is_the_lowest_that_knows_everything_in_the_file() {
    let version = |text: &str, settings: CdiSettings| specs(text, &settings)[GPU_FILE].cdi_version.clone();
    let plain = CdiSettings { no_additional_gids: true, ..CdiSettings::default() };
    assert_eq!(version("version: v1", plain.clone()), "0.3.0");
    assert_eq!(version("version: v1", CdiSettings::default()), "0.7.0", "groups of device nodes");
    assert_eq!(version("flags: {nvidiaDevRoot: /run/nvidia/driver}", plain.clone()), "0.5.0", "host paths");
    assert_eq!(version("flags: {plugin: {deviceIDStrategy: index}}", plain), "0.5.0", "names of digits");
}

#[test]
fn specs_keep_the_rules_of_cdi() {
    let everything =
        "version: v1\nflags: {gdrcopyEnabled: true, mofedEnabled: true}\nimex: {channelIDs: [0]}";
    for by in ["uuid", "index"] {
        let text = everything.replace("flags: {", &format!("flags: {{plugin: {{deviceIDStrategy: {by}}}, "));
        for (file, spec) in specs(&text, &CdiSettings::default()) {
            let (vendor, class) = spec.kind.split_once('/').unwrap();
            assert!(is_vendor(vendor) && is_class(class), "{}", spec.kind);
            assert_eq!(file, format!("{vendor}-{class}.json"));
            assert_eq!(spec.cdi_version, spec.lowest_version());
            assert!(!spec.devices.is_empty());
            let unique: BTreeSet<&str> = names(&spec).into_iter().collect();
            assert_eq!(unique.len(), spec.devices.len(), "a name is there once");
            for device in &spec.devices {
                assert!(is_device(&device.name), "{}", device.name);
                assert!(!device.container_edits.is_empty(), "CDI refuses a device without an edit");
            }
            let edits = spec.devices.iter().map(|d| &d.container_edits).chain([&spec.container_edits]);
            for edits in edits {
                assert!(
                    edits.env.iter().all(|env| env.split_once('=').is_some_and(|(name, _)| !name.is_empty()))
                );
                assert!(edits.device_nodes.iter().all(|node| node.path.starts_with("/dev/")));
                let absolute = |path: &str| path.starts_with('/');
                assert!(edits.mounts.iter().all(|m| absolute(&m.host_path) && absolute(&m.container_path)));
                assert!(
                    edits
                        .hooks
                        .iter()
                        .all(|hook| absolute(&hook.path) && hook.hook_name == "createContainer")
                );
            }
        }
    }
}

#[test]
fn names_that_cdi_does_not_allow_are_known() {
    for (name, vendor, device) in [
        ("nvidia.com", true, true),
        ("0", false, true),
        ("0:1", false, true),
        ("GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c", true, true),
        ("a:b", false, true),
        ("", false, false),
        ("a-", false, false),
        ("-a", false, false),
        ("_", false, false),
        ("a/b", false, false),
        ("a=b", false, false),
        ("ä", false, false),
    ] {
        assert_eq!((is_vendor(name), is_device(name)), (vendor, device), "{name}");
    }
}

#[test]
fn nothing_is_served_by_name_before_the_name_can_be_looked_up() {
    let mut node = Node::new(2);
    node.found = driver();
    node.read_only = Some("`/var/run/cdi`: Read-only file system".into());
    node.files.insert("default".into(), CDI.into());
    node.start();
    assert_eq!(node.counts(&gpu()), (0, 0));
    let status = node.plugin.view().status.clone();
    assert!(status.not_ready_because[0].contains("CDI specs"), "{:?}", status.not_ready_because);
    assert!(node.said.iter().any(|s| s.starts_with("CdiSpecsNotWritten") && s.contains("/var/run/cdi")));
    node.read_only = None;
    node.wait(Duration::from_secs(2));
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert_replays(&node);
}

#[test]
fn a_name_in_the_answer_leads_to_the_gpu_of_the_id() {
    for config in [CDI, BY_INDEX] {
        let node = cdi_node(config);
        let answer = node.plugin.view().allocate(&gpu(), &["GPU-1".to_owned()]).unwrap();
        assert_eq!(answer.cdi_devices.len(), 1);
        let nodes = resolve(&node.found.specs, &answer.cdi_devices).unwrap();
        assert_eq!(nodes, ["/dev/nvidia1".to_owned()].into());
        let listed: Vec<String> =
            answer.annotations.values().flat_map(|list| list.split(',').map(str::to_owned)).collect();
        assert!(listed.is_empty() || listed == answer.cdi_devices);
    }
}

#[test]
fn the_device_all_stands_for_every_gpu() {
    let node = cdi_node(CDI);
    let all = ["k8s.device-plugin.nvidia.com/gpu=all".to_owned()];
    let nodes = resolve(&node.found.specs, &all).unwrap();
    assert!(nodes.contains("/dev/nvidia0") && nodes.contains("/dev/nvidia1"), "{nodes:?}");
}

#[test]
fn files_that_are_right_already_are_not_written_again() {
    let mut node = cdi_node(CDI);
    let writes =
        |node: &Node| node.actions.iter().filter(|a| matches!(a, Action::WriteCdiSpecs { .. })).count();
    assert_eq!(writes(&node), 1);
    node.tell(Event::ReloadRequested);
    node.restart_plugin();
    assert_eq!(writes(&node), 1, "nothing has changed");
    node.found.files.remove("/usr/bin/nvidia-smi");
    node.tell(Event::ReloadRequested);
    assert_eq!(writes(&node), 2, "the driver has");
    assert!(!node.found.specs[GPU_FILE].contains("nvidia-smi"));
}

#[test]
fn a_file_that_somebody_else_removes_or_changes_is_written_again_and_told() {
    let mut node = cdi_node(CDI);
    let written = node.found.specs[GPU_FILE].clone();
    for spoiled in [None, Some("{}".to_owned())] {
        node.found.specs.remove(GPU_FILE);
        node.found.specs.extend(spoiled.map(|text| (GPU_FILE.to_owned(), text)));
        node.wait(Duration::from_secs(61));
        assert_eq!(node.found.specs[GPU_FILE], written);
        assert_eq!(node.counts(&gpu()), (2, 2), "the devices stay");
    }
    let told = node.said.iter().filter(|said| said.starts_with("CdiSpecsChanged"));
    assert!(told.clone().count() >= 1 && told.clone().all(|said| said.contains(GPU_FILE)), "{:?}", node.said);
    let writes =
        |node: &Node| node.actions.iter().filter(|a| matches!(a, Action::WriteCdiSpecs { .. })).count();
    let before = writes(&node);
    node.wait(Duration::from_secs(600));
    assert_eq!(writes(&node), before, "a look at what is right writes nothing");
    assert_replays(&node);
}

#[test]
fn a_node_without_cdi_is_never_woken_for_it() {
    let mut node = Node::started(2);
    node.wait(Duration::from_secs(600));
    assert!(!node.actions.iter().any(|a| matches!(a, Action::FindDriverFiles { .. })));
}

#[test]
fn a_new_driver_is_noticed_with_its_gpus() {
    let mut node = cdi_node(CDI);
    let mut facts = facts(3);
    facts.driver_version = "600.1".into();
    node.facts = Some(facts);
    node.tell(Event::ReloadRequested);
    assert_eq!(node.counts(&gpu()), (3, 3));
    assert_eq!(names(&gpu_spec(&node)), ["GPU-0", "GPU-1", "GPU-2", "all"]);
    let Some(Action::FindDriverFiles { search: Search { files, .. }, .. }) =
        node.actions.iter().rev().find(|a| matches!(a, Action::FindDriverFiles { .. }))
    else {
        panic!("the driver is looked for");
    };
    assert!(files.contains(&"/usr/lib64/*.so.600.1".to_owned()));
    assert!(node.said.iter().any(|s| s.starts_with("CdiWithoutDriver") && s.contains("600.1")));
}

#[test]
fn a_held_gpu_keeps_its_name_when_it_is_gone_and_when_the_names_change() {
    let mut node = cdi_node(CDI);
    node.admit("p", &gpu(), &["GPU-1"]).unwrap();
    let mut fewer = facts(2);
    fewer.gpus.truncate(1);
    node.facts = Some(fewer);
    node.tell(Event::ReloadRequested);
    assert_eq!(names(&gpu_spec(&node)), ["GPU-0", "GPU-1", "all"], "its container may be started again");
    node.restart_plugin();
    assert_eq!(names(&gpu_spec(&node)), ["GPU-0", "GPU-1", "all"], "also after a restart of the plugin");
    node.files.insert("default".into(), BY_INDEX.into());
    let before = node.actions.len();
    node.tell(Event::ConfigRead { files: node.files.clone() });
    let written = node.actions[before..].iter().find_map(|action| match action {
        Action::WriteCdiSpecs { specs } => serde_json::from_str(&specs[GPU_FILE]).ok(),
        _ => None,
    });
    let written: Spec = written.unwrap();
    assert_eq!(names(&written), ["0", "GPU-0", "GPU-1", "all"], "until the switch both names hold");
    assert_eq!(names(&gpu_spec(&node)), ["0", "GPU-1", "all"], "then only the holder's");
    node.delete("p");
    node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
    node.wait(Duration::from_secs(10));
    node.tell(Event::ReloadRequested);
    assert_eq!(names(&gpu_spec(&node)), ["0", "all"]);
    assert_replays(&node);
}

#[test]
fn a_stop_leaves_the_files_and_envvar_alone_writes_none() {
    let mut node = cdi_node(CDI);
    node.tell(Event::StopRequested);
    assert!(node.found.specs.contains_key(GPU_FILE));
    let node = Node::started(2);
    assert!(
        !node
            .actions
            .iter()
            .any(|a| matches!(a, Action::FindDriverFiles { .. } | Action::WriteCdiSpecs { .. }))
    );
}

#[test]
fn the_annotations_key_follows_from_the_request_and_fits_kubernetes() {
    let key = |resource, ids: &[&'static str]| annotation_key("cdi.k8s.io/", resource, ids.iter().copied());
    let one = key("nvidia.com/gpu", &["GPU-a"]);
    assert_eq!(one, key("nvidia.com/gpu", &["GPU-a"]));
    let others = [
        key("nvidia.com/gpu.shared", &["GPU-a"]),
        key("nvidia.com/gpu", &["GPU-", "a"]),
        key("nvidia.com/gpu", &[]),
    ];
    assert!(!others.contains(&one), "{others:?}");
    let name = one.strip_prefix("cdi.k8s.io/nvidia-device-plugin_").unwrap();
    assert_eq!(name.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(one.len() - "cdi.k8s.io/".len() <= 63);
}

proptest! {
    /// Whatever ids a container gets, the names in its answer give it the GPUs of these ids and no other.
    #[test]
    fn names_give_exactly_the_gpus_of_the_ids(by_index: bool, mask in 1_u32..256) {
        let mut node = Node::new(8);
        node.files.insert("default".into(), if by_index { BY_INDEX } else { CDI }.into());
        node.start();
        let ids: Vec<String> = (0..8).filter(|n| mask & (1 << n) != 0).map(|n| format!("GPU-{n}")).collect();
        let answer = node.plugin.view().allocate(&gpu(), &ids).unwrap();
        let nodes = resolve(&node.found.specs, &answer.cdi_devices).unwrap();
        let held: BTreeSet<String> = ids.iter().map(|id| id.replace("GPU-", "/dev/nvidia")).collect();
        prop_assert_eq!(nodes, held);
    }
}

#[test]
fn a_channel_that_is_missing_is_told_or_refused_when_it_is_required() {
    let text = "version: v1\nimex: {channelIDs: [0], required: true}\n";
    let mut node = Node::new(1);
    node.files.insert("default".into(), text.into());
    node.start();
    assert_eq!(node.counts(&gpu()), (0, 0));
    assert!(node.plugin.view().status.config_problems[0].contains("IMEX channel 0"));
    node.files.insert("default".into(), text.replace("true", "false"));
    node.tell(Event::ConfigRead { files: node.files.clone() });
    assert_eq!(node.counts(&gpu()), (1, 1));
    assert!(node.said.iter().any(|said| said.contains("IMEX channel 0")));
    assert!(node.plugin.view().edits.imex_channels.is_empty(), "nobody gets a channel that is not there");
    let mut found = facts(1);
    found.control_nodes.push("/dev/nvidia-caps-imex-channels/channel0".into());
    node.facts = Some(found);
    node.tell(Event::ReloadRequested);
    assert_eq!(node.plugin.view().edits.imex_channels, [0]);
}

#[test]
fn flags_of_a_default_config_ask_for_no_cdi() {
    let effective = Effective::resolve(&Overrides::default(), &Config::default());
    let search = Search::new(&effective, &facts(1));
    assert!(!search.nodes.iter().any(|node| node.contains("infiniband") || node.contains("imex")));
    assert_eq!(search.pci, ["0000:00:00.0"]);
}
