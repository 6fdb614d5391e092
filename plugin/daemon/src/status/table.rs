//! A plugin's state as tables for people: configuration, resources, and GPUs with role, holders and what is in the way.

use std::fmt::Write as _;

use plugin_core::mps::DaemonStatus;
use plugin_core::view::{Blocker, GpuStatus, Status};

/// The whole state.
pub(super) fn table(status: &Status) -> String {
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = writeln!(out, "ready      {}", if status.ready { "yes" } else { "no" });
    for reason in &status.not_ready_because {
        let _ = writeln!(out, "           {reason}");
    }
    driver_lines(status, &mut out);
    config(&mut out, status);
    let _ = writeln!(out, "switch     {}\n", status.switch);
    let _ = writeln!(out, "{:<32} {:>7} {:>7}  REGISTRATION", "RESOURCE", "DEVICES", "HEALTHY");
    for (name, resource) in &status.resources {
        let (devices, healthy) = (resource.devices, resource.healthy);
        let _ = writeln!(out, "{name:<32} {devices:>7} {healthy:>7}  {}", resource.registration);
    }
    let _ = writeln!(
        out,
        "\n{:<4} {:<42} {:<24} {:<19} {:<10} {:<24} HOLDERS",
        "GPU", "UUID", "RESOURCE", "ROLE", "MPS", "HEALTH"
    );
    for gpu in &status.gpus {
        out.push_str(&gpu_line(gpu, status.now_ms));
    }
    out
}

fn config(out: &mut String, status: &Status) {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let _ = writeln!(
        out,
        "config     {} (hash {}; asked for: {})",
        or_none(&status.config_applied),
        or_none(&status.config_hash),
        or_none(&status.config_requested)
    );
    if status.config_stands_in {
        let _ = writeln!(out, "           the last good one stands in for what is asked for");
    }
    for problem in &status.config_problems {
        let _ = writeln!(out, "           refused: {problem}");
    }
    for key in &status.config_ignored {
        let _ = writeln!(out, "           ignored: {key}");
    }
}

/// What is not well with the driver; nothing when all is.
fn driver_lines(status: &Status, out: &mut String) {
    if let Some(call) = &status.driver_stuck {
        let _ =
            writeln!(out, "driver     it does not answer: `{call}` has not returned; known GPUs stay served");
    }
    if let Some(why) = &status.driver_failing {
        let _ = writeln!(out, "driver     {why}");
    }
}

fn gpu_line(gpu: &GpuStatus, now_ms: u64) -> String {
    let mps = match &gpu.mps {
        None => "-",
        Some(DaemonStatus::Starting) => "starting",
        Some(DaemonStatus::Ready) => "ready",
        Some(DaemonStatus::Ill { .. }) => "ill",
        Some(DaemonStatus::Stopping) => "stopping",
        Some(DaemonStatus::Failed { .. }) => "failed",
    };
    let resource = match (&gpu.resource, &gpu.next_resource) {
        (Some(now), Some(next)) if now != next => format!("{now} → {next}"),
        (Some(now), _) => now.clone(),
        (None, Some(next)) => format!("→ {next}"),
        (None, None) => "-".to_owned(),
    };
    let strategy = role(gpu);
    let holders = holders(gpu);
    let (index, uuid) = (gpu.index, gpu.uuid.as_str());
    let health = format!("{}{}", health(gpu), waited(gpu, now_ms));
    let index = gpu.mig_index.map_or_else(|| index.to_string(), |part| format!("{index}:{part}"));
    format!("{index:<4} {uuid:<42} {resource:<24} {strategy:<19} {mps:<10} {health:<24} {holders}\n")
}

/// How it is shared, with the interval that the driver took.
fn role(gpu: &GpuStatus) -> String {
    let strategy = gpu.strategy.and_then(|s| serde_json::to_value(s).ok());
    let strategy = strategy.as_ref().and_then(|s| s.as_str()).unwrap_or("-");
    match gpu.time_slice.as_ref().and_then(|slice| slice.set) {
        Some(interval) => format!("{strategy} {interval}"),
        None => strategy.to_owned(),
    }
}

/// Who has it; while it drains with whoever made the pod, because that is whom to ask.
fn holders(gpu: &GpuStatus) -> String {
    if gpu.holders.is_empty() {
        return "-".to_owned();
    }
    let owner = |holder: &String| {
        let of_pod =
            |blocker: &&Blocker| holder.strip_prefix(&blocker.pod).is_some_and(|r| r.starts_with('/'));
        gpu.blockers.iter().find(of_pod).and_then(|blocker| blocker.owner.as_ref())
    };
    let named = |holder: &String| match owner(holder) {
        Some(owner) => format!("{holder} ({owner})"),
        None => holder.clone(),
    };
    gpu.holders.iter().map(named).collect::<Vec<_>>().join(", ")
}

/// For how long a GPU has been on its way.
fn waited(gpu: &GpuStatus, now_ms: u64) -> String {
    if !matches!(gpu.state.as_str(), "draining" | "converting") || now_ms == 0 {
        return String::new();
    }
    let seconds = now_ms.saturating_sub(gpu.since_ms) / 1000;
    let late = if gpu.overdue { ", overdue" } else { "" };
    format!(" ({}{late})", humanly(seconds))
}

