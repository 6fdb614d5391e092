//! The settings that hold in the end: flag before environment before file before default
//! (names and defaults of k8s-device-plugin v0.20).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::interval::Interval;
use super::schema::{
    AllocationPolicy, Config, DeviceIdStrategy, DeviceListStrategy, DiscoveryStrategy, Flags, GfdFlags, Imex,
    MigStrategy, PluginFlags,
};

/// What the command line and the environment set; constant over the life of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Everything that a file has under `flags`.
    pub flags: Flags,
    /// Everything that a file has under `imex`.
    pub imex: Imex,
}

/// Every setting resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// How MIG devices are named.
    pub mig_strategy: MigStrategy,
    /// Whether to exit when NVML cannot be initialized.
    pub fail_on_init_error: bool,
    /// Host directory of MPS; empty if not set.
    pub mps_root: String,
    /// Host directory in which the driver is installed.
    pub nvidia_driver_root: String,
    /// Host directory of the device nodes' `dev`.
    pub nvidia_dev_root: String,
    /// Whether containers get GDRCopy.
    pub gdrcopy_enabled: bool,
    /// Whether containers get GPUDirect Storage.
    pub gds_enabled: bool,
    /// Whether containers get MOFED.
    pub mofed_enabled: bool,
    /// Whether feature discovery writes NodeFeature objects.
    #[serde(rename = "useNodeFeatureAPI")]
    pub use_node_feature_api: bool,
    /// How devices are found.
    pub device_discovery_strategy: DiscoveryStrategy,
    /// Settings of the device plugin.
    pub plugin: EffectivePlugin,
    /// Settings of GPU feature discovery.
    pub gfd: EffectiveGfd,
    /// The channels that every container gets.
    #[serde(rename = "imexChannelIDs")]
    pub imex_channel_ids: Vec<u32>,
    /// Whether a missing channel is an error.
    pub imex_required: bool,
    /// Whether a container that asks for more than one time-sliced replica is refused.
    pub time_slicing_fail_requests_greater_than_one: bool,
    /// Whether a container that asks for more than one MPS replica is refused.
    pub mps_fail_requests_greater_than_one: bool,
}

/// Settings of the device plugin, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePlugin {
    /// Whether Allocate lists device nodes.
    pub pass_device_specs: bool,
    /// How containers are told their devices. An empty list tells them nothing.
    pub device_list_strategy: Vec<DeviceListStrategy>,
    /// Whether devices are named by UUID or by index.
    #[serde(rename = "deviceIDStrategy")]
    pub device_id_strategy: DeviceIdStrategy,
    /// Prefix of CDI annotation keys.
    pub cdi_annotation_prefix: String,
    /// Host path of the CDI hook program.
    #[serde(rename = "nvidiaCTKPath")]
    pub nvidia_ctk_path: String,
    /// Where the driver root is mounted in the plugin's container.
    pub container_driver_root: String,
    /// How replicas are spread over GPUs.
    pub shared_devices_allocation_policy: AllocationPolicy,
}

/// Settings of GPU feature discovery, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveGfd {
    /// Whether to label once and exit.
    pub oneshot: bool,
    /// Whether to leave the timestamp label out.
    pub no_timestamp: bool,
    /// Time between two labellings.
    pub sleep_interval: Interval,
    /// The features file; empty means standard output.
    pub output_file: String,
    /// File that holds the machine's type.
    pub machine_type_file: String,
}

/// Settings that each are valid but cannot hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// MPS shares whole GPUs only.
    #[error("sharing by MPS does not work with the MIG strategy `mixed` (hint: use `none` or `single`)")]
    MpsWithMixedMig,
    /// The MPS control daemons need a directory on the host.
    #[error("sharing by MPS needs the MPS root, which is empty (hint: set --mps-root or MPS_ROOT)")]
    MpsRootMissing,
    /// Only channel 0 can be shared by every container.
    #[error("the IMEX channel ids must be [] or [0]")]
    ImexChannels,
}

