//! One Allocate as a pure function of the view: from device ids to what the container gets.
//!
//! The answers are NVIDIA's, byte for byte (k8s-device-plugin v0.20): environment, mounts and device nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::budget;
pub use crate::cdi::CdiEdits;
use crate::cdi::{self, answer};
use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::mps::pipe_dir;
use crate::view::{Device, MpsShare, ResourceView, Strategy, View};

/// The path in the container, below which MPS directories are mounted.
const MPS_CONTAINER_ROOT: &str = "/mps";
/// Where the volume-mounts strategy mounts one file per device.
const VOLUME_MOUNTS_ROOT: &str = "/var/run/nvidia-container-devices";
/// Most device ids in one request: more than 16 GPUs with the most replicas have, and less than a request's bytes hold.
pub const IDS_MAX: usize = 65_536;
/// Most bytes of an unknown id that are repeated in the refusal.
const ID_SHOWN_MAX: usize = 128;
/// The control nodes, in the order in which they are passed.
const CONTROL_NODES: [&str; 4] =
    ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"];

/// How containers are told about their devices: the settings that Allocate needs, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEdits {
    /// Strategy `envvar`: `NVIDIA_VISIBLE_DEVICES` lists the devices.
    pub envvar: bool,
    /// Strategy `volume-mounts`: one mount per device.
    pub volume_mounts: bool,
    /// Name devices by index instead of UUID.
    pub by_index: bool,
    /// Pass device nodes too.
    pub device_specs: bool,
    /// Control nodes that exist on this node.
    pub control_nodes: BTreeSet<String>,
    /// Host prefix of device nodes, without a trailing slash.
    pub dev_root: String,
    /// Host directory of MPS, for example `/run/nvidia/mps`.
    pub mps_root: String,
    /// `NVIDIA_GDRCOPY=enabled`.
    pub gdrcopy: bool,
    /// `NVIDIA_GDS=enabled`.
    pub gds: bool,
    /// `NVIDIA_MOFED=enabled`.
    pub mofed: bool,
    /// IMEX channels that every container gets.
    pub imex_channels: Vec<u32>,
    /// Strategies `cdi-annotations` and `cdi-cri`.
    pub cdi: CdiEdits,
}

/// A bind mount into the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
}

/// A device node for the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// What one container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Environment.
    pub envs: BTreeMap<String, String>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Device nodes, in order.
    pub device_nodes: Vec<DeviceNode>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Qualified CDI names, in order.
    #[serde(default)]
    pub cdi_devices: Vec<String>,
}

/// Why an Allocate is refused. The texts of the first two are NVIDIA's: users search for them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllocateError {
    /// An id that the resource does not have.
    #[error("invalid allocation request for {resource:?}: invalid request: unknown device: {id}")]
    UnknownDevice {
        /// The extended resource.
        resource: String,
        /// The id.
        id: String,
    },
    /// More than one shared device while the configuration forbids it.
    #[error(
        "invalid allocation request for {resource:?}: invalid request: maximum request size for shared resources is 1; found {found}"
    )]
    MoreThanOneShared {
        /// The extended resource.
        resource: String,
        /// How many ids were asked for.
        found: usize,
    },
    /// A device that is draining or ill.
    #[error(
        "device `{id}` of `{resource}` is not healthy: its GPU is ill or changing its role; the kubelet's device list is older than the plugin's"
    )]
    Unhealthy {
        /// The extended resource.
        resource: String,
        /// The id.
        id: String,
    },
    /// More ids than a node can have.
    #[error("{found} device ids of `{resource}` in one request, at most {IDS_MAX}")]
    TooMany {
        /// The extended resource.
        resource: String,
        /// How many ids were asked for.
        found: usize,
    },
    /// The resource is not served (any more).
    #[error("resource `{resource}` is not served by this plugin now")]
    NotServed {
        /// The extended resource.
        resource: String,
    },
}

