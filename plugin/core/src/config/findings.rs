//! Collects what is wrong while a file is read, so that reading never stops at the first problem.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::problem::{PROBLEMS_MAX, Position, Problem, Problems, Severity};
use super::tree::{Content, Node};

/// How much a file may deviate from the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// A deviation is an error: for `validate` and continuous integration.
    Strict,
    /// What NVIDIA's parser accepts is accepted, with a warning: for a node that must not lose its GPUs.
    #[default]
    Warn,
}

/// The problems of one file, and where its settings stand.
pub(super) struct Findings {
    file: String,
    strictness: Strictness,
    problems: Vec<Problem>,
    more: usize,
    any_error: bool,
    places: BTreeMap<String, Position>,
    objects: BTreeSet<String>,
}

impl Findings {
    /// Nothing found yet.
    pub(super) fn new(file: &str, strictness: Strictness, root: Option<&Node>) -> Self {
        let mut objects = BTreeSet::new();
        if let Some(root) = root {
            collect_objects(root, "", OBJECT_DEPTH, &mut objects);
        }
        Findings {
            file: file.to_owned(),
            strictness,
            problems: Vec::new(),
            more: 0,
            any_error: false,
            places: BTreeMap::new(),
            objects,
        }
    }

    /// Remembers where the value of a setting stands.
    pub(super) fn remember(&mut self, path: &str, at: Position) {
        self.places.insert(path.to_owned(), at);
    }

    /// Where a setting stands, or the nearest setting around it that the file has.
    pub(super) fn place(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(at) = self.places.get(path) {
                return *at;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.places.get("").copied().unwrap_or(Position::START),
            }
        }
    }

    /// The line of every setting.
    pub(super) fn lines(&self) -> BTreeMap<String, u32> {
        self.places.iter().map(|(path, at)| (path.clone(), at.line)).collect()
    }

    /// Whether the file has a mapping at this path (lists are not looked into).
    pub(super) fn has_object(&self, path: &str) -> bool {
        self.objects.contains(path)
    }

    /// The file cannot be used.
    pub(super) fn error(&mut self, at: Position, path: &str, message: String, hint: Option<String>) {
        self.push(Severity::Error, at, path, message, hint);
    }

    /// NVIDIA's parser lets this pass: an error when strict, a warning otherwise.
    pub(super) fn deviation(&mut self, at: Position, path: &str, message: String, hint: Option<String>) {
        let severity = match self.strictness {
            Strictness::Strict => Severity::Error,
            Strictness::Warn => Severity::Warning,
        };
        self.push(severity, at, path, message, hint);
    }

    /// Not wrong, but maybe not meant.
    pub(super) fn warning(&mut self, at: Position, path: &str, message: String, hint: Option<String>) {
        self.push(Severity::Warning, at, path, message, hint);
    }

    /// Whether a deviation would still be listed; if not, it is only counted and its text does not matter.
    pub(super) fn lists_deviations(&self) -> bool {
        let full = self.problems.len() >= PROBLEMS_MAX;
        !full || (self.strictness == Strictness::Strict && self.last_warning().is_some())
    }

    fn last_warning(&self) -> Option<usize> {
        self.problems.iter().rposition(|problem| problem.severity == Severity::Warning)
    }

    fn push(&mut self, severity: Severity, at: Position, path: &str, message: String, hint: Option<String>) {
        self.any_error |= severity == Severity::Error;
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += 1;
            // An error must be seen: it takes the place of a warning.
            match self.last_warning().filter(|_| severity == Severity::Error) {
                Some(index) => drop(self.problems.remove(index)),
                None => return,
            }
        }
        self.problems.push(Problem {
            severity,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
            hint,
        });
    }

    /// The warnings and how many were left out, or everything when at least one is an error; in the file's order.
    pub(super) fn finish(mut self) -> Result<(Vec<Problem>, usize), Problems> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.any_error {
            return Err(Problems { list: self.problems, more: self.more });
        }
        Ok((self.problems, self.more))
    }
}

/// No object that a key can belong to is deeper than `sharing.mps`.
const OBJECT_DEPTH: usize = 2;

fn collect_objects(node: &Node, path: &str, depth: usize, objects: &mut BTreeSet<String>) {
    let Content::Map(entries) = &node.content else {
        return;
    };
    objects.insert(path.to_owned());
    if depth > 0 {
        for entry in entries {
            collect_objects(&entry.value, &join(path, &entry.key), depth - 1, objects);
        }
    }
}

/// The path of a key in an object.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
