//! The MPS control program and nvidia-smi of a node as they are installed, and what stands in the way of its daemons' directories.

use fake_gpu::ControlTrouble;

use super::super::Node;
use crate::on::StageError;

/// The first directory below the MPS root that a daemon needs: the domain of its resource.
const DOMAIN: &str = "nvidia.com";

impl Node {
    /// Installs the driver's programs, or removes those that are missing.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn show_programs(&self) -> Result<(), StageError> {
        let troubles = self
            .driver
            .as_ref()
            .and_then(|driver| driver.state().read(|gpus| [gpus.control_trouble(), gpus.smi_trouble()]).ok());
        let links = [self.layout.mps_control(), self.layout.nvidia_smi()];
        for (link, trouble) in links.into_iter().zip(troubles.into_iter().flatten()) {
            let away = link.with_extension("away");
            let done = match (trouble == Some(ControlTrouble::Missing), link.exists()) {
                (true, true) => std::fs::rename(&link, &away),
                (false, false) => std::fs::rename(&away, &link),
                (true, false) | (false, true) => Ok(()),
            };
            done.map_err(|error| StageError::File { what: "move", path: link, error })?;
        }
        Ok(())
    }

    /// Puts a file where daemons make their directories; `false` when they are there already.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn block_mps_directories(&self) -> Result<bool, StageError> {
        let path = self.layout.mps_root.join(DOMAIN);
        if path.exists() {
            return Ok(false);
        }
        let written = std::fs::write(&path, "not a directory");
        written.map(|()| true).map_err(|error| StageError::File { what: "write", path, error })
    }

    /// Takes that file away.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn unblock_mps_directories(&self) -> Result<(), StageError> {
        let path = self.layout.mps_root.join(DOMAIN);
        std::fs::remove_file(&path).map_err(|error| StageError::File { what: "remove", path, error })
    }
}
