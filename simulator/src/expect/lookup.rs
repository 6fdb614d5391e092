//! Paths into the world and globs over its names, because keys there hold dots and slashes themselves.

use serde_json::Value;

/// Walks dotted segments; keys that themselves hold dots are found by joining segments.
pub(super) fn find<'v>(value: &'v Value, segments: &[&str]) -> Option<&'v Value> {
    if segments.is_empty() {
        return Some(value);
    }
    (1..=segments.len()).find_map(|taken| {
        let key = segments.get(..taken)?.join(".");
        find(step_into(value, &key)?, segments.get(taken..)?)
    })
}

/// The entry of a mapping or list under a key.
pub(super) fn step_into<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The number of entries of a list or mapping.
pub(super) fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::Object(map) => Some(map.len()),
        _ => None,
    }
}

/// How often a text occurs in a text, or in how many items of a list.
pub(super) fn occurrences(text: &str, value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(whole)) => whole.matches(text).count(),
        Some(Value::Array(items)) => {
            items.iter().filter(|item| item.as_str().is_some_and(|whole| whole.contains(text))).count()
        }
        _ => 0,
    }
}

/// Whether a glob (`*` any run, `?` one character) covers the whole text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || text.get(t) == Some(c)) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

/// Text with its `${..}` replaced; other scalars as they are.
pub(super) fn resolved(world: &Value, expected: &Value, path: &[String]) -> Value {
    match expected {
        Value::String(text) => Value::String(expand(world, text, path)),
        other => other.clone(),
    }
}

/// Replaces every `${path}` by the value at that path of the world.
pub(super) fn expand(world: &Value, text: &str, path: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, tail)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        match lookup(world, reference, path) {
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
pub(super) fn lookup(world: &Value, reference: &str, path: &[String]) -> Option<Value> {
    let mut start = world;
    let mut rest = reference;
    if let Some(relative) = reference.strip_prefix('.') {
        start = path.iter().take(2).try_fold(start, |value, key| step_into(value, key))?;
        rest = relative;
    }
    let segments: Vec<&str> = rest.split('.').collect();
    find(start, &segments).cloned()
}
