//! Whether one pod fits on one node, and every reason why not, as the filters of the real scheduler say it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Quantity;

/// Pods a node takes when its Node object does not say (Kubernetes 1.36's default).
const PODS_DEFAULT: u64 = 110;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// One node as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// The Node object.
    pub node: &'a Value,
    /// What the pods on it request together. Terminating pods count, ended ones do not.
    pub requested: Amounts,
    /// How many pods are on it, not counting ended ones.
    pub pods: u64,
}

/// Why a pod does not fit on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The real scheduler's text, such as `Insufficient nvidia.com/gpu`.
    pub text: String,
    /// True when removing pods from the node could help.
    pub resolvable: bool,
}

impl Reason {
    fn fixed(text: impl Into<String>) -> Reason {
        Reason { text: text.into(), resolvable: false }
    }
}

impl<'a> NodeView<'a> {
    /// The view of a node with the pods that are bound to it.
    pub fn new<'p>(node: &'a Value, pods: impl IntoIterator<Item = &'p Value>) -> NodeView<'a> {
        let mut view = NodeView { node, requested: Amounts::new(), pods: 0 };
        for pod in pods {
            view.take(pod);
        }
        view
    }

    /// Counts one more pod on the node, unless it has ended.
    pub fn take(&mut self, pod: &Value) {
        if has_ended(pod) {
            return;
        }
        self.pods += 1;
        for (name, amount) in requests(pod) {
            let sum = self.requested.entry(name).or_default();
            *sum = sum.plus(amount);
        }
    }

    /// The node's name.
    pub fn name(&self) -> &'a str {
        self.node["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// True for a pod in phase Succeeded or Failed.
pub fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// What a pod requests: the larger of its app containers' sum and its largest init step, where sidecars keep theirs.
pub fn requests(pod: &Value) -> Amounts {
    let mut running = Amounts::new();
    let mut peak = Amounts::new();
    for container in pod["spec"]["initContainers"].as_array().into_iter().flatten() {
        let own = of_container(container);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
            raise(&mut peak, &running);
        } else {
            let mut step = running.clone();
            add(&mut step, &own);
            raise(&mut peak, &step);
        }
    }
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        add(&mut running, &of_container(container));
    }
    raise(&mut peak, &running);
    let overhead = amounts(&pod["spec"]["overhead"]);
    add(&mut peak, &overhead);
    peak
}

fn of_container(container: &Value) -> Amounts {
    amounts(&container["resources"]["requests"])
}

fn amounts(map: &Value) -> Amounts {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.clone(), Quantity::read(amount)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.plus(*amount);
    }
}

fn raise(peak: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = peak.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

/// Why the pod cannot run on the node; empty when it can. As in the real scheduler the first filter that fails ends the
/// search, and only the resource filter gives several reasons.
pub fn obstacles(pod: &Value, view: &NodeView<'_>) -> Vec<Reason> {
    if let Some(reason) = unschedulable(pod, view.node) {
        return vec![reason];
    }
    if let Some(taint) = untolerated_taint(pod, view.node, &["NoSchedule", "NoExecute"]) {
        let part = |field: &str| taint[field].as_str().unwrap_or_default();
        let text = format!("node(s) had untolerated taint {{{}: {}}}", part("key"), part("value"));
        return vec![Reason::fixed(text)];
    }
    if !matches_affinity(pod, view.node) {
        return vec![Reason::fixed("node(s) didn't match Pod's node affinity/selector")];
    }
    insufficient(pod, view)
}

/// Whether a DaemonSet's pod, given as the set's template, belongs on a node: resources do not count, and neither does a
/// cordon. One that `runs` there already stays until a label or a taint with the effect NoExecute drives it away.
pub fn belongs(template: &Value, node: &Value, runs: bool) -> bool {
    let effects: &[&str] = if runs { &["NoExecute"] } else { &["NoSchedule", "NoExecute"] };
    matches_affinity(template, node) && untolerated_taint(template, node, effects).is_none()
}

fn unschedulable(pod: &Value, node: &Value) -> Option<Reason> {
    let taint = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    let cordoned = node["spec"]["unschedulable"] == true && !tolerates(pod, &taint);
    cordoned.then(|| Reason::fixed("node(s) were unschedulable"))
}

fn untolerated_taint<'a>(pod: &Value, node: &'a Value, effects: &[&str]) -> Option<&'a Value> {
    node["spec"]["taints"].as_array().into_iter().flatten().find(|taint| {
        effects.contains(&taint["effect"].as_str().unwrap_or_default()) && !tolerates(pod, taint)
    })
}

