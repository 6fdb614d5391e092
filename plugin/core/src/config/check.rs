//! Contradictions between settings that need no hardware to be seen. Those that only a node can show are found by
//! [`assign`](crate::sharing::assign).

use super::devices::Devices;
use super::findings::Findings;
use super::name::ResourceName;
use super::schema::{Config, MigStrategy, ReplicatedResource, ReplicatedResources, ResourcePattern};

/// Reports every contradiction of a file.
pub(super) fn check(config: &Config, found: &mut Findings) {
    for (strategy, path) in
        [(&config.sharing.mps, "sharing.mps"), (&config.sharing.time_slicing, "sharing.timeSlicing")]
    {
        if let Some(strategy) = strategy {
            given_twice(strategy, path, found);
        }
    }
    strategies_overlap(config, found);
    mps_and_mig(config, found);
    patterns(&config.resources.gpus, "gpus", found);
    patterns(&config.resources.mig, "mig", found);
}

/// Two entries of one strategy share the same devices. NVIDIA: the larger number of replicas counts.
fn given_twice(strategy: &ReplicatedResources, path: &str, found: &mut Findings) {
    for (later, entry) in strategy.resources.iter().enumerate() {
        let same = |earlier: &(usize, &ReplicatedResource)| {
            earlier.1.name == entry.name && earlier.1.devices.surely_overlaps(&entry.devices)
        };
        let Some((earlier, _)) = strategy.resources.iter().enumerate().take(later).find(same) else {
            continue;
        };
        let path = format!("{path}.resources[{later}]");
        let at = found.place(&format!("{path}.name"));
        let message =
            format!("`{path}` shares devices of `{}` that resources[{earlier}] shares already", entry.name);
        let hint = "keep one; without strict validation the larger number of replicas counts".to_owned();
        found.deviation(at, &path, message, Some(hint));
    }
}

/// Both strategies want the same devices, which only one can have.
fn strategies_overlap(config: &Config, found: &mut Findings) {
    let (Some(mps), Some(time_slicing)) = (&config.sharing.mps, &config.sharing.time_slicing) else {
        return;
    };
    for (index, sliced) in time_slicing.resources.iter().enumerate() {
        let shared = |name: &ResourceName, devices: &Devices| {
            *name == sliced.name && devices.surely_overlaps(&sliced.devices)
        };
        let other = mps.resources.iter().position(|entry| shared(&entry.name, &entry.devices));
        let Some((other, entry)) = other.and_then(|other| Some((other, mps.resources.get(other)?))) else {
            continue;
        };
        let path = format!("sharing.timeSlicing.resources[{index}]");
        let mps_path = format!("sharing.mps.resources[{other}]");
        let (at, mps_at) = (found.place(&path), found.place(&mps_path));
        let message = format!(
            "`{path}` (devices `{}`) and `{mps_path}` at {mps_at} (devices `{}`) both share `{}`, but a GPU has one strategy",
            sliced.devices, entry.devices, sliced.name
        );
        found.error(at, &path, message, Some(OVERLAP_HINT.to_owned()));
    }
}

/// What to do about two strategies on one GPU.
pub(crate) const OVERLAP_HINT: &str = "give each its own `devices`, or keep one";

/// MPS cannot share MIG devices. A flag may still override the MIG strategy, so the last word is
/// [`Effective::contradictions`](super::Effective::contradictions).
fn mps_and_mig(config: &Config, found: &mut Findings) {
    let Some(mps) = &config.sharing.mps else { return };
    if config.flags.mig_strategy == Some(MigStrategy::Mixed) {
        let at = found.place("flags.migStrategy");
        let message = "`sharing.mps` does not work with `flags.migStrategy` `mixed`".to_owned();
        let hint = "use `none` or `single`, or share by `sharing.timeSlicing`".to_owned();
        found.deviation(at, "flags.migStrategy", message, Some(hint));
    }
    for (index, entry) in mps.resources.iter().enumerate() {
        if entry.name.without_prefix().starts_with("mig-") {
            let path = format!("sharing.mps.resources[{index}].name");
            let message = format!("MPS cannot share MIG devices, but `{path}` is `{}`", entry.name);
            let hint = "share them by `sharing.timeSlicing`".to_owned();
            found.deviation(found.place(&path), &path, message, Some(hint));
        }
    }
}

/// The first pattern that matches counts, so that a later one behind the same or `*` is never looked at.
fn patterns(patterns: &[ResourcePattern], list: &str, found: &mut Findings) {
    for (later, pattern) in patterns.iter().enumerate() {
        let hides = |earlier: &&ResourcePattern| earlier.pattern == "*" || earlier.pattern == pattern.pattern;
        if let Some(earlier) = patterns.iter().take(later).find(hides) {
            let path = format!("resources.{list}[{later}].pattern");
            let what = if list == "gpus" { "GPUs" } else { "MIG devices" };
            let message =
                format!("`{path}` never counts: `{}` before it matches the same {what}", earlier.pattern);
            let hint = "the first pattern that matches counts; put the special ones first".to_owned();
            found.deviation(found.place(&path), &path, message, Some(hint));
        }
    }
}
