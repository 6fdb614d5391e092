//! What continuous integration does is a list that fits on a screen; each step here is one function.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::image;
use crate::manifests;
use crate::runner::{Runner, seconds};

/// Folders below `scenarios/` are this deep at most.
const SCENARIO_DEPTH_MAX: usize = 4;

/// A step of continuous integration.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Step {
    /// Formatting, clippy with warnings as errors, the repository's rules, licenses and sources of dependencies
    Lint,
    /// All tests (with nextest where it is installed) and the documentation's examples
    Test,
    /// Every file in scenarios/ on the wire stage: the real plugin against a fake library and a simulated cluster
    Scenarios,
    /// The container image as an OCI archive that Docker, containerd and kind load, with image.json and an SBOM
    Image {
        /// Where the files go, from the repository's root [default: target/image]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The manifests against the schemas of Kubernetes 1.33 to 1.37, and the admission policy's decisions; skipped without
    /// Python
    Manifests,
    /// lint, manifests, test, scenarios, in this order
    All,
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Test => "test",
            Self::Scenarios => "scenarios",
            Self::Image { .. } => "image",
            Self::Manifests => "manifests",
            Self::All => "all",
        }
    }
}

/// Does a step and says how long it took. Fails at the first program that fails.
pub fn perform(step: &Step, runner: &Runner) -> Result<()> {
    let started = Instant::now();
    let outcome = match step {
        Step::Lint => lint(runner),
        Step::Test => test(runner),
        Step::Scenarios => scenarios(runner),
        Step::Image { out } => image::build(runner, out.as_deref()),
        Step::Manifests => match manifests::check(runner) {
            Ok(manifests::Outcome::Skipped(why)) => {
                println!("ci: SKIPPED: step `manifests`: {why}");
                return Ok(());
            }
            checked => checked.map(|_| ()),
        },
        Step::All => {
            let all = [Step::Lint, Step::Manifests, Step::Test, Step::Scenarios];
            all.iter().try_for_each(|step| perform(step, runner))
        }
    };
    let took = seconds(started.elapsed());
    match outcome {
        Ok(()) => {
            println!("ci: step `{}` passed in {took}", step.name());
            Ok(())
        }
        Err(error) if *step == Step::All => Err(error),
        Err(error) => Err(error.context(format!("step `{}` failed after {took}", step.name()))),
    }
}

fn lint(runner: &Runner) -> Result<()> {
    runner.cargo(["fmt", "--all", "--check"])?;
    runner.cargo(["test", "--quiet", "--package", "ci", "--test", "tidy"])?;
    runner.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    if runner.has_subcommand("deny") {
        // Advisories need the network and change without a commit; they are not a property of the source.
        runner.cargo(["deny", "--workspace", "check", "bans", "licenses", "sources"])
    } else {
        println!("ci: SKIPPED: cargo-deny not installed (cargo install cargo-deny)");
        Ok(())
    }
}

fn test(runner: &Runner) -> Result<()> {
    if runner.has_subcommand("nextest") {
        runner.cargo(["nextest", "run", "--workspace", "--profile", "ci"])?;
        return runner.cargo(["test", "--workspace", "--doc"]);
    }
    println!("ci: nextest is not installed (cargo install cargo-nextest); no junit file from `cargo test`");
    runner.cargo(["test", "--workspace"])
}

fn scenarios(runner: &Runner) -> Result<()> {
    let files = scenario_files(&runner.root().join("scenarios"))?;
    let reports = runner.root().join("target/ci");
    fs::create_dir_all(&reports).with_context(|| format!("cannot create `{}`", reports.display()))?;
    let mut arguments = vec!["sim".to_owned(), "run".to_owned()];
    for file in &files {
        arguments.push(file.strip_prefix(runner.root()).unwrap_or(file).display().to_string());
    }
    arguments.extend(["--junit".to_owned(), "target/ci/scenarios.xml".to_owned()]);
    runner.cargo(arguments)
}

/// The scenario files below a directory, in order; none at all is an error, because then nothing is checked.
fn scenario_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(directory, SCENARIO_DEPTH_MAX, &mut files)
        .with_context(|| format!("cannot read `{}`", directory.display()))?;
    if files.is_empty() {
        bail!("no scenario below `{}`", directory.display());
    }
    files.sort();
    Ok(files)
}

fn collect(directory: &Path, depth_left: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && depth_left > 0 && path.file_name().is_none_or(|name| name != "tests") {
            collect(&path, depth_left - 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tandem-ci-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn scenarios_are_found_in_their_folders_and_in_order() {
        let root = directory("found");
        for file in ["sharing/b.yaml", "sharing/a.yaml", "mps/c.yaml", "tests/data/broken.yaml", "Cargo.toml"]
        {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = scenario_files(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let names: Vec<_> =
            found.iter().map(|p| p.strip_prefix(&root).unwrap().display().to_string()).collect();
        assert_eq!(names, ["mps/c.yaml", "sharing/a.yaml", "sharing/b.yaml"]);
    }

    #[test]
    fn no_scenario_at_all_is_an_error() {
        let root = directory("none");
        let error = scenario_files(&root).unwrap_err().to_string();
        fs::remove_dir_all(&root).unwrap();
        assert!(error.starts_with("no scenario below"), "{error}");
    }

    #[test]
    fn a_failing_step_is_named_with_the_program_that_failed() {
        let runner = Runner::new(Path::new("/"), "false");
        for (step, program) in
            [(Step::Lint, "cargo fmt"), (Step::Test, "cargo test"), (Step::All, "cargo fmt")]
        {
            let error = format!("{:#}", perform(&step, &runner).unwrap_err());
            assert!(error.starts_with("step `") && error.contains(&format!(": `{program}")), "{error}");
        }
    }

    #[test]
    fn steps_pass_when_every_program_does() {
        let runner = Runner::new(Path::new("/"), "true");
        assert!(perform(&Step::Lint, &runner).is_ok() && perform(&Step::Test, &runner).is_ok());
    }
}
