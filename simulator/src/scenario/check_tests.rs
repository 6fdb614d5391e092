//! Bad scenario files: each mistake is named with its place, and all of them at once.

use std::time::Duration;

use super::super::{Choice, StageName, Verb, read_chosen, read_text};

pub(in super::super) const GOOD: &str = "\
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

pub(in super::super) fn problems(text: &str) -> Vec<String> {
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
        ("story: a story", "storry: x", "s.yaml:1:1: unknown key `storry` (hint: did you mean `story`?)"),
        ("story: a story", "storry: x", "s.yaml:1:1: `story` is missing"),
        ("tesla-t4, count: 4", "tesla-t5, count: 4", "unknown board `tesla-t5`"),
        (
            "count: 4}}",
            "count: 0}}",
            "s.yaml:3:56: `nodes[0].gpus.count`: expected a whole number from 1 to 64",
        ),
        ("count: 4}}", "count: four}}", "found text"),
        ("within: 1s", "within: 1", "s.yaml:10:20: `steps[1].expect.within`: expected a duration"),
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
        ("unchangedSince: start", "unchangedSince: later", "there is no earlier step `later`"),
        ("kind: Pod", "kind: Job", "expected `kind: Pod`, `Deployment` or `ConfigMap`, found `Job`"),
        ("kind: Pod", "kind: Deployment", "expected `apiVersion: apps/v1`"),
        ("{name: cpu-1}", "{name: gpu-1}", "a second node is named `gpu-1`"),
        ("{name: cpu-1}", "{name: CPU}", "is not a node name"),
        (
            "- name: start\n  expect",
            "- name: start\n  wait: 1s\n  expect",
            "expected one verb, found wait and expect",
        ),
        ("- name: start\n  expect", "- name: start\n  expct", "did you mean `expect`?"),
    ];
    for (from, to, expected) in table {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text =
        GOOD.replace("tesla-t4", "t4").replace("gpu-1: {ready", "gpx: {ready").replace("p-1: {", "q: {");
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains("board") && found[1].contains("gpx") && found[2].contains("`q`"), "{found:#?}");
}

#[test]
fn an_empty_file_and_a_list_are_refused() {
    for text in ["", "[]", "- a", "3", "a: [", "\t"] {
        assert!(!problems(text).is_empty(), "{text:?}");
    }
}

pub(in super::super) const WIDE: &str = "\
story: every verb
notOn: {wire: it is only read}
labels: [short]
excuses: [noRefusal]
parameters:
  small: {labels: [short], values: {pods: 2, replicas: 4}}
  big: {labels: [long], values: {pods: 30, replicas: 8}}
nodes:
- {name: gpu-1, kubelet: fixed, gpus: {board: tesla-t4, count: 2, numa: [0, 1], driverVersion: 595.91.07, cudaVersion: '13.2'}}
configs: {default: 'replicas: ${replicas}'}
steps:
- apply: [{count: '${pods}', manifest: {apiVersion: v1, kind: Pod, metadata: {name: p, labels: {app: p}}, spec: {containers: [{name: main}]}}}]
- never: {until: done, pods: {p-*: {phase: Failed}}}
- sometimes: {nodes: {gpu-1: {gpus: {contains: {memory: {usedMiB: {atLeast: 1}}}}}}}
- workload: {pods: ['p-*'], memory: [[0s, 100], [2s, 400]], crash: {at: 3s}}
- workload: {selector: {app: p}, memory: {from: 10, to: 90, over: 4s}, exit: {at: 5s, exitCode: 3}}
- fault: {kind: gpuLost, node: gpu-1, gpu: 1, lasts: 2s, probability: 0.5}
- fault: {kind: apiServerDown, lasts: 1s}
- edit: {config: default, text: 'version: v1'}
- parallel:
  - fault: {kind: xid, node: 'gpu-*', gpu: 0, code: 79}
  - expect: {phases: {Running: 2}}
- repeat:
    times: 3
    steps:
    - scale: {pods: p, count: 3}
    - scale: {pods: p, count: 1}
- advance: 5h
- finish: {pods: [p-1], exitCode: 1}
- name: done
  delete: {selector: {app: p}}
";

#[test]
fn every_verb_is_read_and_repetitions_are_counted_out() {
    let scenario = read_text("s.yaml", WIDE).unwrap();
    assert_eq!(scenario.variant.as_deref(), Some("small"));
    assert_eq!(scenario.labels, ["short", "short"]);
    assert_eq!(scenario.configs["default"], "replicas: 4");
    assert_eq!(scenario.stages, [StageName::Model]);
    assert_eq!(scenario.steps.len(), 18);
    assert_eq!(scenario.steps[11].turn, Some((2, 3)));
    let Verb::Apply(all) = &scenario.steps[0].verb else { panic!("{:?}", scenario.steps[0]) };
    assert_eq!(all[0].names.len(), 2);
    let Verb::Workload(ramp) = &scenario.steps[4].verb else { panic!("{:?}", scenario.steps[4]) };
    assert_eq!(ramp.wanted_mib(Duration::from_secs(2)), 50);
    assert_eq!(ramp.ends, Some((Duration::from_secs(5), 3)));
}

