//! The two sharing strategies: grammar, lenience and what is not honoured yet.

use super::*;

#[test]
fn both_strategies_have_the_same_shape() {
    for strategy in ["mps", "timeSlicing"] {
        let text = format!(
            "sharing:\n  {strategy}:\n    renameByDefault: yes\n    failRequestsGreaterThanOne: no\n    resources: [{{name: gpu, replicas: 2}}]\n"
        );
        let sharing = config(&text).sharing;
        let shared = sharing.mps.or(sharing.time_slicing).unwrap();
        assert!(shared.rename_by_default);
        assert_eq!(shared.fail_requests_greater_than_one, Some(false));
        assert_eq!(shared.advertised(&shared.resources[0]), ResourceName::gpu().shared());
    }
    let (config, _) = lenient(
        "sharing: {mps: {renameByDefault: null, failRequestsGreaterThanOne: null, resources: [{name: gpu, replicas: 2}]}}",
    );
    let mps = config.sharing.mps.unwrap();
    assert_eq!((mps.rename_by_default, mps.fail_requests_greater_than_one), (false, None));
    assert_eq!(mps.advertised(&mps.resources[0]), ResourceName::gpu());
}

#[test]
fn a_strategy_needs_resources() {
    assert_eq!(config("sharing: {}"), Config::default());
    assert_eq!(config("sharing: null"), Config::default());
    assert_eq!(config("sharing: {mps: null}"), Config::default());
    for text in [
        "sharing: {timeSlicing: null}",
        "sharing: {timeSlicing: {}}",
        "sharing: {mps: {}}",
        "sharing: {mps: {resources: []}}",
        "sharing: {mps: {resources: null}}",
        "sharing: {mps: {renameByDefault: true}}",
    ] {
        let problems = refused(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("no resources specified in `sharing."), "{problems:?}");
    }
    assert_eq!(refused("sharing: {mps: {resources: {}}}").len(), 1);
    assert_eq!(refused("sharing: {mps: {resources: [gpu]}}").len(), 1);
}

#[test]
fn an_entry_needs_a_name_and_replicas() {
    assert_eq!(refused(&mps_entry("{replicas: 2}")), ["4:7: `sharing.mps.resources[0]` has no `name`"]);
    assert_eq!(refused(&mps_entry("{name: gpu}")), ["4:7: `sharing.mps.resources[0]` has no `replicas`"]);
    assert_eq!(refused(&mps_entry("{}")).len(), 2);
    for name in ["5", "yes", "null", "\"\"", "[gpu]", "GPU", "example.com/gpu"] {
        let problems = refused(&mps_entry(&format!("{{name: {name}, replicas: 2}}")));
        assert_eq!(problems.len(), 1, "{name}: {problems:?}");
        assert!(problems[0].starts_with("4:14: "), "{name}: {problems:?}");
    }
}

#[test]
fn replicas_are_a_whole_number_of_at_least_two() {
    for replicas in
        ["1", "0", "-1", "1e9", "4097", "4.5", "\"4\"", "four", "null", "yes", "[4]", ".inf", ".nan", "1e300"]
    {
        let problems = refused(&mps_entry(&format!("{{name: gpu, replicas: {replicas}}}")));
        assert_eq!(problems.len(), 1, "{replicas}: {problems:?}");
        assert!(problems[0].contains("`sharing.mps.resources[0].replicas` must be "), "{problems:?}");
    }
}

