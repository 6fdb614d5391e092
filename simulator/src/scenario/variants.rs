//! One file, many sizes: the named variants of a scenario and the values that they give its parameters.

use std::collections::BTreeMap;

use super::decode::Reader;
use super::grammar::VARIANT;
use super::limits::{SUBSTITUTED_BYTES_MAX, VARIANTS_MAX};
use super::yaml::{Kind, Node};
use crate::expect::glob;
use crate::world::SECTIONS;

/// A named variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Words to choose it by, such as `short`, `long` or `hardware`.
    pub labels: Vec<String>,
    values: BTreeMap<String, Kind>,
}

/// Which variants of which files are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The variant's name or a glob; the first variant of a file when absent and no label is given.
    pub variant: Option<String>,
    /// A label that the file or the variant must bear.
    pub label: Option<String>,
}

impl Choice {
    /// The chosen variants; one `None` for a file without variants.
    pub fn of(&self, variants: &[Variant]) -> Vec<Option<Variant>> {
        if variants.is_empty() {
            // `*` is every variant, and a file without variants is one
            let fits = self.variant.as_ref().is_none_or(|name| glob(name, ""));
            return if fits { vec![None] } else { Vec::new() };
        }
        match (&self.variant, &self.label) {
            (None, None) => vec![variants.first().cloned()],
            (None, Some(_)) => variants.iter().cloned().map(Some).collect(),
            (Some(name), _) => {
                let named = variants.iter().filter(|variant| glob(name, &variant.name));
                named.cloned().map(Some).collect()
            }
        }
    }

    /// Whether a scenario with these labels is wanted.
    pub fn wants(&self, labels: &[String]) -> bool {
        self.label.as_ref().is_none_or(|label| labels.contains(label))
    }
}

/// Reads `parameters`; all variants must give the same parameters.
pub(super) fn variants(reader: &mut Reader, root: &Node) -> Vec<Variant> {
    let Kind::Map(entries) = &root.kind else {
        return Vec::new();
    };
    let Some((_, node)) = entries.iter().find(|(key, _)| key.name == "parameters") else {
        return Vec::new();
    };
    let found = reader.entries(node, "parameters");
    if found.len() > VARIANTS_MAX {
        let message =
            format!("expected at most {VARIANTS_MAX} variants (VARIANTS_MAX), found {}", found.len());
        reader.problem(node.place, "parameters", message);
    }
    let mut variants: Vec<Variant> = Vec::new();
    for (key, value) in found.iter().take(VARIANTS_MAX) {
        let path = format!("parameters.{}", key.name);
        let variant = variant(reader, &key.name, value, &path);
        if let Some(first) = variants.first()
            && !first.values.keys().eq(variant.values.keys())
        {
            let names: Vec<&str> = first.values.keys().map(String::as_str).collect();
            let message = format!("every variant gives the same parameters; expected {}", names.join(", "));
            reader.problem(value.place, &path, message);
        }
        variants.push(variant);
    }
    variants
}

fn variant(reader: &mut Reader, name: &str, node: &Node, path: &str) -> Variant {
    let fields = reader.fields(node, path, VARIANT);
    let labels =
        fields.get("labels").map(|labels| reader.texts(labels, &fields.path("labels"))).unwrap_or_default();
    let mut values = BTreeMap::new();
    if let Some(given) = fields.get("values") {
        let path = fields.path("values");
        for (key, value) in reader.entries(given, &path) {
            match value.kind {
                Kind::Null | Kind::List(_) | Kind::Map(_) => {
                    let message = format!("expected text, a number or true or false, found {}", value.sort());
                    reader.problem(value.place, &format!("{path}.{}", key.name), message);
                }
                _ => {
                    values.insert(key.name.clone(), value.kind.clone());
                }
            }
        }
    }
    Variant { name: name.to_owned(), labels, values }
}

/// Replaces `${name}` in every scalar; one that is nothing else takes the value's type.
pub(super) fn substitute(reader: &mut Reader, root: &mut Node, variant: Option<&Variant>) {
    let none = BTreeMap::new();
    let mut run = Run {
        reader,
        values: variant.map_or(&none, |variant| &variant.values),
        left: SUBSTITUTED_BYTES_MAX,
        strict: true,
    };
    if let Kind::Map(entries) = &mut root.kind {
        for (key, value) in entries.iter_mut().filter(|(key, _)| key.name != "parameters") {
            // a configuration is the plugin's text and may mean something else by `${..}`
            run.strict = key.name != "configs";
            run.node(value, &key.name);
        }
    }
}

struct Run<'r> {
    reader: &'r mut Reader,
    values: &'r BTreeMap<String, Kind>,
    left: usize,
    /// Whether an unknown name is a mistake.
    strict: bool,
}

impl Run<'_> {
    fn node(&mut self, node: &mut Node, path: &str) {
        let place = node.place;
        match &mut node.kind {
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{index}]"));
                }
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    self.node(value, &format!("{path}.{}", key.name));
                }
            }
            Kind::Text(text) => {
                if !text.contains("${") {
                    return;
                }
                let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                if let Some(value) = whole.and_then(|name| self.values.get(name)) {
                    node.kind = value.clone();
                    return;
                }
                match self.text(text) {
                    Ok(replaced) => *text = replaced,
                    Err(message) => self.reader.problem(place, path, message),
                }
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            match self.values.get(name) {
                Some(value) => {
                    let value = shown(value);
                    self.left = self.left.checked_sub(value.len()).ok_or_else(|| {
                        format!("values of parameters add more than {SUBSTITUTED_BYTES_MAX} bytes (SUBSTITUTED_BYTES_MAX)")
                    })?;
                    out.push_str(&value);
                }
                // a place in the world, which the matcher looks up
                None if !self.strict || name.contains('.') || SECTIONS.contains(&name) => {
                    out.push_str(&format!("${{{name}}}"));
                }
                None => return Err(self.unknown(name)),
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        match known.is_empty() {
            true => format!("unknown parameter `{name}`; this file has no `parameters`"),
            false => format!("unknown parameter `{name}`; expected one of {}", known.join(", ")),
        }
    }
}

fn shown(value: &Kind) -> String {
    match value {
        Kind::Bool(value) => value.to_string(),
        Kind::Int(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Text(text) => text.clone(),
        Kind::Null | Kind::List(_) | Kind::Map(_) => String::new(),
    }
}
