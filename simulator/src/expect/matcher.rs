//! Matches patterns against the world, because every verdict of a scenario is made here and nowhere else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lookup::{find, glob, occurrences, size, step_into};
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
    let mut run = Run {
        world,
        memory,
        found: Vec::new(),
    };
    run.pattern(pattern, Some(world), &[]);
    run.found
}

struct Run<'w> {
    world: &'w Value,
    memory: &'w Memory,
    found: Vec<Mismatch>,
}

impl Run<'_> {
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
        self.found.push(Mismatch {
            place,
            path: path.join("."),
            expected,
            actual: actual.cloned(),
            note,
        });
    }

    fn pattern(&mut self, pattern: &Pattern, value: Option<&Value>, path: &[String]) {
        match &pattern.kind {
            PatternKind::Equals(expected) => {
                let expected = self.resolved(expected, path);
                if value != Some(&expected) {
                    self.differ_as(pattern.place, expected.to_string(), value, path, None);
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
            let covered: Vec<&String> = object
                .into_iter()
                .flat_map(|map| map.keys())
                .filter(|name| glob(key, name))
                .collect();
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
                value
                    .and_then(Value::as_str)
                    .is_some_and(|text| glob(&pattern, text))
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
                let other = self.lookup(other, path);
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
        if !holds {
            self.differ_as(place, op.to_string(), value, path, None);
        }
    }

    fn contains(&mut self, inner: &Pattern, value: Option<&Value>, path: &[String]) -> bool {
        match (value, &inner.kind) {
            (Some(Value::String(text)), PatternKind::Equals(Value::String(part))) => {
                text.contains(&self.expand(part, path))
            }
            (Some(Value::Array(items)), _) => items.iter().any(|item| {
                let mut probe = Run {
                    world: self.world,
                    memory: self.memory,
                    found: Vec::new(),
                };
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
            _ => self.differ_as(
                place,
                format!("one entry at least, each {inner}"),
                value,
                path,
                None,
            ),
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

    /// Text with its `${..}` replaced; other scalars as they are.
    fn resolved(&self, expected: &Value, path: &[String]) -> Value {
        match expected {
            Value::String(text) => Value::String(self.expand(text, path)),
            other => other.clone(),
        }
    }

    fn expand(&self, text: &str, path: &[String]) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((reference, tail)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            match self.lookup(reference, path) {
                Some(Value::String(found)) => out.push_str(&found),
                Some(found) => out.push_str(&found.to_string()),
                None => out.push_str(&format!("<nothing at {reference}>")),
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    /// The value at a path: from the root, or, with a leading dot, from the enclosing node or pod.
    fn lookup(&self, reference: &str, path: &[String]) -> Option<Value> {
        let mut start = self.world;
        let mut rest = reference;
        if let Some(relative) = reference.strip_prefix('.') {
            start = path
                .iter()
                .take(2)
                .try_fold(start, |value, key| step_into(value, key))?;
            rest = relative;
        }
        let segments: Vec<&str> = rest.split('.').collect();
        find(start, &segments).cloned()
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
