//! Problems of a file, each with its place, because an operator fixes all of them at once or not at all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most problems that one read reports. Further ones are counted only.
pub const PROBLEMS_MAX: usize = 100;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Line, counted from 1.
    pub(super) line: u32,
    /// Column in characters, counted from 1.
    pub(super) column: u32,
}

impl Position {
    /// The first character of the file.
    pub(super) const START: Position = Position { line: 1, column: 1 };

    /// Line and column, both counted from 1.
    pub(super) fn new(line: usize, column: usize) -> Self {
        let clip = |value: usize| u32::try_from(value.max(1)).unwrap_or(u32::MAX);
        Position { line: clip(line), column: clip(column) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What a problem means for the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file is used; the named part is ignored or read as the message says.
    Warning,
}

/// One thing that is wrong in a file. Displayed as `file:line:column: message (hint: …)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// The setting, for example `sharing.mps.resources[0].replicas`; empty for the file as a whole.
    pub path: String,
    /// What is wrong: names the object, ends with the value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// Every problem of a file that cannot be used, in the file's order; at least one is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// At most [`PROBLEMS_MAX`].
    pub list: Vec<Problem>,
    /// How many more there were.
    pub more: usize,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.list.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}
