//! The running control daemon: environment, pipe directory, socket, signals, and a clean end.

use std::io::{self, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::alive::started_ticks;
use crate::file::{NodeFile, NodeFileError};
use crate::record::MpsDaemon;
use crate::text::Text;

use super::arguments::{MULTI_USER_WORD, Users};
use super::claim::Claim;
use super::command::Command;
use super::control::Control;
use super::log::Logs;
use super::os::{Termination, detach};
use super::pipe::{CONTROL_SOCKET, Reply, listen, read_line};
use super::server::Children;
use super::settings::{Settings, visible};

/// Word that makes the program the daemon that `-d` left running.
pub(crate) const BACKGROUND_WORD: &str = "--background";
/// Line by which a daemon tells its starter that it accepts.
const READY: &str = "ready";
/// Most connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for clients of a `quit` without timeout.
const QUIT_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often a quitting daemon looks for clients that died without a word.
const QUIT_LOOK: Duration = Duration::from_millis(200);

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The pipe directory is taken.
    #[error("An instance of this daemon is already running")]
    AlreadyRunning,
    /// The node's state.
    #[error(transparent)]
    Node(#[from] NodeFileError),
    /// CUDA_VISIBLE_DEVICES leaves nothing.
    #[error("no GPU is visible, CUDA_VISIBLE_DEVICES is `{0}`")]
    NoGpu(String),
    /// The file system or the kernel.
    #[error("cannot use `{}`: {why}", what.display())]
    Io {
        /// What.
        what: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// What a daemon that was started in the background said.
    #[error("{0}")]
    Background(String),
}

/// Starts a daemon, waits until it accepts, and leaves it running.
///
/// # Errors
/// What the daemon says, or it cannot be started.
pub fn start_in_background(users: Users) -> Result<(), DaemonError> {
    let program =
        std::env::current_exe().map_err(|why| DaemonError::Io { what: "/proc/self/exe".into(), why })?;
    let io_error = |why| DaemonError::Io { what: program.clone(), why };
    let mut child = Program::new(&program)
        .arg(BACKGROUND_WORD)
        .args((users == Users::All).then_some(MULTI_USER_WORD))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io_error)?;
    let output = child.stdout.take().ok_or_else(|| io_error(io::Error::other("no output")))?;
    let line = read_line(&mut BufReader::new(output)).map_err(io_error)?;
    match line.as_deref() {
        Some(READY) => Ok(()),
        Some(why) => Err(DaemonError::Background(why.to_owned())),
        None => Err(DaemonError::Background("the daemon ended without a word".to_owned())),
    }
}

/// Is the daemon that [`start_in_background`] started: tells it on standard output how it went.
///
/// # Errors
/// As [`run`].
pub fn run_detached(settings: &Settings, users: Users) -> Result<(), DaemonError> {
    let done = detach().map_err(|why| DaemonError::Io { what: "the session".into(), why });
    let done = done.and_then(|()| run(settings, users, || println!("{READY}")));
    if let Err(error) = &done {
        println!("{error}");
    }
    done
}

/// Is the daemon until `quit` or a signal ends it; calls `ready` once it accepts.
///
/// # Errors
/// It cannot start, or another one has the pipe directory.
pub fn run(settings: &Settings, users: Users, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let termination = Termination::hold_back().map_err(|why| io_error(Path::new("signals"), why))?;
    let directory = &settings.pipe_directory;
    let node = Arc::new(NodeFile::open(&settings.state)?);
    let gpus = node.read(|node| visible(node, settings.visible_devices.as_deref()))?;
    if gpus.is_empty() {
        return Err(DaemonError::NoGpu(settings.visible_devices.clone().unwrap_or_default()));
    }
    let program = std::env::current_exe().map_err(|why| io_error(Path::new("/proc/self/exe"), why))?;
    std::fs::create_dir_all(directory).map_err(|why| io_error(directory, why))?;
    let claim = Claim::take(directory)?;
    let listener = listen(directory).map_err(|why| io_error(directory, why))?;
    note_daemon(&node, directory, &gpus)?;
    let mut logs = Logs::open(Some(&settings.log_directory), std::process::id());
    let socket = directory.join(CONTROL_SOCKET);
    logs.control(&format!("Starting control daemon using socket {}", socket.display()));
    let shown = directory.display();
    logs.control(&format!(
        "To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY={shown}"
    ));
    let mut control = Control::new(Arc::clone(&node), gpus, Box::new(Children::new(program)), logs);
    control.users = users;
    let control = Arc::new(Mutex::new(control));
    let (ends, end) = sync_channel(1);
    serve(listener, termination, &control, &node, ends);
    ready();
    let end = end.recv().unwrap_or(End::Signal);
    finish(&control, &node);
    // Whoever hears that the daemon is gone may start the next one at once.
    drop(claim);
    if let End::Quit(stream) = end {
        // It may have left without waiting.
        let _ = Reply::ok("").write(&stream);
    }
    Ok(())
}

pub(crate) fn io_error(what: &Path, why: io::Error) -> DaemonError {
    DaemonError::Io { what: what.to_owned(), why }
}

fn note_daemon(node: &NodeFile, directory: &Path, gpus: &[(u32, String)]) -> Result<(), NodeFileError> {
    let pid = std::process::id();
    let shown = directory.to_string_lossy();
    let end: String = shown.chars().skip(shown.chars().count().saturating_sub(200)).collect();
    let daemon = MpsDaemon {
        pid,
        started_ticks: started_ticks(pid).unwrap_or(0),
        gpus: gpus.iter().fold(0, |mask, (index, _)| mask | 1_u64.checked_shl(*index).unwrap_or(0)),
        pipe_directory: Text::new(&end),
        ..MpsDaemon::EMPTY
    };
    node.change(|node| node.add_mps_daemon(daemon))
}

/// Why the daemon ends.
enum End {
    /// A signal.
    Signal,
    /// A `quit`, whose sender wants to hear that all is done.
    Quit(UnixStream),
}

/// Starts the threads that answer connections and wait for signals; they end with the process.
fn serve(
    listener: UnixListener,
    termination: Termination,
    control: &Arc<Mutex<Control>>,
    node: &Arc<NodeFile>,
    ends: SyncSender<End>,
) {
    let (control, node, quits) = (Arc::clone(control), Arc::clone(node), ends.clone());
    std::thread::spawn(move || {
        let connections = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                connections.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (control, node, quits) = (Arc::clone(&control), Arc::clone(&node), quits.clone());
            let connections = Arc::clone(&connections);
            std::thread::spawn(move || {
                // A peer that goes away in the middle is its own loss.
                let _ = converse(stream, &control, &node, &quits);
                connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    std::thread::spawn(move || {
        if termination.wait().is_ok() {
            // If the daemon is ending already, nobody listens any more.
            let _ = ends.send(End::Signal);
        }
    });
}

/// Answers one connection, line by line.
fn converse(
    stream: UnixStream,
    control: &Mutex<Control>,
    node: &NodeFile,
    ends: &SyncSender<End>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    while let Some(line) = read_line(&mut lines)? {
        let reply = match line.parse::<Command>() {
            Err(error) => Reply::error(error.to_string()),
            Ok(Command::Quit { timeout }) => {
                lock(control).answer(Command::Quit { timeout });
                wait_for_clients(control, node, timeout.unwrap_or(QUIT_WAIT_MAX));
                let _ = ends.send(End::Quit(stream.try_clone()?));
                return wait_for_close(lines);
            }
            Ok(command) => lock(control).answer(command),
        };
        reply.write(&stream)?;
    }
    Ok(())
}

/// The end of the daemon answers and closes; until then the connection stays.
fn wait_for_close(mut lines: BufReader<UnixStream>) -> io::Result<()> {
    io::copy(&mut lines.by_ref().take(super::pipe::LINE_MAX), &mut io::sink()).map(drop)
}

fn lock(control: &Mutex<Control>) -> std::sync::MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_for_clients(control: &Mutex<Control>, node: &NodeFile, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    loop {
        let seen = node.generation();
        let busy = lock(control).has_clients().unwrap_or(false);
        let left = deadline.saturating_duration_since(Instant::now());
        if !busy || left.is_zero() {
            return;
        }
        node.wait_change(seen, left.min(QUIT_LOOK));
    }
}

/// Takes servers, clients and the daemon itself off the node.
fn finish(control: &Mutex<Control>, node: &NodeFile) {
    let mut control = lock(control);
    control.end_all();
    control.logs.control("Exit");
    let gone = node.change(|node| {
        node.remove_mps_daemon(std::process::id());
        Ok(())
    });
    if let Err(error) = gone {
        control.logs.control(&format!("Daemon stays on the node's list: {error}"));
    }
}