#[test]
fn variants_are_chosen_by_name_glob_and_label() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.yaml");
    std::fs::write(&file, WIDE).unwrap();
    let chosen = |variant: Option<&str>, label: Option<&str>| {
        let choice = Choice { variant: variant.map(str::to_owned), label: label.map(str::to_owned) };
        let scenarios = read_chosen(&file, &choice).unwrap();
        scenarios.into_iter().filter_map(|scenario| scenario.variant).collect::<Vec<_>>()
    };
    assert_eq!(chosen(None, None), ["small"]);
    assert_eq!(chosen(Some("big"), None), ["big"]);
    assert_eq!(chosen(Some("*"), None), ["small", "big"]);
    assert_eq!(chosen(None, Some("long")), ["big"]);
    assert_eq!(chosen(None, Some("hardware")), [] as [&str; 0]);
}

#[test]
fn mistakes_in_the_wider_language_name_what_was_expected() {
    let table: &[(&str, &str, &str)] = &[
        ("[noRefusal]", "[noRefusals]", "did you mean `noRefusal`?"),
        ("notOn: {wire: it is only read}", "stages: [model]", "`stages` leaves `wire` out"),
        ("notOn: {wire", "notOn: {wier", "expected one of model, wire"),
        ("'${pods}'", "'${podz}'", "unknown parameter `podz`; expected one of pods, replicas"),
        ("values: {pods: 30, replicas: 8}", "values: {pods: 30}", "every variant gives the same parameters"),
        ("numa: [0, 1]", "numa: [0]", "expected one NUMA node for each of 2 GPUs, found 1"),
        ("'13.2'", "thirteen", "expected a CUDA version"),
        ("kubelet: fixed", "kubelet: '1.20'", "expected one of 1.36, 1.37, 1.25, fixed"),
        (
            "until: done",
            "until: don",
            "there is no later step `don` at this step (hint: did you mean `done`?)",
        ),
        ("usedMiB", "usedMB", "did you mean `usedMiB`?"),
        ("[2s, 400]", "[0s, 400]", "expected a later time"),
        ("crash: {at: 3s}", "crash: {at: 3s}, exit: {at: 3s}", "found both"),
        ("kind: gpuLost, node: gpu-1, gpu: 1", "kind: gpuLost, node: gpu-1", "`gpu` is missing"),
        (
            "kind: gpuLost, node: gpu-1, gpu: 1",
            "kind: gpuLost, node: gpu-1, gpu: 2",
            "node `gpu-1` has 2 GPUs",
        ),
        ("kind: gpuLost", "kind: gpuLots", "did you mean `gpuLost`?"),
        ("probability: 0.5", "probability: 1.5", "a number from 0 to 1"),
        (
            "{kind: apiServerDown",
            "{kind: apiServerDown, node: gpu-1",
            "`apiServerDown` has no use for `node`",
        ),
        ("times: 3", "times: 600", "expected at most 1000 steps (STEPS_MAX)"),
        ("times: 3", "times: 0", "a whole number from 1 to 1000"),
        (
            "- scale: {pods: p, count: 3}",
            "- repeat: {times: 2, steps: [{wait: 1s}]}",
            "`repeat` cannot stand within `repeat`",
        ),
        ("scale: {pods: p, count: 3}", "scale: {pods: q, count: 3}", "no group of pods `q`"),
        ("advance: 5h", "advance: 800h", "at most 2592000s"),
        ("finish: {pods: [p-1]", "finish: {pods: [x-1]", "there is no pod `x-1`"),
        ("delete: {selector: {app: p}}", "delete: {selector: {app: x}}", "the selector chooses no pod"),
        (
            "configs: {default: 'replicas: ${replicas}'}",
            "configs: {default: {file: ../x}}",
            "below the scenario's directory",
        ),
    ];
    for (from, to, expected) in table {
        let text = WIDE.replacen(from, to, 1);
        assert_ne!(text, WIDE, "{from}");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
    }
}

#[test]
fn a_configuration_may_lie_in_a_file_beside_the_scenario() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), "version: v1\n").unwrap();
    let text = GOOD.replacen("steps:", "configs: {default: {file: config.yaml}}\nsteps:", 1);
    let file = dir.path().join("s.yaml");
    let scenario = read_text(&file.display().to_string(), &text).unwrap();
    assert_eq!(scenario.configs["default"], "version: v1\n");
}

#[test]
fn a_step_names_a_plugin_of_its_node_and_an_expectation_its_fields() {
    let text = "story: s\nnodes:\n- name: n\n  otherPlugins: [{name: old, resource: example.com/a, devices: 2, start: later}]\n\
                - {name: m}\nsteps:\n- otherPlugin: {node: n, name: old, do: start}\n\
                - expect: {nodes: {n: {otherPlugins: {old: {running: true}}, kubelet: {died: []}}}}\n";
    assert_eq!(problems(text), Vec::<String>::new());
    for (from, to, expected) in [
        ("name: old, do", "name: new, do", "there is no other plugin `new` at this step"),
        ("{node: n, name", "{node: m, name", "there is no other plugin `old`"),
        ("do: start", "do: begin", "expected one of start, stop, kill, restart, hangUp, found `begin`"),
        ("devices: 2", "devices: 200000", "expected a whole number from 0 to 100000"),
        ("{running: true}", "{runs: true}", "unknown field `runs`"),
        ("{died: []}", "{deaths: []}", "unknown field `deaths`"),
    ] {
        assert!(text.contains(from), "{from}");
        let found = problems(&text.replacen(from, to, 1));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:?}");
    }
}
