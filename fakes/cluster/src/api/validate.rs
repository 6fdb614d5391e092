//! What may be stored: the checks that every resource shares and those of each kind, so that a scenario's
//! object that a real API server would refuse never gets into the store.

use serde_json::{Map, Value, json};

use super::error::{ApiError, FieldError};
use super::names;
use super::podspec;
use super::quantity::Quantity;
use super::resource::Resource;

/// All values of one config map together, in bytes.
const CONFIG_MAP_BYTES_MAX: usize = 1024 * 1024;

/// Brings an object into the form in which it is stored and compared, at creation and at every change.
pub fn normalise(resource: Resource, object: &mut Value) {
    match resource {
        Resource::Pods => podspec::normalise_amounts(object),
        Resource::Nodes => {
            for list in ["/status/capacity", "/status/allocatable"] {
                podspec::numbers_to_text(object.pointer_mut(list));
            }
        }
        _ => {}
    }
}

/// Fills in an object's defaults at creation. The object must be a JSON object.
pub fn set_defaults(resource: Resource, object: &mut Value) {
    match resource {
        Resource::Pods => podspec::default_pod(object),
        Resource::Nodes => default_node(object),
        Resource::Namespaces => {
            object["status"] = json!({"phase": "Active"});
            object["spec"] = json!({"finalizers": ["kubernetes"]});
        }
        Resource::Deployments if object["spec"].is_object() && object["spec"]["replicas"].is_null() => {
            object["spec"]["replicas"] = json!(1);
        }
        _ => {}
    }
}

fn default_node(node: &mut Value) {
    for part in ["spec", "status"] {
        if !node[part].is_object() {
            node[part] = json!({});
        }
    }
    let status = &mut node["status"];
    if status["allocatable"].is_null() && status["capacity"].is_object() {
        status["allocatable"] = status["capacity"].clone();
    }
}

/// Refuses an object that may not be stored. `old` is the object it replaces.
///
/// # Errors
/// 422 with every wrong field.
pub fn check(resource: Resource, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut errors = check_metadata(resource, object, old);
    match (resource, old) {
        (Resource::Pods, None) => errors.extend(podspec::check_pod(object)),
        (Resource::Pods, Some(old)) => errors.extend(podspec::check_pod_update(old, object)),
        (Resource::Nodes, _) => errors.extend(check_node(object)),
        (Resource::ConfigMaps, _) => errors.extend(check_config_map(object, old)),
        (Resource::DaemonSets | Resource::Deployments, _) => errors.extend(check_workload(object)),
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(resource, name, &errors)) }
}

fn check_metadata(resource: Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    let must_be_label = resource == Resource::Namespaces;
    match metadata["name"].as_str() {
        None | Some("") => {
            errors.push(FieldError::required("metadata.name", "name or generateName is required"))
        }
        Some(name) => {
            if let Some(why) = names::name_problem(name, must_be_label) {
                errors.push(FieldError::invalid("metadata.name", &metadata["name"], why));
            }
        }
    }
    for map in ["labels", "annotations"] {
        if !metadata[map].is_null() && !metadata[map].is_object() {
            let field = format!("metadata.{map}");
            errors.push(FieldError::invalid(field, &metadata[map], "must be a map of strings"));
        }
    }
    errors.extend(names::check_labels(&metadata["labels"], "metadata.labels"));
    errors.extend(names::check_annotations(&metadata["annotations"]));
    for field in ["uid", "name", "namespace", "creationTimestamp"] {
        if let Some(old) = old
            && old["metadata"][field] != metadata[field]
        {
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                &metadata[field],
                "field is immutable",
            ));
        }
    }
    errors
}

