//! API objects as parts of the world's view; pure, because Kubernetes' shapes are easiest tried on samples.

use std::collections::BTreeMap;

use fake_cluster::node::ContainerSnapshot;
use fake_cluster::node::cdi::Injected;
use fake_cluster::node::runtime::DeviceSnapshot;
use serde_json::Value;

use crate::world::{Condition, ContainerView, NodeView, PodView, gpu_of, quantity};

/// The most events of a pod that are shown.
const EVENTS_MAX: usize = 20;
/// How the run's MPS root is written in the world's view.
const MPS_ROOT_SHOWN: &str = "<mpsRoot>";

/// What device plugins gave a container; paths below the run's MPS root are written `<mpsRoot>/…`.
pub(super) fn container(given: &ContainerSnapshot, mps_root: &str) -> ContainerView {
    let host = |path: &str| path.replacen(mps_root, MPS_ROOT_SHOWN, 1);
    let mounts = given.mounts.iter().map(|mount| {
        let suffix = if mount.read_only { " (ro)" } else { "" };
        format!("{} -> {}{suffix}", host(&mount.host_path), mount.container_path)
    });
    let devices = given
        .devices
        .iter()
        .map(|device| format!("{} -> {} ({})", device.host_path, device.container_path, device.permissions));
    ContainerView {
        env: given.env.clone(),
        mounts: mounts.collect(),
        devices: devices.collect(),
        cdi: given.cdi_devices.clone(),
        cdi_nodes: cdi_nodes(&given.injected),
    }
}

/// The device nodes to which CDI names led.
pub(in crate::on) fn cdi_nodes(injected: &Injected) -> Vec<String> {
    let shown = |d: &DeviceSnapshot| format!("{} -> {} ({})", d.host_path, d.container_path, d.permissions);
    injected.devices.iter().map(shown).collect()
}

/// A node's API object.
pub(in crate::on) fn node(object: &Value) -> NodeView {
    NodeView {
        ready: conditions(object).any(|c| text(c, "type") == "Ready" && text(c, "status") == "True"),
        labels: texts(object.pointer("/metadata/labels")),
        annotations: texts(object.pointer("/metadata/annotations")),
        taints: list(object.pointer("/spec/taints")).map(taint).collect(),
        capacity: quantities(object.pointer("/status/capacity")),
        allocatable: quantities(object.pointer("/status/allocatable")),
        ..NodeView::default()
    }
}

/// A pod's API object, its containers' settings, its device ids, and the events about it.
pub(in crate::on) fn pod(
    object: &Value,
    containers: BTreeMap<String, ContainerView>,
    ids: BTreeMap<String, Vec<String>>,
    events: &[&Value],
) -> PodView {
    let status = object.get("status").unwrap_or(&Value::Null);
    let first = object.pointer("/spec/containers/0/name").and_then(Value::as_str).unwrap_or_default();
    let given = containers.get(first).cloned().unwrap_or_default();
    let mut gpus: Vec<String> = ids.values().flatten().map(|id| gpu_of(id).to_owned()).collect();
    gpus.sort();
    gpus.dedup();
    PodView {
        phase: text(status, "phase"),
        reason: text(status, "reason"),
        message: text(status, "message"),
        node: object.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned),
        scheduled: conditions(object).find(|c| text(c, "type") == "PodScheduled").map(|c| Condition {
            status: text(c, "status"),
            reason: text(c, "reason"),
            message: text(c, "message"),
        }),
        labels: texts(object.pointer("/metadata/labels")),
        resources: asked(object),
        ids,
        gpus,
        replicas: BTreeMap::new(),
        env: given.env,
        mounts: given.mounts,
        devices: given.devices,
        cdi: given.cdi,
        cdi_nodes: given.cdi_nodes,
        containers,
        events: events
            .iter()
            .take(EVENTS_MAX)
            .map(|event| format!("{}: {}", text(event, "reason"), text(event, "message")))
            .collect(),
        restarts: 0,
        ended: Vec::new(),
    }
}

