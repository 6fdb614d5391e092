//! The kubelet's files: sockets that a start sweeps away, and the checkpoint that survives it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

use super::settings::KubeletError;
use crate::kubelet::ledger::{CHECKPOINT_FILE, Checkpoint, CheckpointError};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why a checkpoint file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointFileError {
    #[error("cannot access checkpoint `{path}`: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Content(#[from] CheckpointError),
}

/// Makes the directory if it is missing.
pub(super) fn make_dir(path: &Path) -> Result<(), KubeletError> {
    fs::create_dir_all(path).map_err(|source| KubeletError::Directory { path: path.to_owned(), source })
}

/// Removes every socket directly in `dir`, also hidden ones and links to sockets; other files and folders stay.
pub(super) fn sweep_sockets(dir: &Path) -> Result<(), KubeletError> {
    let unreadable = |source| KubeletError::Directory { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_socket = fs::metadata(&path).is_ok_and(|data| data.file_type().is_socket());
        if is_socket {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), KubeletError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KubeletError::RemoveSocket { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A socket that is on disk and refuses connections.
pub(super) struct Bound {
    socket: UnixSocket,
    path: PathBuf,
}

/// Replaces whatever is at `path` by a socket that does not listen yet.
pub(super) fn bind(path: &Path) -> Result<Bound, KubeletError> {
    remove(path)?;
    let failed = |source| KubeletError::Bind { path: path.to_owned(), source };
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    Ok(Bound { socket, path: path.to_owned() })
}

impl Bound {
    /// Accepts connections from now on.
    pub(super) fn listen(self) -> Result<UnixListener, KubeletError> {
        let path = self.path;
        self.socket.listen(BACKLOG).map_err(|source| KubeletError::Bind { path, source })
    }
}

/// The checkpoint in `dir`; `None` if there is none.
pub(super) fn read_checkpoint(dir: &Path) -> Result<Option<Checkpoint>, CheckpointFileError> {
    let path = dir.join(CHECKPOINT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Checkpoint::from_text(&text)?)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointFileError::Io { path, source }),
    }
}

/// Replaces the checkpoint in `dir` in one step. Unlike a kubelet this does not wait for the disk: nobody needs a
/// laboratory's checkpoint after a power failure.
pub(super) fn write_checkpoint(dir: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointFileError> {
    let text = checkpoint.to_text()?;
    let path = dir.join(CHECKPOINT_FILE);
    let temporary = dir.join(format!(".{CHECKPOINT_FILE}.new"));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|source| CheckpointFileError::Io { path, source })
}
