//! A rule that no test holds is forgotten within a month; this is the repository's rules as functions over its text.
//!
//! Each function takes text (or the [`tree::Tree`]) and returns [`Finding`]s. None of them writes, and none of them
//! knows where the repository is.

pub mod arrows;
pub mod code;
pub mod documents;
pub mod manifests;
pub mod names;
pub mod purity;
pub mod size;
pub mod tree;
pub mod words;

use std::fmt;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Line, counted from 1; 0 when the finding concerns the file as a whole.
    pub line: usize,
    /// What is wrong, in words that can stand after `path:line: `.
    pub what: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn at(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }

    /// A finding about a whole file.
    pub fn file(path: &str, what: impl Into<String>) -> Self {
        Self::at(path, 0, what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Finding;

    #[test]
    fn a_finding_reads_like_a_compiler_message() {
        assert_eq!(Finding::at("a/b.rs", 7, "too long").to_string(), "a/b.rs:7: too long");
        assert_eq!(Finding::file("a/b.rs", "too long").to_string(), "a/b.rs: too long");
    }
}
