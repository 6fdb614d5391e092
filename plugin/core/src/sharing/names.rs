//! What a GPU is called before it is shared: `nvidia.com/gpu`, unless a pattern of `resources.gpus` names its product. A MIG
//! device is called so under the strategy `single`, and by its profile under `mixed`, unless `resources.mig` names it.

use std::collections::BTreeMap;

use crate::config::{Config, MigStrategy, ResourceName, ResourcePattern};
use crate::inventory::GpuUuid;
use crate::mig::MigFacts;
use crate::unit::Unit;

/// What each GPU and MIG device is called, by UUID.
pub(super) type Names = BTreeMap<GpuUuid, ResourceName>;

/// The name of every unit that has one. The first pattern that matches counts (k8s-device-plugin v0.20): the product's name
/// is held against `resources.gpus`, the profile against `resources.mig`.
pub(super) fn names(config: &Config, strategy: MigStrategy, units: &[Unit<'_>]) -> Names {
    let first = |patterns: &[ResourcePattern], text: &str| {
        patterns.iter().find(|p| matches(&p.pattern, text)).map(|pattern| pattern.name.clone())
    };
    let name = |unit: &Unit<'_>| match unit.mig {
        None => first(&config.resources.gpus, &unit.gpu.name).or_else(|| Some(ResourceName::gpu())),
        Some(mig) => first(&config.resources.mig, &mig.profile).or_else(|| of_profile(mig, strategy)),
    };
    units.iter().filter_map(|unit| Some((unit.uuid().clone(), name(unit)?))).collect()
}

/// What a MIG device is called where no pattern names it. Under `mixed` those that share their GPU instance have no name.
fn of_profile(mig: &MigFacts, strategy: MigStrategy) -> Option<ResourceName> {
    match strategy {
        MigStrategy::None => None,
        MigStrategy::Single => Some(ResourceName::gpu()),
        MigStrategy::Mixed => {
            let name = format!("mig-{}", mig.profile.replace('+', "."));
            ResourceName::parse(&name).ok().filter(|_| mig.has_whole_instance())
        }
    }
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
