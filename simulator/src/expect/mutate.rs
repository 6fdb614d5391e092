//! Spoils one leaf of a pattern at a time, because an expectation that still holds when it is spoiled checks
//! nothing.

use serde_json::Value;

use super::pattern::{Op, Pattern, PatternKind};

/// A pattern with one leaf spoiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutant {
    /// The path of the leaf in the pattern, such as `nodes.gpu-1.allocatable.nvidia.com/gpu`.
    pub path: String,
    /// The last name on that path that a diff can name: not an operator, not inside a list that is searched.
    pub name: String,
    /// The whole pattern, that one leaf changed.
    pub pattern: Pattern,
}

const MARK: &str = "-spoiled";
const UNREACHABLE: i64 = 1_000_000_000;

/// One mutant for every leaf of the pattern.
pub fn mutants(pattern: &Pattern) -> Vec<Mutant> {
    let mut out = Vec::new();
    of_pattern(pattern, &mut Vec::new(), &mut |path, pattern| {
        let named = path.iter().take_while(|part| *part != "contains()");
        let name = named.filter(|part| !part.ends_with("()")).last().cloned().unwrap_or_default();
        out.push(Mutant { path: path.join("."), name, pattern });
    });
    out
}

type Entries = Vec<(String, Pattern)>;
type Emit<'e> = &'e mut dyn FnMut(&[String], Pattern);
type EmitEntries<'e> = &'e mut dyn FnMut(&[String], Entries);

fn of_pattern(pattern: &Pattern, path: &mut Vec<String>, emit: Emit<'_>) {
    let place = pattern.place;
    let rebuilt = |kind| Pattern { place, kind };
    match &pattern.kind {
        PatternKind::Equals(value) => emit(path, rebuilt(PatternKind::Equals(spoiled(value)))),
        PatternKind::Has(entries) => {
            of_entries(entries, path, &mut |path, entries| emit(path, rebuilt(PatternKind::Has(entries))));
        }
        PatternKind::Items(items) => {
            let extra = Pattern { place, kind: PatternKind::Equals(Value::from(MARK)) };
            let longer = items.iter().cloned().chain([extra]).collect();
            emit(path, rebuilt(PatternKind::Items(longer)));
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                of_pattern(item, path, &mut |path, changed| {
                    emit(path, rebuilt(PatternKind::Items(replaced(items, index, changed))));
                });
                path.pop();
            }
        }
        PatternKind::Ops(ops) => {
            for (index, op) in ops.iter().enumerate() {
                of_op(op, path, &mut |path, changed| {
                    emit(path, rebuilt(PatternKind::Ops(replaced(ops, index, changed))));
                });
            }
        }
    }
}

fn of_entries(entries: &[(String, Pattern)], path: &mut Vec<String>, emit: EmitEntries<'_>) {
    for (index, (key, inner)) in entries.iter().enumerate() {
        path.push(key.clone());
        of_pattern(inner, path, &mut |path, changed| {
            emit(path, replaced(entries, index, (key.clone(), changed)));
        });
        path.pop();
    }
}

fn of_op(op: &Op, path: &mut Vec<String>, emit: &mut dyn FnMut(&[String], Op)) {
    let wrapped = |path: &mut Vec<String>,
                   name: &str,
                   inner: &Pattern,
                   emit: &mut dyn FnMut(&[String], Op),
                   wrap: fn(Box<Pattern>) -> Op| {
        path.push(format!("{name}()"));
        of_pattern(inner, path, &mut |path, changed| emit(path, wrap(Box::new(changed))));
        path.pop();
    };
    match op {
        Op::Absent(absent) => emit(path, Op::Absent(!absent)),
        Op::Contains(inner) => wrapped(path, "contains", inner, emit, Op::Contains),
        Op::ContainsOnce(text) => emit(path, Op::ContainsOnce(format!("{text}{MARK}"))),
        Op::Matches(pattern) => emit(path, Op::Matches(format!("{pattern}{MARK}"))),
        Op::AtLeast(n) => emit(path, Op::AtLeast(n.saturating_add(UNREACHABLE))),
        Op::AtMost(n) => emit(path, Op::AtMost(n.saturating_sub(UNREACHABLE))),
        Op::Size(inner) => wrapped(path, "size", inner, emit, Op::Size),
        Op::Each(inner) => wrapped(path, "each", inner, emit, Op::Each),
        Op::Exactly(entries) => {
            if entries.is_empty() {
                emit(path, Op::Exactly(vec![(MARK.to_owned(), any())]));
            }
            for index in 0..entries.len() {
                let fewer = entries
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != index)
                    .map(|(_, e)| e.clone())
                    .collect();
                emit(path, Op::Exactly(fewer));
            }
            of_entries(entries, path, &mut |path, entries| emit(path, Op::Exactly(entries)));
        }
        Op::SameAs { path: other, negated } => {
            emit(path, Op::SameAs { path: other.clone(), negated: !negated });
        }
        Op::UnchangedSince { step, negated } => {
            emit(path, Op::UnchangedSince { step: step.clone(), negated: !negated });
        }
    }
}

fn any() -> Pattern {
    Pattern { place: crate::scenario::problem::Place::START, kind: PatternKind::Ops(vec![Op::Absent(false)]) }
}

fn spoiled(value: &Value) -> Value {
    match value {
        Value::Bool(b) => Value::from(!b),
        Value::Number(n) => n.as_i64().map_or(Value::from(MARK), |n| Value::from(n.saturating_add(1))),
        Value::String(text) => Value::from(format!("{text}{MARK}")),
        _ => Value::from(MARK),
    }
}

fn replaced<T: Clone>(items: &[T], index: usize, changed: T) -> Vec<T> {
    let mut copy = items.to_vec();
    if let Some(slot) = copy.get_mut(index) {
        *slot = changed;
    }
    copy
}
