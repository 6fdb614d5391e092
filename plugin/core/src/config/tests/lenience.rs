//! What NVIDIA's parser accepts is accepted, and what it drops silently is named.

use super::*;

#[test]
fn an_empty_file_is_an_empty_config() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "null", "~", "{}", "\u{feff}", "---\n...\n"] {
        assert_eq!(config(text), Config::default(), "{text:?}");
    }
}

#[test]
fn the_version_may_be_absent_empty_or_v1() {
    for text in ["version: v1", "version: \"\"", "version:", "version: null", "flags: {}"] {
        assert_eq!(config(text), Config::default(), "{text}");
    }
    assert_eq!(refused("version: 1"), ["1:10: `version` must be `v1`, but is `1`"]);
    assert_eq!(refused("version: 1.0"), ["1:10: `version` must be `v1`, but is `1`"]);
    assert_eq!(refused("version: v2"), ["1:10: `version` must be `v1`, but is `v2`"]);
    assert_eq!(refused("version: [v1]"), ["1:10: `version` must be text, but is a list"]);
}

#[test]
fn json_is_accepted_with_tabs_and_all() {
    let text = "{\n\t\"version\": \"v1\",\n\t\"flags\": {\"migStrategy\": \"none\", \"failOnInitError\": false}\n}\n";
    let flags = config(text).flags;
    assert_eq!(flags.mig_strategy, Some(MigStrategy::None));
    assert_eq!(flags.fail_on_init_error, Some(false));
}

#[test]
fn a_byte_order_mark_does_not_shift_columns() {
    assert_eq!(config("\u{feff}version: v1\n"), Config::default());
    assert_eq!(refused("\u{feff}version: v2\n"), ["1:10: `version` must be `v1`, but is `v2`"]);
}

#[test]
fn windows_line_ends_are_accepted() {
    let text = "version: v1\r\nflags:\r\n  migStrategy: single\r\n";
    assert_eq!(config(text).flags.mig_strategy, Some(MigStrategy::Single));
}

#[test]
fn booleans_take_the_words_of_yaml_1_1() {
    for (word, expected) in
        [("yes", true), ("y", true), ("On", true), ("no", false), ("N", false), ("off", false)]
    {
        let text = format!("flags: {{failOnInitError: {word}}}");
        assert_eq!(config(&text).flags.fail_on_init_error, Some(expected), "{word}");
    }
    let quoted = refused("flags: {failOnInitError: \"true\"}");
    let expected = "1:26: `flags.failOnInitError` must be `true` or `false`, but is text `true` (hint: write it without quotes)";
    assert_eq!(quoted, [expected]);
    let number = refused("flags: {failOnInitError: 1}");
    assert_eq!(number, ["1:26: `flags.failOnInitError` must be `true` or `false`, but is a number `1`"]);
}

#[test]
fn a_number_or_boolean_for_a_text_counts_as_its_text() {
    assert_eq!(config("flags: {mpsRoot: 5}").flags.mps_root.as_deref(), Some("5"));
    assert_eq!(config("flags: {mpsRoot: 010}").flags.mps_root.as_deref(), Some("8"));
    assert_eq!(config("flags: {mpsRoot: 1.50}").flags.mps_root.as_deref(), Some("1.5"));
    assert_eq!(config("flags: {mpsRoot: yes}").flags.mps_root.as_deref(), Some("true"));
    assert_eq!(config("flags: {mpsRoot: !!str 5}").flags.mps_root.as_deref(), Some("5"));
}

#[test]
fn replicas_take_every_spelling_of_a_whole_number() {
    for (written, expected) in
        [("4", 4), ("4.0", 4), ("1e1", 10), ("0x10", 16), ("010", 8), ("1_0", 10), ("+2", 2), ("0b11", 3)]
    {
        let text = mps_entry(&format!("{{name: gpu, replicas: {written}}}"));
        assert_eq!(
            config(&text).sharing.mps.unwrap().resources[0].replicas,
            Replicas::Count(expected),
            "{written}"
        );
    }
}

#[test]
fn keys_of_plain_mappings_match_in_any_case() {
    let (config, warnings) =
        lenient("VERSION: v1\nFlags:\n  MIGSTRATEGY: single\n  plugin: {PassDeviceSpecs: yes}\n");
    assert_eq!(config.flags.mig_strategy, Some(MigStrategy::Single));
    assert_eq!(config.flags.plugin.pass_device_specs, Some(true));
    let expected = [
        "1:1: `VERSION` is read as `version` (hint: write `version`)",
        "2:1: `Flags` is read as `flags` (hint: write `flags`)",
        "3:3: `MIGSTRATEGY` is read as `migStrategy` (hint: write `migStrategy`)",
        "4:12: `PassDeviceSpecs` is read as `passDeviceSpecs` (hint: write `passDeviceSpecs`)",
    ];
    assert_eq!(warnings, expected);
    let strict_too = read("f", "Flags: {}", Strictness::Strict).unwrap();
    assert_eq!(strict_too.warnings.len(), 1);
    assert_eq!(lenient("SHARING:\n  TimeSlicing:\n    resources: [{name: gpu, replicas: 2}]\n").1.len(), 2);
}

