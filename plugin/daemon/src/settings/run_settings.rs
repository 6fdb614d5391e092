//! The settings of `run`: where everything on this node is, and what the core needs to know.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use plugin_core::config::{Fallback, parse_boolean};
use plugin_core::settings::{ConfigSource, Settings, Timing};

use super::args::RunArgs;
use super::given::{Environment, SettingError, duration, given, given_text};
use super::nvml_paths;
use super::{ADMIN_ADDRESS, admin_socket, cdi, mps_root, overrides, state_dir, text_or};
use crate::boot::RunSettings;
use crate::cdi_files::dev_root;
use crate::config_dir::ConfigPath;
use crate::node_client::NodeSettings;

pub(super) const KUBELET_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";
const NVIDIA_SMI: &str = "nvidia-smi";
pub(super) const POD_RESOURCES_SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// Reads them all.
///
/// # Errors
/// The first value that cannot be used.
pub(super) fn run_settings(args: &RunArgs, env: Environment<'_>) -> Result<RunSettings, SettingError> {
    let path = |value: &Option<String>, flag, variable| {
        given_text(value.as_ref(), flag, env, &[variable]).map(|g| PathBuf::from(g.text))
    };
    let node_name = given_text(args.node_name.as_ref(), "--node-name", env, &["NODE_NAME"]).map(|g| g.text);
    let kubeconfig = path(&args.kubeconfig, "--kubeconfig", "KUBECONFIG");
    let config_dir = path(&args.config_dir, "--config-dir", "CONFIG_FILE_SRCDIR");
    let config_file = path(&args.config_file, "--config-file", "CONFIG_FILE");
    let config = config_dir.map(ConfigPath::Directory).or(config_file.map(ConfigPath::File));
    let core = core_settings(args, env, config.as_ref(), node_name.clone())?;
    let socket =
        |value, flag, variable, default: &str| PathBuf::from(text_or(value, flag, env, variable, default));
    Ok(RunSettings {
        core,
        config,
        node: node_name.map(|name| NodeSettings { name, kubeconfig }),
        dev: dev_root(&nvml_paths(&args.gpu, env).driver_root).join("dev"),
        kubelet_socket: socket(&args.kubelet_socket, "--kubelet-socket", "KUBELET_SOCKET", KUBELET_SOCKET),
        pod_resources_socket: socket(
            &args.pod_resources_socket,
            "--pod-resources-socket",
            "POD_RESOURCES_SOCKET",
            POD_RESOURCES_SOCKET,
        ),
        cdi: cdi::spec_dir(&args.cdi.place, &args.gpu, env)?,
        mps_root: mps_root(&args.nvidia.mps_root, &args.gpu, env),
        nvidia_smi: text_or(&args.nvidia_smi_path, "--nvidia-smi-path", env, "NVIDIA_SMI_PATH", NVIDIA_SMI)
            .into(),
        admin_socket: admin_socket(&args.admin_socket, &args.state_dir, env),
        state_dir: state_dir(&args.state_dir, env),
        admin_address: text_or(&args.admin_address, "--admin-address", env, "ADMIN_ADDRESS", ADMIN_ADDRESS),
        admin_address_file: path(&args.admin_address_file, "--admin-address-file", "ADMIN_ADDRESS_FILE"),
        journal_dir: path(&args.journal_dir, "--journal-dir", "JOURNAL_DIR"),
    })
}

fn core_settings(
    args: &RunArgs,
    env: Environment<'_>,
    config: Option<&ConfigPath>,
    node_name: Option<String>,
) -> Result<Settings, SettingError> {
    let validation =
        given_text(args.config_validation.as_ref(), "--config-validation", env, &["CONFIG_VALIDATION"]);
    let strict = |text: &str| match text {
        "strict" => Ok(true),
        "warn" => Ok(false),
        other => Err(format!("the validation is one of `strict`, `warn`, but is `{other}`")),
    };
    let compat = given(args.nvidia_compat.as_ref(), "--nvidia-compat", env, &["NVIDIA_COMPAT"]);
    Ok(Settings {
        node_name,
        config_label: text_or(&args.node_label, "--node-label", env, "NODE_LABEL", ""),
        config_source: config_source(args, env, config)?,
        strict: validation.map(|g| g.parse(strict)).transpose()?.unwrap_or(false),
        nvidia_compat: compat.map(|g| g.parse(parse_boolean)).transpose()?.unwrap_or(false),
        overrides: overrides::overrides(&args.nvidia, &args.gpu, env)?,
        timing: timing(args, env)?,
        cdi: cdi::settings(&args.cdi, env)?,
    })
}

fn config_source(
    args: &RunArgs,
    env: Environment<'_>,
    config: Option<&ConfigPath>,
) -> Result<ConfigSource, SettingError> {
    let default_config =
        given_text(args.default_config.as_ref(), "--default-config", env, &["DEFAULT_CONFIG"]);
    let listed = overrides::joined(&args.fallback_strategies);
    let fallback = given_text(listed.as_ref(), "--fallback-strategies", env, &["FALLBACK_STRATEGIES"]);
    let fallback = fallback.map(|g| g.list(Fallback::from_str)).transpose()?;
    Ok(match config {
        None => ConfigSource::None,
        Some(ConfigPath::File(_)) => ConfigSource::File,
        Some(ConfigPath::Directory(_)) => ConfigSource::Directory {
            default_config: default_config.map(|g| g.text),
            fallback: fallback.unwrap_or_else(|| vec![Fallback::Named, Fallback::Single]),
        },
    })
}

fn timing(args: &RunArgs, env: Environment<'_>) -> Result<Timing, SettingError> {
    let default = Timing::default();
    let read = |value: &Option<String>, flag, variable, default: Duration| {
        let given = given_text(value.as_ref(), flag, env, &[variable]);
        given.map_or(Ok(default), |g| g.parse(duration))
    };
    let t = &args.timing;
    Ok(Timing {
        retire_after: read(&t.retire_after, "--retire-after", "RETIRE_AFTER", default.retire_after)?,
        driver_retry: read(&t.driver_retry, "--driver-retry", "DRIVER_RETRY", default.driver_retry)?,
        gpu_look: read(&t.gpu_look, "--gpu-look", "GPU_LOOK", default.gpu_look)?,
        driver_patience: read(
            &t.driver_patience,
            "--driver-patience",
            "DRIVER_PATIENCE",
            default.driver_patience,
        )?,
        hint_absence: read(&t.hint_absence, "--hint-absence", "HINT_ABSENCE", default.hint_absence)?,
        holders_poll: read(&t.holders_poll, "--holders-poll", "HOLDERS_POLL", default.holders_poll)?,
        ..default
    })
}
