//! The command line, word for word; what it means is decided in `settings`, because the environment has a say too.
//!
//! Every value arrives as text: flag and environment variable are read by the same rules, and the message names which one
//! was wrong. Names, aliases and defaults without further remark are those of NVIDIA k8s-device-plugin v0.20.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::cdi::{CdiArgs, UninstallArgs};
use super::look_args::{DoctorArgs, StatusArgs};
use super::mps_args::MpsArgs;
use crate::telemetry::LogFormat;

/// A Kubernetes device plugin for NVIDIA GPUs that runs exclusive and shared GPUs side by side.
///
/// Without a subcommand it runs the plugin, or `mps` if it is called mps-control-daemon. Precedence: flag, then environment variable,
/// then configuration file, then default. An environment variable that exists but is empty counts as set for the settings that a
/// configuration file has too.
#[derive(Debug, Parser)]
#[command(name = "tandem-device-plugin", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Serve this node's GPUs to the kubelet (the default).
    Run(Box<RunArgs>),
    /// Keep the MPS control daemons that `run` asks for, in a process of its own.
    Mps(MpsArgs),
    /// Check configuration files: every problem with its position, and what each file would do on a node.
    ///
    /// Exit 0: fine, 1: problems, 2: a file cannot be read or the node is not known.
    Validate(ValidateArgs),
    /// Print the configuration that `run` with the same flags, environment and files has, and where each value comes from.
    /// Exit 0: fine, 1: the file has problems, 2: it cannot be read.
    PrintConfig(Box<PrintConfigArgs>),
    /// Print what a running plugin is doing.
    Status(StatusArgs),
    /// Look for what is wrong on this node, with the fix of each thing. Exit 0: nothing, 1: warnings, 2: something failed.
    Doctor(Box<DoctorArgs>),
    /// Remove what `run` leaves on the node when it ends: the CDI specs of its vendor.
    Uninstall(UninstallArgs),
}

/// Flags of `run`.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) nvidia: NvidiaArgs,
    #[command(flatten)]
    pub(crate) cdi: CdiArgs,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,

    /// Configuration file [env: CONFIG_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config_file: Option<String>,
    /// Directory with one configuration per file, chosen by the Node's label; wins over --config-file [env: CONFIG_FILE_SRCDIR]
    #[arg(long, alias = "config-file-srcdir", value_name = "DIR", help_heading = "Configuration")]
    pub(crate) config_dir: Option<String>,
    /// Configuration of a Node without the label [env: DEFAULT_CONFIG]
    #[arg(long, value_name = "NAME", help_heading = "Configuration")]
    pub(crate) default_config: Option<String>,
    /// What to try when there is neither label nor default: named, single, empty [env: FALLBACK_STRATEGIES] [default: named,single]
    #[arg(long, value_name = "LIST", help_heading = "Configuration")]
    pub(crate) fallback_strategies: Vec<String>,
    /// Label that names the configuration [env: NODE_LABEL] [default: nvidia.com/device-plugin.config]
    #[arg(long, value_name = "KEY", help_heading = "Configuration")]
    pub(crate) node_label: Option<String>,
    /// `strict` refuses a configuration with an unknown key, `warn` serves it [env: CONFIG_VALIDATION] [default: warn]
    #[arg(long, value_name = "HOW", help_heading = "Configuration")]
    pub(crate) config_validation: Option<String>,
    /// Ignore what NVIDIA's plugin ignores: `devices`, `rename`, `resources`, and time-slicing beside MPS
    /// [env: NVIDIA_COMPAT] [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Configuration"
    )]
    pub(crate) nvidia_compat: Option<String>,

    /// Name of this Node; without it no API server is used [env: NODE_NAME]
    #[arg(long, value_name = "NAME", help_heading = "Kubernetes")]
    pub(crate) node_name: Option<String>,
    /// Kubeconfig file; without it the pod's service account is used [env: KUBECONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Kubernetes")]
    pub(crate) kubeconfig: Option<String>,
    /// The kubelet's registration socket; the plugin's sockets are made beside it
    /// [env: KUBELET_SOCKET] [default: /var/lib/kubelet/device-plugins/kubelet.sock]
    #[arg(long, value_name = "SOCKET", help_heading = "Kubernetes")]
    pub(crate) kubelet_socket: Option<String>,
    /// The kubelet's PodResources socket [env: POD_RESOURCES_SOCKET] [default: /var/lib/kubelet/pod-resources/kubelet.sock]
    #[arg(long, value_name = "SOCKET", help_heading = "Kubernetes")]
    pub(crate) pod_resources_socket: Option<String>,
    /// The program that sets the `interval` of time-slicing; only run where a configuration names one
    /// [env: NVIDIA_SMI_PATH] [default: nvidia-smi on the PATH]
    #[arg(long, value_name = "FILE", help_heading = "Driver")]
    pub(crate) nvidia_smi_path: Option<String>,

    /// Directory on the host of what outlives the plugin: the configuration that was in force last. Empty: nothing is kept
    /// [env: STATE_DIR] [default: /var/lib/tandem]
    #[arg(long, value_name = "DIR", help_heading = "Operation")]
    pub(crate) state_dir: Option<String>,
    /// Where /live, /ready, /metrics and /state are served; port 0 takes a free one [env: ADMIN_ADDRESS] [default: 127.0.0.1:9410]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Operation")]
    pub(crate) admin_address: Option<String>,
    /// Unix socket with the same pages, for root alone. Empty: none
    /// [env: ADMIN_SOCKET] [default: admin.sock in --state-dir]
    #[arg(long, value_name = "SOCKET", help_heading = "Operation")]
    pub(crate) admin_socket: Option<String>,
    /// File that gets the bound admin address [env: ADMIN_ADDRESS_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Operation")]
    pub(crate) admin_address_file: Option<String>,
    /// Directory of the journal, a ring of two files of 16 MiB; without it no journal is kept [env: JOURNAL_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Operation")]
    pub(crate) journal_dir: Option<String>,
}

