//! The manifests in `plugin/deploy/manifests` are played: a simulated cluster stores them, its nodes start what their
//! DaemonSets say, and a label makes a node share its GPUs. A manifest that is spoiled in one place must fail.

mod readme;
mod wrong;

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use simulator::manifests::{files, label_every_node, parse};
use simulator::on::wire::{Binaries, cannot_play};
use simulator::report::RunReport;
use simulator::run::{Leave, Place};
use simulator::scenario::{Choice, Scenario, read_chosen, read_text};

use super::{is_green, play_on, told};

/// From this crate.
const MANIFESTS: &str = "../plugin/deploy/manifests";

/// What an operator does after `kubectl apply`: label a node, start the example pods.
const STORY: &str = r#"
story: The manifests are applied; a label makes a node share its GPUs; the example pods run.
timers: {nodeStatusUpdate: 100ms, endpointGrace: 1s, termination: 100ms, configMapSync: 200ms}
plugin: {env: {RETIRE_AFTER: 500ms}}
nodes:
- {name: gpu-1, gpus: {board: tesla-t4, count: 2}, labels: {nvidia.com/gpu.present: "true"}}
- {name: gpu-2, gpus: {board: tesla-t4, count: 2}, labels: {nvidia.com/gpu.present: "true"}}
- {name: cpu-1}
configs: CONFIGS
steps:
- name: both GPU nodes serve whole GPUs
  expect:
    within: WITHIN
    nodes:
      gpu-*:
        allocatable: {nvidia.com/gpu: 2}
        annotations: {tandem.dev/config.applied: default}
        plugin: {running: true, ready: true, warnings: {size: 0}}
        mps: {running: false}
      cpu-1:
        allocatable: {nvidia.com/gpu: {absent: true}}
        plugin: {running: false}
- label: {node: gpu-2, set: {nvidia.com/device-plugin.config: mps-config}}
- name: gpu-2 shares
  expect:
    within: WITHIN
    nodes:
      gpu-1: {allocatable: {nvidia.com/gpu: 2}, mps: {running: false}}
      gpu-2:
        allocatable: {nvidia.com/gpu: 0, nvidia.com/gpu.shared: 8}
        labels: {nvidia.com/gpu.sharing-strategy: mps, nvidia.com/mps.capable: "true"}
        mps: {running: true}
        plugin: {warnings: {size: 0}}
"#;

/// The second half, with the example pods.
const PODS: &str = r#"
- apply: [{file: examples/exclusive.yaml}]
- apply: [{file: examples/shared.yaml}]
- apply: [{file: examples/inference.yaml}]
- name: the example pods run
  expect:
    within: WITHIN
    pods:
      exclusive: {phase: Running, node: gpu-1}
      shared:
        phase: Running
        node: gpu-2
        env: {CUDA_MPS_PIPE_DIRECTORY: {contains: nvidia.com/gpu.shared}}
      inference-*: {phase: Running, node: gpu-2}
"#;

/// Stories whose configurations are those of the manifests.
const STORIES: [&str; 2] = ["sharing/mixed-cluster.yaml", "memory/mps-limits-stop-only-the-offender.yaml"];

