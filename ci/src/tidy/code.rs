//! Rules about code must not trip over comments, strings and tests; this is the little lexer that removes them.
//!
//! Everything here keeps line numbers: what is removed is replaced by spaces, newlines stay.

/// Replaces comments, string contents and character literals by spaces.
pub fn without_comments_and_strings(text: &str) -> String {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, out: String::with_capacity(text.len()) };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    out: String,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn keep(&mut self) {
        self.out.push(self.peek(0));
        self.at += 1;
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count.min(self.chars.len() - self.at) {
            self.out.push(if self.peek(0) == '\n' { '\n' } else { ' ' });
            self.at += 1;
        }
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.blank_until(|l| l.peek(0) == '\n'),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', '\\') => self.escaped_char(),
            ('\'', _) if self.peek(2) == '\'' => self.blank(3),
            ('r', '"' | '#') | ('b' | 'c', 'r') if !self.inside_word() => self.maybe_raw_string(),
            _ => self.keep(),
        }
    }

    fn inside_word(&self) -> bool {
        self.at > 0 && is_word(self.chars[self.at - 1])
    }

    fn blank_until(&mut self, end: impl Fn(&Self) -> bool) {
        while self.at < self.chars.len() && !end(self) {
            self.blank(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.blank(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.blank(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.blank(1),
            }
        }
    }

    fn string(&mut self) {
        self.blank(1);
        while self.at < self.chars.len() {
            match self.peek(0) {
                '\\' => self.blank(2),
                '"' => return self.blank(1),
                _ => self.blank(1),
            }
        }
    }

    fn escaped_char(&mut self) {
        self.blank(3);
        self.blank_until(|l| l.peek(0) == '\'' || l.peek(0) == '\n');
        self.blank(1);
    }

    fn maybe_raw_string(&mut self) {
        let prefix = if self.peek(0) == 'r' { 1 } else { 2 };
        let mut hashes = 0;
        while self.peek(prefix + hashes) == '#' {
            hashes += 1;
        }
        if self.peek(prefix + hashes) != '"' {
            return self.keep();
        }
        self.blank(prefix + hashes + 1);
        self.blank_until(|l| l.peek(0) == '"' && (1..=hashes).all(|n| l.peek(n) == '#'));
        self.blank(1 + hashes);
    }
}

/// Whether a character can be part of an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every identifier and keyword with its line (from 1).
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c| !is_word(c)).filter(|w| !w.is_empty()).map(move |w| (index + 1, w))
    })
}

/// Code outside `#[cfg(test)]` items.
#[derive(Debug)]
pub struct Production {
    /// Without comments, strings and test items; lines as in the file.
    pub code: String,
    /// Lines of the file that are not inside a test item.
    pub lines: usize,
}

