//! The command line of `tandem-sim`, because a newcomer learns the laboratory from its `--help`.

mod cluster_args;
mod session;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::cluster_args::ClusterArgs;
use self::session::{Outputs, Session};
use crate::report::terminal::Channel;
use crate::scenario::{Choice, Scenario, StageName, json_schema, read_chosen};

/// Every run passed.
pub const EXIT_PASSED: u8 = 0;
/// An expectation, an invariant or the laboratory itself failed.
pub const EXIT_FAILED: u8 = 1;
/// The input is wrong; nothing was started.
pub const EXIT_BAD_INPUT: u8 = 2;
/// The most seeds of one command.
const SEEDS_MAX: u64 = 1_000_000;

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
    Run(Box<Run>),
    /// Play one scenario and hold the cluster open for kubectl until Ctrl-C.
    Serve(Serve),
    /// Check scenario files, all their variants, without starting anything.
    Lint(Lint),
    /// Print the JSON schema of scenario files, for editors.
    Schema,
    /// Play random stories; a failure on the model stage is shrunk to the shortest story that shows it.
    Fuzz(crate::fuzz::command::FuzzArgs),
    /// Feed a recorded journal to this program: the same actions, or the first that differs.
    Replay(crate::replay::ReplayArgs),
    /// Tell why a pod of a run got its device, or did not.
    Explain(crate::explain::ExplainArgs),
    /// Make a directory with a fake driver, to be mounted into a container or a node that has none.
    DriverRoot(crate::driver_root::DriverRootArgs),
}

#[derive(Debug, Args)]
struct Run {
    /// Scenario files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The stage to play on.
    #[arg(long, value_enum, default_value_t = Stages::Wire)]
    stage: Stages,
    /// On the model stage play with that many seeds, from `--seed` on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,
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
    cluster: ClusterArgs,
    #[command(flatten)]
    common: Common,
}

/// Where scenarios are to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stages {
    /// Everything in one process and virtual time; the seed decides what comes first.
    Model,
    /// The real binary over real sockets.
    Wire,
    /// Model and wire.
    All,
    /// A cluster that exists, through its API server.
    Cluster,
}

impl Stages {
    fn names(self) -> &'static [StageName] {
        match self {
            Stages::Model => &[StageName::Model],
            Stages::Wire => &[StageName::Wire],
            Stages::All => StageName::ALL,
            Stages::Cluster => &[StageName::Cluster],
        }
    }
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
    /// The variant of each file, by name or glob [default: the first].
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Only scenarios and variants with this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Seed of everything random in the simulated cluster, such as which device the kubelet picks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the temporary directory with sockets, driver root and MPS directories.
    #[arg(long)]
    keep: bool,
    /// Let DaemonSets of the API server start the plugin, as in a cluster: those of the manifests in DIR, and whatever is applied
    /// with kubectl. With DIR every node is labelled as one with GPUs; without it no step is played: the cluster waits for kubectl. Only on the wire stage; the scenario's own
    /// configurations are not used.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    deploy: Option<Option<PathBuf>>,
    /// Where runs are kept [default: tandem/runs in Cargo's target directory].
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

/// Runs the command line; returns the exit code.
pub async fn main() -> u8 {
    match Cli::parse().command {
        Command::Fuzz(args) => crate::fuzz::command::main(&args),
        Command::Replay(args) => crate::replay::replay_command(&args),
        Command::Explain(args) => crate::explain::explain_command(&args),
        Command::DriverRoot(args) => crate::driver_root::driver_root_command(&args),
        Command::Lint(lint) => self::lint(&lint.files),
        Command::Schema => {
            println!("{:#}", json_schema::schema());
            EXIT_PASSED
        }
        Command::Serve(serve) => {
            let session = Session::new(Channel::Stdout, &serve.common, true);
            let files = [serve.file];
            session.play_all(&files, Stages::Wire.names(), &Outputs::default()).await
        }
        Command::Run(run) => {
            let run = *run;
            let to_stdout = run.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
            let channel = match (run.quiet, to_stdout) {
                (true, _) => Channel::Quiet,
                (false, true) => Channel::Stderr,
                (false, false) => Channel::Stdout,
            };
            let outputs = Outputs { json: run.json, junit: run.junit };
            Session::new(channel, &run.common, run.hold)
                .with_seeds(run.seeds)
                .with_cluster(run.cluster.settings())
                .play_all(&run.files, run.stage.names(), &outputs)
                .await
        }
    }
}

/// Checks every variant of every file.
fn lint(files: &[PathBuf]) -> u8 {
    let everything = Choice { variant: Some("*".to_owned()), label: None };
    match read_all(files, &everything) {
        Ok(scenarios) => {
            for scenario in scenarios {
                let variant = scenario.variant.iter().map(|name| format!(", variant {name}"));
                let variant: String = variant.collect();
                println!("{}{variant}: {} steps, fine", scenario.file, scenario.steps.len());
            }
            EXIT_PASSED
        }
        Err(code) => code,
    }
}

/// Reads every file; all problems of all files are told before anything starts.
fn read_all(files: &[PathBuf], choice: &Choice) -> Result<Vec<Scenario>, u8> {
    let mut scenarios = Vec::new();
    let mut wrong = false;
    for file in files {
        match read_chosen(file, choice) {
            Ok(chosen) => scenarios.extend(chosen),
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
