//! What an operator gets wrong, or takes away, and what is left then: the plugin goes on with what it can, its log names what is
//! missing, and so does `doctor`.

use libtest_mimic::{Failed, Trial};

use super::{deployed, read, said, story_of};
use crate::is_green;

/// Before each row's own steps.
const BEGINNING: &str = r#"
story: Something is wrong; the plugin names it and goes on.
timers: {nodeStatusUpdate: 100ms, endpointGrace: 1s, termination: 100ms, configMapSync: 200ms}
plugin: {env: {RETIRE_AFTER: 500ms}}
nodes:
- {name: gpu-1, gpus: {board: tesla-t4, count: 2}, labels: {nvidia.com/gpu.present: "true"}}
configs: CONFIGS
steps:
"#;

/// The node serves its GPUs, and a pod runs on one.
const SERVES: &str = "
- expect: {within: 10s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 2}, plugin: {running: true, ready: true}}}}
- apply: [{file: examples/exclusive.yaml}]
- expect: {within: 10s, pods: {exclusive: {phase: Running}}}
";
/// The same, and nothing of it is on the Node.
const SERVES_SILENTLY: &str = "
- expect: {within: 10s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 2}, plugin: {running: true, ready: true}}}}
- apply: [{file: examples/exclusive.yaml}]
- expect:
    within: 10s
    pods: {exclusive: {phase: Running}}
    nodes:
      gpu-1:
        labels: {nvidia.com/gpu.count: {absent: true}}
        annotations: {tandem.dev/config.applied: {absent: true}}
        taints: []
        plugin: {starts: 1}
";
/// The plugin lives, and serves nothing.
const WAITS: &str = "
- expect:
    within: 10s
    nodes:
      gpu-1:
        allocatable: {nvidia.com/gpu: {absent: true}}
        plugin: {running: true, starts: 1, ready: false, warnings: {size: {atLeast: 1}}}
";
/// A label names a configuration that nobody wrote.
const UNKNOWN: &str = "
- expect: {within: 10s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 2}}}}
- label: {node: gpu-1, set: {nvidia.com/device-plugin.config: nosuch}}
- expect:
    within: 10s
    nodes:
      gpu-1:
        allocatable: {nvidia.com/gpu: 2}
        annotations: {tandem.dev/config.applied: default, tandem.dev/config.failed: nosuch}
        plugin: {running: true, ready: true}
";

/// A switch is not hindered; without the pods of the node it waits for 30 s.
const SWITCHES: &str = "
- expect: {within: 10s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 2}}}}
- label: {node: gpu-1, set: {nvidia.com/device-plugin.config: mps-config}}
- expect: {within: 60s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 0, nvidia.com/gpu.shared: 8}, taints: []}}}
";

/// What is wrong, file and text that are changed, the steps, a word of the log and one of `doctor`; an empty one is not
/// looked for.
struct Wrong {
    what: &'static str,
    changes: &'static [(&'static str, &'static str, &'static str)],
    steps: &'static str,
    log: &'static str,
    doctor: &'static str,
}

const fn wrong(
    what: &'static str,
    changes: &'static [(&'static str, &'static str, &'static str)],
    steps: &'static str,
    log: &'static str,
    doctor: &'static str,
) -> Wrong {
    Wrong { what, changes, steps, log, doctor }
}

const PLUGIN: &str = "50-plugin.yaml";
const ACCESS: &str = "20-access.yaml";
const CONFIGS: &str = "40-configs.yaml";
const POLICY: &str = "30-own-node.yaml";
const NODES: &str = "verbs: [get, list, watch, patch]";
const PODS: &str = "verbs: [list, watch]";

