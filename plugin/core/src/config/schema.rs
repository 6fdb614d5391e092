//! The settings of NVIDIA's configuration file, version `v1` (k8s-device-plugin v0.20), as plain data.
//!
//! What a file may leave unset is an `Option`; [`Effective`](super::Effective) fills it in. Serialized, a config has
//! NVIDIA's key spelling, unset values as `null` where a file may say so, and reads back as itself.

use serde::{Deserialize, Serialize};

use super::choice::choice;
use super::devices::Devices;
use super::interval::Interval;
use super::memory::Memory;
use super::name::ResourceName;
use super::taint::Taint;
use super::time_slice::TimeSlice;

/// One configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// The file format's version.
    pub version: Version,
    /// Settings that flags and environment variables can override.
    pub flags: Flags,
    /// Renaming of resources by device name.
    pub resources: Resources,
    /// Which resources are shared, and how.
    pub sharing: Sharing,
    /// Channels of the inter-node memory exchange service.
    pub imex: Imex,
}

/// The file format's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Version {
    /// The only one; also meant by a file that names none.
    #[default]
    #[serde(rename = "v1")]
    V1,
}

/// `flags`: settings that flags and environment variables can override.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Flags {
    /// How MIG devices are named.
    pub mig_strategy: Option<MigStrategy>,
    /// Whether to exit when NVML cannot be initialized.
    pub fail_on_init_error: Option<bool>,
    /// Host directory of MPS; must be set when MPS is used.
    pub mps_root: Option<String>,
    /// Host directory in which the driver is installed.
    pub nvidia_driver_root: Option<String>,
    /// Host directory of the device nodes' `dev`; empty means the driver root.
    pub nvidia_dev_root: Option<String>,
    /// Whether containers get GDRCopy.
    pub gdrcopy_enabled: Option<bool>,
    /// Whether containers get GPUDirect Storage.
    pub gds_enabled: Option<bool>,
    /// Whether containers get MOFED.
    pub mofed_enabled: Option<bool>,
    /// Whether feature discovery writes NodeFeature objects.
    #[serde(rename = "useNodeFeatureAPI")]
    pub use_node_feature_api: Option<bool>,
    /// How devices are found.
    pub device_discovery_strategy: Option<DiscoveryStrategy>,
    /// Settings of the device plugin.
    pub plugin: PluginFlags,
    /// Settings of GPU feature discovery.
    pub gfd: GfdFlags,
}

/// `flags.plugin`: settings of the device plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginFlags {
    /// Whether Allocate lists device nodes.
    pub pass_device_specs: Option<bool>,
    /// How containers are told their devices. An empty list tells them nothing.
    pub device_list_strategy: Option<Vec<DeviceListStrategy>>,
    /// Whether devices are named by UUID or by index.
    #[serde(rename = "deviceIDStrategy")]
    pub device_id_strategy: Option<DeviceIdStrategy>,
    /// Prefix of CDI annotation keys.
    pub cdi_annotation_prefix: Option<String>,
    /// Host path of the CDI hook program.
    #[serde(rename = "nvidiaCTKPath")]
    pub nvidia_ctk_path: Option<String>,
    /// Where the driver root is mounted in the plugin's container.
    pub container_driver_root: Option<String>,
    /// How replicas are spread over GPUs.
    pub shared_devices_allocation_policy: Option<AllocationPolicy>,
}

/// `flags.gfd`: settings of GPU feature discovery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GfdFlags {
    /// Whether to label once and exit.
    pub oneshot: Option<bool>,
    /// Whether to leave the timestamp label out.
    pub no_timestamp: Option<bool>,
    /// Time between two labellings.
    pub sleep_interval: Option<Interval>,
    /// The features file; empty means standard output.
    pub output_file: Option<String>,
    /// File that holds the machine's type.
    pub machine_type_file: Option<String>,
}

/// `resources`: renaming of resources by device name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Whole GPUs.
    pub gpus: Vec<ResourcePattern>,
    /// MIG devices.
    pub mig: Vec<ResourcePattern>,
}

/// One renaming: devices whose name matches the pattern get the resource name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourcePattern {
    /// Text with `*` as wildcard, matched against the whole device name.
    pub pattern: String,
    /// The resource.
    pub name: ResourceName,
}

/// `sharing`: which resources are shared, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sharing {
    /// Shared by taking turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_slicing: Option<ReplicatedResources>,
    /// Shared through an MPS control daemon.
    pub mps: Option<ReplicatedResources>,
    /// How long a GPU may wait for the holders of its old role until that is announced (ours); never unless it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<Interval>,
    /// The taint of nodes that share and serve no whole GPU (ours); none unless it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taint: Option<Taint>,
}

