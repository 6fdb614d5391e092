//! Judgements about the cluster: what the API server knows of the node, and what the plugin may do there.

use std::collections::BTreeMap;

use super::facts::{NodeFacts, Permissions};
use super::report::Finding;

const REPLICAS: &str = "nvidia.com/gpu.replicas";
const STRATEGY: &str = "nvidia.com/gpu.sharing-strategy";
const MPS_CAPABLE: &str = "nvidia.com/mps.capable";
const GPU: &str = "nvidia.com/gpu";
/// Labels by which autoscalers know a node with GPUs (GKE, EKS, AKS).
const AUTOSCALER_LABELS: [&str; 3] =
    ["cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator", "kubernetes.azure.com/accelerator"];

/// The plugin knows which Node is its own.
pub(super) fn node_name(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "node name";
    match (&facts.node_name, &facts.node) {
        (None, _) => Finding::warning(
            CHECK,
            "none is set: no label chooses a configuration, and nothing is written to the Node",
            "set NODE_NAME from the pod's field `spec.nodeName`, or --node-name; a plugin with --config-file alone needs none",
        ),
        (Some(name), Ok(_)) => Finding::ok(CHECK, format!("Node `{name}` is there")),
        (Some(name), Err(why)) => Finding::failed(
            CHECK,
            format!("Node `{name}` cannot be read: {why}"),
            "a Node that is not found: set NODE_NAME from the pod's field `spec.nodeName`; one that is forbidden: see permissions; \
             else see whether the API server can be reached from here",
        ),
    }
}

/// The runtime class that brings the driver into containers.
pub(super) fn runtime_class(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "runtime class";
    match &facts.runtime_classes {
        Err(why) => Finding::skipped(CHECK, why.clone()),
        Ok(names) if names.iter().any(|name| name == "nvidia") => Finding::ok(CHECK, "`nvidia` exists"),
        Ok(_) => Finding::warning(
            CHECK,
            "there is no runtime class `nvidia`",
            "create it, unless the NVIDIA runtime is the nodes' default or GPUs are passed on by CDI",
        ),
    }
}

/// What the plugin writes, it may write.
pub(super) fn permissions(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "permissions";
    match &facts.permissions {
        Err(why) => Finding::skipped(CHECK, why.clone()),
        Ok(Permissions { user, allowed }) => {
            let denied: Vec<&str> =
                allowed.iter().filter(|(_, yes)| !**yes).map(|(what, _)| what.as_str()).collect();
            if denied.is_empty() {
                return Finding::ok(CHECK, "labels, annotations and Events can be written");
            }
            let who = if user.is_empty() { "this account" } else { user };
            let fix = "give it a role with these verbs, as plugin/deploy/manifests/20-access.yaml does; GPUs are served without, \
                       labels, taints and Events need them";
            Finding::failed(CHECK, format!("`{who}` may not {}", denied.join(", ")), fix)
        }
    }
}

/// The three labels of sharing agree with each other and with the plugin.
pub(super) fn sharing_labels(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "sharing labels";
    let labels = match &facts.node {
        Ok(node) => &node.labels,
        Err(why) => return Finding::skipped(CHECK, why.clone()),
    };
    let get = |labels: &BTreeMap<String, String>, key: &str| {
        labels.get(key).cloned().unwrap_or_else(|| "-".to_owned())
    };
    let (replicas, strategy, capable) =
        (get(labels, REPLICAS), get(labels, STRATEGY), get(labels, MPS_CAPABLE));
    let shown = format!("replicas {replicas}, strategy {strategy}, mps.capable {capable}");
    if [&replicas, &strategy, &capable].into_iter().any(|value| value == "-") {
        let fix = "check the plugin's --node-name and its permission to patch nodes";
        return Finding::warning(CHECK, format!("not all are there: {shown}"), fix);
    }
    if let Ok(status) = &facts.plugin {
        let differs =
            |key: &&str| status.labels.get(*key).is_some_and(|wanted| labels.get(*key) != Some(wanted));
        if let Some(key) = [REPLICAS, STRATEGY, MPS_CAPABLE].into_iter().find(differs) {
            let wanted = get(&status.labels, key);
            return Finding::failed(
                CHECK,
                format!("`{key}` is `{}`, the plugin writes `{wanted}`", get(labels, key)),
                "stop the other writer: gpu-feature-discovery must not run beside this plugin",
            );
        }
    }
    let shared = replicas != "1";
    if strategy == "mps" && capable != "true" {
        let fix = "let nobody else write the label: without it no MPS supervisor is scheduled here";
        return Finding::failed(CHECK, shown, fix);
    }
    if shared == (strategy == "none") {
        let fix = "one of them was written by somebody else: see who with `kubectl get node -o yaml --show-managed-fields`";
        return Finding::failed(CHECK, format!("they contradict each other: {shown}"), fix);
    }
    Finding::ok(CHECK, shown)
}

/// Agents of the node survive its taint.
pub(super) fn shared_taint(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "shared taint";
    match &facts.daemon_sets {
        Err(why) => Finding::skipped(CHECK, why.clone()),
        Ok(sets) => {
            let without: Vec<&str> = sets.iter().filter(|s| !s.tolerates).map(|s| s.name.as_str()).collect();
            if without.is_empty() {
                return Finding::ok(CHECK, "every DaemonSet tolerates it");
            }
            let fix = "add a toleration of the taint to these DaemonSets";
            Finding::warning(CHECK, format!("would not run on a tainted node: {}", without.join(", ")), fix)
        }
    }
}

/// An autoscaler does not take the node for one whose GPUs never came up.
pub(super) fn autoscaler(facts: &NodeFacts) -> Finding {
    const CHECK: &str = "autoscaler";
    let node = match &facts.node {
        Ok(node) => node,
        Err(why) => return Finding::skipped(CHECK, why.clone()),
    };
    let Some(label) = AUTOSCALER_LABELS.iter().find(|label| node.labels.contains_key(**label)) else {
        return Finding::ok(CHECK, "the node has no label that makes an autoscaler wait for GPUs");
    };
    if node.allocatable.get(GPU).is_some_and(|amount| amount != "0") {
        return Finding::ok(CHECK, format!("`{GPU}` is allocatable"));
    }
    Finding::warning(
        CHECK,
        format!(
            "the node has the label `{label}` and no allocatable `{GPU}`: autoscalers take it for unready and may add more"
        ),
        "share under the name nvidia.com/gpu (renameByDefault: false), or keep one GPU of the node exclusive",
    )
}