fn asked(object: &Value) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for container in list(object.pointer("/spec/containers")) {
        for (resource, count) in quantities(container.pointer("/resources/limits")) {
            if let (true, Some(count)) = (resource.contains('/'), count.as_u64()) {
                let sum = sums.entry(resource).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }
    sums
}

fn taint(object: &Value) -> String {
    match text(object, "value").as_str() {
        "" => format!("{}:{}", text(object, "key"), text(object, "effect")),
        value => format!("{}={value}:{}", text(object, "key"), text(object, "effect")),
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    list(object.pointer("/status/conditions"))
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| value.as_str().map(|text| (key.clone(), text.to_owned()))).collect()
}

fn quantities(value: Option<&Value>) -> BTreeMap<String, Value> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), quantity(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_cluster::node::runtime::MountSnapshot;
    use serde_json::json;

    #[test]
    fn a_node_shows_readiness_taints_and_whole_quantities_as_numbers() {
        let view = node(&json!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}, {"key": "k2", "effect": "NoExecute"}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "capacity": {"nvidia.com/gpu": "4", "memory": "64Gi"},
            },
        }));
        assert!(view.ready);
        assert_eq!(view.taints, ["k=v:NoSchedule", "k2:NoExecute"]);
        assert_eq!(view.capacity["nvidia.com/gpu"], 4);
        assert_eq!(view.capacity["memory"], "64Gi");
        assert!(view.allocatable.is_empty());
    }

    #[test]
    fn a_container_shows_its_mounts_without_the_paths_of_the_run() {
        let mount = |host: &str, read_only| MountSnapshot {
            container_path: "/in".into(),
            host_path: host.into(),
            read_only,
        };
        let device = DeviceSnapshot {
            container_path: "/dev/nvidia0".into(),
            host_path: "/dev/nvidia0".into(),
            permissions: "rw".into(),
        };
        let given = ContainerSnapshot {
            mounts: vec![mount("/tmp/run/n/mps/shm", false), mount("/dev/null", true)],
            devices: vec![device],
            ..ContainerSnapshot::default()
        };
        let view = container(&given, "/tmp/run/n/mps");
        assert_eq!(view.mounts, ["<mpsRoot>/shm -> /in", "/dev/null -> /in (ro)"]);
        assert_eq!(view.devices, ["/dev/nvidia0 -> /dev/nvidia0 (rw)"]);
    }

    #[test]
    fn a_pod_shows_what_it_asked_for_what_it_got_and_why_it_waits() {
        let object = json!({
            "spec": {"nodeName": "n1", "containers": [
                {"name": "main", "resources": {"limits": {"nvidia.com/gpu.shared": "1", "cpu": "2"}}},
                {"name": "side", "resources": {"limits": {"nvidia.com/gpu.shared": 1}}},
            ]},
            "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"},
            ]},
        });
        let env = BTreeMap::from([("A".to_owned(), "B".to_owned())]);
        let containers = [("main".to_owned(), ContainerView { env, ..ContainerView::default() })].into();
        let ids =
            [("nvidia.com/gpu.shared".to_owned(), vec!["GPU-b::1".to_owned(), "GPU-a::0".to_owned()])].into();
        let event = json!({"reason": "Pulled", "message": "done"});
        let view = pod(&object, containers, ids, &[&event]);
        assert_eq!(view.resources["nvidia.com/gpu.shared"], 2);
        assert!(!view.resources.contains_key("cpu"));
        assert_eq!(view.gpus, ["GPU-a", "GPU-b"]);
        assert_eq!(view.env["A"], "B");
        assert_eq!(view.scheduled.unwrap().message, "0/3 nodes");
        assert_eq!(view.events, ["Pulled: done"]);
        assert_eq!(view.node.as_deref(), Some("n1"));
    }
}
