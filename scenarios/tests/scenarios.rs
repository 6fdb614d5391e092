//! Plays every scenario file on the wire stage, and shows that what the seed story expects can fail: each expected
//! leaf is spoiled in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use simulator::expect::{Mismatch, check, mutants, render};
use simulator::on::wire::{Binaries, binaries};
use simulator::play::Observer;
use simulator::report::{Outcome, RunReport, StepReport, table};
use simulator::run::{RunOptions, run};
use simulator::run_dir;
use simulator::scenario::{Scenario, Verb, read_file, read_text};

/// The story whose every leaf is spoiled.
const SEED_STORY: &str = "sharing/mixed-cluster.yaml";
/// How long a spoiled expectation may wait before it fails.
const SHORT: Duration = Duration::from_millis(1500);

fn main() -> std::io::Result<()> {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = scenario_files(Path::new(env!("CARGO_MANIFEST_DIR")))?
        .into_iter()
        .map(|(name, path)| Trial::test(format!("plays {name}"), move || plays(&path)))
        .collect();
    trials.push(Trial::test(
        "every_expected_leaf_of_the_seed_story_can_fail",
        every_leaf_can_fail,
    ));
    trials.push(Trial::test(
        "a_spoiled_leaf_fails_when_it_is_played",
        spoiled_leaves_fail_when_played,
    ));
    libtest_mimic::run(&arguments, trials).exit()
}

/// Every `<folder>/<name>.yaml` below the crate, sorted.
fn scenario_files(root: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder)? {
            let file = file?.path();
            if file.extension().is_some_and(|ending| ending == "yaml") {
                let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                found.push((name, file));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn plays(path: &Path) -> Result<(), Failed> {
    let report = played(&read_file(path)?)?;
    if report.passed() {
        Ok(())
    } else {
        Err(told(&report).into())
    }
}

fn every_leaf_can_fail() -> Result<(), Failed> {
    let scenario = read_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED_STORY))?;
    let report = played(&scenario)?;
    if !report.passed() {
        return Err(told(&report).into());
    }
    let expectations = scenario
        .steps
        .iter()
        .filter(|step| matches!(step.verb, Verb::Expect(_)))
        .count();
    if report.recorded.len() != expectations {
        return Err(format!(
            "{} of {expectations} expectations were recorded",
            report.recorded.len()
        )
        .into());
    }
    let mut unnoticed = Vec::new();
    let mut leaves = 0;
    for recorded in &report.recorded {
        for mutant in mutants(&recorded.expectation.pattern) {
            leaves += 1;
            let missing = check(&mutant.pattern, &recorded.world, &recorded.memory);
            let diff = render(&scenario.file, &missing);
            let useful =
                diff.contains("- expected") && diff.contains("+ found") && names(&diff, &mutant.name);
            if missing.is_empty() || !useful {
                unnoticed.push(format!("step {}, {}:\n{diff}", recorded.step + 1, mutant.path));
            }
        }
    }
    if leaves < 100 {
        return Err(format!("only {leaves} leaves were found in the seed story").into());
    }
    if unnoticed.is_empty() {
        Ok(())
    } else {
        Err(unnoticed.join("\n").into())
    }
}

/// Whether the diff names the spoiled leaf; a name with `*` stands for the concrete one.
fn names(diff: &str, name: &str) -> bool {
    name.contains('*') || diff.contains(name)
}

fn spoiled_leaves_fail_when_played() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED_STORY);
    let file = path.display().to_string();
    let text = std::fs::read_to_string(&path)?;
    let spoiled = [
        (
            "nvidia.com/gpu.replicas: \"1\"",
            "nvidia.com/gpu.replicas: \"2\"",
            "labels.nvidia.com/gpu.replicas",
        ),
        (
            "registered: {exactly: {nvidia.com/gpu: 4}}",
            "registered: {exactly: {}}",
            "plugin.registered",
        ),
        (
            "containsOnce: no NVIDIA driver",
            "containsOnce: no NVIDIA gremlin",
            "nodes.cpu-1.plugin.warnings",
        ),
    ];
    for (from, to, named) in spoiled {
        let changed = text.replacen(from, to, 1);
        if changed == text {
            return Err(format!("the seed story no longer says `{from}`").into());
        }
        let mut scenario = read_text(&file, &changed)?;
        if let Some(Verb::Expect(expectation)) = scenario.steps.first_mut().map(|step| &mut step.verb) {
            expectation.within = SHORT;
        }
        let report = played(&scenario)?;
        let Some(Outcome::Unmet { diff, .. }) = report.steps.first().map(|step| &step.outcome) else {
            return Err(format!("`{to}` was not noticed:\n{}", told(&report)).into());
        };
        if !diff.contains(named) {
            return Err(format!("the diff does not name `{named}`:\n{diff}").into());
        }
    }
    Ok(())
}

fn played(scenario: &Scenario) -> Result<RunReport, Failed> {
    let binaries = Binaries::find_or_build()?;
    let workspace = binaries::workspace().ok();
    let options = RunOptions {
        seed: 1,
        keep: false,
        runs_root: run_dir::default_root(workspace.as_deref()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (_nobody_stops_it, stop) = tokio::sync::watch::channel(false);
    Ok(runtime.block_on(run(scenario, &binaries, &options, &mut Silent, stop, None))?)
}

/// A failed run as text: the step that failed, the closing table, the ends of logs.
fn told(report: &RunReport) -> String {
    let mut out = String::new();
    for step in report.steps.iter().filter(|step| !step.outcome.is_fine()) {
        let details = step.outcome.details().unwrap_or_default();
        out.push_str(&format!(
            "step {} {}: {}\n{details}\n",
            step.index + 1,
            step.text,
            step.outcome.word()
        ));
    }
    out.push_str(&report.leaks.join("\n"));
    out.push_str(&table::render(&report.world));
    for (name, log) in &report.logs {
        out.push_str(&format!("\n--- end of the log of {name}\n{log}\n"));
    }
    out.push_str(&format!("kept in {}\n", report.run_dir.display()));
    out
}

struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _: usize, _: &str) {}
    fn waits(&mut self, _: Duration, _: Duration, _: &[Mismatch]) {}
    fn ends(&mut self, _: &StepReport) {}
}
