//! The keys of steps, verb by verb.

use super::super::limits::{GPUS_MAX, MEMORY_MIB_MAX, PODS_PER_STEP_MAX, TIMES_MAX};
use super::super::other_plugin::OtherAct;
use super::super::verb::Process;
use super::{GPUS, Key, Sort, key, need};

/// The keys of a step: a name and the verbs.
pub const STEP: &[Key] = &[
    key("name", Sort::Text, "what other steps call it"),
    key("label", Sort::Map(LABEL), "what `kubectl label` does"),
    key("unlabel", Sort::Map(UNLABEL), "removes labels of a node"),
    key(
        "apply",
        Sort::Maps(APPLY),
        "creates pods and Deployments and replaces the config map, from Kubernetes manifests",
    ),
    key("delete", Sort::Map(DELETE), "deletes pods or Deployments"),
    key("finish", Sort::Map(FINISH), "the containers of running pods end by themselves"),
    key("scale", Sort::Map(SCALE), "brings a group of pods to another size"),
    key("edit", Sort::Map(EDIT), "changes the plugin's config map"),
    key("workload", Sort::Map(WORKLOAD), "what pods do on their GPUs"),
    key("fault", Sort::Map(FAULT), "something goes wrong"),
    key("restart", Sort::Map(PROCESS), "stops a process in order and starts it again"),
    key("kill", Sort::Map(PROCESS), "kills a process; it is started again"),
    key("otherPlugin", Sort::Map(OTHER_PLUGIN), "starts, stops or signals a device plugin that is not ours"),
    key("installDriver", Sort::Map(INSTALL_DRIVER), "gives a node a driver library and GPUs"),
    key("mig", Sort::Map(MIG), "cuts a GPU into MIG devices"),
    key("wait", Sort::Duration, "lets time pass"),
    key("advance", Sort::Duration, "lets much time pass where time is virtual"),
    key("expect", Sort::Map(EXPECT), "waits until true, then demands that it stays so"),
    key("never", Sort::Map(WATCH), "from here on this must not become true"),
    key("sometimes", Sort::Map(WATCH), "from here on this must become true once at least"),
    key("parallel", Sort::Steps, "steps without a look between them, then their expectations side by side"),
    key("repeat", Sort::Map(REPEAT), "steps several times"),
];

/// The keys of `label`.
pub const LABEL: &[Key] = &[need("node", Sort::Text, "the node"), need("set", Sort::TextMap, "the labels")];

/// The keys of `unlabel`.
pub const UNLABEL: &[Key] =
    &[need("node", Sort::Text, "the node"), need("keys", Sort::Texts, "the labels' keys")];

/// The keys of an item of `apply`.
pub const APPLY: &[Key] = &[
    key("count", Sort::Number(1, PODS_PER_STEP_MAX as i64), "that many pods: name-1, name-2, …"),
    key(
        "manifest",
        Sort::Manifest,
        "a pod, a Deployment or the plugin's config map; as a text: several documents",
    ),
    key("file", Sort::Text, "a file beside the scenario with manifests"),
];

/// The keys of `delete`.
pub const DELETE: &[Key] = &[PODS, SELECTOR, key("deployments", Sort::Texts, "names of Deployments")];
const PODS: Key = key("pods", Sort::Texts, "names or globs");
const SELECTOR: Key = key("selector", Sort::TextMap, "labels");

/// The keys of `finish`.
pub const FINISH: &[Key] = &[PODS, SELECTOR, key("exitCode", Sort::Number(0, 255), "0 when absent")];

/// The keys of `scale`.
pub const SCALE: &[Key] = &[
    key("pods", Sort::Text, "the name in the manifest of an `apply` with `count`"),
    key("deployment", Sort::Text, "the name of a Deployment"),
    need("count", Sort::Number(0, PODS_PER_STEP_MAX as i64), "the new size"),
];

/// The keys of `edit`.
pub const EDIT: &[Key] = &[
    need("config", Sort::Text, "the configuration's name"),
    key("text", Sort::Text, "its new text; absent: it is removed"),
];

