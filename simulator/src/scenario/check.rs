//! What a scenario's parts must agree on, because a wrong name would otherwise show as a timeout half a minute
//! later.

use std::collections::BTreeSet;

use super::decode::Reader;
use super::problem::{Place, nearest};
use super::schema::{NODES_MAX, Scenario, Selection, Verb};
use super::yaml::{Kind, Node};
use crate::expect::{Op, Pattern, PatternKind, glob};
use crate::world::{GPU_FIELDS, MPS_FIELDS, NODE_FIELDS, PLUGIN_FIELDS, POD_FIELDS};

/// Notes every disagreement.
pub(super) fn check(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    names(reader, scenario, root);
    boards(reader, scenario, root);
    let mut seen = Seen::new(scenario);
    for (index, step) in scenario.steps.iter().enumerate() {
        let path = format!("steps[{index}]");
        if let Some(name) = &step.name
            && !seen.steps.insert(name.clone())
        {
            reader.problem(step.place, &path, format!("a second step is named `{name}`"));
        }
        match &step.verb {
            Verb::Label { node, .. }
            | Verb::Unlabel { node, .. }
            | Verb::Restart { node, .. }
            | Verb::Kill { node, .. } => seen.node(reader, step.place, &path, node),
            Verb::InstallDriver { node, gpus } => {
                seen.node(reader, step.place, &path, node);
                board(reader, step.place, &path, &gpus.board);
            }
            Verb::Apply(all) => {
                for name in all.iter().flat_map(|apply| &apply.names) {
                    if !seen.pods.insert(name.clone()) {
                        reader.problem(step.place, &path, format!("a second pod is named `{name}`"));
                    }
                }
            }
            Verb::Delete(Selection::Names(names)) => {
                for name in names {
                    seen.pod(reader, step.place, &path, name);
                }
            }
            Verb::Delete(Selection::Labels(_)) | Verb::Wait(_) => {}
            Verb::Expect(expectation) => seen.expectation(reader, &expectation.pattern, &path),
        }
    }
}

fn names(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    let place = top(root, "nodes").map_or(root.place, |node| node.place);
    let mut seen = BTreeSet::new();
    for node in &scenario.nodes {
        if !is_dns_label(&node.name) {
            let message = format!(
                "`{}` is not a node name: lower-case letters, digits and `-`",
                node.name
            );
            reader.problem(place, "nodes", message);
        }
        if !seen.insert(&node.name) {
            reader.problem(place, "nodes", format!("a second node is named `{}`", node.name));
        }
    }
    if scenario.nodes.is_empty() || scenario.nodes.len() as u64 > NODES_MAX {
        let message = format!("expected 1 to {NODES_MAX} nodes, found {}", scenario.nodes.len());
        reader.problem(place, "nodes", message);
    }
}

fn boards(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    let place = top(root, "nodes").map_or(root.place, |node| node.place);
    let named: BTreeSet<&str> = scenario
        .nodes
        .iter()
        .filter_map(|node| node.gpus.as_ref())
        .map(|gpus| gpus.board.as_str())
        .collect();
    for name in named {
        board(reader, place, "nodes", name);
    }
}

fn board(reader: &mut Reader, place: Place, path: &str, name: &str) {
    let known = crate::boards::names();
    if !known.iter().any(|known| known == name) {
        let hint =
            nearest(name, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let message = format!("unknown board `{name}`; expected one of {}", known.join(", "));
        reader.problem_with_hint(place, path, message, hint);
    }
}

fn top<'n>(root: &'n Node, name: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &root.kind else {
        return None;
    };
    entries
        .iter()
        .find(|(key, _)| key.name == name)
        .map(|(_, value)| value)
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 40 && name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last())
}

/// The names that exist up to the step being checked.
struct Seen {
    nodes: Vec<String>,
    pods: BTreeSet<String>,
    steps: BTreeSet<String>,
}

