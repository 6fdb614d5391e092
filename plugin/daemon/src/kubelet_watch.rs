//! The kubelet's socket, watched: a kubelet that starts makes it anew, and every plugin must register again.

use std::path::{Path, PathBuf};

use plugin_core::event::Event;
use tokio::sync::{mpsc, watch};

use crate::dir_watch::DirWatch;
use crate::files::{self, Identity};
use crate::pod_resources::checkpoint_file;

/// Tells when the kubelet's socket is there, gone, or another one. Each change of the directory also moves `directory`, so
/// that servers can look after their own sockets.
pub(crate) async fn watch(socket: PathBuf, directory: watch::Sender<u64>, events: mpsc::Sender<Event>) {
    let mut changes = DirWatch::new(files::directory_of(&socket));
    let mut seen: Option<Identity> = None;
    if Identity::of(&socket).is_none() {
        tracing::warn!(
            "there is no kubelet at `{}`: nothing is registered until there is (hint: mount the host's device-plugins \
             directory there, or set KUBELET_SOCKET)",
            socket.display()
        );
    }
    loop {
        let now = Identity::of(&socket);
        if now != seen {
            // a socket that was replaced between two looks went away first
            let told = [seen.map(|_| Event::KubeletGone), now.map(|now| appeared(&socket, &now))];
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

fn appeared(socket: &Path, identity: &Identity) -> Event {
    Event::KubeletAppeared {
        age_ms: u64::try_from(identity.age().as_millis()).unwrap_or(u64::MAX),
        has_checkpoint: files::directory_of(socket).join(checkpoint_file::FILE).exists(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    /// A directory and what its watch tells.
    struct Bench {
        folder: tempfile::TempDir,
        seen: mpsc::Receiver<Event>,
    }

    impl Bench {
        /// Watches the kubelet's directory, which need not exist.
        fn new(directory: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (events, seen) = mpsc::channel(8);
            let (changes, _) = watch::channel(0);
            tokio::spawn(watch(folder.path().join(directory).join("kubelet.sock"), changes, events));
            Bench { folder, seen }
        }

        async fn event(&mut self) -> Event {
            tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await.unwrap().unwrap()
        }

        /// The checkpoint flag of a kubelet that appears, young.
        async fn appears(&mut self) -> bool {
            match self.event().await {
                Event::KubeletAppeared { age_ms, has_checkpoint } => {
                    assert!(age_ms < 60_000, "{age_ms}");
                    has_checkpoint
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_restarted_kubelet_is_gone_and_appears_again() {
        let mut bench = Bench::new("");
        let socket = bench.folder.path().join("kubelet.sock");
        let first = UnixListener::bind(&socket).unwrap();
        assert!(!bench.appears().await, "it never handed out a device");
        drop(first);
        fs::write(bench.folder.path().join(checkpoint_file::FILE), "{}").unwrap();
        fs::remove_file(&socket).unwrap();
        let _second = UnixListener::bind(&socket).unwrap();
        assert_eq!(bench.event().await, Event::KubeletGone);
        assert!(bench.appears().await);
    }

    #[tokio::test]
    async fn twenty_sockets_made_anew_within_one_look_each_are_twenty_kubelets_also_with_one_inode_number() {
        let mut bench = Bench::new("");
        let socket = bench.folder.path().join("kubelet.sock");
        let mut listener = UnixListener::bind(&socket).unwrap();
        bench.appears().await;
        for _ in 0..20 {
            // nothing is awaited between these, so the watch cannot look between them; the inode number is mostly reused
            fs::remove_file(&socket).unwrap();
            drop(std::mem::replace(&mut listener, UnixListener::bind(&socket).unwrap()));
            assert_eq!(bench.event().await, Event::KubeletGone);
            bench.appears().await;
        }
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_and_made_anew_with_a_kubelet_in_it_is_found() {
        let mut bench = Bench::new("device-plugins");
        let directory = bench.folder.path().join("device-plugins");
        for round in 0..3 {
            fs::create_dir(&directory).unwrap();
            let _listener = UnixListener::bind(directory.join("kubelet.sock")).unwrap();
            bench.appears().await;
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(bench.event().await, Event::KubeletGone, "round {round}");
        }
    }
}
