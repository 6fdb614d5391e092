//! The fields that a pattern may name, because a mistyped one would be waited for in vain.

use super::decode::Reader;
use super::problem::nearest;
use crate::expect::{Op, Pattern, PatternKind};
use crate::world::{
    GPU_FIELDS, KUBELET_FIELDS, MEMORY_FIELDS, MPS_FIELDS, NODE_FIELDS, OTHER_PLUGIN_FIELDS, PLUGIN_FIELDS,
    POD_FIELDS,
};

/// The fields of a pod.
pub(super) fn pod(reader: &mut Reader, entry: &Pattern, path: &str) {
    fields(reader, entry, path, POD_FIELDS);
}

/// The fields of a node.
pub(super) fn node(reader: &mut Reader, entry: &Pattern, path: &str) {
    fields(reader, entry, path, NODE_FIELDS);
    let PatternKind::Has(entries) = &entry.kind else {
        return;
    };
    for (name, inner) in entries {
        let path = format!("{path}.{name}");
        match name.as_str() {
            "plugin" => fields(reader, inner, &path, PLUGIN_FIELDS),
            "mps" => fields(reader, inner, &path, MPS_FIELDS),
            "gpus" => gpu_fields(reader, inner, &path),
            "kubelet" => fields(reader, inner, &path, KUBELET_FIELDS),
            "otherPlugins" => other_plugins(reader, inner, &path),
            _ => {}
        }
    }
}

fn other_plugins(reader: &mut Reader, pattern: &Pattern, path: &str) {
    let PatternKind::Has(by_name) = &pattern.kind else {
        return;
    };
    for (name, inner) in by_name {
        fields(reader, inner, &format!("{path}.{name}"), OTHER_PLUGIN_FIELDS);
    }
}

fn gpu_fields(reader: &mut Reader, pattern: &Pattern, path: &str) {
    match &pattern.kind {
        PatternKind::Has(by_index) => by_index.iter().for_each(|(_, p)| gpu(reader, p, path)),
        PatternKind::Items(items) => items.iter().for_each(|p| gpu(reader, p, path)),
        PatternKind::Ops(ops) => {
            for op in ops {
                if let Op::Each(inner) | Op::Contains(inner) = op {
                    gpu(reader, inner, path);
                }
            }
        }
        PatternKind::Equals(_) => {}
    }
}

fn gpu(reader: &mut Reader, pattern: &Pattern, path: &str) {
    fields(reader, pattern, path, GPU_FIELDS);
    let PatternKind::Has(entries) = &pattern.kind else {
        return;
    };
    for (name, inner) in entries.iter().filter(|(name, _)| name == "memory") {
        fields(reader, inner, &format!("{path}.{name}"), MEMORY_FIELDS);
    }
}

fn fields(reader: &mut Reader, pattern: &Pattern, path: &str, known: &[&str]) {
    let PatternKind::Has(entries) = &pattern.kind else {
        return;
    };
    for (name, inner) in entries.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        reader.problem_with_hint(inner.place, path, format!("unknown field `{name}`"), Some(hint));
    }
}
