//! Which entry of `sharing` has which GPU: lists and `all` first, then each count takes of what is left.
//!
//! So two counts, or a count and a list, never want the same GPU.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::{Finder, Group};
use crate::config::{DeviceRef, Devices, OVERLAP_HINT, ResourceName};
use crate::inventory::{Facts, GpuUuid};
use crate::kept_gpus::Picks;
use crate::sharing::pick::pick;
use crate::sharing::size;
use crate::unit::Unit;

/// What the UUID of a whole GPU begins with.
const GPU_PREFIX: &str = "GPU-";
/// What a selector that means nothing does.
const SELECTS_NOTHING: &str = "without strict validation it selects nothing";

/// What there is to claim.
#[derive(Clone, Copy)]
pub(super) struct Offer<'f> {
    /// The GPUs and MIG devices that play a role.
    pub(super) units: &'f [Unit<'f>],
    /// What each is called before it is shared.
    pub(super) names: &'f Names,
    /// The whole node, for messages about what cannot be claimed.
    pub(super) facts: &'f Facts,
}

impl<'f> Offer<'f> {
    /// Everything that is called so.
    fn called(self, name: &ResourceName) -> Vec<Unit<'f>> {
        self.units.iter().copied().filter(|unit| self.names.get(unit.uuid()) == Some(name)).collect()
    }
}

/// The group of every claimed GPU or MIG device, by its place in `groups`; and what each count has chosen.
pub(super) fn claims(
    groups: &[Group<'_>],
    offer: &Offer<'_>,
    kept: &Picks,
    finder: &mut Finder<'_>,
) -> (BTreeMap<GpuUuid, usize>, Picks) {
    let mut wanted: BTreeMap<GpuUuid, Vec<usize>> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        let chosen = match &group.entry.devices {
            Devices::All => offer.called(&group.entry.name),
            Devices::Count(_) => continue,
            Devices::List(list) => listed(group, list, offer, finder),
        };
        for unit in chosen {
            wanted.entry(unit.uuid().clone()).or_default().push(index);
        }
    }
    let mut picks = Picks::new();
    for (index, group) in groups.iter().enumerate() {
        let mut own = offer.called(&group.entry.name);
        if own.is_empty() {
            let message = format!("no GPU of this node is `{}`, so none is shared as such", group.entry.name);
            finder.warning(&format!("{}.name", group.path), message, "leave it if other nodes have some");
            continue;
        }
        let Devices::Count(count) = group.entry.devices else {
            continue;
        };
        own.retain(|unit| !wanted.contains_key(unit.uuid()));
        own.sort_by_key(|unit| unit.position());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let before = kept.get(&group.path).map_or(&[][..], Vec::as_slice);
        let (held, away) = keep(before, &mut own, count, offer.facts);
        let count = count - held.len() - away.len();
        let wanted_by = |unit: &Unit<'_>| (unit.uuid().clone(), vec![index]);
        wanted.extend(held.iter().map(wanted_by));
        let mut picked: Vec<GpuUuid> = held.iter().map(|unit| unit.uuid().clone()).chain(away).collect();
        if own.len() < count {
            let path = format!("{}.devices", group.path);
            let message = format!(
                "`{path}` is {}, but this node has {} GPUs left of `{}`",
                count + picked.len(),
                own.len() + picked.len(),
                group.entry.name
            );
            finder.deviation(&path, message, "without strict validation those are shared");
        }
        let more = pick(own, count, offer.facts);
        wanted.extend(more.iter().map(wanted_by));
        picked.extend(more.iter().map(|unit| unit.uuid().clone()));
        picks.insert(group.path.clone(), picked);
    }
    (settled(groups, wanted, offer, finder), picks)
}

/// What a count chose before and still may have: taken out of `own`. A GPU that is away keeps its place, so that none moves
/// for it; a MIG device that is away was cut anew, and a GPU that is something else now is not waited for.
fn keep<'f>(
    before: &[GpuUuid],
    own: &mut Vec<Unit<'f>>,
    count: usize,
    facts: &Facts,
) -> (Vec<Unit<'f>>, Vec<GpuUuid>) {
    let (mut held, mut away) = (Vec::new(), Vec::new());
    for uuid in before.iter().take(count) {
        match own.iter().position(|unit| unit.uuid() == uuid) {
            Some(at) => held.push(own.remove(at)),
            None if uuid.as_str().starts_with(GPU_PREFIX) && facts.unit(uuid).is_none() => {
                away.push(uuid.clone());
            }
            None => {}
        }
    }
    (held, away)
}

