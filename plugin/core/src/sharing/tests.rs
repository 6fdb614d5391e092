//! Roles on a node of four GPUs, row by row: what each `devices`, `rename`, pattern and size makes of it, or why not.

use super::*;
use crate::config::{Overrides, Strictness, read};
use crate::effect::{Effect, effect};
use crate::inventory::{ComputeMode, GpuFacts};

const UUID: &str = "-06c0-7d70-1a51-e59b25b2c16c";

fn uuid(index: u32) -> String {
    format!("GPU-{index:08x}{UUID}")
}

/// Two T4 (indexes 0, 1; 15 GiB) and two A100 (2, 3; 40 GiB).
fn facts() -> Facts {
    let gpu = |index: u32| GpuFacts {
        uuid: GpuUuid::new(uuid(index)),
        index,
        minor: index,
        name: if index < 2 { "Tesla T4" } else { "NVIDIA A100-PCIE-40GB" }.into(),
        memory_bytes: if index < 2 { 15 } else { 40 } * 1024 * MIB,
        compute_capability: if index < 2 { (7, 5) } else { (8, 0) },
        pci_bus_id: format!("00000000:00:{index:02X}.0"),
        numa_node: None,
        mig_capable: index >= 2,
        compute_mode: ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    };
    Facts { driver_version: "595.91.07".into(), gpus: (0..4).map(gpu).collect(), ..Facts::default() }
}

const MIB: u64 = 1024 * 1024;

fn on(text: &str, facts: &Facts, strictness: Strictness) -> Effect {
    let read = read("f", text, strictness).unwrap_or_else(|p| panic!("{p}\n---\n{text}"));
    effect(&read, &Overrides::default(), facts)
}

/// `resource×devices` per GPU in the order of indexes, for example `gpu gpu.shared×4`.
fn roles(effect: &Effect) -> String {
    let role = |index: u32| {
        let gpu = GpuUuid::new(uuid(index));
        let found = effect.resources.iter().find_map(|(name, counts)| Some((name, *counts.get(&gpu)?)));
        match found {
            None => "-".to_owned(),
            Some((name, 1)) => name.without_prefix().to_owned(),
            Some((name, n)) => format!("{}×{n}", name.without_prefix()),
        }
    };
    (0..4).map(role).collect::<Vec<_>>().join(" ")
}

fn problems(effect: &Effect) -> Vec<String> {
    effect.problems.iter().map(|p| p.to_string().trim_start_matches("f:").to_owned()).collect()
}

/// A file with entries of MPS and of time-slicing, in flow style.
fn file(mps: &[&str], sliced: &[&str]) -> String {
    let block = |name: &str, entries: &[&str]| {
        let entries: String = entries.iter().map(|entry| format!("\n    - {{{entry}}}")).collect();
        if entries.is_empty() { String::new() } else { format!("  {name}:\n    resources:{entries}\n") }
    };
    format!("sharing:\n{}{}", block("mps", mps), block("timeSlicing", sliced))
}

