//! An expectation that still holds when it is spoiled checks nothing: each expected leaf of the seed story is spoiled in
//! turn.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use simulator::expect::{check, mutants, render};
use simulator::report::Outcome;
use simulator::scenario::{Verb, read_file, read_text};

use super::{played, told};

/// The story whose every leaf is spoiled.
const SEED_STORY: &str = "sharing/mixed-cluster.yaml";
/// How long a spoiled expectation may wait before it fails.
const SHORT: Duration = Duration::from_millis(1500);

pub(crate) fn every_leaf_can_fail() -> Result<(), Failed> {
    let scenario = read_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED_STORY))?;
    let report = played(&scenario)?;
    if !report.passed() {
        return Err(told(&report).into());
    }
    let expectations = scenario.steps.iter().filter(|step| matches!(step.verb, Verb::Expect(_))).count();
    if report.recorded.len() != expectations {
        return Err(format!("{} of {expectations} expectations were recorded", report.recorded.len()).into());
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
    if unnoticed.is_empty() { Ok(()) } else { Err(unnoticed.join("\n").into()) }
}

/// Whether the diff names the spoiled leaf; a name with `*` stands for the concrete one.
fn names(diff: &str, name: &str) -> bool {
    name.contains('*') || diff.contains(name)
}

pub(crate) fn spoiled_leaves_fail_when_played() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED_STORY);
    let file = path.display().to_string();
    let text = std::fs::read_to_string(&path)?;
    let spoiled = [
        (
            "nvidia.com/gpu.replicas: \"1\"",
            "nvidia.com/gpu.replicas: \"2\"",
            "labels.nvidia.com/gpu.replicas",
        ),
        ("registered: {exactly: {nvidia.com/gpu: 4}}", "registered: {exactly: {}}", "plugin.registered"),
        ("containsOnce: no NVIDIA driver", "containsOnce: no NVIDIA gremlin", "nodes.cpu-1.plugin.warnings"),
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
