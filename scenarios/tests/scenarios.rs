//! Plays every scenario file on every stage that it names, shows that the stages agree and that the model is exact, and
//! that what the seed story expects can fail: each expected leaf is spoiled in turn.

mod agreement;
mod deployed;
mod ends;
mod facts;
mod idle;
mod numbers;
mod on_cluster;
mod spoiled;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use simulator::expect::Mismatch;
use simulator::fuzz::campaign::{Goal, On, Plan, fuzz};
use simulator::fuzz::wire::Wire;
use simulator::on::model::{ModelOptions, ModelStage};
use simulator::on::wire::{Binaries, binaries};
use simulator::play::{Observer, play};
use simulator::report::{RunReport, StepReport, table};
use simulator::run::{Leave, Place, RunOptions, run};
use simulator::run_dir;
use simulator::scenario::{Choice, Scenario, StageName, read_chosen};

/// With which seeds every story plays on the model stage.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;
/// Variants with one of these labels are not played here.
const TOO_MUCH: &[&str] = &["long", "hardware"];

/// Seeds whose made-up stories play on the wire stage; `tandem-sim fuzz --stage wire` plays as many as there is time for.
const MADE_UP: [u64; 2] = [1, 2];

/// What a play on the wire stage left; several tests read it, and it is played once.
type OnWire = Arc<OnceLock<Result<RunReport, String>>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, path) in scenario_files(Path::new(env!("CARGO_MANIFEST_DIR")))? {
        let everything = Choice { variant: Some("*".to_owned()), label: None };
        for scenario in read_chosen(&path, &everything)? {
            let is_too_much = |label: &String| TOO_MUCH.contains(&label.as_str());
            if !scenario.labels.iter().any(is_too_much) {
                trials.extend(trials_of(&name, scenario));
            }
        }
    }
    trials.push(Trial::test("every_expected_leaf_of_the_seed_story_can_fail", spoiled::every_leaf_can_fail));
    trials.push(Trial::test("both_stages_tell_the_core_the_same_facts_of_every_board", facts::are_the_same));
    trials.push(Trial::test(
        "a_spoiled_leaf_fails_when_it_is_played",
        spoiled::spoiled_leaves_fail_when_played,
    ));
    trials.extend(deployed::trials()?);
    trials.push(Trial::test(
        "a_node_at_rest_wakes_its_plugin_by_named_timers_alone",
        idle::wakes_by_named_timers_alone,
    ));
    trials.push(Trial::test(
        "each_numbered_bug_has_a_story_on_the_wire_stage",
        numbers::each_has_a_story_on_the_wire,
    ));
    trials.push(Trial::test(
        "a_plugin_that_cannot_do_its_job_ends_with_a_status_and_one_line",
        ends::with_a_status_and_one_line,
    ));
    trials.push(Trial::test("the_seed_story_plays_through_a_kubeconfig", on_cluster::tells_the_seed_story));
    trials.push(Trial::test("what_a_cluster_shows_is_judged", on_cluster::can_fail));
    for seed in MADE_UP {
        trials.push(Trial::test(format!("the made-up story of seed {seed} [wire]"), move || made_up(seed)));
    }
    libtest_mimic::run(&arguments, trials).exit()
}

