//! One name, one meaning: a pod asks by name alone, so all devices of a resource must be worth the same to it. Whole GPUs
//! and replicas, two strategies, other counts, budgets or limits never go under one name.

use std::collections::BTreeMap;

use super::{Finder, Group};
use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::resources::Role;
use crate::unit::Unit;

/// The first GPU or MIG device that plays a role under a name, and its group.
type First<'a> = (Unit<'a>, Option<&'a Group<'a>>);

/// Reports every name that would mean two things.
pub(super) fn check(
    roles: &BTreeMap<GpuUuid, Role>,
    members: &BTreeMap<GpuUuid, Option<&Group<'_>>>,
    units: &[Unit<'_>],
    finder: &mut Finder<'_>,
) {
    let mut first: BTreeMap<&ResourceName, First<'_>> = BTreeMap::new();
    let mut said: Vec<(Option<&str>, Option<&str>)> = Vec::new();
    for unit in units {
        let (Some(role), Some(group)) = (roles.get(unit.uuid()), members.get(unit.uuid())) else {
            continue;
        };
        let (earlier_unit, earlier) = *first.entry(&role.resource).or_insert((*unit, *group));
        let path = |group: Option<&'_ Group<'_>>| group.map(|g| g.path.clone());
        let pair = (path(earlier), path(*group));
        let known = said.iter().any(|(a, b)| *a == pair.0.as_deref() && *b == pair.1.as_deref());
        let alike = earlier_unit.mig.is_some() == unit.mig.is_some();
        if known || (alike && same(earlier, *group)) {
            continue;
        }
        differ(&role.resource, (earlier_unit, earlier), (*unit, *group), finder);
        said.push((earlier.map(|g| g.path.as_str()), group.map(|g| g.path.as_str())));
    }
}

/// Whether the devices of two groups (no group: whole GPUs) are worth the same.
fn same(a: Option<&Group<'_>>, b: Option<&Group<'_>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a.is_none() && b.is_none();
    };
    let worth = |group: &Group<'_>| {
        let entry = group.entry;
        let limits = (entry.active_thread_percentage, entry.pinned_memory_limit);
        let turns = (entry.memory_per_replica, entry.time_slice);
        (group.strategy, entry.replicas, turns, limits, group.policy)
    };
    worth(a) == worth(b)
}

fn differ(name: &ResourceName, a: First<'_>, b: First<'_>, finder: &mut Finder<'_>) {
    let is = |(unit, group): First<'_>, finder: &Finder<'_>| {
        let sort = if unit.mig.is_some() { "MIG device" } else { "GPU" };
        let index = unit.index();
        match group {
            Some(group) => {
                let at = finder.places.of(&group.path);
                format!("a replica by `{}` at {at} ({sort} {index})", group.path)
            }
            None => format!("a whole {sort} ({sort} {index})"),
        }
    };
    let message =
        format!("`{name}` would be {} and {}, and no pod could tell which", is(a, finder), is(b, finder));
    let path = b.1.or(a.1).map(|group| group.path.clone()).unwrap_or_default();
    let whole = a.1.is_none() || b.1.is_none();
    let hint = if a.0.mig.is_some() != b.0.mig.is_some() {
        "give MIG devices another name than whole GPUs"
    } else if whole {
        "share it under another name: `rename`, or `renameByDefault: true`"
    } else {
        "give one of them another `rename`"
    };
    finder.error(&path, message, hint);
}
