//! How many replicas one GPU gets and what each may use of it.

use super::{Finder, Group};
use crate::config::{MIB, Memory, REPLICAS_MAX, Replicas};
use crate::mps::clients_max;
use crate::resources::{Limits, Role};
use crate::unit::Unit;
use crate::view::Strategy;

/// The role of a GPU in a group; `None` when it cannot play it, which is reported.
pub(super) fn role(group: &Group<'_>, unit: Unit<'_>, finder: &mut Finder<'_>) -> Option<Role> {
    let replicas = count(group, unit);
    let parts_are_shared = mps_can_share(group, unit, finder);
    let fits = memory_fits(group, unit, replicas, finder);
    let served = clients_fit(group, unit, replicas, finder);
    (parts_are_shared && fits && served && replicas > 0).then(|| Role {
        resource: group.advertised.clone(),
        strategy: group.strategy,
        replicas,
        limits: (group.strategy == Strategy::Mps).then(|| limits(group, unit, replicas)),
    })
}

/// How many replicas: as given, or as many as the GPU's memory has room for, an MPS daemon serves and the kubelet's list can
/// hold. None when there is no room for one.
pub(super) fn count(group: &Group<'_>, unit: Unit<'_>) -> u32 {
    let most = match group.strategy {
        Strategy::Mps => clients_max(unit.gpu.compute_capability),
        Strategy::Exclusive | Strategy::TimeSlicing => REPLICAS_MAX,
    };
    match (group.entry.replicas, group.entry.memory_per_replica) {
        (Replicas::Count(count), _) => count,
        (Replicas::Auto, None) => 0,
        (Replicas::Auto, Some(each)) => {
            u32::try_from(unit.memory_bytes() / each.bytes()).unwrap_or(u32::MAX).min(most)
        }
    }
}

/// MPS and MIG exclude each other: the daemon needs a compute mode that a GPU in MIG mode does not have.
fn mps_can_share(group: &Group<'_>, unit: Unit<'_>, finder: &mut Finder<'_>) -> bool {
    if group.strategy != Strategy::Mps || !unit.gpu.mig_enabled {
        return true;
    }
    let path = format!("{}.name", group.path);
    let message = match unit.mig {
        Some(_) => format!("MPS cannot share MIG devices, but `{}` would share {}", group.path, named(unit)),
        None => {
            format!("MPS cannot share a GPU in MIG mode, but `{}` would share {}", group.path, named(unit))
        }
    };
    finder.error(&path, message, "share it by `sharing.timeSlicing`, or leave it out by `devices`");
    false
}

fn memory_fits(group: &Group<'_>, unit: Unit<'_>, replicas: u32, finder: &mut Finder<'_>) -> bool {
    let entry = group.entry;
    let limit = entry.pinned_memory_limit;
    if (entry.memory_per_replica.is_some() || limit.is_some()) && unit.memory_bytes() == 0 {
        let path = format!("{}.memoryPerReplica", group.path);
        let message = format!("`{}` speaks of memory, but that of {} is not known", group.path, named(unit));
        finder.error(&path, message, "give a number of `replicas` and no amount of memory");
        return false;
    }
    let total = unit.memory_bytes() / MIB;
    if let Some(each) = entry.memory_per_replica {
        let needed = each.bytes().saturating_mul(u64::from(replicas.max(1)));
        if needed > unit.memory_bytes() {
            let path = format!("{}.memoryPerReplica", group.path);
            let count = replicas.max(1);
            let message =
                format!("{count} × `{path}` `{each}` is more than the memory of {}: {total}Mi", named(unit));
            finder.error(&path, message, "lower it, or leave the GPU out by `devices`");
            return false;
        }
    }
    if let Some(limit) = limit.filter(|limit| limit.bytes() > unit.memory_bytes()) {
        let path = format!("{}.pinnedMemoryLimit", group.path);
        let message = format!("`{path}` `{limit}` is more than the memory of {}: {total}Mi", named(unit));
        finder.error(&path, message, "lower it, or leave the GPU out by `devices`");
        return false;
    }
    true
}

fn clients_fit(group: &Group<'_>, unit: Unit<'_>, replicas: u32, finder: &mut Finder<'_>) -> bool {
    let most = clients_max(unit.gpu.compute_capability);
    if group.strategy != Strategy::Mps || replicas <= most {
        return true;
    }
    let path = format!("{}.replicas", group.path);
    let message = format!(
        "`sharing.mps` asks for {replicas} replicas of `{}`, but an MPS control daemon serves at most {most} clients on {}",
        group.advertised,
        named(unit)
    );
    finder.error(&path, message, "lower `replicas`");
    false
}

fn limits(group: &Group<'_>, unit: Unit<'_>, replicas: u32) -> Limits {
    let entry = group.entry;
    let share = (unit.memory_bytes() > 0).then(|| unit.memory_bytes() / u64::from(replicas.max(1)) / MIB);
    Limits {
        active_thread_percentage: entry.active_thread_percentage.unwrap_or(100 / replicas.max(1)),
        memory_mib: entry.pinned_memory_limit.or(entry.memory_per_replica).map(Memory::mib).or(share),
    }
}

fn named(unit: Unit<'_>) -> String {
    let sort = if unit.mig.is_some() { "MIG device" } else { "GPU" };
    format!("{sort} {} (`{}`, {})", unit.index(), unit.uuid(), unit.name())
}
