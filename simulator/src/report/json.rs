//! A run as JSON, because other programs want the facts without reading a terminal.

use serde_json::{Value, json};

use super::RunReport;

/// The version of the report's shape.
pub const VERSION: u32 = 1;

/// Every run, its steps and its last world.
pub fn render(runs: &[RunReport]) -> Value {
    json!({
        "version": VERSION,
        "passed": runs.iter().all(RunReport::passed),
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}

/// One run.
pub fn run(report: &RunReport) -> Value {
    json!({
        "scenario": report.scenario,
        "file": report.file,
        "stage": report.stage,
        "seed": report.seed,
        "timersScaled": report.timers_scaled,
        "passed": report.passed(),
        "interrupted": report.interrupted,
        "seconds": report.took.as_secs_f64(),
        "runDirectory": report.run_dir,
        "leaks": report.leaks,
        "steps": report.steps.iter().map(|step| json!({
            "number": step.index + 1,
            "text": step.text,
            "outcome": step.outcome.word(),
            "details": step.outcome.details(),
            "seconds": step.took.as_secs_f64(),
        })).collect::<Vec<_>>(),
        "world": report.world.to_json(),
    })
}
