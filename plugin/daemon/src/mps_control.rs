//! MPS control daemons: started or adopted, given their limits, looked at, and stopped for certain.
//!
//! Limits go by the daemon's own device ordinals, which are the positions in its `CUDA_VISIBLE_DEVICES`: NVML's indexes may
//! be others, and UUIDs were found not to take effect (NVIDIA k8s-device-plugin, pull request 572).

mod selinux;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_core::inventory::GpuUuid;
use plugin_core::mps::DesiredDaemon;

use crate::cause;
use crate::mps_daemon::{ControlError, Daemon};
use crate::mps_files::MpsRoot;
use crate::process::Process;

/// Longest time for `quit`, which waits for clients; then the daemon is killed.
const QUIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time until a killed daemon is gone.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);
/// Every parent of a pipe directory must be open to clients of any user.
const DIRECTORY_MODE: u32 = 0o755;
/// `/dev/shm` of every MPS client, as a tmpfs there would be.
const SHM_MODE: u32 = 0o1777;
/// How often in a row a daemon must be silent until that counts.
const LOOKS: usize = 2;
/// Most servers that are asked for; there is one per user, or one in all.
const SERVERS_MAX: usize = 16;
/// What a server says that takes clients.
const ACTIVE: &str = "ACTIVE";
/// Answers are decimal fractions.
const PERCENTAGE_TOLERANCE: f64 = 0.01;

/// The control program and the tree of its directories.
#[derive(Clone, Debug)]
pub(crate) struct MpsControl {
    /// `nvidia-cuda-mps-control`, by path or by name.
    pub(crate) program: PathBuf,
    /// The MPS root.
    pub(crate) root: MpsRoot,
    /// One server serves every user.
    pub(crate) multi_user: bool,
}

impl MpsControl {
    /// Makes sure that a daemon answers for these GPUs alone and has these limits; one that answers already is adopted.
    /// Returns its process.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub(crate) async fn start(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Result<Process, ControlError> {
        let daemon = self.daemon(gpu, wanted);
        self.make_directories(&daemon)?;
        if daemon.ask("get_default_active_thread_percentage").await.is_err() {
            daemon.spawn().await?;
            daemon.wait_until_it_answers().await?;
        }
        for (ordinal, gpu) in daemon.gpus.iter().enumerate() {
            if let Some(mib) = gpu.memory_mib {
                daemon.ask(&format!("set_default_device_pinned_mem_limit {ordinal} {mib}M")).await?;
            }
        }
        let percentage = wanted.active_thread_percentage;
        daemon.ask(&format!("set_default_active_thread_percentage {percentage}")).await?;
        let found = daemon.ask("get_default_active_thread_percentage").await?;
        let taken = found
            .trim()
            .parse::<f64>()
            .is_ok_and(|f| (f - f64::from(percentage)).abs() < PERCENTAGE_TOLERANCE);
        if !taken {
            return Err(ControlError::NotTaken { wanted: percentage, found: cause::one_line(&found) });
        }
        daemon.process()?.ok_or_else(|| ControlError::NoProcess {
            path: daemon.pid_file().display().to_string(),
            why: "no such process".to_owned(),
        })
    }

    /// Makes the daemon quit and waits until it is gone; one that does not quit is killed. Nothing to do is success.
    ///
    /// # Errors
    /// When even killing it did not help.
    pub(crate) async fn stop(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Result<(), ControlError> {
        let daemon = self.daemon(gpu, wanted);
        let Some(process) = daemon.process()? else {
            return Ok(());
        };
        if let Err(e) = daemon.ask("quit").await {
            tracing::warn!(%gpu, why = %e, "the MPS control daemon did not take `quit`");
        }
        if tokio::time::timeout(QUIT_TIME_MAX, process.ended()).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(%gpu, "the MPS control daemon did not quit within {QUIT_TIME_MAX:?} and is killed");
        let too_late = || ControlError::TooLate { command: "SIGKILL".to_owned(), within: KILL_TIME_MAX };
        process
            .kill()
            .map_err(|why| ControlError::Refused { command: "SIGKILL".into(), answer: why.to_string() })?;
        tokio::time::timeout(KILL_TIME_MAX, process.ended()).await.map_err(|_| too_late())
    }

    /// Why a daemon takes no new clients; nothing when it does.
    pub(crate) async fn look(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Option<String> {
        let daemon = self.daemon(gpu, wanted);
        let mut silent = None;
        for _ in 0..LOOKS {
            match Self::fault(&daemon).await {
                Ok(fault) => return fault,
                Err(e) => silent = Some(format!("the control daemon does not answer: {e}")),
            }
        }
        silent
    }

    async fn fault(daemon: &Daemon<'_>) -> Result<Option<String>, ControlError> {
        let servers = daemon.ask("get_server_list").await?;
        for server in servers.split_whitespace().take(SERVERS_MAX) {
            // one that ended meanwhile is no obstacle: the next client starts another
            let Ok(status) = daemon.ask(&format!("get_server_status {server}")).await else { continue };
            let status = cause::one_line(&status);
            if !status.is_empty() && status != ACTIVE {
                return Ok(Some(format!(
                    "MPS server {server} is in state `{status}`: it takes no clients until the present ones have ended"
                )));
            }
        }
        Ok(None)
    }

    /// Whether its process lives.
    pub(crate) fn is_alive(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> bool {
        self.daemon(gpu, wanted).process().is_ok_and(|process| process.is_some())
    }

    /// Where the daemon and its servers write their logs.
    pub(crate) fn log_dir(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> PathBuf {
        self.daemon(gpu, wanted).log
    }

    fn daemon(&self, gpu: &GpuUuid, wanted: &DesiredDaemon) -> Daemon<'_> {
        let pipe = PathBuf::from(wanted.pipe_dir(&self.root.0.display().to_string(), gpu));
        let log = pipe.with_file_name("log");
        Daemon { program: &self.program, multi_user: self.multi_user, gpus: wanted.serves(gpu), pipe, log }
    }

    fn make_directories(&self, daemon: &Daemon<'_>) -> Result<(), ControlError> {
        let failed = |path: &Path, why| ControlError::Directory { path: path.display().to_string(), why };
        let shm = self.root.0.join("shm");
        for path in [&daemon.pipe, &daemon.log, &shm] {
            fs::create_dir_all(path).map_err(|why| failed(path, why))?;
        }
        // the root itself is the operator's
        let below_root = daemon.pipe.ancestors().take_while(|p| *p != self.root.0);
        let with_modes = below_root.chain([daemon.log.as_path()]).map(|p| (p, DIRECTORY_MODE));
        for (path, mode) in with_modes.chain([(shm.as_path(), SHM_MODE)]) {
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|why| failed(path, why))?;
        }
        selinux::label(&[&daemon.pipe, &daemon.log, &shm]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