/// See [`View::allocate`].
pub(crate) fn allocate(
    view: &View,
    resource: &ResourceName,
    ids: &[String],
) -> Result<Allocation, AllocateError> {
    let (served, devices) = requested(view, resource, ids)?;
    let edits = &view.edits;
    let mut out = Allocation::default();
    add_features(edits, &mut out);
    add_mps(edits, resource, &devices, &mut out);
    budget::add(served.budget, &devices, &mut out);
    let names = distinct(devices.iter().map(|d| device_name(edits, d)));
    answer::add(edits, resource, &devices, &names, &mut out);
    if !edits.envvar && !edits.volume_mounts {
        // what a runtime finds by name has everything already, device nodes too
        return Ok(out);
    }
    let channels: Vec<String> = edits.imex_channels.iter().map(u32::to_string).collect();
    if edits.envvar {
        out.envs.insert("NVIDIA_VISIBLE_DEVICES".into(), names.join(","));
        if !channels.is_empty() {
            out.envs.insert("NVIDIA_IMEX_CHANNELS".into(), channels.join(","));
        }
    }
    if edits.volume_mounts {
        out.envs.insert("NVIDIA_VISIBLE_DEVICES".into(), VOLUME_MOUNTS_ROOT.into());
        let channels = channels.iter().map(|id| format!("imex/{id}"));
        out.mounts.extend(names.into_iter().chain(channels).map(|name| Mount {
            container_path: format!("{VOLUME_MOUNTS_ROOT}/{name}"),
            host_path: "/dev/null".into(),
        }));
    }
    if edits.device_specs {
        add_device_nodes(edits, &devices, &mut out);
    }
    Ok(out)
}

/// What the resource serves, and the devices behind the ids; or the first reason to refuse.
fn requested<'a>(
    view: &'a View,
    resource: &ResourceName,
    ids: &[String],
) -> Result<(&'a ResourceView, Vec<&'a Device>), AllocateError> {
    let name = || resource.to_string();
    let served = view.resources.get(resource).ok_or_else(|| AllocateError::NotServed { resource: name() })?;
    if ids.len() > IDS_MAX {
        return Err(AllocateError::TooMany { resource: name(), found: ids.len() });
    }
    let devices: Vec<&Device> = ids
        .iter()
        .map(|id| {
            served
                .devices
                .get(id)
                .ok_or_else(|| AllocateError::UnknownDevice { resource: name(), id: shown(id) })
        })
        .collect::<Result<_, _>>()?;
    let shared = devices.iter().any(|d| d.strategy != Strategy::Exclusive);
    if shared && ids.len() > 1 && served.one_shared_device_at_most {
        return Err(AllocateError::MoreThanOneShared { resource: name(), found: ids.len() });
    }
    match devices.iter().find(|d| !d.granted) {
        Some(ill) => Err(AllocateError::Unhealthy { resource: name(), id: ill.id.clone() }),
        None => Ok((served, devices)),
    }
}

/// An id as it is repeated to whoever sent it.
fn shown(id: &str) -> String {
    match id.char_indices().nth(ID_SHOWN_MAX) {
        Some((at, _)) => format!("{}…", id.get(..at).unwrap_or_default()),
        None => id.to_owned(),
    }
}

fn add_features(edits: &ContainerEdits, out: &mut Allocation) {
    let features =
        [(edits.gdrcopy, "NVIDIA_GDRCOPY"), (edits.gds, "NVIDIA_GDS"), (edits.mofed, "NVIDIA_MOFED")];
    for (_, name) in features.into_iter().filter(|(on, _)| *on) {
        out.envs.insert(name.into(), "enabled".into());
    }
}

/// The pipe directory of the control daemon appears at the path that NVIDIA's plugin uses, whether the daemon is the GPU's
/// own or that of the whole resource, so that a container sees the same environment.
fn add_mps(edits: &ContainerEdits, resource: &ResourceName, devices: &[&Device], out: &mut Allocation) {
    let Some(device) = devices.iter().find(|d| d.strategy == Strategy::Mps) else {
        return;
    };
    let share = device.mps.unwrap_or_default();
    let pipe = format!("{MPS_CONTAINER_ROOT}/{resource}/pipe");
    out.mounts.push(Mount {
        container_path: pipe.clone(),
        host_path: pipe_dir(&edits.mps_root, resource, (!share.per_resource).then_some(&device.gpu)),
    });
    out.mounts
        .push(Mount { container_path: "/dev/shm".into(), host_path: format!("{}/shm", edits.mps_root) });
    out.envs.insert("CUDA_MPS_PIPE_DIRECTORY".into(), pipe);
    add_client_limits(share, devices, out);
}

