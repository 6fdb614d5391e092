//! The system calls a daemon needs that the standard library does not offer.
#![allow(unsafe_code)]

use std::io;

/// First file descriptor after standard input, output and error.
const FIRST_INHERITED: libc::c_uint = 3;

/// Leaves the caller's session and lets go of whatever files it handed down, so that nobody waits for
/// this process to close them. To be called before anything is opened.
pub(crate) fn detach() -> io::Result<()> {
    // SAFETY: no memory is involved; nothing of this process is open above standard error yet.
    let session = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_INHERITED, libc::c_uint::MAX, 0);
        libc::setsid()
    };
    if session < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// SIGTERM, SIGINT and SIGQUIT, held back from this thread and those it starts.
pub(crate) struct Termination {
    signals: libc::sigset_t,
}

impl Termination {
    /// To be called before other threads start.
    pub(crate) fn hold_back() -> io::Result<Self> {
        // SAFETY: a sigset is plain memory that sigemptyset makes valid; the calls only touch it and
        // this thread's mask.
        let (signals, error) = unsafe {
            let mut signals: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut signals);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
                libc::sigaddset(&raw mut signals, signal);
            }
            (signals, libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()))
        };
        if error == 0 { Ok(Self { signals }) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// Sleeps until one of the signals comes.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut signal = 0;
        // SAFETY: a valid sigset and a place for the signal's number.
        let error = unsafe { libc::sigwait(&raw const self.signals, &raw mut signal) };
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    }
}
