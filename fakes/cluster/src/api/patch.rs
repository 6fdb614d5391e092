//! The patch formats of the API, because kubectl and client libraries each prefer another one.
//!
//! Strategic merge here knows the lists of the core types by the *name of the list field* (see [`merge_key`]),
//! not by a schema. Limits: a list field of that name inside an unrelated structure would be merged too;
//! `$setElementOrder` is read for the order of listed elements only; server-side apply is treated as a
//! strategic merge without field owners.

use serde_json::{Map, Value};

use super::error::ApiError;

/// How a patch document is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386, `application/merge-patch+json`.
    Merge,
    /// RFC 6902, `application/json-patch+json`.
    Json,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`: creates the object when it is missing. Only JSON bodies are read.
    Apply,
}

impl PatchKind {
    /// The format that a content type names; parameters after `;` are ignored.
    pub fn from_content_type(text: &str) -> Option<PatchKind> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/json-patch+json" => Some(PatchKind::Json),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Some(PatchKind::Apply),
            _ => None,
        }
    }
}

/// The object after the patch.
///
/// # Errors
/// 400 for a document that is no such patch; 422 in a JSON patch whose `test` fails or whose path is missing.
pub fn apply(object: &Value, kind: PatchKind, patch: &Value) -> Result<Value, ApiError> {
    let mut patched = object.clone();
    match kind {
        PatchKind::Json => {
            let operations: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            json_patch::patch(&mut patched, &operations).map_err(|e| ApiError {
                code: 422,
                reason: "Invalid",
                message: format!("the server rejected our request due to an error in our request: {e}"),
                details: Value::Null,
            })?;
        }
        PatchKind::Merge | PatchKind::Strategic | PatchKind::Apply => {
            if !patch.is_object() {
                return Err(ApiError::bad_request("error decoding patch: expected a JSON object"));
            }
            match kind {
                PatchKind::Merge => json_patch::merge(&mut patched, patch),
                _ => merge_maps(&mut patched, patch),
            }
        }
    }
    Ok(patched)
}

/// The field that identifies an element of the list `field` in strategic merges; `None` for lists that are replaced whole.
/// Source: the patch strategies of the Kubernetes 1.36 core types (`taints` and `tolerations` are atomic there).
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            Some("name")
        }
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "conditions" | "addresses" => Some("type"),
        "ownerReferences" => Some("uid"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

/// Lists of plain values that a strategic merge unites instead of replacing.
fn is_united(field: &str) -> bool {
    matches!(field, "finalizers")
}

fn merge_maps(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if changes.get("$patch").and_then(Value::as_str) == Some("replace") {
        *target = Value::Object(without_directives(changes));
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    if let Some(Value::Array(kept)) = changes.get("$retainKeys") {
        fields.retain(|key, _| kept.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in changes {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            remove_plain(fields, list, value);
        } else if key.starts_with('$') {
            continue;
        } else if value.is_null() {
            fields.remove(key);
        } else {
            merge_field(fields, key, value);
        }
    }
    order_elements(fields, changes);
}

fn merge_field(fields: &mut Map<String, Value>, key: &str, value: &Value) {
    match (value, merge_key(key)) {
        (Value::Object(_), _) => merge_maps(fields.entry(key.to_string()).or_insert(Value::Null), value),
        (Value::Array(changes), Some(by)) if changes.iter().all(Value::is_object) => {
            let entry = fields.entry(key.to_string()).or_insert_with(|| Value::Array(Vec::new()));
            match entry {
                Value::Array(elements) => merge_elements(elements, changes, by),
                other => *other = value.clone(),
            }
        }
        (Value::Array(changes), None) if is_united(key) => {
            let entry = fields.entry(key.to_string()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(elements) = entry {
                for change in changes {
                    if !elements.contains(change) {
                        elements.push(change.clone());
                    }
                }
            }
        }
        _ => {
            fields.insert(key.to_string(), value.clone());
        }
    }
}

fn merge_elements(elements: &mut Vec<Value>, changes: &[Value], by: &str) {
    if changes.iter().any(|c| c["$patch"] == "replace" && c[by].is_null()) {
        elements.clear();
    }
    for change in changes {
        let at = elements.iter().position(|e| !e[by].is_null() && e[by] == change[by]);
        match (change["$patch"].as_str(), at) {
            (Some("delete"), Some(at)) => {
                elements.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => merge_maps(&mut elements[at], change),
            (_, None) => {
                let Value::Object(fields) = change else { continue };
                let mut added = Value::Null;
                let plain = without_directives(fields);
                if !plain.is_empty() {
                    merge_maps(&mut added, &Value::Object(plain));
                    elements.push(added);
                }
            }
        }
    }
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().filter(|(k, _)| !k.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn remove_plain(fields: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(elements)), Value::Array(gone)) = (fields.get_mut(list), gone) {
        elements.retain(|e| !gone.contains(e));
    }
}

/// Puts the elements named by `$setElementOrder/<list>` in that order; others keep their place behind them.
fn order_elements(fields: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, order) in changes {
        let Some(list) = key.strip_prefix("$setElementOrder/") else {
            continue;
        };
        let (Some(Value::Array(elements)), Value::Array(order)) = (fields.get_mut(list), order) else {
            continue;
        };
        let by = merge_key(list);
        elements.sort_by_key(|element| {
            let place = order.iter().position(|wanted| match by {
                Some(by) => wanted[by] == element[by],
                None => wanted == element,
            });
            place.unwrap_or(usize::MAX)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn strategic(object: Value, patch: Value) -> Value {
        apply(&object, PatchKind::Strategic, &patch).unwrap()
    }

    #[test]
    fn a_null_label_is_removed_and_others_stay() {
        let got = strategic(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
        );
        assert_eq!(got, json!({"metadata": {"labels": {"b": "2", "c": "3"}}}));
    }

    #[test]
    fn containers_are_merged_by_name_and_env_by_name() {
        let object =
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]});
        let patch = json!({"containers": [
            {"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "b", "$patch": "delete"}, {"name": "c"}],
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]});
        let want = json!({"containers": [{"name": "c"},
            {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]});
        assert_eq!(strategic(object, patch), want);
    }

    #[test]
    fn taints_are_replaced_whole() {
        let got = strategic(
            json!({"spec": {"taints": [{"key": "a"}, {"key": "b"}]}}),
            json!({"spec": {"taints": [{"key": "b"}]}}),
        );
        assert_eq!(got, json!({"spec": {"taints": [{"key": "b"}]}}));
    }

    #[test]
    fn finalizers_are_united_and_deleted_by_directive() {
        let got = strategic(
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]}),
        );
        assert_eq!(got, json!({"finalizers": ["a", "c"]}));
    }

    #[test]
    fn a_json_patch_with_a_false_test_is_refused() {
        let patch = json!([{"op": "test", "path": "/a", "value": 2}, {"op": "remove", "path": "/a"}]);
        assert_eq!(apply(&json!({"a": 1}), PatchKind::Json, &patch).map_err(|e| e.code), Err(422));
        assert_eq!(apply(&json!({}), PatchKind::Json, &json!({"op": "x"})).map_err(|e| e.code), Err(400));
        assert_eq!(apply(&json!({}), PatchKind::Merge, &json!([])).map_err(|e| e.code), Err(400));
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let got = strategic(
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        );
        assert_eq!(got, json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}));
    }
}
