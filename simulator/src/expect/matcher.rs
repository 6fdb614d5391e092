//! Matches patterns against the world, because every verdict of a scenario is made here and nowhere else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lookup::{expand, glob, lookup, occurrences, resolved, size, step_into};
use super::pattern::{Op, Pattern, PatternKind};
use crate::scenario::problem::Place;

/// The worlds against which named `expect` steps became true, by step name.
pub type Memory = BTreeMap<String, Value>;

/// One difference between what was expected and what is.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Where the expectation stands in the scenario file.
    pub place: Place,
    /// The path in the world, such as `nodes.gpu-1.labels.nvidia.com/gpu.replicas`.
    pub path: String,
    /// What was expected, as text.
    pub expected: String,
    /// What is there; `None` when nothing is.
    pub actual: Option<Value>,
    /// More about the difference, such as keys that are too many.
    pub note: Option<String>,
}

/// Every difference between a pattern and the world; empty when it matches.
pub fn check(pattern: &Pattern, world: &Value, memory: &Memory) -> Vec<Mismatch> {
    let mut run = Run::new(world, memory, false);
    run.pattern(pattern, Some(world), &[]);
    run.found
}

/// Where the world matches a pattern whose names with `*` stand for any one that they cover: every leaf and what is
/// there; or the differences when it does not match.
///
/// # Errors
/// The differences.
pub fn witness(pattern: &Pattern, world: &Value, memory: &Memory) -> Result<Vec<Mismatch>, Vec<Mismatch>> {
    let mut run = Run::new(world, memory, true);
    run.pattern(pattern, Some(world), &[]);
    match run.found.is_empty() {
        true => Ok(run.seen),
        false => Err(run.found),
    }
}

struct Run<'w> {
    world: &'w Value,
    memory: &'w Memory,
    /// Names with `*` stand for any one, and leaves that hold are kept.
    any: bool,
    found: Vec<Mismatch>,
    seen: Vec<Mismatch>,
}

impl<'w> Run<'w> {
    fn new(world: &'w Value, memory: &'w Memory, any: bool) -> Self {
        Run { world, memory, any, found: Vec::new(), seen: Vec::new() }
    }

    /// A leaf is as the pattern says.
    fn holds(&mut self, place: Place, expected: &dyn ToString, value: Option<&Value>, path: &[String]) {
        if self.any {
            self.seen.push(Mismatch {
                place,
                path: path.join("."),
                expected: expected.to_string(),
                actual: value.cloned(),
                note: None,
            });
        }
    }

    /// A name with `*` where any one that it covers will do.
    fn any_entry(&mut self, key: &str, inner: &Pattern, value: Option<&Value>, path: &[String]) {
        let object = value.and_then(Value::as_object);
        let mut first: Option<Vec<Mismatch>> = None;
        for (name, item) in object.into_iter().flatten().filter(|(name, _)| glob(key, name)) {
            let mut probe = Run::new(self.world, self.memory, true);
            probe.pattern(inner, Some(item), &deeper(path, name));
            if probe.found.is_empty() {
                return self.seen.extend(probe.seen);
            }
            first = first.or(Some(probe.found));
        }
        match first {
            Some(found) => self.found.extend(found),
            None => self.pattern(inner, None, &deeper(path, key)),
        }
    }

    fn differ(&mut self, pattern: &Pattern, value: Option<&Value>, path: &[String]) {
        self.differ_as(pattern.place, pattern.to_string(), value, path, None);
    }

    fn differ_as(
        &mut self,
        place: Place,
        expected: String,
        actual: Option<&Value>,
        path: &[String],
        note: Option<String>,
    ) {
        self.found.push(Mismatch { place, path: path.join("."), expected, actual: actual.cloned(), note });
    }

    fn pattern(&mut self, pattern: &Pattern, value: Option<&Value>, path: &[String]) {
        match &pattern.kind {
            PatternKind::Equals(expected) => {
                let expected = resolved(self.world, expected, path);
                match value == Some(&expected) {
                    true => self.holds(pattern.place, &expected, value, path),
                    false => self.differ_as(pattern.place, expected.to_string(), value, path, None),
                }
            }
            PatternKind::Has(entries) => match value {
                Some(Value::Object(_)) | None => self.entries(entries, value, path),
                Some(Value::Array(items)) if entries.iter().all(|(key, _)| key.parse::<usize>().is_ok()) => {
                    for (key, inner) in entries {
                        let item = key.parse::<usize>().ok().and_then(|index| items.get(index));
                        self.pattern(inner, item, &deeper(path, key));
                    }
                }
                Some(_) => self.differ(pattern, value, path),
            },
            PatternKind::Items(expected) => match value {
                Some(Value::Array(items)) if items.len() == expected.len() => {
                    for (index, (inner, item)) in expected.iter().zip(items).enumerate() {
                        self.pattern(inner, Some(item), &deeper(path, &index.to_string()));
                    }
                }
                _ => self.differ(pattern, value, path),
            },
            PatternKind::Ops(ops) => {
                for op in ops {
                    self.op(op, pattern.place, value, path);
                }
            }
        }
    }