fn check_node(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<(&Value, &Value)> = Vec::new();
    for (at, taint) in node["spec"]["taints"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.taints[{at}]");
        let key = taint["key"].as_str().unwrap_or_default();
        if let Some(why) = names::key_problem(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), &json!(key), why));
        }
        if let Some(why) = taint["value"].as_str().and_then(names::value_problem) {
            errors.push(FieldError::invalid(format!("{path}.value"), &taint["value"], why));
        }
        if !matches!(taint["effect"].as_str(), Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")) {
            let why = "supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"";
            errors.push(FieldError::invalid(format!("{path}.effect"), &taint["effect"], why));
        }
        if seen.contains(&(&taint["key"], &taint["effect"])) {
            errors.push(FieldError::duplicate(path, taint));
        }
        seen.push((&taint["key"], &taint["effect"]));
    }
    for list in ["capacity", "allocatable"] {
        for (name, amount) in node["status"][list].as_object().into_iter().flatten() {
            let field = format!("status.{list}[{name}]");
            match Quantity::read(amount) {
                None => errors.push(FieldError::invalid(
                    field,
                    amount,
                    "must be a quantity such as 4, 500m or 2Gi",
                )),
                Some(q) if podspec::is_extended(name) && !q.is_whole() => {
                    errors.push(FieldError::invalid(field, amount, "must be an integer"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

fn check_config_map(map: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for list in ["data", "binaryData"] {
        if !map[list].is_null() && !map[list].is_object() {
            errors.push(FieldError::invalid(list, &map[list], "must be a map of strings"));
        }
        for (key, value) in map[list].as_object().into_iter().flatten() {
            bytes += key.len() + value.as_str().map_or(0, str::len);
            if !is_config_key(key) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
                           (regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(format!("{list}[{key}]"), &json!(key), why));
            }
            if !value.is_string() {
                errors.push(FieldError::invalid(format!("{list}[{key}]"), value, "must be a string"));
            }
        }
    }
    if bytes > CONFIG_MAP_BYTES_MAX {
        errors.push(FieldError {
            field: String::new(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {CONFIG_MAP_BYTES_MAX} bytes"),
        });
    }
    if let Some(old) = old.filter(|old| old["immutable"] == true) {
        for field in ["data", "binaryData", "immutable"] {
            if old[field] != map[field] {
                errors.push(FieldError::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    errors
}

fn is_config_key(key: &str) -> bool {
    key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && (1..=names::SUBDOMAIN_BYTES_MAX).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
}

fn check_workload(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let wanted = spec["selector"]["matchLabels"].as_object();
    let empty = Map::new();
    match wanted {
        None => vec![FieldError::required("spec.selector", "")],
        Some(wanted) => {
            let labels = spec["template"]["metadata"]["labels"].as_object().unwrap_or(&empty);
            if wanted.iter().all(|(key, value)| labels.get(key) == Some(value)) {
                Vec::new()
            } else {
                let why = "`selector` does not match template `labels`";
                vec![FieldError::invalid("spec.template.metadata.labels", &json!(labels), why)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(resource: Resource, object: Value) -> String {
        check(resource, &object, None).expect_err("this object must be refused").message
    }

    #[test]
    fn a_taint_needs_a_key_and_a_known_effect() {
        let node = |taints| json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
        assert!(check(Resource::Nodes, &node(json!([{"key": "a", "effect": "NoSchedule"}])), None).is_ok());
        let message = refused(Resource::Nodes, node(json!([{"key": "a b", "effect": "Never"}])));
        assert!(
            message.contains("spec.taints[0].key") && message.contains("spec.taints[0].effect"),
            "{message}"
        );
        let twice =
            json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule", "value": "x"}]);
        assert!(refused(Resource::Nodes, node(twice)).contains("Duplicate"));
    }

    #[test]
    fn a_node_has_whole_devices_only() {
        let node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"nvidia.com/gpu": "1500m", "cpu": "1500m"}}});
        let message = refused(Resource::Nodes, node);
        assert!(
            message.contains("status.capacity[nvidia.com/gpu]") && !message.contains("[cpu]"),
            "{message}"
        );
    }

    #[test]
    fn keys_of_a_config_map_are_file_names() {
        let map = |key: &str| json!({"metadata": {"name": "c"}, "data": {key: "v"}});
        for key in ["default", "mps-config", "a.yaml", "_"] {
            assert!(check(Resource::ConfigMaps, &map(key), None).is_ok(), "{key}");
        }
        for key in ["..data", "a/b", ".", ""] {
            assert!(refused(Resource::ConfigMaps, map(key)).contains("config key"), "{key}");
        }
    }

    #[test]
    fn an_immutable_config_map_keeps_its_data() {
        let old = json!({"metadata": {"name": "c"}, "immutable": true, "data": {"a": "1"}});
        let new = json!({"metadata": {"name": "c"}, "immutable": true, "data": {"a": "2"}});
        assert!(check(Resource::ConfigMaps, &old, Some(&old)).is_ok());
        assert!(check(Resource::ConfigMaps, &new, Some(&old)).is_err());
    }
}
