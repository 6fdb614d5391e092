//! YAML to patterns, because a pattern that demands nothing must be refused before anything is started.

use serde_json::Value;

use super::pattern::{OPERATORS, Op, Pattern, PatternKind};
use crate::scenario::decode::Reader;
use crate::scenario::yaml::{Key, Kind, Node};

/// Reads a pattern; mistakes go to the reader.
pub fn pattern(reader: &mut Reader, node: &Node, path: &str) -> Option<Pattern> {
    let kind = match &node.kind {
        Kind::Null => {
            reader.problem(node.place, path, "expected a pattern, found nothing; write `{absent: true}`");
            return None;
        }
        Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) => PatternKind::Equals(node.to_json()),
        Kind::List(items) => PatternKind::Items(
            items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| pattern(reader, item, &format!("{path}[{index}]")))
                .collect(),
        ),
        Kind::Map(found) => return mapping(reader, node, found, path),
    };
    Some(Pattern { place: node.place, kind })
}

fn mapping(reader: &mut Reader, node: &Node, found: &[(Key, Node)], path: &str) -> Option<Pattern> {
    let operators = found.iter().filter(|(key, _)| OPERATORS.contains(&key.name.as_str())).count();
    let kind = if found.is_empty() {
        reader.problem(
            node.place,
            path,
            "an empty mapping expects nothing; for no keys write `{exactly: {}}`",
        );
        return None;
    } else if operators == 0 {
        PatternKind::Has(entries(reader, found, path))
    } else if operators == found.len() {
        PatternKind::Ops(found.iter().filter_map(|(key, value)| op(reader, key, value, path)).collect())
    } else {
        let message = "operators and names stand side by side; operators need a mapping of their own";
        reader.problem(node.place, path, message);
        return None;
    };
    Some(Pattern { place: node.place, kind })
}

/// Reads the entries of a mapping of patterns.
pub fn entries(reader: &mut Reader, found: &[(Key, Node)], path: &str) -> Vec<(String, Pattern)> {
    found
        .iter()
        .filter_map(|(key, value)| {
            pattern(reader, value, &format!("{path}.{}", key.name)).map(|inner| (key.name.clone(), inner))
        })
        .collect()
}

fn op(reader: &mut Reader, key: &Key, value: &Node, path: &str) -> Option<Op> {
    let path = format!("{path}.{}", key.name);
    let op = match key.name.as_str() {
        "absent" => match value.to_json() {
            Value::Bool(absent) => Op::Absent(absent),
            _ => {
                let message = format!("expected true or false, found {}", value.sort());
                reader.problem(value.place, &path, message);
                return None;
            }
        },
        "contains" => Op::Contains(Box::new(pattern(reader, value, &path)?)),
        "containsOnce" => Op::ContainsOnce(non_empty(reader, value, &path)?),
        "matches" => Op::Matches(non_empty(reader, value, &path)?),
        "atLeast" => Op::AtLeast(bound(reader, value, &path)?),
        "atMost" => Op::AtMost(bound(reader, value, &path)?),
        "size" => Op::Size(Box::new(pattern(reader, value, &path)?)),
        "each" => Op::Each(Box::new(pattern(reader, value, &path)?)),
        "exactly" => Op::Exactly(exact_entries(reader, value, &path)),
        "sameAs" => Op::SameAs { path: non_empty(reader, value, &path)?, negated: false },
        "differentFrom" => Op::SameAs { path: non_empty(reader, value, &path)?, negated: true },
        "unchangedSince" => Op::UnchangedSince { step: non_empty(reader, value, &path)?, negated: false },
        _ => Op::UnchangedSince { step: non_empty(reader, value, &path)?, negated: true },
    };
    Some(op)
}

fn exact_entries(reader: &mut Reader, value: &Node, path: &str) -> Vec<(String, Pattern)> {
    let found = reader.entries(value, path);
    entries(reader, found, path)
}

fn non_empty(reader: &mut Reader, value: &Node, path: &str) -> Option<String> {
    let text = reader.text(value, path)?;
    if text.is_empty() {
        reader.problem(value.place, path, "expected text that is not empty");
        return None;
    }
    Some(text)
}

fn bound(reader: &mut Reader, value: &Node, path: &str) -> Option<i64> {
    reader.number(value, path, 0, u64::from(u32::MAX)).map(|n| i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::yaml::parse;

    fn problems_of(text: &str) -> Vec<String> {
        let node = parse("f.yaml", text).unwrap();
        let mut reader = Reader::new("f.yaml");
        pattern(&mut reader, &node, "expect");
        reader.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_that_demand_nothing_are_refused() {
        assert!(problems_of("a: {}")[0].contains("expects nothing"));
        assert!(problems_of("a: ~")[0].contains("absent: true"));
        assert!(problems_of("a: {contains: ''}").is_empty());
        assert!(problems_of("a: {matches: ''}")[0].contains("not empty"));
    }

    #[test]
    fn operators_do_not_mix_with_names() {
        assert!(problems_of("a: {size: 3, name: x}")[0].contains("side by side"));
        assert!(problems_of("a: {size: 3, each: x}").is_empty());
    }

    #[test]
    fn operator_arguments_are_checked() {
        let problems = problems_of("a: {absent: 3}\nb: {atLeast: many}\nc: {exactly: 4}\n");
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
