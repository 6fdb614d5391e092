//! The repository speaks of the product alone, and production never of its stand-ins; this searches the text.
//!
//! The patterns are put together from pieces, so that this file does not find itself.

use super::Finding;
use super::code::is_word;
use super::tree::File;

/// What production must not know to exist, in any case and inside longer words too.
const STAND_INS: &[&str] = &["fake", "simulator", "tandem-sim"];

/// Mentions of stand-ins in a production file, comments included.
pub fn stand_ins(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        for word in STAND_INS.iter().filter(|word| lower.contains(**word)) {
            findings.push(Finding::at(
                &file.path,
                index + 1,
                format!("production must not speak of `{word}`"),
            ));
        }
    }
    findings
}

/// Paths of somebody's machine.
fn machine_paths() -> Vec<String> {
    ["work", "root", "tmp/t", "home/runner"].iter().map(|middle| format!("/{middle}/")).collect()
}

/// Words about how the text was made.
fn foreign_words() -> Vec<String> {
    let pieces: [&[&str]; 9] = [
        &["cla", "ude"],
        &["chat", "gpt"],
        &["anth", "ropic"],
        &["language ", "model"],
        &["sub", "agent"],
        &["before", "-stop"],
        &["this ", "vm"],
        &["this ", "sandbox"],
        &["this ", "workplace"],
    ];
    pieces.iter().map(|parts| parts.concat()).collect()
}

/// Machine paths and words that do not belong in the product, in any text file.
pub fn not_the_product(file: &File) -> Vec<Finding> {
    let paths = machine_paths();
    let words = foreign_words();
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let path = |c: char| is_word(c) || ['-', '.', '/', '}', '>'].contains(&c);
        for pattern in paths.iter().filter(|p| found(&lower, p, path, |_| false)) {
            findings.push(Finding::at(
                &file.path,
                index + 1,
                format!("`{pattern}` is a path of one machine"),
            ));
        }
        for word in words.iter().filter(|w| found(&lower, w, is_word, is_word)) {
            findings.push(Finding::at(
                &file.path,
                index + 1,
                format!("`{word}` does not belong in the product"),
            ));
        }
    }
    findings
}

/// Whether the pattern occurs where neither neighbour continues it.
fn found(
    line: &str,
    pattern: &str,
    continues_before: impl Fn(char) -> bool,
    continues_after: impl Fn(char) -> bool,
) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(&continues_before);
        let after = line[at + pattern.len()..].chars().next().is_some_and(&continues_after);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stand_in_is_found_in_code_and_comments() {
        for word in STAND_INS {
            for text in [format!("// unlike the {word}"), format!("struct {}Gpu;", word.to_uppercase())] {
                assert_eq!(stand_ins(&File::new("plugin/core/src/a.rs", &text)).len(), 1, "{text}");
            }
        }
        assert_eq!(stand_ins(&File::new("plugin/core/src/a.rs", "// the kubelet, NVML, a mock")), []);
    }

    #[test]
    fn every_machine_path_and_foreign_word_is_found() {
        for path in machine_paths() {
            assert_eq!(not_the_product(&File::new("a.md", &format!("x\nsee {path}a"))).len(), 1, "{path}");
            let longer = format!("see $dir{path}a and a{path}b");
            assert_eq!(not_the_product(&File::new("a.md", &longer)), [], "{longer}");
        }
        for word in foreign_words() {
            let text = format!("made by {}.", word.to_uppercase());
            assert_eq!(not_the_product(&File::new("a.md", &text)).len(), 1, "{text}");
            assert_eq!(not_the_product(&File::new("a.md", &format!("x{word}x"))), []);
        }
    }

    #[test]
    fn this_file_does_not_find_itself() {
        assert_eq!(not_the_product(&File::new("words.rs", include_str!("words.rs"))), []);
    }
}
