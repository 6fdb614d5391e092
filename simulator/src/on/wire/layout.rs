//! Where everything of a run lies: short paths for sockets in a temporary directory, what is kept in the run
//! directory.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Longest temporary directory that leaves room for socket names (108 bytes with the closing zero).
const TEMP_PATH_MAX: usize = 24;

/// The temporary directory of a run: `/tmp/tandem-XXXXXX`.
///
/// # Errors
/// What the file system says.
pub(super) fn temporary() -> io::Result<TempDir> {
    let usual = std::env::temp_dir();
    let base = if usual.as_os_str().len() <= TEMP_PATH_MAX { usual } else { PathBuf::from("/tmp") };
    tempfile::Builder::new().prefix("tandem-").tempdir_in(base)
}

/// The paths of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeLayout {
    /// The kubelet's device-plugin directory with its registration socket.
    pub(super) device_plugins: PathBuf,
    /// The kubelet's PodResources directory.
    pub(super) pod_resources: PathBuf,
    /// The MPS root on the host.
    pub(super) mps_root: PathBuf,
    /// The plugin's config map, projected.
    pub(super) config: PathBuf,
    /// CDI specs, which the container runtime reads.
    pub(super) cdi: PathBuf,
    /// The plugin's own state.
    pub(super) state: PathBuf,
    /// The driver root: holds `libnvidia-ml.so.1` when a driver is installed.
    pub(super) driver_root: PathBuf,
    /// Programs of the driver, each a link to what this build made.
    pub(super) programs: PathBuf,
    /// The machine's sysfs, as far as the plugin reads it.
    pub(super) sysfs: PathBuf,
    /// The fake GPUs' state.
    pub(super) gpus: PathBuf,
    /// Where the plugin writes the address of its admin server.
    pub(super) admin_address: PathBuf,
    /// Kept: the journals.
    pub(super) journal: PathBuf,
    /// Kept: the logs and journals of this node.
    pub(super) kept: PathBuf,
}

impl NodeLayout {
    /// Makes the directories of a node.
    ///
    /// # Errors
    /// The path and what the file system says of it.
    pub(super) fn create(
        temporary: &Path,
        run_dir: &Path,
        node: &str,
    ) -> Result<NodeLayout, (PathBuf, io::Error)> {
        let base = temporary.join(node);
        let kept = run_dir.join(node);
        let layout = NodeLayout {
            device_plugins: base.join("dp"),
            pod_resources: base.join("pr"),
            mps_root: base.join("mps"),
            config: base.join("config"),
            cdi: base.join("cdi"),
            state: base.join("state"),
            driver_root: base.join("driver"),
            programs: base.join("bin"),
            sysfs: base.join("sys"),
            gpus: base.join("gpu.state"),
            admin_address: base.join("probes/admin"),
            journal: kept.join("journal"),
            kept,
        };
        let directories = [
            &layout.device_plugins,
            &layout.pod_resources,
            &layout.mps_root,
            &layout.config,
            &layout.cdi,
            &layout.state,
            &layout.driver_root,
            &layout.programs,
            &layout.sysfs,
            &layout.journal,
            &base.join("probes"),
        ];
        for directory in directories {
            std::fs::create_dir_all(directory).map_err(|error| (directory.clone(), error))?;
        }
        Ok(layout)
    }

    /// The driver library, whether it is there or not.
    pub(super) fn nvml(&self) -> PathBuf {
        self.driver_root.join("libnvidia-ml.so.1")
    }

    /// The MPS control program, whether it is installed or not.
    pub(super) fn mps_control(&self) -> PathBuf {
        self.programs.join("nvidia-cuda-mps-control")
    }

    /// nvidia-smi, whether it is installed or not.
    pub(super) fn nvidia_smi(&self) -> PathBuf {
        self.programs.join("nvidia-smi")
    }

    /// The log file of a process.
    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.kept.join(format!("{process}.log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_longest_node_name_fit_into_a_socket_address() {
        let temporary = temporary().unwrap();
        let run = tempfile::tempdir().unwrap();
        let layout = NodeLayout::create(temporary.path(), run.path(), &"n".repeat(40)).unwrap();
        let socket = layout.device_plugins.join("nvidia-gpu.shared.sock");
        assert!(socket.as_os_str().len() < 108, "{}", socket.display());
    }
}
