//! The journal on disk: a bounded ring of two files, so that any run of the last days can be replayed and no disk fills up.
//!
//! `<name>.jsonl` is being written; `<name>.1.jsonl` is the one before it, of this run or of an earlier one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file over this size is put aside and a new one begun.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// See the module.
pub(crate) struct JournalFile {
    current: PathBuf,
    before: PathBuf,
    bytes_max: u64,
    open: Option<(BufWriter<File>, u64)>,
    broken: bool,
}

impl JournalFile {
    /// As [`Self::begin`], where a journal is asked for.
    ///
    /// # Errors
    /// One line that names the directory.
    pub(crate) fn begin_in(directory: Option<&Path>, name: &str) -> anyhow::Result<Option<Self>> {
        let Some(directory) = directory else {
            return Ok(None);
        };
        let failed =
            || format!("the journal cannot be begun in `{}` (hint: --journal-dir)", directory.display());
        Ok(Some(Self::begin(directory, name).with_context(failed)?))
    }

    /// Begins a new file `<directory>/<name>.jsonl`, makes the directory if needed and puts the last run's file aside.
    ///
    /// # Errors
    /// When the directory or the file cannot be made.
    pub(crate) fn begin(directory: &Path, name: &str) -> io::Result<Self> {
        Self::with_bound(directory, name, FILE_BYTES_MAX)
    }

    fn with_bound(directory: &Path, name: &str, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let current = directory.join(format!("{name}.jsonl"));
        let before = directory.join(format!("{name}.1.jsonl"));
        let mut journal = JournalFile { current, before, bytes_max, open: None, broken: false };
        journal.turn()?;
        Ok(journal)
    }

    /// Writes lines and hands them to the system. The answer is the first failure since the last success: a full disk is
    /// told once, and never stops the plugin.
    pub(crate) fn write(&mut self, lines: &[String]) -> Option<io::Error> {
        match self.try_write(lines) {
            Ok(()) => {
                self.broken = false;
                None
            }
            Err(e) => {
                let known = std::mem::replace(&mut self.broken, true);
                (!known).then_some(e)
            }
        }
    }

    /// The file that is being written.
    pub(crate) fn path(&self) -> &Path {
        &self.current
    }

    fn try_write(&mut self, lines: &[String]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(_, written)| *written >= self.bytes_max) {
            self.turn()?;
        }
        let Some((file, written)) = self.open.as_mut() else {
            return Err(io::Error::other("the journal is not open"));
        };
        for line in lines {
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            *written += u64::try_from(line.len()).unwrap_or(0) + 1;
        }
        file.flush()
    }

    fn turn(&mut self) -> io::Result<()> {
        self.open = None;
        if self.current.exists() {
            fs::rename(&self.current, &self.before)?;
        }
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&self.current)?;
        self.open = Some((BufWriter::new(file), 0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_two_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = JournalFile::with_bound(directory.path(), "journal", 4).unwrap();
        for line in ["one", "two", "three"] {
            assert!(journal.write(&[line.to_owned()]).is_none());
        }
        assert_eq!(text(journal.path()), "three\n");
        assert_eq!(text(&directory.path().join("journal.1.jsonl")), "two\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_run_keeps_the_journal_of_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        JournalFile::begin(directory.path(), "journal").unwrap().write(&["old".to_owned()]);
        JournalFile::begin(directory.path(), "journal").unwrap().write(&["new".to_owned()]);
        assert_eq!(text(&directory.path().join("journal.1.jsonl")), "old\n");
        assert_eq!(text(&directory.path().join("journal.jsonl")), "new\n");
    }

    #[test]
    fn a_failure_is_told_once_until_it_works_again() {
        let mut journal = JournalFile {
            current: "/dev/full".into(),
            before: "/nonexistent/before".into(),
            bytes_max: u64::MAX,
            open: Some((BufWriter::new(OpenOptions::new().write(true).open("/dev/full").unwrap()), 0)),
            broken: false,
        };
        assert!(journal.write(&["x".to_owned()]).is_some());
        assert!(journal.write(&["x".to_owned()]).is_none());
    }
}
