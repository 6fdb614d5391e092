//! A curve from a CSV file beside the scenario, such as a monitoring system exports: a time and a value in each line.

use std::time::Duration;

use super::super::super::beside;
use super::super::super::decode::{Reader, parse_duration};
use super::super::super::grammar::CURVE_FILE;
use super::super::super::limits::{CURVE_POINTS_MAX, DURATION_MAX, FILE_BYTES_MAX};
use super::super::super::problem::Place;
use super::super::super::yaml::Node;

/// `{file}`.
pub(super) fn curve(reader: &mut Reader, node: &Node, path: &str, max: u64) -> Option<Vec<(Duration, u64)>> {
    let fields = reader.fields(node, path, CURVE_FILE);
    let name = fields.need(reader, "file")?;
    let limit = (FILE_BYTES_MAX, "FILE_BYTES_MAX");
    let (file, text) = beside::read(reader, name, &fields.path("file"), limit)?;
    let mut points: Vec<(Duration, u64)> = Vec::new();
    let mut has_begun = false;
    for (number, line) in (1_u64..).zip(text.lines()) {
        let before = points.last().map(|(at, _)| *at);
        match point(line, before, max) {
            // the first line may name the columns
            Ok(None) => continue,
            Err(_) if !has_begun && line.starts_with(|c: char| c.is_alphabetic()) => {}
            Ok(Some(point)) => points.push(point),
            Err((column, message)) => reader.problem_in(&file, Place::new(number, column), path, message),
        }
        has_begun = true;
        if points.len() > CURVE_POINTS_MAX {
            let message = format!("expected at most {CURVE_POINTS_MAX} points (CURVE_POINTS_MAX)");
            reader.problem_in(&file, Place::new(number, 1), path, message);
            return None;
        }
    }
    if points.is_empty() {
        reader.problem_in(&file, Place::START, path, "expected one line `time,value` at least");
    }
    Some(points)
}

/// One line; nothing for an empty one, else the column of the mistake and what is wrong.
fn point(line: &str, before: Option<Duration>, max: u64) -> Result<Option<(Duration, u64)>, (u64, String)> {
    let line = line.split('#').next().unwrap_or_default();
    if line.trim().is_empty() {
        return Ok(None);
    }
    let Some((time, value)) = line.split_once(',') else {
        return Err((1, format!("expected `time,value`, found `{}`", shown(line))));
    };
    let seconds = || Duration::try_from_secs_f64(time.trim().parse().ok()?).ok();
    let at = parse_duration(time.trim()).or_else(seconds).filter(|at| *at <= DURATION_MAX);
    let Some(at) = at else {
        let most = DURATION_MAX.as_secs();
        let message = format!("expected seconds or `300ms`, at most {most}s, found `{}`", shown(time));
        return Err((1, message));
    };
    if before.is_some_and(|before| before >= at) {
        return Err((1, "expected a later time than in the line before".to_owned()));
    }
    match value.trim().parse() {
        Ok(value) if value <= max => Ok(Some((at, value))),
        _ => {
            let column = time.chars().count() as u64 + 2;
            Err((column, format!("expected a whole number from 0 to {max}, found `{}`", shown(value))))
        }
    }
}

/// The beginning of a text from a file, for a message.
fn shown(text: &str) -> String {
    /// Characters of a wrong text that are shown.
    const SHOWN_MAX: usize = 40;
    text.trim().chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}
