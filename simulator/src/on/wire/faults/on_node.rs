//! What faults do to one node of the wire stage.

use std::path::Path;
use std::time::Duration;

use fake_cluster::api::{DeleteOptions, Key};
use fake_cluster::kubelet::ledger::CHECKPOINT_FILE;
use fake_gpu::{GpuError, NodeFileError};

use super::super::process::alive_with;
use super::super::spawn::{Signal, signal_process};
use super::super::{Node, WireStage, refused};
use super::LASTS_DEFAULT;
use super::endings::Ends;
use crate::faults::{Fault, FaultSpec};
use crate::on::{Done, StageError, driver_faults};
use crate::scenario::Process;

impl WireStage {
    /// A fault of the driver.
    ///
    /// # Errors
    /// The node has no driver or no such GPU.
    pub(super) async fn driver_suffers(&mut self, name: &str, spec: &FaultSpec) -> Result<Done, StageError> {
        let what = format!("make `{}` happen on node `{name}`", spec.fault.tag());
        if let Fault::GpuUnplugged { gpu } = spec.fault {
            // a control daemon ends with its only GPU; that none runs is no obstacle
            self.kill_mps_daemons(name, Some(gpu))?;
        }
        let state = self.node(name)?.driver_state(&what)?;
        let happened = state.change(|gpus| driver_faults::happen(gpus, spec.fault));
        let ending = match (happened, spec.fault) {
            // the GPU itself keeps the process out
            (Err(NodeFileError::Refused(error)), Fault::UninvitedProcess { .. })
                if !matches!(error, GpuError::NoSuchGpu { .. }) =>
            {
                return Ok(Done::Skipped(format!("node `{name}`: {error}")));
            }
            (happened, _) => happened.map_err(|error| refused(what, &error))?,
        };
        self.node(name)?.show_capabilities()?;
        self.node(name)?.show_programs()?;
        let lasts = match driver_faults::is_for_good(spec.fault) {
            true => spec.lasts,
            false => spec.lasts.or(Some(LASTS_DEFAULT)),
        };
        match (ending, lasts) {
            (Some(ending), Some(lasts)) => {
                self.ends_in(lasts, Ends::Driver { node: name.to_owned(), ending });
            }
            // NVML must not hold up the end of the run
            (Some(ending @ (driver_faults::Ending::NvmlHang | driver_faults::Ending::GpuHang(_))), None) => {
                self.ends_in(FOR_GOOD, Ends::Driver { node: name.to_owned(), ending });
            }
            _ => {}
        }
        Ok(Done::Did)
    }

    /// A program ends, killed or in order, and starts again after a while.
    ///
    /// # Errors
    /// It does not run.
    pub(super) async fn dies(
        &mut self,
        name: &str,
        process: Process,
        pause: Duration,
        killed: bool,
    ) -> Result<Done, StageError> {
        self.node(name)?.end_program(process, killed).await?;
        self.ends_in(pause, Ends::Program { node: name.to_owned(), process });
        Ok(Done::Did)
    }

    /// The pids of MPS control daemons that this run started.
    fn mps_daemons(&mut self, name: &str, gpu: Option<u32>) -> Result<Vec<u32>, StageError> {
        let directory = self.directory.clone();
        self.node(name)?.mps_daemons(gpu, &directory)
    }

    /// SIGKILL for MPS control daemons.
    ///
    /// # Errors
    /// The node has no driver.
    pub(super) fn kill_mps_daemons(&mut self, name: &str, gpu: Option<u32>) -> Result<Done, StageError> {
        let hit = self.mps_daemons(name, gpu)?;
        if hit.is_empty() {
            return Ok(Done::Skipped(format!("no MPS control daemon runs on node `{name}`")));
        }
        hit.into_iter().for_each(|pid| signal_process(pid, Signal::Kill));
        Ok(Done::Did)
    }

    /// SIGSTOP for MPS control daemons, and SIGCONT later.
    ///
    /// # Errors
    /// The node has no driver.
    pub(super) fn stop_mps_daemons(
        &mut self,
        name: &str,
        gpu: Option<u32>,
        lasts: Duration,
    ) -> Result<Done, StageError> {
        let pids = self.mps_daemons(name, gpu)?;
        if pids.is_empty() {
            return Ok(Done::Skipped(format!("no MPS control daemon runs on node `{name}`")));
        }
        pids.iter().for_each(|pid| signal_process(*pid, Signal::Stop));
        self.ends_in(lasts, Ends::Stopped { pids });
        Ok(Done::Did)
    }