/// Takes the `#[cfg(test)]` items out of a file.
pub fn production(text: &str) -> Production {
    let stripped = without_comments_and_strings(text);
    let mut chars: Vec<char> = stripped.chars().collect();
    let total = text.lines().count();
    let mut removed = 0;
    let mut from = 0;
    while let Some(start) = find_test_attribute(&chars, from) {
        let end = end_of_item(&chars, start);
        removed += 1 + chars[start..end].iter().filter(|c| **c == '\n').count();
        for c in &mut chars[start..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        from = end;
    }
    Production { code: chars.into_iter().collect(), lines: total.saturating_sub(removed) }
}

fn find_test_attribute(chars: &[char], from: usize) -> Option<usize> {
    (from..chars.len()).find(|&at| {
        ["#[cfg(test)]", "#[cfg(all(test,"].iter().any(|attribute| starts_with(&chars[at..], attribute))
    })
}

fn starts_with(chars: &[char], text: &str) -> bool {
    let mut rest = chars.iter();
    text.chars().all(|c| rest.next() == Some(&c))
}

/// The index after the item whose attributes start at `start`: after its `;`, or after its closing brace.
fn end_of_item(chars: &[char], start: usize) -> usize {
    let mut brackets = 0usize;
    for at in start..chars.len() {
        match chars[at] {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 => return at + 1,
            '{' if brackets == 0 => return closing_brace(chars, at) + 1,
            _ => {}
        }
    }
    chars.len()
}

/// The index of the brace that closes the one at `open` (or the last index, when none does).
fn closing_brace(chars: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    chars.len().saturating_sub(1)
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub lines: usize,
}

/// The functions in code that [`without_comments_and_strings`] or [`production`] returned.
pub fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..chars.len() {
        if chars[at] == '\n' {
            line += 1;
        }
        let starts_word = at == 0 || !is_word(chars[at - 1]);
        if !(starts_word && starts_with(&chars[at..], "fn ")) {
            continue;
        }
        let name: String = chars[at + 3..].iter().take_while(|c| is_word(**c)).collect();
        let end = end_of_item(&chars, at);
        if !name.is_empty() && end > 0 && chars[end - 1] == '}' {
            let lines = 1 + chars[at..end].iter().filter(|c| **c == '\n').count();
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// The paths that code names, with their lines: `a::b::c` where it stands, and every leaf of a `use` tree.
pub fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut line = 1;
    while let Some(start) = rest.find("use ") {
        let inside_word = rest[..start].chars().next_back().is_some_and(is_word);
        line += rest[..start].matches('\n').count();
        rest = &rest[start + 4..];
        if inside_word {
            continue;
        }
        let tree: String = rest.split(';').next().unwrap_or_default().split_whitespace().collect();
        expand_use_tree("", &tree, &mut |path| found.push((line, path)));
    }
    for (index, text) in code.lines().enumerate() {
        let plain = text.split(|c: char| !is_word(c) && c != ':').filter(|p| p.contains("::"));
        found.extend(plain.map(|path| (index + 1, path.trim_matches(':').to_owned())));
    }
    found
}

fn expand_use_tree(prefix: &str, tree: &str, found: &mut impl FnMut(String)) {
    let Some(open) = tree.find('{') else {
        return found(format!("{prefix}{tree}"));
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let mut depth = 0usize;
    let mut start = 0;
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand_use_tree(&prefix, &inner[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < inner.len() {
        expand_use_tree(&prefix, &inner[start..], found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_leave_the_lines_in_place() {
        let text = "let a = \"x // y\"; // z\n/* one\n /* two */ */ let b = r#\"q\"q\"#;\nlet c = 'q'; let d: &'a str;";
        let code = without_comments_and_strings(text);
        assert_eq!(code.lines().count(), 4);
        for gone in ["x", "y", "z", "one", "two", "q"] {
            assert!(!words(&code).any(|(_, w)| w == gone), "`{gone}` is still there: {code}");
        }
        assert_eq!(
            words(&code).map(|(line, w)| format!("{line}{w}")).collect::<Vec<_>>(),
            ["1let", "1a", "3let", "3b", "4let", "4c", "4let", "4d", "4a", "4str"]
        );
    }

    #[test]
    fn an_escaped_quote_ends_neither_a_string_nor_a_character() {
        let code = without_comments_and_strings(r#"f("a\"b", '\'', '"', '\u{1F600}', b"c"); g()"#);
        assert_eq!(words(&code).map(|(_, w)| w).collect::<Vec<_>>(), ["f", "b", "g"]);
    }

    #[test]
    fn test_items_are_not_production_wherever_they_stand() {
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\nmod more {\n    fn hidden() { x[0]; }\n}\nfn b() {}\n";
        let production = production(text);
        assert_eq!(production.lines, 2);
        let names: Vec<_> = functions(&production.code).into_iter().map(|f| (f.name, f.line)).collect();
        assert_eq!(names, [("a".to_owned(), 3), ("b".to_owned(), 8)]);
    }

    #[test]
    fn a_functions_length_runs_from_fn_to_its_brace() {
        let code = "trait T { fn no_body(&self, x: [u8; 4]); }\npub fn two<'a>(f: fn(u8))\nwhere\n    T: X,\n{\n    if a {\n    }\n}\n";
        assert_eq!(functions(code), [Function { name: "two".to_owned(), line: 2, lines: 7 }]);
    }

    #[test]
    fn a_use_tree_is_read_leaf_by_leaf() {
        let found: Vec<_> =
            paths("use std::{\n  fs,\n  time::{Duration, Instant},\n};\nstd::net::TcpStream::connect(x)\n")
                .into_iter()
                .map(|(_, path)| path)
                .collect();
        for path in ["std::fs", "std::time::Duration", "std::time::Instant", "std::net::TcpStream::connect"] {
            assert!(found.iter().any(|f| f == path), "`{path}` is missing from {found:?}");
        }
    }
}
