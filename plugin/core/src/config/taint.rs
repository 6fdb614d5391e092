//! `sharing.taint`: the taint of nodes that share their GPUs and serve no whole one (ours).

use serde::{Deserialize, Serialize};

use super::choice::choice;
use super::findings::Findings;
use super::keys::shortened;
use super::object::{Field, Object, Spelling, exact_choice, exact_text};

/// Longest name part of a key, and longest value (Kubernetes 1.36).
const PART_LENGTH_MAX: usize = 63;
/// Longest prefix of a key (Kubernetes 1.36).
const PREFIX_LENGTH_MAX: usize = 253;
/// Keys that others than this configuration decide about.
const RESERVED: [&str; 2] = ["kubernetes.io", "tandem.dev"];

choice! {
    /// What a taint does to pods that do not tolerate it.
    TaintEffect, "the effect of a taint" {
        /// None is bound to the node.
        NoSchedule = "NoSchedule",
        /// None is bound to the node where another has room.
        PreferNoSchedule = "PreferNoSchedule",
    }
}

/// The taint of nodes that share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// A qualified name.
    pub key: String,
    /// May be empty.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

impl Default for Taint {
    fn default() -> Self {
        Taint {
            key: "nvidia.com/gpu.shared".to_owned(),
            value: "true".to_owned(),
            effect: TaintEffect::NoSchedule,
        }
    }
}

/// Reads the mapping; a key that is not given has its default.
pub(super) fn taint(found: &mut Findings, field: &Field<'_>) -> Option<Taint> {
    let object = Object::open(found, field.node, &field.path, Spelling::Exact)?;
    let (mut key, mut value, mut effect) = (None, None, None);
    object.read(found, "key", qualified_name, &mut key);
    object.read(found, "value", label_value, &mut value);
    object.read(found, "effect", effect_word, &mut effect);
    let default = Taint::default();
    Some(Taint {
        key: key.unwrap_or(default.key),
        value: value.unwrap_or(default.value),
        effect: effect.unwrap_or(default.effect),
    })
}

/// The plugin ends no pods, so it adds no taint that does.
fn effect_word(found: &mut Findings, field: &Field<'_>) -> Option<TaintEffect> {
    if exact_text(found, field)? == "NoExecute" {
        let message = format!("`{}` is `NoExecute`, which would end running pods", field.path);
        found.error(field.node.at, &field.path, message, Some("use `NoSchedule`".to_owned()));
        return None;
    }
    exact_choice(found, field)
}

fn qualified_name(found: &mut Findings, field: &Field<'_>) -> Option<String> {
    let text = exact_text(found, field)?;
    let (prefix, name) = text.split_once('/').map_or((None, text.as_str()), |(p, n)| (Some(p), n));
    let reserved = RESERVED.iter().find(|domain| prefix.is_some_and(|prefix| is_within(prefix, domain)));
    let message = if let Some(domain) = reserved {
        format!(
            "`{}` is `{}`, but keys of `{domain}` are not for taints of nodes that share",
            field.path,
            shortened(&text)
        )
    } else if name.is_empty() || !is_part(name) || prefix.is_some_and(|prefix| !is_prefix(prefix)) {
        format!(
            "`{}` must be a name of at most {PART_LENGTH_MAX} letters, digits, `-`, `_` and `.`, with a DNS prefix or \
             without, but is `{}`",
            field.path,
            shortened(&text)
        )
    } else {
        return Some(text);
    };
    found.error(field.node.at, &field.path, message, Some("for example `nvidia.com/gpu.shared`".to_owned()));
    None
}

fn label_value(found: &mut Findings, field: &Field<'_>) -> Option<String> {
    let text = exact_text(found, field)?;
    if is_part(&text) {
        return Some(text);
    }
    let message = format!(
        "`{}` must be at most {PART_LENGTH_MAX} letters, digits, `-`, `_` and `.`, but is `{}`",
        field.path,
        shortened(&text)
    );
    found.error(field.node.at, &field.path, message, None);
    None
}

fn is_within(prefix: &str, domain: &str) -> bool {
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A label's value, or the name part of a key; may be empty.
fn is_part(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= PART_LENGTH_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && ends.into_iter().flatten().all(|b| b.is_ascii_alphanumeric())
}

fn is_prefix(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= PREFIX_LENGTH_MAX && text.split('.').all(is_label)
}
