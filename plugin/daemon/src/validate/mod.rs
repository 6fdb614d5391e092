//! The `validate` subcommand: every problem of configuration files, and what each would do on a node, before a node meets it.

mod report;

use std::io::Write;
use std::path::{Path, PathBuf};

use plugin_core::board::{self, BoardError};
use plugin_core::config::{Overrides, Problem, Problems, Read, Severity, Strictness, read, read_compat};
use plugin_core::effect::{Effect, effect};
use plugin_core::inventory::Facts;
use plugin_core::migration::{self, Change};
use serde::Serialize;
use thiserror::Error;

use crate::files;
use crate::gpu::{FindError, GpuBackend};

/// Largest file in bytes.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The exit status when all files are fine.
const FINE: u8 = 0;
/// The exit status when a file has a problem.
const PROBLEMS: u8 = 1;
/// The exit status when a file cannot be read, or the node is not known.
const UNREADABLE: u8 = 2;

/// The GPUs on which the files are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// None: only the text is checked.
    Unknown,
    /// Boards by name, for example `8*tesla-t4`.
    Boards(String),
    /// Those of this machine.
    Live,
}

/// What to check, and how to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValidateSettings {
    /// The files.
    pub(crate) files: Vec<PathBuf>,
    /// On which GPUs.
    pub(crate) node: Node,
    /// Whether to tell what would change for a node that NVIDIA's plugin serves with the same file.
    pub(crate) against_nvidia: bool,
    /// As JSON instead of text.
    pub(crate) json: bool,
}

/// Why the GPUs are not known.
#[derive(Debug, Error)]
enum NodeError {
    #[error("--node: {0}")]
    Board(#[from] BoardError),
    #[error("--live: {0} (hint: run it on a GPU node, or name boards with --node)")]
    Live(#[from] FindError),
}

/// What was found about one file.
#[derive(Debug, Default, Serialize)]
struct Report {
    file: String,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    problems: Vec<Problem>,
    /// How many more problems there were.
    more_problems: usize,
    /// What it does on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Effect>,
    /// What changes for a node that NVIDIA's plugin serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

impl Report {
    fn code(&self) -> u8 {
        let wrong = self.problems.iter().any(|problem| problem.severity == Severity::Error);
        match (&self.unreadable, wrong) {
            (Some(_), _) => UNREADABLE,
            (None, true) => PROBLEMS,
            (None, false) => FINE,
        }
    }
}

/// Checks each file strictly and tells; the exit status is that of the worst.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn print(
    settings: &ValidateSettings,
    backend: &dyn GpuBackend,
    out: &mut impl Write,
) -> std::io::Result<u8> {
    let facts = match facts(&settings.node, backend) {
        Ok(facts) => facts,
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(UNREADABLE);
        }
    };
    let reports: Vec<Report> =
        settings.files.iter().map(|path| check(path, facts.as_ref(), settings.against_nvidia)).collect();
    if settings.json {
        serde_json::to_writer_pretty(&mut *out, &reports)?;
        writeln!(out)?;
    } else {
        for report in &reports {
            out.write_all(report::text(report, facts.as_ref()).as_bytes())?;
        }
    }
    Ok(reports.iter().map(Report::code).max().unwrap_or(FINE))
}

fn facts(node: &Node, backend: &dyn GpuBackend) -> Result<Option<Facts>, NodeError> {
    Ok(match node {
        Node::Unknown => None,
        Node::Boards(text) => Some(board::node(text)?),
        Node::Live => Some(backend.find()?),
    })
}

fn check(path: &Path, facts: Option<&Facts>, against_nvidia: bool) -> Report {
    let file = path.display().to_string();
    let text = match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => return unreadable(file, "does not exist".to_owned()),
        Err(e) => return unreadable(file, format!("cannot be read: {e}")),
    };
    let mut report = match read(&file, &text, Strictness::Strict) {
        Ok(read) => on_node(&read, facts),
        Err(Problems { list, more }) => Report { problems: list, more_problems: more, ..Report::default() },
    };
    if let Some(facts) = facts.filter(|_| against_nvidia) {
        report.changes = Some(changes(&file, &text, facts));
    }
    Report { file, ..report }
}

fn unreadable(file: String, why: String) -> Report {
    Report { file, unreadable: Some(why), ..Report::default() }
}

fn on_node(read: &Read, facts: Option<&Facts>) -> Report {
    let Some(facts) = facts else {
        let (problems, more_problems) = (read.warnings.clone(), read.more_warnings);
        return Report { problems, more_problems, ..Report::default() };
    };
    let mut effect = effect(read, &Overrides::default(), facts);
    let problems = std::mem::take(&mut effect.problems);
    Report { problems, more_problems: read.more_warnings, effect: Some(effect), ..Report::default() }
}

/// As `run` would read it, which is lenient, against NVIDIA's reading of the same text.
fn changes(file: &str, text: &str, facts: &Facts) -> Vec<Change> {
    let of = |read: Result<Read, Problems>| {
        read.map(|read| effect(&read, &Overrides::default(), facts)).unwrap_or_default()
    };
    let nvidia = of(read_compat(file, text, Strictness::Warn));
    migration::changes(&nvidia, &of(read(file, text, Strictness::Warn)))
}

#[cfg(test)]
mod tests;
