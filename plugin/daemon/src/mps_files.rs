//! The plugin's half of the conversation with the MPS supervisor: writes `desired.json`, reads `actual.json` and the lock.
//!
//! The supervisor is alive as long as it holds the lock; the system drops it with the process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_core::event::Event;
use plugin_core::mps::{Actual, Daemons, Desired};
use tokio::sync::{Notify, mpsc, watch};

use crate::dir_watch::DirWatch;
use crate::files;

/// Largest `desired.json`, `actual.json` or `compute-modes.json` in bytes: far more than 64 GPUs need.
pub(crate) const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The files of one MPS root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MpsRoot(pub(crate) PathBuf);

impl MpsRoot {
    /// What the plugin wants.
    pub(crate) fn desired(&self) -> PathBuf {
        self.0.join("desired.json")
    }

    /// What the supervisor has.
    pub(crate) fn actual(&self) -> PathBuf {
        self.0.join("actual.json")
    }

    /// The compute modes to give back.
    pub(crate) fn compute_modes(&self) -> PathBuf {
        self.0.join("compute-modes.json")
    }

    /// The daemons that may run.
    pub(crate) fn daemons(&self) -> PathBuf {
        self.0.join("daemons.json")
    }

    /// Held by the supervisor.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    /// Makes the root directory.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// Whether a supervisor holds the lock.
    pub(crate) fn supervisor_alive(&self) -> bool {
        // reading is enough to ask, and asking is shared: a supervisor that starts meanwhile waits for it
        File::open(self.lock()).is_ok_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// Reads a JSON file that another process replaces; `None` when it is not there.
///
/// # Errors
/// One line that names the file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let named = |why: String| format!("`{}` cannot be read: {why}", path.display());
    let text = files::read_bounded(path, STATE_BYTES_MAX).map_err(|e| named(e.to_string()))?;
    text.map(|text| serde_json::from_str(&text).map_err(|e| named(e.to_string()))).transpose()
}

/// What an earlier run has wished. Where that note is lost or damaged, what the supervisor runs is what was wished: pods may use
/// it, and it is noted anew.
pub(crate) fn read_wish(root: &MpsRoot) -> Option<Desired> {
    let lost = match read_json::<Desired>(&root.desired()) {
        Ok(Some(desired)) => return Some(desired),
        Ok(None) => None,
        Err(why) => Some(why),
    };
    let daemons = read_json::<Daemons>(&root.daemons()).ok().flatten().unwrap_or_default();
    if daemons.is_empty() {
        if let Some(why) = lost {
            tracing::warn!(why, "the MPS daemons that an earlier run asked for are not known");
        }
        return None;
    }
    let answered = read_json::<Actual>(&root.actual()).ok().flatten().unwrap_or_default();
    let desired = Desired::of_running(&daemons, answered.generation);
    let why = lost.unwrap_or_else(|| format!("`{}` is gone", root.desired().display()));
    tracing::warn!(why, "the MPS daemons that an earlier run asked for are taken to be those that run");
    if let Err(why) = write_json(&root.desired(), &desired) {
        tracing::warn!(why, "they are noted with the next change");
    }
    Some(desired)
}

/// Replaces a JSON file durably.
///
/// # Errors
/// One line that names the file.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let named = |why: String| format!("`{}` cannot be written: {why}", path.display());
    let text = serde_json::to_string_pretty(value).map_err(|e| named(e.to_string()))?;
    files::replace(path, text.as_bytes()).map_err(|e| named(e.to_string()))
}

/// Tells the supervisor's report at once and after every change; `written` makes it look again.
pub(crate) async fn watch_report(root: MpsRoot, written: Arc<Notify>, events: mpsc::Sender<Event>) {
    let mut changes = DirWatch::new(&root.0);
    let mut told: Option<Event> = None;
    let mut complained = false;
    loop {
        let actual: Option<Actual> = match read_json(&root.actual()) {
            Ok(actual) => actual,
            Err(why) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(why, "the MPS supervisor's report is left out");
                }
                None
            }
        };
        let event = Event::MpsReported { supervisor_alive: root.supervisor_alive(), actual };
        if told.as_ref() != Some(&event) {
            told = Some(event.clone());
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::select! {
            biased;
            () = written.notified() => {}
            () = changes.changed() => {}
        }
    }
}

