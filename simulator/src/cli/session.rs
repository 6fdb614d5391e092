//! Plays what the command line asks for: every chosen scenario on every stage with every seed, told as it goes.

use std::path::PathBuf;

use serde_json::Value;

use super::{Common, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_PASSED, complain, read_all};
use crate::manifests::{label_every_node, read_manifests};
use crate::on::StageError;
use crate::on::cluster::ClusterSettings;
use crate::on::wire::{Binaries, binaries};
use crate::play::Stop;
use crate::report::terminal::{Channel, Terminal};
use crate::report::{RunReport, json, junit};
use crate::run::{Held, Leave, Place, RunOptions, run};
use crate::run_dir;
use crate::scenario::{Choice, Scenario, StageName};
use crate::signals::Signals;

/// Where reports go.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) json: Option<PathBuf>,
    pub(super) junit: Option<PathBuf>,
}

pub(super) struct Session {
    channel: Channel,
    options: RunOptions,
    choice: Choice,
    seeds: u64,
    hold: bool,
    cluster: Option<ClusterSettings>,
    /// Whether DaemonSets start the plugin, and the directory of the first ones.
    deploy: Option<Option<PathBuf>>,
}

impl Session {
    pub(super) fn new(channel: Channel, common: &Common, hold: bool) -> Self {
        let workspace = binaries::workspace().ok();
        let runs_root =
            common.runs_dir.clone().unwrap_or_else(|| run_dir::default_root(workspace.as_deref()));
        Session {
            channel,
            options: RunOptions { seed: common.seed, keep: common.keep, runs_root, leave: Leave::Always },
            choice: Choice { variant: common.variant.clone(), label: common.label.clone() },
            seeds: 1,
            hold,
            cluster: None,
            deploy: common.deploy.clone(),
        }
    }

    pub(super) fn with_cluster(mut self, cluster: Option<ClusterSettings>) -> Self {
        self.cluster = cluster;
        self
    }

    pub(super) fn with_seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    pub(super) async fn play_all(&self, files: &[PathBuf], stages: &[StageName], outputs: &Outputs) -> u8 {
        let mut scenarios = match read_all(files, &self.choice) {
            Ok(scenarios) => scenarios,
            Err(code) => return code,
        };
        match self.deploy {
            Some(None) => scenarios.iter_mut().for_each(|scenario| scenario.steps.clear()),
            Some(Some(_)) => scenarios.iter_mut().for_each(label_every_node),
            None => {}
        }
        if scenarios.is_empty() {
            return complain(&"no scenario or variant is chosen", EXIT_BAD_INPUT);
        }
        let binaries = match self.binaries(&scenarios, stages) {
            Ok(binaries) => binaries,
            Err(error) => return complain(&error, EXIT_FAILED),
        };
        let manifests = match self.deploy.as_ref().map(|dir| read_manifests(dir.as_deref())).transpose() {
            Ok(manifests) => manifests,
            Err(why) => return complain(&why, EXIT_BAD_INPUT),
        };
        let signals = Signals::listen();
        let products = (&binaries, manifests.as_deref());
        let play = self.play_each(&scenarios, stages, products, &signals.stop, outputs);
        // dropped in the middle, a stage ends its processes and removes its temporary directory
        tokio::select! {
            code = play => code,
            () = signals.leave() => complain(&"left at once; there is no report", EXIT_FAILED),
        }
    }

    async fn play_each(
        &self,
        scenarios: &[Scenario],
        stages: &[StageName],
        (binaries, manifests): (&Option<Binaries>, Option<&[Value]>),
        stop: &Stop,
        outputs: &Outputs,
    ) -> u8 {
        let mut reports = Vec::new();
        for scenario in scenarios {
            for stage in stages {
                if let Some(why) = scenario.refuses(*stage) {
                    let view = Terminal::new(self.channel);
                    view.line(&format!("- {} is not played on {stage}: {why}", scenario.title()));
                    continue;
                }
                let place = match (stage, binaries, manifests) {
                    (StageName::Wire, Some(binaries), None) => Place::Wire(binaries),
                    (StageName::Wire, Some(binaries), Some(manifests)) => {
                        Place::Deployed(binaries, manifests)
                    }
                    (StageName::Cluster, ..) => match &self.cluster {
                        Some(cluster) => Place::Cluster(cluster),
                        None => return complain(&"stage `cluster` needs --kubeconfig", EXIT_BAD_INPUT),
                    },
                    _ => Place::Model,
                };
                match self.play(scenario, place, stop, &mut reports).await {
                    Ok(true) => {}
                    Ok(false) => return self.end(&reports, outputs, false),
                    Err(error) => return complain(&error, EXIT_FAILED),
                }
            }
        }
        self.end(&reports, outputs, true)
    }