/// What the container's replicas are worth together, where the configuration says what each is worth. MPS counts both limits
/// by client process; the daemon's own limits hold too, and a client can only tighten them.
fn add_client_limits(share: MpsShare, devices: &[&Device], out: &mut Allocation) {
    let mut replicas: BTreeMap<(u32, &GpuUuid), u32> = BTreeMap::new();
    for device in devices {
        *replicas.entry((device.gpu_index, &device.gpu)).or_default() += 1;
    }
    if let Some(each) = share.client.active_thread_percentage {
        // one number for all GPUs of a process: what it has on each of them at least
        let fewest = replicas.values().copied().min().unwrap_or(1);
        let percentage = each.saturating_mul(fewest).min(100);
        out.envs.insert("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE".into(), percentage.to_string());
    }
    if let Some(each) = share.client.memory_mib {
        let limit =
            |(ordinal, held): (usize, &u32)| format!("{ordinal}={}M", each.saturating_mul(u64::from(*held)));
        let limits: Vec<String> = replicas.values().enumerate().map(limit).collect();
        out.envs.insert("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT".into(), limits.join(","));
        if replicas.len() > 1 {
            // the ordinals of the limits are then NVML's order, whichever GPU is the fastest
            out.envs.insert("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into());
        }
    }
}

fn add_device_nodes(edits: &ContainerEdits, devices: &[&Device], out: &mut Allocation) {
    let control = CONTROL_NODES.iter().filter(|n| edits.control_nodes.contains(**n)).map(|n| (*n).to_owned());
    let parts = |d: &Device| d.mig.iter().flat_map(|mig| mig.nodes.clone()).collect::<Vec<_>>();
    let of_device = |d: &&Device| std::iter::once(format!("/dev/nvidia{}", d.gpu_minor)).chain(parts(d));
    let gpus = distinct(devices.iter().flat_map(of_device));
    let channels = edits.imex_channels.iter().map(|id| format!("{}{id}", cdi::IMEX_CHANNELS));
    out.device_nodes.extend(control.chain(gpus).chain(channels).map(|path| DeviceNode {
        host_path: format!("{}{path}", edits.dev_root),
        container_path: path,
        permissions: "rw".into(),
    }));
}

fn device_name(edits: &ContainerEdits, device: &Device) -> String {
    match (edits.by_index, &device.mig) {
        (false, _) => device.gpu.to_string(),
        (true, None) => device.gpu_index.to_string(),
        (true, Some(mig)) => format!("{}:{}", device.gpu_index, mig.index),
    }
}

/// Without repetitions, in order of first appearance.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|n| seen.insert(n.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::AllocationPolicy;
    use crate::inventory::GpuUuid;

    fn device(id: &str, strategy: Strategy) -> Device {
        let gpu = crate::resources::gpu_of(id);
        let index = if gpu == GpuUuid::new("GPU-a") { 0 } else { 1 };
        Device {
            id: id.into(),
            healthy: true,
            granted: true,
            parent: gpu.clone(),
            gpu,
            numa_node: None,
            strategy,
            gpu_index: index,
            gpu_minor: index + 4,
            mig: None,
            mps: None,
        }
    }

    fn view(ids: &[&str], strategy: Strategy, edits: ContainerEdits) -> View {
        let devices = ids.iter().map(|id| ((*id).to_owned(), device(id, strategy))).collect();
        let served = ResourceView {
            devices: Arc::new(devices),
            one_shared_device_at_most: false,
            policy: AllocationPolicy::Distributed,
            budget: None,
        };
        View { resources: [(ResourceName::gpu(), served)].into(), edits, ..View::default() }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn envvar() -> ContainerEdits {
        ContainerEdits { envvar: true, mps_root: "/run/nvidia/mps".into(), ..ContainerEdits::default() }
    }

    fn visible(got: &Allocation) -> &str {
        got.envs.get("NVIDIA_VISIBLE_DEVICES").map_or("(absent)", String::as_str)
    }

    #[test]
    fn the_worked_examples_of_nvidias_plugin_come_out_byte_for_byte() {
        let exclusive = view(&["GPU-a", "GPU-b"], Strategy::Exclusive, envvar());
        let got = exclusive.allocate(&ResourceName::gpu(), &ids(&["GPU-a"])).unwrap();
        assert_eq!(visible(&got), "GPU-a");
        assert_eq!((got.envs.len(), got.mounts.len(), got.device_nodes.len()), (1, 0, 0));

        let sliced = view(&["GPU-a::0", "GPU-a::1", "GPU-a::2"], Strategy::TimeSlicing, envvar());
        let got = sliced.allocate(&ResourceName::gpu(), &ids(&["GPU-a::2", "GPU-a::0"])).unwrap();
        assert_eq!(visible(&got), "GPU-a");

        let mounts = ContainerEdits { volume_mounts: true, ..ContainerEdits::default() };
        let mounted = view(&["GPU-a"], Strategy::Exclusive, mounts);
        let got = mounted.allocate(&ResourceName::gpu(), &ids(&["GPU-a"])).unwrap();
        assert_eq!(visible(&got), "/var/run/nvidia-container-devices");
        let mount = Mount {
            container_path: "/var/run/nvidia-container-devices/GPU-a".into(),
            host_path: "/dev/null".into(),
        };
        assert_eq!(got.mounts, [mount]);
    }

    #[test]
    fn device_nodes_are_passed_once_each_control_nodes_first() {
        let edits = ContainerEdits {
            device_specs: true,
            control_nodes: ["/dev/nvidia-uvm".to_owned(), "/dev/nvidiactl".to_owned()].into(),
            dev_root: "/run/nvidia/driver".into(),
            by_index: true,
            ..envvar()
        };
        let sliced = view(&["GPU-a::0", "GPU-a::1", "GPU-b::0"], Strategy::TimeSlicing, edits);
        let got = sliced.allocate(&ResourceName::gpu(), &ids(&["GPU-b::0", "GPU-a::1", "GPU-a::0"])).unwrap();
        assert_eq!(visible(&got), "1,0");
        let paths: Vec<&str> = got.device_nodes.iter().map(|n| n.container_path.as_str()).collect();
        assert_eq!(paths, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia5", "/dev/nvidia4"]);
        let hosts: Vec<&str> = got.device_nodes.iter().map(|n| n.host_path.as_str()).collect();
        assert_eq!(hosts[0], "/run/nvidia/driver/dev/nvidiactl");
        assert!(got.device_nodes.iter().all(|n| n.permissions == "rw"));
    }

    #[test]
    fn features_become_environment() {
        let edits = ContainerEdits { gdrcopy: true, gds: true, mofed: true, ..envvar() };
        let got = view(&["GPU-a"], Strategy::Exclusive, edits)
            .allocate(&ResourceName::gpu(), &ids(&["GPU-a"]))
            .unwrap();
        let features: Vec<&str> =
            got.envs.iter().filter(|(_, v)| *v == "enabled").map(|(k, _)| k.as_str()).collect();
        assert_eq!(features, ["NVIDIA_GDRCOPY", "NVIDIA_GDS", "NVIDIA_MOFED"]);
    }

    #[test]
    fn each_refusal_names_the_resource_and_the_id() {
        let mut sliced = view(&["GPU-a::0", "GPU-a::1"], Strategy::TimeSlicing, envvar());
        let gpu = ResourceName::gpu();
        let unknown = sliced.allocate(&gpu, &ids(&["GPU-x"])).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "invalid allocation request for \"nvidia.com/gpu\": invalid request: unknown device: GPU-x"
        );
        let absent = sliced.allocate(&gpu.shared(), &ids(&["GPU-a::0"])).unwrap_err();
        assert_eq!(absent, AllocateError::NotServed { resource: "nvidia.com/gpu.shared".into() });

        let served = sliced.resources.get_mut(&gpu).unwrap();
        served.one_shared_device_at_most = true;
        let many = sliced.allocate(&gpu, &ids(&["GPU-a::0", "GPU-a::1"])).unwrap_err().to_string();
        assert!(many.ends_with("maximum request size for shared resources is 1; found 2"), "{many}");

        let served = sliced.resources.get_mut(&gpu).unwrap();
        Arc::make_mut(&mut served.devices).get_mut("GPU-a::0").unwrap().granted = false;
        let ill = sliced.allocate(&gpu, &ids(&["GPU-a::0"])).unwrap_err();
        assert_eq!(ill, AllocateError::Unhealthy { resource: gpu.to_string(), id: "GPU-a::0".into() });
    }

    #[test]
    fn a_container_with_no_devices_sees_none() {
        let got =
            view(&["GPU-a"], Strategy::Exclusive, envvar()).allocate(&ResourceName::gpu(), &[]).unwrap();
        assert_eq!(visible(&got), "");
    }
}
