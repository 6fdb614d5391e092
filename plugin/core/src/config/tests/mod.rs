//! What a file means and what is said about it, row by row of the field list of k8s-device-plugin v0.20.

use super::*;

mod bad_input;
mod check;
mod compat;
mod extensions;
mod fields;
mod lenience;
mod places;
mod properties;
mod refusals;
mod select;
mod settings;
mod sharing;
mod values;

/// Reads a file in which nothing is wrong.
fn config(text: &str) -> Config {
    let read = read("config.yaml", text, Strictness::Strict).unwrap_or_else(|p| panic!("{p}\n---\n{text}"));
    assert_eq!(read.warnings, [], "{text}");
    read.config
}

/// Every problem that a strict read finds, as `line:column: message (hint: …)`.
fn strict(text: &str) -> Vec<String> {
    match read("f", text, Strictness::Strict) {
        Ok(read) => lines(&read.warnings),
        Err(problems) => lines(&problems.list),
    }
}

/// The config and the warnings of a lenient read.
fn lenient(text: &str) -> (Config, Vec<String>) {
    let read = read("f", text, Strictness::Warn).unwrap_or_else(|p| panic!("{p}\n---\n{text}"));
    assert!(read.warnings.iter().all(|problem| problem.severity == Severity::Warning), "{text}");
    (read.config, lines(&read.warnings))
}

/// Every problem of a file that even a lenient read refuses.
fn refused(text: &str) -> Vec<String> {
    match read("f", text, Strictness::Warn) {
        Ok(read) => panic!("accepted as {:?}\n---\n{text}", read.config),
        Err(problems) => {
            assert!(problems.list.iter().any(|problem| problem.severity == Severity::Error));
            lines(&problems.list)
        }
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| problem.to_string().trim_start_matches("f:").to_owned()).collect()
}

/// A file with one shared resource whose entry is given.
fn mps_entry(entry: &str) -> String {
    format!("sharing:\n  mps:\n    resources:\n    - {entry}\n")
}