/// One test for each stage, one for the model's exactness, and one for the stages' agreement.
fn trials_of(file: &str, scenario: Scenario) -> Vec<Trial> {
    let name = match &scenario.variant {
        Some(variant) => format!("{file} ({variant})"),
        None => file.to_owned(),
    };
    let plays_on = |stage| scenario.refuses(stage).is_none();
    let (model, wire) = (plays_on(StageName::Model), plays_on(StageName::Wire));
    let scenario = Arc::new(scenario);
    let on_wire = OnWire::default();
    let mut trials = Vec::new();
    if model {
        let shared = Arc::clone(&scenario);
        trials.push(Trial::test(format!("{name} [model]"), move || {
            SEEDS.into_iter().try_for_each(|seed| is_green(&on_model(&shared, seed)?))
        }));
        let shared = Arc::clone(&scenario);
        let title = format!("{name} [model, the same seed twice]");
        trials.push(Trial::test(title, move || is_exact(&shared)));
    }
    if wire {
        let (shared, once) = (Arc::clone(&scenario), Arc::clone(&on_wire));
        trials.push(Trial::test(format!("{name} [wire]"), move || is_green(wire_report(&shared, &once)?)));
    }
    if model && wire {
        let title = format!("{name} [both stages agree]");
        trials.push(Trial::test(title, move || {
            let model = agreement::digest(&on_model(&scenario, *SEEDS.start())?);
            let wire = agreement::digest(wire_report(&scenario, &on_wire)?);
            match agreement::difference(&model, &wire) {
                None => Ok(()),
                Some(difference) => Err(difference.into()),
            }
        }));
    }
    trials
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

fn is_green(report: &RunReport) -> Result<(), Failed> {
    match report.passed() {
        true => Ok(()),
        false => Err(told(report).into()),
    }
}

/// One seed gives the same journals, byte for byte.
fn is_exact(scenario: &Scenario) -> Result<(), Failed> {
    let journals = || -> Result<String, Failed> {
        let how = ModelOptions { seed: *SEEDS.start(), journals: true, invariants: false };
        let mut stage = ModelStage::start(scenario, how)?;
        let (_nobody_stops_it, stop) = tokio::sync::watch::channel(false);
        runtime()?.block_on(play(scenario, &mut stage, &mut Silent, stop));
        Ok(stage.journals())
    };
    let (first, second) = (journals()?, journals()?);
    if first.is_empty() {
        return Err("there are no journals".into());
    }
    let mut lines = first.lines().zip(second.lines()).enumerate();
    match lines.find(|(_, (one, other))| one != other) {
        None if first == second => Ok(()),
        None => Err("one journal is longer than the other".into()),
        Some((number, (one, other))) => Err(format!("line {}:\n  {one}\n  {other}", number + 1).into()),
    }
}

fn wire_report<'r>(scenario: &Scenario, once: &'r OnWire) -> Result<&'r RunReport, Failed> {
    let played = once.get_or_init(|| {
        let played = played(scenario);
        played.map_err(|failed| failed.message().unwrap_or("it could not be played").to_owned())
    });
    played.as_ref().map_err(|why| why.as_str().into())
}

fn played(scenario: &Scenario) -> Result<RunReport, Failed> {
    let binaries = Binaries::find_or_build()?;
    play_on(scenario, Place::Wire(&binaries), 1, Leave::WhenFailed)
}

/// A story that the fuzzer makes up breaks nothing.
fn made_up(seed: u64) -> Result<(), Failed> {
    let workspace = binaries::workspace().ok();
    let runs = run_dir::default_root(workspace.as_deref());
    let wire = Wire { binaries: Binaries::find_or_build()?, runs };
    let plan =
        Plan { goal: Goal::Seeds(1), first_seed: seed, jobs: 1, keep_going: false, on: On::Wire(wire) };
    let findings = fuzz(&plan, |_, _| {});
    match findings.failures.into_values().next() {
        Some(failing) => Err(failing.failure.to_string().into()),
        None if findings.tally.stories == 1 => Ok(()),
        None => Err("it was not played".into()),
    }
}

fn on_model(scenario: &Scenario, seed: u64) -> Result<RunReport, Failed> {
    play_on(scenario, Place::Model, seed, Leave::WhenFailed)
}

fn play_on(scenario: &Scenario, place: Place<'_>, seed: u64, leave: Leave) -> Result<RunReport, Failed> {
    let workspace = binaries::workspace().ok();
    let options =
        RunOptions { seed, keep: false, runs_root: run_dir::default_root(workspace.as_deref()), leave };
    let (_nobody_stops_it, stop) = tokio::sync::watch::channel(false);
    Ok(runtime()?.block_on(run(scenario, place, &options, &mut Silent, stop, None))?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A failed run as text: the step that failed, the closing table, the ends of logs.
fn told(report: &RunReport) -> String {
    let mut out = format!("{} · {} stage · seed {}\n", report.scenario, report.stage, report.seed);
    for step in report.steps.iter().filter(|step| !step.outcome.is_fine()) {
        let details = step.outcome.details().unwrap_or_default();
        out.push_str(&format!("step {} {}: {}\n{details}\n", step.index + 1, step.text, step.outcome.word()));
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
