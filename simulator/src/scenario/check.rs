//! What a scenario's parts must agree on, because a wrong name would otherwise show as a timeout half a minute
//! later.

use std::collections::BTreeSet;

use super::decode::Reader;
use super::limits::WIRE_NODES_MAX;
use super::problem::{Place, nearest};
use super::schema::{Scenario, StageName};
use super::seen::{Seen, known};
use super::verb::{Step, Verb};
use super::yaml::{Kind, Node};

/// Notes every disagreement.
pub(super) fn check(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    names(reader, scenario, root);
    boards(reader, scenario, root);
    let mut seen = Seen::new(scenario);
    let later: Vec<&Step> = scenario.steps.iter().collect();
    for (index, step) in scenario.steps.iter().enumerate() {
        if let Some(name) = &step.name
            && !seen.steps.insert(name.clone())
            && step.turn.is_none_or(|(turn, _)| turn == 1)
        {
            reader.problem(step.place, &step.path, format!("a second step is named `{name}`"));
        }
        if let Verb::Never(watch) | Verb::Sometimes(watch) = &step.verb
            && let Some(until) = &watch.until
        {
            let rest = later.get(index + 1..).unwrap_or_default();
            let names = rest.iter().filter_map(|step| step.name.as_deref());
            known(reader, step.place, &step.path, "later step", until, names);
        }
        seen.step(reader, step);
    }
}

fn names(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    let place = top(root, "nodes").map_or(root.place, |node| node.place);
    let mut seen = BTreeSet::new();
    for node in &scenario.nodes {
        if !is_dns_label(&node.name) {
            let message = format!("`{}` is not a node name: lower-case letters, digits and `-`", node.name);
            reader.problem(place, "nodes", message);
        }
        if !seen.insert(&node.name) {
            reader.problem(place, "nodes", format!("a second node is named `{}`", node.name));
        }
    }
    if scenario.nodes.is_empty() {
        reader.problem(place, "nodes", "expected one node at least");
    }
    if scenario.stages.contains(&StageName::Wire) && scenario.nodes.len() > WIRE_NODES_MAX {
        let message = format!(
            "expected at most {WIRE_NODES_MAX} nodes on the wire stage (WIRE_NODES_MAX), found {}",
            scenario.nodes.len()
        );
        let hint = "`notOn: {wire: the reason}` plays it on the model stage alone".to_owned();
        reader.problem_with_hint(place, "nodes", message, Some(hint));
    }
}

fn boards(reader: &mut Reader, scenario: &Scenario, root: &Node) {
    let place = top(root, "nodes").map_or(root.place, |node| node.place);
    let named: BTreeSet<&str> =
        scenario.nodes.iter().filter_map(|node| node.gpus.as_ref()).map(|gpus| gpus.board.as_str()).collect();
    for name in named {
        board(reader, place, "nodes", name);
    }
}

pub(super) fn board(reader: &mut Reader, place: Place, path: &str, name: &str) {
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
    entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 40 && name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last())
}

#[cfg(test)]
#[path = "check_tests.rs"]
pub(super) mod tests;
