//! The core may not touch the world and nobody may switch the safety lints off; this reads the code for both.

use super::Finding;
use super::code;
use super::tree::File;

/// Paths that would let the deciding crate read the world, with what to do instead.
const CORE_PATHS: &[(&str, &str)] = &[
    ("std::fs", "a fact about files arrives inside an event"),
    ("std::io", "effects belong to plugin-daemon"),
    ("std::net", "effects belong to plugin-daemon"),
    ("std::os", "effects belong to plugin-daemon"),
    ("std::env", "settings arrive as arguments"),
    ("std::process", "effects belong to plugin-daemon"),
    ("std::thread", "the core is one state machine"),
    ("std::time::Instant", "time is an argument, see time.rs"),
    ("std::time::SystemTime", "time is an argument, see time.rs"),
];

/// Words that would make the deciding crate impure or its order random, with what to do instead.
const CORE_WORDS: &[(&str, &str)] = &[
    ("HashMap", "use BTreeMap: its order is the same in every run"),
    ("HashSet", "use BTreeSet: its order is the same in every run"),
    ("Instant", "time is an argument, see time.rs"),
    ("SystemTime", "time is an argument, see time.rs"),
    ("tokio", "the core is synchronous"),
    ("async", "the core is synchronous"),
    ("await", "the core is synchronous"),
    ("rand", "randomness arrives inside an event"),
    ("Mutex", "the view is swapped, never locked"),
    ("RwLock", "the view is swapped, never locked"),
    ("println", "the core prints nothing: emit an action"),
    ("eprintln", "the core prints nothing: emit an action"),
    ("print", "the core prints nothing: emit an action"),
    ("eprint", "the core prints nothing: emit an action"),
];

