//! One pipe directory, one daemon: who may have it, and what is left in it (nothing).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::daemon::{DaemonError, io_error};
use super::pipe::{CONTROL_SOCKET, PID_FILE};

/// How often a daemon that is just ending may get in the way of the next.
const CLAIMS_MAX: usize = 8;

/// The pipe directory as this daemon's own: the pid file's lock is the claim, so it ends with the process
/// however it ends. Letting go removes what lies in the directory.
pub(crate) struct Claim {
    directory: PathBuf,
    _pid_file: File,
}

impl Claim {
    pub(crate) fn take(directory: &Path) -> Result<Self, DaemonError> {
        let path = directory.join(PID_FILE);
        let io_error = |why| io_error(&path, why);
        for _ in 0..CLAIMS_MAX {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let mut file = opened.map_err(io_error)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(DaemonError::AlreadyRunning),
                Err(TryLockError::Error(why)) => return Err(io_error(why)),
            }
            // A daemon that was just ending may have removed the file between open and lock.
            let ours = file.metadata().map_err(io_error)?.ino();
            if std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                written.map_err(io_error)?;
                return Ok(Self { directory: directory.to_owned(), _pid_file: file });
            }
        }
        Err(DaemonError::AlreadyRunning)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The pid file last: with it goes the claim, and the next daemon's socket has the same name.
        for name in [CONTROL_SOCKET, PID_FILE] {
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }
}
