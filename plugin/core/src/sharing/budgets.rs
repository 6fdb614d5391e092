//! Which resources have a budget of memory that the driver enforces, and which only count with it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finder, Group};
use crate::budget::{Budget, is_enforced, not_enforced};
use crate::config::ResourceName;
use crate::inventory::{Facts, GpuUuid};
use crate::view::Strategy;

type Members<'a> = BTreeMap<GpuUuid, Option<&'a Group<'a>>>;

/// The budget of each resource that has one. The driver divides no GPU that is in MIG mode, and one name has one meaning.
pub(super) fn budgets(members: &Members<'_>, facts: &Facts) -> BTreeMap<ResourceName, Budget> {
    let mut found = BTreeMap::new();
    for group in members.values().copied().flatten().filter(|_| is_enforced(facts)) {
        found.extend(Budget::of(group.entry).map(|budget| (group.advertised.clone(), budget)));
    }
    for (uuid, group) in members {
        if let Some(group) = group.filter(|_| !can_be_divided(facts, uuid)) {
            found.remove(&group.advertised);
        }
    }
    found
}

/// Says which budgets only count replicas: MPS enforces its own, and a MIG device's memory is its own.
pub(super) fn tell_unenforced(members: &Members<'_>, facts: &Facts, finder: &mut Finder<'_>) {
    let Some(why) = not_enforced(facts) else {
        return;
    };
    let mut said = BTreeSet::new();
    for (uuid, group) in members {
        let sliced = |group: &&Group<'_>| {
            group.strategy == Strategy::TimeSlicing && group.entry.memory_per_replica.is_some()
        };
        let told = group.filter(sliced).filter(|_| can_be_divided(facts, uuid));
        if let Some(group) = told.filter(|group| said.insert(group.path.clone())) {
            let path = format!("{}.memoryPerReplica", group.path);
            let message = format!("`{path}` only counts replicas on this node: {why}");
            finder.warning(&path, message, "share by MPS, which limits its clients with any driver");
        }
    }
}

fn can_be_divided(facts: &Facts, uuid: &GpuUuid) -> bool {
    facts.gpu(uuid).is_some_and(|gpu| !gpu.mig_enabled)
}