#[test]
fn every_form_of_devices_is_read() {
    let list = |items: &[DeviceRef]| Devices::List(items.to_vec());
    let uuid = "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c";
    let mig_uuid = "MIG-GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c/9/0";
    let rows = [
        ("all", Devices::All),
        ("1", Devices::Count(1)),
        ("2.0", Devices::Count(2)),
        ("[0]", list(&[DeviceRef::Index(0)])),
        ("[1.0]", list(&[DeviceRef::Index(1)])),
        ("[\"0\", \"0:1\"]", list(&[DeviceRef::Index(0), DeviceRef::MigIndex(0, 1)])),
        (&format!("[{uuid}]"), list(&[DeviceRef::GpuUuid(uuid.into())])),
        (&format!("[{mig_uuid}]"), list(&[DeviceRef::MigUuid(mig_uuid.into())])),
        (
            "[MIG-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c]",
            list(&[DeviceRef::MigUuid("MIG-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c".into())]),
        ),
    ];
    for (devices, expected) in rows {
        let text = mps_entry(&format!("{{name: gpu, replicas: 2, devices: {devices}}}"));
        assert_eq!(config(&text).sharing.mps.unwrap().resources[0].devices, expected, "{devices}");
    }
    for devices in ["[]", "[null]"] {
        let text = mps_entry(&format!("{{name: gpu, replicas: 2, devices: {devices}}}"));
        let (config, warnings) = lenient(&text);
        assert_eq!(config.sharing.mps.unwrap().resources[0].devices, list(&[]), "{devices}");
        assert!(warnings[0].contains("selects no device"), "{warnings:?}");
    }
}

#[test]
fn devices_that_nvidia_refuses_are_refused() {
    for devices in [
        "0", "-1", "2.5", "null", "\"\"", "All", "\"2\"", "yes", "{}", "[all]", "[-1]", "[1.5]", "[[0]]",
        "[x]", "[true]",
    ] {
        let problems = refused(&mps_entry(&format!("{{name: gpu, replicas: 2, devices: {devices}}}")));
        assert!(problems[0].starts_with("4:4"), "{devices}: {problems:?}");
    }
    let hint = refused(&mps_entry("{name: gpu, replicas: 2, devices: \"0:1\"}"));
    assert!(hint[0].ends_with("(hint: write one device as a list: [\"0:1\"])"), "{hint:?}");
}

#[test]
fn rename_goes_before_its_default() {
    let entry = "{name: gpu, replicas: 2, rename: shared-gpu}";
    let mps = config(&mps_entry(entry)).sharing.mps.unwrap();
    assert_eq!(mps.advertised(&mps.resources[0]).as_str(), "nvidia.com/shared-gpu");
    for rename in ["\"\"", "null", "5", "A"] {
        assert_eq!(
            refused(&mps_entry(&format!("{{name: gpu, replicas: 2, rename: {rename}}}"))).len(),
            1,
            "{rename}"
        );
    }
}

#[test]
fn resource_patterns_name_gpus() {
    let text = "resources:\n  gpus: [{pattern: T4, name: t4}, {pattern: \"*\", name: nvidia.com/other}]\n";
    let gpus = config(text).resources.gpus;
    let rows: Vec<(&str, &str)> = gpus.iter().map(|p| (p.pattern.as_str(), p.name.as_str())).collect();
    assert_eq!(rows, [("T4", "nvidia.com/t4"), ("*", "nvidia.com/other")]);
    assert_eq!(refused("resources: {gpus: [{pattern: T4}]}"), ["1:20: `resources.gpus[0]` has no `name`"]);
    assert_eq!(refused("resources: {gpus: [{name: t4}]}"), ["1:20: `resources.gpus[0]` has no `pattern`"]);
    assert_eq!(refused("resources: {mig: [{pattern: 5, name: X}]}").len(), 2);
    assert_eq!(refused("resources: {gpus: {}}").len(), 1);
    assert_eq!(super::config("resources: {gpus: null, mig: []}"), Config::default());
}

#[test]
fn a_pattern_that_never_counts_is_named() {
    let hidden = "resources:\n  gpus:\n  - {pattern: \"*\", name: a}\n  - {pattern: T4, name: b}\n";
    let expected = "4:15: `resources.gpus[1].pattern` never counts: `*` before it matches the same GPUs (hint: the first pattern that matches counts; put the special ones first)";
    assert_eq!(strict(hidden), [expected]);
    assert_eq!(lenient(hidden).1, [expected]);
    let mig = "resources: {mig: [{pattern: 1g.*, name: a}, {pattern: 1g.*, name: b}]}";
    assert!(strict(mig)[0].starts_with("1:55: `resources.mig[1].pattern` never counts"), "{:?}", strict(mig));
}
