//! `tandem-sim fuzz`, because finding, shrinking, writing and telling are one command.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::campaign::{self, Findings, Goal, Plan, fuzz};
use super::progress::Progress;
use super::shrink::{Failing, shrink};
use super::wire::Wire;
use super::write;
use crate::cli::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_PASSED};
use crate::on::wire::Binaries;
use crate::on::wire::binaries::{self, BinaryError};
use crate::run_dir;

/// Seeds that are played when nothing is said.
const SEEDS_DEFAULT: u64 = 1_000;
/// The same on the wire stage.
const SEEDS_DEFAULT_WIRE: u64 = 20;
/// The folder of what was found, beside the runs.
const FOLDER: &str = "fuzz";

/// Play random stories until one fails, and write it as a scenario file; on the model stage the shortest form of it.
///
/// Each seed is one story: a cluster, configurations with one role or several, MIG devices, pods, label flips and faults. The
/// invariants are judged at every change; when the faults have stopped, the cluster must come to rest; at the end nothing may
/// be left behind. The summary tells how often each kind of fault, flip and change of a GPU's state was met, 0 included.
///
/// On the wire stage the real binary plays shorter stories in real time, a dozen seconds each. What that stage cannot do is
/// skipped, and counted with the reason. The same seed tells the same story, but never runs in quite the same way, so nothing
/// is shrunk; the journals and logs of a run that failed stay.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// The stage to play on.
    #[arg(long, value_enum, default_value_t = On::Model)]
    stage: On,
    /// How many seeds to play [default: 1000; 20 on the wire stage].
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    seeds: Option<u64>,
    /// Play for so long instead.
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,
    /// Stories at the same time [default: all cores; 1 on the wire stage].
    #[arg(long, value_name = "J")]
    jobs: Option<NonZeroUsize>,
    /// Where scenario files of failing stories are written [default: tandem/fuzz in Cargo's target directory].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on after the first failure, and shrink one story of each kind.
    #[arg(long)]
    keep_going: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
}

/// The stages of made-up stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// Everything in one process and virtual time; the seed decides what comes first.
    Model,
    /// The real binary over real sockets.
    Wire,
}

/// Runs the command; returns the exit code.
pub fn main(args: &FuzzArgs) -> u8 {
    let goal = match args.minutes {
        None => Goal::Seeds(args.seeds.unwrap_or(match args.stage {
            On::Model => SEEDS_DEFAULT,
            On::Wire => SEEDS_DEFAULT_WIRE,
        })),
        Some(minutes) => match Duration::try_from_secs_f64(minutes * 60.0) {
            Ok(time) if !time.is_zero() => Goal::Time(time),
            Ok(_) | Err(_) => {
                eprintln!("tandem-sim: `--minutes {minutes}` is not a time; expected a number above 0");
                return EXIT_BAD_INPUT;
            }
        },
    };
    let jobs = match args.stage {
        On::Model => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        On::Wire => 1,
    };
    let on = match place(args.stage) {
        Ok(on) => on,
        Err(error) => {
            eprintln!("tandem-sim: {error}");
            return EXIT_BAD_INPUT;
        }
    };
    let plan = Plan {
        goal,
        first_seed: args.first_seed,
        jobs: args.jobs.map_or(jobs, NonZeroUsize::get),
        keep_going: args.keep_going,
        on,
    };
    // a panic in a story is a finding, and told as one
    std::panic::set_hook(Box::new(|_| {}));
    let mut progress = Progress::new(goal, args.quiet);
    let findings = fuzz(&plan, |stories, failures| progress.done(stories, failures));
    progress.clear();
    tell(&findings, plan.jobs);
    if findings.counts.is_empty() {
        return EXIT_PASSED;
    }
    let out = args.out.clone().unwrap_or_else(default_folder);
    for failing in findings.failures.into_values() {
        if let Err(error) = report(failing, args.stage, &out) {
            eprintln!("tandem-sim: {error}");
        }
    }
    EXIT_FAILED
}

fn place(stage: On) -> Result<campaign::On, BinaryError> {
    Ok(match stage {
        On::Model => campaign::On::Model(None),
        On::Wire => campaign::On::Wire(Wire { binaries: Binaries::find_or_build()?, runs: runs() }),
    })
}

fn runs() -> PathBuf {
    let workspace = binaries::workspace().ok();
    run_dir::default_root(workspace.as_deref())
}

fn default_folder() -> PathBuf {
    runs().with_file_name(FOLDER)
}

fn tell(findings: &Findings, jobs: usize) {
    println!("{}", findings.tally);
    let stories = findings.tally.stories + findings.counts.values().sum::<u64>();
    let seconds = findings.took.as_secs_f64();
    let speed = stories as f64 / seconds.max(0.001);
    println!("took {seconds:.1}s on {jobs} threads: {speed:.1} stories a second");
    for (kind, count) in &findings.counts {
        println!("FAILED ×{count}: {kind}");
    }
}

fn report(found: Failing, stage: On, out: &Path) -> Result<(), String> {
    let seed = found.seed;
    println!("\nseed {seed}: {}", found.failure);
    let steps = found.story.steps.len();
    let (small, word) = match stage {
        On::Model => (shrink(found, None), "model"),
        On::Wire => (found, "wire"),
    };
    let name = format!("seed-{seed}-{}.yaml", small.failure.kind.word());
    let path = out.join(name);
    let failed = |error: std::io::Error| format!("cannot write `{}`: {error}", path.display());
    std::fs::create_dir_all(out).map_err(failed)?;
    std::fs::write(&path, write::file(&small)).map_err(failed)?;
    let (left, path) = (small.story.steps.len(), path.display());
    if stage == On::Model {
        println!("shrunk from {steps} steps to {left}: {}", small.failure);
    }
    println!("replay it:\n  tandem-sim run {path} --stage {word} --seed {}", small.seed);
    Ok(())
}
