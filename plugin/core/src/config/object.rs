//! Takes the keys of one mapping one by one, so that each decoder says only which key it wants and of what type.

use super::choice::Choice;
use super::findings::{Findings, join};
use super::keys::{keys_of, shortened, unknown_key};
use super::scalar::{Meaning, Written, meaning};
use super::tree::{Content, Entry, Node};

/// How keys are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As Go's JSON decoder does: upper and lower case do not matter.
    AnyCase,
    /// As NVIDIA's hand-written decoders do.
    Exact,
}

/// A mapping whose keys are being taken.
pub(super) struct Object<'n> {
    path: String,
    spelling: Spelling,
    entries: &'n [Entry],
}

/// A value with its path.
pub(super) struct Field<'n> {
    /// The value.
    pub(super) node: &'n Node,
    /// Where it stands, for messages.
    pub(super) path: String,
}

impl<'n> Object<'n> {
    /// Opens a mapping and reports the keys that do not belong there. `None` if it is not a mapping, which is reported.
    pub(super) fn open(
        found: &mut Findings,
        node: &'n Node,
        path: &str,
        spelling: Spelling,
    ) -> Option<Object<'n>> {
        found.remember(path, node.at);
        let Content::Map(entries) = &node.content else {
            return wrong_type(found, node, path, "a mapping", None);
        };
        let object = Object { path: path.to_owned(), spelling, entries };
        for entry in entries {
            if !keys_of(path).iter().any(|key| object.matches(entry, key)) {
                // Finding the key that was meant costs the most of all.
                let (message, hint) = if found.lists_deviations() {
                    unknown_key(path, &entry.key, |object| found.has_object(object))
                } else {
                    (String::new(), None)
                };
                found.deviation(entry.key_at, &join(path, &shortened(&entry.key)), message, hint);
            }
        }
        Some(object)
    }

    fn matches(&self, entry: &Entry, key: &str) -> bool {
        match self.spelling {
            Spelling::AnyCase => entry.key.eq_ignore_ascii_case(key),
            Spelling::Exact => entry.key == key,
        }
    }

    /// Whether the file gives the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| self.matches(entry, key) && !entry.value.is_null())
    }

    /// The path of a key here.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The values of a key, to be applied in turn: usually one. Of exact duplicates only the last; of spellings that
    /// differ in case all, in ASCII order (as k8s-device-plugin v0.20 does). Both are reported.
    pub(super) fn take(&self, found: &mut Findings, key: &str) -> Vec<Field<'n>> {
        let path = self.path_of(key);
        let mut kept: Vec<&Entry> = Vec::new();
        for entry in self.entries.iter().filter(|entry| self.matches(entry, key)) {
            if let Some(same) = kept.iter().position(|earlier| earlier.key == entry.key) {
                let earlier = kept.remove(same);
                let message = format!("duplicate key `{}`, first given at {}", entry.key, earlier.key_at);
                let hint = "remove one; without strict validation the last one counts".to_owned();
                found.deviation(entry.key_at, &path, message, Some(hint));
            }
            kept.push(entry);
        }
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        if let [_, .., last] = kept.as_slice() {
            let message = format!("`{key}` is given in {} spellings", kept.len());
            let hint = format!("write `{key}` once; without strict validation `{}` counts", last.key);
            found.deviation(last.key_at, &path, message, Some(hint));
        } else if let Some(only) = kept.first().filter(|only| only.key != key) {
            let message = format!("`{}` is read as `{key}`", only.key);
            found.warning(only.key_at, &path, message, Some(format!("write `{key}`")));
        }
        for entry in &kept {
            found.remember(&path, entry.value.at);
        }
        kept.into_iter().map(|entry| Field { node: &entry.value, path: path.clone() }).collect()
    }

    /// Decodes a key into `out`. Null means unset.
    pub(super) fn read<T>(
        &self,
        found: &mut Findings,
        key: &str,
        decode: fn(&mut Findings, &Field<'_>) -> Option<T>,
        out: &mut Option<T>,
    ) {
        for field in self.take(found, key) {
            *out = if field.node.is_null() { None } else { decode(found, &field) };
        }
    }

    /// Opens the mapping under a key, once per spelling, and hands it to `decode`. Null means nothing.
    pub(super) fn descend(
        &self,
        found: &mut Findings,
        key: &str,
        mut decode: impl FnMut(&mut Findings, Object<'n>),
    ) {
        for field in self.take(found, key) {
            if field.node.is_null() {
                continue;
            }
            if let Some(object) = Object::open(found, field.node, &field.path, Spelling::AnyCase) {
                decode(found, object);
            }
        }
    }
}

/// A boolean.
pub(super) fn boolean(found: &mut Findings, field: &Field<'_>) -> Option<bool> {
    match &field.node.content {
        Content::Scalar(_, Meaning::Bool(value)) => Some(*value),
        Content::Scalar(text, Meaning::Text) => {
            let quoted = matches!(meaning(text, Written::Plain), Meaning::Bool(_));
            let hint = quoted.then(|| "write it without quotes".to_owned());
            wrong_type(found, field.node, &field.path, "`true` or `false`", hint)
        }
        _ => wrong_type(found, field.node, &field.path, "`true` or `false`", None),
    }
}

/// A text; numbers and booleans count as their text, as in k8s-device-plugin v0.20.
pub(super) fn text(found: &mut Findings, field: &Field<'_>) -> Option<String> {
    match &field.node.content {
        Content::Scalar(text, Meaning::Text) => Some(text.clone()),
        Content::Scalar(_, Meaning::Bool(value)) => Some(value.to_string()),
        Content::Scalar(_, Meaning::Int(value)) => Some(value.to_string()),
        Content::Scalar(_, Meaning::Float(value)) => Some(value.to_string()),
        _ => wrong_type(found, field.node, &field.path, "text", None),
    }
}

/// A text that is not a number or boolean: NVIDIA's hand-written decoders convert nothing.
pub(super) fn exact_text(found: &mut Findings, field: &Field<'_>) -> Option<String> {
    match &field.node.content {
        Content::Scalar(text, Meaning::Text) => Some(text.clone()),
        Content::Scalar(_, Meaning::Bool(_) | Meaning::Int(_) | Meaning::Float(_)) => {
            wrong_type(found, field.node, &field.path, "text", Some("put it in quotes".to_owned()))
        }
        _ => wrong_type(found, field.node, &field.path, "text", None),
    }
}

/// One word of a closed list.
pub(super) fn choice<T: Choice>(found: &mut Findings, field: &Field<'_>) -> Option<T> {
    word(found, field, text)
}

/// One word of a closed list, which must be written as text.
pub(super) fn exact_choice<T: Choice>(found: &mut Findings, field: &Field<'_>) -> Option<T> {
    word(found, field, exact_text)
}

fn word<T: Choice>(
    found: &mut Findings,
    field: &Field<'_>,
    read: fn(&mut Findings, &Field<'_>) -> Option<String>,
) -> Option<T> {
    let word = read(found, field)?;
    let value = T::of(&word);
    if value.is_none() {
        let words: Vec<String> = T::WORDS.iter().map(|word| format!("`{word}`")).collect();
        let message =
            format!("`{}` must be one of {}, but is `{}`", field.path, words.join(", "), shortened(&word));
        found.error(field.node.at, &field.path, message, word_hint(field.node, &word, T::WORDS));
    }
    value
}

fn word_hint(node: &Node, word: &str, words: &[&str]) -> Option<String> {
    if let Content::Scalar(written, Meaning::Bool(_)) = &node.content {
        return Some(format!("`{written}` is a boolean in YAML 1.1; put the word you mean in quotes"));
    }
    if word.contains(',') {
        return Some("several words are written as a list: [a, b]".to_owned());
    }
    super::nearest::nearest(word, words.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}

/// A whole number, whatever its spelling: `4`, `4.0`, `1e1`, `0x10`, `010`, `1_0`.
pub(super) fn whole(found: &mut Findings, field: &Field<'_>) -> Option<i128> {
    match &field.node.content {
        Content::Scalar(_, Meaning::Int(value)) => Some(*value),
        Content::Scalar(_, Meaning::Float(value)) => match whole_float(*value) {
            Some(value) => Some(value),
            None => wrong_type(found, field.node, &field.path, "a whole number", None),
        },
        Content::Scalar(text, Meaning::Text) if text.parse::<i64>().is_ok() => {
            let hint = Some("write it without quotes".to_owned());
            wrong_type(found, field.node, &field.path, "a whole number", hint)
        }
        _ => wrong_type(found, field.node, &field.path, "a whole number", None),
    }
}

/// The whole number that a float stands for, if it does. Go writes larger ones with an exponent, which its own integer
/// decoder refuses.
fn whole_float(value: f64) -> Option<i128> {
    const WHOLE_MAX: f64 = 1e18;
    #[allow(clippy::cast_possible_truncation)]
    let whole = value as i128;
    (value.fract() == 0.0 && value.abs() <= WHOLE_MAX).then_some(whole)
}

/// Reports a value of the wrong type.
pub(super) fn wrong_type<T>(
    found: &mut Findings,
    node: &Node,
    path: &str,
    expected: &str,
    hint: Option<String>,
) -> Option<T> {
    let subject = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
    let actual = match &node.content {
        Content::Scalar(text, meaning) if *meaning != Meaning::Null => {
            format!("{} `{}`", node.kind(), shortened(text))
        }
        _ => node.kind().to_owned(),
    };
    found.error(node.at, path, format!("{subject} must be {expected}, but is {actual}"), hint);
    None
}