/// True when one of the pod's tolerations covers the taint.
pub fn tolerates(pod: &Value, taint: &Value) -> bool {
    pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|toleration| {
        let part = |from: &Value, field: &str| from[field].as_str().unwrap_or_default().to_string();
        let (effect, key) = (part(toleration, "effect"), part(toleration, "key"));
        let exists = toleration["operator"] == "Exists";
        (effect.is_empty() || taint["effect"] == effect.as_str())
            && (key == part(taint, "key") || key.is_empty() && exists)
            && (exists || part(toleration, "value") == part(taint, "value"))
    })
}

/// `nodeSelector` and the required terms of node affinity: any term, and in it every expression.
fn matches_affinity(pod: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let selected = pod["spec"]["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| &labels[key.as_str()] == value);
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let affine = match required["nodeSelectorTerms"].as_array() {
        None => true,
        Some(terms) => terms.iter().any(|term| matches_term(term, node)),
    };
    selected && affine
}

fn matches_term(term: &Value, node: &Value) -> bool {
    let list = |field: &str| term[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let (by_label, by_field) = (list("matchExpressions"), list("matchFields"));
    if by_label.is_empty() && by_field.is_empty() {
        return false;
    }
    let label = |key: &str| node["metadata"]["labels"][key].as_str();
    let field = |key: &str| {
        if key == "metadata.name" { node["metadata"]["name"].as_str() } else { None }
    };
    by_label.iter().all(|e| matches_expression(e, label))
        && by_field.iter().all(|e| matches_expression(e, field))
}

fn matches_expression<'a>(expression: &Value, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
    let value = value_of(expression["key"].as_str().unwrap_or_default());
    let listed = value.is_some_and(|value| {
        expression["values"].as_array().into_iter().flatten().any(|v| v.as_str() == Some(value))
    });
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let bound = number(expression["values"][0].as_str());
    match expression["operator"].as_str() {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        Some("Lt") => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn insufficient(pod: &Value, view: &NodeView<'_>) -> Vec<Reason> {
    let allocatable = amounts(&view.node["status"]["allocatable"]);
    let mut reasons = Vec::new();
    let pods_max = allocatable.get("pods").map_or(PODS_DEFAULT, |amount| amount.count());
    if view.pods >= pods_max {
        reasons.push(Reason { text: "Too many pods".to_string(), resolvable: pods_max > 0 });
    }
    for (name, asked) in requests(pod) {
        let offered = allocatable.get(&name).copied().unwrap_or_default();
        let taken = view.requested.get(&name).copied().unwrap_or_default();
        if asked.milli > 0 && asked > offered.minus(taken) {
            reasons.push(Reason { text: format!("Insufficient {name}"), resolvable: asked <= offered });
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(status: Value, spec: Value) -> Value {
        json!({"metadata": {"name": "n", "labels": {"gpu": "t4", "slots": "4"}}, "spec": spec,
            "status": {"allocatable": status}})
    }

    fn pod(gpus: u64) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": gpus.to_string()}}}]}})
    }

    fn why(pod: &Value, node: &Value, held: &[Value]) -> Vec<(String, bool)> {
        let view = NodeView::new(node, held);
        obstacles(pod, &view).into_iter().map(|r| (r.text, r.resolvable)).collect()
    }

    #[test]
    fn free_devices_are_allocatable_minus_the_requests_of_pods_that_have_not_ended() {
        let node = node(json!({"nvidia.com/gpu": "4"}), json!({}));
        let mut ended = pod(4);
        ended["status"] = json!({"phase": "Failed"});
        let mut terminating = pod(1);
        terminating["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(why(&pod(4), &node, &[ended]).is_empty());
        let lacking = "Insufficient nvidia.com/gpu".to_string();
        assert_eq!(why(&pod(4), &node, &[terminating]), [(lacking.clone(), true)]);
        assert_eq!(why(&pod(5), &node, &[]), [(lacking, false)]);
    }

    #[test]
    fn an_unknown_resource_counts_as_none_and_a_request_of_zero_is_skipped() {
        let node = node(json!({"cpu": "1"}), json!({}));
        assert_eq!(why(&pod(1), &node, &[]).len(), 1);
        assert!(why(&pod(0), &node, &[]).is_empty());
    }

    #[test]
    fn init_containers_count_with_their_maximum_and_sidecars_with_the_sum() {
        let c = |n: u64| json!({"resources": {"requests": {"nvidia.com/gpu": n.to_string()}}});
        let mut sidecar = c(1);
        sidecar["restartPolicy"] = json!("Always");
        let count = |init: Value, app: Value| {
            requests(&json!({"spec": {"initContainers": init, "containers": app}}))["nvidia.com/gpu"].count()
        };
        assert_eq!(count(json!([c(2), c(3)]), json!([c(1), c(1)])), 3);
        assert_eq!(count(json!([c(1)]), json!([c(2), c(2)])), 4);
        assert_eq!(count(json!([sidecar.clone(), c(3)]), json!([c(1)])), 4);
        assert_eq!(count(json!([c(3), sidecar]), json!([c(1)])), 3);
    }

    #[test]
    fn a_taint_keeps_out_who_does_not_tolerate_it() {
        let taint = json!([{"key": "shared", "value": "true", "effect": "NoSchedule"},
            {"key": "soft", "effect": "PreferNoSchedule"}]);
        let node = node(json!({"nvidia.com/gpu": "4"}), json!({"taints": taint}));
        assert_eq!(why(&pod(1), &node, &[])[0].0, "node(s) had untolerated taint {shared: true}");
        for (toleration, lets_in) in [
            (json!({"key": "shared", "value": "true"}), true),
            (json!({"key": "shared", "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "shared", "value": "false"}), false),
            (json!({"key": "shared", "operator": "Exists", "effect": "NoExecute"}), false),
        ] {
            let mut pod = pod(1);
            pod["spec"]["tolerations"] = json!([toleration]);
            assert_eq!(why(&pod, &node, &[]).is_empty(), lets_in, "{toleration}");
        }
    }

    #[test]
    fn selectors_and_required_affinity_read_the_labels_of_the_node() {
        let node = node(json!({"nvidia.com/gpu": "4"}), json!({}));
        let fits = |operator: &str, key: &str, values: Value| {
            let mut pod = pod(1);
            pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]});
            why(&pod, &node, &[]).is_empty()
        };
        assert!(fits("In", "gpu", json!(["t4"])) && !fits("In", "gpu", json!(["a100"])));
        assert!(fits("NotIn", "gpu", json!(["a100"])) && !fits("NotIn", "gpu", json!(["t4"])));
        assert!(fits("Exists", "gpu", Value::Null) && !fits("Exists", "none", Value::Null));
        assert!(fits("DoesNotExist", "none", Value::Null) && !fits("DoesNotExist", "gpu", Value::Null));
        assert!(fits("Gt", "slots", json!(["3"])) && !fits("Lt", "slots", json!(["3"])));
        let mut pod = pod(1);
        pod["spec"]["nodeSelector"] = json!({"gpu": "a100"});
        assert_eq!(why(&pod, &node, &[])[0].0, "node(s) didn't match Pod's node affinity/selector");
    }

    #[test]
    fn a_cordoned_or_full_node_takes_no_pod() {
        let cordoned = node(json!({"nvidia.com/gpu": "4"}), json!({"unschedulable": true}));
        assert_eq!(why(&pod(1), &cordoned, &[])[0].0, "node(s) were unschedulable");
        let full = node(json!({"nvidia.com/gpu": "4", "pods": "1"}), json!({}));
        assert_eq!(why(&pod(1), &full, &[pod(1)])[0], ("Too many pods".to_string(), true));
    }

    #[test]
    fn a_daemon_starts_where_labels_match_and_taints_are_tolerated_and_stays_under_a_later_taint() {
        let template = json!({"spec": {"nodeSelector": {"gpu": "true"}}});
        let node = |labels: Value, taints: Value| json!({"metadata": {"labels": labels}, "spec": {"taints": taints, "unschedulable": true}});
        let taint = |effect: &str| json!([{"key": "a", "effect": effect}]);
        assert!(belongs(&template, &node(json!({"gpu": "true"}), json!([])), false));
        assert!(!belongs(&template, &node(json!({}), json!([])), true));
        let tainted = node(json!({"gpu": "true"}), taint("NoSchedule"));
        assert!(!belongs(&template, &tainted, false) && belongs(&template, &tainted, true));
        assert!(!belongs(&template, &node(json!({"gpu": "true"}), taint("NoExecute")), true));
        let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        assert!(belongs(&tolerant, &tainted, false));
    }
}
