//! What the kubelet reads from a pod and writes into its status, pure: requests for the device manager in, conditions
//! and container statuses out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::runtime::ContainerSnapshot;
use crate::api::podspec::is_extended;
use crate::api::{Quantity, Timestamp, set_condition};
use crate::kubelet::pod::{ContainerKind, ContainerRequest, PodRequest, Rejection};

/// The containers of a pod's spec in the order in which they are created.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = (&Value, ContainerKind)> {
    let list = |field: &str| pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
    let init = list("initContainers").iter().map(|container| {
        let sidecar = container["restartPolicy"] == "Always";
        (container, if sidecar { ContainerKind::Sidecar } else { ContainerKind::Init })
    });
    init.chain(list("containers").iter().map(|container| (container, ContainerKind::App)))
}

/// What the device manager is told about a pod.
pub(super) fn request(pod: &Value) -> PodRequest {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let metadata = &pod["metadata"];
    let containers = containers(pod).map(|(container, kind)| {
        let limits = container["resources"]["limits"].as_object().into_iter().flatten();
        let limits = limits.filter(|(name, _)| is_extended(name));
        let limits =
            limits.filter_map(|(name, amount)| Some((name.clone(), Quantity::read(amount)?.count())));
        ContainerRequest { name: text(&container["name"]), kind, limits: limits.collect() }
    });
    PodRequest {
        uid: text(&metadata["uid"]),
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]),
        containers: containers.collect(),
    }
}

/// A pod refused at admission: it has failed for good.
pub(super) fn rejected(pod: &mut Value, rejection: &Rejection, now: Timestamp) {
    pod["status"]["phase"] = json!("Failed");
    pod["status"]["reason"] = json!(rejection.reason);
    pod["status"]["message"] = json!(rejection.message);
    pod["status"]["startTime"] = json!(now.rfc3339());
}

/// A container that could not be created; the pod stays pending.
pub(super) fn waiting(pod: &mut Value, container: &str, why: &str) {
    let statuses = pod["spec"]["containers"].as_array().into_iter().flatten();
    let statuses: Vec<Value> = statuses
        .map(|spec| {
            let (reason, message) = if spec["name"] == container {
                ("CreateContainerConfigError", json!(why))
            } else {
                ("ContainerCreating", Value::Null)
            };
            let mut state = json!({"waiting": {"reason": reason}});
            if !message.is_null() {
                state["waiting"]["message"] = message;
            }
            json!({"name": spec["name"], "image": spec["image"], "imageID": "", "ready": false, "started": false,
                "restartCount": 0, "state": state, "lastState": {}})
        })
        .collect();
    pod["status"]["containerStatuses"] = json!(statuses);
}

/// A pod with its containers as the runtime has them. `health` answers for a resource and device ID.
pub(super) fn running(
    pod: &mut Value,
    present: &BTreeMap<String, ContainerSnapshot>,
    address: &str,
    health: impl Fn(&str, &str) -> &'static str,
    now: Timestamp,
) {
    let (mut init, mut app) = (Vec::new(), Vec::new());
    let before = pod["status"].clone();
    for (spec, kind) in containers(pod) {
        let name = spec["name"].as_str().unwrap_or_default();
        let Some(container) = present.get(name) else {
            continue;
        };
        let list = if kind == ContainerKind::App { "containerStatuses" } else { "initContainerStatuses" };
        let old = before[list].as_array().into_iter().flatten().find(|status| status["name"] == name);
        let mut status = container_status(spec, container, old, now);
        if kind == ContainerKind::App {
            let health = resource_health(container, &health);
            if !health.is_empty() {
                status["allocatedResourcesStatus"] = json!(health);
            }
            app.push(status);
        } else {
            init.push(status);
        }
    }
    let status = &mut pod["status"];
    status["phase"] = json!("Running");
    status["hostIP"] = json!(address);
    if status["startTime"].is_null() {
        status["startTime"] = json!(now.rfc3339());
    }
    status["containerStatuses"] = json!(app);
    if !init.is_empty() {
        status["initContainerStatuses"] = json!(init);
    }
    for condition in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
        set_condition(pod, condition, true, "", "", now);
    }
}

