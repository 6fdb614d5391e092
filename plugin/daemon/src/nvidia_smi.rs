//! `nvidia-smi`, because NVML has no call for the time-slice interval of a GPU.
//!
//! Numbers of intervals: its help of `compute-policy`; exit statuses: its manual page, "Return value".

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use plugin_core::config::TimeSlice;
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use plugin_core::time_slice::{SliceFailure, SliceSet};
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::cause;
use crate::mps_daemon::read_all;

/// Longest time for one run: without persistence mode it wakes every GPU first, which takes seconds. Then it is killed.
const RUN_TIME_MAX: Duration = Duration::from_secs(15);
/// Most that run at the same time; others wait.
const RUNS_MAX: usize = 2;
/// The operation is not available on this device.
const NOT_AVAILABLE: i32 = 3;
/// The user may not do this.
const NO_PERMISSION: i32 = 4;

/// Why an interval was not set.
#[derive(Debug, Error)]
enum SmiError {
    /// The program cannot be run.
    #[error(
        "`{program}` cannot be run: {why} (is the driver capability `utility` asked for? hint: --nvidia-smi-path)"
    )]
    Program {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
    /// It did not end in time.
    #[error("`{program}` did not end within {within:?} and was killed")]
    TooLate {
        /// The program.
        program: String,
        /// The bound.
        within: Duration,
    },
    /// The GPU has no such setting.
    #[error("the GPU does not support it: {0}")]
    NotSupported(String),
    /// The container may not.
    #[error("{0} (hint: give the plugin's container the capability SYS_ADMIN)")]
    NotAllowed(String),
    /// Something else.
    #[error("{0}")]
    Refused(String),
}

/// The program.
#[derive(Clone, Debug)]
pub(crate) struct NvidiaSmi {
    program: PathBuf,
    runs: Arc<Semaphore>,
    time_max: Duration,
}

impl NvidiaSmi {
    /// By path or by name.
    pub(crate) fn new(program: PathBuf) -> Self {
        NvidiaSmi { program, runs: Arc::new(Semaphore::new(RUNS_MAX)), time_max: RUN_TIME_MAX }
    }

    /// Sets the interval of a GPU, and says how that went.
    pub(crate) async fn set_time_slice(self, gpu: GpuUuid, interval: TimeSlice) -> Event {
        // the semaphore is never closed
        let _run = self.runs.acquire().await;
        let ended = tokio::time::timeout(self.time_max, self.run(&gpu, interval)).await;
        let done =
            ended.unwrap_or_else(|_| Err(SmiError::TooLate { program: self.name(), within: self.time_max }));
        match done {
            Ok(()) => Event::TimeSliceSet(SliceSet { gpu, interval }),
            Err(error) => {
                let unsupported = matches!(error, SmiError::NotSupported(_));
                Event::TimeSliceFailed(SliceFailure { gpu, interval, why: cause::line(&error), unsupported })
            }
        }
    }

    async fn run(&self, gpu: &GpuUuid, interval: TimeSlice) -> Result<(), SmiError> {
        let cannot_run = |why| SmiError::Program { program: self.name(), why };
        let mut command = Command::new(&self.program);
        command.args(["compute-policy", "-i", gpu.as_str(), "--set-timeslice", number(interval)]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(cannot_run)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = tokio::join!(read_all(out), read_all(err));
        let status = child.wait().await.map_err(cannot_run)?;
        judge(status, &cause::one_line(&format!("{err} {out}")))
    }

    fn name(&self) -> String {
        self.program.display().to_string()
    }
}

/// What the program's end means. About a GPU that cannot do it, it may warn and end well.
fn judge(status: ExitStatus, said: &str) -> Result<(), SmiError> {
    let answer = if said.is_empty() { status.to_string() } else { format!("{said} ({status})") };
    let unsupported =
        said.to_lowercase().contains("not supported") || said.to_lowercase().contains("unsupported");
    match status.code() {
        Some(NOT_AVAILABLE) => Err(SmiError::NotSupported(answer)),
        Some(NO_PERMISSION) => Err(SmiError::NotAllowed(answer)),
        _ if unsupported => Err(SmiError::NotSupported(answer)),
        Some(0) => Ok(()),
        _ => Err(SmiError::Refused(answer)),
    }
}

fn number(interval: TimeSlice) -> &'static str {
    match interval {
        TimeSlice::Default => "0",
        TimeSlice::Short => "1",
        TimeSlice::Medium => "2",
        TimeSlice::Long => "3",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program of this text, and what comes of asking it.
    async fn told(script: &str) -> Event {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nvidia-smi");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        NvidiaSmi::new(program).set_time_slice(GpuUuid::new("GPU-1"), TimeSlice::Short).await
    }

    #[tokio::test]
    async fn the_gpu_is_named_by_its_uuid_and_the_interval_by_its_number() {
        let event = told("[ \"$*\" = 'compute-policy -i GPU-1 --set-timeslice 1' ]").await;
        assert_eq!(
            event,
            Event::TimeSliceSet(SliceSet { gpu: GpuUuid::new("GPU-1"), interval: TimeSlice::Short })
        );
        assert_eq!([TimeSlice::Default, TimeSlice::Medium, TimeSlice::Long].map(number), ["0", "2", "3"]);
    }

    #[tokio::test]
    async fn what_the_program_says_is_the_reason() {
        let rows = [
            ("echo gone >&2; exit 1", "gone (exit status: 1)", false),
            ("exit 255", "exit status: 255", false),
            ("kill -9 $$", "signal: 9", false),
            (
                "echo Insufficient Permissions; exit 4",
                "hint: give the plugin's container the capability SYS_ADMIN",
                false,
            ),
            ("exit 3", "does not support it: exit status: 3", true),
            (
                "echo 'Setting it is not supported for this GPU, moving on'",
                "does not support it: Setting it",
                true,
            ),
            ("head -c 5000 /dev/zero | tr '\\0' x; exit 1", "xxx…", false),
        ];
        for (script, part, expected) in rows {
            let Event::TimeSliceFailed(SliceFailure { why, unsupported, .. }) = told(script).await else {
                panic!("{script}: it was set");
            };
            assert!(why.contains(part) && unsupported == expected, "{script}: {why}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_what_to_do() {
        let smi = NvidiaSmi::new("/nowhere/nvidia-smi".into());
        let event = smi.set_time_slice(GpuUuid::new("GPU-1"), TimeSlice::Long).await;
        let Event::TimeSliceFailed(SliceFailure { why, unsupported: false, .. }) = event else {
            panic!("{event:?}")
        };
        assert!(why.starts_with("`/nowhere/nvidia-smi` cannot be run: No such file"), "{why}");
        assert!(why.contains("--nvidia-smi-path"), "{why}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nvidia-smi");
        let pid = folder.path().join("pid");
        let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 600\n", pid.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let within = Duration::from_secs(1);
        let smi = NvidiaSmi { time_max: within, ..NvidiaSmi::new(program) };
        let asked = tokio::spawn(smi.set_time_slice(GpuUuid::new("GPU-1"), TimeSlice::Short));
        let started = async {
            while std::fs::read_to_string(&pid).unwrap_or_default().trim().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), started).await.unwrap();
        let number: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let Event::TimeSliceFailed(SliceFailure { why, .. }) = asked.await.unwrap() else {
            panic!("it was set")
        };
        assert!(why.contains("did not end within 1s and was killed"), "{why}");
        let gone = async {
            while std::path::Path::new(&format!("/proc/{number}/comm")).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }
}