#[test]
fn every_selection_gives_each_gpu_its_role() {
    let by_uuid = format!("name: gpu, replicas: 2, rename: s, devices: [{}]", uuid(3));
    let upper =
        format!("name: gpu, replicas: 2, rename: s, devices: [GPU-0000000A{UUID}]").replace("A-", "3-");
    let rows: [(&[&str], &[&str], &str); 12] = [
        (&[], &["name: gpu, replicas: 4"], "gpu×4 gpu×4 gpu×4 gpu×4"),
        (&[], &["name: gpu, replicas: 4, devices: all, rename: s"], "s×4 s×4 s×4 s×4"),
        (&[], &["name: gpu, replicas: 2, rename: s, devices: 1"], "s×2 gpu gpu gpu"),
        (&[], &["name: gpu, replicas: 2, rename: s, devices: [1, 3]"], "gpu s×2 gpu s×2"),
        (&[], &["name: gpu, replicas: 2, rename: s, devices: [\"2\"]"], "gpu gpu s×2 gpu"),
        (&[], &[&by_uuid], "gpu gpu gpu s×2"),
        (&[], &[&upper], "gpu gpu gpu s×2"),
        // both strategies, and whole GPUs besides
        (
            &["name: gpu, replicas: 4, rename: m, devices: [2]"],
            &["name: gpu, replicas: 2, rename: s, devices: [0, 1]"],
            "s×2 s×2 m×4 gpu",
        ),
        // counts take what lists leave, MPS first
        (
            &["name: gpu, replicas: 4, rename: m, devices: 1"],
            &[
                "name: gpu, replicas: 2, rename: s, devices: 1",
                "name: gpu, replicas: 3, rename: l, devices: [0]",
            ],
            "l×3 m×4 s×2 gpu",
        ),
        // two entries may go under one name when their replicas are worth the same
        (
            &[],
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 2, rename: s, devices: [3]",
            ],
            "s×2 gpu gpu s×2",
        ),
        // an empty list shares nothing, another resource is not this node's
        (&["name: gpu, replicas: 4, devices: []"], &["name: mig-1g.5gb, replicas: 7"], "gpu gpu gpu gpu"),
        // a list that covers all leaves no whole GPU under the name
        (&[], &["name: gpu, replicas: 2, devices: [0, 1, 2, 3]"], "gpu×2 gpu×2 gpu×2 gpu×2"),
    ];
    for (mps, sliced, expected) in rows {
        let text = file(mps, sliced);
        let effect = on(&text, &facts(), Strictness::Warn);
        assert!(effect.applies, "{:?}\n{text}", problems(&effect));
        assert_eq!(roles(&effect), expected, "{text}");
    }
}

#[test]
fn patterns_name_gpus_by_product_and_entries_share_them_by_that_name() {
    let patterns =
        "resources: {gpus: [{pattern: \"*A100*\", name: a100}, {pattern: \"Tesla\", name: never}]}\n";
    // entries, roles, the product label
    let rows = [
        (String::new(), "gpu gpu a100 a100", "Tesla-T4"),
        (file(&[], &["name: a100, replicas: 2"]), "gpu gpu a100×2 a100×2", "NVIDIA-A100-PCIE-40GB-SHARED"),
        (
            file(
                &["name: a100, replicas: 2, rename: m, devices: 1"],
                &["name: gpu, replicas: 3, rename: s, devices: []"],
            ),
            "gpu gpu m×2 a100",
            "NVIDIA-A100-PCIE-40GB",
        ),
    ];
    for (sharing, expected, product) in rows {
        let text = format!("{patterns}{sharing}");
        let effect = on(&text, &facts(), Strictness::Warn);
        assert_eq!(roles(&effect), expected, "{text} {:?}", problems(&effect));
        assert_eq!(effect.labels["nvidia.com/gpu.product"], product, "{text}");
    }
    let text = format!("{patterns}{}", file(&[], &["name: gpu, replicas: 2, rename: s, devices: [1, 2]"]));
    let effect = on(&text, &facts(), Strictness::Warn);
    assert_eq!(roles(&effect), "gpu s×2 a100 a100");
    let expected = "5:56: `sharing.timeSlicing.resources[0].devices[1]` selects `2`, which is `nvidia.com/a100` and not `nvidia.com/gpu` (hint: without strict validation it selects nothing)";
    assert_eq!(problems(&effect), [expected]);
}

