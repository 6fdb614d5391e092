//! The verbs about nodes, their processes and the config map.

use std::collections::BTreeMap;

use super::super::decode::Reader;
use super::super::grammar::{EDIT, INSTALL_DRIVER, LABEL, PROCESS, UNLABEL};
use super::super::limits::CONFIG_BYTES_MAX;
use super::super::nodes::gpus;
use super::super::verb::{Process, Verb};
use super::super::yaml::Node;

/// `label`.
pub(in super::super) fn label(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, LABEL);
    let node = fields.need_text(reader, "node");
    let set: BTreeMap<String, String> = fields
        .need(reader, "set")
        .map(|set| reader.text_map(set, &fields.path("set")))?
        .into_iter()
        .collect();
    if set.is_empty() {
        reader.problem(fields.place, &fields.path("set"), "expected one label at least");
    }
    Some(Verb::Label { node: node?, set })
}

/// `unlabel`.
pub(in super::super) fn unlabel(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, UNLABEL);
    let node = fields.need_text(reader, "node");
    let keys = fields.need(reader, "keys").map(|keys| reader.texts(keys, &fields.path("keys")))?;
    if keys.is_empty() {
        let message = "expected one label key at least";
        reader.problem(fields.place, &fields.path("keys"), message);
    }
    Some(Verb::Unlabel { node: node?, keys })
}

/// `restart` and `kill`: which process of which node.
pub(in super::super) fn process(reader: &mut Reader, value: &Node, path: &str) -> Option<(Process, String)> {
    let fields = reader.fields(value, path, PROCESS);
    let found: Vec<(Process, &Node)> = [Process::Kubelet, Process::Plugin, Process::Mps]
        .into_iter()
        .filter_map(|process| fields.get(&process.to_string()).map(|node| (process, node)))
        .collect();
    let [(process, node)] = found.as_slice() else {
        let message = format!("expected one of {} and a node's name", Process::NAMES.join(", "));
        reader.problem(value.place, path, message);
        return None;
    };
    let name = reader.text(node, &fields.path(&process.to_string()))?;
    Some((*process, name))
}

/// `installDriver`.
pub(in super::super) fn install_driver(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, INSTALL_DRIVER);
    let node = fields.need_text(reader, "node");
    let gpus = fields.need(reader, "gpus").and_then(|n| gpus(reader, n, &fields.path("gpus")));
    Some(Verb::InstallDriver { node: node?, gpus: gpus? })
}

/// `edit`.
pub(in super::super) fn edit(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, EDIT);
    let config = fields.need_text(reader, "config");
    let text = fields.text(reader, "text");
    if text.as_ref().is_some_and(|text| text.len() as u64 > CONFIG_BYTES_MAX) {
        let message = format!("expected at most {CONFIG_BYTES_MAX} bytes (CONFIG_BYTES_MAX)");
        reader.problem(value.place, &fields.path("text"), message);
    }
    Some(Verb::Edit { config: config?, text })
}
