//! Defaulting and validation of pods, because a pod's resource requests decide where it runs and whether it is accepted at all.

use serde_json::{Map, Value, json};

use super::error::FieldError;
use super::names;
use super::quantity::Quantity;

/// Containers accepted in one pod, of each kind.
const CONTAINERS_MAX: usize = 64;

/// True for a resource that the kubelet does not measure itself, such as `nvidia.com/gpu`: integers only, request = limit.
pub fn is_extended(resource: &str) -> bool {
    resource.contains('/')
        && !resource.split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io"))
}

/// Fills in what the API server fills in at creation; leaves malformed parts for validation to refuse.
pub fn default_pod(pod: &mut Value) {
    if !pod["spec"].is_object() {
        return;
    }
    let spec = &mut pod["spec"];
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
        ("serviceAccountName", json!("default")),
        ("priority", json!(0)),
    ] {
        if spec[key].is_null() {
            spec[key] = value;
        }
    }
    default_tolerations(spec);
    for list in ["initContainers", "containers"] {
        for container in
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter(|c| c.is_object())
        {
            default_container(container);
        }
    }
    let class = qos_class(spec);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// Every pod tolerates a node that is not ready or unreachable for five minutes, unless it says otherwise.
fn default_tolerations(spec: &mut Value) {
    if spec["tolerations"].is_null() {
        spec["tolerations"] = json!([]);
    }
    let Some(list) = spec["tolerations"].as_array_mut() else {
        return;
    };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let told = |t: &Value| t["key"] == key || (t["key"].is_null() && t["operator"] == "Exists");
        if !list.iter().any(told) {
            list.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}

fn default_container(container: &mut Value) {
    for (key, value) in [
        ("imagePullPolicy", "IfNotPresent"),
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "File"),
    ] {
        if container[key].is_null() {
            container[key] = json!(value);
        }
    }
    if container["resources"].is_null() {
        container["resources"] = json!({});
    }
    let resources = &mut container["resources"];
    let Some(limits) = resources["limits"].as_object().cloned() else {
        return;
    };
    if resources["requests"].is_null() {
        resources["requests"] = json!({});
    }
    if let Some(requests) = resources["requests"].as_object_mut() {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// Writes amounts given as numbers as text, the form in which Kubernetes stores quantities.
pub fn normalise_amounts(pod: &mut Value) {
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for kind in ["limits", "requests"] {
                numbers_to_text(container.pointer_mut(&format!("/resources/{kind}")));
            }
        }
    }
}

/// Replaces the numbers of one map of amounts by their text.
pub(super) fn numbers_to_text(amounts: Option<&mut Value>) {
    for amount in amounts.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if let Value::Number(number) = amount {
            *amount = json!(number.to_string());
        }
    }
}

/// Guaranteed, Burstable or BestEffort, from CPU and memory of the app containers.
fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = spec["containers"].as_array().into_iter().flatten().collect();
    let named = |c: &Value, list: &str, name: &str| !c["resources"][list][name].is_null();
    let any =
        |c: &&Value| ["limits", "requests"].iter().any(|l| ["cpu", "memory"].iter().any(|n| named(c, l, n)));
    let full = |c: &&Value| {
        ["cpu", "memory"]
            .iter()
            .all(|n| named(c, "limits", n) && c["resources"]["limits"][*n] == c["resources"]["requests"][*n])
    };
    match (containers.iter().any(any), containers.iter().all(full)) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Everything wrong with a new pod, after defaulting.
pub fn check_pod(pod: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &pod["spec"];
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required("spec.containers", ""));
    }
    if !matches!(spec["restartPolicy"].as_str(), Some("Always" | "OnFailure" | "Never")) {
        let why = "supported values: \"Always\", \"OnFailure\", \"Never\"";
        errors.push(FieldError::invalid("spec.restartPolicy", &spec["restartPolicy"], why));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
        if containers.len() > CONTAINERS_MAX {
            errors.push(FieldError::forbidden(
                format!("spec.{list}"),
                &format!("must have at most {CONTAINERS_MAX} items"),
            ));
        }
        for (at, container) in containers.iter().enumerate().take(CONTAINERS_MAX) {
            check_container(container, &format!("spec.{list}[{at}]"), &mut seen, &mut errors);
        }
    }
    errors.extend(names::check_labels(&spec["nodeSelector"], "spec.nodeSelector"));
    errors
}

fn check_container<'a>(
    container: &'a Value,
    path: &str,
    seen: &mut Vec<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    match container["name"].as_str() {
        None | Some("") => errors.push(FieldError::required(format!("{path}.name"), "")),
        Some(name) => {
            if let Some(why) = names::name_problem(name, true) {
                errors.push(FieldError::invalid(format!("{path}.name"), &container["name"], why));
            }
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &container["name"]));
            }
            seen.push(name);
        }
    }
    if container["image"].as_str().is_none_or(str::is_empty) {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    for list in ["limits", "requests"] {
        for (name, amount) in container["resources"][list].as_object().into_iter().flatten() {
            check_amount(name, amount, &format!("{path}.resources.{list}"), errors);
        }
    }
    check_overcommit(&container["resources"], path, errors);
}

