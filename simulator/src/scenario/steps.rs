//! Reads the steps of a scenario, because each has one verb and every verb its own fields.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decode::{Fields, Reader};
use super::read::gpus;
use super::schema::{
    Apply, DURATION_MAX, Expectation, PODS_PER_STEP_MAX, Process, STEPS_MAX, Selection, Step, Verb,
    WITHIN_DEFAULT,
};
use super::yaml::{Kind, Node};
use crate::expect::decode::entries;
use crate::expect::{Pattern, PatternKind};
use crate::world::SECTIONS;

const VERBS: &[&str] = &[
    "label",
    "unlabel",
    "apply",
    "delete",
    "restart",
    "kill",
    "installDriver",
    "wait",
    "expect",
];
const STEP_KEYS: &[&str] = &[
    "name",
    "label",
    "unlabel",
    "apply",
    "delete",
    "restart",
    "kill",
    "installDriver",
    "wait",
    "expect",
];

/// Reads the list of steps.
pub(super) fn steps(reader: &mut Reader, node: &Node) -> Vec<Step> {
    let items = reader.list(node, "steps");
    if items.is_empty() {
        reader.problem(node.place, "steps", "expected one step at least");
    }
    if items.len() > STEPS_MAX {
        reader.problem(
            node.place,
            "steps",
            format!("expected at most {STEPS_MAX} steps, found {}", items.len()),
        );
    }
    items
        .iter()
        .take(STEPS_MAX)
        .enumerate()
        .filter_map(|(index, item)| step(reader, item, &format!("steps[{index}]")))
        .collect()
}

fn step(reader: &mut Reader, node: &Node, path: &str) -> Option<Step> {
    let fields = reader.fields(node, path, STEP_KEYS);
    let name = fields.text(reader, "name");
    let verbs: Vec<(&str, &Node)> = VERBS
        .iter()
        .filter_map(|verb| fields.get(verb).map(|value| (*verb, value)))
        .collect();
    let [(verb, value)] = verbs.as_slice() else {
        let message = match verbs.len() {
            0 => format!("expected a verb: one of {}", VERBS.join(", ")),
            _ => {
                let found: Vec<&str> = verbs.iter().map(|(verb, _)| *verb).collect();
                format!("expected one verb, found {}", found.join(" and "))
            }
        };
        reader.problem(node.place, path, message);
        return None;
    };
    let path = fields.path(verb);
    let verb = match *verb {
        "label" => label(reader, value, &path),
        "unlabel" => unlabel(reader, value, &path),
        "apply" => Some(Verb::Apply(apply(reader, value, &path))),
        "delete" => delete(reader, value, &path),
        "restart" => process(reader, value, &path).map(|(process, node)| Verb::Restart { process, node }),
        "kill" => process(reader, value, &path).map(|(process, node)| Verb::Kill { process, node }),
        "installDriver" => install_driver(reader, value, &path),
        "wait" => reader.duration(value, &path, DURATION_MAX).map(Verb::Wait),
        _ => expect(reader, value, &path).map(Verb::Expect),
    }?;
    Some(Step {
        place: node.place,
        name,
        verb,
    })
}

fn label(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, &["node", "set"]);
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

fn unlabel(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, &["node", "keys"]);
    let node = fields.need_text(reader, "node");
    let keys = fields
        .need(reader, "keys")
        .map(|keys| reader.texts(keys, &fields.path("keys")))?;
    if keys.is_empty() {
        reader.problem(
            fields.place,
            &fields.path("keys"),
            "expected one label key at least",
        );
    }
    Some(Verb::Unlabel { node: node?, keys })
}

