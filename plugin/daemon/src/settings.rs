//! What the process was told: command line and environment, read once, before anything is started.

mod args;
mod cdi;
mod doctor_settings;
mod given;
mod look_args;
mod mps_args;
mod origins;
mod overrides;
mod run_settings;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use plugin_core::config::parse_boolean;

use crate::boot::RunSettings;
use crate::cdi_files::SpecDir;
use crate::doctor::DoctorSettings;
use crate::mps_files::MpsRoot;
use crate::mps_supervisor::MpsSettings;
use crate::mps_supervisor::alone::AloneSettings;
use crate::nvml::NvmlPaths;
use crate::print_config::PrintSettings;
use crate::state_dir::StateDir;
use crate::status::At;
use crate::telemetry::LogFormat;
use crate::validate::{Node, ValidateSettings};
use args::{Cli, CommandArgs, GpuArgs, LogArgs, NvidiaArgs, ValidateArgs};
use given::{Environment, SettingError, given, given_text};
use look_args::StatusArgs;
use mps_args::MpsArgs;

const ADMIN_ADDRESS: &str = "127.0.0.1:9410";
const STATE_DIR: &str = "/var/lib/tandem";
const DRIVER_ROOT_CTR_PATH: &str = "/driver-root";
const SYSFS_ROOT: &str = "/sys";
const PROC_ROOT: &str = "/proc";
/// The host directory of MPS where nobody names one.
pub(crate) const MPS_ROOT: &str = "/run/nvidia/mps";
/// Where NVIDIA's DaemonSet of the MPS control daemon mounts it.
const NVIDIA_MPS_ROOT: &str = "/mps";
const MPS_CONTROL: &str = "nvidia-cuda-mps-control";
/// The words that are subcommands; anything else belongs to `run`.
const SUBCOMMANDS: [&str; 12] = [
    "run",
    "mps",
    "validate",
    "status",
    "doctor",
    "print-config",
    "uninstall",
    "help",
    "--help",
    "-h",
    "--version",
    "-V",
];

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
    Mps(Box<MpsSettings>, NvmlPaths, LogSettings),
    /// Tell whether the supervisor with this MPS root is ready.
    MpsReady {
        /// The directory shared with the plugin.
        root: MpsRoot,
        /// Whether it has a configuration of its own.
        alone: bool,
    },
    /// Check configuration files.
    Validate(ValidateSettings, NvmlPaths),
    /// Print the merged configuration.
    PrintConfig(Box<PrintSettings>),
    /// Look for what is wrong on this node; as JSON or not.
    Doctor(Box<DoctorSettings>, bool),
    /// Print a plugin's state.
    Status {
        /// Where to ask, best first.
        at: Vec<At>,
        /// As JSON.
        json: bool,
    },
    /// Remove the CDI specs that the plugin wrote.
    Uninstall(SpecDir),
}

