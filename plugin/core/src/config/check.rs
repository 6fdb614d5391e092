//! Contradictions between settings that need no hardware to be seen.

use super::devices::Devices;
use super::findings::Findings;
use super::name::ResourceName;
use super::schema::{Config, MigStrategy, ReplicatedResources};
use super::supported::ADVICE;

/// Reports every contradiction of a file. Where NVIDIA's plugin has a meaning for one, the config gets that meaning.
pub(super) fn check(config: &mut Config, found: &mut Findings) {
    if let Some(mps) = &mut config.sharing.mps {
        given_twice(mps, "sharing.mps", found);
    }
    if let Some(time_slicing) = &mut config.sharing.time_slicing {
        given_twice(time_slicing, "sharing.timeSlicing", found);
    }
    strategies_overlap(config, found);
    mps_and_mig(config, found);
}

/// Two entries of one strategy share the same devices. NVIDIA: the larger number of replicas counts.
fn given_twice(strategy: &mut ReplicatedResources, path: &str, found: &mut Findings) {
    let mut dropped = Vec::new();
    for (later, entry) in strategy.resources.iter().enumerate() {
        let same = |earlier: &(usize, &super::schema::ReplicatedResource)| {
            earlier.1.name == entry.name && earlier.1.devices.surely_overlaps(&entry.devices)
        };
        let before = strategy.resources.iter().enumerate().take(later);
        let Some((earlier, first)) = before.filter(|(index, _)| !dropped.contains(index)).find(same) else {
            continue;
        };
        let path = format!("{path}.resources[{later}]");
        let at = found.place(&format!("{path}.name"));
        let message =
            format!("`{path}` shares devices of `{}` that resources[{earlier}] shares already", entry.name);
        let larger = first.replicas.max(entry.replicas);
        let hint = format!("keep one; without strict validation {larger} replicas count");
        found.deviation(at, &path, message, Some(hint));
        dropped.push(if first.replicas >= entry.replicas { later } else { earlier });
    }
    let mut index = 0;
    strategy.resources.retain(|_| {
        index += 1;
        !dropped.contains(&(index - 1))
    });
}

/// Both strategies want the same devices. NVIDIA: MPS wins, for every resource.
fn strategies_overlap(config: &mut Config, found: &mut Findings) {
    let (Some(mps), Some(time_slicing)) = (&config.sharing.mps, &config.sharing.time_slicing) else {
        return;
    };
    let mut overlaps = false;
    for (index, sliced) in time_slicing.resources.iter().enumerate() {
        let shared = |name: &ResourceName, devices: &Devices| {
            *name == sliced.name && devices.surely_overlaps(&sliced.devices)
        };
        if mps.resources.iter().any(|entry| shared(&entry.name, &entry.devices)) {
            overlaps = true;
            let path = format!("sharing.timeSlicing.resources[{index}]");
            let at = found.place(&format!("{path}.name"));
            let message = format!(
                "`sharing.timeSlicing` and `sharing.mps` both share devices `{}` of `{}`",
                sliced.devices, sliced.name
            );
            let hint = format!("keep one of them; {ADVICE} `sharing.mps` wins");
            found.deviation(at, &path, message, Some(hint));
        }
    }
    if overlaps {
        config.sharing.time_slicing = None;
    }
}

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
