//! Where every setting of a file stands, kept after reading, so that what only a node can find wrong has its place too.

use std::collections::BTreeMap;

use super::findings::Strictness;
use super::problem::{Position, Problem, Severity};

/// A file's name, the places of its settings, and how strictly it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub(super) file: String,
    pub(super) strictness: Strictness,
    pub(super) at: BTreeMap<String, Position>,
}

impl Places {
    /// The line of a setting that the file has, counted from 1.
    pub fn line(&self, path: &str) -> Option<u32> {
        self.at.get(path).map(|at| at.line)
    }

    /// Where a setting stands, or the nearest setting around it that the file has: `line:column`.
    pub(crate) fn of(&self, path: &str) -> String {
        place(&self.at, path).to_string()
    }

    /// The config cannot hold on this node.
    pub(crate) fn error(&self, path: &str, message: String, hint: Option<String>) -> Problem {
        self.problem(Severity::Error, path, message, hint)
    }

    /// It can hold without the named part: an error when read strictly, a warning otherwise.
    pub(crate) fn deviation(&self, path: &str, message: String, hint: Option<String>) -> Problem {
        let severity = match self.strictness {
            Strictness::Strict => Severity::Error,
            Strictness::Warn => Severity::Warning,
        };
        self.problem(severity, path, message, hint)
    }

    /// Not wrong, but maybe not meant.
    pub(crate) fn warning(&self, path: &str, message: String, hint: Option<String>) -> Problem {
        self.problem(Severity::Warning, path, message, hint)
    }

    fn problem(&self, severity: Severity, path: &str, message: String, hint: Option<String>) -> Problem {
        let Position { line, column } = place(&self.at, path);
        Problem { severity, file: self.file.clone(), line, column, path: path.to_owned(), message, hint }
    }
}

/// Where a setting stands, or the nearest setting around it.
pub(super) fn place(places: &BTreeMap<String, Position>, path: &str) -> Position {
    let mut path = path;
    loop {
        if let Some(at) = places.get(path) {
            return *at;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return places.get("").copied().unwrap_or(Position::START),
        }
    }
}