fn container_status(
    spec: &Value,
    container: &ContainerSnapshot,
    old: Option<&Value>,
    now: Timestamp,
) -> Value {
    let again = old.is_some_and(|old| old["restartCount"] != container.restarts);
    let known = old.filter(|_| !again).map(|old| old["state"].clone());
    let state = match known {
        Some(state) if state["running"].is_object() == container.running && state["waiting"].is_null() => {
            state
        }
        _ if container.running => json!({"running": {"startedAt": now.rfc3339()}}),
        _ => json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now.rfc3339()}}),
    };
    let last = match old {
        Some(old) if again => json!({"terminated": {"exitCode": 0, "reason": "Completed",
            "startedAt": old["state"]["running"]["startedAt"], "finishedAt": now.rfc3339()}}),
        Some(old) => old["lastState"].clone(),
        None => json!({}),
    };
    let id = format!("tandem://{}/{}/{}", container.pod_uid, container.container, container.restarts);
    json!({"name": spec["name"], "image": spec["image"], "imageID": spec["image"], "containerID": id,
        "ready": true, "started": container.running, "restartCount": container.restarts, "state": state,
        "lastState": last})
}

/// `allocatedResourcesStatus` (KEP-4680).
fn resource_health(container: &ContainerSnapshot, health: impl Fn(&str, &str) -> &'static str) -> Vec<Value> {
    let of_resource = |(resource, ids): (&String, &Vec<String>)| {
        let devices: Vec<Value> =
            ids.iter().map(|id| json!({"resourceID": id, "health": health(resource, id)})).collect();
        json!({"name": resource, "resources": devices})
    };
    container.ids.iter().map(of_resource).collect()
}

/// A pod whose containers have all ended for good with `exit_code`.
pub(super) fn ended(pod: &mut Value, exit_code: i32, now: Timestamp) {
    let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    pod["status"]["phase"] = json!(phase);
    let statuses = pod.pointer_mut("/status/containerStatuses").and_then(Value::as_array_mut);
    for status in statuses.into_iter().flatten() {
        let started = status["state"]["running"]["startedAt"].clone();
        status["ready"] = json!(false);
        status["started"] = json!(false);
        status["state"] = json!({"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": started,
            "finishedAt": now.rfc3339(), "containerID": status["containerID"]}});
    }
    let why = if exit_code == 0 { "PodCompleted" } else { "PodFailed" };
    for condition in ["Ready", "ContainersReady"] {
        set_condition(pod, condition, false, why, "", now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_manager_is_told_limits_of_extended_resources_only() {
        let pod = json!({"metadata": {"uid": "u", "namespace": "d", "name": "p"}, "spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "nvidia.com/gpu": "2"}}}]}});
        let request = request(&pod);
        let kinds: Vec<_> = request.containers.iter().map(|c| (c.name.as_str(), c.kind)).collect();
        assert_eq!(
            kinds,
            [("i", ContainerKind::Init), ("s", ContainerKind::Sidecar), ("c", ContainerKind::App)]
        );
        assert_eq!(request.containers[2].limits, BTreeMap::from([("nvidia.com/gpu".to_string(), 2)]));
    }

    #[test]
    fn a_running_pod_shows_its_devices_with_their_health_and_writes_the_same_twice() {
        let mut pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {}});
        let spec = pod["spec"]["containers"][0].clone();
        let ids = BTreeMap::from([("nvidia.com/gpu".to_string(), vec!["GPU-1".to_string()])]);
        let container = ContainerSnapshot::new(&pod, &spec, &Default::default(), ids);
        let present = BTreeMap::from([("c".to_string(), container)]);
        running(&mut pod, &present, "10.0.0.1", |_, _| "Unhealthy", Timestamp::from_seconds(1));
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(
            status["allocatedResourcesStatus"],
            json!([{"name": "nvidia.com/gpu", "resources": [{"resourceID": "GPU-1", "health": "Unhealthy"}]}])
        );
        let before = pod.clone();
        running(&mut pod, &present, "10.0.0.1", |_, _| "Unhealthy", Timestamp::from_seconds(99));
        assert_eq!(pod, before);
    }

    #[test]
    fn a_pod_ends_with_the_phase_of_its_exit_code() {
        for (code, phase) in [(0, "Succeeded"), (137, "Failed")] {
            let mut pod =
                json!({"status": {"containerStatuses": [{"state": {"running": {"startedAt": "x"}}}]}});
            ended(&mut pod, code, Timestamp::from_seconds(1));
            assert_eq!(pod["status"]["phase"], phase);
            assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], code);
        }
    }
}