/// The GPUs and MIG devices of a list, each once.
fn listed<'f>(
    group: &Group<'_>,
    list: &[DeviceRef],
    offer: &Offer<'f>,
    finder: &mut Finder<'_>,
) -> Vec<Unit<'f>> {
    let mut out: Vec<(Unit<'_>, &DeviceRef)> = Vec::new();
    for (place, device) in list.iter().enumerate() {
        let path = format!("{}.devices[{place}]", group.path);
        let Some(unit) = offer.units.iter().copied().find(|unit| selects(device, *unit)) else {
            let (why, hint) = missing(device, offer.facts);
            finder.deviation(&path, format!("`{path}` selects `{device}`, {why}"), hint);
            continue;
        };
        let name = offer.names.get(unit.uuid());
        if let Some(name) = name.filter(|name| **name != group.entry.name) {
            let message =
                format!("`{path}` selects `{device}`, which is `{name}` and not `{}`", group.entry.name);
            finder.deviation(&path, message, SELECTS_NOTHING);
            continue;
        }
        match out.iter().find(|(earlier, _)| earlier.uuid() == unit.uuid()) {
            // the same word twice was seen when the file was read
            Some((_, earlier)) if *earlier == device => {}
            Some((_, earlier)) => {
                let sort = if unit.mig.is_some() { "MIG device" } else { "GPU" };
                let message =
                    format!("`{path}` selects `{device}`, the {sort} that `{earlier}` selects already");
                finder.deviation(&path, message, "remove one of them");
            }
            None => out.push((unit, device)),
        }
    }
    out.into_iter().map(|(unit, _)| unit).collect()
}

/// Whether a selector means this GPU or MIG device.
fn selects(device: &DeviceRef, unit: Unit<'_>) -> bool {
    match (device, unit.mig) {
        (DeviceRef::Index(index), None) => unit.gpu.index == *index,
        (DeviceRef::GpuUuid(uuid), None) => unit.gpu.uuid.as_str().eq_ignore_ascii_case(uuid),
        (DeviceRef::MigIndex(gpu, part), Some(mig)) => (unit.gpu.index, mig.index) == (*gpu, *part),
        (DeviceRef::MigUuid(uuid), Some(mig)) => {
            let instances = (mig.gpu_instance, mig.compute_instance);
            let by_instances = format!("MIG-{}/{}/{}", unit.gpu.uuid, instances.0, instances.1);
            [mig.uuid.as_str(), &by_instances].iter().any(|name| name.eq_ignore_ascii_case(uuid))
        }
        (DeviceRef::Index(_) | DeviceRef::GpuUuid(_), Some(_))
        | (DeviceRef::MigIndex(..) | DeviceRef::MigUuid(_), None) => false,
    }
}

/// Why a selector means nothing that plays a role, and what to do.
fn missing(device: &DeviceRef, facts: &Facts) -> (String, &'static str) {
    match facts.units().find(|unit| selects(device, *unit)) {
        Some(unit) if unit.mig.is_some() => {
            let why = "a MIG device that has no name under the MIG strategy in force".to_owned();
            (why, "use the MIG strategy `mixed`, or remove it")
        }
        Some(unit) if unit.gpu.mig_enabled => {
            let why = "a GPU in MIG mode, which is its MIG devices".to_owned();
            (why, "select MIG devices by `0:1` or by UUID (nvidia-smi -L lists them)")
        }
        Some(_) => ("a whole GPU that the MIG strategy `single` leaves out here".to_owned(), SELECTS_NOTHING),
        None => match device {
            DeviceRef::MigIndex(..) | DeviceRef::MigUuid(_) => (
                "but this node has no such MIG device (nvidia-smi -L lists them)".to_owned(),
                SELECTS_NOTHING,
            ),
            DeviceRef::Index(_) | DeviceRef::GpuUuid(_) => {
                (format!("but this node has no such GPU{}", range(facts)), SELECTS_NOTHING)
            }
        },
    }
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
    offer: &Offer<'_>,
    finder: &mut Finder<'_>,
) -> BTreeMap<GpuUuid, usize> {
    let mut out = BTreeMap::new();
    let mut said: BTreeSet<(usize, usize)> = BTreeSet::new();
    let count = |group, unit| size::count(group, unit, offer.facts.cuda_version);
    for unit in offer.units.iter().copied() {
        let Some((first, others)) = wanted.get(unit.uuid()).and_then(|all| all.split_first()) else {
            continue;
        };
        let mut kept = *first;
        for other in others {
            let (Some(a), Some(b)) = (groups.get(kept), groups.get(*other)) else {
                continue;
            };
            if said.insert((kept, *other)) {
                meet(a, b, unit, finder);
            }
            if a.strategy == b.strategy && count(b, unit) > count(a, unit) {
                kept = *other;
            }
        }
        out.insert(unit.uuid().clone(), kept);
    }
    out
}

/// Two entries want the same GPU or MIG device.
fn meet(a: &Group<'_>, b: &Group<'_>, unit: Unit<'_>, finder: &mut Finder<'_>) {
    let at = finder.places.of(&a.path);
    let sort = if unit.mig.is_some() { "MIG device" } else { "GPU" };
    let message = format!(
        "`{}` (devices `{}`) and `{}` at {at} (devices `{}`) both share {sort} {} (`{}`)",
        b.path,
        b.entry.devices,
        a.path,
        a.entry.devices,
        unit.index(),
        unit.uuid()
    );
    if a.strategy != b.strategy {
        finder.error(&b.path, format!("{message}, but a GPU has one strategy"), OVERLAP_HINT);
    } else if !a.entry.devices.surely_overlaps(&b.entry.devices) {
        finder.deviation(&b.path, message, "without strict validation the larger number of replicas counts");
    }
}
