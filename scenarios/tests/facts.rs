//! What the real binary reads of a board through NVML's C interface is what the model tells the core of it; otherwise a
//! thousand runs in virtual time would be about other GPUs than the ones that are served.

use std::path::Path;

use libtest_mimic::Failed;
use serde_json::Value;
use simulator::boards;
use simulator::on::wire::Binaries;
use simulator::report::RunReport;
use simulator::run::{Leave, Place};
use simulator::scenario::{Scenario, read_text};

use super::{play_on, told};

/// How many GPUs, on which NUMA nodes, under which driver and CUDA; every board gets one of them, and the first board
/// each of them.
const MACHINES: [&str; 5] = [
    "count: 1",
    "count: 2, numa: [1, 0], driverVersion: 550.163.01, cudaVersion: '12.4'",
    "count: 8, numa: [0, 0, 1, 1, 2, 2, 3, 3], driverVersion: 570.211.01, cudaVersion: '12.8'",
    "count: 4, numa: [0, 0, 0, 63], driverVersion: 580.126.09, cudaVersion: '13.0'",
    "count: 64, driverVersion: 595.91.07, cudaVersion: '13.2'",
];
/// How NVLinks are connected, on the first board.
const WIRINGS: [&str; 3] = [
    "count: 5, numa: [0, 0, 0, 1, 1], links: pairs",
    "count: 4, numa: [0, 0, 1, 1], links: switch",
    "count: 2, links: none",
];
/// GPUs in MIG mode: every profile of the boards that have them, one compute instance of several, and a GPU that is not cut.
const CUT: [&str; 6] = [
    "board: a100-sxm4-40gb, count: 3, mig: {0: [1g.5gb, 1g.5gb+me, 2g.10gb, 3g.20gb], 2: []}",
    "board: a100-sxm4-40gb, count: 1, mig: [4g.20gb, 1g.10gb]",
    "board: a100-sxm4-40gb, count: 8, numa: [0, 0, 0, 0, 1, 1, 1, 1], mig: [1c.3g.20gb, 2c.3g.20gb, 2c.3g.20gb, 1c.3g.20gb]",
    "board: a100-sxm4-40gb, count: 1, mig: [7g.40gb]",
    "board: h100-80gb-hbm3, count: 2, mig: {1: [1g.10gb, 1g.10gb+me, 1g.20gb, 2g.20gb]}",
    "board: h100-80gb-hbm3, count: 2, mig: {0: [4g.40gb, 3g.40gb], 1: [7g.80gb]}",
];
/// What the stages do not share. The model has no `/dev`; on the wire the plugin sees that of the machine which runs the
/// tests, and on one with an NVIDIA driver it has these nodes.
const NOT_SHARED: &str = "control_nodes";

pub(crate) fn are_the_same() -> Result<(), Failed> {
    let boards = boards::names();
    let scenario = story(&boards)?;
    let binaries = Binaries::find_or_build()?;
    let wire = play_on(&scenario, Place::Wire(&binaries), 1, Leave::Always)?;
    let model = play_on(&scenario, Place::Model, 1, Leave::Always)?;
    let mut differences = Vec::new();
    let mut compared = 0;
    for node in &scenario.nodes {
        let gpus = node.gpus.as_ref().ok_or("every node has GPUs")?;
        let (model, wire) = (facts(&model, &node.name)?, facts(&wire, &node.name)?);
        if model != wire {
            differences.push(format!("{} ({gpus:?})\n  model {model}\n  wire  {wire}", node.name));
        }
        let told = wire["gpus"].as_array().map_or(0, Vec::len);
        if told != gpus.count as usize || wire["driver_version"].as_str().is_none_or(str::is_empty) {
            differences.push(format!("{} ({gpus:?}): {told} GPUs are told", node.name));
        }
        let cut = |gpu: &Value| gpu["mig_enabled"] == true;
        if gpus.mig.is_empty() == wire["gpus"].as_array().is_some_and(|gpus| gpus.iter().any(cut)) {
            differences.push(format!("{} ({gpus:?}): MIG mode is told as {wire}", node.name));
        }
        compared += 1;
    }
    if compared < boards.len() + MACHINES.len() + WIRINGS.len() - 1 + CUT.len() {
        return Err(format!("only {compared} machines were compared").into());
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// One node for every board, and one for every machine.
fn story(boards: &[String]) -> Result<Scenario, Failed> {
    let first = boards.first().ok_or("there are no boards")?;
    let others = boards.iter().skip(1).zip(MACHINES.iter().cycle().skip(1));
    let all = MACHINES.iter().chain(&WIRINGS).map(|machine| (first, machine)).chain(others);
    let whole = all.map(|(board, machine)| format!("board: {board}, {machine}"));
    let nodes: Vec<String> = whole
        .chain(CUT.map(str::to_owned))
        .enumerate()
        .map(|(number, gpus)| format!("- {{name: node-{number}, gpus: {{{gpus}}}}}\n"))
        .collect();
    let text = format!(
        "story: every board on some machine\n\
         timers: {{nodeStatusUpdate: 200ms, termination: 100ms}}\n\
         nodes:\n{}\
         configs: {{default: 'version: v1'}}\n\
         steps:\n- expect: {{within: 30s, nodes: {{'node-*': {{plugin: {{ready: true}}}}}}}}\n",
        nodes.concat()
    );
    Ok(read_text("facts-of-boards.yaml", &text)?)
}

/// The facts in the first `gpus_found` of a node's journal.
fn facts(report: &RunReport, node: &str) -> Result<Value, Failed> {
    if !report.passed() {
        return Err(told(report).into());
    }
    let path = report.run_dir.join(node).join("journal/journal.jsonl");
    let found = first_found(&path)?;
    let mut facts = found.ok_or_else(|| format!("`{}` holds no `gpus_found`", path.display()))?;
    let shared = facts.as_object_mut().ok_or("facts are an object")?;
    shared.remove(NOT_SHARED).ok_or_else(|| format!("facts have no `{NOT_SHARED}`"))?;
    Ok(facts)
}

fn first_found(journal: &Path) -> Result<Option<Value>, Failed> {
    for line in std::fs::read_to_string(journal)?.lines() {
        let entry: Value = serde_json::from_str(line)?;
        if entry["event"] == "gpus_found" {
            return Ok(Some(entry["facts"].clone()));
        }
    }
    Ok(None)
}