/// Entries, the roles that hold all the same without strict validation, and what is said.
#[test]
fn a_selector_that_fits_nothing_is_named_with_its_place_and_selects_nothing() {
    let rows = [
        (
            "[9]",
            "gpu gpu gpu gpu",
            "4:53: `sharing.timeSlicing.resources[0].devices[0]` selects `9`, but this node has no such GPU: its indexes are 0 to 3",
        ),
        (
            "[0, GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c]",
            "s×2 gpu gpu gpu",
            "4:56: `sharing.timeSlicing.resources[0].devices[1]` selects `GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c`, but this node has no such GPU",
        ),
        ("[\"0:1\"]", "gpu gpu gpu gpu", "selects `0:1`, but this node has no such MIG device"),
        (
            "[MIG-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c]",
            "gpu gpu gpu gpu",
            "but this node has no such MIG device",
        ),
        (
            "[MIG-GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c/9/0]",
            "gpu gpu gpu gpu",
            "but this node has no such MIG device",
        ),
        (
            "[1, GPU-00000001-06c0-7d70-1a51-e59b25b2c16c]",
            "gpu s×2 gpu gpu",
            "4:56: `sharing.timeSlicing.resources[0].devices[1]` selects `GPU-00000001-06c0-7d70-1a51-e59b25b2c16c`, the GPU that `1` selects already",
        ),
        (
            "5",
            "s×2 s×2 s×2 s×2",
            "4:52: `sharing.timeSlicing.resources[0].devices` is 5, but this node has 4 GPUs left of `nvidia.com/gpu`",
        ),
    ];
    for (devices, expected, said) in rows {
        let text = file(&[], &[&format!("name: gpu, replicas: 2, rename: s, devices: {devices}")]);
        let effect = on(&text, &facts(), Strictness::Warn);
        assert_eq!(roles(&effect), expected, "{text}");
        let found = problems(&effect);
        assert!(found.len() == 1 && found[0].contains(said), "{devices}: {found:?}");
        let strict = on(&text, &facts(), Strictness::Strict);
        assert!(!strict.applies && strict.resources.is_empty(), "{text}");
        assert_eq!(strict.problems[0].severity, Severity::Error);
    }
    let twice = file(&[], &["name: gpu, replicas: 2, rename: s, devices: [1, 1]"]);
    let effect = on(&twice, &facts(), Strictness::Warn);
    assert_eq!((roles(&effect), problems(&effect).len()), ("gpu s×2 gpu gpu".to_owned(), 1));
}

#[test]
fn an_overlap_that_only_the_node_shows_is_an_error_that_names_both_entries() {
    let sliced = format!("name: gpu, replicas: 2, rename: s, devices: [{}]", uuid(1));
    let text = file(&["name: gpu, replicas: 4, rename: m, devices: [0, 1]"], &[&sliced]);
    let effect = on(&text, &facts(), Strictness::Warn);
    let expected = format!(
        "7:7: `sharing.timeSlicing.resources[0]` (devices `[{0}]`) and `sharing.mps.resources[0]` at 4:7 (devices `[0, 1]`) both share GPU 1 (`{0}`), but a GPU has one strategy (hint: give each its own `devices`, or keep one)",
        uuid(1)
    );
    assert_eq!(problems(&effect), [expected]);
    assert!(!effect.applies && effect.resources.is_empty() && effect.labels.is_empty());
    // on a node without that GPU it can hold
    let mut two = facts();
    two.gpus.remove(1);
    assert!(on(&text, &two, Strictness::Warn).applies);
}

#[test]
fn of_two_entries_of_one_strategy_on_one_gpu_the_larger_number_counts() {
    let later = format!("name: gpu, replicas: 5, rename: b, devices: [{}]", uuid(1));
    let text = file(&[], &["name: gpu, replicas: 3, rename: a, devices: [0, 1]", &later]);
    let effect = on(&text, &facts(), Strictness::Warn);
    assert_eq!(roles(&effect), "a×3 b×5 gpu gpu");
    let said = problems(&effect);
    assert!(said.len() == 1 && said[0].starts_with("5:7: ") && said[0].contains("at 4:7"), "{said:?}");
    assert!(!on(&text, &facts(), Strictness::Strict).applies);
    // what the file alone shows is said once
    let text = file(&[], &["name: gpu, replicas: 3", "name: gpu, replicas: 2"]);
    let effect = on(&text, &facts(), Strictness::Warn);
    assert_eq!((roles(&effect), problems(&effect).len()), ("gpu×3 gpu×3 gpu×3 gpu×3".to_owned(), 1));
}