#[test]
fn keys_inside_a_sharing_strategy_are_exact() {
    let text = "sharing:\n  mps:\n    RenameByDefault: true\n    resources: [{name: gpu, replicas: 2, Devices: 1}]\n";
    let (config, warnings) = lenient(text);
    let mps = config.sharing.mps.unwrap();
    assert!(!mps.rename_by_default);
    assert_eq!(mps.resources[0].devices, Devices::All);
    let expected = [
        "3:5: unknown key `RenameByDefault` under `sharing.mps` (hint: upper and lower case matter here: write `renameByDefault`)",
        "4:42: unknown key `Devices` under `sharing.mps.resources[0]` (hint: upper and lower case matter here: write `devices`)",
    ];
    assert_eq!(warnings, expected);
    let upper = refused("sharing: {mps: {RESOURCES: [{name: gpu, replicas: 2}]}}");
    assert!(upper.iter().any(|p| p.contains("no resources specified")), "{upper:?}");
    assert_eq!(lenient("resources: {gpus: [{pattern: T4, name: t4, NAME: x}]}").1.len(), 1);
}

#[test]
fn of_spellings_that_differ_in_case_the_last_in_ascii_order_counts() {
    for text in
        ["flags: {migStrategy: single, MIGSTRATEGY: none}", "flags: {MIGSTRATEGY: none, migStrategy: single}"]
    {
        let (config, warnings) = lenient(text);
        assert_eq!(config.flags.mig_strategy, Some(MigStrategy::Single), "{text}");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("`migStrategy` is given in 2 spellings"), "{warnings:?}");
        assert!(read("f", text, Strictness::Strict).is_err());
    }
    let (config, _) = lenient("FLAGS: {migStrategy: single, mpsRoot: /a}\nflags: {mpsRoot: /b}\n");
    assert_eq!(config.flags.mig_strategy, Some(MigStrategy::Single), "mappings are applied in turn");
    assert_eq!(config.flags.mps_root.as_deref(), Some("/b"));
}

#[test]
fn of_duplicate_keys_the_last_counts() {
    let text = "flags:\n  mpsRoot: /a\n  mpsRoot: /b\n";
    let (config, warnings) = lenient(text);
    assert_eq!(config.flags.mps_root.as_deref(), Some("/b"));
    let expected = "3:3: duplicate key `mpsRoot`, first given at 2:3 (hint: remove one; without strict validation the last one counts)";
    assert_eq!(warnings, [expected]);
    assert_eq!(strict(text), [expected]);
    assert!(read("f", text, Strictness::Strict).is_err());
}

#[test]
fn anchors_and_merge_keys_are_applied() {
    let text = "flags:\n  plugin: &p {passDeviceSpecs: true, deviceIDStrategy: index}\n  gfd: {outputFile: &o /out, machineTypeFile: *o}\n";
    let flags = config(text).flags;
    assert_eq!(flags.gfd.machine_type_file.as_deref(), Some("/out"));
    assert_eq!(flags.plugin.pass_device_specs, Some(true));
    let text =
        "sharing:\n  mps:\n    resources:\n    - &a {name: gpu, replicas: 4}\n    - {<<: *a, name: mig-x}\n";
    let (config, _) = lenient(text);
    let names: Vec<_> =
        config.sharing.mps.unwrap().resources.into_iter().map(|e| (e.name.to_string(), e.replicas)).collect();
    let four = Replicas::Count(4);
    assert_eq!(names, [("nvidia.com/gpu".to_owned(), four), ("nvidia.com/mig-x".to_owned(), four)]);
}

#[test]
fn only_the_first_document_is_read() {
    let text = "version: v1\n---\nversion: [broken\n";
    let expected =
        "2:1: a second document begins here and is not read (hint: one file holds one configuration)";
    assert_eq!(lenient(text), (Config::default(), vec![expected.to_owned()]));
    assert!(read("f", text, Strictness::Strict).is_err());
}

#[test]
fn a_bare_number_for_a_duration_is_nanoseconds_and_said_so() {
    let (config, warnings) = lenient("flags: {gfd: {sleepInterval: 5}}");
    assert_eq!(config.flags.gfd.sleep_interval, Some(Interval::Nanoseconds(5)));
    let expected = "1:30: `flags.gfd.sleepInterval` is a bare number and means 5ns (hint: write a unit, for example `60s`)";
    assert_eq!(warnings, [expected]);
    let (config, _) = lenient("flags: {gfd: {sleepInterval: infinite}}");
    assert_eq!(config.flags.gfd.sleep_interval, Some(Interval::Infinite));
    assert_eq!(refused("flags: {gfd: {sleepInterval: \"5\"}}").len(), 1);
    assert_eq!(refused("flags: {gfd: {sleepInterval: yes}}").len(), 1);
}

#[test]
fn the_device_list_strategy_is_one_word_or_a_list_and_never_split() {
    let strategies = |text: &str| lenient(text).0.flags.plugin.device_list_strategy;
    assert_eq!(
        strategies("flags: {plugin: {deviceListStrategy: volume-mounts}}"),
        Some(vec![DeviceListStrategy::VolumeMounts])
    );
    assert_eq!(strategies("flags: {plugin: {deviceListStrategy: []}}"), Some(vec![]));
    assert_eq!(strict("flags: {plugin: {deviceListStrategy: []}}").len(), 1);
    let split = refused("flags: {plugin: {deviceListStrategy: \"envvar,cdi-cri\"}}");
    assert!(
        split[0].ends_with("but is `envvar,cdi-cri` (hint: several words are written as a list: [a, b])"),
        "{split:?}"
    );
    let item = refused("flags: {plugin: {deviceListStrategy: [envvar, cdi-cry]}}");
    assert!(
        item[0].contains("deviceListStrategy[1]") && item[0].contains("did you mean `cdi-cri`?"),
        "{item:?}"
    );
}