impl Effective {
    /// Resolves every setting.
    pub fn resolve(overrides: &Overrides, config: &Config) -> Self {
        let (set, file) = (&overrides.flags, &config.flags);
        let driver_root = text(&set.nvidia_driver_root, &file.nvidia_driver_root, "/");
        let dev_root = text(&set.nvidia_dev_root, &file.nvidia_dev_root, "");
        let fails = |strategy: &Option<super::schema::ReplicatedResources>, default| {
            let given = strategy.as_ref().and_then(|strategy| strategy.fail_requests_greater_than_one);
            given.unwrap_or(default)
        };
        let imex = (&overrides.imex, &config.imex);
        Effective {
            mig_strategy: set.mig_strategy.or(file.mig_strategy).unwrap_or(MigStrategy::None),
            fail_on_init_error: set.fail_on_init_error.or(file.fail_on_init_error).unwrap_or(true),
            mps_root: text(&set.mps_root, &file.mps_root, ""),
            nvidia_dev_root: if dev_root.is_empty() { driver_root.clone() } else { dev_root },
            nvidia_driver_root: driver_root,
            gdrcopy_enabled: set.gdrcopy_enabled.or(file.gdrcopy_enabled).unwrap_or(false),
            gds_enabled: set.gds_enabled.or(file.gds_enabled).unwrap_or(false),
            mofed_enabled: set.mofed_enabled.or(file.mofed_enabled).unwrap_or(false),
            use_node_feature_api: set.use_node_feature_api.or(file.use_node_feature_api).unwrap_or(true),
            device_discovery_strategy: set
                .device_discovery_strategy
                .or(file.device_discovery_strategy)
                .unwrap_or(DiscoveryStrategy::Auto),
            plugin: EffectivePlugin::resolve(&set.plugin, &file.plugin),
            gfd: EffectiveGfd::resolve(&set.gfd, &file.gfd),
            imex_channel_ids: imex
                .0
                .channel_ids
                .as_ref()
                .or(imex.1.channel_ids.as_ref())
                .cloned()
                .unwrap_or_default(),
            imex_required: imex.0.required.or(imex.1.required).unwrap_or(false),
            time_slicing_fail_requests_greater_than_one: fails(&config.sharing.time_slicing, false),
            mps_fail_requests_greater_than_one: fails(&config.sharing.mps, true),
        }
    }

    /// What cannot hold together for this config; a config with any must not be applied.
    pub fn contradictions(&self, config: &Config) -> Vec<Contradiction> {
        let mps = config.sharing.mps.is_some();
        let checks = [
            (mps && self.mig_strategy == MigStrategy::Mixed, Contradiction::MpsWithMixedMig),
            (mps && self.mps_root.is_empty(), Contradiction::MpsRootMissing),
            (!matches!(self.imex_channel_ids.as_slice(), [] | [0]), Contradiction::ImexChannels),
        ];
        checks.into_iter().filter(|(holds, _)| *holds).map(|(_, contradiction)| contradiction).collect()
    }
}

impl EffectivePlugin {
    fn resolve(set: &PluginFlags, file: &PluginFlags) -> Self {
        let strategies = set.device_list_strategy.as_ref().or(file.device_list_strategy.as_ref());
        EffectivePlugin {
            pass_device_specs: set.pass_device_specs.or(file.pass_device_specs).unwrap_or(false),
            device_list_strategy: strategies.cloned().unwrap_or_else(|| vec![DeviceListStrategy::Envvar]),
            device_id_strategy: set
                .device_id_strategy
                .or(file.device_id_strategy)
                .unwrap_or(DeviceIdStrategy::Uuid),
            cdi_annotation_prefix: text(
                &set.cdi_annotation_prefix,
                &file.cdi_annotation_prefix,
                "cdi.k8s.io/",
            ),
            nvidia_ctk_path: text(&set.nvidia_ctk_path, &file.nvidia_ctk_path, "/usr/bin/nvidia-ctk"),
            container_driver_root: text(
                &set.container_driver_root,
                &file.container_driver_root,
                "/driver-root",
            ),
            shared_devices_allocation_policy: set
                .shared_devices_allocation_policy
                .or(file.shared_devices_allocation_policy)
                .unwrap_or(AllocationPolicy::Distributed),
        }
    }
}

/// Time between two labellings by default, in nanoseconds: one minute.
const SLEEP_NS_DEFAULT: i64 = 60_000_000_000;
/// Features file by default.
const OUTPUT_FILE_DEFAULT: &str = "/etc/kubernetes/node-feature-discovery/features.d/gfd";
/// File with the machine's type by default.
const MACHINE_TYPE_FILE_DEFAULT: &str = "/sys/class/dmi/id/product_name";

impl EffectiveGfd {
    fn resolve(set: &GfdFlags, file: &GfdFlags) -> Self {
        let interval = set.sleep_interval.or(file.sleep_interval);
        EffectiveGfd {
            oneshot: set.oneshot.or(file.oneshot).unwrap_or(false),
            no_timestamp: set.no_timestamp.or(file.no_timestamp).unwrap_or(false),
            sleep_interval: interval.unwrap_or(Interval::Nanoseconds(SLEEP_NS_DEFAULT)),
            output_file: text(&set.output_file, &file.output_file, OUTPUT_FILE_DEFAULT),
            machine_type_file: text(
                &set.machine_type_file,
                &file.machine_type_file,
                MACHINE_TYPE_FILE_DEFAULT,
            ),
        }
    }
}

fn text(set: &Option<String>, file: &Option<String>, default: &str) -> String {
    set.as_ref().or(file.as_ref()).cloned().unwrap_or_else(|| default.to_owned())
}

/// A text that is not a boolean.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a boolean is one of 1, t, T, TRUE, true, True, 0, f, F, FALSE, false, False, but is `{text}`")]
pub struct BooleanError {
    /// The text.
    pub text: String,
}

/// Reads a boolean flag or environment variable. A variable that exists but is empty means false.
///
/// # Errors
///
/// When it is none of the forms that Go accepts.
pub fn parse_boolean(text: &str) -> Result<bool, BooleanError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(BooleanError { text: text.to_owned() }),
    }
}
