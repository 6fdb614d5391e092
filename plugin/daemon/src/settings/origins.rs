//! Which flag or environment variable a setting of the configuration file was given by, for `print-config`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::args::RunArgs;
use super::given::{Environment, SettingError};
use super::overrides;

/// Path in the file, flag, variables in their order.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Every setting of the file that a flag or variable overrides.
pub(super) const OVERRIDDEN: [Row; 18] = [
    ("flags.migStrategy", "--mig-strategy", &["MIG_STRATEGY"]),
    ("flags.failOnInitError", "--fail-on-init-error", &["FAIL_ON_INIT_ERROR"]),
    ("flags.mpsRoot", "--mps-root", &["MPS_ROOT"]),
    ("flags.nvidiaDriverRoot", "--driver-root", &["NVIDIA_DRIVER_ROOT"]),
    ("flags.nvidiaDevRoot", "--dev-root", &["NVIDIA_DEV_ROOT"]),
    ("flags.gdrcopyEnabled", "--gdrcopy-enabled", &["GDRCOPY_ENABLED"]),
    ("flags.gdsEnabled", "--gds-enabled", &["GDS_ENABLED"]),
    ("flags.mofedEnabled", "--mofed-enabled", &["MOFED_ENABLED"]),
    ("flags.deviceDiscoveryStrategy", "--device-discovery-strategy", &["DEVICE_DISCOVERY_STRATEGY"]),
    ("flags.plugin.passDeviceSpecs", "--pass-device-specs", &["PASS_DEVICE_SPECS"]),
    ("flags.plugin.deviceListStrategy", "--device-list-strategy", &["DEVICE_LIST_STRATEGY"]),
    ("flags.plugin.deviceIDStrategy", "--device-id-strategy", &["DEVICE_ID_STRATEGY"]),
    ("flags.plugin.cdiAnnotationPrefix", "--cdi-annotation-prefix", &["CDI_ANNOTATION_PREFIX"]),
    ("flags.plugin.nvidiaCTKPath", "--nvidia-cdi-hook-path", &["NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"]),
    (
        "flags.plugin.containerDriverRoot",
        "--driver-root-ctr-path",
        &["DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"],
    ),
    (
        "flags.plugin.sharedDevicesAllocationPolicy",
        "--shared-devices-allocation-policy",
        &["SHARED_DEVICES_ALLOCATION_POLICY"],
    ),
    ("imex.channelIDs", "--imex-channel-ids", &["IMEX_CHANNEL_IDS"]),
    ("imex.required", "--imex-required", &["IMEX_REQUIRED"]),
];

/// Path in the file → `flag …` or `environment …`, for what is given by either.
///
/// # Errors
/// The first value that is not one of its setting's.
pub(super) fn origins(
    args: &RunArgs,
    env: Environment<'_>,
) -> Result<BTreeMap<String, String>, SettingError> {
    let all = serde_json::to_value(overrides::overrides(&args.nvidia, &args.gpu, env)?);
    let flags = serde_json::to_value(overrides::overrides(&args.nvidia, &args.gpu, &|_| None)?);
    // our own settings always have a JSON form
    let (all, flags) = (all.unwrap_or_default(), flags.unwrap_or_default());
    let origin = |(path, flag, variables): &Row| {
        let pointer = format!("/{}", path.replace('.', "/"));
        let has = |value: &Value| value.pointer(&pointer).is_some_and(|v| !v.is_null());
        let name = if has(&flags) {
            format!("flag {flag}")
        } else {
            let variable = variables.iter().find(|v| env(v).is_some()).filter(|_| has(&all))?;
            format!("environment {variable}")
        };
        Some(((*path).to_owned(), name))
    };
    Ok(OVERRIDDEN.iter().filter_map(origin).collect())
}