/// What stands in a file, what a slip makes of it, and a word of what is told then.
type Slip = (&'static str, &'static str, &'static str);

/// One slip each, by file; every one must be noticed.
const SLIPS: &[(&str, &[Slip])] = &[
    (
        "50-plugin.yaml",
        &[
            ("image: tandem/device-plugin:", "image: tandem/plugin:", "cannot be pulled"),
            ("command: [nvidia-device-plugin]", "command: [device-plugin]", "no executable file"),
            ("fieldPath: spec.nodeName", "fieldPath: spec.node", "no field `spec.node`"),
            ("fieldPath: spec.nodeName", "fieldPath: metadata.name", "does not exist"),
            ("value: /available-configs}", "value: /configs}", "/configs"),
            ("mountPath: /available-configs", "mountPath: /configs", "/available-configs"),
            ("configMap: {name: nvidia", "configMap: {name: amd", "not found"),
            (
                "{path: /var/lib/kubelet/device-plugins,",
                "{path: /var/lib/kubelet/plugins,",
                "not a directory",
            ),
            ("name: mps-root, mountPath: /run/nvidia/mps", "name: mps-root, mountPath: /mps", "mps"),
            ("hostPath: {path: /run/nvidia/mps,", "hostPath: {path: /run/mps,", "gpu-2"),
            ("runtimeClassName: nvidia", "hostNetwork: false", "libnvidia-ml.so.1"),
            ("value: \"compute,utility\"", "value: compute", "libnvidia-ml.so.1"),
            ("serviceAccountName: tandem-device-plugin", "serviceAccountName: tandem", "not found"),
            (
                "serviceAccountName: tandem-device-plugin",
                "serviceAccountName: tandem-mps",
                "cannot list resource",
            ),
            ("key: nvidia.com/gpu.present", "key: nvidia.com/gpus.present", "plugin.running"),
            ("0.0.0.0:9410", "127.0.0.1:9410", "cannot reach"),
            ("containerPort: 9410", "containerPort: 9401", "port 9401 is probed"),
        ],
    ),
    ("40-configs.yaml", &[("  mps-config: |-", "  mps: |-", "mps-config")]),
    ("10-runtime-class.yaml", &[("  name: nvidia", "  name: cuda", "RuntimeClass `nvidia` not found")]),
    (
        "60-mps.yaml",
        &[
            ("command: [tandem-device-plugin, mps]", "command: [tandem-device-plugin]", "gpu-2"),
            ("nvidia.com/mps.capable: \"true\"", "nvidia.com/mps.capable: \"yes\"", "mps.running"),
            ("value: /run/nvidia/mps}", "value: /run/mps}", "gpu-2"),
            ("mountPath: /run/nvidia/mps}", "mountPath: /mps}", "gpu-2"),
            ("hostPath: {path: /run/nvidia/mps,", "hostPath: {path: /run/mps,", "gpu-2"),
            ("value: \"compute,utility\"", "value: utility", "nvidia-cuda-mps-control"),
            ("mountPath: /dev/shm", "mountPath: /dev/shm2", "/dev/shm"),
            ("[tandem-device-plugin, mps, --ready]", "[tandem-mps, --ready]", "no executable file"),
        ],
    ),
];

/// The trials; without mount namespaces they are ignored, and that is said.
pub(crate) fn trials() -> Result<Vec<Trial>, Box<dyn std::error::Error>> {
    let why = cannot_play();
    if let Some(why) = &why {
        eprintln!("SKIPPED: manifests are not played: {why}");
    }
    let mut trials = vec![Trial::test("manifests: they serve shared GPUs after one label", good)];
    for file in STORIES {
        let title = format!("manifests: {file} plays with what they allow");
        trials.push(Trial::test(title, move || word_for_word(file)));
    }
    for (file, slips) in SLIPS {
        for slip in *slips {
            let (from, to, _) = slip;
            let title = format!("manifests: a slip in {file} is noticed: {from} -> {to}");
            trials.push(Trial::test(title, move || spoiled(file, slip)));
        }
    }
    trials.extend(wrong::trials());
    let mut trials: Vec<Trial> =
        trials.into_iter().map(|trial| trial.with_ignored_flag(why.is_some())).collect();
    trials.push(readme::trial(why.is_some()));
    Ok(trials)
}

fn good() -> Result<(), Failed> {
    let objects = read(&[])?;
    let story = format!("{STORY}{PODS}").replace("WITHIN", "20s");
    let report = deployed(&story_of(&story, &objects)?, &objects)?;
    is_green(&report)?;
    let said = said(&report, "gpu-2", "doctor")?;
    if said.contains("FAILED") || said.contains("WARNING") {
        return Err(format!("doctor finds something on a good node:\n{said}").into());
    }
    let said = self::said(&report, "gpu-2", "mps-probe")?;
    match said.contains("exit status: 0") {
        true => Ok(()),
        false => Err(format!("the MPS supervisor is not ready:\n{said}").into()),
    }
}

/// Word for word, on nodes that are all chosen for the plugin: its roles suffice for all that it does there.
fn word_for_word(file: &str) -> Result<(), Failed> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut scenario = read_chosen(&file, &Choice::default())?.into_iter().next().ok_or("no story")?;
    label_every_node(&mut scenario);
    let report = deployed(&scenario, &read(&[])?)?;
    is_green(&report)?;
    for node in report.world.nodes.keys() {
        let log = said(&report, node, "plugin")?;
        if let Some(refused) = log.lines().find(|line| line.contains("forbidden")) {
            return Err(format!("node {node}: {refused}").into());
        }
    }
    Ok(())
}

fn spoiled(file: &str, slip: &Slip) -> Result<(), Failed> {
    let (from, to, word) = slip;
    let objects = read(&[(file, from, to)])?;
    let scenario = story_of(&STORY.replace("WITHIN", "4s"), &read(&[])?)?;
    let report = deployed(&scenario, &objects)?;
    let told = told(&report);
    if report.passed() {
        return Err("the story passed".into());
    }
    if told.contains(word) { Ok(()) } else { Err(format!("`{word}` is not told:\n{told}").into()) }
}

fn deployed(scenario: &Scenario, objects: &[Value]) -> Result<RunReport, Failed> {
    let binaries = Binaries::find_or_build()?;
    play_on(scenario, Place::Deployed(&binaries, objects), 1, Leave::WhenFailed)
}

/// What stands in a log of a node.
fn said(report: &RunReport, node: &str, log: &str) -> Result<String, Failed> {
    let path = report.run_dir.join(node).join(format!("{log}.log"));
    std::fs::read_to_string(&path).map_err(|error| format!("`{}`: {error}", path.display()).into())
}

/// The story's configurations are those of the manifests: its invariants follow from them.
fn story_of(text: &str, objects: &[Value]) -> Result<Scenario, Failed> {
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap");
    let text = text.replace("CONFIGS", &map.ok_or("no ConfigMap")?["data"].to_string());
    // the story stands beside the manifests, so that it can name the examples
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFESTS).join("story.yaml");
    Ok(read_text(&file.display().to_string(), &text)?)
}

/// The objects, in the order in which kubectl applies them, with these changes: file, what stands there, what then does.
fn read(changes: &[(&str, &str, &str)]) -> Result<Vec<Value>, Failed> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFESTS);
    let mut objects = Vec::new();
    for (path, mut text) in files(&directory)? {
        for (file, from, to) in changes.iter().filter(|(file, ..)| path.ends_with(file)) {
            if !text.contains(from) {
                return Err(format!("`{file}` no longer says `{from}`").into());
            }
            text = text.replacen(from, to, 1);
        }
        objects.extend(parse(&path.display().to_string(), &text)?);
    }
    Ok(objects)
}
