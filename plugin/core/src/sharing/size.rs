//! How many replicas one GPU gets and what each may use of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finder, Group};
use crate::config::{MIB, Memory, REPLICAS_MAX, Replicas, ResourceName, TimeSlice};
use crate::inventory::{Facts, GpuUuid};
use crate::mps::{ClientLimits, DaemonGpu, clients_max};
use crate::resources::{Limits, Role};
use crate::unit::Unit;
use crate::view::Strategy;

/// The CUDA version of the driver: major, minor.
type CudaVersion = (u32, u32);

/// The role of a GPU in a group; `None` when it cannot play it, which is reported.
pub(super) fn role(
    group: &Group<'_>,
    unit: Unit<'_>,
    cuda: CudaVersion,
    finder: &mut Finder<'_>,
) -> Option<Role> {
    let replicas = count(group, unit, cuda);
    let parts_are_shared = mps_can_share(group, unit, finder);
    let fits = memory_fits(group, unit, replicas, finder);
    let served = clients_fit(group, unit, (replicas, cuda), finder);
    (parts_are_shared && fits && served && replicas > 0).then(|| Role {
        resource: group.advertised.clone(),
        strategy: group.strategy,
        replicas,
        limits: (group.strategy == Strategy::Mps).then(|| limits(group, unit, replicas)),
        daemon_gpus: Vec::new(),
    })
}

/// How many replicas: as given, or as many as the GPU's memory has room for, an MPS daemon serves and the kubelet's list can
/// hold. None when there is no room for one.
pub(super) fn count(group: &Group<'_>, unit: Unit<'_>, cuda: CudaVersion) -> u32 {
    let most = match group.strategy {
        Strategy::Mps => clients_max(unit.gpu.compute_capability, cuda),
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

/// The interval of the GPU's turns. It is one setting of the whole GPU, so that MIG devices have none.
pub(super) fn interval(group: &Group<'_>, unit: Unit<'_>, finder: &mut Finder<'_>) -> Option<TimeSlice> {
    let interval = group.entry.time_slice?;
    if unit.gpu.mig_enabled {
        let path = format!("{}.interval", group.path);
        let message = format!(
            "`{path}` is `{interval}`, but only whole GPUs have an interval of time-slicing, and it would be that of {}",
            named(unit)
        );
        finder.error(&path, message, "remove it, or leave the GPU out by `devices`");
        return None;
    }
    Some(interval)
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

fn clients_fit(
    group: &Group<'_>,
    unit: Unit<'_>,
    (replicas, cuda): (u32, CudaVersion),
    finder: &mut Finder<'_>,
) -> bool {
    let most = clients_max(unit.gpu.compute_capability, cuda);
    if group.strategy != Strategy::Mps || replicas <= most {
        return true;
    }
    let path = format!("{}.replicas", group.path);
    let message = format!(
        "`sharing.mps` asks for {replicas} replicas of `{}`, but an MPS control daemon serves at most {most} clients on {}",
        group.advertised,
        named(unit)
    );
    finder.error(&path, message, clients_hint(unit, cuda));
    false
}

/// A newer driver may serve more.
fn clients_hint(unit: Unit<'_>, cuda: CudaVersion) -> &'static str {
    let newest = clients_max(unit.gpu.compute_capability, (u32::MAX, 0));
    match newest > clients_max(unit.gpu.compute_capability, cuda) {
        true => "lower `replicas`, or install a driver for CUDA 13.1 or newer, which serves 60",
        false => "lower `replicas`",
    }
}

/// What one client may use: as configured, or its share of the GPU. Where a container may hold several replicas, its
/// environment narrows what is configured down to what its replicas are worth, so the daemon allows what all are worth.
fn limits(group: &Group<'_>, unit: Unit<'_>, replicas: u32) -> Limits {
    let entry = group.entry;
    let replicas = replicas.max(1);
    let total = unit.memory_bytes() / MIB;
    let share = (total > 0).then(|| unit.memory_bytes() / u64::from(replicas) / MIB);
    let client = ClientLimits {
        active_thread_percentage: entry.active_thread_percentage,
        memory_mib: entry.pinned_memory_limit.or(entry.memory_per_replica).map(Memory::mib),
    };
    let held = if group.one_at_most { 1 } else { replicas };
    let percentage = |each: u32| each.saturating_mul(held).min(100);
    let memory = |each: u64| each.saturating_mul(u64::from(held)).min(total);
    Limits {
        active_thread_percentage: client.active_thread_percentage.map_or(100 / replicas, percentage),
        memory_mib: client.memory_mib.map(memory).or(share),
        client,
    }
}

/// The pods of a resource that may hold several of its replicas talk to one daemon, which serves all its GPUs.
pub(super) fn join_daemons(
    roles: &mut BTreeMap<GpuUuid, Role>,
    several: &BTreeSet<ResourceName>,
    facts: &Facts,
) {
    for resource in several {
        let plays = |gpu: &GpuUuid| {
            let role = roles.get(gpu).filter(|r| r.resource == *resource && r.strategy == Strategy::Mps)?;
            let memory_mib = role.limits.and_then(|limits| limits.memory_mib);
            Some(DaemonGpu { uuid: gpu.clone(), memory_mib })
        };
        let gpus: Vec<DaemonGpu> = facts.units().filter_map(|unit| plays(unit.uuid())).collect();
        for gpu in &gpus {
            if let Some(role) = roles.get_mut(&gpu.uuid) {
                role.daemon_gpus.clone_from(&gpus);
            }
        }
    }
}

fn named(unit: Unit<'_>) -> String {
    let sort = if unit.mig.is_some() { "MIG device" } else { "GPU" };
    format!("{sort} {} (`{}`, {})", unit.index(), unit.uuid(), unit.name())
}
