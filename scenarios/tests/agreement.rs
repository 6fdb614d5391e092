//! What two plays of one story must have in common on different stages: the verdict, what became of pods, and what GPUs
//! are for and how many hold them; not which GPU it is, nor when.

use serde_json::{Value, json};
use simulator::report::RunReport;

/// What must be the same.
pub(crate) fn digest(report: &RunReport) -> Value {
    let pods = report.world.pods.iter().map(|(name, pod)| {
        let what = json!({"phase": pod.phase, "reason": pod.reason, "node": pod.node.is_some()});
        (name.clone(), what)
    });
    let nodes = report.world.nodes.iter().map(|(name, node)| {
        let mut gpus: Vec<String> = node
            .gpus
            .iter()
            .map(|gpu| {
                let (role, state) = (gpu.role.as_deref(), gpu.state.as_deref());
                let held = gpu.holders.len();
                format!("{} {} held by {held}", role.unwrap_or("-"), state.unwrap_or("-"))
            })
            .collect();
        gpus.sort();
        (name.clone(), json!(gpus))
    });
    json!({
        "passed": report.passed(),
        "pods": pods.collect::<serde_json::Map<_, _>>(),
        "gpus": nodes.collect::<serde_json::Map<_, _>>(),
    })
}

/// The parts that differ, if any do.
pub(crate) fn difference(model: &Value, wire: &Value) -> Option<String> {
    let mut lines = Vec::new();
    collect(model, wire, "", &mut lines);
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn collect(model: &Value, wire: &Value, path: &str, lines: &mut Vec<String>) {
    match (model, wire) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                collect(&model[name], &wire[name], &path, lines);
            }
        }
        _ if model == wire => {}
        _ => lines.push(format!("{}\n  model {model}\n  wire  {wire}", path.trim_start_matches('.'))),
    }
}
