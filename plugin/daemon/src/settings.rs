//! What the process was told: command line and environment, read once, before anything is started.

mod args;
mod given;
mod overrides;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use plugin_core::config::{Fallback, parse_boolean};
use plugin_core::settings::{ConfigSource, Settings, Timing};

use crate::config_dir::ConfigPath;
use crate::mps_files::MpsRoot;
use crate::mps_supervisor::MpsSettings;
use crate::node_client::NodeSettings;
use crate::nvml::NvmlPaths;
use crate::run::RunSettings;
use crate::telemetry::LogFormat;
use args::{Cli, CommandArgs, GpuArgs, LogArgs, MpsArgs, RunArgs};
use given::{Environment, SettingError, duration, given, given_text};

const KUBELET_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";
const POD_RESOURCES_SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";
const ADMIN_ADDRESS: &str = "127.0.0.1:9410";
const DRIVER_ROOT_CTR_PATH: &str = "/driver-root";
const SYSFS_ROOT: &str = "/sys";
const MPS_ROOT: &str = "/run/nvidia/mps";
const MPS_CONTROL: &str = "nvidia-cuda-mps-control";
/// The words that are subcommands; anything else belongs to `run`.
const SUBCOMMANDS: [&str; 9] = ["run", "mps", "validate", "status", "help", "--help", "-h", "--version", "-V"];

/// How the log looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// Its shape.
    pub(crate) format: LogFormat,
    /// How much of it.
    pub(crate) level: String,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve the node's GPUs.
    Run(Box<RunSettings>, NvmlPaths, LogSettings),
    /// Keep MPS control daemons.
    Mps(MpsSettings, NvmlPaths, LogSettings),
    /// Check configuration files.
    Validate(Vec<PathBuf>),
    /// Print a plugin's state.
    Status {
        /// Its admin address.
        address: String,
        /// As JSON.
        json: bool,
    },
}

/// Reads the command line (program name first) and the environment.
///
/// # Errors
/// clap's, which also carries `--help` and `--version`; a wrong value is one too.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>, env: Environment<'_>) -> Result<Command, clap::Error> {
    let cli = Cli::try_parse_from(with_subcommand(args))?;
    resolve(cli.command, env).map_err(|e| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{e}\n"))
    })
}

