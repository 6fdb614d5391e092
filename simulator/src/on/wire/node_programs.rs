//! How the plugin's two programs on a node are stopped, killed and started again.

use std::path::{Path, PathBuf};

use super::node::Node;
use super::programs::{MPS, Name, PLUGIN};
use super::refused;
use crate::on::{Done, StageError};
use crate::scenario::Process;

/// What the command line of the supervisor itself has, and that of its first process has not.
const SUPERVISOR_FLAG: &str = "--init=false";

impl Node {
    /// Stops a program in order and starts it again.
    ///
    /// # Errors
    /// It does not run or does not start again.
    pub(super) async fn restart(&mut self, process: Process) -> Result<Done, StageError> {
        let name = self.running(process)?;
        self.programs.stop(&name).await;
        self.start_again(&name)
    }

    /// Kills a program; as a kubelet restarts a dead container at once the first time, it is started again.
    ///
    /// # Errors
    /// It does not run or does not start again.
    pub(super) async fn kill(&mut self, process: Process) -> Result<Done, StageError> {
        if process == Process::Kubelet {
            return Ok(Done::Skipped(
                "the simulated kubelet has no process to kill; restart it instead".to_owned(),
            ));
        }
        let name = self.running(process)?;
        self.programs.kill(&name).await;
        self.start_again(&name)
    }

    /// Kills the MPS supervisor alone: the first process of its container, which starts it again, goes on.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn crash_supervisor(&mut self) -> Result<Done, StageError> {
        let name = self.running(Process::Mps)?;
        match self.programs.kill_worker(&name, SUPERVISOR_FLAG) {
            true => Ok(Done::Did),
            false => {
                Err(refused(format!("kill the MPS supervisor of node `{}`", self.name), &"it does not run"))
            }
        }
    }

    /// Where a path of the node's MPS root is on this machine: manifests give the root the name that it has on a host.
    pub(super) fn on_this_machine(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.mps_root) {
            Ok(below) => self.layout.mps_root.join(below),
            Err(_) => path.to_owned(),
        }
    }

    /// Ends a program, killed or in order, and leaves it so.
    ///
    /// # Errors
    /// It does not run.
    pub(super) async fn end_program(&mut self, process: Process, killed: bool) -> Result<(), StageError> {
        let name = self.running(process)?;
        match killed {
            true => {
                self.programs.kill(&name).await;
            }
            false => {
                self.programs.stop(&name).await;
            }
        }
        Ok(())
    }

    /// Starts a program that was ended.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start_program(&self, process: Process) -> Result<Done, StageError> {
        self.start_again(&self.program_of(process))
    }

    /// Whether the plugin has the driver's library in memory, or what stands for the driver's device nodes open.
    pub(super) fn holds_driver(&self) -> bool {
        let Some(pid) = self.programs.pid(&self.program(PLUGIN)) else {
            return false;
        };
        let library = self.layout.nvml().canonicalize().unwrap_or_default();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let is_mapped = |path: &Path| maps.contains(&path.display().to_string());
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let is_open = |path: &Path| open.filter_map(|fd| fd.path().read_link().ok()).any(|to| to == path);
        is_mapped(&library) || is_mapped(&self.layout.gpus) || is_open(&self.layout.gpus)
    }

    fn program_of(&self, process: Process) -> Name {
        self.program(if process == Process::Mps { MPS } else { PLUGIN })
    }

    fn running(&self, process: Process) -> Result<Name, StageError> {
        let name = self.program_of(process);
        if self.programs.status(&name).0 {
            return Ok(name);
        }
        Err(refused(format!("stop `{process}` on node `{}`", self.name), &"it does not run"))
    }

    fn start_again(&self, name: &Name) -> Result<Done, StageError> {
        if let Some(launch) = self.programs.launched(name) {
            self.programs.start(name, &launch).map_err(|error| StageError::Spawn {
                process: name.program.to_owned(),
                node: name.node.clone(),
                error,
            })?;
        }
        Ok(Done::Did)
    }

    pub(super) fn program(&self, program: &'static str) -> Name {
        Name { node: self.name.clone(), program }
    }
}
