//! Which parts of the node can play a role under the MIG strategy, and what they are called. A layout that the strategy has
//! no place for is left out and said, and everything else is served: NVIDIA's plugin ends instead.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Finder;
use super::names::{self, Names};
use crate::cdi;
use crate::config::{Config, Effective, MigStrategy, ResourceName};
use crate::inventory::{Facts, GpuUuid};
use crate::unit::Unit;

/// The setting that layouts are held against.
const PATH: &str = "flags.migStrategy";
/// What to do about a layout that `single` has no place for.
const ALIKE: &str = "lay the GPUs out alike, or use the MIG strategy `mixed`";
/// Most parts that one message names.
const NAMED_MAX: usize = 8;

/// The units that play a role, with their names.
pub(super) fn units<'f>(
    config: &Config,
    effective: &Effective,
    facts: &'f Facts,
    finder: &mut Finder<'_>,
) -> (Vec<Unit<'f>>, Names) {
    let strategy = effective.mig_strategy;
    if strategy == MigStrategy::None && !config.resources.mig.is_empty() {
        let message = "`resources.mig` has no effect: the MIG strategy is `none`".to_owned();
        finder.warning(
            "resources.mig",
            message,
            "use the MIG strategy `mixed`, or leave it if other nodes do",
        );
    }
    let empty: Vec<Unit<'_>> =
        facts.gpus.iter().filter(|g| g.mig_enabled && g.mig.is_empty()).map(Unit::whole).collect();
    if strategy != MigStrategy::None && !empty.is_empty() {
        let message =
            format!("GPU {} is in MIG mode and has no MIG devices, so it serves nothing", indexes(&empty));
        finder.warning(
            PATH,
            message,
            "create MIG devices on it (nvidia-smi mig -cgi …), or switch its MIG mode off",
        );
    }
    let mut units: Vec<Unit<'_>> = facts.units_under(strategy).collect();
    if effective.plugin.pass_device_specs || cdi::is_wanted(effective) {
        leave_closed_out(&mut units, finder);
    }
    let mut names = names::names(config, strategy, &units);
    let nameless: Vec<Unit<'_>> = units.iter().copied().filter(|u| !names.contains_key(u.uuid())).collect();
    for (profile, parts) in by_kind(&nameless) {
        let profile = profile.unwrap_or_default();
        let message = format!(
            "MIG device {} is a `{profile}`, which has no resource name under the MIG strategy `{strategy}`, so it serves nothing",
            indexes(&parts)
        );
        finder.warning(
            PATH,
            message,
            &format!("name it by `resources.mig`: {{pattern: {profile}, name: …}}"),
        );
    }
    if strategy == MigStrategy::Single {
        one_kind_per_name(&units, &mut names, finder);
    }
    units.retain(|unit| names.contains_key(unit.uuid()));
    (units, names)
}

/// Containers that get device nodes from us cannot open a MIG device whose nodes are not known.
fn leave_closed_out(units: &mut Vec<Unit<'_>>, finder: &mut Finder<'_>) {
    let is_closed = |unit: &Unit<'_>| unit.mig.is_some_and(|mig| mig.nodes.is_empty());
    let (closed, open): (Vec<_>, Vec<_>) = units.iter().copied().partition(is_closed);
    if !closed.is_empty() {
        let message = format!(
            "the device nodes of MIG device {} are not known, so no container could open it and it serves nothing",
            indexes(&closed)
        );
        finder.warning(PATH, message, "is /proc/driver/nvidia-caps/mig-minors there? (--proc-root)");
        *units = open;
    }
}

/// Under `single` a name says nothing of sizes, so that all devices behind it must be of one kind: of the one that most GPUs
/// of this node have, and at a tie of the one with the lowest index. The others lose their names.
fn one_kind_per_name(units: &[Unit<'_>], names: &mut Names, finder: &mut Finder<'_>) {
    let mut by_name: BTreeMap<&ResourceName, Vec<Unit<'_>>> = BTreeMap::new();
    for unit in units {
        if let Some(name) = names.get(unit.uuid()) {
            by_name.entry(name).or_default().push(*unit);
        }
    }
    let mut left_out: BTreeSet<GpuUuid> = BTreeSet::new();
    for (name, members) in &by_name {
        let kinds = by_kind(members);
        let rank = |parts: &[Unit<'_>]| {
            let gpus: BTreeSet<&GpuUuid> = parts.iter().map(|unit| &unit.gpu.uuid).collect();
            (gpus.len(), Reverse(parts.iter().map(|unit| unit.position()).min()))
        };
        let Some((kept, _)) = kinds.iter().max_by_key(|(_, parts)| rank(parts)) else {
            continue;
        };
        for (kind, parts) in kinds.iter().filter(|(kind, _)| *kind != kept) {
            let message = format!(
                "`{name}` is {} on this node under the MIG strategy `single`, so {} at index {} serves nothing",
                called(*kept),
                called(*kind),
                indexes(parts)
            );
            finder.warning(PATH, message, ALIKE);
            left_out.extend(parts.iter().map(|unit| unit.uuid().clone()));
        }
    }
    names.retain(|uuid, _| !left_out.contains(uuid));
}

/// Units by their profile; whole GPUs have none.
fn by_kind<'f>(units: &[Unit<'f>]) -> BTreeMap<Option<&'f str>, Vec<Unit<'f>>> {
    let mut kinds: BTreeMap<Option<&str>, Vec<Unit<'_>>> = BTreeMap::new();
    for unit in units {
        kinds.entry(unit.mig.map(|mig| mig.profile.as_str())).or_default().push(*unit);
    }
    kinds
}

fn called(kind: Option<&str>) -> String {
    kind.map_or_else(|| "a whole GPU".to_owned(), |profile| format!("a MIG device `{profile}`"))
}

/// `0:1, 0:2, 1:0 and 5 more`.
fn indexes(units: &[Unit<'_>]) -> String {
    let named: Vec<String> = units.iter().take(NAMED_MAX).map(|unit| unit.index()).collect();
    let named = named.join(", ");
    match units.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
