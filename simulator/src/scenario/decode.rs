//! Small decoders over the YAML tree, because serde stops at the first mistake and an author wants all of them.

use std::time::Duration;

use super::grammar;
use super::problem::{Place, Problem, nearest};
use super::yaml::{Key, Kind, Node};

/// The most problems that are collected from one file.
pub const PROBLEMS_MAX: usize = 100;

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Reader {
    file: String,
    problems: Vec<Problem>,
    /// What the steps read so far come to, repetitions counted out.
    pub(super) made: Made,
}

/// Counts what a file makes, before it is made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    /// Steps, inner ones as well.
    pub(super) steps: usize,
    /// Pods.
    pub(super) pods: u64,
}

impl Reader {
    /// A reader of the named file, with no problems yet.
    pub fn new(file: &str) -> Self {
        Reader { file: file.to_owned(), problems: Vec::new(), made: Made::default() }
    }

    /// Notes a problem.
    pub fn problem(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.problem_with_hint(place, path, message, None);
    }

    /// Notes a problem in another file, which the scenario names.
    pub(super) fn problem_in(&mut self, file: &str, place: Place, path: &str, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(file, place, path, message, None));
        }
    }

    /// Notes a problem with a hint.
    pub fn problem_with_hint(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(&self.file, place, path, message, hint));
        }
    }

    /// All problems in the order of the file.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place);
        // a step of a `repeat` is checked in each of its turns
        self.problems.dedup();
        self.problems
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn wrong_sort(&mut self, node: &Node, path: &str, expected: &str) {
        self.problem(node.place, path, format!("expected {expected}, found {}", node.sort()));
    }

    /// Text.
    pub fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        if let Kind::Text(text) = &node.kind {
            return Some(text.clone());
        }
        let hint = matches!(node.kind, Kind::Int(_) | Kind::Bool(_) | Kind::Float(_))
            .then(|| "put it in quotes".to_owned());
        let message = format!("expected text, found {}", node.sort());
        self.problem_with_hint(node.place, path, message, hint);
        None
    }

    /// One of these words.
    pub fn word(&mut self, node: &Node, path: &str, known: &[&str]) -> Option<String> {
        let word = self.text(node, path)?;
        if known.contains(&word.as_str()) {
            return Some(word);
        }
        let hint = nearest(&word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let message = format!("expected one of {}, found `{word}`", known.join(", "));
        self.problem_with_hint(node.place, path, message, hint);
        None
    }

    /// A number from 0 to 1.
    pub fn share(&mut self, node: &Node, path: &str) -> Option<f64> {
        let value = match node.kind {
            Kind::Int(value) => Some(value as f64),
            Kind::Float(value) => Some(value),
            _ => None,
        };
        let fits = value.filter(|value| (0.0..=1.0).contains(value));
        if fits.is_none() {
            self.wrong_sort(node, path, "a number from 0 to 1");
        }
        fits
    }

    /// A whole number within bounds.
    pub fn number(&mut self, node: &Node, path: &str, min: u64, max: u64) -> Option<u64> {
        let Kind::Int(value) = node.kind else {
            self.wrong_sort(node, path, &format!("a whole number from {min} to {max}"));
            return None;
        };
        match u64::try_from(value) {
            Ok(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                let message = format!("expected a whole number from {min} to {max}, found {value}");
                self.problem(node.place, path, message);
                None
            }
        }
    }

    /// A duration such as `300ms`, `5s` or `5m`, at most `max`.
    pub fn duration(&mut self, node: &Node, path: &str, max: Duration) -> Option<Duration> {
        let expected = format!("a duration such as `300ms`, `5s` or `2m`, at most {}s", max.as_secs());
        let Kind::Text(text) = &node.kind else {
            self.wrong_sort(node, path, &expected);
            return None;
        };
        match parse_duration(text) {
            Some(duration) if duration <= max => Some(duration),
            _ => {
                self.problem(node.place, path, format!("expected {expected}, found `{text}`"));
                None
            }
        }
    }

    /// A list's items.
    pub fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            _ => {
                self.wrong_sort(node, path, "a list");
                &[]
            }
        }
    }

    /// A mapping whose keys are the author's own (names, labels).
    pub fn entries<'n>(&mut self, node: &'n Node, path: &str) -> &'n [(Key, Node)] {
        match &node.kind {
            Kind::Map(entries) => entries,
            _ => {
                self.wrong_sort(node, path, "a mapping");
                &[]
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, node: &Node, path: &str) -> Vec<String> {
        let items = self.list(node, path);
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.text(item, &format!("{path}[{index}]")))
            .collect()
    }

    /// A mapping of text to text.
    pub fn text_map(&mut self, node: &Node, path: &str) -> Vec<(String, String)> {
        let entries = self.entries(node, path);
        entries
            .iter()
            .filter_map(|(key, value)| {
                self.text(value, &format!("{path}.{}", key.name)).map(|text| (key.name.clone(), text))
            })
            .collect()
    }

    /// A mapping with known keys; unknown ones are problems with the nearest known key as a hint.
    pub fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &'static [grammar::Key]) -> Fields<'n> {
        let entries = self.entries(node, path);
        let names = || known.iter().map(|key| key.name);
        for (key, _) in entries {
            if names().any(|name| name == key.name) {
                continue;
            }
            let hint = match nearest(&key.name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
            };
            self.problem_with_hint(key.place, path, format!("unknown key `{}`", key.name), Some(hint));
        }
        Fields { place: node.place, entries, path: path.to_owned() }
    }
}

