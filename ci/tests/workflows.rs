//! What the workflows of `.github/` call must exist: a step that was renamed would otherwise be missed only when it runs.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot read the repository has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use ci::steps::Step;
use clap::Subcommand;

/// The command line of one step.
const CALL: &str = "cargo ci ";

fn workflows() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ci/ has a parent");
    let directory = root.join(".github/workflows");
    let entries = fs::read_dir(directory).expect("there are workflows");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a file is text"))).collect()
}

/// Every `run:` of a workflow.
fn calls(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("run: "))
        .map(str::to_owned)
        .collect()
}

/// Whether `cargo ci` has this command line.
fn is_step(words: &str) -> bool {
    let command = Step::augment_subcommands(clap::Command::new("ci").subcommand_required(true));
    command.try_get_matches_from(format!("ci {words}").split(' ')).is_ok()
}

#[test]
fn every_job_is_steps_that_exist() {
    let mut seen = 0;
    for (path, text) in workflows() {
        for call in calls(&text) {
            let step = call.strip_prefix(CALL);
            let step =
                step.unwrap_or_else(|| panic!("{}: `{call}` is no step of `cargo ci`", path.display()));
            assert!(is_step(step), "{}: `cargo ci {step}` does not exist", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} steps are called");
}

#[test]
fn every_job_ends_by_itself() {
    for (path, text) in workflows() {
        let (jobs, bounds) = (text.matches("runs-on:").count(), text.matches("timeout-minutes:").count());
        assert!(jobs > 0 && jobs == bounds, "{}: {jobs} jobs, {bounds} with a bound", path.display());
    }
}

#[test]
fn a_step_that_is_none_is_refused() {
    assert!(is_step("lint") && is_step("image --out target/x"));
    assert!(!is_step("lints") && !is_step("image --in x") && !is_step(""));
}