    /// Removes the kubelet's directory with every socket. Its checkpoint is put back with the directory: without it the
    /// kubelet itself would hand devices out twice.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) async fn remove_directory(&mut self, name: &str, lasts: Duration) -> Result<Done, StageError> {
        let node = self.node(name)?;
        node.stop_kubelet().await;
        let path = node.layout.device_plugins.clone();
        let checkpoint = std::fs::read(path.join(CHECKPOINT_FILE)).ok();
        // at once: a plugin may make a socket in it meanwhile
        let gone = path.with_extension("gone");
        let removed = std::fs::rename(&path, &gone).and_then(|()| std::fs::remove_dir_all(&gone));
        removed.map_err(|error| StageError::File { what: "remove", path, error })?;
        self.ends_in(lasts, Ends::Directory { node: name.to_owned(), checkpoint });
        Ok(Done::Did)
    }

    /// Removes the kubelet's checkpoint between two lives of it.
    ///
    /// # Errors
    /// It cannot be removed, or the kubelet does not start.
    pub(super) async fn lose_checkpoint(&mut self, name: &str, lasts: Duration) -> Result<Done, StageError> {
        let node = self.node(name)?;
        node.stop_kubelet().await;
        let path = node.layout.device_plugins.join(CHECKPOINT_FILE);
        match std::fs::remove_file(&path) {
            // a kubelet that has never heard of a device has written none
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StageError::File { what: "remove", path, error });
            }
            Ok(()) | Err(_) => {}
        }
        if lasts.is_zero() {
            node.start_kubelet().await?;
        } else {
            self.ends_in(lasts, Ends::Kubelet { node: name.to_owned() });
        }
        Ok(Done::Did)
    }

    /// Deletes a Node object; its kubelet registers it again when it starts.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn delete_node(&mut self, name: &str, lasts: Duration) -> Result<Done, StageError> {
        let deleted =
            self.api.write(|store, now| store.delete(&Key::node(name), &DeleteOptions::default(), now));
        deleted.map_err(|error| refused(format!("delete node `{name}`"), &error))?;
        self.ends_in(lasts, Ends::NodeObject { node: name.to_owned() });
        Ok(Done::Did)
    }

    /// Processes of pods on a node lose their GPUs.
    pub(super) fn cut_off(&mut self, name: &str) -> Done {
        match self.workloads.cut_off(name) {
            0 => Done::Skipped(format!("no process of a pod runs on a GPU of node `{name}`")),
            _ => Done::Did,
        }
    }
}

/// Longer than any run.
const FOR_GOOD: Duration = Duration::from_secs(24 * 3600);

impl Node {
    fn mps_daemons(&mut self, gpu: Option<u32>, run: &Path) -> Result<Vec<u32>, StageError> {
        let what = format!("find MPS control daemons of node `{}`", self.name);
        let snapshot = self.driver_state(&what)?.snapshot().map_err(|error| refused(what, &error))?;
        let of_this_run: Vec<u32> = alive_with(run).into_iter().map(|left| left.pid).collect();
        let daemons = snapshot.mps_daemons.into_iter();
        let hit = daemons
            .filter(|daemon| gpu.is_none_or(|gpu| daemon.gpus.contains(&gpu)))
            .map(|daemon| daemon.pid)
            .filter(|pid| of_this_run.contains(pid));
        Ok(hit.collect())
    }

    /// Makes the kubelet's directory anew.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn put_back_directory(&mut self, checkpoint: Option<Vec<u8>>) -> Result<(), StageError> {
        let path = self.layout.device_plugins.clone();
        let made = std::fs::create_dir_all(&path);
        let made = made.and_then(|()| match checkpoint {
            Some(checkpoint) => std::fs::write(path.join(CHECKPOINT_FILE), checkpoint),
            None => Ok(()),
        });
        made.map_err(|error| StageError::File { what: "make", path, error })
    }
}
