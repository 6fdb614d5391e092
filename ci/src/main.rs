//! `cargo ci <step>` is what a build machine runs; one command, so that a laptop can run the same.

use std::process::ExitCode;

use ci::runner::Runner;
use ci::steps::{self, Step};
use clap::Parser;

/// The steps of continuous integration. Each prints what it runs and how long it took, and stops at the first failure.
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo ci",
    after_help = "Examples:\n  \
        cargo ci lint       before you push: formatting, clippy, the rules in ci/tests/tidy.rs\n  \
        cargo ci test       all tests; with nextest also target/nextest/ci/junit.xml\n  \
        cargo ci scenarios  plays every story; writes target/ci/scenarios.xml\n  \
        cargo ci image      the container image, without an engine: target/image/tandem-device-plugin.tar\n  \
        cargo ci manifests  schemas of every supported Kubernetes, and what the admission policy decides\n  \
        cargo ci all        what must pass before a merge\n\n\
        A rule failed? `cargo test -p ci --test tidy` shows file and line.\n\
        A scenario failed? `cargo sim run FILE` plays that one alone.\n\n\
        Exit codes: 0 all passed, 1 something failed, 2 wrong usage."
)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

fn main() -> ExitCode {
    let step = Arguments::parse().step;
    match Runner::here().and_then(|runner| steps::perform(&step, &runner)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ci: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
