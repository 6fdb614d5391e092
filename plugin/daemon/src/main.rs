//! `tandem-device-plugin`: the process around the core. It acts, and decides nothing; see `run` for the loop.

mod admin;
mod admin_socket;
mod allocatable;
mod announce;
mod boot;
mod cause;
mod cdi_files;
mod config_dir;
mod dial;
mod dir_watch;
mod doctor;
mod files;
mod gpu;
mod gpu_watch;
mod handlers;
mod journal_file;
mod kubelet_watch;
mod list_stream;
mod metrics;
mod mps_control;
mod mps_daemon;
mod mps_desired;
mod mps_files;
mod mps_supervisor;
mod mps_worker;
mod node_client;
mod node_link;
mod node_watch;
mod nvidia_smi;
mod nvml;
mod nvml_fabric;
mod nvml_instances;
mod nvml_links;
mod nvml_mig;
mod perform;
mod platform;
mod pod_resources;
mod print_config;
mod process;
mod proto;
mod register;
mod run;
mod serve;
mod settings;
mod start;
mod state_dir;
mod status;
mod telemetry;
mod validate;

use std::process::ExitCode;

fn main() -> ExitCode {
    match settings::parse(std::env::args_os(), &|name| std::env::var(name).ok()) {
        Ok(command) => start::start(command),
        Err(e) => e.exit(),
    }
}
