//! Reads the steps of a scenario, because each has one verb and every verb its own fields; repetitions are counted out.

use super::decode::Reader;
use super::grammar::{REPEAT, STEP};
use super::limits::{ADVANCE_MAX, DURATION_MAX, STEPS_MAX, TIMES_MAX};
use super::mig;
use super::resolve::{Draft, DraftVerb, resolve};
use super::verb::{Step, Verb};
use super::verbs;
use super::yaml::Node;

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Scenario,
    Repeat,
    Parallel,
}

/// Reads the list of steps.
pub(super) fn steps(reader: &mut Reader, node: &Node) -> Vec<Step> {
    let mut drafts = Vec::new();
    list(reader, node, "steps", Within::Scenario, &mut drafts);
    resolve(reader, drafts)
}

/// Reads steps and adds them, up to [`STEPS_MAX`] in all.
fn list(reader: &mut Reader, node: &Node, path: &str, within: Within, all: &mut Vec<Draft>) {
    let items = reader.list(node, path);
    if items.is_empty() {
        reader.problem(node.place, path, "expected one step at least");
    }
    for (index, item) in items.iter().enumerate() {
        reader.made.steps += 1;
        if reader.made.steps > STEPS_MAX {
            let message = format!("expected at most {STEPS_MAX} steps (STEPS_MAX), repetitions counted out");
            return reader.problem(item.place, path, message);
        }
        step(reader, item, &format!("{path}[{index}]"), within, all);
    }
}

fn step(reader: &mut Reader, node: &Node, path: &str, within: Within, all: &mut Vec<Draft>) {
    let fields = reader.fields(node, path, STEP);
    let name = fields.text(reader, "name");
    let verbs: Vec<(&str, &Node)> = STEP
        .iter()
        .filter(|key| key.name != "name")
        .filter_map(|key| fields.get(key.name).map(|value| (key.name, value)))
        .collect();
    let [(word, value)] = verbs.as_slice() else {
        let message = match verbs.len() {
            0 => format!("expected a verb: one of {}", words().join(", ")),
            _ => {
                let found: Vec<&str> = verbs.iter().map(|(verb, _)| *verb).collect();
                format!("expected one verb, found {}", found.join(" and "))
            }
        };
        return reader.problem(node.place, path, message);
    };
    let path = fields.path(word);
    let refused = match within {
        Within::Scenario => false,
        Within::Repeat => *word == "repeat",
        Within::Parallel => matches!(*word, "repeat" | "parallel" | "never" | "sometimes"),
    };
    if refused {
        let outer = if within == Within::Repeat { "repeat" } else { "parallel" };
        let message = format!("`{word}` cannot stand within `{outer}`");
        return reader.problem(value.place, &path, message);
    }
    if *word == "repeat" {
        return repeat(reader, value, &path, all);
    }
    if let Some(verb) = verb(reader, word, value, &path) {
        all.push(Draft { place: node.place, path, name, turn: None, verb });
    }
}

fn words() -> Vec<&'static str> {
    STEP.iter().map(|key| key.name).filter(|name| *name != "name").collect()
}

fn verb(reader: &mut Reader, word: &str, value: &Node, path: &str) -> Option<DraftVerb> {
    if word == "scale" {
        return verbs::scale(reader, value, path).map(DraftVerb::Scale);
    }
    if word == "parallel" {
        let mut inner = Vec::new();
        list(reader, value, path, Within::Parallel, &mut inner);
        return Some(DraftVerb::Parallel(inner));
    }
    let verb = match word {
        "label" => verbs::label(reader, value, path),
        "unlabel" => verbs::unlabel(reader, value, path),
        "apply" => verbs::apply(reader, value, path),
        "delete" => verbs::delete(reader, value, path),
        "finish" => verbs::finish(reader, value, path),
        "edit" => verbs::edit(reader, value, path),
        "workload" => verbs::workload(reader, value, path).map(Verb::Workload),
        "fault" => verbs::fault(reader, value, path),
        "restart" => {
            verbs::process(reader, value, path).map(|(process, node)| Verb::Restart { process, node })
        }
        "kill" => verbs::process(reader, value, path).map(|(process, node)| Verb::Kill { process, node }),
        "otherPlugin" => verbs::other_plugin(reader, value, path),
        "installDriver" => verbs::install_driver(reader, value, path),
        "mig" => mig::mig(reader, value, path),
        "wait" => reader.duration(value, path, DURATION_MAX).map(Verb::Wait),
        "advance" => reader.duration(value, path, ADVANCE_MAX).map(Verb::Advance),
        "never" => verbs::watch(reader, value, path).map(Verb::Never),
        "sometimes" => verbs::watch(reader, value, path).map(Verb::Sometimes),
        _ => verbs::expect(reader, value, path).map(Verb::Expect),
    };
    verb.map(DraftVerb::Ready)
}

/// Adds the steps of a `repeat` as often as it says.
fn repeat(reader: &mut Reader, value: &Node, path: &str, all: &mut Vec<Draft>) {
    let fields = reader.fields(value, path, REPEAT);
    let times =
        fields.need(reader, "times").and_then(|n| reader.number(n, &fields.path("times"), 1, TIMES_MAX));
    let before = reader.made;
    let mut body = Vec::new();
    if let Some(steps) = fields.need(reader, "steps") {
        list(reader, steps, &fields.path("steps"), Within::Repeat, &mut body);
    }
    let Some(times) = times else { return };
    let more = usize::try_from(times - 1).unwrap_or(usize::MAX);
    let steps = (reader.made.steps - before.steps).saturating_mul(more);
    let pods = (reader.made.pods - before.pods).saturating_mul(times - 1);
    reader.made.steps = reader.made.steps.saturating_add(steps);
    if reader.made.steps > STEPS_MAX {
        let message = format!("expected at most {STEPS_MAX} steps (STEPS_MAX), repetitions counted out");
        return reader.problem(value.place, path, message);
    }
    if !verbs::has_room(reader, value, path, pods) {
        return;
    }
    for turn in 1..=times {
        all.extend(body.iter().cloned().map(|draft| Draft { turn: Some((turn, times)), ..draft }));
    }
}