/// The keys of `workload`.
pub const WORKLOAD: &[Key] = &[
    PODS,
    SELECTOR,
    key("memory", Sort::Curve, "device memory in MiB over time, on each GPU of a pod"),
    key("compute", Sort::Curve, "how busy it keeps each GPU of a pod, in percent, over time"),
    key("crash", Sort::Map(ENDS), "the process dies"),
    key("exit", Sort::Map(ENDS), "the process ends"),
];

/// The keys of `crash` and `exit`.
pub const ENDS: &[Key] = &[
    need("at", Sort::Duration, "its age then"),
    key("exitCode", Sort::Number(0, 255), "139 for a crash and 0 for an exit when absent"),
];

/// The keys of a linear ramp.
pub const RAMP: &[Key] = &[
    key("from", Sort::Number(0, MEMORY_MIB_MAX as i64), "MiB or percent at the start, 0 when absent"),
    need("to", Sort::Number(0, MEMORY_MIB_MAX as i64), "MiB or percent at the end"),
    need("over", Sort::Duration, "how long it takes"),
];

/// The keys of a curve that lies in a file.
pub const CURVE_FILE: &[Key] = &[need("file", Sort::Text, "a CSV file beside the scenario: time,value")];

/// The keys of `fault`.
pub const FAULT: &[Key] = &[
    need("kind", Sort::Fault, "what goes wrong"),
    key("node", Sort::Text, "on which nodes: a name or a glob"),
    key("gpu", Sort::Number(0, GPUS_MAX as i64 - 1), "the GPU's index"),
    key("code", Sort::Number(1, 999), "the Xid, NVML's error or the HTTP status"),
    key("delay", Sort::Duration, "how long each call takes"),
    key("lasts", Sort::Duration, "how long, for one that ends by itself"),
    key("probability", Sort::Share, "how likely it is; the seed decides"),
];

/// The keys of `restart` and `kill`.
pub const PROCESS: &[Key] = &[
    key(Process::NAMES[0], Sort::Text, "the node whose kubelet"),
    key(Process::NAMES[1], Sort::Text, "the node whose plugin"),
    key(Process::NAMES[2], Sort::Text, "the node whose MPS supervisor"),
];

/// The keys of `otherPlugin`.
pub const OTHER_PLUGIN: &[Key] = &[
    need("node", Sort::Text, "the node"),
    need("name", Sort::Text, "the plugin's name on it"),
    need("do", Sort::Word(OtherAct::NAMES), "what is done to it; hangUp is SIGHUP"),
];

/// The keys of `installDriver`.
pub const INSTALL_DRIVER: &[Key] =
    &[need("node", Sort::Text, "the node"), need("gpus", Sort::Map(GPUS), "what it gets")];

/// The keys of `mig`.
pub const MIG: &[Key] = &[
    need("node", Sort::Text, "the node"),
    need("gpu", Sort::Number(0, GPUS_MAX as i64 - 1), "the GPU's index"),
    key("layout", Sort::Texts, "its MIG devices, such as 1g.5gb; absent: MIG mode off"),
];

/// The keys of `expect`.
pub const EXPECT: &[Key] = &[
    key("within", Sort::Duration, "how long it may take to become true, 5s when absent"),
    key("holds", Sort::Duration, "how long it must then stay true"),
    NODES_PART,
    PODS_PART,
    PHASES_PART,
];
const NODES_PART: Key = key("nodes", Sort::Pattern, "by name or glob");
const PODS_PART: Key = key("pods", Sort::Pattern, "by name or glob");
const PHASES_PART: Key = key("phases", Sort::Pattern, "how many pods are in each phase");

/// The keys of `never` and `sometimes`.
pub const WATCH: &[Key] = &[
    key("until", Sort::Text, "the name of a later step; the end of the run when absent"),
    NODES_PART,
    PODS_PART,
    PHASES_PART,
];

/// The keys of `repeat`.
pub const REPEAT: &[Key] =
    &[need("times", Sort::Number(1, TIMES_MAX as i64), "how often"), need("steps", Sort::Steps, "what")];
