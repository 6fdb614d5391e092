//! The pattern language itself, because what an `expect` block may say is one closed list.

use std::fmt;

use serde_json::Value;

use crate::scenario::problem::Place;

/// A pattern and the place in the file where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Where the pattern stands in the scenario file.
    pub place: Place,
    /// What it demands.
    pub kind: PatternKind,
}

/// What a pattern demands of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum PatternKind {
    /// The value equals this scalar, type included. Text may hold `${path}` (from the root of the world) and
    /// `${.path}` (from the enclosing node or pod).
    Equals(Value),
    /// The value is a mapping that has at least these keys. A key with `*` stands for every key that it
    /// matches, at least one.
    Has(Vec<(String, Pattern)>),
    /// The value is a list of exactly these items in this order.
    Items(Vec<Pattern>),
    /// All operators hold.
    Ops(Vec<Op>),
}

/// An operator: a mapping key that is a verb rather than a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `absent: true`: nothing is there; `absent: false`: something is there.
    Absent(bool),
    /// `contains: text`: a text that contains this one; or a list with an item that matches.
    Contains(Box<Pattern>),
    /// `containsOnce: text`: the number of occurrences in a text, or of items holding it in a list, is one.
    ContainsOnce(String),
    /// `matches: glob`: a text that the glob (`*`, `?`) covers entirely.
    Matches(String),
    /// `atLeast: n`.
    AtLeast(i64),
    /// `atMost: n`.
    AtMost(i64),
    /// `size: pattern`: the number of entries of a list or mapping.
    Size(Box<Pattern>),
    /// `each: pattern`: every entry of a list or mapping matches, and there is one at least.
    Each(Box<Pattern>),
    /// `exactly: {..}`: a mapping with these keys and no others.
    Exactly(Vec<(String, Pattern)>),
    /// `sameAs: path` / `differentFrom: path`: equal (or not) to the value at another path of the world.
    SameAs {
        /// The other path.
        path: String,
        /// True for `differentFrom`.
        negated: bool,
    },
    /// `unchangedSince: step` / `changedSince: step`: equal (or not) to what stood at this path when the named
    /// `expect` step became true.
    UnchangedSince {
        /// The step's name.
        step: String,
        /// True for `changedSince`.
        negated: bool,
    },
}

/// The keys that are operators.
pub const OPERATORS: &[&str] = &[
    "absent",
    "contains",
    "containsOnce",
    "matches",
    "atLeast",
    "atMost",
    "size",
    "each",
    "exactly",
    "sameAs",
    "differentFrom",
    "unchangedSince",
    "changedSince",
];

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PatternKind::Equals(value) => write!(f, "{value}"),
            PatternKind::Has(entries) => write_entries(f, entries),
            PatternKind::Items(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            PatternKind::Ops(ops) => {
                for (index, op) in ops.iter().enumerate() {
                    write!(f, "{}{op}", if index > 0 { " and " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

fn write_entries(f: &mut fmt::Formatter<'_>, entries: &[(String, Pattern)]) -> fmt::Result {
    f.write_str("{")?;
    for (index, (key, pattern)) in entries.iter().enumerate() {
        write!(f, "{}{key}: {pattern}", if index > 0 { ", " } else { "" })?;
    }
    f.write_str("}")
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Absent(true) => f.write_str("nothing"),
            Op::Absent(false) => f.write_str("something"),
            Op::Contains(pattern) => write!(f, "contains {pattern}"),
            Op::ContainsOnce(text) => write!(f, "contains {text:?} exactly once"),
            Op::Matches(glob) => write!(f, "matches {glob:?}"),
            Op::AtLeast(n) => write!(f, "at least {n}"),
            Op::AtMost(n) => write!(f, "at most {n}"),
            Op::Size(pattern) => write!(f, "size {pattern}"),
            Op::Each(pattern) => write!(f, "each {pattern}"),
            Op::Exactly(entries) => {
                f.write_str("exactly ")?;
                write_entries(f, entries)
            }
            Op::SameAs { path, negated: false } => write!(f, "the same as `{path}`"),
            Op::SameAs { path, negated: true } => write!(f, "different from `{path}`"),
            Op::UnchangedSince { step, negated: false } => write!(f, "unchanged since `{step}`"),
            Op::UnchangedSince { step, negated: true } => write!(f, "changed since `{step}`"),
        }
    }
}
