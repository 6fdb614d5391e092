//! The two sides that call the daemon: the command line, and a CUDA program that joins.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::Command;
use super::pipe::{Reply, dial, read_line};

/// A program that joins MPS: what the CUDA driver tells the control daemon about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSpec {
    /// Its process id on the node.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// UUIDs of the GPUs its container sees; empty: all that the daemon sees.
    pub gpus: Vec<String>,
    /// Its own memory limit (CUDA_MPS_PINNED_DEVICE_MEM_LIMIT) in bytes, 0 for none; it can only tighten.
    pub limit_bytes: u64,
    /// Its own active thread percentage (CUDA_MPS_ACTIVE_THREAD_PERCENTAGE), 0 for none; it can only tighten.
    pub thread_percentage: u32,
    /// Name of the program, without white space.
    pub name: String,
}

impl ClientSpec {
    fn line(&self) -> String {
        let gpus = if self.gpus.is_empty() { "-".to_owned() } else { self.gpus.join(",") };
        let name: String = self.name.split_whitespace().collect();
        let name = if name.is_empty() { "-" } else { &name };
        let limits = format!("{}:{}", self.limit_bytes, self.thread_percentage);
        format!("@connect {} {} {gpus} {limits} {name}", self.pid, self.uid)
    }

    pub(crate) fn from_words(words: &[&str]) -> Option<Self> {
        let [pid, uid, gpus, limits, name] = words else {
            return None;
        };
        let (limit, percentage) = limits.split_once(':').unwrap_or((limits, "0"));
        Some(Self {
            pid: pid.parse().ok()?,
            uid: uid.parse().ok()?,
            gpus: gpus.split(',').filter(|gpu| *gpu != "-").map(str::to_owned).collect(),
            limit_bytes: limit.parse().ok()?,
            thread_percentage: percentage.parse().ok()?,
            name: (*name).to_owned(),
        })
    }
}

/// Why a program or the command line got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens in the pipe directory. A CUDA program goes on without MPS then.
    #[error("Cannot find MPS control daemon process")]
    NoDaemon {
        /// The pipe directory.
        directory: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// The daemon went away in the middle.
    #[error("MPS control daemon in `{}` does not answer: {why}", directory.display())]
    Broken {
        /// The pipe directory.
        directory: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
}

/// Joins a program as an MPS client, which starts a server if there is none; gives the server's pid.
/// The program then allocates on the node's state under its pid, and leaves when it is stopped there.
///
/// # Errors
/// No daemon, or it refuses: compute mode, FAULT, too many clients, another user's server, quitting.
pub fn connect(pipe_directory: &Path, client: &ClientSpec) -> Result<u32, ClientError> {
    let mut session = Session::dial(pipe_directory)?;
    let reply = session.ask(&client.line())?;
    match reply.text.trim().parse() {
        Ok(server) if reply.ok => Ok(server),
        _ => Err(ClientError::Refused(reply.text)),
    }
}

/// Sends each line of `input` to the daemon and writes its answers; true if none was an error.
/// Without a daemon nothing is read.
///
/// # Errors
/// No daemon, or it went away.
pub fn run_commands(
    pipe_directory: &Path,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<bool, ClientError> {
    let broken = |why| ClientError::Broken { directory: pipe_directory.to_owned(), why };
    let mut session = Session::dial(pipe_directory)?;
    let mut all_ok = true;
    while let Some(line) = read_line(&mut input).map_err(broken)? {
        if line.trim().is_empty() {
            continue;
        }
        let reply = session.ask(&line)?;
        if !reply.text.is_empty() {
            writeln!(output, "{}", reply.text).map_err(broken)?;
        }
        all_ok &= reply.ok;
        if reply.ok && matches!(line.parse(), Ok(Command::Quit { .. })) {
            break;
        }
    }
    Ok(all_ok)
}

struct Session {
    directory: PathBuf,
    stream: BufReader<std::os::unix::net::UnixStream>,
}

impl Session {
    fn dial(directory: &Path) -> Result<Self, ClientError> {
        let directory = directory.to_owned();
        match dial(&directory) {
            Ok(stream) => Ok(Self { directory, stream: BufReader::new(stream) }),
            Err(why) => Err(ClientError::NoDaemon { directory, why }),
        }
    }

    fn ask(&mut self, line: &str) -> Result<Reply, ClientError> {
        let answer = writeln!(self.stream.get_mut(), "{line}").and_then(|()| Reply::read(&mut self.stream));
        answer.map_err(|why| ClientError::Broken { directory: self.directory.clone(), why })
    }
}
