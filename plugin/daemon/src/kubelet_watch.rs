//! The kubelet's socket, watched: a kubelet that starts makes it anew, and every plugin must register again.

use std::path::PathBuf;

use plugin_core::event::Event;
use tokio::sync::{mpsc, watch};

use crate::dir_watch::DirWatch;
use crate::files::{self, Identity};

/// Tells when the kubelet's socket is there, gone, or another one. Each change of the directory also moves `directory`, so
/// that servers can look after their own sockets.
pub(crate) async fn watch(socket: PathBuf, directory: watch::Sender<u64>, events: mpsc::Sender<Event>) {
    let mut changes = DirWatch::new(files::directory_of(&socket));
    let mut seen: Option<Identity> = None;
    loop {
        let now = Identity::of(&socket);
        if now != seen {
            // a socket that was replaced between two looks went away first
            let told = [seen.map(|_| Event::KubeletGone), now.map(|_| Event::KubeletAppeared)];
            for event in told.into_iter().flatten() {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            seen = now;
        }
        directory.send_modify(|changes| *changes += 1);
        changes.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_restarted_kubelet_is_gone_and_appears_again() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("kubelet.sock");
        let (events, mut seen) = mpsc::channel(8);
        let (directory, _) = watch::channel(0);
        let task = tokio::spawn(watch(socket.clone(), directory, events));
        let first = UnixListener::bind(&socket).unwrap();
        assert_eq!(seen.recv().await, Some(Event::KubeletAppeared));
        drop(first);
        fs::remove_file(&socket).unwrap();
        let _second = UnixListener::bind(&socket).unwrap();
        assert_eq!(seen.recv().await, Some(Event::KubeletGone));
        assert_eq!(seen.recv().await, Some(Event::KubeletAppeared));
        task.abort();
    }
}