    /// Plays a scenario on one stage with all its seeds; false when somebody asked to stop.
    async fn play(
        &self,
        scenario: &Scenario,
        place: Place<'_>,
        stop: &Stop,
        reports: &mut Vec<RunReport>,
    ) -> Result<bool, StageError> {
        let seeds = match place {
            Place::Model => self.seeds,
            Place::Wire(_) | Place::Deployed(..) | Place::Cluster(_) => 1,
        };
        let several = seeds > 1;
        for number in 0..seeds {
            let options = RunOptions {
                seed: self.options.seed.wrapping_add(number),
                leave: if several { Leave::WhenFailed } else { Leave::Always },
                ..self.options.clone()
            };
            // of many seeds only those that fail are told step by step
            let channel = if several { Channel::Quiet } else { self.channel };
            let mut terminal = Terminal::new(channel);
            terminal.head(scenario, place.stage(), &options);
            let view = Terminal::new(self.channel);
            let tell = |held: &Held| tell_held(&view, held);
            let hold: Option<&dyn Fn(&Held)> = if self.hold { Some(&tell) } else { None };
            let report = run(scenario, place, &options, &mut terminal, stop.clone(), hold).await?;
            if several && !report.passed() {
                view.head(scenario, place.stage(), &options);
                view.steps(&report);
                view.tail(&report);
            } else {
                terminal.tail(&report);
            }
            let interrupted = report.interrupted;
            reports.push(report);
            if interrupted {
                return Ok(false);
            }
        }
        if several {
            let begun = reports.len().saturating_sub(usize::try_from(seeds).unwrap_or(usize::MAX));
            let passed = reports.iter().skip(begun).filter(|report| report.passed()).count();
            let line = format!("{} · {}: {passed} of {seeds} seeds passed", scenario.title(), place.stage());
            Terminal::new(self.channel).line(&line);
        }
        Ok(true)
    }

    /// The build products, when a scenario plays with them.
    fn binaries(&self, scenarios: &[Scenario], stages: &[StageName]) -> Result<Option<Binaries>, StageError> {
        let plays = |scenario: &Scenario| scenario.refuses(StageName::Wire).is_none();
        if !stages.contains(&StageName::Wire) || !scenarios.iter().any(plays) {
            return Ok(None);
        }
        Ok(Some(Binaries::find_or_build()?))
    }

    fn end(&self, reports: &[RunReport], outputs: &Outputs, complete: bool) -> u8 {
        if let Err(error) = outputs.write(reports) {
            return complain(&error, EXIT_FAILED);
        }
        let passed = complete && reports.iter().all(RunReport::passed);
        if passed { EXIT_PASSED } else { EXIT_FAILED }
    }
}

impl Outputs {
    fn write(&self, reports: &[RunReport]) -> Result<(), String> {
        let write = |path: &PathBuf, text: String| {
            if path.as_os_str() == "-" {
                println!("{text}");
                return Ok(());
            }
            std::fs::write(path, text)
                .map_err(|error| format!("cannot write report `{}`: {error}", path.display()))
        };
        if let Some(path) = &self.json {
            write(path, format!("{:#}", json::render(reports)))?;
        }
        if let Some(path) = &self.junit {
            write(path, junit::render(reports))?;
        }
        Ok(())
    }
}

fn tell_held(view: &Terminal, held: &Held) {
    let kubeconfig = held.kubeconfig.display();
    let node = held.nodes.last().map_or("", |name| name);
    view.line("");
    view.line(&format!(
        "held open ({}); in another terminal:",
        if held.passed { "all steps passed" } else { "a step failed" }
    ));
    view.line(&format!("  export KUBECONFIG={kubeconfig}"));
    view.line("  kubectl get nodes,pods -o wide");
    view.line(&format!("  kubectl describe node {node}"));
    view.line(&format!("  kubectl label node {node} nvidia.com/device-plugin.config=mps-config --overwrite"));
    view.line("Ctrl-C ends it.");
}
