//! The first process of the MPS container. A container runtime ends everything in a container when its first process
//! ends, control daemons and their clients' work included: so that one only starts the supervisor again, forwards the wish
//! to stop, and takes in the processes that daemons leave behind.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use plugin_core::backoff::Backoff;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::perform::Exit;
use crate::process::{self, Ended};

/// This flag makes a process the first one; the supervisor that it starts does not get it.
pub(crate) const FLAG: &str = "--init";
/// Between the end of a supervisor and the next one: at first, and at most.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// This process's own program, also when its file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Keeps a supervisor running, with this process's own command line, until it is asked to stop.
///
/// # Errors
/// Signals cannot be waited for, or a supervisor cannot be started at all.
pub(crate) async fn run(arguments: Vec<OsString>) -> anyhow::Result<Exit> {
    process::adopt_orphans().context("orphans of control daemons cannot be taken in")?;
    let mut signals = Signals::listen()?;
    let mut backoff = Backoff::new(RESTART_FIRST, RESTART_MAX);
    loop {
        let (pid, since) = (start(&arguments)?, Instant::now());
        let ended = signals.follow(pid).await;
        if since.elapsed() > RESTART_MAX {
            backoff.reset();
        }
        if signals.stopping {
            return Ok(Exit { code: ended.code(), why: "asked to stop".to_owned() });
        }
        let delay = backoff.next_delay();
        tracing::warn!(status = %ended, ?delay, "the supervisor ended; control daemons go on, and it is started again");
        if signals.stop_within(delay).await {
            return Ok(Exit {
                code: ended.code(),
                why: "asked to stop while no supervisor was running".to_owned(),
            });
        }
    }
}

fn start(arguments: &[OsString]) -> anyhow::Result<i32> {
    let mut command = Command::new(OWN_PROGRAM);
    if let Some(name) = arguments.first() {
        command.arg0(name);
    }
    let child = command.args(arguments.iter().skip(1).filter(|argument| *argument != FLAG)).spawn();
    let child = child.context("the supervisor cannot be started")?;
    // reaped with all others in `follow`
    i32::try_from(child.id()).context("the supervisor has no process number")
}

struct Signals {
    children: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    stopping: bool,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            children: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            stopping: false,
        })
    }

    /// Takes in every process that ends, until the supervisor does; forwards the wish to stop.
    async fn follow(&mut self, supervisor: i32) -> Ended {
        loop {
            tokio::select! {
                _ = self.children.recv() => {
                    let mut found = None;
                    // ends when no process that has ended is left
                    while let Some((pid, ended)) = process::reap() {
                        if pid == supervisor {
                            found = Some(ended);
                        }
                    }
                    if let Some(ended) = found {
                        return ended;
                    }
                }
                () = stop(&mut self.terminate, &mut self.interrupt, &mut self.quit) => {
                    self.stopping = true;
                    process::terminate(supervisor);
                }
            }
        }
    }

    /// Whether the wish to stop comes before the delay has passed.
    async fn stop_within(&mut self, delay: Duration) -> bool {
        let asked = stop(&mut self.terminate, &mut self.interrupt, &mut self.quit);
        tokio::time::timeout(delay, asked).await.is_ok()
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal, quit: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
}