    fn entries(&mut self, entries: &[(String, Pattern)], value: Option<&Value>, path: &[String]) {
        let object = value.and_then(Value::as_object);
        for (key, inner) in entries {
            if !key.contains('*') {
                self.pattern(inner, object.and_then(|map| map.get(key)), &deeper(path, key));
                continue;
            }
            if self.any {
                self.any_entry(key, inner, value, path);
                continue;
            }
            let covered: Vec<&String> =
                object.into_iter().flat_map(|map| map.keys()).filter(|name| glob(key, name)).collect();
            if covered.is_empty() {
                self.pattern(inner, None, &deeper(path, key));
            }
            for name in covered {
                self.pattern(inner, object.and_then(|map| map.get(name)), &deeper(path, name));
            }
        }
    }

    fn op(&mut self, op: &Op, place: Place, value: Option<&Value>, path: &[String]) {
        let holds = match op {
            Op::Absent(absent) => value.is_none_or(Value::is_null) == *absent,
            Op::Contains(inner) => self.contains(inner, value, path),
            Op::ContainsOnce(text) => occurrences(&self.expand(text, path), value) == 1,
            Op::Matches(pattern) => {
                let pattern = self.expand(pattern, path);
                value.and_then(Value::as_str).is_some_and(|text| glob(&pattern, text))
            }
            Op::AtLeast(n) => value.and_then(Value::as_i64).is_some_and(|actual| actual >= *n),
            Op::AtMost(n) => value.and_then(Value::as_i64).is_some_and(|actual| actual <= *n),
            Op::Size(inner) => {
                let size = value.and_then(size).map(Value::from);
                self.pattern(inner, size.as_ref(), &deeper(path, "size()"));
                return;
            }
            Op::Each(inner) => return self.each(inner, place, value, path),
            Op::Exactly(entries) => return self.exactly(op, entries, place, value, path),
            Op::SameAs { path: other, negated } => {
                let other = lookup(self.world, other, path);
                (value.is_some() && value == other.as_ref()) != *negated
            }
            Op::UnchangedSince { step, negated } => {
                let then = self
                    .memory
                    .get(step)
                    .and_then(|world| path.iter().try_fold(world, |value, key| step_into(value, key)));
                if value.is_none() || (value == then) == *negated {
                    let note = then.map(|then| format!("was {then}"));
                    self.differ_as(place, op.to_string(), value, path, note);
                }
                return;
            }
        };
        match holds {
            true => self.holds(place, op, value, path),
            false => self.differ_as(place, op.to_string(), value, path, None),
        }
    }

    fn contains(&mut self, inner: &Pattern, value: Option<&Value>, path: &[String]) -> bool {
        match (value, &inner.kind) {
            (Some(Value::String(text)), PatternKind::Equals(Value::String(part))) => {
                text.contains(&self.expand(part, path))
            }
            (Some(Value::Array(items)), _) => items.iter().any(|item| {
                let mut probe = Run::new(self.world, self.memory, self.any);
                if let (Value::String(text), PatternKind::Equals(Value::String(part))) = (item, &inner.kind) {
                    return text.contains(&probe.expand(part, path));
                }
                probe.pattern(inner, Some(item), path);
                probe.found.is_empty()
            }),
            _ => false,
        }
    }

    fn each(&mut self, inner: &Pattern, place: Place, value: Option<&Value>, path: &[String]) {
        match value {
            Some(Value::Array(items)) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.pattern(inner, Some(item), &deeper(path, &index.to_string()));
                }
            }
            Some(Value::Object(map)) if !map.is_empty() => {
                for (key, item) in map {
                    self.pattern(inner, Some(item), &deeper(path, key));
                }
            }
            _ => self.differ_as(place, format!("one entry at least, each {inner}"), value, path, None),
        }
    }

    fn exactly(
        &mut self,
        op: &Op,
        entries: &[(String, Pattern)],
        place: Place,
        value: Option<&Value>,
        path: &[String],
    ) {
        let Some(map) = value.and_then(Value::as_object) else {
            return self.differ_as(place, op.to_string(), value, path, None);
        };
        let surplus: Vec<&str> = map
            .keys()
            .map(String::as_str)
            .filter(|key| !entries.iter().any(|(name, _)| glob(name, key)))
            .collect();
        if !surplus.is_empty() {
            let note = format!("too many: {}", surplus.join(", "));
            self.differ_as(place, op.to_string(), value, path, Some(note));
        }
        self.entries(entries, value, path);
    }

    fn expand(&self, text: &str, path: &[String]) -> String {
        expand(self.world, text, path)
    }
}

fn deeper(path: &[String], key: &str) -> Vec<String> {
    let mut longer = path.to_vec();
    longer.push(key.to_owned());
    longer
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
