//! The first process of the MPS container. A container ends with its first process, and with it every control daemon; so that
//! one is kept small: it starts the supervisor again when that dies, and buries the dead. It decides nothing about GPUs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use plugin_core::backoff::Backoff;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The flag that makes a process the supervisor itself.
const CHILD_FLAG: &str = "--init=false";
/// The first and the longest pause before a supervisor that died is started again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A supervisor that lived for so long was well.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// How long a supervisor that was just started may need until it hears signals.
const HEARS_AFTER: Duration = Duration::from_secs(1);
/// Most signals that wait.
const SIGNALS_MAX: usize = 16;
/// The exit status of a failed start.
const FAILED: u8 = 1;

/// What the first process hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Please end.
    Stop,
    /// Read the settings again.
    Reload,
    /// Some child ended.
    Child,
}

/// Runs the supervisor as a child until it ends in order or is asked to; `args` are this program's own.
///
/// # Errors
/// The system refuses signals or a child.
pub(crate) async fn run(args: Vec<OsString>) -> io::Result<ExitCode> {
    // daemons leave their starter; whoever buries orphans must hear of their end
    if let Err(why) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%why, "control daemons that end may stay as zombies");
    }
    let mut heard = listen()?;
    let (first, longest) = PAUSES;
    let mut backoff = Backoff::new(first, longest);
    let mut stopping = false;
    loop {
        let began = Instant::now();
        let child = spawn(&args)?;
        let status = watch(child, &mut heard, &mut stopping).await;
        let code = status.and_then(WaitStatus::exit_status).and_then(|code| u8::try_from(code).ok());
        if stopping || code == Some(0) {
            return Ok(ExitCode::from(code.unwrap_or(FAILED)));
        }
        if began.elapsed() >= WELL_AFTER {
            backoff.reset();
        }
        let pause = backoff.next_delay();
        let status = status.map_or_else(|| "unknown".to_owned(), told);
        tracing::error!(
            status,
            "the MPS supervisor ended; control daemons go on, and it is started again in {pause:?}"
        );
        // a stop needs the supervisor too: it gives compute modes back
        stopping = rest(pause, &mut heard).await;
    }
}

fn told(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn spawn(args: &[OsString]) -> io::Result<Pid> {
    let mut child = Command::new(std::env::current_exe()?);
    if let Some(name) = args.first() {
        // the name may say which program this is
        child.arg0(name);
    }
    let child = child.args(args.iter().skip(1)).arg(CHILD_FLAG).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the supervisor has no process number"))
}

fn listen() -> io::Result<mpsc::Receiver<Heard>> {
    let (heard, hears) = mpsc::channel(SIGNALS_MAX);
    let kinds = [
        (SignalKind::terminate(), Heard::Stop),
        (SignalKind::interrupt(), Heard::Stop),
        (SignalKind::quit(), Heard::Stop),
        (SignalKind::hangup(), Heard::Reload),
        (SignalKind::child(), Heard::Child),
    ];
    for (kind, what) in kinds {
        let (mut signals, heard) = (signal(kind)?, heard.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if heard.send(what).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(hears)
}

/// Passes signals on until the supervisor ends; tells how it did.
async fn watch(child: Pid, heard: &mut mpsc::Receiver<Heard>, stopping: &mut bool) -> Option<WaitStatus> {
    if *stopping {
        tokio::time::sleep(HEARS_AFTER).await;
        pass_on(child, Signal::TERM);
    }
    loop {
        // it may have ended before its end was listened for
        if let Some(status) = bury(child) {
            return Some(status);
        }
        match heard.recv().await? {
            Heard::Child => {}
            Heard::Reload => pass_on(child, Signal::HUP),
            Heard::Stop => {
                *stopping = true;
                pass_on(child, Signal::TERM);
            }
        }
    }
}

fn pass_on(child: Pid, signal: Signal) {
    // it may have ended just now, which is heard of next
    let _ = rustix::process::kill_process(child, signal);
}

/// Buries every dead child, daemons that lost their starter too; tells how the supervisor ended, if it did.
fn bury(supervisor: Pid) -> Option<WaitStatus> {
    let mut ended = None;
    // ends with the dead
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == supervisor {
            ended = Some(status);
        }
    }
    ended
}

/// Waits for the pause, or less when it is to end: then `true`.
async fn rest(pause: Duration, heard: &mut mpsc::Receiver<Heard>) -> bool {
    let stop = async {
        while let Some(what) = heard.recv().await {
            match what {
                Heard::Stop => return,
                Heard::Child => {
                    bury(rustix::process::getpid());
                }
                Heard::Reload => {}
            }
        }
    };
    tokio::time::timeout(pause, stop).await.is_ok()
}