#[test]
fn a_name_that_would_mean_two_things_is_an_error() {
    let rows: [(&[&str], &[&str], &str); 7] = [
        // NVIDIA ignores `devices`; without another name whole GPUs and replicas would be mixed
        (
            &[],
            &["name: gpu, replicas: 4, devices: [1]"],
            "4:7: `nvidia.com/gpu` would be a whole GPU (GPU 0) and a replica by `sharing.timeSlicing.resources[0]` at 4:7 (GPU 1), and no pod could tell which (hint: share it under another name: `rename`, or `renameByDefault: true`)",
        ),
        (
            &["name: gpu, replicas: 2, rename: s, devices: [0]"],
            &["name: gpu, replicas: 2, rename: s, devices: [1]"],
            "7:7: `nvidia.com/s` would be a replica by `sharing.mps.resources[0]` at 4:7 (GPU 0) and a replica by `sharing.timeSlicing.resources[0]` at 7:7 (GPU 1), and no pod could tell which (hint: give one of them another `rename`)",
        ),
        (
            &[],
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 3, rename: s, devices: [1]",
            ],
            "`nvidia.com/s` would be",
        ),
        (
            &[],
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 2, rename: s, devices: [1], allocationPolicy: packed",
            ],
            "`nvidia.com/s` would be",
        ),
        (
            &[],
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 2, rename: s, devices: [1], interval: short",
            ],
            "`nvidia.com/s` would be",
        ),
        (
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 2, rename: s, devices: [1], activeThreadPercentage: 10",
            ],
            &[],
            "`nvidia.com/s` would be",
        ),
        (
            &[],
            &[
                "name: gpu, replicas: 2, rename: s, devices: [0]",
                "name: gpu, replicas: 2, rename: s, devices: [1], memoryPerReplica: 1Gi",
            ],
            "`nvidia.com/s` would be",
        ),
    ];
    for (mps, sliced, expected) in rows {
        let text = file(mps, sliced);
        let effect = on(&text, &facts(), Strictness::Warn);
        let said = problems(&effect);
        assert!(!effect.applies && said.len() == 1 && said[0].contains(expected), "{text}{said:?}");
    }
}

#[test]
fn replicas_auto_fills_each_gpu_by_its_own_memory() {
    let rows = [
        ("4Gi", "a×3 a×3 a×10 a×10"),
        ("15Gi", "a a a×2 a×2"),
        ("5000000000", "a×3 a×3 a×8 a×8"),
        ("100Mi", "a×153 a×153 a×409 a×409"),
        ("1Mi", "a×4096 a×4096 a×4096 a×4096"),
    ];
    for (each, expected) in rows {
        let entry = format!("name: gpu, rename: a, replicas: auto, memoryPerReplica: {each}");
        let effect = on(&file(&[], &[&entry]), &facts(), Strictness::Strict);
        assert_eq!(roles(&effect), expected, "{each}");
        let capped = on(&file(&[&entry], &[]), &facts(), Strictness::Strict);
        let counts = capped.daemons.values().map(|d| d.replicas).max();
        assert!(counts.is_some_and(|most| most <= 48), "{each}: an MPS daemon serves 48 clients");
    }
    let entry = "name: gpu, rename: a, replicas: auto, memoryPerReplica: 16Gi";
    let effect = on(&file(&[], &[entry]), &facts(), Strictness::Warn);
    let said = problems(&effect);
    assert_eq!(said.len(), 2, "one per T4: {said:?}");
    assert!(
        said[0].contains("`16Gi` is more than the memory of GPU 0") && said[0].contains("15360Mi"),
        "{said:?}"
    );
}

#[test]
fn budgets_and_limits_become_what_an_mps_client_may_use() {
    // entry, (replicas, percentage, MiB) on a GPU of 40 GiB
    let rows = [
        ("replicas: 4", (4, 25, 10_240)),
        ("replicas: 3", (3, 33, 13_653)),
        ("replicas: 4, activeThreadPercentage: 40", (4, 40, 10_240)),
        ("replicas: 4, memoryPerReplica: 8Gi", (4, 25, 8_192)),
        ("replicas: auto, memoryPerReplica: 8Gi", (5, 20, 8_192)),
        ("replicas: 4, pinnedMemoryLimit: 20Gi", (4, 25, 20_480)),
        ("replicas: 4, memoryPerReplica: 8Gi, pinnedMemoryLimit: 12Gi", (4, 25, 12_288)),
    ];
    for (entry, expected) in rows {
        let entry = format!("name: gpu, rename: m, devices: [2], {entry}");
        let effect = on(&file(&[&entry], &[]), &facts(), Strictness::Strict);
        let gpu = GpuUuid::new(uuid(2));
        let daemon = &effect.daemons[&gpu];
        let limits = effect.limits[&gpu];
        let (replicas, percentage, mib) = expected;
        assert_eq!((daemon.replicas, daemon.active_thread_percentage), (replicas, percentage), "{entry}");
        assert_eq!(daemon.pinned_memory_limit_mib, Some(mib), "{entry}");
        assert_eq!((limits.active_thread_percentage, limits.memory_mib), (percentage, Some(mib)));
        assert_eq!(effect.daemons.len(), 1);
    }
}

