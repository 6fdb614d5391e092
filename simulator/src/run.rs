//! One run from start to report, because building, starting, playing and cleaning up have one order.

use std::path::PathBuf;
use std::time::Instant;

use crate::on::wire::{Binaries, WireStage};
use crate::on::{Stage, StageError};
use crate::play::{Observer, Stop, asked, play};
use crate::report::{RunReport, html, json};
use crate::run_dir;
use crate::scenario::{Scenario, StageName};

/// How many lines of each log are shown when a run failed.
const LOG_LINES_SHOWN: usize = 15;

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Seed of everything random in the simulated cluster.
    pub seed: u64,
    /// Where runs are kept.
    pub runs_root: PathBuf,
    /// Keep the temporary directory too.
    pub keep: bool,
}

/// What is open while a run is held.
#[derive(Debug, Clone)]
pub struct Held {
    /// The kubeconfig file of the simulated API server.
    pub kubeconfig: PathBuf,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// Whether every step so far passed.
    pub passed: bool,
}

/// Plays a scenario on the wire stage. When `hold` is given, it is called after the last step and the cluster stays
/// open until somebody asks to stop.
///
/// # Errors
/// The stage could not be started; whatever was started is stopped again.
pub async fn run(
    scenario: &Scenario,
    binaries: &Binaries,
    options: &RunOptions,
    observer: &mut impl Observer,
    stop: Stop,
    hold: Option<&dyn Fn(&Held)>,
) -> Result<RunReport, StageError> {
    let file_error = |what, path: &PathBuf| {
        let path = path.clone();
        move |error| StageError::File { what, path, error }
    };
    let run_dir = run_dir::create(&options.runs_root, &scenario.name)
        .map_err(file_error("create a run directory in", &options.runs_root))?;
    let begun = Instant::now();
    let mut stage = WireStage::start(scenario, binaries, options, &run_dir).await?;
    let played = play(scenario, &mut stage, observer, stop.clone()).await;
    let took = begun.elapsed();
    if let Some(tell) = hold
        && !played.interrupted
    {
        let passed = played.steps.iter().all(|step| step.outcome.is_fine());
        let nodes = scenario.nodes.iter().map(|node| node.name.clone()).collect();
        tell(&Held {
            kubeconfig: stage.kubeconfig(),
            nodes,
            passed,
        });
        asked(&mut stop.clone()).await;
    }
    let leaks = stage.finish().await;
    let mut report = RunReport {
        scenario: scenario.name.clone(),
        file: scenario.file.clone(),
        story: scenario.story.clone(),
        stage: StageName::Wire.to_string(),
        seed: options.seed,
        timers_scaled: scenario.scaled(),
        steps: played.steps,
        leaks,
        world: played.world,
        recorded: played.recorded,
        run_dir: run_dir.clone(),
        logs: Vec::new(),
        took,
        interrupted: played.interrupted,
    };
    if !report.passed() {
        report.logs = stage.log_ends(LOG_LINES_SHOWN);
    }
    let timeline = played.recorder.of_run(&report, None);
    let path = run_dir.join("report.html");
    std::fs::write(&path, html::render(&timeline)).map_err(file_error("write", &path))?;
    let path = run_dir.join("report.json");
    let text = format!("{:#}\n", json::run(&report));
    std::fs::write(&path, text).map_err(file_error("write", &path))?;
    Ok(report)
}
