//! A key that is ignored is named with its place and the place where it belongs.

use super::*;

#[test]
fn a_misplaced_key_is_told_where_it_belongs() {
    let text = "version: v1\nflags:\n  migStrategy: none\n  renameByDefault: true\nsharing:\n  mps:\n    resources:\n    - {name: gpu, replicas: 4}\n";
    let expected = "4:3: `renameByDefault` belongs under `sharing.mps`, found under `flags`";
    assert_eq!(strict(text), [expected]);
    let (config, warnings) = lenient(text);
    assert_eq!(warnings, [expected]);
    assert!(!config.sharing.mps.unwrap().rename_by_default);
}

#[test]
fn a_misplaced_key_without_a_home_in_the_file_is_told_all_its_homes() {
    assert_eq!(
        strict("flags: {renameByDefault: true}"),
        ["1:9: `renameByDefault` belongs under `sharing.mps` or `sharing.timeSlicing`, found under `flags`"]
    );
    assert_eq!(
        strict("migStrategy: none"),
        ["1:1: `migStrategy` belongs under `flags`, found under the top level"]
    );
    assert_eq!(
        strict("flags: {sharing: {}}"),
        ["1:9: `sharing` belongs under the top level, found under `flags`"]
    );
    assert_eq!(
        strict("flags: {passDeviceSpecs: true}"),
        ["1:9: `passDeviceSpecs` belongs under `flags.plugin`, found under `flags`"]
    );
}

#[test]
fn a_mistyped_key_is_told_the_nearest_one() {
    assert_eq!(
        strict("flags:\n  migStrategie: none\n"),
        ["2:3: unknown key `migStrategie` under `flags` (hint: did you mean `migStrategy`?)"]
    );
    assert_eq!(
        strict("flags:\n  pasDeviceSpec: true\n"),
        [
            "2:3: unknown key `pasDeviceSpec` under `flags` (hint: did you mean `passDeviceSpecs` under `flags.plugin`?)"
        ]
    );
    let entry = strict(&mps_entry("{name: gpu, replicas: 2, replica: 3}"));
    assert_eq!(
        entry,
        ["4:32: unknown key `replica` under `sharing.mps.resources[0]` (hint: did you mean `replicas`?)"]
    );
    assert_eq!(
        strict("imex: {zzzzzzzz: 1}"),
        ["1:8: unknown key `zzzzzzzz` under `imex` (hint: the keys here are `channelIDs`, `required`)"]
    );
}

#[test]
fn a_key_that_is_not_text_is_unknown_under_its_text() {
    assert!(strict("yes: 1")[0].starts_with("1:1: unknown key `true`"));
    assert!(strict("5: 1")[0].starts_with("1:1: unknown key `5`"));
}

#[test]
fn a_problem_carries_its_parts_for_machines() {
    let text = mps_entry("name: gpu\n      replicas: 1");
    let problems = read("mps-config", &text, Strictness::Warn).unwrap_err();
    let [problem] = problems.list.as_slice() else { panic!("{problems}") };
    let expected = Problem {
        severity: Severity::Error,
        file: "mps-config".to_owned(),
        line: 5,
        column: 17,
        path: "sharing.mps.resources[0].replicas".to_owned(),
        message: "`sharing.mps.resources[0].replicas` must be from 2 to 4096, but is `1`".to_owned(),
        hint: Some("leave the resource out to hand its GPUs out whole".to_owned()),
    };
    assert_eq!(*problem, expected);
    let json = serde_json::to_string(&expected).unwrap();
    assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), expected);
    assert_eq!(
        problems.to_string(),
        "mps-config:5:17: `sharing.mps.resources[0].replicas` must be from 2 to 4096, but is `1` (hint: leave the resource out to hand its GPUs out whole)"
    );
}

#[test]
fn columns_count_characters_after_wide_ones() {
    assert_eq!(
        refused("{\"µµ\": 1, version: v2}").last().unwrap(),
        "1:20: `version` must be `v1`, but is `v2`"
    );
}
