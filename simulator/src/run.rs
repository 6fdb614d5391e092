//! One run from start to report, because building, starting, playing and cleaning up have one order on every stage.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::on::cluster::{ClusterSettings, ClusterStage};
use crate::on::model::{ModelOptions, ModelStage};
use crate::on::wire::{Binaries, WireStage};
use crate::on::{Stage, StageError};
use crate::play::{Observer, Played, Stop, asked, play};
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
    /// When journals and reports are left on disk.
    pub leave: Leave,
}

/// When a run on the model stage leaves journals and reports on disk; one on the wire stage always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Always.
    Always,
    /// Only when it failed.
    WhenFailed,
}

/// Where to run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'b> {
    /// The model stage.
    Model,
    /// The wire stage, with these build products.
    Wire(&'b Binaries),
    /// The cluster stage, on this cluster.
    Cluster(&'b ClusterSettings),
    /// The wire stage, where the plugin is started by the DaemonSets among these objects and those applied later.
    Deployed(&'b Binaries, &'b [Value]),
}

impl Place<'_> {
    /// The stage's name.
    pub fn stage(self) -> StageName {
        match self {
            Place::Model => StageName::Model,
            Place::Wire(_) | Place::Deployed(..) => StageName::Wire,
            Place::Cluster(_) => StageName::Cluster,
        }
    }
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

/// Plays a scenario. When `hold` is given, it is called after the last step on the wire stage and the cluster stays open
/// until somebody asks to stop.
///
/// # Errors
/// The stage could not be started; whatever was started is stopped again.
pub async fn run(
    scenario: &Scenario,
    place: Place<'_>,
    options: &RunOptions,
    observer: &mut impl Observer,
    stop: Stop,
    hold: Option<&dyn Fn(&Held)>,
) -> Result<RunReport, StageError> {
    match place {
        // boxed, because the compiler bounds how deep futures may nest in one another
        Place::Model => Box::pin(on_model(scenario, options, observer, stop)).await,
        Place::Cluster(settings) => Box::pin(on_cluster(scenario, settings, options, observer, stop)).await,
        Place::Wire(binaries) => {
            Box::pin(on_wire(scenario, (binaries, None), options, observer, stop, hold)).await
        }
        Place::Deployed(binaries, manifests) => {
            Box::pin(on_wire(scenario, (binaries, Some(manifests)), options, observer, stop, hold)).await
        }
    }
}

async fn on_model(
    scenario: &Scenario,
    options: &RunOptions,
    observer: &mut impl Observer,
    stop: Stop,
) -> Result<RunReport, StageError> {
    let begun = Instant::now();
    let how = ModelOptions { seed: options.seed, journals: true, invariants: true };
    let mut stage = ModelStage::start(scenario, how)?;
    let mut played = play(scenario, &mut stage, observer, stop).await;
    let leaks = stage.finish().await;
    let recorder = std::mem::take(&mut played.recorder);
    let mut report = report(scenario, StageName::Model, options, played, leaks);
    report.took = begun.elapsed();
    if options.leave == Leave::Always || !report.passed() {
        report.run_dir = directory(scenario, options)?;
        stage.write_journals(&report.run_dir)?;
        write(&report, &html::render(&recorder.of_run(&report, None)))?;
    }
    Ok(report)
}

async fn on_wire(
    scenario: &Scenario,
    (binaries, manifests): (&Binaries, Option<&[Value]>),
    options: &RunOptions,
    observer: &mut impl Observer,
    stop: Stop,
    hold: Option<&dyn Fn(&Held)>,
) -> Result<RunReport, StageError> {
    let run_dir = directory(scenario, options)?;
    let begun = Instant::now();
    let mut stage = WireStage::start(scenario, binaries, options, &run_dir, manifests).await?;
    let mut played = play(scenario, &mut stage, observer, stop.clone()).await;
    let took = begun.elapsed();
    if let Some(tell) = hold
        && !played.interrupted
    {
        let passed = played.steps.iter().all(|step| step.outcome.is_fine());
        let nodes = scenario.nodes.iter().map(|node| node.name.clone()).collect();
        tell(&Held { kubeconfig: stage.kubeconfig(), nodes, passed });
        asked(&mut stop.clone()).await;
    }
    stage.examine().await;
    let leaks = stage.finish().await;
    let recorder = std::mem::take(&mut played.recorder);
    let mut report = report(scenario, StageName::Wire, options, played, leaks);
    report.took = took;
    report.run_dir = run_dir;
    if !report.passed() {
        report.logs = stage.log_ends(LOG_LINES_SHOWN);
    }
    write(&report, &html::render(&recorder.of_run(&report, None)))?;
    Ok(report)
}

async fn on_cluster(
    scenario: &Scenario,
    settings: &ClusterSettings,
    options: &RunOptions,
    observer: &mut impl Observer,
    stop: Stop,
) -> Result<RunReport, StageError> {
    let begun = Instant::now();
    let mut stage = ClusterStage::start(scenario, settings, options.seed).await?;
    let run_dir = directory(scenario, options)?;
    let mut played = play(scenario, &mut stage, observer, stop).await;
    let took = begun.elapsed();
    // before anything is given back: a pod that is replaced takes its log along
    let logs = stage.leave_logs(&run_dir).await;
    let mut leaks = stage.finish().await;
    leaks.extend(logs.err().map(|error| error.to_string()));
    let recorder = std::mem::take(&mut played.recorder);
    let mut report = report(scenario, StageName::Cluster, options, played, leaks);
    report.took = took;
    report.run_dir = run_dir;
    write(&report, &html::render(&recorder.of_run(&report, None)))?;
    Ok(report)
}

fn report(
    scenario: &Scenario,
    stage: StageName,
    options: &RunOptions,
    played: Played,
    leaks: Vec<String>,
) -> RunReport {
    RunReport {
        scenario: scenario.title(),
        file: scenario.file.clone(),
        story: scenario.story.clone(),
        stage: stage.to_string(),
        seed: options.seed,
        timers_scaled: scenario.scaled(),
        steps: played.steps,
        leaks,
        world: played.world,
        recorded: played.recorded,
        run_dir: PathBuf::new(),
        logs: Vec::new(),
        took: std::time::Duration::ZERO,
        interrupted: played.interrupted,
    }
}

fn directory(scenario: &Scenario, options: &RunOptions) -> Result<PathBuf, StageError> {
    let name = match &scenario.variant {
        Some(variant) => format!("{}-{variant}", scenario.name),
        None => scenario.name.clone(),
    };
    run_dir::create(&options.runs_root, &name).map_err(|error| StageError::File {
        what: "create a run directory in",
        path: options.runs_root.clone(),
        error,
    })
}

/// Leaves the reports in the run's directory.
fn write(report: &RunReport, html: &str) -> Result<(), StageError> {
    let file = |name: &str, text: &str| {
        let path: &Path = &report.run_dir.join(name);
        std::fs::write(path, text).map_err(|error| StageError::File {
            what: "write",
            path: path.to_owned(),
            error,
        })
    };
    file("report.html", html)?;
    file("report.json", &format!("{:#}\n", json::run(report)))
}
