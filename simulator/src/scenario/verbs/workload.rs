//! The verb `workload`: what a pod's process does on its GPUs, and how it ends.

mod csv;

use std::time::Duration;

use super::super::decode::{Fields, Reader};
use super::super::grammar::{ENDS, RAMP, WORKLOAD};
use super::super::limits::{CURVE_POINTS_MAX, DURATION_MAX, MEMORY_MIB_MAX};
use super::super::verb::Workload;
use super::super::yaml::{Kind, Node};
use super::pods::{exit_code, selection};

/// A GPU that is always busy.
const PERCENT_MAX: u64 = 100;
/// In how many steps a ramp climbs.
const RAMP_STEPS: u64 = 20;
/// The exit code of a process that died of a segmentation fault.
const CRASHED: i32 = 139;

/// `workload`.
pub(in super::super) fn workload(reader: &mut Reader, value: &Node, path: &str) -> Option<Workload> {
    let fields = reader.fields(value, path, WORKLOAD);
    let mut curve = |name, max| {
        fields.get(name).map(|node| curve(reader, node, &fields.path(name), max)).unwrap_or_default()
    };
    let (memory, compute) = (curve("memory", MEMORY_MIB_MAX), curve("compute", PERCENT_MAX));
    let crash = ends(reader, &fields, "crash", CRASHED);
    let exit = ends(reader, &fields, "exit", 0);
    if crash.is_some() && exit.is_some() {
        reader.problem(value.place, path, "expected one of `crash` and `exit`, found both");
    }
    if memory.is_empty() && compute.is_empty() && crash.is_none() && exit.is_none() {
        let message = "expected one of `memory`, `compute`, `crash`, `exit` at least";
        reader.problem(value.place, path, message);
    }
    Some(Workload { pods: selection(reader, &fields, path)?, memory, compute, ends: crash.or(exit) })
}

fn ends(reader: &mut Reader, fields: &Fields<'_>, name: &str, code: i32) -> Option<(Duration, i32)> {
    let node = fields.get(name)?;
    let inner = reader.fields(node, &fields.path(name), ENDS);
    let code = exit_code(reader, &inner, code);
    let at = inner.need(reader, "at")?;
    Some((reader.duration(at, &inner.path("at"), DURATION_MAX)?, code?))
}

/// A number, `[[time, value], …]`, `{from, to, over}` or `{file}`.
fn curve(reader: &mut Reader, node: &Node, path: &str, max: u64) -> Vec<(Duration, u64)> {
    match &node.kind {
        Kind::Int(_) => {
            let constant = reader.number(node, path, 0, max);
            return constant.map(|value| (Duration::ZERO, value)).into_iter().collect();
        }
        Kind::Map(entries) if entries.iter().any(|(key, _)| key.name == "file") => {
            return csv::curve(reader, node, path, max).unwrap_or_default();
        }
        Kind::Map(_) => return ramp(reader, node, path, max).unwrap_or_default(),
        _ => {}
    }
    let items = reader.list(node, path);
    if items.len() > CURVE_POINTS_MAX {
        let message =
            format!("expected at most {CURVE_POINTS_MAX} points (CURVE_POINTS_MAX), found {}", items.len());
        reader.problem(node.place, path, message);
    }
    let mut points: Vec<(Duration, u64)> = Vec::new();
    for (index, item) in items.iter().take(CURVE_POINTS_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        let [at, value] = reader.list(item, &path) else {
            reader.problem(item.place, &path, "expected `[time, value]`");
            continue;
        };
        let at = reader.duration(at, &path, DURATION_MAX);
        let value = reader.number(value, &path, 0, max);
        let (Some(at), Some(value)) = (at, value) else { continue };
        if points.last().is_some_and(|(before, _)| *before >= at) {
            reader.problem(item.place, &path, "expected a later time than the point before");
        }
        points.push((at, value));
    }
    points
}

fn ramp(reader: &mut Reader, node: &Node, path: &str, max: u64) -> Option<Vec<(Duration, u64)>> {
    let fields = reader.fields(node, path, RAMP);
    let value =
        |reader: &mut Reader, node: &Node, name: &str| reader.number(node, &fields.path(name), 0, max);
    let from = match fields.get("from") {
        Some(node) => value(reader, node, "from"),
        None => Some(0),
    };
    let to = fields.need(reader, "to").and_then(|node| value(reader, node, "to"));
    let over = fields.need(reader, "over");
    let over = over.and_then(|node| reader.duration(node, &fields.path("over"), DURATION_MAX));
    let (from, to, over) = (from?, to?, over?);
    let point = |step: u64| {
        let share = step as f64 / RAMP_STEPS as f64;
        let value = from as f64 + (to as f64 - from as f64) * share;
        (over.mul_f64(share), value.round() as u64)
    };
    Some((0..=RAMP_STEPS).map(point).collect())
}
