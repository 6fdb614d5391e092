//! The Node object: what a kubelet registers and what its status tick writes, pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::settings::NodeSettings;
use crate::api::discovery::SERVER_VERSION;
use crate::api::podspec::is_extended;
use crate::api::{Quantity, Timestamp, set_condition};
use crate::kubelet::ledger::Capacity;

/// The labels every kubelet sets, and the node's own.
pub(super) fn labels(settings: &NodeSettings) -> BTreeMap<String, String> {
    let fixed = [
        ("kubernetes.io/hostname", settings.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ];
    let fixed = fixed.map(|(key, value)| (key.to_string(), value.to_string()));
    fixed.into_iter().chain(settings.labels.clone()).collect()
}

/// A new node, not ready yet.
pub(super) fn new_node(settings: &NodeSettings) -> Value {
    json!({"metadata": {"name": settings.name, "labels": labels(settings)}, "spec": {}, "status": {}})
}

/// Sets all extended resources to 0: a kubelet does this at registration when no plugin has left anything behind.
pub(super) fn reset_extended(node: &mut Value) {
    for list in ["/status/capacity", "/status/allocatable"] {
        let amounts = node.pointer_mut(list).and_then(Value::as_object_mut);
        for (_, amount) in amounts.into_iter().flatten().filter(|(name, _)| is_extended(name)) {
            *amount = json!("0");
        }
    }
}

/// Writes what the kubelet reports: its own resources, the devices, and zeros for removed resources, whose keys stay for
/// ever. Extended resources that it does not know are kept.
pub(super) fn write(node: &mut Value, settings: &NodeSettings, devices: &Capacity, now: Timestamp) {
    let mut capacity = amounts(node, "capacity");
    let mut allocatable = amounts(node, "allocatable");
    allocatable.retain(|name, _| capacity.contains_key(name));
    for (name, amount) in &settings.capacity {
        capacity.insert(name.clone(), json!(amount));
    }
    for (name, amount) in &capacity {
        if !is_extended(name) || !allocatable.contains_key(name) {
            allocatable.insert(name.clone(), amount.clone());
        }
    }
    let mut set = |name: &String, all: u64, healthy: u64| {
        capacity.insert(name.clone(), json!(all.to_string()));
        allocatable.insert(name.clone(), json!(healthy.to_string()));
    };
    for (name, count) in &devices.resources {
        set(name, count.capacity, count.allocatable);
    }
    let removed: BTreeSet<&String> = devices.removed.iter().chain(&devices.removed_now).collect();
    for name in removed {
        set(name, 0, 0);
    }
    if !node["status"].is_object() {
        node["status"] = json!({});
    }
    let status = &mut node["status"];
    status["capacity"] = Value::Object(capacity);
    status["allocatable"] = Value::Object(allocatable);
    status["addresses"] = json!([{"type": "InternalIP", "address": settings.address},
        {"type": "Hostname", "address": settings.name}]);
    status["nodeInfo"] = json!({"kubeletVersion": SERVER_VERSION, "operatingSystem": "linux",
        "architecture": "amd64", "osImage": "Tandem simulated node", "containerRuntimeVersion": "tandem://1",
        "kernelVersion": "", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": ""});
    for (pressure, text) in [
        ("MemoryPressure", "kubelet has sufficient memory available"),
        ("DiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "kubelet has sufficient PID available"),
    ] {
        set_condition(node, pressure, false, &format!("KubeletHasNo{pressure}"), text, now);
    }
    set_condition(node, "Ready", true, "KubeletReady", "kubelet is posting ready status", now);
}

fn amounts(node: &Value, list: &str) -> Map<String, Value> {
    node["status"][list].as_object().cloned().unwrap_or_default()
}

/// The extended resources that the node shows as allocatable, keys with 0 included.
pub(super) fn extended_allocatable(node: &Value) -> BTreeMap<String, u64> {
    let amounts = amounts(node, "allocatable").into_iter().filter(|(name, _)| is_extended(name));
    amounts.filter_map(|(name, amount)| Some((name, Quantity::read(&amount)?.count()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::ledger::ResourceCount;
    use crate::kubelet::wire::KubeletSettings;

    const GPU: &str = "nvidia.com/gpu";

    fn settings() -> NodeSettings {
        NodeSettings::new("n1", KubeletSettings::new("/unused", "/unused"))
    }

    fn shown(node: &Value, name: &str) -> (Value, Value) {
        (node["status"]["capacity"][name].clone(), node["status"]["allocatable"][name].clone())
    }

    #[test]
    fn unhealthy_devices_lower_allocatable_and_removed_resources_keep_their_keys_with_zero() {
        let mut node = new_node(&settings());
        let mut devices = Capacity::default();
        devices.resources.insert(GPU.to_string(), ResourceCount { capacity: 4, allocatable: 3 });
        write(&mut node, &settings(), &devices, Timestamp::default());
        assert_eq!(shown(&node, GPU), (json!("4"), json!("3")));
        let gone = Capacity { removed: [GPU.to_string()].into(), ..Capacity::default() };
        write(&mut node, &settings(), &gone, Timestamp::default());
        assert_eq!(shown(&node, GPU), (json!("0"), json!("0")));
        write(&mut node, &settings(), &Capacity::default(), Timestamp::default());
        assert_eq!(shown(&node, GPU), (json!("0"), json!("0")));
        assert_eq!(extended_allocatable(&node), BTreeMap::from([(GPU.to_string(), 0)]));
    }

    #[test]
    fn extended_resources_of_an_operator_are_kept_and_one_without_capacity_is_dropped() {
        let mut node = new_node(&settings());
        node["status"] = json!({"capacity": {"example.com/foo": "3"},
            "allocatable": {"example.com/foo": "2", "example.com/bar": "1"}});
        write(&mut node, &settings(), &Capacity::default(), Timestamp::default());
        assert_eq!(shown(&node, "example.com/foo"), (json!("3"), json!("2")));
        assert_eq!(shown(&node, "example.com/bar"), (Value::Null, Value::Null));
        assert_eq!(shown(&node, "pods"), (json!("110"), json!("110")));
        reset_extended(&mut node);
        assert_eq!(shown(&node, "example.com/foo"), (json!("0"), json!("0")));
        assert_eq!(shown(&node, "cpu"), (json!("8"), json!("8")));
    }
}
