//! What changes for a node when this plugin takes over from NVIDIA's with the same file: the difference of two effects.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::effect::Effect;

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What: a resource's count, a label, an environment variable, MPS control daemons.
    pub what: String,
    /// Under NVIDIA's plugin; `None` when it has no such thing.
    pub nvidia: Option<String>,
    /// Under this plugin; `None` when it has no such thing.
    pub tandem: Option<String>,
}

/// Everything that changes, in a fixed order; nothing when the node would not notice.
///
/// `nvidia` is the effect of the file as NVIDIA's plugin reads it.
pub fn changes(nvidia: &Effect, tandem: &Effect) -> Vec<Change> {
    let mut changes = Vec::new();
    let facts = [of(nvidia), of(tandem)];
    let keys: BTreeSet<&String> = facts.iter().flat_map(BTreeMap::keys).collect();
    for what in keys {
        let [before, after] = facts.each_ref().map(|facts| facts.get(what).cloned());
        if before != after {
            changes.push(Change { what: what.clone(), nvidia: before, tandem: after });
        }
    }
    // NVIDIA's plugin has none, whatever its file says
    let intervals = tandem.time_slices.iter().map(|(gpu, interval)| Change {
        what: format!("time-slice interval of {gpu}"),
        nvidia: None,
        tandem: Some(interval.to_string()),
    });
    changes.extend(intervals);
    changes
}

/// What a node shows of an effect, each under a name.
fn of(effect: &Effect) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    if !effect.applies {
        facts.insert("configuration".to_owned(), "refused".to_owned());
    }
    for (resource, devices) in &effect.resources {
        let count: u64 = devices.values().map(|count| u64::from(*count)).sum();
        facts.insert(format!("devices of {resource}"), count.to_string());
        facts.insert(format!("GPUs of {resource}"), devices.len().to_string());
    }
    for (key, value) in &effect.labels {
        facts.insert(format!("label {key}"), value.clone());
    }
    for (resource, variables) in &effect.environment {
        for (name, value) in variables {
            facts.insert(format!("variable {name} of {resource}"), value.clone());
        }
    }
    for (gpu, daemon) in &effect.daemons {
        let memory = match daemon.pinned_memory_limit_mib {
            Some(mib) => format!("{mib} MiB"),
            None => "all memory".to_owned(),
        };
        let share = format!("{memory} and {} % of the threads", daemon.active_thread_percentage);
        facts.insert(format!("each MPS client on {gpu}"), share);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;
    use crate::config::{Overrides, Strictness, read, read_compat};
    use crate::effect::effect;

    fn changes_of(text: &str, node: &str) -> Vec<String> {
        let (facts, overrides) = (board::node(node).unwrap(), Overrides::default());
        let ours = read("c", text, Strictness::Warn).unwrap();
        let theirs = read_compat("c", text, Strictness::Warn).unwrap();
        let found = changes(&effect(&theirs, &overrides, &facts), &effect(&ours, &overrides, &facts));
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        found
            .into_iter()
            .map(|c| format!("{}: {} -> {}", c.what, or_none(c.nvidia), or_none(c.tandem)))
            .collect()
    }

    #[test]
    fn an_unmodified_file_changes_nothing() {
        let files = [
            "version: v1",
            "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}",
            "version: v1\nsharing: {mps: {renameByDefault: true, resources: [{name: nvidia.com/gpu, replicas: 4}]}}",
        ];
        for text in files {
            assert_eq!(changes_of(text, "4*tesla-t4"), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_nvidia_throws_away_is_a_change() {
        let text = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, rename: nvidia.com/slice, replicas: 4, devices: ['1']}]}}";
        let found = changes_of(text, "2*tesla-t4");
        assert!(found.contains(&"devices of nvidia.com/gpu: 8 -> 1".to_owned()), "{found:#?}");
        assert!(found.contains(&"devices of nvidia.com/slice: - -> 4".to_owned()), "{found:#?}");
        assert!(
            found.contains(&"label nvidia.com/gpu.product: Tesla-T4-SHARED -> Tesla-T4".to_owned()),
            "{found:#?}"
        );
    }

    #[test]
    fn time_slicing_beside_mps_is_a_change() {
        let text = "version: v1\nsharing:\n  mps: {resources: [{name: nvidia.com/gpu, replicas: 2, devices: ['0']}]}\n  timeSlicing: {renameByDefault: true, resources: [{name: nvidia.com/gpu, replicas: 4, devices: ['1']}]}\n";
        let found = changes_of(text, "2*tesla-t4");
        assert!(found.contains(&"devices of nvidia.com/gpu.shared: - -> 4".to_owned()), "{found:#?}");
        assert!(
            found.iter().any(|c| c.starts_with("each MPS client on GPU-00000001") && c.ends_with("-> -")),
            "{found:#?}"
        );
    }
}
