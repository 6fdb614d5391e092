//! What cannot be used is refused, with every problem at once.

use super::*;
use crate::config::compose::{BYTES_MAX, DEPTH_MAX, NODES_MAX};

#[test]
fn a_wrong_word_is_answered_with_the_right_ones() {
    assert_eq!(
        refused("flags: {migStrategy: singel}"),
        [
            "1:22: `flags.migStrategy` must be one of `none`, `single`, `mixed`, but is `singel` (hint: did you mean `single`?)"
        ]
    );
    assert_eq!(
        refused("flags: {migStrategy: no}"),
        [
            "1:22: `flags.migStrategy` must be one of `none`, `single`, `mixed`, but is `false` (hint: `no` is a boolean in YAML 1.1; put the word you mean in quotes)"
        ]
    );
    for text in [
        "flags: {migStrategy: \"\"}",
        "flags: {deviceDiscoveryStrategy: vfio}",
        "flags: {plugin: {deviceIDStrategy: UUID}}",
        "flags: {plugin: {deviceListStrategy: \"\"}}",
        "flags: {plugin: {deviceListStrategy: 5}}",
        "flags: {plugin: {deviceListStrategy: [5]}}",
        "flags: {plugin: {sharedDevicesAllocationPolicy: spread}}",
    ] {
        assert_eq!(refused(text).len(), 1, "{text}");
    }
}

#[test]
fn every_problem_is_reported_at_once_in_the_files_order() {
    let text = "\
version: v3
flags:
  migStrategy: some
  failOnInitError: maybe
  plugin: 5
sharing:
  mps:
    resources:
    - name: Not A Name
      replicas: 1
    - replicas: x
imex:
  channelIDs: [1]
";
    let problems = refused(text);
    let places: Vec<&str> = problems.iter().map(|p| p.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["1:10", "3:16", "4:20", "5:11", "9:13", "10:17", "11:7", "11:17", "13:15"],
        "{problems:#?}"
    );
}

#[test]
fn a_mapping_is_expected_where_a_mapping_belongs() {
    assert_eq!(refused("5"), ["1:1: the file must be a mapping, but is a number `5`"]);
    assert_eq!(refused("[]"), ["1:1: the file must be a mapping, but is a list"]);
    assert_eq!(refused("flags: []"), ["1:8: `flags` must be a mapping, but is a list"]);
    assert_eq!(refused("sharing: mps"), ["1:10: `sharing` must be a mapping, but is text `mps`"]);
    assert_eq!(
        refused("sharing: {mps: true}"),
        ["1:16: `sharing.mps` must be a mapping, but is a boolean `true`"]
    );
}

#[test]
fn imex_channels_are_none_or_channel_zero() {
    assert_eq!(config("imex: {channelIDs: []}").imex.channel_ids, Some(vec![]));
    assert_eq!(config("imex: {channelIDs: [0.0]}").imex.channel_ids, Some(vec![0]));
    for text in ["[1]", "[0, 0]", "[0, 1]", "[-1]", "[a]", "0", "[null]"] {
        let problems = refused(&format!("imex: {{channelIDs: {text}}}"));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn text_that_is_not_yaml_is_refused_where_it_breaks() {
    let tab = refused("flags:\n\tmigStrategy: none\n");
    assert!(tab[0].starts_with("2:") && tab[0].contains("not valid YAML"), "{tab:?}");
    assert!(refused("flags: [unclosed")[0].starts_with("1:"));
    assert!(refused("flags: *nowhere")[0].contains("unknown anchor"));
    assert_eq!(refused("{[a]: b}"), ["1:2: a key must be a scalar, but is a list or mapping"]);
    assert_eq!(refused("{~: b}"), ["1:2: a key must not be empty"]);
    assert_eq!(refused("flags: {<<: 5}"), ["1:13: `<<` must be given a mapping, but is a number"]);
}

#[test]
fn an_alias_bomb_is_stopped_by_its_budget() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let problems = refused(&text);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains(&NODES_MAX.to_string()), "{problems:?}");
}

#[test]
fn aliases_to_a_large_text_are_stopped_by_their_budget() {
    let aliases = vec!["*t"; 5000].join(", ");
    let text = format!("flags: {{mpsRoot: &t {}}}\nimex: {{channelIDs: [{aliases}]}}\n", "x".repeat(100_000));
    assert!(refused(&text)[0].contains("aliases counted in full"));
}

#[test]
fn deep_nesting_is_stopped_in_every_form() {
    for text in ["[".repeat(20_000), "- ".repeat(20_000), "{a: ".repeat(20_000)] {
        assert_eq!(refused(&text).len(), 1);
    }
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refused(&chain)[0].contains(&format!("more than {DEPTH_MAX} levels")));
    assert!(refused("a: &a [*a]")[0].contains("an alias stands inside"));
}

#[test]
fn a_huge_file_is_refused_by_its_size() {
    let text = "#".repeat(BYTES_MAX + 1);
    assert_eq!(refused(&text), [format!("1:1: the file has more than {BYTES_MAX} bytes: {}", BYTES_MAX + 1)]);
}

#[test]
fn the_list_of_problems_is_bounded_and_says_how_many_are_left_out() {
    let text: String = (0..PROBLEMS_MAX + 7).map(|n| format!("zzzzzz{n}: 1\n")).collect();
    let problems = read("f", &text, Strictness::Strict).unwrap_err();
    assert_eq!((problems.list.len(), problems.more), (PROBLEMS_MAX, 7));
    assert!(problems.to_string().ends_with("\nand 7 more"));
}

#[test]
fn a_long_key_or_value_is_cut_in_messages() {
    let long = "k".repeat(5000);
    let problems = strict(&format!("flags: {{migStrategy: {long}}}\n? {long}\n: 1\n"));
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|p| p.len() < 400 && p.contains('…')), "{problems:?}");
}

#[test]
fn an_error_is_listed_even_behind_a_full_list_of_warnings() {
    let mut text: String = (0..PROBLEMS_MAX + 7).map(|n| format!("zzzzzz{n}: 1\n")).collect();
    assert_eq!(read("f", &text, Strictness::Warn).unwrap().more_warnings, 7);
    text.push_str("flags: {migStrategy: x, mpsRoot: []}\n");
    let problems = read("f", &text, Strictness::Warn).unwrap_err();
    let errors = problems.list.iter().filter(|problem| problem.severity == Severity::Error).count();
    assert_eq!((problems.list.len(), errors, problems.more), (PROBLEMS_MAX, 2, 9));
}

#[test]
fn lists_are_bounded_and_large_files_are_read_in_time() {
    let entries = vec!["{name: gpu, replicas: 2}"; 5000].join(", ");
    let many = refused(&format!("sharing: {{mps: {{resources: [{entries}]}}}}"));
    assert_eq!(many, ["1:28: `sharing.mps.resources` has at most 4096 items, but is given 5000"]);
    let keys: String = (0..NODES_MAX / 2 - 10).map(|n| format!("migStrateg{n}: x\n")).collect();
    assert_eq!(read("f", &keys, Strictness::Strict).unwrap_err().list.len(), PROBLEMS_MAX);
    let comment = "# x\n".repeat(BYTES_MAX / 4);
    assert_eq!(config(&comment), Config::default());
}
