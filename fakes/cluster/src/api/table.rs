//! Tables, because `kubectl get` prints what the server lays out: one column list and one row function per resource.

use serde_json::{Value, json};

use super::resource::Resource;
use super::timestamp::Timestamp;

/// What each row carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Only the metadata (the default).
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    Nothing,
}

/// A column: its heading, and true when only `-o wide` shows it.
type Column = (&'static str, bool);

/// The objects as a `meta.k8s.io/v1` Table.
pub fn table(
    resource: Resource,
    objects: &[&Value],
    include: Include,
    revision: Option<u64>,
    now: Timestamp,
) -> Value {
    let definitions: Vec<Value> = columns(resource)
        .iter()
        .map(|(name, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| json!({"cells": cells(resource, object, now), "object": carried(object, include)}))
        .collect();
    let version = revision.map_or(json!({}), |revision| json!({"resourceVersion": revision.to_string()}));
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": version,
        "columnDefinitions": definitions, "rows": rows})
}

fn carried(object: &Value, include: Include) -> Value {
    match include {
        Include::Nothing => Value::Null,
        Include::Object => object.clone(),
        Include::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"]}),
    }
}

fn columns(resource: Resource) -> &'static [Column] {
    match resource {
        Resource::Nodes => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("External-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
            ("Container-Runtime", true),
        ],
        Resource::Pods => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        Resource::Events => &[
            ("Last Seen", false),
            ("Type", false),
            ("Reason", false),
            ("Object", false),
            ("Source", true),
            ("Message", false),
            ("Count", true),
            ("Name", true),
        ],
        Resource::ConfigMaps => &[("Name", false), ("Data", false), ("Age", false)],
        Resource::Namespaces => &[("Name", false), ("Status", false), ("Age", false)],
        Resource::ServiceAccounts => &[("Name", false), ("Secrets", false), ("Age", false)],
        Resource::Leases => &[("Name", false), ("Holder", false), ("Age", false)],
        Resource::Deployments => {
            &[("Name", false), ("Ready", false), ("Up-to-date", false), ("Available", false), ("Age", false)]
        }
        Resource::DaemonSets => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Up-to-date", false),
            ("Available", false),
            ("Node Selector", false),
            ("Age", false),
        ],
        Resource::RuntimeClasses => &[("Name", false), ("Handler", false), ("Age", false)],
        Resource::ClusterRoles | Resource::Roles => &[("Name", false), ("Created At", false)],
        Resource::ClusterRoleBindings | Resource::RoleBindings => {
            &[("Name", false), ("Role", false), ("Age", false)]
        }
        Resource::ValidatingAdmissionPolicies => {
            &[("Name", false), ("Validations", false), ("ParamKind", false), ("Age", false)]
        }
        Resource::ValidatingAdmissionPolicyBindings => {
            &[("Name", false), ("PolicyName", false), ("ParamRef", false), ("Age", false)]
        }
    }
}

fn cells(resource: Resource, object: &Value, now: Timestamp) -> Vec<String> {
    let metadata = &object["metadata"];
    let name = text(&metadata["name"]);
    let age = age(&metadata["creationTimestamp"], now);
    let status = &object["status"];
    match resource {
        Resource::Nodes => node_cells(object, name, age),
        Resource::Pods => pod_cells(object, name, age),
        Resource::Events => {
            let involved = &object["involvedObject"];
            let about = format!("{}/{}", text(&involved["kind"]).to_lowercase(), text(&involved["name"]));
            vec![
                self::age(&object["lastTimestamp"], now),
                text(&object["type"]),
                text(&object["reason"]),
                about,
                text(&object["source"]["component"]),
                text(&object["message"]),
                count(&object["count"]),
                name,
            ]
        }
        Resource::ConfigMaps => {
            let size = |field: &str| object[field].as_object().map_or(0, |map| map.len());
            vec![name, (size("data") + size("binaryData")).to_string(), age]
        }
        Resource::Namespaces => vec![name, text(&status["phase"]), age],
        Resource::ServiceAccounts => {
            vec![name, object["secrets"].as_array().map_or(0, Vec::len).to_string(), age]
        }
        Resource::Leases => vec![name, text(&object["spec"]["holderIdentity"]), age],
        Resource::Deployments => {
            let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&object["spec"]["replicas"]));
            vec![name, ready, count(&status["updatedReplicas"]), count(&status["availableReplicas"]), age]
        }
        Resource::DaemonSets => {
            let n = |field: &str| count(&status[field]);
            let selector = pairs(&object["spec"]["template"]["spec"]["nodeSelector"]);
            vec![
                name,
                n("desiredNumberScheduled"),
                n("currentNumberScheduled"),
                n("numberReady"),
                n("updatedNumberScheduled"),
                n("numberAvailable"),
                selector,
                age,
            ]
        }
        Resource::RuntimeClasses => vec![name, text(&object["handler"]), age],
        Resource::ClusterRoles | Resource::Roles => vec![name, text(&metadata["creationTimestamp"])],
        Resource::ClusterRoleBindings | Resource::RoleBindings => {
            let role = &object["roleRef"];
            vec![name, format!("{}/{}", text(&role["kind"]), text(&role["name"])), age]
        }
        Resource::ValidatingAdmissionPolicies => {
            let validations = object["spec"]["validations"].as_array().map_or(0, Vec::len);
            let parameters = object["spec"]["paramKind"]["kind"].as_str().unwrap_or("<unset>");
            vec![name, validations.to_string(), parameters.to_string(), age]
        }
        Resource::ValidatingAdmissionPolicyBindings => {
            let parameters = object["spec"]["paramRef"]["name"].as_str().unwrap_or("<unset>");
            vec![name, text(&object["spec"]["policyName"]), parameters.to_string(), age]
        }
    }
}

