//! What a check says, and how it is printed.

use std::fmt::Write as _;

use serde::Serialize;

/// How a check ended, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As it must be.
    Ok,
    /// It could not be looked at; the text says why.
    Skipped,
    /// It will hurt under circumstances.
    Warning,
    /// Something does not work.
    Failed,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The check's name.
    pub(super) check: &'static str,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Finding {
    /// As it must be.
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Finding { check, outcome: Outcome::Ok, found: found.into(), fix: None }
    }

    /// Not looked at.
    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Finding { check, outcome: Outcome::Skipped, found: why.into(), fix: None }
    }

    /// It will hurt under circumstances.
    pub(super) fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { check, outcome: Outcome::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    /// Something does not work.
    pub(super) fn failed(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { check, outcome: Outcome::Failed, found: found.into(), fix: Some(fix.into()) }
    }
}

/// 0 all is well or was skipped, 1 warnings, 2 something failed.
pub(super) fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|f| f.outcome).max() {
        None | Some(Outcome::Ok | Outcome::Skipped) => 0,
        Some(Outcome::Warning) => 1,
        Some(Outcome::Failed) => 2,
    }
}

/// One paragraph per check.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let word = match finding.outcome {
            Outcome::Ok => "ok",
            Outcome::Skipped => "skipped",
            Outcome::Warning => "WARNING",
            Outcome::Failed => "FAILED",
        };
        // writing to a String cannot fail
        let _ = writeln!(out, "{word:<8} {:<18} {}", finding.check, finding.found);
        if let Some(fix) = &finding.fix {
            let _ = writeln!(out, "{:<8} {:<18} fix: {fix}", "", "");
        }
    }
    out
}