impl Seen {
    fn new(scenario: &Scenario) -> Self {
        Seen {
            nodes: scenario.nodes.iter().map(|node| node.name.clone()).collect(),
            pods: BTreeSet::new(),
            steps: BTreeSet::new(),
        }
    }

    fn node(&self, reader: &mut Reader, place: Place, path: &str, name: &str) {
        known(
            reader,
            place,
            path,
            "node",
            name,
            self.nodes.iter().map(String::as_str),
        );
    }

    fn pod(&self, reader: &mut Reader, place: Place, path: &str, name: &str) {
        known(
            reader,
            place,
            path,
            "pod",
            name,
            self.pods.iter().map(String::as_str),
        );
    }

    fn expectation(&self, reader: &mut Reader, pattern: &Pattern, path: &str) {
        let PatternKind::Has(sections) = &pattern.kind else {
            return;
        };
        for (section, inner) in sections {
            let path = format!("{path}.expect.{section}");
            self.references(reader, inner, &path);
            let PatternKind::Has(entries) = &inner.kind else {
                continue;
            };
            for (name, entry) in entries {
                let path = format!("{path}.{name}");
                match section.as_str() {
                    "nodes" => {
                        self.node(reader, entry.place, &path, name);
                        node_fields(reader, entry, &path);
                    }
                    "pods" => {
                        self.pod(reader, entry.place, &path, name);
                        fields(reader, entry, &path, POD_FIELDS);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Checks that steps named by `unchangedSince` came before.
    fn references(&self, reader: &mut Reader, pattern: &Pattern, path: &str) {
        match &pattern.kind {
            PatternKind::Equals(_) => {}
            PatternKind::Has(entries) => entries.iter().for_each(|(_, p)| self.references(reader, p, path)),
            PatternKind::Items(items) => items.iter().for_each(|p| self.references(reader, p, path)),
            PatternKind::Ops(ops) => ops.iter().for_each(|op| match op {
                Op::Contains(inner) | Op::Size(inner) | Op::Each(inner) => {
                    self.references(reader, inner, path)
                }
                Op::Exactly(entries) => entries.iter().for_each(|(_, p)| self.references(reader, p, path)),
                Op::UnchangedSince { step, .. } => {
                    known(
                        reader,
                        pattern.place,
                        path,
                        "earlier step",
                        step,
                        self.steps.iter().map(String::as_str),
                    );
                }
                Op::Absent(_)
                | Op::ContainsOnce(_)
                | Op::Matches(_)
                | Op::AtLeast(_)
                | Op::AtMost(_)
                | Op::SameAs { .. } => {}
            }),
        }
    }
}

fn known<'a>(
    reader: &mut Reader,
    place: Place,
    path: &str,
    what: &str,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) {
    if names
        .clone()
        .any(|known| known == name || (name.contains('*') && glob(name, known)))
    {
        return;
    }
    let hint = match nearest(name, names.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => names
            .next()
            .map(|first| format!("there is, for example, `{first}`")),
    };
    reader.problem_with_hint(
        place,
        path,
        format!("there is no {what} `{name}` at this step"),
        hint,
    );
}

fn node_fields(reader: &mut Reader, entry: &Pattern, path: &str) {
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
            _ => {}
        }
    }
}

fn gpu_fields(reader: &mut Reader, pattern: &Pattern, path: &str) {
    match &pattern.kind {
        PatternKind::Has(by_index) => by_index
            .iter()
            .for_each(|(_, p)| fields(reader, p, path, GPU_FIELDS)),
        PatternKind::Items(items) => items.iter().for_each(|p| fields(reader, p, path, GPU_FIELDS)),
        PatternKind::Ops(ops) => {
            for op in ops {
                if let Op::Each(inner) | Op::Contains(inner) = op {
                    fields(reader, inner, path, GPU_FIELDS);
                }
            }
        }
        PatternKind::Equals(_) => {}
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

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