fn node_cells(node: &Value, name: String, age: String) -> Vec<String> {
    let ready = node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| c["status"].as_str()) {
        Some(Some("True")) => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_string();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> = node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flat_map(|labels| labels.keys())
        .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let address = |kind: &str| {
        let list = node["status"]["addresses"].as_array();
        or_none(
            list.into_iter()
                .flatten()
                .find(|a| a["type"] == kind)
                .map_or("", |a| a["address"].as_str().unwrap_or("")),
        )
    };
    let info = |field: &str| match text(&node["status"]["nodeInfo"][field]) {
        empty if empty.is_empty() => "<unknown>".to_string(),
        known => known,
    };
    vec![
        name,
        status,
        or_none(&roles.join(",")),
        age,
        text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn pod_cells(pod: &Value, name: String, age: String) -> Vec<String> {
    let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let statuses: Vec<&Value> = pod["status"]["containerStatuses"].as_array().into_iter().flatten().collect();
    let ready = statuses.iter().filter(|s| s["ready"] == true).count();
    let restarts: u64 = statuses.iter().filter_map(|s| s["restartCount"].as_u64()).sum();
    vec![
        name,
        format!("{ready}/{containers}"),
        pod_status(pod, &statuses),
        restarts.to_string(),
        age,
        or_none(pod["status"]["podIP"].as_str().unwrap_or_default()),
        or_none(pod["spec"]["nodeName"].as_str().unwrap_or_default()),
        or_none(pod["status"]["nominatedNodeName"].as_str().unwrap_or_default()),
        or_none(""),
    ]
}

/// The word kubectl shows: why the pod failed or what its first waiting or ended container says, else its phase.
fn pod_status(pod: &Value, statuses: &[&Value]) -> String {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".to_string();
    }
    if let Some(reason) = pod["status"]["reason"].as_str() {
        return reason.to_string();
    }
    let of_container = statuses.iter().find_map(|s| {
        let state = &s["state"];
        state["waiting"]["reason"].as_str().or(state["terminated"]["reason"].as_str())
    });
    of_container.map_or_else(|| text(&pod["status"]["phase"]), str::to_string)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn count(value: &Value) -> String {
    value.as_u64().unwrap_or(0).to_string()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_string() } else { text.to_string() }
}

fn pairs(map: &Value) -> String {
    let pairs: Vec<String> =
        map.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", text(v))).collect();
    or_none(&pairs.join(","))
}

fn age(created: &Value, now: Timestamp) -> String {
    let created = created.as_str().and_then(Timestamp::parse);
    created.map_or_else(|| "<unknown>".to_string(), |created| created.age(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        for resource in Resource::ALL {
            let object = json!({"metadata": {"name": "x"}});
            let cells = cells(resource, &object, Timestamp::default());
            assert_eq!(cells.len(), columns(resource).len(), "{resource:?}");
        }
    }

    #[test]
    fn a_refused_pod_shows_its_reason_and_a_cordoned_node_says_so() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}]},
            "status": {"phase": "Failed", "reason": "UnexpectedAdmissionError"}});
        assert_eq!(
            cells(Resource::Pods, &pod, Timestamp::default())[1..3],
            ["0/1", "UnexpectedAdmissionError"]
        );
        let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(cells(Resource::Nodes, &node, Timestamp::default())[1], "Ready,SchedulingDisabled");
    }
}
