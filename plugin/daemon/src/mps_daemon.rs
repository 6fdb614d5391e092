//! The language of an MPS control daemon: one command per line into `nvidia-cuda-mps-control`, one answer, bounded in time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use plugin_core::mps::DaemonGpu;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::cause;
use crate::process::Process;

/// Longest time for one command.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time until a started daemon answers.
const START_TIME_MAX: Duration = Duration::from_secs(10);
/// Between two questions to a daemon that starts; it announces its readiness in no other way.
const START_POLL: Duration = Duration::from_millis(20);
/// Largest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Where the daemon writes its process number, in the pipe directory (CUDA MPS guide).
pub(crate) const PID_FILE: &str = "nvidia-cuda-mps-control.pid";
/// How the kernel shortens the daemon's name.
const PROCESS_NAME: &str = "nvidia-cuda-mps";

/// Why a control daemon does not do what it should.
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    /// A directory cannot be made.
    #[error("MPS directory `{path}` cannot be made: {why}")]
    Directory {
        /// The directory.
        path: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
    /// The program cannot be run.
    #[error("`{program}` cannot be run: {why} (hint: --mps-control)")]
    Program {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
    /// The daemon or the program refused.
    #[error("MPS command `{command}` failed: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        answer: String,
    },
    /// No answer in time.
    #[error("MPS command `{command}` had no answer within {within:?}")]
    TooLate {
        /// The command.
        command: String,
        /// The bound.
        within: Duration,
    },
    /// It answers, but not with what was set.
    #[error("the active thread percentage is `{found}` after it was set to {wanted}")]
    NotTaken {
        /// What was set.
        wanted: u32,
        /// What it says.
        found: String,
    },
    /// It answers, but its process is not known.
    #[error("the control daemon's process is not known: `{path}`: {why}")]
    NoProcess {
        /// The pid file.
        path: String,
        /// The reason.
        why: String,
    },
}

/// One daemon.
pub(crate) struct Daemon<'a> {
    /// `nvidia-cuda-mps-control`, by path or by name.
    pub(crate) program: &'a Path,
    /// One server serves every user.
    pub(crate) multi_user: bool,
    /// The only GPUs that it sees, in the order of its ordinals.
    pub(crate) gpus: Vec<DaemonGpu>,
    /// Its pipe directory.
    pub(crate) pipe: PathBuf,
    /// Its log directory.
    pub(crate) log: PathBuf,
}

impl Daemon<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env("CUDA_MPS_PIPE_DIRECTORY", &self.pipe)
            .env("CUDA_MPS_LOG_DIRECTORY", &self.log)
            .env("CUDA_VISIBLE_DEVICES", self.visible())
            .kill_on_drop(true);
        command
    }

    /// UUIDs, because ordinals depend on what else the machine has.
    fn visible(&self) -> String {
        self.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>().join(",")
    }

    fn cannot_run(&self, why: io::Error) -> ControlError {
        ControlError::Program { program: self.program.display().to_string(), why }
    }

    /// Starts it. The daemon keeps its output open after the program returned, so that goes to a file and not to a pipe.
    pub(crate) async fn spawn(&self) -> Result<(), ControlError> {
        let command = if self.multi_user { "-d -multiuser-server" } else { "-d" };
        let said = self.log.join("start.log");
        let open = || File::create(&said).and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) =
            open().map_err(|why| ControlError::Directory { path: said.display().to_string(), why })?;
        let mut program = self.command();
        program.args(command.split(' ')).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = program.spawn().map_err(|e| self.cannot_run(e))?;
        let ended = tokio::time::timeout(START_TIME_MAX, child.wait()).await;
        let too_late = |_| ControlError::TooLate { command: command.to_owned(), within: START_TIME_MAX };
        let status = ended.map_err(too_late)?.map_err(|e| self.cannot_run(e))?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&said).unwrap_or_default();
        let answer = format!("{} ({status})", cause::one_line(&said));
        Err(ControlError::Refused { command: command.to_owned(), answer })
    }

    /// Waits until it takes commands, for at most [`START_TIME_MAX`].
    pub(crate) async fn wait_until_it_answers(&self) -> Result<(), ControlError> {
        let mut last = None;
        let polls = async {
            let mut ticks = tokio::time::interval(START_POLL);
            loop {
                ticks.tick().await;
                match self.ask("get_default_active_thread_percentage").await {
                    Ok(_) => return,
                    Err(e) => last = Some(e),
                }
            }
        };
        match tokio::time::timeout(START_TIME_MAX, polls).await {
            Ok(()) => Ok(()),
            Err(_) => Err(last.unwrap_or(ControlError::TooLate {
                command: "get_default_active_thread_percentage".to_owned(),
                within: START_TIME_MAX,
            })),
        }
    }

    /// One command, one answer.
    pub(crate) async fn ask(&self, command: &str) -> Result<String, ControlError> {
        let too_late = |_| ControlError::TooLate { command: command.to_owned(), within: COMMAND_TIME_MAX };
        tokio::time::timeout(COMMAND_TIME_MAX, self.converse(command)).await.map_err(too_late)?
    }

    async fn converse(&self, command: &str) -> Result<String, ControlError> {
        let mut program = self.command();
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().map_err(|e| self.cannot_run(e))?;
        if let Some(mut stdin) = child.stdin.take() {
            // a program that ends before it reads says why on its output
            let _ = stdin.write_all(format!("{command}\n").as_bytes()).await;
        }
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = tokio::join!(read_all(out), read_all(err));
        let status = child.wait().await.map_err(|e| self.cannot_run(e))?;
        if status.success() {
            return Ok(out);
        }
        let answer = format!("{} ({status})", cause::one_line(&format!("{err} {out}")));
        Err(ControlError::Refused { command: command.to_owned(), answer })
    }

    /// Where it tells its process.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.pipe.join(PID_FILE)
    }

    /// The daemon's process, if the pid file tells one that is alive.
    pub(crate) fn process(&self) -> Result<Option<Process>, ControlError> {
        let path = self.pid_file();
        let unknown = |why: String| ControlError::NoProcess { path: path.display().to_string(), why };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unknown(e.to_string())),
        };
        let pid = text
            .trim()
            .parse()
            .map_err(|_| unknown(format!("`{}` is no process number", cause::one_line(&text))))?;
        Process::find(pid, PROCESS_NAME).map_err(|e| unknown(e.to_string()))
    }
}

/// At most [`ANSWER_BYTES_MAX`] of what a program says.
pub(crate) async fn read_all(stream: Option<impl AsyncReadExt + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // what was read until an error is all there is to show
        let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
