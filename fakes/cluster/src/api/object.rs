//! The rules about single objects that the store applies: which part of an object a write may touch, when a deleted
//! one may go, and how conditions and identities are written.

use serde_json::{Value, json};

use super::error::ApiError;
use super::resource::Resource;
use super::store::{DeleteOptions, Part};
use super::timestamp::Timestamp;

/// Sets one condition of an object's status; keeps `lastTransitionTime` while the status value stays.
pub fn set_condition(
    object: &mut Value,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": now.rfc3339()});
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            condition[field] = json!(text);
        }
    }
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    let list = &mut object["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(conditions) = list.as_array_mut() else {
        return;
    };
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

pub(super) fn check_type(resource: Resource, object: &Value) -> Result<(), ApiError> {
    let api_version = resource.api_version();
    for (field, wanted) in [("kind", resource.kind()), ("apiVersion", api_version.as_str())] {
        if let Some(got) = object[field].as_str().filter(|got| *got != wanted) {
            let why = format!("the `{field}` in the data (`{got}`) does not match the expected `{wanted}`");
            return Err(ApiError::bad_request(why));
        }
    }
    Ok(())
}

/// What is stored when `new` is written to one part of `old`.
pub(super) fn merge_parts(resource: Resource, old: &Value, new: Value, part: Part) -> Value {
    let mut result = match part {
        Part::Main | Part::Whole => new.clone(),
        Part::Status => old.clone(),
    };
    let copy = |to: &mut Value, from: &Value, field: &str| match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => {
            to.as_object_mut().map(|fields| fields.remove(field));
        }
    };
    match part {
        Part::Main if resource.has_status() => copy(&mut result, old, "status"),
        Part::Main | Part::Whole => {}
        Part::Status => {
            copy(&mut result, &new, "status");
            for field in ["labels", "annotations"] {
                copy(&mut result["metadata"], &new["metadata"], field);
            }
        }
    }
    result["apiVersion"] = old["apiVersion"].clone();
    result["kind"] = old["kind"].clone();
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "creationTimestamp",
    ] {
        copy(&mut result["metadata"], &old["metadata"], field);
    }
    for field in ["uid", "namespace"] {
        if result["metadata"][field].is_null() {
            copy(&mut result["metadata"], &old["metadata"], field);
        }
    }
    if has_generation(resource) && result["spec"] != old["spec"] {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(0);
        result["metadata"]["generation"] = json!(generation + 1);
    }
    result
}

pub(super) fn has_generation(resource: Resource) -> bool {
    matches!(resource, Resource::Pods | Resource::Deployments | Resource::DaemonSets)
}

/// True when nothing holds a deleted object any more.
pub(super) fn may_go(resource: Resource, object: &Value) -> bool {
    let free = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    free && (resource != Resource::Pods || object["metadata"]["deletionGracePeriodSeconds"] == 0)
}

pub(super) fn grace_seconds(resource: Resource, object: &Value, options: &DeleteOptions) -> u64 {
    let unbound = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if resource != Resource::Pods || unbound || over {
        return 0;
    }
    options.grace_period_seconds.or(object["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30)
}

/// A uid in the form of a UUID that carries the number of the creation, so that runs repeat byte for byte.
pub(super) fn uid(sequence: u64) -> String {
    format!("7a6e0000-0000-4000-8000-{sequence:012x}")
}

/// The number of an object's creation; creation times have only seconds.
pub(super) fn uid_sequence(object: &Value) -> u64 {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    uid.rsplit('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(u64::MAX)
}

/// Five letters for `generateName`, different for every creation.
pub(super) fn name_suffix(sequence: u64) -> String {
    const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    let mut rest = sequence.wrapping_mul(0x9E37_79B9) % 3_200_000;
    let mut text = String::new();
    for _ in 0..5 {
        text.push(char::from(LETTERS[(rest % 20) as usize]));
        rest /= 20;
    }
    text
}
