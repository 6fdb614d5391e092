//! Which entry of `sharing` has which GPU: lists and `all` first, then each count takes of what is left.
//!
//! So two counts, or a count and a list, never want the same GPU.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finder, Group};
use crate::config::{DeviceRef, Devices, OVERLAP_HINT, ResourceName};
use crate::inventory::{Facts, GpuFacts, GpuUuid};
use crate::sharing::pick::pick;
use crate::sharing::size;

/// The group of every claimed GPU, by its place in `groups`.
pub(super) fn claims(
    groups: &[Group<'_>],
    names: &BTreeMap<GpuUuid, ResourceName>,
    facts: &Facts,
    finder: &mut Finder<'_>,
) -> BTreeMap<GpuUuid, usize> {
    let mut wanted: BTreeMap<GpuUuid, Vec<usize>> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        let named = |gpu: &&GpuFacts| names.get(&gpu.uuid) == Some(&group.entry.name);
        let own: Vec<&GpuFacts> = facts.gpus.iter().filter(named).collect();
        let chosen = match &group.entry.devices {
            Devices::All => own,
            Devices::Count(_) => continue,
            Devices::List(list) => listed(group, list, names, facts, finder),
        };
        for gpu in chosen {
            wanted.entry(gpu.uuid.clone()).or_default().push(index);
        }
    }
    for (index, group) in groups.iter().enumerate() {
        let named = |gpu: &&GpuFacts| names.get(&gpu.uuid) == Some(&group.entry.name);
        let mut own: Vec<&GpuFacts> = facts.gpus.iter().filter(named).collect();
        if own.is_empty() {
            let message = format!("no GPU of this node is `{}`, so none is shared as such", group.entry.name);
            finder.warning(&format!("{}.name", group.path), message, "leave it if other nodes have some");
            continue;
        }
        let Devices::Count(count) = group.entry.devices else {
            continue;
        };
        own.retain(|gpu| !wanted.contains_key(&gpu.uuid));
        own.sort_by_key(|gpu| gpu.index);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if own.len() < count {
            let path = format!("{}.devices", group.path);
            let message = format!(
                "`{path}` is {count}, but this node has {} GPUs left of `{}`",
                own.len(),
                group.entry.name
            );
            finder.deviation(&path, message, "without strict validation those are shared");
        }
        for gpu in pick(own, count, facts) {
            wanted.insert(gpu.uuid.clone(), vec![index]);
        }
    }
    settled(groups, wanted, facts, finder)
}

/// The GPUs of a list, each once.
fn listed<'f>(
    group: &Group<'_>,
    list: &[DeviceRef],
    names: &BTreeMap<GpuUuid, ResourceName>,
    facts: &'f Facts,
    finder: &mut Finder<'_>,
) -> Vec<&'f GpuFacts> {
    let mut out: Vec<(&GpuFacts, &DeviceRef)> = Vec::new();
    for (place, device) in list.iter().enumerate() {
        let path = format!("{}.devices[{place}]", group.path);
        let found = match device {
            DeviceRef::Index(index) => facts.gpus.iter().find(|gpu| gpu.index == *index),
            DeviceRef::GpuUuid(uuid) => {
                facts.gpus.iter().find(|gpu| gpu.uuid.as_str().eq_ignore_ascii_case(uuid))
            }
            DeviceRef::MigIndex(..) | DeviceRef::MigUuid(_) => {
                let message =
                    format!("`{path}` selects the MIG device `{device}`, but MIG devices are not served yet");
                finder.deviation(&path, message, "remove it; without strict validation it selects nothing");
                continue;
            }
        };
        let Some(gpu) = found else {
            let message =
                format!("`{path}` selects `{device}`, but this node has no such GPU{}", range(facts));
            finder.deviation(&path, message, "without strict validation it selects nothing");
            continue;
        };
        let name = names.get(&gpu.uuid);
        if let Some(name) = name.filter(|name| **name != group.entry.name) {
            let message =
                format!("`{path}` selects `{device}`, which is `{name}` and not `{}`", group.entry.name);
            finder.deviation(&path, message, "without strict validation it selects nothing");
            continue;
        }
        match out.iter().find(|(earlier, _)| earlier.uuid == gpu.uuid) {
            // the same word twice was seen when the file was read
            Some((_, earlier)) if *earlier == device => {}
            Some((_, earlier)) => {
                let message =
                    format!("`{path}` selects `{device}`, the GPU that `{earlier}` selects already");
                finder.deviation(&path, message, "remove one of them");
            }
            None => out.push((gpu, device)),
        }
    }
    out.into_iter().map(|(gpu, _)| gpu).collect()
}

fn range(facts: &Facts) -> String {
    match facts.gpus.iter().map(|gpu| gpu.index).max() {
        Some(last) => format!(": its indexes are 0 to {last}"),
        None => String::new(),
    }
}

/// One group per GPU. Two strategies on one GPU are an error; of two entries of one strategy the larger number counts.
fn settled(
    groups: &[Group<'_>],
    wanted: BTreeMap<GpuUuid, Vec<usize>>,
    facts: &Facts,
    finder: &mut Finder<'_>,
) -> BTreeMap<GpuUuid, usize> {
    let mut out = BTreeMap::new();
    let mut said: BTreeSet<(usize, usize)> = BTreeSet::new();
    for gpu in &facts.gpus {
        let Some((first, others)) = wanted.get(&gpu.uuid).and_then(|all| all.split_first()) else {
            continue;
        };
        let mut kept = *first;
        for other in others {
            let (Some(a), Some(b)) = (groups.get(kept), groups.get(*other)) else {
                continue;
            };
            if said.insert((kept, *other)) {
                meet(a, b, gpu, finder);
            }
            if a.strategy == b.strategy && size::count(b, gpu) > size::count(a, gpu) {
                kept = *other;
            }
        }
        out.insert(gpu.uuid.clone(), kept);
    }
    out
}

/// Two entries want the same GPU.
fn meet(a: &Group<'_>, b: &Group<'_>, gpu: &GpuFacts, finder: &mut Finder<'_>) {
    let at = finder.places.of(&a.path);
    let message = format!(
        "`{}` (devices `{}`) and `{}` at {at} (devices `{}`) both share GPU {} (`{}`)",
        b.path, b.entry.devices, a.path, a.entry.devices, gpu.index, gpu.uuid
    );
    if a.strategy != b.strategy {
        finder.error(&b.path, format!("{message}, but a GPU has one strategy"), OVERLAP_HINT);
    } else if !a.entry.devices.surely_overlaps(&b.entry.devices) {
        finder.deviation(&b.path, message, "without strict validation the larger number of replicas counts");
    }
}
