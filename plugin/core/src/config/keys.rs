//! Which key belongs where, so that a key in the wrong place can be told its right one.

use super::nearest::nearest;

/// Every mapping of the file with its keys; `[]` stands for the items of a list.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("", &["version", "flags", "resources", "sharing", "imex", "health"]),
    (
        "flags",
        &[
            "migStrategy",
            "failOnInitError",
            "mpsRoot",
            "nvidiaDriverRoot",
            "nvidiaDevRoot",
            "gdrcopyEnabled",
            "gdsEnabled",
            "mofedEnabled",
            "useNodeFeatureAPI",
            "deviceDiscoveryStrategy",
            "plugin",
            "gfd",
        ],
    ),
    (
        "flags.plugin",
        &[
            "passDeviceSpecs",
            "deviceListStrategy",
            "deviceIDStrategy",
            "cdiAnnotationPrefix",
            "nvidiaCTKPath",
            "containerDriverRoot",
            "sharedDevicesAllocationPolicy",
        ],
    ),
    ("flags.gfd", &["oneshot", "noTimestamp", "sleepInterval", "outputFile", "machineTypeFile"]),
    ("resources", &["gpus", "mig"]),
    ("resources.gpus[]", &["pattern", "name"]),
    ("resources.mig[]", &["pattern", "name"]),
    ("sharing", &["timeSlicing", "mps", "taint", "drainDeadline", "pressure"]),
    ("sharing.taint", &["key", "value", "effect"]),
    ("sharing.mps", &["renameByDefault", "failRequestsGreaterThanOne", "resources"]),
    ("sharing.timeSlicing", &["renameByDefault", "failRequestsGreaterThanOne", "resources"]),
    (
        "sharing.mps.resources[]",
        &[
            "name",
            "rename",
            "devices",
            "replicas",
            "memoryPerReplica",
            "allocationPolicy",
            "activeThreadPercentage",
            "pinnedMemoryLimit",
        ],
    ),
    (
        "sharing.timeSlicing.resources[]",
        &["name", "rename", "devices", "replicas", "memoryPerReplica", "allocationPolicy", "interval"],
    ),
    ("imex", &["channelIDs", "required"]),
];

/// Longest key that is quoted in a message, in characters.
const QUOTED_MAX: usize = 60;

/// The keys of the mapping at a path such as `sharing.mps.resources[0]`.
pub(super) fn keys_of(path: &str) -> &'static [&'static str] {
    let path = without_indexes(path);
    KEYS.iter().find(|(parent, _)| *parent == path).map_or(&[], |(_, keys)| *keys)
}

/// What to say about a key that the mapping at `path` does not have: a message and a hint.
/// `has_object` tells which mappings the file has.
pub(super) fn unknown_key(
    path: &str,
    key: &str,
    has_object: impl Fn(&str) -> bool,
) -> (String, Option<String>) {
    let place = |path: &str| {
        if path.is_empty() { "the top level".to_owned() } else { format!("`{path}`") }
    };
    let valid = keys_of(path);
    let message = format!("unknown key `{}` under {}", shortened(key), place(path));
    if let Some(same) = valid.iter().find(|valid| valid.eq_ignore_ascii_case(key)) {
        return (message, Some(format!("upper and lower case matter here: write `{same}`")));
    }
    let homes = homes_of(key, has_object);
    if let Some((first, _)) = homes.first() {
        let named: Vec<String> = homes.iter().map(|(_, home)| place(home)).collect();
        let message = format!("`{first}` belongs under {}, found under {}", named.join(" or "), place(path));
        return (message, None);
    }
    if let Some(near) = nearest(key, valid.iter().copied()) {
        return (message, Some(format!("did you mean `{near}`?")));
    }
    let everywhere = KEYS.iter().flat_map(|(_, keys)| keys.iter().copied());
    if let Some(near) = nearest(key, everywhere) {
        let home = homes_of(near, |_| false).first().map(|(_, home)| place(home)).unwrap_or_default();
        return (message, Some(format!("did you mean `{near}` under {home}?")));
    }
    let list: Vec<String> = valid.iter().map(|key| format!("`{key}`")).collect();
    (message, Some(format!("the keys here are {}", list.join(", "))))
}

/// Where a key belongs: in mappings that the file has, or else in all that could have it.
fn homes_of(key: &str, has_object: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    let mut homes = Vec::new();
    for (parent, keys) in KEYS {
        if let Some(found) = keys.iter().find(|candidate| candidate.eq_ignore_ascii_case(key)) {
            homes.push((*found, *parent));
        }
    }
    if homes.iter().any(|(_, home)| has_object(home)) {
        homes.retain(|(_, home)| has_object(home));
    }
    homes
}

/// A key or value, cut to what a message can hold.
pub(super) fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars.by_ref().take(QUOTED_MAX).flat_map(char::escape_debug).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// `a.b[12].c` → `a.b[].c`.
fn without_indexes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => continue,
            _ => {}
        }
        out.push(c);
    }
    out
}
