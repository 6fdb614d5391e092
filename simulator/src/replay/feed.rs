//! The lines of a journal, one at a time, because a journal may be larger than memory and may end in the middle of a line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use plugin_core::journal::VERSION;
use plugin_core::time::Time;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

/// The longest line that is read, in bytes. A config map holds at most 1 MiB (Kubernetes 1.36); everything else is smaller.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a journal cannot be read.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The file system refuses.
    #[error("journal `{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
    /// A line is not an entry.
    #[error("{}:{line}: not a journal entry: {why}", path.display())]
    NotAnEntry {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Written in another format.
    #[error(
        "{}:{line}: the journal has version {found}, this program reads version {VERSION} (hint: replay it with the \
         `tandem-sim` of the release that wrote it)",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What the line says.
        found: Value,
    },
}

/// One line: where it stands, when it was written, and its event or action.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The file.
    pub path: Rc<Path>,
    /// Counted from 1.
    pub line: u64,
    /// On the clock of the process that wrote it.
    pub at: Time,
    body: Map<String, Value>,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<E, A> {
    /// Something happened.
    Event(E),
    /// Something was asked for.
    Action(A),
}

impl Raw {
    /// `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }

    /// Whether a process starts here.
    pub fn is_start(&self) -> bool {
        self.body.get("event").is_some_and(|tag| tag == "started")
    }

    /// Whether the entry has a field of this name.
    pub fn has(&self, field: &str) -> bool {
        self.body.contains_key(field)
    }

    /// The entry's event or action.
    ///
    /// # Errors
    /// [`FeedError::NotAnEntry`], with the field that is wrong.
    pub fn record<E: DeserializeOwned, A: DeserializeOwned>(self) -> Result<Record<E, A>, FeedError> {
        let is_event = self.body.contains_key("event");
        let kind = if is_event { "event" } else { "action" };
        let tag = self.body.get(kind).and_then(Value::as_str).unwrap_or("?");
        let what = format!("{kind} `{tag}`");
        let body = Value::Object(self.body);
        let read = if is_event {
            serde_json::from_value(body).map(Record::Event)
        } else {
            serde_json::from_value(body).map(Record::Action)
        };
        read.map_err(|error| FeedError::NotAnEntry {
            path: self.path.to_path_buf(),
            line: self.line,
            why: format!("{what}: {error}"),
        })
    }
}

/// The file that is being read.
type Open = (Rc<Path>, BufReader<File>);

/// The entries of files that follow each other.
#[derive(Debug)]
pub struct Feed {
    files: VecDeque<PathBuf>,
    open: Option<Open>,
    line: u64,
    cut: Vec<String>,
}

impl Feed {
    /// Reads these files, oldest first.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Feed { files: files.into_iter().collect(), open: None, line: 0, cut: Vec::new() }
    }

    /// Where a last line was left out because the process ended while it was writing; at most one per file.
    pub fn cut(&self) -> &[String] {
        &self.cut
    }

    /// The next entry, if there is one.
    ///
    /// # Errors
    /// See [`FeedError`]. An unfinished last line is no error: see [`Self::cut`].
    pub fn next_entry(&mut self) -> Result<Option<Raw>, FeedError> {
        let mut bytes = Vec::new();
        while let Some((path, reader)) = self.reader()? {
            let path = Rc::clone(path);
            bytes.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
            read.map_err(|error| unreadable(&path, error))?;
            if bytes.is_empty() {
                self.open = None;
                continue;
            }
            self.line += 1;
            if bytes.len() as u64 > LINE_BYTES_MAX {
                let why = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                return Err(self.not_an_entry(&path, why));
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match (self.entry(&path, &bytes), bytes.ends_with(b"\n")) {
                (Ok(entry), _) => return Ok(Some(entry)),
                (Err(FeedError::NotAnEntry { .. }), false) => {
                    self.cut.push(format!("{}:{}", path.display(), self.line));
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(None)
    }

    fn reader(&mut self) -> Result<Option<&mut Open>, FeedError> {
        if self.open.is_none() {
            let Some(next) = self.files.pop_front() else {
                return Ok(None);
            };
            let file = File::open(&next).map_err(|error| unreadable(&next, error))?;
            self.open = Some((Rc::from(next), BufReader::new(file)));
            self.line = 0;
        }
        Ok(self.open.as_mut())
    }

    fn not_an_entry(&self, path: &Path, why: impl Into<String>) -> FeedError {
        FeedError::NotAnEntry { path: path.to_path_buf(), line: self.line, why: why.into() }
    }

    fn entry(&self, path: &Rc<Path>, bytes: &[u8]) -> Result<Raw, FeedError> {
        let mut body: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or(&text);
            self.not_an_entry(path, format!("{text} at column {}", error.column()))
        })?;
        match body.remove("v") {
            Some(v) if v == VERSION => {}
            Some(found) => {
                return Err(FeedError::Version { path: path.to_path_buf(), line: self.line, found });
            }
            None => return Err(self.not_an_entry(path, "no version `v`")),
        }
        let at = body.remove("at").as_ref().and_then(Value::as_u64);
        let Some(at) = at else {
            return Err(self.not_an_entry(path, "no time `at` in nanoseconds"));
        };
        if body.contains_key("event") == body.contains_key("action") {
            return Err(self.not_an_entry(path, "expected either an `event` or an `action`"));
        }
        Ok(Raw { path: Rc::clone(path), line: self.line, at: Time::from_nanos(at), body })
    }
}

fn unreadable(path: &Path, error: io::Error) -> FeedError {
    FeedError::Unreadable { path: path.to_path_buf(), error }
}

/// The files of the ring to which a journal belongs, oldest first: `<name>.1.jsonl`, if it is there, then `<name>.jsonl`.
/// A directory stands for the plugin's journal in it.
pub fn ring(journal: &Path) -> Vec<PathBuf> {
    let current = if journal.is_dir() { journal.join("journal.jsonl") } else { journal.to_path_buf() };
    let older = current
        .file_name()
        .and_then(|name| name.to_str()?.strip_suffix(".jsonl"))
        .filter(|stem| !stem.ends_with(".1"))
        .map(|stem| current.with_file_name(format!("{stem}.1.jsonl")))
        .filter(|older| older.is_file());
    older.into_iter().chain([current]).collect()
}
