//! The manifests in `plugin/deploy/manifests` are played: a simulated cluster stores them, its nodes start what their
//! DaemonSets say, and a label makes a node share its GPUs. A manifest that is spoiled in one place must fail.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use simulator::manifests::{files, parse};
use simulator::on::wire::{Binaries, cannot_play};
use simulator::run::{Leave, Place};
use simulator::scenario::{Scenario, read_text};

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

/// File, what stands there, what a slip makes of it, and a word of what is told then.
type Slip = (&'static str, &'static str, &'static str, &'static str);

/// One slip each; every one must be noticed.
const SLIPS: &[Slip] = &[
    ("50-plugin.yaml", "image: tandem/device-plugin:", "image: tandem/plugin:", "cannot be pulled"),
    ("50-plugin.yaml", "command: [nvidia-device-plugin]", "command: [device-plugin]", "no executable file"),
    ("50-plugin.yaml", "fieldPath: spec.nodeName", "fieldPath: spec.node", "no field `spec.node`"),
    ("50-plugin.yaml", "fieldPath: spec.nodeName", "fieldPath: metadata.name", "does not exist"),
    ("50-plugin.yaml", "name: NODE_NAME", "name: NODENAME", "set NODE_NAME"),
    ("50-plugin.yaml", "value: /available-configs}", "value: /configs}", "/configs"),
    ("50-plugin.yaml", "mountPath: /available-configs", "mountPath: /configs", "/available-configs"),
    ("50-plugin.yaml", "configMap: {name: nvidia", "configMap: {name: amd", "not found"),
    ("40-configs.yaml", "  default: |-", "  defaults: |-", "tandem.dev/config.applied"),
    ("40-configs.yaml", "  mps-config: |-", "  mps: |-", "mps-config"),
    (
        "50-plugin.yaml",
        "path: /var/lib/kubelet/device-plugins,",
        "path: /var/lib/kubelet/plugins,",
        "not a directory",
    ),
    (
        "50-plugin.yaml",
        "mountPath: /var/lib/kubelet/device-plugins}",
        "mountPath: /var/lib/kubelet/plugins}",
        "there is no kubelet at `/var/lib/kubelet/device-plugins/kubelet.sock`",
    ),
    (
        "50-plugin.yaml",
        "mountPath: /var/lib/kubelet/pod-resources,",
        "mountPath: /var/lib/kubelet/podresources,",
        "who holds which GPU cannot be read",
    ),
    (
        "50-plugin.yaml",
        "name: state, mountPath: /var/lib/tandem",
        "name: state, mountPath: /var/tandem",
        "/var/lib/tandem",
    ),
    (
        "50-plugin.yaml",
        "name: mps-root, mountPath: /run/nvidia/mps",
        "name: mps-root, mountPath: /mps",
        "mps",
    ),
    ("50-plugin.yaml", "hostPath: {path: /run/nvidia/mps,", "hostPath: {path: /run/mps,", "gpu-2"),
    ("50-plugin.yaml", "runtimeClassName: nvidia", "hostNetwork: false", "libnvidia-ml.so.1"),
    ("50-plugin.yaml", "value: \"compute,utility\"", "value: compute", "libnvidia-ml.so.1"),
    ("50-plugin.yaml", "serviceAccountName: tandem-device-plugin", "serviceAccountName: tandem", "not found"),
    (
        "50-plugin.yaml",
        "serviceAccountName: tandem-device-plugin",
        "serviceAccountName: tandem-mps",
        "may not get nodes",
    ),
    ("50-plugin.yaml", "key: nvidia.com/gpu.present", "key: nvidia.com/gpus.present", "plugin.running"),
    ("50-plugin.yaml", "0.0.0.0:9410", "127.0.0.1:9410", "cannot reach"),
    ("50-plugin.yaml", "containerPort: 9410", "containerPort: 9401", "port 9401 is probed"),
    (
        "20-access.yaml",
        "verbs: [get, list, watch, patch]",
        "verbs: [get, list, watch]",
        "may not patch nodes",
    ),
    ("20-access.yaml", "verbs: [create, patch]", "verbs: [patch]", "may not create events"),
    ("10-runtime-class.yaml", "  name: nvidia", "  name: cuda", "RuntimeClass `nvidia` not found"),
    ("60-mps.yaml", "command: [mps-control-daemon]", "command: [nvidia-device-plugin]", "gpu-2"),
    ("60-mps.yaml", "nvidia.com/mps.capable: \"true\"", "nvidia.com/mps.capable: \"yes\"", "mps.running"),
    ("60-mps.yaml", "value: /run/nvidia/mps}", "value: /run/mps}", "gpu-2"),
    ("60-mps.yaml", "mountPath: /run/nvidia/mps}", "mountPath: /mps}", "gpu-2"),
    ("60-mps.yaml", "hostPath: {path: /run/nvidia/mps,", "hostPath: {path: /run/mps,", "gpu-2"),
    ("60-mps.yaml", "value: \"compute,utility\"", "value: utility", "nvidia-cuda-mps-control"),
    ("60-mps.yaml", "mountPath: /dev/shm", "mountPath: /dev/shm2", "/dev/shm"),
];

