//! The command line of `tandem-sim`, because a newcomer learns the laboratory from its `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::on::wire::{Binaries, binaries};
use crate::report::terminal::{Channel, Terminal};
use crate::report::{RunReport, json, junit};
use crate::run::{Held, RunOptions, run};
use crate::run_dir;
use crate::scenario::{Scenario, read_file};
use crate::signals::stop_on_signals;

/// Every run passed.
pub const EXIT_PASSED: u8 = 0;
/// An expectation, an invariant or the laboratory itself failed.
pub const EXIT_FAILED: u8 = 1;
/// The input is wrong; nothing was started.
pub const EXIT_BAD_INPUT: u8 = 2;

/// Plays stories about GPU nodes against the real device plugin, without a GPU.
///
/// A scenario file tells a story: nodes, a config map, steps, and what must then be true. The laboratory starts the
/// unmodified plugin on every simulated node, with a fake NVIDIA driver library beneath it and a simulated kubelet,
/// API server and scheduler around it, plays the steps, and judges.
#[derive(Debug, Parser)]
#[command(
    name = "tandem-sim",
    version,
    after_help = "Examples:\n  tandem-sim run scenarios/sharing/mixed-cluster.yaml\n  tandem-sim serve scenarios/sharing/mixed-cluster.yaml   then use kubectl in another terminal\n  tandem-sim lint scenarios/*/*.yaml\n\nExit codes: 0 passed · 1 an expectation or invariant failed · 2 bad input, nothing started"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play scenarios and judge them.
    Run(Run),
    /// Play one scenario and hold the cluster open for kubectl until Ctrl-C.
    Serve(Serve),
    /// Check scenario files without starting anything.
    Lint(Lint),
    /// Feed a recorded journal to this program: the same actions, or the first that differs.
    Replay(crate::replay::ReplayArgs),
    /// Tell why a pod of a run got its device, or did not.
    Explain(crate::explain::ExplainArgs),
}

#[derive(Debug, Args)]
struct Run {
    /// Scenario files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The stage to play on: `wire` is the real binary over real sockets.
    #[arg(long, default_value = "wire", value_parser = ["wire"])]
    stage: String,
    /// After the last step hold the cluster open until Ctrl-C.
    #[arg(long)]
    hold: bool,
    /// Write a JSON report to FILE; `-` is standard output, and the live view then goes to standard error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a JUnit XML report to FILE.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// No live view.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Serve {
    /// The scenario file.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Lint {
    /// Scenario files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// Seed of everything random in the simulated cluster, such as which device the kubelet picks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the temporary directory with sockets, driver root and MPS directories.
    #[arg(long)]
    keep: bool,
    /// Where runs are kept [default: tandem/runs in Cargo's target directory].
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

/// Runs the command line; returns the exit code.
pub async fn main() -> u8 {
    match Cli::parse().command {
        Command::Replay(args) => crate::replay::replay_command(&args),
        Command::Explain(args) => crate::explain::explain_command(&args),
        Command::Lint(lint) => match read_all(&lint.files) {
            Ok(scenarios) => {
                for scenario in scenarios {
                    println!("{}: {} steps, fine", scenario.file, scenario.steps.len());
                }
                EXIT_PASSED
            }
            Err(code) => code,
        },
        Command::Serve(serve) => {
            let session = Session::new(Channel::Stdout, &serve.common, true);
            session.play_all(&[serve.file], &Outputs::default()).await
        }
        Command::Run(run) => {
            let to_stdout = run.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
            let channel = match (run.quiet, to_stdout) {
                (true, _) => Channel::Quiet,
                (false, true) => Channel::Stderr,
                (false, false) => Channel::Stdout,
            };
            let outputs = Outputs {
                json: run.json,
                junit: run.junit,
            };
            Session::new(channel, &run.common, run.hold)
                .play_all(&run.files, &outputs)
                .await
        }
    }
}

/// Where reports go.
#[derive(Debug, Default)]
struct Outputs {
    json: Option<PathBuf>,
    junit: Option<PathBuf>,
}

struct Session {
    channel: Channel,
    options: RunOptions,
    hold: bool,
}

impl Session {
    fn new(channel: Channel, common: &Common, hold: bool) -> Self {
        let workspace = binaries::workspace().ok();
        let runs_root = common
            .runs_dir
            .clone()
            .unwrap_or_else(|| run_dir::default_root(workspace.as_deref()));
        Session {
            channel,
            options: RunOptions {
                seed: common.seed,
                keep: common.keep,
                runs_root,
            },
            hold,
        }
    }

    async fn play_all(&self, files: &[PathBuf], outputs: &Outputs) -> u8 {
        let scenarios = match read_all(files) {
            Ok(scenarios) => scenarios,
            Err(code) => return code,
        };
        let binaries = match Binaries::find_or_build() {
            Ok(binaries) => binaries,
            Err(error) => return complain(&error, EXIT_FAILED),
        };
        let stop = stop_on_signals(EXIT_FAILED);
        let mut reports = Vec::new();
        for scenario in &scenarios {
            let mut terminal = Terminal::new(self.channel);
            terminal.head(scenario, &self.options);
            let view = Terminal::new(self.channel);
            let tell = |held: &Held| tell_held(&view, held);
            let hold: Option<&dyn Fn(&Held)> = if self.hold { Some(&tell) } else { None };
            match run(
                scenario,
                &binaries,
                &self.options,
                &mut terminal,
                stop.clone(),
                hold,
            )
            .await
            {
                Ok(report) => {
                    terminal.tail(&report);
                    let interrupted = report.interrupted;
                    reports.push(report);
                    if interrupted {
                        break;
                    }
                }
                Err(error) => return complain(&error, EXIT_FAILED),
            }
        }
        if let Err(error) = outputs.write(&reports) {
            return complain(&error, EXIT_FAILED);
        }
        let passed = reports.len() == scenarios.len() && reports.iter().all(RunReport::passed);
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

/// Reads every file; all problems of all files are told before anything starts.
fn read_all(files: &[PathBuf]) -> Result<Vec<Scenario>, u8> {
    let mut scenarios = Vec::new();
    let mut wrong = false;
    for file in files {
        match read_file(file) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => {
                eprintln!("{error}");
                wrong = true;
            }
        }
    }
    if wrong { Err(EXIT_BAD_INPUT) } else { Ok(scenarios) }
}

fn complain(error: &dyn std::fmt::Display, code: u8) -> u8 {
    eprintln!("tandem-sim: {error}");
    code
}

fn tell_held(view: &Terminal, held: &Held) {
    let kubeconfig = held.kubeconfig.display();
    let node = held.nodes.last().map_or("", |name| name);
    view.line("");
    view.line(&format!(
        "held open ({}); in another terminal:",
        if held.passed {
            "all steps passed"
        } else {
            "a step failed"
        }
    ));
    view.line(&format!("  export KUBECONFIG={kubeconfig}"));
    view.line("  kubectl get nodes,pods -o wide");
    view.line(&format!("  kubectl describe node {node}"));
    view.line(&format!(
        "  kubectl label node {node} nvidia.com/device-plugin.config=mps-config --overwrite"
    ));
    view.line("Ctrl-C ends it.");
}
