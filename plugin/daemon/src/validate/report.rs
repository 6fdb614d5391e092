//! A file's report as text: problems first, then what the file does on the node, then what changes for it.

use std::fmt::Write as _;

use plugin_core::effect::Effect;
use plugin_core::inventory::Facts;
use plugin_core::migration::Change;

use super::Report;

/// Writing to a text cannot fail.
pub(super) fn text(report: &Report, facts: Option<&Facts>) -> String {
    let mut out = String::new();
    if let Some(why) = &report.unreadable {
        let _ = writeln!(out, "{}: {why}", report.file);
        return out;
    }
    for problem in &report.problems {
        let _ = writeln!(out, "{problem}");
    }
    if report.more_problems > 0 {
        let _ = writeln!(out, "{}: and {} more", report.file, report.more_problems);
    }
    if report.code() == super::FINE {
        let _ = writeln!(out, "{}: ok", report.file);
    }
    if let (Some(effect), Some(facts)) = (report.effect.as_ref().filter(|effect| effect.applies), facts) {
        write_effect(&mut out, effect, facts);
    }
    if let Some(changes) = &report.changes {
        write_changes(&mut out, changes);
    }
    out
}

fn write_effect(out: &mut String, effect: &Effect, facts: &Facts) {
    for (resource, gpus) in &effect.resources {
        let total: u64 = gpus.values().map(|count| u64::from(*count)).sum();
        let each: Vec<String> = facts
            .units()
            .filter_map(|unit| Some(format!("GPU {}: {}", unit.index(), gpus.get(unit.uuid())?)))
            .collect();
        let _ = writeln!(out, "  resource {resource}: {total} ({})", each.join(", "));
    }
    for (resource, variables) in &effect.environment {
        for (name, value) in variables {
            let _ = writeln!(out, "  variable {name}={value} in containers with {resource}");
        }
    }
    for gpu in facts.gpus.iter().filter(|gpu| effect.daemons.contains_key(&gpu.uuid)) {
        let limits = effect.limits.get(&gpu.uuid);
        let threads = limits.map_or(100, |limits| limits.active_thread_percentage);
        let memory = match limits.and_then(|limits| limits.memory_mib) {
            Some(mib) => format!("{mib} MiB"),
            None => "unlimited memory".to_owned(),
        };
        let index = gpu.index;
        let _ = writeln!(
            out,
            "  MPS control daemon for GPU {index}: {memory}, {threads} % of threads per client"
        );
    }
    for gpu in &facts.gpus {
        if let Some(interval) = effect.time_slices.get(&gpu.uuid) {
            let _ = writeln!(out, "  time-slice interval of GPU {}: {interval}", gpu.index);
        }
    }
    for (key, value) in &effect.labels {
        let _ = writeln!(out, "  label {key}={value}");
    }
}

fn write_changes(out: &mut String, changes: &[Change]) {
    if changes.is_empty() {
        let _ = writeln!(out, "  nothing changes against NVIDIA's plugin v0.20");
        return;
    }
    let _ = writeln!(out, "  changes against NVIDIA's plugin v0.20 with the same file:");
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    for change in changes {
        let _ =
            writeln!(out, "    {}: {} → {}", change.what, or_none(&change.nvidia), or_none(&change.tandem));
    }
}
