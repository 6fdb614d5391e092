//! What a run left on disk, read as far as it goes, because an interrupted run has no report and a node may have no journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::history::History;
use super::replayed::history;
use crate::run_dir;

/// The most nodes whose journals are read.
const NODES_MAX: usize = 1_000;

/// Why a run cannot be told.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no such directory.
    #[error("no run `{run}`: neither a directory nor a run in `{}` (hint: {hint})", root.display())]
    NotFound {
        /// What was asked for.
        run: String,
        /// Where runs are kept.
        root: PathBuf,
        /// What to try.
        hint: String,
    },
    /// It has neither report nor journals.
    #[error("`{}` is no run: it holds neither a `report.json` nor a node with a journal", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("run `{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the file system says.
        error: std::io::Error,
    },
}

/// A run.
#[derive(Debug, Default)]
pub struct Run {
    /// What the report says; empty when there is none.
    pub report: Report,
    /// What the nodes' journals say, by node.
    pub nodes: BTreeMap<String, History>,
    /// What is missing, one sentence each.
    pub gaps: Vec<String>,
}

/// The parts of `report.json` that explanations use; whatever it does not have is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Its verdict.
    pub passed: bool,
    /// The last world.
    pub world: LastWorld,
}

/// The last world of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LastWorld {
    /// By name.
    pub pods: BTreeMap<String, Pod>,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
}

/// A node in the last world.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Allocatable resources.
    pub allocatable: BTreeMap<String, serde_json::Value>,
}

/// A pod in the last world.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `Pending`, `Running`, …
    pub phase: String,
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// Extended resources asked for.
    pub resources: BTreeMap<String, u64>,
    /// Resource → device ids.
    pub ids: BTreeMap<String, Vec<String>>,
    /// The `PodScheduled` condition.
    pub scheduled: Option<Condition>,
}

/// A condition of a pod.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `True` or `False`.
    pub status: String,
    /// Why.
    pub message: String,
}

/// The directory of a run: a path, a run's name below `root`, or `last`.
///
/// # Errors
/// [`RunError::NotFound`], with the nearest name.
pub fn find(run: &str, root: &Path) -> Result<PathBuf, RunError> {
    let known = runs(root);
    if run == "last" {
        let newest = known.iter().max_by_key(|(_, changed)| *changed);
        return newest.map(|(name, _)| root.join(name)).ok_or(RunError::NotFound {
            run: run.to_owned(),
            root: root.to_path_buf(),
            hint: "play a scenario first: `cargo sim run FILE`".to_owned(),
        });
    }
    for path in [PathBuf::from(run), root.join(run)] {
        if path.is_dir() {
            return Ok(path);
        }
    }
    let near = crate::scenario::problem::nearest(run, known.iter().map(|(name, _)| name.as_str()));
    let hint = near.map_or("`last` is the newest".to_owned(), |name| format!("did you mean `{name}`?"));
    Err(RunError::NotFound { run: run.to_owned(), root: root.to_path_buf(), hint })
}

fn runs(root: &Path) -> Vec<(String, std::time::SystemTime)> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let changed = entry.metadata().and_then(|data| data.modified()).ok()?;
            Some((entry.file_name().into_string().ok()?, changed))
        })
        .collect()
}

/// Where runs are kept unless told otherwise.
pub fn default_root() -> PathBuf {
    run_dir::default_root(crate::on::wire::binaries::workspace().ok().as_deref())
}

impl Run {
    /// Reads all that is there.
    ///
    /// # Errors
    /// [`RunError::NotARun`], [`RunError::Unreadable`].
    pub fn read(path: &Path) -> Result<Run, RunError> {
        let mut run = Run::default();
        let file = path.join("report.json");
        match std::fs::read_to_string(&file) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(report) => run.report = report,
                Err(error) => run.gaps.push(format!("`{}` is no report: {error}", file.display())),
            },
            Err(error) => run.gaps.push(format!(
                "no report (`{}`: {error}): pods that no journal names are not known",
                file.display()
            )),
        }
        let told = run.gaps.is_empty();
        let unreadable = |error| RunError::Unreadable { path: path.to_path_buf(), error };
        let mut directories: Vec<PathBuf> = std::fs::read_dir(path)
            .map_err(unreadable)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|entry| entry.is_dir())
            .collect();
        directories.sort();
        for directory in directories.into_iter().take(NODES_MAX) {
            run.read_node(&directory);
        }
        if !told && run.nodes.is_empty() {
            return Err(RunError::NotARun { path: path.to_path_buf() });
        }
        Ok(run)
    }

    fn read_node(&mut self, directory: &Path) {
        let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
        let (Some(name), journal) = (name, directory.join("journal")) else {
            return;
        };
        if !journal.join("journal.jsonl").is_file() {
            self.gaps.push(format!("node {name} has no journal"));
            return;
        }
        let history = history(&journal);
        self.gaps.extend(history.gaps.iter().map(|gap| format!("node {name}: {gap}")));
        self.nodes.insert(name, history);
    }
}
