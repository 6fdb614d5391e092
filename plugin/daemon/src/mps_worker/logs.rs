//! What MPS control daemons and their servers write to their logs, in ours: bounded, because a server that handles a fault or
//! a client that comes again and again writes a lot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_core::inventory::GpuUuid;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cause;
use crate::dir_watch::DirWatch;

/// The files, as the daemon names them (CUDA MPS guide).
const FILES: [&str; 2] = ["control.log", "server.log"];
/// Most bytes that are read of a file at a time; what a file is further ahead is left out.
const READ_BYTES_MAX: u64 = 64 * 1024;
/// Most lines in one [`PERIOD`]; the others are counted.
const LINES_MAX: u32 = 50;
/// See [`LINES_MAX`].
const PERIOD: Duration = Duration::from_secs(10);
/// A larger file is emptied: the directory may lie in memory, and the daemon notes every question that it is asked.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What the daemon notes of questions, ours above all.
const CHATTER: [&str; 3] = ["NEW UI", "UI closed", "Cmd:"];

/// The tails of one daemon's logs; ends when it is dropped.
pub(crate) struct LogTail {
    task: JoinHandle<()>,
}

impl LogTail {
    /// Follows both files in `directory`, from what they hold already.
    pub(crate) fn start(directory: &Path, gpu: &GpuUuid) -> Self {
        let mut tails: Vec<Tail> = FILES.iter().map(|name| Tail::at_end(directory.join(name))).collect();
        let (directory, gpu) = (directory.to_owned(), gpu.clone());
        let task = tokio::spawn(async move {
            let mut changes = DirWatch::new(&directory);
            let mut rate = Rate::new(Instant::now());
            loop {
                changes.changed().await;
                for tail in &mut tails {
                    let lines = tail.news();
                    rate.tell(Instant::now(), &gpu, tail.name(), &lines);
                }
            }
        });
        LogTail { task }
    }
}

impl Drop for LogTail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One file and how far it was read.
struct Tail {
    path: PathBuf,
    read: u64,
    /// The begin of a line that is not complete.
    rest: String,
}

impl Tail {
    fn at_end(path: PathBuf) -> Self {
        let read = fs::metadata(&path).map_or(0, |found| found.len());
        Tail { path, read, rest: String::new() }
    }

    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Complete lines that are new. A file that cannot be read has none.
    fn news(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.read_more() {
            Ok(Some(text)) => self.rest.push_str(&text),
            Ok(None) | Err(_) => return lines,
        }
        while let Some((line, rest)) = self.rest.split_once('\n') {
            lines.push(cause::one_line(line));
            self.rest = rest.to_owned();
        }
        if self.rest.len() > usize::try_from(READ_BYTES_MAX).unwrap_or(usize::MAX) {
            self.rest.clear();
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    fn read_more(&mut self) -> io::Result<Option<String>> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        // a shorter file is another one, or was emptied
        self.read = if length < self.read { 0 } else { self.read };
        if length == self.read {
            return Ok(None);
        }
        if length - self.read > READ_BYTES_MAX {
            self.read = length - READ_BYTES_MAX;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
        self.read += u64::try_from(bytes.len()).unwrap_or_default();
        if length > FILE_BYTES_MAX {
            OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
            self.read = 0;
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// How many lines were told lately.
struct Rate {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Rate {
    fn new(since: Instant) -> Self {
        Rate { since, told: 0, left_out: 0 }
    }

    fn tell(&mut self, now: Instant, gpu: &GpuUuid, file: &str, lines: &[String]) {
        for line in lines {
            if CHATTER.iter().any(|word| line.contains(word)) {
                tracing::debug!(%gpu, file, line, "MPS log");
            } else if self.may_tell(now) {
                tracing::info!(%gpu, file, line, "MPS log");
            }
        }
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        if now >= self.since + PERIOD {
            if self.left_out > 0 {
                tracing::warn!(
                    lines = self.left_out,
                    "lines of MPS logs were left out: too many in {PERIOD:?}"
                );
            }
            *self = Rate::new(now);
        }
        let may = self.told < LINES_MAX;
        self.told += u32::from(may);
        self.left_out += u64::from(!may);
        may
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn only_what_is_new_is_told_and_only_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.log");
        append(&path, "old\n");
        let mut tail = Tail::at_end(path.clone());
        assert_eq!(tail.news(), Vec::<String>::new());
        append(&path, "one\ntw");
        assert_eq!(tail.news(), ["one"]);
        append(&path, "o\n\nthree\n");
        assert_eq!(tail.news(), ["two", "three"]);
        fs::write(&path, "again\n").unwrap();
        assert_eq!(tail.news(), ["again"], "a shorter file is another one");
    }

    #[test]
    fn a_file_that_ran_ahead_is_told_by_its_end_and_a_large_one_is_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        let mut tail = Tail::at_end(path.clone());
        append(&path, &"x\n".repeat(100_000));
        let news = tail.news();
        assert_eq!(news.len() as u64, READ_BYTES_MAX / 2);
        append(&path, &"y".repeat(FILE_BYTES_MAX as usize));
        append(&path, "\nlast\n");
        assert_eq!(tail.news().last().map(String::as_str), Some("last"));
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        append(&path, "first\n");
        assert_eq!(tail.news(), ["first"]);
    }

    #[test]
    fn at_most_so_many_lines_are_told_in_a_period() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let told = (0..LINES_MAX + 7).filter(|_| rate.may_tell(start)).count();
        assert_eq!((told, rate.left_out), (LINES_MAX as usize, 7));
        assert!(rate.may_tell(start + PERIOD));
        assert_eq!((rate.told, rate.left_out), (1, 0));
    }
}