/// The entries of a mapping with known keys.
#[derive(Debug)]
pub struct Fields<'n> {
    /// Where the mapping starts.
    pub place: Place,
    entries: &'n [(Key, Node)],
    path: String,
}

impl<'n> Fields<'n> {
    /// The value of a key, if it is there.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The value of a key; its absence is a problem.
    pub fn need(&self, reader: &mut Reader, name: &str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            reader.problem(self.place, &self.path, format!("`{name}` is missing"));
        }
        found
    }

    /// The path of a key inside the document.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Required text.
    pub fn need_text(&self, reader: &mut Reader, name: &str) -> Option<String> {
        let node = self.need(reader, name)?;
        reader.text(node, &self.path(name))
    }

    /// Optional text.
    pub fn text(&self, reader: &mut Reader, name: &str) -> Option<String> {
        self.get(name).and_then(|node| reader.text(node, &self.path(name)))
    }

    /// Optional duration.
    pub fn duration(&self, reader: &mut Reader, name: &str, max: Duration) -> Option<Duration> {
        self.get(name).and_then(|node| reader.duration(node, &self.path(name), max))
    }
}

/// Parses `300ms`, `5s`, `1.5s`, `2m` or `1h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_have_a_fraction() {
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        for bad in ["5", "s", "-1s", "5 s", "5d", "nans", "infs", ""] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_problems_of_a_mapping_are_collected_in_order() {
        let node = parse("f.yaml", "nmae: x\ncount: many\nlist: 3\n").unwrap();
        let mut reader = Reader::new("f.yaml");
        const fn key(name: &'static str) -> grammar::Key {
            grammar::Key { name, sort: grammar::Sort::Text, needed: false, about: "" }
        }
        const KEYS: &[grammar::Key] = &[key("name"), key("count"), key("list")];
        let fields = reader.fields(&node, "", KEYS);
        assert_eq!(fields.need_text(&mut reader, "name"), None);
        let count = fields.get("count").and_then(|n| reader.number(n, "count", 1, 9));
        assert_eq!(count, None);
        let list = fields.get("list").map(|n| reader.list(n, "list").len());
        assert_eq!(list, Some(0));
        let text: Vec<String> = reader.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "f.yaml:1:1: unknown key `nmae` (hint: did you mean `name`?)",
                "f.yaml:1:1: `name` is missing",
                "f.yaml:2:8: `count`: expected a whole number from 1 to 9, found text",
                "f.yaml:3:7: `list`: expected a list, found a whole number",
            ]
        );
    }

    #[test]
    fn a_number_where_text_belongs_hints_at_quotes() {
        let node = parse("f.yaml", "4").unwrap();
        let mut reader = Reader::new("f.yaml");
        assert_eq!(reader.text(&node, "set.a"), None);
        let problems = reader.into_problems();
        assert_eq!(problems[0].hint.as_deref(), Some("put it in quotes"));
    }
}
