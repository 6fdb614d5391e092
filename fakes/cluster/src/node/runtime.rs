//! The fake container runtime: which containers exist on a node and what they were created with, so that expectations
//! can look into them. Like a real runtime's, its containers outlive the kubelet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plugin_api::deviceplugin::{DeviceSpec, Mount};
use serde::Serialize;
use serde_json::Value;

use super::cdi::{self, Injected};
use crate::kubelet::ledger::{DeviceList, RunOptions};

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MountSnapshot {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node.
    pub host_path: String,
    /// True when it cannot be written.
    pub read_only: bool,
}

/// One device node of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DeviceSnapshot {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node.
    pub host_path: String,
    /// cgroup permissions, such as `rw`.
    pub permissions: String,
}

/// A container as the runtime created it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerSnapshot {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// False once it has ended.
    pub running: bool,
    /// How often it was created again.
    pub restarts: u32,
    /// Environment: the device plugins' variables, overridden by those of the pod.
    pub env: BTreeMap<String, String>,
    /// Mounts that device plugins asked for.
    pub mounts: Vec<MountSnapshot>,
    /// Device nodes that device plugins asked for.
    pub devices: Vec<DeviceSnapshot>,
    /// Annotations that device plugins asked for.
    pub annotations: BTreeMap<String, String>,
    /// Qualified CDI device names, from the CRI's field and from annotations.
    pub cdi_devices: Vec<String>,
    /// What these names added.
    pub injected: Injected,
    /// Device IDs by resource, as the kubelet recorded them.
    pub ids: BTreeMap<String, Vec<String>>,
    /// The lists from which the pod's devices were chosen, with their resources.
    #[serde(skip)]
    pub chosen_from: Vec<(String, DeviceList)>,
}

impl ContainerSnapshot {
    /// A container as created from its pod, its spec and what the device plugins answered.
    pub(super) fn new(
        pod: &Value,
        spec: &Value,
        options: &RunOptions,
        ids: BTreeMap<String, Vec<String>>,
    ) -> ContainerSnapshot {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let mut env = options.envs.clone();
        for variable in spec["env"].as_array().into_iter().flatten() {
            env.insert(text(&variable["name"]), text(&variable["value"]));
        }
        let metadata = &pod["metadata"];
        ContainerSnapshot {
            namespace: text(&metadata["namespace"]),
            pod: text(&metadata["name"]),
            pod_uid: text(&metadata["uid"]),
            container: text(&spec["name"]),
            running: true,
            restarts: 0,
            env,
            mounts: options.mounts.iter().map(mount).collect(),
            devices: options.devices.iter().map(device).collect(),
            annotations: options.annotations.clone(),
            cdi_devices: cdi::names(options),
            injected: Injected::default(),
            ids,
            chosen_from: Vec::new(),
        }
    }
}

fn mount(mount: &Mount) -> MountSnapshot {
    MountSnapshot {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        read_only: mount.read_only,
    }
}

fn device(device: &DeviceSpec) -> DeviceSnapshot {
    DeviceSnapshot {
        container_path: device.container_path.clone(),
        host_path: device.host_path.clone(),
        permissions: device.permissions.clone(),
    }
}

type Containers = BTreeMap<String, ContainerSnapshot>;

/// The containers of a node, by pod uid and container name; bounded by the pods bound to the node. This is the one
/// shared state of the fake runtime: the kubelet's tasks write it, the simulator reads it.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    pods: Mutex<BTreeMap<String, Containers>>,
}

impl Runtime {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Containers>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a created container in place of its predecessor and counts the restart.
    pub(super) fn created(&self, mut container: ContainerSnapshot) {
        let mut pods = self.lock();
        let containers = pods.entry(container.pod_uid.clone()).or_default();
        if let Some(before) = containers.get(&container.container) {
            container.restarts = before.restarts.saturating_add(1);
            if container.chosen_from.is_empty() {
                container.chosen_from.clone_from(&before.chosen_from);
            }
        }
        containers.insert(container.container.clone(), container);
    }

    /// Marks one container as ended; false when none of that name runs.
    pub(super) fn ended(&self, uid: &str, container: &str) -> bool {
        let mut pods = self.lock();
        let found = pods.get_mut(uid).and_then(|containers| containers.get_mut(container));
        found.is_some_and(|container| std::mem::replace(&mut container.running, false))
    }

    /// Marks all containers of a pod as ended.
    pub(super) fn all_ended(&self, uid: &str) {
        if let Some(containers) = self.lock().get_mut(uid) {
            containers.values_mut().for_each(|container| container.running = false);
        }
    }

    /// Forgets a pod.
    pub(super) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// The uids of pods that have or had containers here.
    pub(super) fn uids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The containers of one pod.
    pub(super) fn of_pod(&self, uid: &str) -> BTreeMap<String, ContainerSnapshot> {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// True when any container of the pod runs.
    pub(super) fn runs(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|containers| containers.values().any(|c| c.running))
    }

    /// All containers, by pod uid and container name.
    pub(super) fn all(&self) -> Vec<ContainerSnapshot> {
        self.lock().values().flat_map(|containers| containers.values().cloned()).collect()
    }
}
