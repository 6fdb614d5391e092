//! Starts child processes that cannot outlive the simulator, and signals them; the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::io;

use tokio::process::{Child, Command};

/// Starts a child at the head of its own process group, so that a terminal's Ctrl-C reaches the simulator alone
/// and a whole family can be signalled at once. Should the simulator die, the child gets SIGTERM.
///
/// # Errors
/// What the operating system says.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0).kill_on_drop(true);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// The signals that the simulator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM: please end.
    Term,
    /// SIGHUP: read your settings again, to most programs.
    HangUp,
    /// SIGKILL: end now.
    Kill,
    /// SIGSTOP: stand still.
    Stop,
    /// SIGCONT: go on.
    Continue,
}

/// Signals a process group; one that is gone already is no error.
pub(super) fn signal_group(leader: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(leader)
        && pid > 1
    {
        send(-pid, signal);
    }
}

/// Signals one process; one that is gone already is no error.
pub(super) fn signal_process(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        send(pid, signal);
    }
}

fn send(pid: i32, signal: Signal) {
    let number = match signal {
        Signal::Term => libc::SIGTERM,
        Signal::HangUp => libc::SIGHUP,
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: kill(2) takes two integers and touches no memory of ours; its failure means the target is gone.
    unsafe {
        libc::kill(pid, number);
    }
}