/// The resources of one sharing strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicatedResources {
    /// Whether replicas are advertised under the name with `.shared` appended.
    pub rename_by_default: bool,
    /// Whether a container that asks for more than one replica is refused.
    pub fail_requests_greater_than_one: Option<bool>,
    /// At least one.
    pub resources: Vec<ReplicatedResource>,
}

impl ReplicatedResources {
    /// The name under which an entry's replicas are advertised.
    pub fn advertised(&self, entry: &ReplicatedResource) -> ResourceName {
        match &entry.rename {
            Some(rename) => rename.clone(),
            None if self.rename_by_default => entry.name.shared(),
            None => entry.name.clone(),
        }
    }
}

/// One shared resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicatedResource {
    /// The resource whose devices are shared.
    pub name: ResourceName,
    /// Another name for the replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rename: Option<ResourceName>,
    /// The devices that are shared.
    pub devices: Devices,
    /// Replicas per device.
    pub replicas: Replicas,
    /// The memory that each replica may count on (ours). The whole of them must fit on the GPU; under MPS it is also the
    /// limit of a client, and from CUDA 13.4 on containers are told it for the container toolkit to enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_per_replica: Option<Memory>,
    /// How replicas are spread over GPUs (ours); otherwise `flags.plugin.sharedDevicesAllocationPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_policy: Option<AllocationPolicy>,
    /// The share of the GPU's threads that an MPS client may use, in percent (ours); otherwise 100 / replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_thread_percentage: Option<u32>,
    /// The memory that an MPS client may use (ours); otherwise the replica's budget, or memory / replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_memory_limit: Option<Memory>,
    /// How long the pods that take turns keep the GPU at a time (ours); without it the GPU's setting is left alone.
    #[serde(rename = "interval", skip_serializing_if = "Option::is_none")]
    pub time_slice: Option<TimeSlice>,
}

/// How many replicas a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// So many on every device; 2 to [`REPLICAS_MAX`].
    Count(u32),
    /// As many on each device as its memory has room for (ours).
    Auto,
}

impl Serialize for Replicas {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Replicas::Count(count) => serializer.serialize_u32(*count),
            Replicas::Auto => serializer.serialize_str("auto"),
        }
    }
}

/// Fewest replicas of a shared device (k8s-device-plugin v0.20).
pub const REPLICAS_MIN: u32 = 2;
/// Most replicas of a shared device. NVIDIA has no limit; a device list beyond 4 MiB, which 16 GPUs with this many
/// replicas come close to, ends the kubelet's stream.
pub const REPLICAS_MAX: u32 = 4096;

/// `imex`: channels of the inter-node memory exchange service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Imex {
    /// The channels that every container gets: none or channel 0.
    #[serde(rename = "channelIDs")]
    pub channel_ids: Option<Vec<u32>>,
    /// Whether a missing channel is an error.
    pub required: Option<bool>,
}

choice! {
    /// How MIG devices are named.
    MigStrategy, "the MIG strategy" {
        /// MIG is ignored: every GPU is a whole GPU.
        None = "none",
        /// Every device of the node is the same kind of MIG device, named `nvidia.com/gpu`.
        Single = "single",
        /// MIG devices are named by their profile.
        Mixed = "mixed",
    }
}

choice! {
    /// How containers are told their devices.
    DeviceListStrategy, "a device list strategy" {
        /// `NVIDIA_VISIBLE_DEVICES` lists them.
        Envvar = "envvar",
        /// One mount per device.
        VolumeMounts = "volume-mounts",
        /// CDI names in annotations.
        CdiAnnotations = "cdi-annotations",
        /// CDI names in the kubelet's own field.
        CdiCri = "cdi-cri",
    }
}

choice! {
    /// What a device is called in the answer to Allocate.
    DeviceIdStrategy, "the device ID strategy" {
        /// By UUID.
        Uuid = "uuid",
        /// By index.
        Index = "index",
    }
}

choice! {
    /// How devices are found.
    DiscoveryStrategy, "the device discovery strategy" {
        /// By what the node has.
        Auto = "auto",
        /// Through NVML.
        Nvml = "nvml",
        /// As a Tegra system.
        Tegra = "tegra",
    }
}

choice! {
    /// How replicas are spread over GPUs.
    AllocationPolicy, "the allocation policy of shared devices" {
        /// On the GPU with the fewest taken replicas.
        Distributed = "distributed",
        /// On the GPU with the most taken replicas.
        Packed = "packed",
    }
}
