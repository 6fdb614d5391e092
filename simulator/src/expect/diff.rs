//! Differences as text, because a failed expectation is read by a person at 3 a.m.: path, expected, found, place.

use super::matcher::Mismatch;

/// The most differences that are printed; the rest is counted.
pub const SHOWN_MAX: usize = 12;
/// The most characters of a found value that are printed.
const VALUE_CHARS_MAX: usize = 400;

/// The differences, one block each.
pub fn render(file: &str, mismatches: &[Mismatch]) -> String {
    let mut out = String::new();
    for mismatch in mismatches.iter().take(SHOWN_MAX) {
        let path = if mismatch.path.is_empty() { "the world" } else { &mismatch.path };
        out.push_str(&format!("{path}   ({file}:{})\n", mismatch.place));
        out.push_str(&format!("  - expected  {}\n", shortened(&mismatch.expected)));
        out.push_str(&format!("  + found     {}\n", found(mismatch)));
        if let Some(note) = &mismatch.note {
            out.push_str(&format!("              {}\n", shortened(note)));
        }
    }
    if mismatches.len() > SHOWN_MAX {
        out.push_str(&format!("… and {} more\n", mismatches.len() - SHOWN_MAX));
    }
    out
}

/// What must not be and is, one block for each leaf.
pub fn render_witness(file: &str, leaves: &[Mismatch]) -> String {
    let mut out = String::new();
    for leaf in leaves.iter().take(SHOWN_MAX) {
        out.push_str(&format!("{}   ({file}:{})\n", leaf.path, leaf.place));
        out.push_str(&format!("  - never     {}\n", shortened(&leaf.expected)));
        out.push_str(&format!("  + found     {}\n", found(leaf)));
    }
    out
}

fn found(mismatch: &Mismatch) -> String {
    let Some(actual) = &mismatch.actual else {
        return "nothing".to_owned();
    };
    let text = actual.to_string();
    let same_but_for_type = text.trim_matches('"') == mismatch.expected.trim_matches('"');
    if same_but_for_type && text != mismatch.expected {
        let is_text = actual.is_string();
        return format!("{text}, which is {}text", if is_text { "" } else { "not " });
    }
    shortened(&text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::problem::Place;
    use serde_json::json;

    fn mismatch(expected: &str, actual: Option<serde_json::Value>) -> Mismatch {
        Mismatch {
            place: Place::new(7, 3),
            path: "pods.a.phase".into(),
            expected: expected.into(),
            actual,
            note: None,
        }
    }

    #[test]
    fn a_difference_names_path_place_expected_and_found() {
        let text = render("s.yaml", &[mismatch("\"Running\"", Some(json!("Failed")))]);
        assert_eq!(
            text,
            "pods.a.phase   (s.yaml:7:3)\n  - expected  \"Running\"\n  + found     \"Failed\"\n"
        );
        assert!(render("s.yaml", &[mismatch("1", None)]).contains("found     nothing"));
    }

    #[test]
    fn a_difference_of_type_alone_is_said() {
        assert!(render("s.yaml", &[mismatch("4", Some(json!("4")))]).contains("\"4\", which is text"));
        assert!(render("s.yaml", &[mismatch("\"4\"", Some(json!(4)))]).contains("4, which is not text"));
    }

    #[test]
    fn long_lists_of_differences_are_cut_and_counted() {
        let many = vec![mismatch("1", None); SHOWN_MAX + 3];
        assert!(render("s.yaml", &many).ends_with("… and 3 more\n"));
    }
}
