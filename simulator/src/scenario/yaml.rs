//! A YAML tree that remembers where every key and value stands, because a scenario's author is told file, line
//! and column of every mistake, all of them at once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::problem::{Place, Problem};

/// The largest scenario file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// The deepest nesting of a scenario file; an unoptimised build needs 1.4 MiB of stack for it, and threads have 2.
pub const DEPTH_MAX: usize = 32;

/// The most values of a scenario file, aliases written out.
pub const VALUES_MAX: usize = 250_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line and column of the value's first character.
    pub place: Place,
    /// The value.
    pub kind: Kind,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`; `yes` and `on` are text.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text, quoted or plain.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Line and column of the key.
    pub place: Place,
    /// The key.
    pub name: String,
}

impl Node {
    /// The value as an author would call it: "a list", "text", …
    pub fn sort(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The value as JSON, places forgotten.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::from(*b),
            Kind::Int(n) => Value::from(*n),
            Kind::Float(n) => Value::from(*n),
            Kind::Text(t) => Value::from(t.as_str()),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(k, v)| (k.name.clone(), v.to_json())).collect())
            }
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// One [`Problem`] when the text is not YAML, repeats a key, is nested too deeply, or abuses aliases.
pub fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let read = serde_saphyr::from_str_with_options::<Spanned<Kind>>(text, options());
    read.map(Node::from).map_err(|error| problem(file, &error))
}

/// Reads every YAML document of a text; empty ones are left out.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(file: &str, text: &str) -> Result<Vec<Node>, Problem> {
    let read = serde_saphyr::from_multiple_with_options::<Spanned<Kind>>(text, options());
    let nodes = read.map_err(|error| problem(file, &error))?;
    Ok(nodes.into_iter().map(Node::from).collect())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: VALUES_MAX },
    }
}

fn problem(file: &str, error: &serde_saphyr::Error) -> Problem {
    let place = error.location().map_or(Place::START, |at| Place::new(at.line(), at.column()));
    let said = error.without_snippet().to_string();
    let message = match said.strip_prefix("budget breached: ") {
        None => said,
        Some(what) if what.starts_with("Depth") => {
            format!("expected lists and mappings at most {DEPTH_MAX} deep in one another (DEPTH_MAX)")
        }
        Some(what) => {
            format!("expected at most {VALUES_MAX} values, aliases written out (VALUES_MAX): {what}")
        }
    };
    Problem::new(file, place, "", message, None)
}

impl From<Spanned<Kind>> for Node {
    fn from(spanned: Spanned<Kind>) -> Self {
        Node {
            place: Place::new(spanned.referenced.line(), spanned.referenced.column()),
            kind: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        i64::try_from(value).map(Kind::Int).map_err(|_| E::custom("whole number out of range"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Kind>>()? {
            items.push(Node::from(item));
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place::new(key.referenced.line(), key.referenced.column());
            let value = Node::from(map.next_value::<Spanned<Kind>>()?);
            entries.push((Key { place, name: key.value }, value));
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_place() {
        let node = parse("f.yaml", "a: 1\nb:\n  - x\n  - c: 'y'\n").unwrap();
        let Kind::Map(entries) = &node.kind else { panic!("{node:?}") };
        assert_eq!(entries[0].0.place, Place::new(1, 1));
        assert_eq!(entries[0].1, Node { place: Place::new(1, 4), kind: Kind::Int(1) });
        let Kind::List(items) = &entries[1].1.kind else { panic!("{node:?}") };
        assert_eq!(items[0].place, Place::new(3, 5));
        let Kind::Map(inner) = &items[1].kind else { panic!("{node:?}") };
        assert_eq!((inner[0].0.place, inner[0].1.place), (Place::new(4, 5), Place::new(4, 8)));
    }

    #[test]
    fn plain_scalars_have_their_type_and_quoted_ones_are_text() {
        let json = parse("f.yaml", "[1, '1', true, yes, 1.5, ~, a/b]").unwrap().to_json();
        assert_eq!(json, serde_json::json!([1, "1", true, "yes", 1.5, null, "a/b"]));
    }

    #[test]
    fn a_repeated_key_is_refused_with_its_place() {
        let problem = parse("f.yaml", "a: 1\na: 2\n").unwrap_err();
        assert_eq!(problem.place.line, 2);
        assert!(problem.message.contains("duplicate"), "{}", problem.message);
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused() {
        assert!(parse("f.yaml", &"[".repeat(20_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..10 {
            let prior = i - 1;
            let refs = vec![format!("*a{prior}"); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse("f.yaml", &bomb).is_err());
    }
}
