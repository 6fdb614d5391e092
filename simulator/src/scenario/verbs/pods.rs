//! The verbs about pods: making, deleting, ending and counting them.

use super::super::decode::{Fields, Reader};
use super::super::grammar::{DELETE, FINISH, SCALE};
use super::super::limits::{PODS_MAX, PODS_PER_STEP_MAX};
use super::super::verb::{Selection, Verb};
use super::super::yaml::Node;

/// What a `scale` asks for; what that means is known when the steps before it are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    /// The group, or the Deployment.
    pub(in super::super) group: String,
    /// Whether it is a Deployment.
    pub(in super::super) is_deployment: bool,
    /// Its new size.
    pub(in super::super) count: u64,
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

/// `delete`.
pub(in super::super) fn delete(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let fields = reader.fields(value, path, DELETE);
    let Some(deployments) = fields.get("deployments") else {
        return selection(reader, &fields, path).map(Verb::Delete);
    };
    if fields.get("pods").is_some() || fields.get("selector").is_some() {
        reader.problem(fields.place, path, "expected one of `pods`, `selector` and `deployments`");
    }
    Some(Verb::DeleteDeployments(reader.texts(deployments, &fields.path("deployments"))))
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
    let count = fields
        .need(reader, "count")
        .and_then(|n| reader.number(n, &fields.path("count"), 0, PODS_PER_STEP_MAX));
    let (key, is_deployment) = match (fields.get("pods"), fields.get("deployment")) {
        (Some(_), None) => ("pods", false),
        (None, Some(_)) => ("deployment", true),
        _ => {
            reader.problem(fields.place, path, "expected either `pods` or `deployment`");
            return None;
        }
    };
    let group = fields.text(reader, key);
    Some(Asked { group: group?, is_deployment, count: count? })
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