/// Reads the command line (program name first) and the environment.
///
/// # Errors
/// clap's, which also carries `--help` and `--version`; a wrong value is one too.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: Environment<'_>,
) -> Result<Command, clap::Error> {
    let cli = Cli::try_parse_from(with_subcommand(args))?;
    resolve(cli.command, env)
        .map_err(|e| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{e}\n")))
}

fn with_subcommand(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let named = args.get(1).and_then(|a| a.to_str()).filter(|word| SUBCOMMANDS.contains(word));
    // a subcommand that is written wins over the name; what begins with `-` belongs to `mps`
    if is_control_daemon(args.first()) && named.is_none_or(|word| word.starts_with('-')) {
        let root = ["--mps-root-ctr-path", NVIDIA_MPS_ROOT].map(OsString::from);
        let given = args.iter().any(|arg| arg.to_string_lossy().starts_with("--mps-root-ctr-path"));
        args.splice(1..1, std::iter::once("mps".into()).chain(root.into_iter().filter(|_| !given)));
        return args;
    }
    if named.is_none() {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

/// Whether the program is called by the name of NVIDIA's MPS control daemon, in whose DaemonSet it then stands.
fn is_control_daemon(program: Option<&OsString>) -> bool {
    let program = program.map(std::path::Path::new).and_then(std::path::Path::file_name);
    program.is_some_and(|name| name == "mps-control-daemon")
}

fn resolve(command: CommandArgs, env: Environment<'_>) -> Result<Command, SettingError> {
    match command {
        CommandArgs::Run(args) => {
            let settings = run_settings::run_settings(&args, env)?;
            Ok(Command::Run(Box::new(settings), nvml_paths(&args.gpu, env), log_settings(&args.log, env)?))
        }
        CommandArgs::Mps(args) if args.ready => {
            let settings = mps_settings(&args, env)?;
            Ok(Command::MpsReady { root: settings.root, alone: settings.alone.is_some() })
        }
        CommandArgs::Mps(args) => {
            let settings = mps_settings(&args, env)?;
            Ok(Command::Mps(Box::new(settings), nvml_paths(&args.gpu, env), log_settings(&args.log, env)?))
        }
        CommandArgs::Validate(args) => {
            let nvml = nvml_paths(&args.gpu, env);
            Ok(Command::Validate(validate_settings(args)?, nvml))
        }
        CommandArgs::Status(args) => Ok(Command::Status { at: places(&args, env), json: args.json }),
        CommandArgs::PrintConfig(args) => {
            let settings = run_settings::run_settings(&args.run, env)?;
            let origins = origins::origins(&args.run, env)?;
            Ok(Command::PrintConfig(Box::new(PrintSettings {
                core: settings.core,
                path: settings.config,
                config: args.config,
                origins,
                json: args.json,
            })))
        }
        CommandArgs::Doctor(args) => {
            let settings = doctor_settings::doctor_settings(&args, env);
            Ok(Command::Doctor(Box::new(settings), args.status.json))
        }
        CommandArgs::Uninstall(args) => {
            Ok(Command::Uninstall(cdi::spec_dir(&args.cdi, &GpuArgs::default(), env)?))
        }
    }
}

fn validate_settings(args: ValidateArgs) -> Result<ValidateSettings, SettingError> {
    let node = match (args.live, args.node) {
        (true, _) => Node::Live,
        (false, Some(boards)) => Node::Boards(boards),
        (false, None) => Node::Unknown,
    };
    if args.against.is_some() && node == Node::Unknown {
        let why = "needs GPUs to compare on (hint: add --node BOARDS or --live)".to_owned();
        return Err(SettingError { origin: "--against".to_owned(), why });
    }
    let (files, json) = (args.files, args.json);
    Ok(ValidateSettings { files, node, against_nvidia: args.against.is_some(), json })
}

/// Where a plugin may answer, best first.
fn places(args: &StatusArgs, env: Environment<'_>) -> Vec<At> {
    let address = text_or(&args.admin_address, "--admin-address", env, "ADMIN_ADDRESS", ADMIN_ADDRESS);
    let socket = admin_socket(&args.admin_socket, &args.state_dir, env);
    let socket = socket.filter(|_| args.admin_address.is_none());
    socket.map(At::Socket).into_iter().chain([At::Address(address)]).collect()
}

fn mps_settings(args: &MpsArgs, env: Environment<'_>) -> Result<MpsSettings, SettingError> {
    let read = |text: &str| {
        if text.is_empty() { Ok(false) } else { parse_boolean(text) }
    };
    let is_on = |value: &Option<String>, flag: &str, variable: &str, otherwise: bool| {
        let given = given(value.as_ref(), flag, env, &[variable]);
        Ok(given.map(|g| g.parse(read)).transpose()?.unwrap_or(otherwise))
    };
    let journal = given_text(args.journal_dir.as_ref(), "--journal-dir", env, &["JOURNAL_DIR"]);
    Ok(MpsSettings {
        root: mps_root(&args.mps_root, &args.gpu, env),
        control: text_or(&args.mps_control, "--mps-control", env, "MPS_CONTROL", MPS_CONTROL).into(),
        keep_compute_mode: is_on(&args.keep_compute_mode, "--keep-compute-mode", "KEEP_COMPUTE_MODE", false)?,
        multi_user: is_on(&args.multi_user, "--multi-user", "MPS_MULTI_USER", false)?,
        alone: alone_settings(args, env)?,
        init: is_on(&args.init, "--init", "MPS_INIT", true)?,
        journal_dir: journal.map(|g| g.text.into()),
    })
}

/// A configuration file of its own makes the supervisor decide by itself.
fn alone_settings(args: &MpsArgs, env: Environment<'_>) -> Result<Option<AloneSettings>, SettingError> {
    let Some(file) = given_text(args.config_file.as_ref(), "--config-file", env, &["CONFIG_FILE"]) else {
        return Ok(None);
    };
    let root = mps_root(&args.mps_root, &args.gpu, env).0.display().to_string();
    let nvidia =
        NvidiaArgs { mig_strategy: args.mig_strategy.clone(), mps_root: Some(root), ..NvidiaArgs::default() };
    let overrides = overrides::overrides(&nvidia, &args.gpu, env)?;
    Ok(Some(AloneSettings { file: file.text.into(), overrides }))
}

fn mps_root(host: &Option<String>, gpu: &GpuArgs, env: Environment<'_>) -> MpsRoot {
    let host = given_text(host.as_ref(), "--mps-root", env, &["MPS_ROOT"]);
    let here = given_text(gpu.mps_root_ctr_path.as_ref(), "--mps-root-ctr-path", env, &["MPS_ROOT_CTR_PATH"]);
    MpsRoot(here.or(host).map_or_else(|| MPS_ROOT.into(), |g| g.text.into()))
}

/// Empty means none.
fn state_dir(value: &Option<String>, env: Environment<'_>) -> Option<StateDir> {
    let given = given(value.as_ref(), "--state-dir", env, &["STATE_DIR"]);
    let path = given.map_or_else(|| STATE_DIR.to_owned(), |g| g.text);
    (!path.is_empty()).then(|| StateDir(path.into()))
}

/// Empty means none.
fn admin_socket(value: &Option<String>, directory: &Option<String>, env: Environment<'_>) -> Option<PathBuf> {
    let socket = given(value.as_ref(), "--admin-socket", env, &["ADMIN_SOCKET"]);
    match socket {
        Some(socket) => (!socket.text.is_empty()).then(|| socket.text.into()),
        None => state_dir(directory, env).map(|state| state.admin_socket()),
    }
}

fn nvml_paths(args: &GpuArgs, env: Environment<'_>) -> NvmlPaths {
    let library = given_text(args.nvml_library.as_ref(), "--nvml-library", env, &["NVML_LIBRARY"]);
    let roots = ["DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"];
    let root = given_text(args.driver_root_ctr_path.as_ref(), "--driver-root-ctr-path", env, &roots);
    NvmlPaths {
        library: library.map(|g| g.text.into()),
        driver_root: root.map_or_else(|| DRIVER_ROOT_CTR_PATH.into(), |g| g.text.into()),
        sysfs_root: text_or(&args.sysfs_root, "--sysfs-root", env, "SYSFS_ROOT", SYSFS_ROOT).into(),
        proc_root: text_or(&args.proc_root, "--proc-root", env, "PROC_ROOT", PROC_ROOT).into(),
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

fn text_or(
    value: &Option<String>,
    flag: &str,
    env: Environment<'_>,
    variable: &str,
    default: &str,
) -> String {
    given_text(value.as_ref(), flag, env, &[variable]).map_or_else(|| default.to_owned(), |g| g.text)
}

#[cfg(test)]
mod tests;