fn humanly(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

/// What keeps a GPU from being handed out, and why.
fn health(gpu: &GpuStatus) -> String {
    if let Some(why) = &gpu.ill {
        return format!("ill: {why}");
    }
    if let Some(DaemonStatus::Failed { why } | DaemonStatus::Ill { why }) = &gpu.mps {
        return format!("{}: its MPS daemon failed: {why}", gpu.state);
    }
    let slice = gpu.time_slice.as_ref().filter(|slice| slice.set != Some(slice.wanted));
    match (gpu.state.as_str(), &gpu.next_resource) {
        ("settled", _) => match slice.map(|slice| (slice.wanted, &slice.why)) {
            None | Some((_, None)) => "ok".to_owned(),
            Some((wanted, Some(why))) => format!("ok, but its interval is not `{wanted}`: {why}"),
        },
        ("draining", _) if gpu.holders.is_empty() => "draining until it is proven free".to_owned(),
        ("draining", _) => "draining until its holders are gone".to_owned(),
        ("converting", Some(next)) => format!("converting to {next}"),
        ("unused", _) => "no role of its own".to_owned(),
        (other, _) => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use plugin_core::inventory::GpuUuid;
    use plugin_core::time_slice::TimeSliceStatus;

    use super::*;

    fn gpu() -> GpuStatus {
        GpuStatus {
            uuid: GpuUuid::new("GPU-a"),
            index: 0,
            name: "Tesla T4".into(),
            mig_index: None,
            state: "settled".into(),
            ill: None,
            resource: Some("nvidia.com/gpu.shared".into()),
            strategy: Some(plugin_core::view::Strategy::TimeSlicing),
            next_resource: None,
            holders: vec!["default/p/main".into()],
            mps: None,
            blockers: Vec::new(),
            processes: Vec::new(),
            since_ms: 0,
            overdue: false,
            time_slice: None,
        }
    }

    #[test]
    fn a_draining_gpu_is_shown_with_its_holders_and_where_it_goes() {
        let next_resource = Some("nvidia.com/gpu".into());
        let gpu = GpuStatus { state: "draining".into(), next_resource, ..gpu() };
        let text = table(&Status { gpus: vec![gpu], ..Default::default() });
        for part in [
            "draining until its holders",
            "nvidia.com/gpu.shared → nvidia.com/gpu",
            "time-slicing",
            "default/p/main",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_drain_is_shown_with_its_age() {
        let owner = Some("ReplicaSet/web".to_owned());
        let blockers = vec![Blocker { pod: "default/p".into(), owner, created_s: Some(1) }];
        let gpu = GpuStatus { state: "draining".into(), blockers, since_ms: 5_000, overdue: true, ..gpu() };
        for (now_ms, part) in [
            (6_500, "holders are gone (1s, overdue)"),
            (6_500, "default/p/main (ReplicaSet/web)"),
            (95_000, "(1m30s, overdue)"),
            (7_300_000, "(2h1m, overdue)"),
        ] {
            let text = table(&Status { gpus: vec![gpu.clone()], now_ms, ..Default::default() });
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn every_state_of_a_gpu_has_its_words() {
        let state = |state: &str| GpuStatus { state: state.into(), ..gpu() };
        assert_eq!(health(&state("settled")), "ok");
        assert_eq!(health(&state("found")), "found");
        let free = GpuStatus { holders: vec![], ..state("draining") };
        assert_eq!(health(&free), "draining until it is proven free");
        let converting = GpuStatus { next_resource: Some("r".into()), ..state("converting") };
        assert_eq!(health(&converting), "converting to r");
        assert_eq!(health(&state("unused")), "no role of its own");
        let failed = Some(DaemonStatus::Failed { why: "no memory".into() });
        let ill = Some("the driver cannot read it".into());
        assert_eq!(health(&GpuStatus { ill, ..gpu() }), "ill: the driver cannot read it");
        assert!(health(&GpuStatus { mps: failed, ..gpu() }).contains("no memory"));
    }

    #[test]
    fn the_interval_of_time_slicing_is_shown_or_why_it_is_not_as_it_should_be() {
        use plugin_core::config::TimeSlice;
        let slice = |set: Option<TimeSlice>, why: Option<&str>| {
            let why = why.map(str::to_owned);
            Some(TimeSliceStatus { wanted: TimeSlice::Short, set, why })
        };
        let rows = [
            (None, "time-slicing        -          ok"),
            (slice(Some(TimeSlice::Short), None), "time-slicing short  -          ok"),
            (slice(None, None), "time-slicing        -          ok"),
            (slice(None, Some("exit status: 1")), "ok, but its interval is not `short`: exit status: 1"),
        ];
        for (time_slice, part) in rows {
            let text = table(&Status { gpus: vec![GpuStatus { time_slice, ..gpu() }], ..Default::default() });
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_refused_config_is_shown_beside_the_one_that_stands_in() {
        let text = table(&Status {
            config_applied: Some("sliced".into()),
            config_hash: Some("00ff".into()),
            config_requested: Some("typo".into()),
            config_stands_in: true,
            config_problems: vec!["there is no `typo`".into()],
            config_ignored: vec!["flagz".into()],
            ..Default::default()
        });
        for part in [
            "sliced (hash 00ff; asked for: typo)",
            "stands in",
            "refused: there is no `typo`",
            "ignored: flagz",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
