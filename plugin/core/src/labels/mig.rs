//! Labels about MIG devices: those of gpu-feature-discovery's strategies `single` (under `gpu.`) and `mixed` (under
//! `mig-<profile>.`).

use std::collections::BTreeMap;

use super::{Described, sharing_labels};
use crate::mig::MigFacts;

/// What the keys of the strategy `mixed` begin with. MIG's manager has `nvidia.com/mig.…`, which is another.
const MIXED: &str = "nvidia.com/mig-";
/// What they end with.
const OF_PROFILE: [&str; 13] = [
    ".count",
    ".engines.copy",
    ".engines.decoder",
    ".engines.encoder",
    ".engines.jpeg",
    ".engines.ofa",
    ".memory",
    ".multiprocessors",
    ".product",
    ".replicas",
    ".sharing-strategy",
    ".slices.ci",
    ".slices.gi",
];

/// Whether a key speaks of one profile under the strategy `mixed`.
pub(super) fn is_of_profile(key: &str) -> bool {
    key.starts_with(MIXED) && OF_PROFILE.iter().any(|end| key.ends_with(end))
}

/// The labels of every profile that is served, each described by its first shared device, or by its first where none is
/// shared.
pub(super) fn of_profiles(devices: &[Described<'_>]) -> BTreeMap<String, String> {
    let mut by_profile: BTreeMap<&str, Vec<Described<'_>>> = BTreeMap::new();
    for device in devices {
        if let Some(mig) = device.unit.mig {
            by_profile.entry(mig.profile.as_str()).or_default().push(*device);
        }
    }
    let mut labels = BTreeMap::new();
    for (profile, members) in &by_profile {
        let Some(described) = super::first_shared(members.iter().copied()) else {
            continue;
        };
        let Some(mig) = described.unit.mig else { continue };
        let prefix = format!("{MIXED}{}.", profile.replace('+', "."));
        let same = members.iter().filter(|other| other.unit.gpu.name == described.unit.gpu.name).count();
        let all = sharing_labels(described, same).into_iter().chain(attributes(mig));
        labels.extend(all.map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    labels
}

/// What the hardware of a MIG device is.
pub(super) fn attributes(mig: &MigFacts) -> [(&'static str, String); 8] {
    let engines = mig.engines;
    [
        ("engines.copy", engines.copy),
        ("engines.decoder", engines.decoder),
        ("engines.encoder", engines.encoder),
        ("engines.jpeg", engines.jpeg),
        ("engines.ofa", engines.ofa),
        ("multiprocessors", engines.multiprocessors),
        ("slices.ci", mig.slices.compute),
        ("slices.gi", mig.slices.gpu),
    ]
    .map(|(key, value)| (key, value.to_string()))
}