fn check_amount(name: &str, amount: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}[{name}]");
    if let Some(why) = names::key_problem(name) {
        errors.push(FieldError::invalid(path, &json!(name), why));
        return;
    }
    if !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid(
            field.clone(),
            &json!(name),
            "must be a standard resource type or fully qualified",
        ));
    }
    match Quantity::read(amount) {
        None => errors.push(FieldError::invalid(field, amount, "must be a quantity such as 4, 500m or 2Gi")),
        Some(quantity) if quantity.milli < 0 => {
            errors.push(FieldError::invalid(field, amount, "must be greater than or equal to 0"));
        }
        Some(quantity) if is_extended(name) && !quantity.is_whole() => {
            errors.push(FieldError::invalid(field, amount, "must be an integer"));
        }
        Some(_) => {}
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Extended resources cannot be overcommitted: a request needs an equal limit. A request above a limit is refused for all.
fn check_overcommit(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let field = format!("{path}.resources.requests");
        let limit = &resources["limits"][name.as_str()];
        let (asked, bound) = (Quantity::read(request), Quantity::read(limit));
        if limit.is_null() && is_extended(name) {
            let hint = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(format!("{path}.resources.limits"), hint));
        } else if let (Some(asked), Some(bound)) = (asked, bound) {
            let text = limit.as_str().unwrap_or_default();
            if is_extended(name) && asked != bound {
                errors.push(FieldError::invalid(
                    field,
                    request,
                    format!("must be equal to {name} limit of {text}"),
                ));
            } else if asked > bound {
                let why = format!("must be less than or equal to {name} limit of {text}");
                errors.push(FieldError::invalid(field, request, why));
            }
        }
    }
}

/// Refuses changes of a pod's spec other than the few that Kubernetes allows.
pub fn check_pod_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let kept_tolerations = |spec: &Value| spec["tolerations"].as_array().cloned().unwrap_or_default();
    let grown = {
        let new = kept_tolerations(&new["spec"]);
        kept_tolerations(&old["spec"]).iter().all(|t| new.contains(t))
    };
    if grown && frozen(&old["spec"]) == frozen(&new["spec"]) {
        return Vec::new();
    }
    let why = "pod updates may not change fields other than `spec.containers[*].image`, \
               `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to \
               existing tolerations), `spec.terminationGracePeriodSeconds`";
    vec![FieldError::forbidden("spec", why)]
}

/// The part of a spec that may never change.
fn frozen(spec: &Value) -> Value {
    let mut rest = spec.clone();
    if let Some(map) = rest.as_object_mut() {
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            map.remove(key);
        }
        for list in ["containers", "initContainers"] {
            for container in map.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(fields) = container.as_object_mut() {
                    fields.remove("image");
                }
            }
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "main", "image": "cuda", "resources": resources}]}});
        normalise_amounts(&mut pod);
        default_pod(&mut pod);
        pod
    }

    fn problems(resources: Value) -> Vec<String> {
        check_pod(&pod(resources)).iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn limits_become_requests_and_numbers_become_text() {
        let pod = pod(json!({"limits": {"nvidia.com/gpu": 1}}));
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(
            *resources,
            json!({"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}})
        );
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
        assert!(check_pod(&pod).is_empty());
    }

    #[test]
    fn extended_resources_are_whole_and_never_overcommitted() {
        assert_eq!(
            problems(json!({"limits": {"nvidia.com/gpu": "500m"}, "requests": {"nvidia.com/gpu": "500m"}}))
                [0],
            "spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: \"500m\": must be an integer"
        );
        assert_eq!(
            problems(json!({"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": 2}})),
            [
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be equal to nvidia.com/gpu limit of 1"
            ]
        );
        assert_eq!(
            problems(json!({"requests": {"nvidia.com/gpu": 2}})),
            [
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"
            ]
        );
        assert!(problems(json!({"requests": {"cpu": "500m"}})).is_empty());
    }

    #[test]
    fn a_container_needs_a_name_of_its_own_and_an_image() {
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "a"}, {"image": "x"}]}});
        default_pod(&mut pod);
        let fields: Vec<_> = check_pod(&pod).into_iter().map(|e| (e.field, e.reason)).collect();
        assert_eq!(
            fields,
            [
                ("spec.containers[1].name".to_string(), "FieldValueDuplicate"),
                ("spec.containers[1].image".to_string(), "FieldValueRequired"),
                ("spec.containers[2].name".to_string(), "FieldValueRequired"),
            ]
        );
    }

    #[test]
    fn a_pod_may_change_its_image_but_not_its_resources() {
        let old = pod(json!({"limits": {"nvidia.com/gpu": 1}}));
        let mut image = old.clone();
        image["spec"]["containers"][0]["image"] = json!("other");
        assert!(check_pod_update(&old, &image).is_empty());
        let more = pod(json!({"limits": {"nvidia.com/gpu": 2}}));
        assert_eq!(check_pod_update(&old, &more)[0].reason, "FieldValueForbidden");
        let mut fewer = old.clone();
        fewer["spec"]["tolerations"] = json!([]);
        assert_eq!(check_pod_update(&old, &fewer).len(), 1);
    }
}