fn apply(reader: &mut Reader, value: &Node, path: &str) -> Vec<Apply> {
    let mut all = Vec::new();
    let mut pods = 0;
    for (index, item) in reader.list(value, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let fields = reader.fields(item, &path, &["count", "manifest"]);
        let count = fields
            .get("count")
            .map(|n| reader.number(n, &fields.path("count"), 1, PODS_PER_STEP_MAX));
        let Some(manifest) = fields.need(reader, "manifest") else {
            continue;
        };
        let Some(name) = pod_name(reader, manifest, &fields.path("manifest")) else {
            continue;
        };
        let names: Vec<String> = match count {
            Some(Some(count)) => (1..=count).map(|n| format!("{name}-{n}")).collect(),
            _ => vec![name],
        };
        pods += names.len() as u64;
        all.push(Apply {
            names,
            manifest: manifest.to_json(),
        });
    }
    if pods > PODS_PER_STEP_MAX {
        let message = format!("expected at most {PODS_PER_STEP_MAX} pods in one step, found {pods}");
        reader.problem(value.place, path, message);
    }
    all
}

/// The name of a manifest that is a pod with containers; the API server checks the rest.
fn pod_name(reader: &mut Reader, manifest: &Node, path: &str) -> Option<String> {
    let json = manifest.to_json();
    let mut problem = |message: String| reader.problem(manifest.place, path, message);
    if json.get("apiVersion").and_then(|v| v.as_str()) != Some("v1") {
        problem("expected `apiVersion: v1`".to_owned());
    }
    match json.get("kind").and_then(|kind| kind.as_str()) {
        Some("Pod") => {}
        Some(other) => problem(format!(
            "expected `kind: Pod`, found `{other}`; other kinds are not applied yet"
        )),
        None => problem("`kind` is missing; expected `kind: Pod`".to_owned()),
    }
    if json
        .pointer("/spec/containers/0/name")
        .and_then(|name| name.as_str())
        .is_none()
    {
        problem("expected `spec.containers` with one named container at least".to_owned());
    }
    let name = json
        .pointer("/metadata/name")
        .and_then(|name| name.as_str())
        .map(str::to_owned);
    if name.is_none() {
        problem("`metadata.name` is missing".to_owned());
    }
    name
}

fn delete(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, &["pods", "selector"]);
    match (fields.get("pods"), fields.get("selector")) {
        (Some(pods), None) => Some(Verb::Delete(Selection::Names(
            reader.texts(pods, &fields.path("pods")),
        ))),
        (None, Some(selector)) => {
            let labels = reader
                .text_map(selector, &fields.path("selector"))
                .into_iter()
                .collect();
            Some(Verb::Delete(Selection::Labels(labels)))
        }
        _ => {
            reader.problem(value.place, path, "expected either `pods` or `selector`");
            None
        }
    }
}

fn process(reader: &mut Reader, value: &Node, path: &str) -> Option<(Process, String)> {
    let fields = reader.fields(value, path, Process::NAMES);
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

fn install_driver(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, &["node", "gpus"]);
    let node = fields.need_text(reader, "node");
    let gpus = fields
        .need(reader, "gpus")
        .and_then(|n| gpus(reader, n, &fields.path("gpus")));
    Some(Verb::InstallDriver {
        node: node?,
        gpus: gpus?,
    })
}

fn expect(reader: &mut Reader, value: &Node, path: &str) -> Option<Expectation> {
    let fields: Fields<'_> = reader.fields(value, path, &["within", "holds", "nodes", "pods", "phases"]);
    let within = fields
        .duration(reader, "within", DURATION_MAX)
        .unwrap_or(WITHIN_DEFAULT);
    let holds = fields
        .duration(reader, "holds", DURATION_MAX)
        .unwrap_or(Duration::ZERO);
    let Kind::Map(found) = &value.kind else {
        return None;
    };
    let sections: Vec<_> = found
        .iter()
        .filter(|(key, _)| SECTIONS.contains(&key.name.as_str()))
        .cloned()
        .collect();
    if sections.is_empty() {
        reader.problem(
            value.place,
            path,
            format!("expected one of {} at least", SECTIONS.join(", ")),
        );
        return None;
    }
    let kind = PatternKind::Has(entries(reader, &sections, path));
    Some(Expectation {
        within,
        holds,
        pattern: Pattern {
            place: value.place,
            kind,
        },
    })
}
