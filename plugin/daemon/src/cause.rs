//! One line from an error and everything that caused it: libraries hide the part that an operator needs in the causes.

use std::error::Error;

/// Most causes that are followed.
const CAUSES_MAX: usize = 8;
/// Longest line in characters.
const LINE_CHARS_MAX: usize = 600;

/// The messages of the error and its causes, each once, joined by `: `.
pub(crate) fn line(error: &dyn Error) -> String {
    let mut parts: Vec<String> = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause.filter(|_| parts.len() <= CAUSES_MAX) {
        let text = error.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    one_line(&parts.join(": "))
}

/// Line ends become spaces; the end of a long text is cut.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_cause_is_part_of_the_line() {
        let error = Outer(std::io::Error::other("inner\nreason"));
        assert_eq!(line(&error), "outer failed: inner reason");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(one_line(&"é".repeat(2_000)).chars().count(), LINE_CHARS_MAX + 1);
    }
}
