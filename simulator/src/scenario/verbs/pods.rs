//! The verbs about pods: making, deleting, ending and counting them.

use super::super::decode::{Fields, Reader};
use super::super::grammar::{APPLY, FINISH, SCALE, SELECTION};
use super::super::limits::{PODS_MAX, PODS_PER_STEP_MAX};
use super::super::verb::{Apply, Selection, Verb};
use super::super::yaml::Node;

/// What a `scale` asks for; what that means is known when the steps before it are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    /// The group.
    pub(in super::super) group: String,
    /// Its new size.
    pub(in super::super) count: u64,
}

/// `apply`.
pub(in super::super) fn apply(reader: &mut Reader, value: &Node, path: &str) -> Vec<Apply> {
    let mut all = Vec::new();
    let mut pods = 0;
    for (index, item) in reader.list(value, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let fields = reader.fields(item, &path, APPLY);
        let count =
            fields.get("count").map(|n| reader.number(n, &fields.path("count"), 1, PODS_PER_STEP_MAX));
        let Some(manifest) = fields.need(reader, "manifest") else {
            continue;
        };
        let Some(name) = pod_name(reader, manifest, &fields.path("manifest")) else {
            continue;
        };
        let asked = count.flatten().unwrap_or(1);
        pods += asked;
        if pods > PODS_PER_STEP_MAX {
            let message = format!(
                "expected at most {PODS_PER_STEP_MAX} pods in one step (PODS_PER_STEP_MAX), found {pods} up to here"
            );
            reader.problem(item.place, &path, message);
            break;
        }
        if !has_room(reader, item, &path, asked) {
            break;
        }
        let names: Vec<String> = match count {
            Some(Some(count)) => (1..=count).map(|n| format!("{name}-{n}")).collect(),
            _ => vec![name],
        };
        all.push(Apply { names, manifest: manifest.to_json() });
    }
    all
}

/// Whether a scenario may make that many pods more.
pub(in super::super) fn has_room(reader: &mut Reader, node: &Node, path: &str, more: u64) -> bool {
    reader.made.pods = reader.made.pods.saturating_add(more);
    let has_room = reader.made.pods <= PODS_MAX;
    if !has_room {
        let found = reader.made.pods;
        let message = format!("expected at most {PODS_MAX} pods in all (PODS_MAX), found {found} up to here");
        reader.problem(node.place, path, message);
    }
    has_room
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
        Some(other) => {
            problem(format!("expected `kind: Pod`, found `{other}`; other kinds are not applied yet"))
        }
        None => problem("`kind` is missing; expected `kind: Pod`".to_owned()),
    }
    if json.pointer("/spec/containers/0/name").and_then(|name| name.as_str()).is_none() {
        problem("expected `spec.containers` with one named container at least".to_owned());
    }
    let name = json.pointer("/metadata/name").and_then(|name| name.as_str()).map(str::to_owned);
    if name.is_none() {
        problem("`metadata.name` is missing".to_owned());
    }
    name
}

/// `delete`.
pub(in super::super) fn delete(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, SELECTION);
    selection(reader, &fields, path).map(Verb::Delete)
}

/// `finish`.
pub(in super::super) fn finish(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, FINISH);
    let exit_code = exit_code(reader, &fields, 0)?;
    Some(Verb::Finish { pods: selection(reader, &fields, path)?, exit_code })
}

/// `scale`.
pub(in super::super) fn scale(reader: &mut Reader, value: &Node, path: &str) -> Option<Asked> {
    let fields = reader.fields(value, path, SCALE);
    let group = fields.need_text(reader, "pods");
    let count = fields
        .need(reader, "count")
        .and_then(|n| reader.number(n, &fields.path("count"), 0, PODS_PER_STEP_MAX));
    Some(Asked { group: group?, count: count? })
}

/// `pods` or `selector`.
pub(super) fn selection(reader: &mut Reader, fields: &Fields<'_>, path: &str) -> Option<Selection> {
    match (fields.get("pods"), fields.get("selector")) {
        (Some(pods), None) => Some(Selection::Names(reader.texts(pods, &fields.path("pods")))),
        (None, Some(selector)) => {
            let labels = reader.text_map(selector, &fields.path("selector")).into_iter().collect();
            Some(Selection::Labels(labels))
        }
        _ => {
            reader.problem(fields.place, path, "expected either `pods` or `selector`");
            None
        }
    }
}

/// `exitCode`.
pub(super) fn exit_code(reader: &mut Reader, fields: &Fields<'_>, otherwise: i32) -> Option<i32> {
    match fields.get("exitCode") {
        None => Some(otherwise),
        Some(node) => {
            let code = reader.number(node, &fields.path("exitCode"), 0, 255)?;
            i32::try_from(code).ok()
        }
    }
}