#[test]
fn a_size_that_a_gpu_does_not_have_is_an_error() {
    let rows = [
        (
            "replicas: 49",
            "asks for 49 replicas of `nvidia.com/m`, but an MPS control daemon serves at most 48 clients on GPU 0",
        ),
        (
            "replicas: 4, memoryPerReplica: 4Gi",
            "4 × `sharing.mps.resources[0].memoryPerReplica` `4Gi` is more than the memory of GPU 0",
        ),
        (
            "replicas: 4, pinnedMemoryLimit: 16Gi",
            "`sharing.mps.resources[0].pinnedMemoryLimit` `16Gi` is more than the memory of GPU 0",
        ),
    ];
    for (entry, expected) in rows {
        let entry = format!("name: gpu, rename: m, devices: [0], {entry}");
        let effect = on(&file(&[&entry], &[]), &facts(), Strictness::Warn);
        let said = problems(&effect);
        assert!(!effect.applies && said.len() == 1 && said[0].contains(expected), "{entry}: {said:?}");
    }
    let mut unknown = facts();
    unknown.gpus[0].memory_bytes = 0;
    let entry = "name: gpu, rename: m, devices: [0], replicas: auto, memoryPerReplica: 1Gi";
    let said = problems(&on(&file(&[entry], &[]), &unknown, Strictness::Warn));
    assert!(said[0].contains("is not known"), "{said:?}");
    let fine = on(&file(&["name: gpu, replicas: 2"], &[]), &unknown, Strictness::Warn);
    assert_eq!(fine.daemons[&GpuUuid::new(uuid(0))].pinned_memory_limit_mib, None);
}

#[test]
fn a_resource_that_the_node_does_not_have_is_a_warning_only() {
    let text = file(&[], &["name: mig-1g.5gb, replicas: 7"]);
    let effect = on(&text, &facts(), Strictness::Strict);
    assert!(effect.applies);
    assert_eq!(
        problems(&effect),
        [
            "4:14: no GPU of this node is `nvidia.com/mig-1g.5gb`, so none is shared as such (hint: leave it if other nodes have some)"
        ]
    );
    let none = on(&text, &Facts::default(), Strictness::Strict);
    assert!(none.applies && none.resources.is_empty() && none.labels.is_empty());
}

#[test]
fn the_problems_of_one_config_on_one_node_are_bounded() {
    let devices: Vec<String> = (100..400).map(|n| n.to_string()).collect();
    let entry = format!("name: gpu, replicas: 49, rename: m, devices: [0, {}]", devices.join(", "));
    let effect = on(&file(&[&entry], &[]), &facts(), Strictness::Warn);
    assert_eq!(effect.problems.len(), PROBLEMS_MAX);
    assert!(effect.problems.iter().any(|p| p.severity == Severity::Error), "an error is never left out");
}

#[test]
fn contradictions_of_flags_and_sharing_are_part_of_the_effect() {
    let overrides = Overrides {
        flags: crate::config::Flags {
            mig_strategy: Some(crate::config::MigStrategy::Mixed),
            ..Default::default()
        },
        ..Overrides::default()
    };
    let read = read("f", &file(&["name: gpu, replicas: 2"], &[]), Strictness::Warn).unwrap();
    let effect = effect(&read, &overrides, &facts());
    assert!(!effect.applies && effect.problems[0].message.contains("`mixed`"), "{:?}", effect.problems);
}

#[test]
fn a_list_that_no_kubelet_can_take_is_refused_with_the_resource_and_the_count() {
    let many = |gpus: u32| {
        let gpu = facts().gpus.remove(0);
        let numbered =
            |index| GpuFacts { uuid: GpuUuid::new(uuid(index)), index, minor: index, ..gpu.clone() };
        Facts { gpus: (0..gpus).map(numbered).collect(), ..facts() }
    };
    let text = file(&[], &["name: gpu, replicas: 4096"]);
    assert!(problems(&on(&text, &many(13), Strictness::Warn)).is_empty());
    let refused = problems(&on(&text, &many(16), Strictness::Warn));
    assert_eq!(refused.len(), 1, "{refused:?}");
    let parts = ["`nvidia.com/gpu` would have 65536 devices", "the kubelet takes 4194304", "fewer replicas"];
    assert!(parts.iter().all(|part| refused[0].contains(part)), "{refused:?}");
}
