//! `tandem-sim explain`: why did this pod get that device, or none? The answer is in a run's report and its nodes'
//! journals, and nobody should have to read those.
//!
//! | module | what it holds |
//! |---|---|
//! | [`run`] | what a run left on disk, and what is missing of it |
//! | [`history`], [`replayed`] | one node's journal, played again, as moments |
//! | [`pod`], [`choice`], [`gpu`] | the sentences |

pub mod choice;
pub mod gpu;
pub mod history;
pub mod pod;
pub mod replayed;
pub mod run;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::{EXIT_BAD_INPUT, EXIT_PASSED};
use crate::scenario::problem::nearest;
use run::{Run, RunError, default_root, find};

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A run's directory, its name such as `mixed-cluster-3`, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// A pod's name; without it, every pod in a line and the life of every GPU.
    #[arg(value_name = "POD")]
    pub pod: Option<String>,
    /// Where runs are kept [default: tandem/runs in Cargo's target directory].
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
}

/// Runs the subcommand; returns the exit code: 0 told, 2 no such run or pod.
pub fn explain_command(args: &ExplainArgs) -> u8 {
    match explain(args) {
        Ok(text) => {
            // a reader that has seen enough closes the pipe
            let _closed = io::stdout().write_all(text.as_bytes());
            EXIT_PASSED
        }
        Err(error) => {
            eprintln!("tandem-sim: {error}");
            EXIT_BAD_INPUT
        }
    }
}

/// Why a run cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The pod.
    #[error("no pod `{pod}` in this run (hint: {hint})")]
    NoPod {
        /// What was asked for.
        pod: String,
        /// The nearest name, or all of them.
        hint: String,
    },
}

/// The explanation as text.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain(args: &ExplainArgs) -> Result<String, ExplainError> {
    let root = args.runs_dir.clone().unwrap_or_else(default_root);
    let path = find(&args.run, &root)?;
    let run = Run::read(&path)?;
    let mut lines = match &args.pod {
        Some(name) => {
            let name = known(&run, name)?;
            let mut lines = pod::explain(&run, name);
            lines.push(String::new());
            lines
        }
        None => overview(&run),
    };
    lines.extend(run.gaps.iter().map(|gap| format!("not told: {gap}")));
    lines.push("times are those of each node's plugin, from its start".to_owned());
    Ok(lines.join("\n") + "\n")
}

fn pods(run: &Run) -> BTreeSet<&str> {
    let listed = run.nodes.values().flat_map(history::History::pods);
    run.report.world.pods.keys().map(String::as_str).chain(listed).collect()
}

/// The pod's name: with or without its namespace.
fn known<'a>(run: &'a Run, wanted: &str) -> Result<&'a str, ExplainError> {
    let pods = pods(run);
    let bare = wanted.rsplit('/').next().unwrap_or(wanted);
    if let Some(name) = pods.get(bare) {
        return Ok(name);
    }
    let hint = match nearest(bare, pods.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if pods.is_empty() => "it has no pods at all".to_owned(),
        None => "without a pod, `explain` lists all".to_owned(),
    };
    let pod = wanted.to_owned();
    Err(ExplainError::NoPod { pod, hint })
}

fn overview(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    if !run.report.scenario.is_empty() {
        let verdict = if run.report.passed { "passed" } else { "did not pass" };
        lines.extend([format!("{} {verdict}", run.report.scenario), String::new()]);
    }
    lines.extend(pods(run).iter().map(|name| pod::line(run, name)));
    lines.push(String::new());
    for (node, history) in &run.nodes {
        lines.extend(gpu::lives(node, history));
        lines.push(String::new());
    }
    lines
}

#[cfg(test)]
mod tests;
