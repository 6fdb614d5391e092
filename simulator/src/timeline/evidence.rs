//! Which objects a failure's evidence names, because a reader wants to be shown them among hundreds of lanes.

use super::{Failure, NodeLane, PodLane};

/// The most lines of evidence of a failure.
const EVIDENCE_LINES_MAX: usize = 400;

/// Fills in which nodes, pods and GPUs the evidence names.
pub(super) fn located(mut failure: Failure, nodes: &[NodeLane], pods: &[PodLane]) -> Failure {
    if failure.evidence.len() > EVIDENCE_LINES_MAX {
        let more = failure.evidence.len() - EVIDENCE_LINES_MAX;
        failure.evidence.truncate(EVIDENCE_LINES_MAX);
        failure.evidence.push(format!("… and {more} more lines"));
    }
    let text = failure.evidence.join("\n");
    for node in nodes {
        let mut named = names(&text, "nodes.", &node.name);
        for gpu in &node.gpus {
            let place = format!("{}.gpus.{}", node.name, gpu.index);
            if text.contains(&gpu.uuid) || names(&text, "nodes.", &place) {
                failure.gpus.push(gpu.uuid.clone());
                named = true;
            }
        }
        if named {
            failure.nodes.push(node.name.clone());
        }
    }
    failure.pods =
        pods.iter().filter(|pod| names(&text, "pods.", &pod.name)).map(|pod| pod.name.clone()).collect();
    failure
}

/// Whether a text names an object: after its section, in backticks, or as a word of its own of at least two letters.
fn names(text: &str, section: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + name.len()..).unwrap_or_default().chars().next();
        let ends = after.is_none_or(|c| !(c.is_alphanumeric() || c == '-' || c == '_' || c == '/'));
        let starts = before.ends_with(section)
            || before.ends_with('`')
            || (name.len() > 1
                && before.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"[,(".contains(c)));
        starts && ends
    })
}
