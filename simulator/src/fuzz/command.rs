//! `tandem-sim fuzz`, because finding, shrinking, writing and telling are one command.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::campaign::{Findings, Goal, Plan, fuzz};
use super::progress::Progress;
use super::shrink::{Failing, shrink};
use super::write;
use crate::cli::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_PASSED};
use crate::on::wire::binaries;
use crate::run_dir;

/// Seeds that are played when nothing is said.
const SEEDS_DEFAULT: u64 = 1_000;
/// The folder of what was found, beside the runs.
const FOLDER: &str = "fuzz";

/// Play random stories on the model stage until one fails, and write the shortest form of it as a scenario file.
///
/// Each seed is one story: a cluster, configurations, pods, label flips and faults. The invariants are judged at every
/// change; when the faults have stopped, the cluster must come to rest; at the end nothing may be left behind.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// How many seeds to play [default: 1000].
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    seeds: Option<u64>,
    /// Play for so long instead.
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,
    /// Threads [default: all cores].
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

/// Runs the command; returns the exit code.
pub fn main(args: &FuzzArgs) -> u8 {
    let goal = match args.minutes {
        None => Goal::Seeds(args.seeds.unwrap_or(SEEDS_DEFAULT)),
        Some(minutes) => match Duration::try_from_secs_f64(minutes * 60.0) {
            Ok(time) if !time.is_zero() => Goal::Time(time),
            Ok(_) | Err(_) => {
                eprintln!("tandem-sim: `--minutes {minutes}` is not a time; expected a number above 0");
                return EXIT_BAD_INPUT;
            }
        },
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let plan = Plan {
        goal,
        first_seed: args.first_seed,
        jobs: args.jobs.map_or(cores, NonZeroUsize::get),
        keep_going: args.keep_going,
        sabotage: None,
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
        if let Err(error) = report(failing, &out) {
            eprintln!("tandem-sim: {error}");
        }
    }
    EXIT_FAILED
}

fn default_folder() -> PathBuf {
    let workspace = binaries::workspace().ok();
    run_dir::default_root(workspace.as_deref()).with_file_name(FOLDER)
}

fn tell(findings: &Findings, jobs: usize) {
    println!("{}", findings.tally);
    let stories = findings.tally.stories + findings.counts.values().sum::<u64>();
    let seconds = findings.took.as_secs_f64();
    let speed = stories as f64 / seconds.max(0.001);
    println!("took {seconds:.1}s on {jobs} threads: {speed:.0} stories a second");
    for (kind, count) in &findings.counts {
        println!("FAILED ×{count}: {kind}");
    }
}

fn report(found: Failing, out: &Path) -> Result<(), String> {
    let seed = found.seed;
    println!("\nseed {seed}: {}", found.failure);
    let steps = found.story.steps.len();
    let small = shrink(found, None);
    let name = format!("seed-{seed}-{}.yaml", small.failure.kind.word());
    let path = out.join(name);
    let failed = |error: std::io::Error| format!("cannot write `{}`: {error}", path.display());
    std::fs::create_dir_all(out).map_err(failed)?;
    std::fs::write(&path, write::file(&small)).map_err(failed)?;
    let (left, path) = (small.story.steps.len(), path.display());
    println!("shrunk from {steps} steps to {left}: {}", small.failure);
    println!("replay it:\n  tandem-sim run {path} --stage model --seed {}", small.seed);
    Ok(())
}
