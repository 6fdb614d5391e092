//! Bad scenario files: each mistake is named with its place, and all of them at once.

use super::super::read_text;

const GOOD: &str = "\
story: a story
nodes:
- {name: gpu, count: 2, gpus: {board: tesla-t4, count: 4}}
- {name: cpu-1}
steps:
- apply:
  - count: 2
    manifest: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: main}]}}
- name: start
  expect: {within: 1s, nodes: {gpu-1: {ready: true}, cpu-*: {ready: true}}, pods: {p-1: {phase: Running}}}
- expect: {pods: {p-2: {node: {unchangedSince: start}}}}
";

fn problems(text: &str) -> Vec<String> {
    match read_text("s.yaml", text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_good_scenario_is_read_with_its_nodes_and_pods_counted_out() {
    let scenario = read_text("dir/s.yaml", GOOD).unwrap();
    assert_eq!(scenario.name, "s");
    let names: Vec<&str> = scenario.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["gpu-1", "gpu-2", "cpu-1"]);
    assert_eq!(scenario.steps.len(), 3);
}

#[test]
fn wrong_files_name_place_and_expectation() {
    let table: &[(&str, &str, &str)] = &[
        (
            "story: a story",
            "storry: x",
            "s.yaml:1:1: unknown key `storry` (hint: did you mean `story`?)",
        ),
        ("story: a story", "storry: x", "s.yaml:1:1: `story` is missing"),
        (
            "tesla-t4, count: 4",
            "tesla-t5, count: 4",
            "unknown board `tesla-t5`",
        ),
        (
            "count: 4}}",
            "count: 0}}",
            "s.yaml:3:56: `nodes[0].gpus.count`: expected a whole number from 1 to 64",
        ),
        ("count: 4}}", "count: four}}", "found text"),
        (
            "within: 1s",
            "within: 1",
            "s.yaml:10:20: `steps[1].expect.within`: expected a duration",
        ),
        ("within: 1s", "within: 2h", "at most 3600s"),
        (
            "gpu-1: {ready",
            "gpu-9: {ready",
            "there is no node `gpu-9` at this step (hint: did you mean `gpu-1`?)",
        ),
        (
            "{gpu-1: {ready: true}",
            "{gpu-1: {redy: true}",
            "unknown field `redy` (hint: did you mean `ready`?)",
        ),
        ("p-1: {phase", "q-1: {phase", "there is no pod `q-1`"),
        (
            "unchangedSince: start",
            "unchangedSince: later",
            "there is no earlier step `later`",
        ),
        (
            "kind: Pod",
            "kind: Deployment",
            "expected `kind: Pod`, found `Deployment`",
        ),
        ("{name: cpu-1}", "{name: gpu-1}", "a second node is named `gpu-1`"),
        ("{name: cpu-1}", "{name: CPU}", "is not a node name"),
        (
            "- name: start\n  expect",
            "- name: start\n  wait: 1s\n  expect",
            "expected one verb, found wait and expect",
        ),
        (
            "- name: start\n  expect",
            "- name: start\n  expct",
            "did you mean `expect`?",
        ),
    ];
    for (from, to, expected) in table {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let found = problems(&text);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("tesla-t4", "t4")
        .replace("gpu-1: {ready", "gpx: {ready")
        .replace("p-1: {", "q: {");
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("board") && found[1].contains("gpx") && found[2].contains("`q`"),
        "{found:#?}"
    );
}

#[test]
fn an_empty_file_and_a_list_are_refused() {
    for text in ["", "[]", "- a", "3", "a: [", "\t"] {
        assert!(!problems(text).is_empty(), "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", cut in 0..600_usize) {
        let _any_verdict = read_text("s.yaml", &text);
        let at = cut.min(GOOD.len());
        let _any_verdict = read_text("s.yaml", &format!("{}{text}{}", &GOOD[..at], &GOOD[at..]));
    }
}
