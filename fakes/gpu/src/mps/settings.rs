//! What the environment tells the program: where to listen and log, and which GPUs to see.

use std::path::PathBuf;

use super::arguments::Mode;
use crate::file::{NodeFile, STATE_FILE_NAME, STATE_VARIABLE};
use crate::record::Node;
use crate::trouble::ControlTrouble;

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// CUDA_MPS_PIPE_DIRECTORY.
    pub pipe_directory: PathBuf,
    /// CUDA_MPS_LOG_DIRECTORY.
    pub log_directory: PathBuf,
    /// CUDA_VISIBLE_DEVICES, if set.
    pub visible_devices: Option<String>,
    /// The node's state file.
    pub state: PathBuf,
}

impl Settings {
    /// Reads the environment, with the real program's defaults.
    pub fn from_environment() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let beside = || {
            let program = std::env::current_exe().unwrap_or_default();
            program.parent().map(|directory| directory.join(STATE_FILE_NAME)).unwrap_or_default()
        };
        Self {
            pipe_directory: path("CUDA_MPS_PIPE_DIRECTORY").unwrap_or_else(|| "/tmp/nvidia-mps".into()),
            log_directory: path("CUDA_MPS_LOG_DIRECTORY").unwrap_or_else(|| "/var/log/nvidia-mps".into()),
            visible_devices: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
            state: path(STATE_VARIABLE).unwrap_or_else(beside),
        }
    }
}

impl Settings {
    /// What is wrong with the program when it is called by people; a daemon that runs goes on.
    pub fn trouble(&self, mode: Mode) -> Option<ControlTrouble> {
        match mode {
            Mode::Commands | Mode::StartDaemon(_) | Mode::Foreground(_) | Mode::Version => {}
            Mode::Background(_) | Mode::Server => return None,
        }
        NodeFile::open(&self.state).ok()?.read(Node::control_trouble).ok()?
    }
}

/// The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; the first unknown entry ends the list, as in CUDA.
pub(crate) fn visible(node: &Node, devices: Option<&str>) -> Vec<(u32, String)> {
    let all: Vec<(u32, String)> =
        node.gpus().iter().map(|gpu| (gpu.index, gpu.uuid.as_str().to_owned())).collect();
    let Some(devices) = devices else { return all };
    let find = |entry: &str| match entry.parse::<usize>() {
        Ok(ordinal) => all.get(ordinal).cloned(),
        Err(_) => all.iter().find(|(_, uuid)| entry.starts_with("GPU-") && uuid.starts_with(entry)).cloned(),
    };
    devices.split(',').map_while(|entry| find(entry.trim())).collect()
}
