//! The plugin's own directory on the host: the last good configuration lies there, and the admin socket. Never the
//! kubelet's directory, which every starting kubelet empties.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use plugin_core::event::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::files;
use crate::metrics::Metrics;

/// Largest state file in bytes: the largest configuration, as a JSON text.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Nobody but root looks into it.
const DIRECTORY_MODE: u32 = 0o700;

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDir(pub(crate) PathBuf);

impl StateDir {
    /// The file with the last good configuration.
    pub(crate) fn last_good(&self) -> PathBuf {
        self.0.join("last-good.json")
    }

    /// The admin socket, unless it is told to be elsewhere.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// What the file holds, as the core hears of it.
    pub(crate) fn read(&self) -> Event {
        let path = self.last_good();
        match files::read_bounded(&path, FILE_BYTES_MAX) {
            Ok(text) => Event::LastGoodRead { text },
            Err(e) => Event::LastGoodUnreadable { why: format!("`{}`: {e}", path.display()) },
        }
    }

    fn write(&self, text: &str) -> Result<(), String> {
        let path = self.last_good();
        make(&self.0)
            .and_then(|()| files::replace(&path, text.as_bytes()))
            .map_err(|e| format!("`{}`: {e}", path.display()))
    }
}

/// Makes a directory for root alone; one that exists stays as it is.
///
/// # Errors
/// The system's.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)
}

/// Writes the newest text whenever there is one, away from the loop: a disk may be slow. Ends, after the last one, with
/// its sender.
pub(crate) fn start(
    directory: Option<StateDir>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
) -> (watch::Sender<Option<String>>, JoinHandle<()>) {
    let (newest, mut texts) = watch::channel(None::<String>);
    let task = tokio::spawn(async move {
        while texts.changed().await.is_ok() {
            let text = texts.borrow_and_update().clone();
            let (Some(directory), Some(text)) = (directory.clone(), text) else {
                continue;
            };
            let written = tokio::task::spawn_blocking(move || directory.write(&text)).await;
            let why = match written {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(e) => e.to_string(),
            };
            metrics.count_state_failure();
            if events.send(Event::LastGoodNotKept { why }).await.is_err() {
                return;
            }
        }
    });
    (newest, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(directory: StateDir, text: &str) -> (Vec<Event>, Metrics) {
        let metrics = Metrics::new();
        let (events, mut seen) = mpsc::channel(8);
        let (newest, task) = start(Some(directory), events, metrics.clone());
        newest.send_replace(Some(text.to_owned()));
        drop(newest);
        task.await.unwrap();
        let mut all = Vec::new();
        while let Some(event) = seen.recv().await {
            all.push(event);
        }
        (all, metrics)
    }

    #[tokio::test]
    async fn what_is_kept_is_read_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir(folder.path().join("new/state"));
        assert_eq!(state.read(), Event::LastGoodRead { text: None });
        assert_eq!(told(state.clone(), "{}").await.0, []);
        assert_eq!(state.read(), Event::LastGoodRead { text: Some("{}".into()) });
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&state.0).unwrap());
        assert_eq!(mode & 0o777, DIRECTORY_MODE);
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_is_told_with_its_path_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let (events, metrics) = told(StateDir(folder.path().join("file/state")), "{}").await;
        assert!(
            matches!(&events[..], [Event::LastGoodNotKept { why }] if why.contains("file/state/last-good.json")),
            "{events:?}"
        );
        assert!(metrics.text().contains("tandem_last_good_failures_total 1"), "{}", metrics.text());
    }

    #[test]
    fn a_state_file_that_is_no_text_is_unreadable_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir(folder.path().to_owned());
        std::fs::write(state.last_good(), [0xff]).unwrap();
        assert!(matches!(state.read(), Event::LastGoodUnreadable { why } if why.contains("last-good.json")));
    }
}
