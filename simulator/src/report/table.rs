//! The closing table, because a reader wants to see at a glance who holds what: nodes × resources × pods × devices.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::{NodeView, World, gpu_of};

/// The most characters of the last column.
const HOLDERS_WIDTH: usize = 96;
/// Sorts what no GPU of the node is behind the others.
const GONE: u32 = u32::MAX;

/// The table, then the pods that hold nothing.
pub fn render(world: &World) -> String {
    let mut rows =
        vec![["NODE", "RESOURCE", "ALLOCATABLE", "CAPACITY", "PODS ON DEVICES"].map(str::to_owned)];
    for (name, node) in &world.nodes {
        let mut first = name.clone();
        for (resource, capacity) in node.capacity.iter().filter(|(resource, _)| resource.contains('/')) {
            let allocatable = node.allocatable.get(resource).map_or("-".to_owned(), Value::to_string);
            let mut lines = holders(world, name, node, resource);
            if lines.is_empty() {
                lines.push(String::new());
            }
            for (index, line) in lines.into_iter().enumerate() {
                rows.push(match index {
                    0 => [first.clone(), resource.clone(), allocatable.clone(), capacity.to_string(), line],
                    _ => [String::new(), String::new(), String::new(), String::new(), line],
                });
            }
            first.clear();
        }
        if !first.is_empty() {
            rows.push([first, "(no extended resource)".into(), String::new(), String::new(), String::new()]);
        }
    }
    let mut out = aligned(&rows);
    for (name, pod) in &world.pods {
        if pod.phase == "Running" && !pod.ids.is_empty() {
            continue;
        }
        let scheduled =
            pod.scheduled.as_ref().map(|condition| condition.message.as_str()).unwrap_or_default();
        let why = if pod.message.is_empty() { scheduled } else { &pod.message };
        out.push_str(&format!("{name}: {} {}{why}\n", pod.phase, if why.is_empty() { "" } else { "— " }));
    }
    out
}

/// One line per GPU or MIG device of the resource that is held: `GPU 0: a, b`, `GPU 1:0: c`.
fn holders(world: &World, node_name: &str, node: &NodeView, resource: &str) -> Vec<String> {
    let mut by_gpu: BTreeMap<(u32, Option<u32>), Vec<&str>> = BTreeMap::new();
    for (name, pod) in world.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(node_name)) {
        if !World::holds_devices(pod) {
            continue;
        }
        for id in pod.ids.get(resource).into_iter().flatten() {
            by_gpu.entry(index(node, gpu_of(id))).or_default().push(name);
        }
    }
    let line = |(gpu, part): (u32, Option<u32>), pods: &[&str]| {
        let part = part.map(|part| format!(":{part}")).unwrap_or_default();
        let gpu = if gpu == GONE { "that is gone".to_owned() } else { gpu.to_string() };
        cut(format!("GPU {gpu}{part}: {}", pods.join(", ")))
    };
    by_gpu.into_iter().map(|(index, pods)| line(index, &pods)).collect()
}

/// The index of a GPU, or of a GPU and its MIG device; [`GONE`] when the node has none of this UUID.
fn index(node: &NodeView, uuid: &str) -> (u32, Option<u32>) {
    for gpu in &node.gpus {
        if gpu.uuid == uuid {
            return (gpu.index, None);
        }
        if let Some(part) = gpu.mig.iter().flatten().find(|part| part.uuid == uuid) {
            return (gpu.index, Some(part.index));
        }
    }
    (GONE, None)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(HOLDERS_WIDTH) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}

fn aligned(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut out = String::new();
    for row in rows {
        let line = format!(
            "{:<a$}  {:<b$}  {:>c$}  {:>d$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3]
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
