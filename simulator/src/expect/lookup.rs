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
        Some(Value::Array(items)) => items
            .iter()
            .filter(|item| item.as_str().is_some_and(|whole| whole.contains(text)))
            .count(),
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
        } else if pattern
            .get(p)
            .is_some_and(|c| *c == '?' || text.get(t) == Some(c))
        {
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
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}
