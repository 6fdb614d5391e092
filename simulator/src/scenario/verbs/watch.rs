//! The verbs that demand something of the world: `expect`, `never`, `sometimes`.

use std::time::Duration;

use super::super::decode::Reader;
use super::super::grammar::{EXPECT, WATCH};
use super::super::limits::{DURATION_MAX, WITHIN_DEFAULT};
use super::super::verb::{Expectation, Watch};
use super::super::yaml::{Kind, Node};
use crate::expect::decode::entries;
use crate::expect::{Pattern, PatternKind};
use crate::world::SECTIONS;

/// `expect`.
pub(in super::super) fn expect(reader: &mut Reader, value: &Node, path: &str) -> Option<Expectation> {
    let fields = reader.fields(value, path, EXPECT);
    let within = fields.duration(reader, "within", DURATION_MAX).unwrap_or(WITHIN_DEFAULT);
    let holds = fields.duration(reader, "holds", DURATION_MAX).unwrap_or(Duration::ZERO);
    Some(Expectation { within, holds, pattern: sections(reader, value, path)? })
}

/// `never` and `sometimes`.
pub(in super::super) fn watch(reader: &mut Reader, value: &Node, path: &str) -> Option<Watch> {
    let fields = reader.fields(value, path, WATCH);
    let until = fields.text(reader, "until");
    Some(Watch { until, pattern: sections(reader, value, path)? })
}

fn sections(reader: &mut Reader, value: &Node, path: &str) -> Option<Pattern> {
    let Kind::Map(found) = &value.kind else {
        return None;
    };
    let sections: Vec<_> =
        found.iter().filter(|(key, _)| SECTIONS.contains(&key.name.as_str())).cloned().collect();
    if sections.is_empty() {
        let message = format!("expected one of {} at least", SECTIONS.join(", "));
        reader.problem(value.place, path, message);
        return None;
    }
    let kind = PatternKind::Has(entries(reader, &sections, path));
    Some(Pattern { place: value.place, kind })
}