fn with_subcommand(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let named = args.get(1).and_then(|a| a.to_str()).is_some_and(|a| SUBCOMMANDS.contains(&a));
    if !named {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

fn resolve(command: CommandArgs, env: Environment<'_>) -> Result<Command, SettingError> {
    match command {
        CommandArgs::Run(args) => {
            let settings = run_settings(&args, env)?;
            Ok(Command::Run(Box::new(settings), nvml_paths(&args.gpu, env), log_settings(&args.log, env)?))
        }
        CommandArgs::Mps(args) => {
            let settings = mps_settings(&args, env)?;
            Ok(Command::Mps(settings, nvml_paths(&args.gpu, env), log_settings(&args.log, env)?))
        }
        CommandArgs::Validate(args) => Ok(Command::Validate(args.files)),
        CommandArgs::Status(args) => {
            let address = text_or(&args.admin_address, "--admin-address", env, "ADMIN_ADDRESS", ADMIN_ADDRESS);
            Ok(Command::Status { address, json: args.json })
        }
    }
}

fn run_settings(args: &RunArgs, env: Environment<'_>) -> Result<RunSettings, SettingError> {
    let path = |value: &Option<String>, flag, variable| {
        given_text(value.as_ref(), flag, env, &[variable]).map(|g| PathBuf::from(g.text))
    };
    let node_name = given_text(args.node_name.as_ref(), "--node-name", env, &["NODE_NAME"]).map(|g| g.text);
    let kubeconfig = path(&args.kubeconfig, "--kubeconfig", "KUBECONFIG");
    let config_dir = path(&args.config_dir, "--config-dir", "CONFIG_FILE_SRCDIR");
    let config_file = path(&args.config_file, "--config-file", "CONFIG_FILE");
    let config = config_dir.map(ConfigPath::Directory).or(config_file.map(ConfigPath::File));
    let core = core_settings(args, env, config.as_ref(), node_name.clone())?;
    let socket = |value, flag, variable, default: &str| {
        PathBuf::from(text_or(value, flag, env, variable, default))
    };
    Ok(RunSettings {
        core,
        config,
        node: node_name.map(|name| NodeSettings { name, kubeconfig }),
        kubelet_socket: socket(&args.kubelet_socket, "--kubelet-socket", "KUBELET_SOCKET", KUBELET_SOCKET),
        pod_resources_socket: socket(
            &args.pod_resources_socket,
            "--pod-resources-socket",
            "POD_RESOURCES_SOCKET",
            POD_RESOURCES_SOCKET,
        ),
        mps_root: mps_root(&args.nvidia.mps_root, &args.gpu, env),
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
    let validation = given_text(args.config_validation.as_ref(), "--config-validation", env, &["CONFIG_VALIDATION"]);
    let strict = |text: &str| match text {
        "strict" => Ok(true),
        "warn" => Ok(false),
        other => Err(format!("the validation is one of `strict`, `warn`, but is `{other}`")),
    };
    Ok(Settings {
        node_name,
        config_label: text_or(&args.node_label, "--node-label", env, "NODE_LABEL", ""),
        config_source: config_source(args, env, config)?,
        strict: validation.map(|g| g.parse(strict)).transpose()?.unwrap_or(false),
        overrides: overrides::overrides(&args.nvidia, &args.gpu, env)?,
        timing: timing(args, env)?,
    })
}

fn config_source(
    args: &RunArgs,
    env: Environment<'_>,
    config: Option<&ConfigPath>,
) -> Result<ConfigSource, SettingError> {
    let default_config = given_text(args.default_config.as_ref(), "--default-config", env, &["DEFAULT_CONFIG"]);
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
        hint_absence: read(&t.hint_absence, "--hint-absence", "HINT_ABSENCE", default.hint_absence)?,
        holders_poll: read(&t.holders_poll, "--holders-poll", "HOLDERS_POLL", default.holders_poll)?,
        ..default
    })
}

fn mps_settings(args: &MpsArgs, env: Environment<'_>) -> Result<MpsSettings, SettingError> {
    let read = |text: &str| if text.is_empty() { Ok(false) } else { parse_boolean(text) };
    let keep = given(args.keep_compute_mode.as_ref(), "--keep-compute-mode", env, &["KEEP_COMPUTE_MODE"]);
    let journal = given_text(args.journal_dir.as_ref(), "--journal-dir", env, &["JOURNAL_DIR"]);
    Ok(MpsSettings {
        root: mps_root(&args.mps_root, &args.gpu, env),
        control: text_or(&args.mps_control, "--mps-control", env, "MPS_CONTROL", MPS_CONTROL).into(),
        keep_compute_mode: keep.map(|g| g.parse(read)).transpose()?.unwrap_or(false),
        journal_dir: journal.map(|g| g.text.into()),
    })
}

fn mps_root(host: &Option<String>, gpu: &GpuArgs, env: Environment<'_>) -> MpsRoot {
    let host = given_text(host.as_ref(), "--mps-root", env, &["MPS_ROOT"]);
    let here = given_text(gpu.mps_root_ctr_path.as_ref(), "--mps-root-ctr-path", env, &["MPS_ROOT_CTR_PATH"]);
    MpsRoot(here.or(host).map_or_else(|| MPS_ROOT.into(), |g| g.text.into()))
}

fn nvml_paths(args: &GpuArgs, env: Environment<'_>) -> NvmlPaths {
    let library = given_text(args.nvml_library.as_ref(), "--nvml-library", env, &["NVML_LIBRARY"]);
    let roots = ["DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"];
    let root = given_text(args.driver_root_ctr_path.as_ref(), "--driver-root-ctr-path", env, &roots);
    NvmlPaths {
        library: library.map(|g| g.text.into()),
        driver_root: root.map_or_else(|| DRIVER_ROOT_CTR_PATH.into(), |g| g.text.into()),
        sysfs_root: text_or(&args.sysfs_root, "--sysfs-root", env, "SYSFS_ROOT", SYSFS_ROOT).into(),
    }
}

fn log_settings(args: &LogArgs, env: Environment<'_>) -> Result<LogSettings, SettingError> {
    let variable = given_text(None, "--log-format", env, &["LOG_FORMAT"]);
    let variable = variable.map(|g| g.parse(|text| LogFormat::from_str(text, true))).transpose()?;
    Ok(LogSettings {
        format: args.log_format.or(variable).unwrap_or_default(),
        level: text_or(&args.log_level, "--log-level", env, "LOG_LEVEL", "info"),
    })
}

fn text_or(value: &Option<String>, flag: &str, env: Environment<'_>, variable: &str, default: &str) -> String {
    given_text(value.as_ref(), flag, env, &[variable]).map_or_else(|| default.to_owned(), |g| g.text)
}

#[cfg(test)]
mod tests;