/// Writes the newest of `desired`, on a thread of its own because a disk may be slow; tells only failures. Ends after the
/// last one when its sender is gone.
pub(crate) async fn write_desired(
    root: MpsRoot,
    mut desired: watch::Receiver<Option<Desired>>,
    written: Arc<Notify>,
    events: mpsc::Sender<Event>,
) {
    while desired.changed().await.is_ok() {
        let Some(newest) = desired.borrow_and_update().clone() else {
            continue;
        };
        let root = root.clone();
        let work = move || {
            root.create().map_err(|e| e.to_string()).and_then(|()| write_json(&root.desired(), &newest))
        };
        let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()));
        written.notify_one();
        if let Err(why) = result
            && events.send(Event::MpsDesiredFailed { why }).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(directory: &tempfile::TempDir) -> MpsRoot {
        MpsRoot(directory.path().join("mps"))
    }

    #[tokio::test]
    async fn the_supervisor_is_alive_while_it_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(&directory);
        root.create().unwrap();
        let (events, mut seen) = mpsc::channel(8);
        let task = tokio::spawn(watch_report(root.clone(), Arc::new(Notify::new()), events));
        let reported = |supervisor_alive| Event::MpsReported { supervisor_alive, actual: None };
        assert_eq!(seen.recv().await, Some(reported(false)));
        let lock = File::create(root.lock()).unwrap();
        lock.lock().unwrap();
        assert_eq!(seen.recv().await, Some(reported(true)));
        drop(lock);
        assert_eq!(seen.recv().await, Some(reported(false)));
        task.abort();
    }

    #[tokio::test]
    async fn desired_daemons_reach_the_file_and_the_root_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(&directory);
        let (desired, changes) = watch::channel(None);
        let (events, _seen) = mpsc::channel(8);
        let task = tokio::spawn(write_desired(root.clone(), changes, Arc::new(Notify::new()), events));
        let wanted = Desired { generation: 7, ..Default::default() };
        desired.send_replace(Some(wanted.clone()));
        drop(desired);
        task.await.unwrap();
        assert_eq!(read_json::<Desired>(&root.desired()).unwrap(), Some(wanted));
    }

    #[test]
    fn a_wish_that_is_lost_or_damaged_is_what_the_supervisor_runs() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(&directory);
        root.create().unwrap();
        assert_eq!(read_wish(&root), None, "a new node");
        let daemon = |gpus: serde_json::Value| serde_json::json!({"resource": "nvidia.com/gpu.shared", "replicas": 2, "active_thread_percentage": 50, "gpus": gpus});
        let both = serde_json::json!([{"uuid": "GPU-b"}, {"uuid": "GPU-c"}]);
        let running = serde_json::json!({"GPU-a": daemon(serde_json::json!([])), "GPU-b": daemon(both)});
        write_json(&root.daemons(), &running).unwrap();
        write_json(&root.actual(), &serde_json::json!({"generation": 7, "daemons": {}})).unwrap();
        for lost in [None, Some("{\"generation\": 8, "), Some("[]")] {
            match lost {
                Some(text) => fs::write(root.desired(), text).unwrap(),
                None => assert!(!root.desired().exists()),
            }
            let wish = read_wish(&root).unwrap();
            let gpus: Vec<&str> = wish.daemons.keys().map(|gpu| gpu.as_str()).collect();
            assert_eq!((wish.generation, gpus.as_slice()), (7, &["GPU-a", "GPU-b", "GPU-c"][..]), "{lost:?}");
            assert_eq!(read_json::<Desired>(&root.desired()).unwrap(), Some(wish), "noted anew");
        }
        let kept = Desired { generation: 9, ..Default::default() };
        write_json(&root.desired(), &kept).unwrap();
        assert_eq!(read_wish(&root), Some(kept), "what is noted counts");
    }

    #[tokio::test]
    async fn a_root_that_cannot_be_made_is_told() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mps"), "a file").unwrap();
        let (desired, changes) = watch::channel(None);
        let (events, mut seen) = mpsc::channel(8);
        tokio::spawn(write_desired(root(&directory), changes, Arc::new(Notify::new()), events));
        desired.send_replace(Some(Desired::default()));
        assert!(matches!(seen.recv().await, Some(Event::MpsDesiredFailed { .. })));
    }
}
