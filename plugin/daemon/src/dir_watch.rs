//! One directory, watched: every source of events that is a file waits here instead of asking again and again.
//!
//! The kernel reports changes of a directory that exists. One that is missing, or was removed and made again, is looked
//! for every [`SLOW_LOOK`]; so is what the kernel does not report, such as a lock that was dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::files::Identity;

/// Longest time between two looks.
pub(crate) const SLOW_LOOK: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct DirWatch {
    directory: PathBuf,
    installed: Option<(RecommendedWatcher, Identity)>,
    changed: Arc<Notify>,
}

impl DirWatch {
    /// Starts to watch; a directory that does not exist yet is waited for.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut watch =
            DirWatch { directory: directory.to_owned(), installed: None, changed: Arc::new(Notify::new()) };
        watch.install();
        watch
    }

    /// Waits until something changed since the last call, or [`SLOW_LOOK`] passed. Many changes wake it once.
    /// Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        self.changed_by(Instant::now() + SLOW_LOOK).await;
    }

    /// As [`Self::changed`], with another bound.
    pub(crate) async fn changed_by(&mut self, time: Instant) {
        // a bound on waiting, not a pause: a change ends it at once
        let _ = tokio::time::timeout_at(time, self.changed.notified()).await;
        self.install();
    }

    fn install(&mut self) {
        let now = Identity::of(&self.directory);
        if self.installed.as_ref().map(|(_, seen)| *seen) == now {
            return;
        }
        self.installed = now.and_then(|identity| Some((self.watcher()?, identity)));
    }

    fn watcher(&self) -> Option<RecommendedWatcher> {
        let changed = Arc::clone(&self.changed);
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |e| is_change(e.kind)) {
                changed.notify_one();
            }
        };
        let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watched
            .inspect_err(|e| {
                let directory = self.directory.display().to_string();
                tracing::warn!(directory, why = %e, "cannot watch a directory; it is looked at every {SLOW_LOOK:?}");
            })
            .ok()
    }
}

/// Opening and reading are not changes; the end of a writer is, because a lock ends with it.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_new_file_wakes_the_waiter_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = DirWatch::new(directory.path());
        let begin = Instant::now();
        fs::write(directory.path().join("x"), "y").unwrap();
        watch.changed().await;
        assert!(begin.elapsed() < SLOW_LOOK, "woken by {:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_directory_that_was_made_again_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("watched");
        fs::create_dir(&directory).unwrap();
        let mut watch = DirWatch::new(&directory);
        fs::remove_dir(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        let first = watch.installed.as_ref().map(|(_, i)| *i);
        watch.install();
        assert_ne!(watch.installed.as_ref().map(|(_, i)| *i), first);
        fs::write(directory.join("x"), "y").unwrap();
        let begin = Instant::now();
        watch.changed().await;
        assert!(begin.elapsed() < SLOW_LOOK);
    }
}
