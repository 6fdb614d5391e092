//! The settings that a configuration file has too, as the command line and the environment give them. What is given
//! replaces the file's value, so what is not given must stay unset.

use std::str::FromStr;

use plugin_core::config::{Flags, Imex, Overrides, PluginFlags, parse_boolean};

use super::args::{GpuArgs, NvidiaArgs};
use super::given::{Environment, SettingError, given};

/// Reads them all.
///
/// # Errors
/// The first value that is not one of the setting's.
pub(crate) fn overrides(
    args: &NvidiaArgs,
    gpu: &GpuArgs,
    env: Environment<'_>,
) -> Result<Overrides, SettingError> {
    let read = Reader { env };
    let flags = Flags {
        mig_strategy: read.word(&args.mig_strategy, "--mig-strategy", &["MIG_STRATEGY"])?,
        fail_on_init_error: read.boolean(
            &args.fail_on_init_error,
            "--fail-on-init-error",
            "FAIL_ON_INIT_ERROR",
        )?,
        mps_root: read.text(&args.mps_root, "--mps-root", &["MPS_ROOT"]),
        nvidia_driver_root: read.text(&args.driver_root, "--driver-root", &["NVIDIA_DRIVER_ROOT"]),
        nvidia_dev_root: read.text(&args.dev_root, "--dev-root", &["NVIDIA_DEV_ROOT"]),
        gdrcopy_enabled: read.boolean(&args.gdrcopy_enabled, "--gdrcopy-enabled", "GDRCOPY_ENABLED")?,
        gds_enabled: read.boolean(&args.gds_enabled, "--gds-enabled", "GDS_ENABLED")?,
        mofed_enabled: read.boolean(&args.mofed_enabled, "--mofed-enabled", "MOFED_ENABLED")?,
        device_discovery_strategy: read.word(
            &args.device_discovery_strategy,
            "--device-discovery-strategy",
            &["DEVICE_DISCOVERY_STRATEGY"],
        )?,
        plugin: plugin_flags(args, gpu, &read)?,
        ..Flags::default()
    };
    Ok(Overrides { flags, imex: imex(args, &read)? })
}

fn plugin_flags(args: &NvidiaArgs, gpu: &GpuArgs, read: &Reader<'_>) -> Result<PluginFlags, SettingError> {
    Ok(PluginFlags {
        pass_device_specs: read.boolean(
            &args.pass_device_specs,
            "--pass-device-specs",
            "PASS_DEVICE_SPECS",
        )?,
        device_list_strategy: read.words(
            &args.device_list_strategy,
            "--device-list-strategy",
            "DEVICE_LIST_STRATEGY",
        )?,
        device_id_strategy: read.word(
            &args.device_id_strategy,
            "--device-id-strategy",
            &["DEVICE_ID_STRATEGY"],
        )?,
        cdi_annotation_prefix: read.text(
            &args.cdi_annotation_prefix,
            "--cdi-annotation-prefix",
            &["CDI_ANNOTATION_PREFIX"],
        ),
        nvidia_ctk_path: read.text(
            &args.nvidia_cdi_hook_path,
            "--nvidia-cdi-hook-path",
            &["NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"],
        ),
        container_driver_root: read.text(
            &gpu.driver_root_ctr_path,
            "--driver-root-ctr-path",
            &["DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"],
        ),
        shared_devices_allocation_policy: read.word(
            &args.shared_devices_allocation_policy,
            "--shared-devices-allocation-policy",
            &["SHARED_DEVICES_ALLOCATION_POLICY"],
        )?,
    })
}

/// An empty variable acts as unset here (NVIDIA k8s-device-plugin v0.20).
fn imex(args: &NvidiaArgs, read: &Reader<'_>) -> Result<Imex, SettingError> {
    let joined = joined(&args.imex_channel_ids);
    let ids = given(joined.as_ref(), "--imex-channel-ids", read.env, &["IMEX_CHANNEL_IDS"]);
    let ids = ids.filter(|g| !g.text.is_empty());
    Ok(Imex {
        channel_ids: ids.map(|g| g.list(u32::from_str)).transpose()?,
        required: read.boolean(&args.imex_required, "--imex-required", "IMEX_REQUIRED")?,
    })
}

/// A flag may be repeated, and each may hold several values.
pub(super) fn joined(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

struct Reader<'a> {
    env: Environment<'a>,
}

impl Reader<'_> {
    fn text(&self, value: &Option<String>, flag: &str, variables: &[&str]) -> Option<String> {
        given(value.as_ref(), flag, self.env, variables).map(|g| g.text)
    }

    /// A variable that is there but empty says false, as Go's flag package reads it.
    fn boolean(
        &self,
        value: &Option<String>,
        flag: &str,
        variable: &str,
    ) -> Result<Option<bool>, SettingError> {
        let read = |text: &str| {
            if text.is_empty() { Ok(false) } else { parse_boolean(text) }
        };
        given(value.as_ref(), flag, self.env, &[variable]).map(|g| g.parse(read)).transpose()
    }

    fn word<T: FromStr<Err: std::fmt::Display>>(
        &self,
        value: &Option<String>,
        flag: &str,
        variables: &[&str],
    ) -> Result<Option<T>, SettingError> {
        given(value.as_ref(), flag, self.env, variables).map(|g| g.parse(T::from_str)).transpose()
    }

    fn words<T: FromStr<Err: std::fmt::Display>>(
        &self,
        values: &[String],
        flag: &str,
        variable: &str,
    ) -> Result<Option<Vec<T>>, SettingError> {
        let joined = joined(values);
        given(joined.as_ref(), flag, self.env, &[variable]).map(|g| g.list(T::from_str)).transpose()
    }
}