const ROWS: &[Wrong] = &[
    wrong(
        "the config map has no default",
        &[(CONFIGS, "  default: |-", "  defaults: |-")],
        WAITS,
        "there is no default config",
        "FAILED   plugin",
    ),
    wrong("the label names no configuration", &[], UNKNOWN, "`nosuch`", "configuration `nosuch` is refused"),
    wrong(
        "NODE_NAME is not set",
        &[(PLUGIN, "name: NODE_NAME", "name: NODENAME")],
        SERVES_SILENTLY,
        "set NODE_NAME",
        "WARNING  node name",
    ),
    wrong(
        "NODE_NAME is the pod's name",
        &[(PLUGIN, "fieldPath: spec.nodeName", "fieldPath: metadata.name")],
        WAITS,
        "does not exist",
        "FAILED   node name",
    ),
    wrong(
        "the kubelet's device-plugins directory is mounted elsewhere",
        &[(PLUGIN, "mountPath: /var/lib/kubelet/device-plugins}", "mountPath: /var/lib/kubelet/plugins}")],
        WAITS,
        "there is no kubelet at `/var/lib/kubelet/device-plugins/kubelet.sock`",
        "FAILED   kubelet sockets",
    ),
    wrong(
        "the kubelet's pod-resources directory is mounted elsewhere",
        &[(PLUGIN, "mountPath: /var/lib/kubelet/pod-resources,", "mountPath: /var/lib/kubelet/pr,")],
        "- expect: {within: 10s, nodes: {gpu-1: {plugin: {running: true, warnings: {size: {atLeast: 1}}}}}}\n",
        "who holds which GPU cannot be read",
        "does not accept: /var/lib/kubelet/pod-resources/kubelet.sock",
    ),
    wrong(
        "the state directory is mounted elsewhere",
        &[(PLUGIN, "name: state, mountPath: /var/lib/tandem", "name: state, mountPath: /var/tandem")],
        SERVES,
        "/var/lib/tandem",
        "WARNING  state directory",
    ),
    wrong(
        "no permission to patch the Node",
        &[(ACCESS, NODES, "verbs: [get, list, watch]")],
        SERVES_SILENTLY,
        "cannot patch resource",
        "`system:serviceaccount:tandem:tandem-device-plugin` may not patch nodes",
    ),
    wrong(
        "the admission policy lets another Node alone be written",
        &[(
            POLICY,
            "variables.ownNode != '' && object.metadata.name == variables.ownNode",
            "object.metadata.name == 'n9'",
        )],
        SERVES_SILENTLY,
        "the device plugin may change only the Node that it runs on",
        "WARNING  sharing labels",
    ),
    wrong(
        "the admission policy lacks one of the labels",
        &[(POLICY, "'nvidia.com/gpu.count', ", "")],
        SERVES,
        "the device plugin may write only its own labels",
        "WARNING  sharing labels",
    ),
    wrong(
        "no permission to get the Node",
        &[(ACCESS, NODES, "verbs: [list, watch, patch]")],
        SERVES,
        "",
        "may not get nodes",
    ),
    wrong(
        "no permission to list Nodes",
        &[(ACCESS, NODES, "verbs: [get, watch, patch]")],
        WAITS,
        "cannot list resource",
        "may not list nodes",
    ),
    wrong(
        "no permission to watch the Node",
        &[(ACCESS, NODES, "verbs: [get, list, patch]")],
        SERVES,
        "cannot watch resource",
        "may not watch nodes",
    ),
    wrong(
        "no permission to list pods",
        &[(ACCESS, PODS, "verbs: [watch]")],
        SWITCHES,
        "the pods of this node cannot be read",
        "may not list pods",
    ),
    wrong(
        "no permission to watch pods",
        &[(ACCESS, PODS, "verbs: [list]")],
        SERVES,
        "",
        "may not watch pods",
    ),
    wrong(
        "no permission to create Events",
        &[(ACCESS, "verbs: [create]", "verbs: [get]")],
        SERVES,
        "cannot create resource",
        "may not create events",
    ),
    wrong(
        "no permission to list runtime classes",
        &[(ACCESS, "resources: [runtimeclasses]", "resources: [leases]")],
        SERVES,
        "",
        "runtimeclasses.node.k8s.io is forbidden",
    ),
    wrong(
        "no permission to list DaemonSets",
        &[
            (ACCESS, "resources: [daemonsets]", "resources: [deployments]"),
            (CONFIGS, "      migStrategy: none", "      migStrategy: none\n    sharing:\n      taint: {}"),
        ],
        SERVES,
        "",
        "daemonsets.apps is forbidden",
    ),
    wrong(
        "the DaemonSet does not tolerate the taint of nodes that share",
        &[
            (PLUGIN, "      - {key: nvidia.com/gpu.shared, operator: Exists}\n", ""),
            (CONFIGS, "      migStrategy: none", "      migStrategy: none\n    sharing:\n      taint: {}"),
        ],
        SERVES,
        "",
        "would not run on a tainted node: tandem/tandem-device-plugin",
    ),
];

pub(super) fn trials() -> impl Iterator<Item = Trial> {
    ROWS.iter()
        .map(|row| Trial::test(format!("manifests: named, and the rest goes on: {}", row.what), || play(row)))
}

fn play(row: &Wrong) -> Result<(), Failed> {
    let objects = read(row.changes)?;
    let story = format!("{BEGINNING}{}", row.steps);
    let report = deployed(&story_of(&story, &objects)?, &objects)?;
    is_green(&report)?;
    for (log, word) in [("plugin", row.log), ("doctor", row.doctor)] {
        let said = said(&report, "gpu-1", log)?;
        if !said.contains(word) {
            return Err(format!("`{word}` is not in what {log} says:\n{said}").into());
        }
    }
    Ok(())
}
