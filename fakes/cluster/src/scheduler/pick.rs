//! The decision over all nodes: where a pod goes, or the sentence that tells a person why it stays pending.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fit::{NodeView, Reason, obstacles};

/// What becomes of a pending pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to this node.
    Bind {
        /// The node's name.
        node: String,
    },
    /// It fits nowhere.
    Unschedulable {
        /// The text of the condition and the FailedScheduling event (Kubernetes 1.36).
        message: String,
    },
}

/// Decides for one pod. Among the nodes it fits on, the one with the fewest pods wins, then the first by name; the real
/// scheduler weighs more and breaks ties by chance.
pub fn decide(pod: &Value, nodes: &[NodeView<'_>]) -> Decision {
    let mut refusals: Vec<Vec<Reason>> = Vec::new();
    let mut best: Option<(u64, &str)> = None;
    for view in nodes {
        let reasons = obstacles(pod, view);
        let candidate = (view.pods, view.name());
        if !reasons.is_empty() {
            refusals.push(reasons);
        } else if best.is_none_or(|best| candidate < best) {
            best = Some(candidate);
        }
    }
    match best {
        Some((_, node)) => Decision::Bind { node: node.to_string() },
        None => Decision::Unschedulable { message: message(nodes.len(), &refusals) },
    }
}

fn message(nodes: usize, refusals: &[Vec<Reason>]) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_string();
    }
    let reasons = histogram(refusals.iter().flatten().map(|r| r.text.as_str()));
    let preemption = histogram(refusals.iter().map(|of_node| {
        if of_node.iter().all(|reason| reason.resolvable) {
            "No preemption victims found for incoming pod"
        } else {
            "Preemption is not helpful for scheduling"
        }
    }));
    format!(
        "0/{nodes} nodes are available: {reasons}. preemption: 0/{nodes} nodes are available: {preemption}."
    )
}

/// `1 a, 2 b`: each text with its count, sorted as texts.
fn histogram<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
    parts.sort();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, gpus: u64, spec: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": spec,
            "status": {"allocatable": {"nvidia.com/gpu": gpus.to_string()}}})
    }

    fn pod(gpus: u64) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": gpus.to_string()}}}]}})
    }

    #[test]
    fn the_node_with_the_fewest_pods_wins_and_ties_go_by_name() {
        let (a, b, held) = (node("a", 4, json!({})), node("b", 4, json!({})), pod(1));
        let (empty_a, empty_b) = (NodeView::new(&a, []), NodeView::new(&b, []));
        let busy_a = NodeView::new(&a, [&held]);
        let bind = |node: &str| Decision::Bind { node: node.to_string() };
        assert_eq!(decide(&pod(1), &[empty_b.clone(), empty_a]), bind("a"));
        assert_eq!(decide(&pod(1), &[busy_a, empty_b]), bind("b"));
    }

    #[test]
    fn a_pod_that_fits_nowhere_is_told_the_reasons_of_all_nodes() {
        let tainted = node("a", 8, json!({"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}));
        let (small, none) = (node("b", 4, json!({})), node("c", 0, json!({})));
        let views = [NodeView::new(&tainted, []), NodeView::new(&small, []), NodeView::new(&none, [])];
        let Decision::Unschedulable { message } = decide(&pod(5), &views) else { panic!("it fits nowhere") };
        assert_eq!(
            message,
            "0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient nvidia.com/gpu. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_busy_node_could_be_helped_by_preemption_but_has_no_victims() {
        let (busy, held) = (node("a", 4, json!({})), pod(3));
        let views = [NodeView::new(&busy, [&held])];
        let Decision::Unschedulable { message } = decide(&pod(2), &views) else { panic!("it fits nowhere") };
        assert!(message.ends_with("1 No preemption victims found for incoming pod."), "{message}");
        assert_eq!(
            decide(&pod(1), &[]),
            Decision::Unschedulable { message: "no nodes available to schedule pods".to_string() }
        );
    }
}
