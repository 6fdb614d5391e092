//! Which fields of two JSON values differ, because a whole action on one line hides a changed label.

use serde_json::Value;

/// The most differences that are listed.
const LISTED_MAX: usize = 20;
/// The most characters of a value.
const VALUE_WIDTH: usize = 120;

/// One line per field that differs, `path: recorded …, replayed …`.
pub fn differing(recorded: &Value, replayed: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk("", Some(recorded), Some(replayed), &mut lines);
    let more = lines.len().saturating_sub(LISTED_MAX);
    lines.truncate(LISTED_MAX);
    if more > 0 {
        lines.push(format!("… and {more} more fields"));
    }
    lines
}

fn walk(path: &str, recorded: Option<&Value>, replayed: Option<&Value>, lines: &mut Vec<String>) {
    match (recorded, replayed) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                walk(&joined(path, key), a.get(key), b.get(key), lines);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(&format!("{path}[{index}]"), a.get(index), b.get(index), lines);
            }
        }
        (a, b) => lines.push(format!("{path}: recorded {}, replayed {}", shown(a), shown(b))),
    }
}

fn joined(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains('.')) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}[{key:?}]"),
        (false, false) => format!("{path}.{key}"),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = value.to_string();
    match text.char_indices().nth(VALUE_WIDTH) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}
