//! The plugin's own directory on the host: the last good configuration lies there, what is known of the GPUs, and the admin socket. Never the
//! kubelet's directory, which every starting kubelet empties.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_core::event::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::files;
use crate::metrics::Metrics;

/// Largest state file in bytes: the largest configuration, as a JSON text.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Longest time that others wait for a file to be written.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
/// Nobody but root looks into it.
const DIRECTORY_MODE: u32 = 0o700;

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDir(pub(crate) PathBuf);

impl StateDir {
    /// The file with the last good configuration.
    pub(crate) fn last_good(&self) -> StateFile {
        StateFile {
            path: self.0.join("last-good.json"),
            read: |text| Event::LastGoodRead { text },
            unreadable: |why| Event::LastGoodUnreadable { why },
            not_kept: |why| Event::LastGoodNotKept { why },
        }
    }

    /// The file with what is known of the GPUs.
    pub(crate) fn kept_gpus(&self) -> StateFile {
        StateFile {
            path: self.0.join("gpus.json"),
            read: |text| Event::KeptGpusRead { text },
            unreadable: |why| Event::KeptGpusUnreadable { why },
            not_kept: |why| Event::KeptGpusFailed { why },
        }
    }

    /// The admin socket, unless it is told to be elsewhere.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

/// One file of the directory, and how the core hears of it.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    read: fn(Option<String>) -> Event,
    unreadable: fn(String) -> Event,
    not_kept: fn(String) -> Event,
}

impl StateFile {
    /// What the file holds, as the core hears of it.
    pub(crate) fn read(&self) -> Event {
        match files::read_bounded(&self.path, FILE_BYTES_MAX) {
            Ok(text) => (self.read)(text),
            Err(e) => (self.unreadable)(self.named(&e)),
        }
    }

    fn write(&self, text: &str) -> Result<(), String> {
        make(files::directory_of(&self.path))
            .and_then(|()| files::replace(&self.path, text.as_bytes()))
            .map_err(|e| self.named(&e))
    }

    fn named(&self, error: &io::Error) -> String {
        format!("`{}`: {error}", self.path.display())
    }
}

/// The newest text of a file and the task that writes it.
pub(crate) struct StateWriter {
    /// Counts the texts.
    newest: watch::Sender<(u64, Option<String>)>,
    /// The number of the last one that was written, or could not be.
    done: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl StateWriter {
    /// Writes it later, unless a newer one comes before.
    pub(crate) fn keep(&self, text: String) {
        self.newest.send_modify(|(number, newest)| {
            *number += 1;
            *newest = Some(text);
        });
    }

    /// Ends when everything that is to be kept now is written, could not be, or takes longer than [`WRITE_TIME_MAX`].
    pub(crate) fn written(&self) -> impl Future<Output = ()> + Send + 'static {
        let number = self.newest.borrow().0;
        let mut done = self.done.clone();
        async move {
            // whoever waits goes on, whatever became of it
            let _ = tokio::time::timeout(WRITE_TIME_MAX, done.wait_for(|done| *done >= number)).await;
        }
    }

    /// Ends when the last text is written.
    pub(crate) fn finish(self) -> JoinHandle<()> {
        self.task
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
pub(crate) fn start(file: Option<StateFile>, events: mpsc::Sender<Event>, metrics: Metrics) -> StateWriter {
    let (newest, mut texts) = watch::channel((0, None::<String>));
    let (ended, done) = watch::channel(0);
    let task = tokio::spawn(async move {
        while texts.changed().await.is_ok() {
            let (number, text) = texts.borrow_and_update().clone();
            let (Some(file), Some(text)) = (file.clone(), text) else {
                ended.send_replace(number);
                continue;
            };
            let written = tokio::task::spawn_blocking({
                let file = file.clone();
                move || file.write(&text)
            })
            .await;
            ended.send_replace(number);
            let why = match written {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(e) => e.to_string(),
            };
            metrics.count_state_failure();
            if events.send((file.not_kept)(why)).await.is_err() {
                return;
            }
        }
    });
    StateWriter { newest, done, task }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(directory: StateDir, text: &str) -> (Vec<Event>, Metrics) {
        let metrics = Metrics::new();
        let (events, mut seen) = mpsc::channel(8);
        let writer = start(Some(directory.last_good()), events, metrics.clone());
        writer.keep(text.to_owned());
        writer.finish().await.unwrap();
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
        assert_eq!(state.last_good().read(), Event::LastGoodRead { text: None });
        assert_eq!(told(state.clone(), "{}").await.0, []);
        assert_eq!(state.last_good().read(), Event::LastGoodRead { text: Some("{}".into()) });
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

    #[tokio::test]
    async fn who_waits_for_a_file_goes_on_when_it_is_written_or_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let (events, _seen) = mpsc::channel(8);
        for (state, expected) in [("state", Some("{}".to_owned())), ("file", None)] {
            let file = StateDir(folder.path().join(state)).kept_gpus();
            let writer = start(Some(file.clone()), events.clone(), Metrics::new());
            writer.written().await;
            writer.keep("{}".to_owned());
            writer.written().await;
            assert_eq!(std::fs::read_to_string(&file.path).ok(), expected);
        }
        let nowhere = start(None, events, Metrics::new());
        nowhere.keep("{}".to_owned());
        nowhere.written().await;
    }

    #[test]
    fn a_state_file_that_is_no_text_is_unreadable_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir(folder.path().to_owned());
        std::fs::write(state.last_good().path, [0xff]).unwrap();
        assert!(
            matches!(state.last_good().read(), Event::LastGoodUnreadable { why } if why.contains("last-good.json"))
        );
    }

    #[tokio::test]
    async fn each_file_is_told_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir(folder.path().to_owned());
        assert_eq!(state.kept_gpus().read(), Event::KeptGpusRead { text: None });
        let (events, mut seen) = mpsc::channel(8);
        let writer = start(Some(state.kept_gpus()), events.clone(), Metrics::new());
        writer.keep("{}".to_owned());
        writer.finish().await.unwrap();
        assert_eq!(state.kept_gpus().read(), Event::KeptGpusRead { text: Some("{}".into()) });
        assert_eq!(state.last_good().read(), Event::LastGoodRead { text: None });
        std::fs::write(folder.path().join("file"), "").unwrap();
        let nowhere = StateDir(folder.path().join("file"));
        let writer = start(Some(nowhere.kept_gpus()), events, Metrics::new());
        writer.keep("{}".to_owned());
        writer.finish().await.unwrap();
        assert!(
            matches!(seen.recv().await, Some(Event::KeptGpusFailed { why }) if why.contains("gpus.json"))
        );
    }
}
