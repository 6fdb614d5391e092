//! Sockets that a killed plugin left in the kubelet's directory: its successor may serve other resources, or give them other
//! names, and would never replace them.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

/// Between the two looks that must both find nobody behind a socket: one that is being made does not accept for a moment.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// Most files of the directory that are looked at.
const FILES_MAX: usize = 1_000;

/// A socket with nobody behind it.
#[derive(Debug, PartialEq, Eq)]
struct Dead {
    path: PathBuf,
    /// Another socket may take its name meanwhile.
    inode: u64,
}

/// Removes the sockets of the directory that have our names and nobody behind them, and says which.
pub(crate) async fn remove(directory: &Path) -> Vec<PathBuf> {
    let first = dead(directory).await;
    if first.is_empty() {
        return Vec::new();
    }
    tokio::time::sleep(LOOKS_APART).await;
    let second = dead(directory).await;
    let stays = second.into_iter().filter(|socket| first.contains(socket));
    stays.filter(|socket| std::fs::remove_file(&socket.path).is_ok()).map(|socket| socket.path).collect()
}

async fn dead(directory: &Path) -> Vec<Dead> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut dead = Vec::new();
    for entry in entries.take(FILES_MAX).flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(is_our_name);
        let Some(found) = entry.metadata().ok().filter(|found| is_ours && found.file_type().is_socket())
        else {
            continue;
        };
        let refused =
            UnixStream::connect(&path).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
        if refused {
            dead.push(Dead { path, inode: found.ino() });
        }
    }
    dead
}

/// As `Registration::endpoint` names them, which is how NVIDIA's plugin names its own.
fn is_our_name(name: &str) -> bool {
    name.starts_with("nvidia-") && name.ends_with(".sock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn what_nobody_listens_at_goes_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["nvidia-gpu.sock", "nvidia-gpu.shared-4.sock", "other.sock"] {
            drop(UnixListener::bind(at(name)).unwrap());
        }
        let _served = UnixListener::bind(at("nvidia-mig-1g.5gb.sock")).unwrap();
        std::fs::write(at("nvidia-notes.sock"), "no socket").unwrap();
        let mut removed = remove(folder.path()).await;
        removed.sort();
        assert_eq!(removed, [at("nvidia-gpu.shared-4.sock"), at("nvidia-gpu.sock")]);
        for name in ["other.sock", "nvidia-mig-1g.5gb.sock", "nvidia-notes.sock"] {
            assert!(at(name).exists(), "{name}");
        }
        assert!(remove(&at("absent")).await.is_empty());
    }

    #[tokio::test]
    async fn a_socket_that_takes_the_name_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nvidia-gpu.sock");
        drop(UnixListener::bind(&path).unwrap());
        let looks = remove(folder.path());
        let takes = async {
            tokio::time::sleep(LOOKS_APART / 2).await;
            // beside it first: the file system could give the same number again
            let beside = folder.path().join("beside.sock");
            let listener = UnixListener::bind(&beside).unwrap();
            std::fs::rename(&beside, &path).unwrap();
            drop(listener);
        };
        let (removed, ()) = tokio::join!(looks, takes);
        assert!(removed.is_empty() && path.exists());
    }
}
