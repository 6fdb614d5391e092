//! A file that fits on a few screens gets read; this holds hard limits, and ratchets that may only turn one way.

use super::Finding;
use super::code;
use super::tree::File;

/// No file of production code may be longer (lines outside test items).
pub const FILE_LINES_MAX: usize = 500;
/// Files above this are counted by the ratchet.
pub const FILE_LINES_AIM: usize = 300;
/// Functions above this are counted by the ratchet.
pub const FUNCTION_LINES_AIM: usize = 70;

/// Limits of files that must stay maps or loops, by the end of their path.
const MAPS: &[(&str, usize, &str)] = &[
    ("/lib.rs", 80, "a lib.rs is a map: what the crate is and where things are"),
    ("/main.rs", 60, "a main.rs starts things: settings, build, run, exit code"),
    ("plugin/daemon/src/run.rs", 200, "the loop waits, journals, calls the core and performs; nothing else"),
];

/// Files longer than the hard limit, and maps longer than a map.
pub fn hard_limits(file: &File) -> Vec<Finding> {
    let lines = code::production(&file.text).lines;
    let mut findings = Vec::new();
    if lines > FILE_LINES_MAX {
        let what =
            format!("{lines} production lines; at most {FILE_LINES_MAX}: split it by what it is about");
        findings.push(Finding::file(&file.path, what));
    }
    for (end, max, why) in MAPS {
        if file.path.ends_with(end) && lines > *max {
            findings
                .push(Finding::file(&file.path, format!("{lines} production lines; at most {max}: {why}")));
        }
    }
    findings
}

/// Files longer than one aims for; a ratchet counts them.
pub fn long_files(file: &File) -> Vec<Finding> {
    let lines = code::production(&file.text).lines;
    if lines <= FILE_LINES_AIM {
        return Vec::new();
    }
    vec![Finding::file(&file.path, format!("{lines} production lines; aim for {FILE_LINES_AIM}"))]
}

/// Functions longer than one aims for; a ratchet counts them.
pub fn long_functions(file: &File) -> Vec<Finding> {
    let production = code::production(&file.text);
    let functions = code::functions(&production.code).into_iter().filter(|f| f.lines > FUNCTION_LINES_AIM);
    functions
        .map(|f| {
            let what = format!("function `{}` has {} lines; aim for {FUNCTION_LINES_AIM}", f.name, f.lines);
            Finding::at(&file.path, f.line, what)
        })
        .collect()
}

/// What a count means against the one written down.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// As written down.
    Same,
    /// There are more than written down: the change must be made shorter.
    Grew {
        /// The count written down.
        from: usize,
        /// The count now.
        to: usize,
    },
    /// There are fewer: the lower number must be written down, so that it cannot grow back.
    Shrank {
        /// The count written down.
        from: usize,
        /// The count now.
        to: usize,
    },
}

/// Counts that may only shrink, kept in a text file of `name = count` lines.
#[derive(Debug, Clone)]
pub struct Ratchet {
    text: String,
}

impl Ratchet {
    /// The ratchet as kept in its file.
    pub fn read(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The count written down under a name; nothing where the line is missing or is no number.
    pub fn count(&self, name: &str) -> Option<usize> {
        self.text.lines().find_map(|line| value_of(line, name)).and_then(|value| value.parse().ok())
    }

    /// Compares a count with the one written down; a missing line counts as 0.
    pub fn turn(&self, name: &str, to: usize) -> Turn {
        let from = self.count(name).unwrap_or(0);
        match to.cmp(&from) {
            std::cmp::Ordering::Equal => Turn::Same,
            std::cmp::Ordering::Greater => Turn::Grew { from, to },
            std::cmp::Ordering::Less => Turn::Shrank { from, to },
        }
    }

    /// The file's text with a lower count under a name; a higher one changes nothing.
    pub fn lowered(&self, name: &str, to: usize) -> String {
        let lower = |line: &str| match value_of(line, name).and_then(|value| value.parse::<usize>().ok()) {
            Some(from) if to < from => format!("{name} = {to}\n"),
            _ => format!("{line}\n"),
        };
        self.text.lines().map(lower).collect()
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once('=')?;
    (key.trim() == name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> File {
        File::new(path, &"const A: u8 = 1;\n".repeat(lines))
    }

    #[test]
    fn a_file_over_the_hard_limit_is_found_and_its_tests_do_not_count() {
        assert_eq!(hard_limits(&file("a/src/b.rs", FILE_LINES_MAX)), []);
        assert_eq!(hard_limits(&file("a/src/b.rs", FILE_LINES_MAX + 1)).len(), 1);
        let mut tested = file("a/src/b.rs", FILE_LINES_MAX);
        tested.text.push_str(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(50)));
        assert_eq!(hard_limits(&tested), []);
    }

    #[test]
    fn a_map_that_became_a_program_is_found() {
        for (end, max, _) in MAPS {
            let path = if end.starts_with('/') { format!("a/src{end}") } else { (*end).to_owned() };
            assert_eq!(hard_limits(&file(&path, *max)), [], "{path}");
            assert_eq!(hard_limits(&file(&path, max + 1)).len(), 1, "{path}");
        }
    }

    #[test]
    fn long_files_and_functions_are_counted() {
        assert_eq!(long_files(&file("a/src/b.rs", FILE_LINES_AIM)), []);
        assert_eq!(long_files(&file("a/src/b.rs", FILE_LINES_AIM + 1)).len(), 1);
        let body =
            |lines: usize| format!("fn a() {{}}\nfn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2));
        assert_eq!(long_functions(&File::new("a.rs", &body(FUNCTION_LINES_AIM))), []);
        let found = long_functions(&File::new("a.rs", &body(FUNCTION_LINES_AIM + 1)));
        assert_eq!(found, [Finding::at("a.rs", 2, "function `long` has 71 lines; aim for 70")]);
    }

    #[test]
    fn a_ratchet_turns_one_way() {
        let ratchet = Ratchet::read("# counts\nlong = 3\n\nother = 5\n");
        assert_eq!(ratchet.turn("long", 3), Turn::Same);
        assert_eq!(ratchet.turn("long", 4), Turn::Grew { from: 3, to: 4 });
        assert_eq!(ratchet.turn("long", 2), Turn::Shrank { from: 3, to: 2 });
        assert_eq!(ratchet.turn("missing", 1), Turn::Grew { from: 0, to: 1 });
        assert_eq!(ratchet.lowered("long", 2), "# counts\nlong = 2\n\nother = 5\n");
        assert_eq!(ratchet.lowered("long", 4), "# counts\nlong = 3\n\nother = 5\n");
    }
}