/// Settings that a configuration file has too.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings of the configuration file")]
pub(crate) struct NvidiaArgs {
    /// none, single or mixed [env: MIG_STRATEGY] [default: none]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) mig_strategy: Option<String>,
    /// End when NVML cannot be initialized [env: FAIL_ON_INIT_ERROR] [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) fail_on_init_error: Option<String>,
    /// Host directory of MPS; needed for sharing by MPS [env: MPS_ROOT]
    #[arg(long, value_name = "DIR")]
    pub(crate) mps_root: Option<String>,
    /// Host directory in which the driver is installed [env: NVIDIA_DRIVER_ROOT] [default: /]
    #[arg(long, alias = "nvidia-driver-root", value_name = "DIR")]
    pub(crate) driver_root: Option<String>,
    /// Host directory that holds `dev` [env: NVIDIA_DEV_ROOT] [default: the driver root]
    #[arg(long, alias = "nvidia-dev-root", value_name = "DIR")]
    pub(crate) dev_root: Option<String>,
    /// Give containers GDRCopy [env: GDRCOPY_ENABLED] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) gdrcopy_enabled: Option<String>,
    /// Give containers GPUDirect Storage [env: GDS_ENABLED] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) gds_enabled: Option<String>,
    /// Give containers MOFED [env: MOFED_ENABLED] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) mofed_enabled: Option<String>,
    /// auto, nvml or tegra [env: DEVICE_DISCOVERY_STRATEGY] [default: auto]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) device_discovery_strategy: Option<String>,
    /// List device nodes in Allocate [env: PASS_DEVICE_SPECS] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) pass_device_specs: Option<String>,
    /// How containers are told their devices: envvar, volume-mounts, cdi-annotations, cdi-cri
    /// [env: DEVICE_LIST_STRATEGY] [default: envvar]
    #[arg(long, value_name = "LIST")]
    pub(crate) device_list_strategy: Vec<String>,
    /// uuid or index [env: DEVICE_ID_STRATEGY] [default: uuid]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) device_id_strategy: Option<String>,
    /// Prefix of CDI annotations [env: CDI_ANNOTATION_PREFIX] [default: cdi.k8s.io/]
    #[arg(long, value_name = "PREFIX")]
    pub(crate) cdi_annotation_prefix: Option<String>,
    /// Host path of the CDI hook program [env: NVIDIA_CDI_HOOK_PATH, NVIDIA_CTK_PATH] [default: /usr/bin/nvidia-ctk]
    #[arg(long, alias = "nvidia-ctk-path", value_name = "FILE")]
    pub(crate) nvidia_cdi_hook_path: Option<String>,
    /// How replicas are spread over GPUs: distributed or packed [env: SHARED_DEVICES_ALLOCATION_POLICY] [default: distributed]
    #[arg(long, value_name = "POLICY")]
    pub(crate) shared_devices_allocation_policy: Option<String>,
    /// IMEX channels of every container: none, or 0 [env: IMEX_CHANNEL_IDS]
    #[arg(long, value_name = "LIST")]
    pub(crate) imex_channel_ids: Vec<String>,
    /// End when an IMEX channel is missing [env: IMEX_REQUIRED] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) imex_required: Option<String>,
}

