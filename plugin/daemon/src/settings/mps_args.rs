//! The flags of `mps`, as text: what they mean is decided in `settings`.

use clap::Args;

use super::args::{GpuArgs, LogArgs};

/// Flags of `mps`.
#[derive(Debug, Default, Args)]
pub(crate) struct MpsArgs {
    /// Host directory of MPS, the same as that of `run` [env: MPS_ROOT] [default: /run/nvidia/mps]
    #[arg(long, value_name = "DIR", help_heading = "MPS")]
    pub(crate) mps_root: Option<String>,
    /// The control program [env: MPS_CONTROL] [default: nvidia-cuda-mps-control on the PATH]
    #[arg(long, value_name = "FILE", help_heading = "MPS")]
    pub(crate) mps_control: Option<String>,
    /// Leave compute modes as they are, instead of EXCLUSIVE_PROCESS while a GPU is shared by MPS [env: KEEP_COMPUTE_MODE]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "MPS")]
    pub(crate) keep_compute_mode: Option<String>,
    /// Where no plugin of this kind runs on the node: the configuration file that says which GPUs are shared, read as NVIDIA's
    /// MPS control daemon reads it; one daemon serves all GPUs of a resource. SIGHUP reads it again [env: CONFIG_FILE]
    #[arg(long, value_name = "FILE", help_heading = "MPS")]
    pub(crate) config_file: Option<String>,
    /// none, single or mixed, for --config-file [env: MIG_STRATEGY] [default: none]
    #[arg(long, value_name = "STRATEGY", help_heading = "MPS")]
    pub(crate) mig_strategy: Option<String>,
    /// Be a small first process that starts the supervisor as its child, and again when it dies: control daemons live as long
    /// as the first process of their container [env: MPS_INIT] [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", overrides_with = "init", help_heading = "MPS")]
    pub(crate) init: Option<String>,
    /// One MPS server serves the clients of all users (Volta and later), instead of one user after the other [env: MPS_MULTI_USER]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "MPS")]
    pub(crate) multi_user: Option<String>,
    /// Start nothing: exit 0 when the supervisor with this MPS root runs and every control daemon serves that is wished for; else 1,
    /// with the reason. For readiness probes
    #[arg(long, help_heading = "MPS")]
    pub(crate) ready: bool,
    /// Directory of the journal (`mps.jsonl`); without it no journal is kept [env: JOURNAL_DIR]
    #[arg(long, value_name = "DIR", help_heading = "MPS")]
    pub(crate) journal_dir: Option<String>,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