/// The trials; without mount namespaces they are ignored, and that is said.
pub(crate) fn trials() -> Result<Vec<Trial>, Box<dyn std::error::Error>> {
    let why = cannot_play();
    if let Some(why) = &why {
        eprintln!("SKIPPED: manifests are not played: {why}");
    }
    let ignored = why.is_some();
    let title = "manifests: they serve shared GPUs after one label";
    let mut trials = vec![Trial::test(title, good).with_ignored_flag(ignored)];
    for slip in SLIPS {
        let (file, from, to, _) = slip;
        let title = format!("manifests: a slip in {file} is noticed: {from} -> {to}");
        trials.push(Trial::test(title, move || spoiled(slip)).with_ignored_flag(ignored));
    }
    Ok(trials)
}

fn good() -> Result<(), Failed> {
    let objects = read(None)?;
    let story = format!("{STORY}{PODS}").replace("WITHIN", "20s");
    let binaries = Binaries::find_or_build()?;
    let scenario = story_of(&story, &objects)?;
    is_green(&play_on(&scenario, Place::Deployed(&binaries, &objects), 1, Leave::WhenFailed)?)
}

fn spoiled(slip: &Slip) -> Result<(), Failed> {
    let objects = read(Some(slip))?;
    let scenario = story_of(&STORY.replace("WITHIN", "4s"), &read(None)?)?;
    let binaries = Binaries::find_or_build()?;
    let report = play_on(&scenario, Place::Deployed(&binaries, &objects), 1, Leave::WhenFailed)?;
    let told = told(&report);
    if report.passed() {
        return Err("the story passed".into());
    }
    if told.contains(slip.3) { Ok(()) } else { Err(format!("`{}` is not told:\n{told}", slip.3).into()) }
}

/// The story's configurations are those of the manifests: its invariants follow from them.
fn story_of(text: &str, objects: &[Value]) -> Result<Scenario, Failed> {
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap");
    let text = text.replace("CONFIGS", &map.ok_or("no ConfigMap")?["data"].to_string());
    // the story stands beside the manifests, so that it can name the examples
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFESTS).join("story.yaml");
    Ok(read_text(&file.display().to_string(), &text)?)
}

/// The objects, in the order in which kubectl applies them, one slip made.
fn read(slip: Option<&Slip>) -> Result<Vec<Value>, Failed> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFESTS);
    let mut objects = Vec::new();
    for (path, text) in files(&directory)? {
        let text = match slip.filter(|slip| path.ends_with(slip.0)) {
            Some((_, from, to, _)) if text.contains(from) => text.replacen(from, to, 1),
            Some((file, from, ..)) => return Err(format!("`{file}` no longer says `{from}`").into()),
            None => text,
        };
        objects.extend(parse(&path.display().to_string(), &text)?);
    }
    Ok(objects)
}
