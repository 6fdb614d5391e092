//! Files that other processes read while we write them: replaced in one step, durable, and recognisable when replaced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells one file from a later one of the same name. Inode numbers are reused at once, so the time of birth counts
/// too; file systems without one give the time of the last status change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    born_nanos: i128,
}

impl Identity {
    /// The identity of what `path` names now; `None` when there is nothing.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let born = metadata.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        let born_nanos = born.and_then(|d| i128::try_from(d.as_nanos()).ok()).unwrap_or(changed);
        Some(Identity { device: metadata.dev(), inode: metadata.ino(), born_nanos })
    }

    /// How long ago it was born; nothing when the clock was set back since.
    pub(crate) fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let born = u64::try_from(self.born_nanos).unwrap_or_default();
        now.saturating_sub(Duration::from_nanos(born))
    }
}

/// The directory that holds `path`; a bare file name is in the working directory.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."))
}

/// Replaces `path` by `content`: written beside it, flushed to disk, renamed, and the rename flushed too.
///
/// # Errors
/// Any of these steps; the old file is then still there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write_and_rename(path, content, File::sync_all)?;
    File::open(directory_of(path))?.sync_all()
}

/// As [`replace`], for what need not outlive a crash of the machine: nothing waits for the disk.
///
/// # Errors
/// Any of these steps; the old file is then still there.
pub(crate) fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    write_and_rename(path, content, |_| Ok(()))
}

fn write_and_rename(path: &Path, content: &[u8], flush: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory_of(path).join(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        flush(&file)?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // best effort: the error that counts is the first one
        let _ = fs::remove_file(&temporary);
    })
}

/// The whole text of a file that should have at most `bytes_max` bytes; `None` when there is no such file.
///
/// # Errors
/// Larger, not UTF-8, or any other failure than absence.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("desired.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_over_the_bound_is_refused_and_an_absent_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_bounded(&path, 5).unwrap().as_deref(), Some("12345"));
        assert_eq!(read_bounded(&directory.path().join("absent"), 5).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_made_again_has_another_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet.sock");
        assert_eq!(Identity::of(&path), None);
        fs::write(&path, "").unwrap();
        let first = Identity::of(&path);
        assert_eq!(Identity::of(&path), first);
        assert!(first.is_some_and(|i| i.age() < Duration::from_secs(60)));
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(Identity::of(&path), first);
    }
}