/// What in a file of the deciding crate could do IO, read a clock, or differ between two runs.
pub fn core(file: &File) -> Vec<Finding> {
    let production = code::production(&file.text).code;
    let mut findings = Vec::new();
    for (line, path) in code::paths(&production) {
        for (banned, instead) in CORE_PATHS {
            let below =
                path.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if below {
                findings.push(Finding::at(&file.path, line, format!("`{banned}` in the core; {instead}")));
            }
        }
    }
    for (line, word) in code::words(&production) {
        if let Some((banned, instead)) = CORE_WORDS.iter().find(|(banned, _)| *banned == word) {
            findings.push(Finding::at(&file.path, line, format!("`{banned}` in the core; {instead}")));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Where `unsafe` stands in a file that is not on the list. An entry ending in `/` allows a directory.
pub fn unsafe_code(file: &File, allowed: &[&str]) -> Vec<Finding> {
    if allowed.iter().any(|a| file.path == *a || (a.ends_with('/') && file.path.starts_with(a))) {
        return Vec::new();
    }
    let code = code::without_comments_and_strings(&file.text);
    code::words(&code)
        .filter(|(_, word)| *word == "unsafe")
        .map(|(line, _)| Finding::at(&file.path, line, "`unsafe` outside the files that may hold it"))
        .collect()
}

/// Entries of the list for `unsafe` that no longer hold any.
pub fn unsafe_list_stale(files: &[File], allowed: &[&str]) -> Vec<Finding> {
    let holds = |entry: &&str| {
        files.iter().any(|file| !unsafe_code(file, &[]).is_empty() && file.path.starts_with(*entry))
    };
    let stale = allowed.iter().filter(|entry| !holds(entry));
    stale.map(|entry| Finding::file(entry, "holds no `unsafe` any more; take it off the list")).collect()
}

/// Macros that stand for work not done, in any Rust file.
pub fn unfinished(file: &File) -> Vec<Finding> {
    let code = code::without_comments_and_strings(&file.text);
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for name in ["todo", "unimplemented"] {
            let calls = line.match_indices(name).filter(|(at, _)| {
                let before = line[..*at].chars().next_back();
                !before.is_some_and(code::is_word) && line[at + name.len()..].starts_with('!')
            });
            findings.extend(
                calls.map(|_| Finding::at(&file.path, index + 1, format!("`{name}!` is work not done"))),
            );
        }
    }
    findings
}

/// Lints that production code may not switch off: each of them stands between a bad input and a crash.
const FIRM_LINTS: &[&str] = &[
    "unwrap_used",
    "expect_used",
    "panic",
    "todo",
    "unimplemented",
    "dbg_macro",
    "undocumented_unsafe_blocks",
    "await_holding_lock",
];

/// `allow(..)` or `expect(..)` of a firm lint in production code.
pub fn lints_switched_off(file: &File) -> Vec<Finding> {
    let production = code::production(&file.text).code;
    let mut findings = Vec::new();
    for attribute in attributes(&production) {
        let switches_off = code::words(attribute.text).any(|(_, w)| w == "allow" || w == "expect");
        let only_in_tests = attribute.text.starts_with("cfg_attr(test,");
        if !switches_off || only_in_tests {
            continue;
        }
        for lint in FIRM_LINTS {
            if attribute.text.contains(&format!("clippy::{lint}"))
                && code::words(attribute.text).any(|(_, w)| w == *lint)
            {
                let what =
                    format!("`clippy::{lint}` is switched off in production code; return an error instead");
                findings.push(Finding::at(&file.path, attribute.line, what));
            }
        }
    }
    findings
}

struct Attribute<'a> {
    line: usize,
    text: &'a str,
}

/// The insides of `#[..]` and `#![..]`.
fn attributes(code: &str) -> Vec<Attribute<'_>> {
    let mut found = Vec::new();
    for opening in ["#[", "#!["] {
        for (at, _) in code.match_indices(opening) {
            let rest = &code[at + opening.len()..];
            let mut depth = 1usize;
            let end = rest.char_indices().find(|(_, c)| {
                match c {
                    '[' => depth += 1,
                    ']' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            let line = 1 + code[..at].matches('\n').count();
            found.push(Attribute { line, text: &rest[..end.map_or(rest.len(), |(end, _)| end)] });
        }
    }
    found
}

/// A lock around shared state in production code: state has one owner, the loop, and readers get snapshots.
pub fn locked_state(file: &File) -> Vec<Finding> {
    let production = code::production(&file.text).code;
    let mut findings = Vec::new();
    for (index, line) in production.lines().enumerate() {
        let packed: String = line.split_whitespace().collect();
        if packed.contains("Arc<Mutex<") || packed.contains("Arc<RwLock<") {
            findings.push(Finding::at(
                &file.path,
                index + 1,
                "a lock around shared state; send an event or swap a view",
            ));
        }
    }
    findings
}

/// Code that was put into a comment instead of being deleted.
pub fn commented_out(file: &File) -> Vec<Finding> {
    const STARTS: [&str; 9] = ["let ", "use ", "fn ", "pub ", "if ", "for ", "match ", "return ", "assert"];
    let is_code = |line: &str| {
        let Some(comment) = line.trim_start().strip_prefix("// ") else {
            return false;
        };
        STARTS.iter().any(|s| comment.starts_with(s)) && comment.ends_with([';', '{'])
    };
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| is_code(line))
        .map(|(index, _)| Finding::at(&file.path, index + 1, "code in a comment; delete it, git remembers"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|f| f.line).collect()
    }

    #[test]
    fn every_banned_path_and_word_is_found_in_the_core() {
        for (path, _) in CORE_PATHS {
            let (parent, leaf) = path.rsplit_once("::").expect("a path has two parts");
            for text in [
                format!("use {path};"),
                format!("use {parent}::{{\n  fmt,\n  {leaf}}};"),
                format!("let x = {path}::y();"),
            ] {
                assert!(!core(&File::new("plugin/core/src/a.rs", &text)).is_empty(), "not found: {text}");
            }
        }
        for (word, _) in CORE_WORDS {
            let text = format!("fn a() {{ {word}(x) }}");
            assert!(!core(&File::new("plugin/core/src/a.rs", &text)).is_empty(), "not found: {text}");
        }
    }

    #[test]
    fn what_the_core_may_do_is_not_found() {
        let text = "//! No tokio, no HashMap.\nuse std::{fmt, time::Duration};\nconst A: &str = \"std::fs\";\n\
                    #[cfg(test)]\nmod tests { use std::collections::HashMap; }\n";
        assert_eq!(core(&File::new("plugin/core/src/a.rs", text)), []);
    }

    #[test]
    fn unsafe_is_found_outside_its_files_only() {
        let text = "// unsafe\n#[allow(unsafe_code)]\nfn a() { unsafe { b() } }";
        let file = File::new("fakes/nvml/src/a.rs", text);
        assert_eq!(lines(&unsafe_code(&file, &["fakes/nvml/src/ab.rs"])), [3]);
        assert_eq!(unsafe_code(&file, &["fakes/nvml/src/a.rs"]), []);
        assert_eq!(unsafe_code(&file, &["fakes/nvml/"]), []);
    }

    #[test]
    fn a_file_that_no_longer_holds_unsafe_is_found_on_the_list() {
        let files = [File::new("a/b.rs", "unsafe { c() }"), File::new("a/d.rs", "// unsafe")];
        let stale = unsafe_list_stale(&files, &["a/b.rs", "a/d.rs", "a/gone.rs", "a/"]);
        assert_eq!(stale.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a/d.rs", "a/gone.rs"]);
    }

    #[test]
    fn unfinished_work_is_found() {
        let text =
            format!("fn a() {{ {}!() }}\nfn b() {{ {}!(\"later\") }}\nlet {0} = 1;", "todo", "unimplemented");
        assert_eq!(lines(&unfinished(&File::new("a.rs", &text))), [1, 2]);
    }

    #[test]
    fn a_firm_lint_that_is_switched_off_is_found() {
        let text = "#![cfg_attr(test, allow(clippy::panic))]\n#[allow(clippy::unwrap_used)]\nfn a() {}\n\
                    #[expect(\n  clippy::panic, reason = \"x\")]\nfn b() {}\n#[allow(clippy::too_many_arguments)]\nfn c() {}\n\
                    #[cfg(test)]\n#[allow(clippy::panic)]\nmod tests {}\n";
        assert_eq!(lines(&lints_switched_off(&File::new("a/src/a.rs", text))), [2, 4]);
    }

    #[test]
    fn a_lock_around_shared_state_is_found() {
        let text = "struct A { a: Arc<Mutex<u8>>, b: Arc<View> }\ntype B = Arc< RwLock<u8>>;";
        assert_eq!(lines(&locked_state(&File::new("a.rs", text))), [1, 2]);
    }

    #[test]
    fn code_in_a_comment_is_found_and_prose_is_not() {
        let text = "    // let x = 1;\n// if it fails, say so;\n/// let y = 2;\n// for a reader: x;y\n// return here\n";
        let text = text.replace("// if it fails, say so;", "// If it fails, say so;");
        assert_eq!(lines(&commented_out(&File::new("a.rs", &text))), [1]);
    }
}
