//! One directory, watched: every source of events that is a file waits here instead of asking again and again.
//!
//! The kernel reports changes of a directory that exists. One that is missing, or was removed and made again, is looked
//! for every [`SLOW_LOOK`]; so is one behind a link. A lock is dropped a moment after its file's close is reported, and
//! nothing reports that: so the last change is followed by one more look. Then only [`QUIET_LOOK`] wakes the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::Instant;

use crate::files::Identity;

/// Longest time between two looks at a directory that is missing or cannot be watched, and from a change to the next look.
pub(crate) const SLOW_LOOK: Duration = Duration::from_secs(2);
/// Longest time between two looks at a directory that is watched and in which nothing happens.
pub(crate) const QUIET_LOOK: Duration = Duration::from_secs(30);
/// Bytes of reports that are taken at once; one has at most 16 bytes and a file name of 255.
const REPORTS_BYTES: usize = 4096;
/// Most reports for one waking; what is left over wakes again.
const REPORTS_MAX: usize = 1024;

type Reports = EventStream<[u8; REPORTS_BYTES]>;

/// What counts as a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minds {
    /// Which files there are, and the end of who writes to one, because a lock ends with it.
    Files,
    /// Which files there are. In `/dev` somebody always has just written to something.
    Names,
}

impl Minds {
    /// Opening and reading are no changes: the plugin does so itself at every look.
    fn mask(self) -> WatchMask {
        let names = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let content = match self {
            Minds::Files => WatchMask::CLOSE_WRITE | WatchMask::ATTRIB,
            Minds::Names => WatchMask::empty(),
        };
        names | itself | content
    }
}

/// See the module.
pub(crate) struct DirWatch {
    directory: PathBuf,
    minds: Minds,
    installed: Option<(Reports, Identity)>,
    /// Something has changed since the last look that time alone led to.
    restless: bool,
    complained: bool,
}

impl DirWatch {
    /// Starts to watch; a directory that does not exist yet is waited for.
    pub(crate) fn new(directory: &Path) -> Self {
        Self::minding(directory, Minds::Files)
    }

    /// As [`Self::new`], and only files that come and go count.
    pub(crate) fn of_names(directory: &Path) -> Self {
        Self::minding(directory, Minds::Names)
    }

    fn minding(directory: &Path, minds: Minds) -> Self {
        let directory = directory.to_owned();
        let mut watch = DirWatch { directory, minds, installed: None, restless: true, complained: false };
        watch.install();
        watch
    }

    /// Waits until something changed since the last call, or it is time to look all the same. Many changes wake it once.
    /// Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        self.changed_by(Instant::now() + self.pause()).await;
    }

    fn pause(&self) -> Duration {
        // a link that leads elsewhere is a change of another directory
        let leads_here = std::fs::canonicalize(&self.directory).is_ok_and(|path| path == self.directory);
        let is_quiet = !self.restless && self.installed.is_some() && leads_here;
        if is_quiet { QUIET_LOOK } else { SLOW_LOOK }
    }

    /// As [`Self::changed`], with another bound.
    pub(crate) async fn changed_by(&mut self, time: Instant) {
        // a bound on waiting, not a pause: a change ends it at once
        self.restless = tokio::time::timeout_at(time, self.reported()).await.is_ok();
        self.install();
    }

    /// Returns when the kernel reports a change.
    async fn reported(&mut self) {
        let Some((reports, _)) = &mut self.installed else {
            return std::future::pending().await;
        };
        let mut report = reports.next().await;
        for _ in 0..REPORTS_MAX {
            match report {
                // all that there are, so that many wake once
                Some(Ok(_)) => match reports.next().now_or_never() {
                    Some(next) => report = next,
                    None => return,
                },
                // nothing will be reported any more: the caller looks, and `install` begins anew
                Some(Err(_)) | None => return self.installed = None,
            }
        }
    }

    fn install(&mut self) {
        let now = Identity::of(&self.directory);
        if self.installed.as_ref().map(|(_, seen)| *seen) == now {
            return;
        }
        self.installed = now.and_then(|identity| Some((self.watcher()?, identity)));
    }

    fn watcher(&mut self) -> Option<Reports> {
        let watched = Inotify::init().and_then(|inotify| {
            inotify.watches().add(&self.directory, self.minds.mask())?;
            inotify.into_event_stream([0; REPORTS_BYTES])
        });
        match watched {
            Ok(watcher) => {
                self.complained = false;
                Some(watcher)
            }
            Err(why) => {
                let directory = self.directory.display().to_string();
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(directory, %why, "cannot watch a directory; it is looked at every {SLOW_LOOK:?}");
                }
                None
            }
        }
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

    #[tokio::test]
    async fn the_last_change_is_followed_by_one_more_look_and_then_it_is_quiet() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("watched");
        let mut watch = DirWatch::new(&directory);
        watch.changed_by(Instant::now()).await;
        assert_eq!(watch.pause(), SLOW_LOOK, "nothing is reported of a directory that is missing");
        fs::create_dir(&directory).unwrap();
        watch.changed_by(Instant::now()).await;
        assert_eq!(watch.pause(), QUIET_LOOK);
        fs::write(directory.join("x"), "y").unwrap();
        watch.changed().await;
        assert_eq!(
            watch.pause(),
            SLOW_LOOK,
            "a lock may be dropped after the close of its file was reported"
        );
        watch.changed_by(Instant::now()).await;
        assert_eq!(watch.pause(), QUIET_LOOK);
    }

    #[tokio::test]
    async fn a_directory_behind_a_link_is_looked_at_often_because_nothing_reports_that_the_link_leads_elsewhere()
     {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (parent.path().join("first"), parent.path().join("second"));
        let link = parent.path().join("link");
        fs::create_dir_all(first.join("watched")).unwrap();
        fs::create_dir_all(second.join("watched")).unwrap();
        std::os::unix::fs::symlink(&first, &link).unwrap();
        let mut watch = DirWatch::new(&link.join("watched"));
        watch.changed_by(Instant::now()).await;
        assert_eq!(watch.pause(), SLOW_LOOK);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&second, &link).unwrap();
        watch.changed_by(Instant::now()).await;
        fs::write(second.join("watched/x"), "y").unwrap();
        assert!(is_woken(&mut watch).await);
    }

    /// Whether something is reported now.
    async fn is_woken(watch: &mut DirWatch) -> bool {
        watch.changed_by(Instant::now() + Duration::from_millis(50)).await;
        watch.restless
    }

    #[tokio::test]
    async fn who_reads_wakes_nobody_and_in_dev_neither_does_who_writes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        fs::write(&file, "y").unwrap();
        let mut files = DirWatch::new(directory.path());
        let mut names = DirWatch::of_names(directory.path());
        drop((fs::read(&file).unwrap(), fs::read_dir(directory.path()).unwrap().count()));
        assert!(!is_woken(&mut files).await, "it would wake itself at every look");
        fs::write(&file, "z").unwrap();
        assert!(is_woken(&mut files).await);
        assert!(!is_woken(&mut names).await, "every write to `/dev/null` on the node would wake it");
        fs::write(directory.path().join("nvidia0"), "").unwrap();
        fs::remove_file(&file).unwrap();
        assert!(is_woken(&mut names).await);
        assert!(!is_woken(&mut names).await, "many changes wake once");
    }
}
