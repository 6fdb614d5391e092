//! Flags about CDI specs: where they are written, whose they are, and what is left out of them. Names without further
//! remark are those of NVIDIA k8s-device-plugin v0.20.

use clap::Args;
use plugin_core::cdi::{CdiSettings, Hook, VENDOR, check_vendor};

use super::args::GpuArgs;
use super::given::{Environment, SettingError, given, given_text};
use super::{SYSFS_ROOT, overrides, text_or};
use crate::cdi_files::SpecDir;

const SPEC_DIR: &str = "/var/run/cdi";

/// Where CDI specs are, and whose.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "CDI")]
pub(crate) struct CdiPlaceArgs {
    /// Directory of CDI specs, where the container runtime reads them (ours) [env: CDI_SPEC_DIR] [default: /var/run/cdi]
    #[arg(long, value_name = "DIR")]
    pub(crate) cdi_spec_dir: Option<String>,
    /// Vendor of CDI names; NVIDIA's plugin's, unless both run on a node (ours) [env: CDI_VENDOR] [default: k8s.device-plugin.nvidia.com]
    #[arg(long, value_name = "NAME")]
    pub(crate) cdi_vendor: Option<String>,
}

/// Flags of `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    pub(crate) cdi: CdiPlaceArgs,
}

/// What CDI specs hold.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "CDI")]
pub(crate) struct CdiArgs {
    #[command(flatten)]
    pub(crate) place: CdiPlaceArgs,
    /// Hooks to leave out: all, create-symlinks, enable-cuda-compat, update-ldcache, disable-device-node-modification,
    /// update-application-profile, apply-cuda-memory-limits [env: CDI_DISABLE_HOOKS]
    #[arg(long, value_name = "LIST")]
    pub(crate) cdi_disable_hooks: Vec<String>,
    /// no-additional-gids-for-device-nodes, disable-ipc-discoverer [env: CDI_FEATURE_FLAGS]
    #[arg(long, value_name = "LIST")]
    pub(crate) cdi_feature_flags: Vec<String>,
}

/// What the core needs to know.
///
/// # Errors
/// The first word that cannot be obeyed.
pub(super) fn settings(args: &CdiArgs, env: Environment<'_>) -> Result<CdiSettings, SettingError> {
    let mut settings = CdiSettings { vendor: vendor(&args.place, env)?, ..CdiSettings::default() };
    let listed = overrides::joined(&args.cdi_disable_hooks);
    // an empty variable is no word
    let hooks = given(listed.as_ref(), "--cdi-disable-hooks", env, &["CDI_DISABLE_HOOKS"]);
    if let Some(hooks) = hooks.filter(|given| !given.text.is_empty()) {
        settings.disabled_hooks.extend(hooks.list(Hook::named)?.into_iter().flatten());
    }
    let listed = overrides::joined(&args.cdi_feature_flags);
    let features = given(listed.as_ref(), "--cdi-feature-flags", env, &["CDI_FEATURE_FLAGS"]);
    if let Some(features) = features.filter(|given| !given.text.is_empty()) {
        let added = features.list(|word| {
            let mut one = settings.clone();
            one.add_feature(word).map(|()| one)
        })?;
        for one in added {
            settings.no_additional_gids |= one.no_additional_gids;
            settings.no_ipc |= one.no_ipc;
        }
    }
    Ok(settings)
}

/// Where the files are.
///
/// # Errors
/// A vendor that runtimes would not accept.
pub(super) fn spec_dir(
    args: &CdiPlaceArgs,
    gpu: &GpuArgs,
    env: Environment<'_>,
) -> Result<SpecDir, SettingError> {
    let path = text_or(&args.cdi_spec_dir, "--cdi-spec-dir", env, "CDI_SPEC_DIR", SPEC_DIR).into();
    let sysfs_root = text_or(&gpu.sysfs_root, "--sysfs-root", env, "SYSFS_ROOT", SYSFS_ROOT).into();
    Ok(SpecDir { path, vendor: vendor(args, env)?, sysfs_root })
}

fn vendor(args: &CdiPlaceArgs, env: Environment<'_>) -> Result<String, SettingError> {
    let given = given_text(args.cdi_vendor.as_ref(), "--cdi-vendor", env, &["CDI_VENDOR"]);
    given.map_or_else(|| Ok(VENDOR.to_owned()), |given| given.parse(check_vendor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hooks: &str, features: &str, vendor: &str) -> Result<CdiSettings, String> {
        let args = CdiArgs {
            cdi_disable_hooks: vec![hooks.to_owned()],
            cdi_feature_flags: vec![features.to_owned()],
            place: CdiPlaceArgs { cdi_vendor: Some(vendor.to_owned()), cdi_spec_dir: None },
        };
        settings(&args, &|_| None).map_err(|e| e.to_string())
    }

    #[test]
    fn hooks_and_features_are_lists_and_one_word_leaves_out_every_hook() {
        let read_one = read("update-ldcache, create-symlinks", "", "").unwrap();
        assert_eq!(read_one.disabled_hooks, [Hook::UpdateLdcache, Hook::CreateSymlinks].into());
        assert_eq!(read_one.vendor, VENDOR);
        assert_eq!(read("all", "", "").unwrap().disabled_hooks, Hook::EVERY.into());
        let features = read("", "disable-ipc-discoverer,disable-nvsandboxutils", "example.com").unwrap();
        assert!(features.no_ipc && !features.no_additional_gids && features.vendor == "example.com");
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_with_its_flag_and_its_reason() {
        let hook = read("chmod", "", "").unwrap_err();
        assert!(hook.starts_with("`--cdi-disable-hooks`") && hook.ends_with("but is `chmod`"), "{hook}");
        let feature = read("", "enable-coherent-annotations", "").unwrap_err();
        assert!(feature.contains("`enable-coherent-annotations` is not built"), "{feature}");
        let vendor = read("", "", "nvidia.com/").unwrap_err();
        assert!(vendor.starts_with("`--cdi-vendor`") && vendor.ends_with("but is `nvidia.com/`"), "{vendor}");
    }
}