/// Named intervals, such as `30s`, `200ms` or `5m`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Timing")]
pub(crate) struct TimingArgs {
    /// How long an unheld device that left its resource stays listed as unhealthy [env: RETIRE_AFTER] [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) retire_after: Option<String>,
    /// Between two looks for a missing driver [env: DRIVER_RETRY] [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub(crate) driver_retry: Option<String>,
    /// Between two looks at the GPUs while all is well [env: GPU_LOOK] [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) gpu_look: Option<String>,
    /// How long a look at the GPUs may take before that is told [env: DRIVER_PATIENCE] [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub(crate) driver_patience: Option<String>,
    /// How long an allocation must be absent from PodResources until it counts as never admitted [env: HINT_ABSENCE] [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) hint_absence: Option<String>,
    /// Between two reads of PodResources while a GPU is draining [env: HOLDERS_POLL] [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub(crate) holders_poll: Option<String>,
}

/// Where the driver is.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Driver")]
pub(crate) struct GpuArgs {
    /// NVML's library [env: NVML_LIBRARY] [default: libnvidia-ml.so.1 below --driver-root-ctr-path, else as the loader finds it]
    #[arg(long, value_name = "FILE")]
    pub(crate) nvml_library: Option<String>,
    /// Where the driver's root is mounted in this container [env: DRIVER_ROOT_CTR_PATH, CONTAINER_DRIVER_ROOT] [default: /driver-root]
    #[arg(long, alias = "container-driver-root", value_name = "DIR")]
    pub(crate) driver_root_ctr_path: Option<String>,
    /// The sysfs mount, for NUMA nodes [env: SYSFS_ROOT] [default: /sys]
    #[arg(long, value_name = "DIR")]
    pub(crate) sysfs_root: Option<String>,
    /// The proc mount, for the device nodes of MIG devices [env: PROC_ROOT] [default: /proc]
    #[arg(long, value_name = "DIR")]
    pub(crate) proc_root: Option<String>,
    /// Where the MPS root is mounted in this container; `run` and `mps` talk through files there
    /// [env: MPS_ROOT_CTR_PATH] [default: --mps-root, else /run/nvidia/mps]
    #[arg(long, value_name = "DIR")]
    pub(crate) mps_root_ctr_path: Option<String>,
}

/// How the log looks.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Shape of log lines on standard error [env: LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace, also per part: `info,kube=debug` [env: LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// Flags of `print-config`.
#[derive(Debug, Default, Args)]
pub(crate) struct PrintConfigArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which configuration of --config-dir; without it the one of a Node without the label
    #[arg(long, value_name = "NAME")]
    pub(crate) config: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Configuration files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Tell what each file would do on a node with these boards, for example `8*tesla-t4` or `2*l40s,2*tesla-t4`; boards:
    /// a100-sxm4-40gb, h100-80gb-hbm3, l40s, tesla-t4
    #[arg(long, value_name = "BOARDS", conflicts_with = "live")]
    pub(crate) node: Option<String>,
    /// Tell what each file would do on this machine
    #[arg(long)]
    pub(crate) live: bool,
    /// Tell what would change for a node that is served with the same file by NVIDIA's plugin; needs --node or --live
    #[arg(long, value_name = "PLUGIN", value_parser = ["nvidia-0.20"])]
    pub(crate) against: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
}
