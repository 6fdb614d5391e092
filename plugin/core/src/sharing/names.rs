//! What a GPU is called before it is shared: `nvidia.com/gpu`, unless a pattern of `resources.gpus` names its product.

use std::collections::BTreeMap;

use crate::config::{Config, ResourceName};
use crate::inventory::{Facts, GpuUuid};

/// The name of every GPU. The first pattern that matches counts (k8s-device-plugin v0.20).
pub(super) fn names(config: &Config, facts: &Facts) -> BTreeMap<GpuUuid, ResourceName> {
    let name = |product: &str| {
        let first = config.resources.gpus.iter().find(|p| matches(&p.pattern, product));
        first.map_or_else(ResourceName::gpu, |pattern| pattern.name.clone())
    };
    facts.gpus.iter().map(|gpu| (gpu.uuid.clone(), name(&gpu.name))).collect()
}

/// Whether a pattern covers the whole text; `*` stands for any text, everything else for itself.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // the earliest place leaves the most for what follows
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_whole_name() {
        let rows = [
            ("Tesla T4", true),
            ("Tesla", false),
            ("T4", false),
            ("*", true),
            ("**", true),
            ("*T4", true),
            ("Tesla*", true),
            ("Tesla*T4", true),
            ("Tesla T4*", true),
            ("*sla*", true),
            ("T*l*4", true),
            ("*T4*T4", false),
            ("Tesla T4*4", false),
            ("tesla t4", false),
            ("Tesla.T4", false),
            ("", false),
        ];
        for (pattern, expected) in rows {
            assert_eq!(matches(pattern, "Tesla T4"), expected, "{pattern}");
        }
        assert!(matches("", "") && matches("*µ*", "1 µg"));
    }

    #[test]
    fn a_long_pattern_ends_in_time() {
        assert!(!matches(&"*a".repeat(20_000), &"a".repeat(10_000)));
    }
}
