//! The window for root on this node: the same pages on a unix socket that nobody else can open.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

use crate::files::{Identity, directory_of};
use crate::state_dir;

/// Only its owner may connect.
const SOCKET_MODE: u32 = 0o600;

/// Why there is no socket.
#[derive(Debug, Error)]
#[error("admin socket `{path}` cannot be made: {why} (hint: choose another with --admin-socket)")]
pub(crate) struct AdminSocketError {
    path: String,
    #[source]
    why: io::Error,
}

/// A bound socket; dropped, it takes its file away unless somebody replaced it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    owner: u32,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<Identity>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && Identity::of(&self.path) == self.identity {
            // best effort: the next start replaces it
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AdminSocket {
    /// Binds in a private directory beside `path` and moves the socket there when its mode is right, so that at no time
    /// anybody else can open it. A socket of an earlier run is replaced.
    ///
    /// # Errors
    /// See [`AdminSocketError`].
    pub(crate) fn bind(path: &Path) -> Result<Self, AdminSocketError> {
        Self::try_bind(path).map_err(|why| AdminSocketError { path: path.display().to_string(), why })
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        let directory = directory_of(path);
        state_dir::make(directory)?;
        let private = directory.join(format!(".admin.{}", std::process::id()));
        // a killed process of the same number may have left it
        let _ = fs::remove_dir_all(&private);
        state_dir::make(&private)?;
        let made = private.join("s");
        let bound = UnixListener::bind(&made).and_then(|listener| {
            fs::set_permissions(&made, Permissions::from_mode(SOCKET_MODE))?;
            let owner = fs::metadata(&made)?.uid();
            fs::rename(&made, path)?;
            Ok((listener, owner))
        });
        let removed = fs::remove_dir_all(&private);
        let (listener, owner) = bound?;
        removed?;
        let file = SocketFile { path: path.to_owned(), identity: Identity::of(path) };
        Ok(AdminSocket { listener, owner, file })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next connection of root or of our own user; others are turned away.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if uid == 0 || uid == self.owner {
                return Ok(stream);
            }
            tracing::warn!(uid, "a connection to the admin socket was turned away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_owner_can_open_the_socket_and_it_goes_with_the_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SOCKET_MODE);
        assert_eq!(fs::read_dir(folder.path().join("state")).unwrap().count(), 1, "nothing beside it");
        let (theirs, ours) = tokio::join!(UnixStream::connect(&path), socket.accept());
        assert!(theirs.is_ok() && ours.is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_a_killed_plugin_is_replaced_and_a_later_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let old = AdminSocket::bind(&path).unwrap();
        let new = AdminSocket::bind(&path).unwrap();
        drop(old);
        assert!(UnixStream::connect(new.path()).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_made_is_named_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = AdminSocket::bind(&folder.path().join("file/admin.sock")).unwrap_err().to_string();
        assert!(error.contains("file/admin.sock") && error.contains("--admin-socket"), "{error}");
    }
}
