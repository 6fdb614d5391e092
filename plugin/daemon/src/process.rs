//! Another process, by a handle that cannot mean a later process of the same number: wait for its end, or end it.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that was alive when the handle was made (Linux 5.3 and newer).
#[derive(Debug)]
pub(crate) struct Process {
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process of this number, if its program's name begins with `name`: the number may be an old one. `None` when
    /// there is no such process.
    ///
    /// # Errors
    /// When the system has no such handles.
    pub(crate) fn find(pid: i32, name: &str) -> io::Result<Option<Self>> {
        let handle = match open(pid) {
            Ok(handle) => handle,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(e) => return Err(e),
        };
        // read after the handle was made, so that both speak of the same process
        let running = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if !running.starts_with(name) {
            return Ok(None);
        }
        // SAFETY: an OwnedFd always gives the same descriptor and keeps it open until the registration is dropped.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?;
        Ok(Some(Process { handle }))
    }

    /// Returns when the process has ended. Cancel-safe.
    pub(crate) async fn ended(&self) {
        // an error means that the runtime is ending
        let _ = self.handle.readable().await;
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it is not ours to end.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match send_kill(self.handle.get_ref().as_raw_fd()) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the system just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send_kill(fd: RawFd) -> io::Result<()> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes integers and a null pointer, which means "as kill does".
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, no_details, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_killed_process_is_seen() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = loop {
            // between fork and exec the child still has our name
            match Process::find(pid, "sleep").unwrap() {
                Some(process) => break process,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(Process::find(pid, "another").unwrap().is_none());
        process.kill().unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), process.ended()).await.unwrap();
        child.wait().unwrap();
        assert!(Process::find(pid, "sleep").unwrap().is_none());
    }
}
