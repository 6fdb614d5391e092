//! Brings the operator's manifests onto the cluster, with the few things that differ on kind, and takes logs and journals
//! from it when a story failed.

use anyhow::Result;

use super::files::Files;
use super::tools::Tools;
use super::{CLUSTER, text};

/// The namespace of the manifests.
const NAMESPACE: &str = "tandem";
/// DaemonSet → what differs on kind.
const PATCHES: &[(&str, &str)] =
    &[("daemonset/tandem-device-plugin", "plugin.yaml"), ("daemonset/tandem-mps", "mps.yaml")];
/// The cluster's nodes, as kind names them.
pub(super) const NODES: &[&str] = &["control-plane", "worker", "worker2"];
/// The plugin's own directory on a node: its journals, its last good configuration.
const STATE: &str = "/var/lib/tandem";

/// Applies the manifests and waits until the plugin runs on every node.
pub(super) fn deploy(tools: &Tools, here: &Files) -> Result<()> {
    let kubeconfig = text(&here.kubeconfig());
    let kubectl = |arguments: &[&str]| {
        tools.run("kubectl", [&["--kubeconfig", kubeconfig.as_str()], arguments].concat())
    };
    kubectl(&["apply", "--filename", &text(&here.manifests())])?;
    // its handler cannot be changed: it is deleted and made anew
    let class = text(&here.overlay("runtime-class.yaml"));
    kubectl(&["replace", "--force", "--filename", &class])?;
    for (daemon_set, patch) in PATCHES {
        let patch = text(&here.overlay(patch));
        kubectl(&["--namespace", NAMESPACE, "patch", daemon_set, "--patch-file", &patch])?;
    }
    // pods that were made before the patch would tell of another plugin
    let plugin = ["--namespace", NAMESPACE, "delete", "pods", "--all", "--wait=true", "--timeout=120s"];
    kubectl(&plugin)?;
    let scheduled = format!("--for=jsonpath={{.status.updatedNumberScheduled}}={}", NODES.len());
    kubectl(&[
        "--namespace",
        NAMESPACE,
        "wait",
        "daemonset/tandem-device-plugin",
        &scheduled,
        "--timeout=120s",
    ])?;
    kubectl(&[
        "--namespace",
        NAMESPACE,
        "wait",
        "pods",
        "--selector=app.kubernetes.io/name=tandem-device-plugin",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=180s",
    ])
}

/// Logs of the cluster, objects, and each node's journals.
pub(super) fn collect(tools: &Tools, here: &Files) -> Result<()> {
    let (kubeconfig, logs) = (text(&here.kubeconfig()), text(&here.logs()));
    let mut first = tools.run("kind", ["export", "logs", "--name", CLUSTER, &logs]);
    for node in NODES {
        let from = format!("{CLUSTER}-{node}:{STATE}");
        let to = text(&here.logs().join(format!("{node}-state")));
        first = first.and(tools.run("docker", ["cp", &from, &to]));
    }
    for kind in ["nodes", "pods", "daemonsets", "events"] {
        let objects = tools
            .said("kubectl", ["--kubeconfig", &kubeconfig, "get", kind, "--all-namespaces", "--output=yaml"]);
        let written =
            objects.and_then(|yaml| Ok(std::fs::write(here.logs().join(format!("{kind}.yaml")), yaml)?));
        first = first.and(written);
    }
    first
}
