//! How many replicas one GPU gets and what each may use of it.

use super::{Finder, Group};
use crate::config::{MIB, Memory, REPLICAS_MAX, Replicas};
use crate::inventory::GpuFacts;
use crate::mps::clients_max;
use crate::resources::{Limits, Role};
use crate::view::Strategy;

/// The role of a GPU in a group; `None` when it cannot play it, which is reported.
pub(super) fn role(group: &Group<'_>, gpu: &GpuFacts, finder: &mut Finder<'_>) -> Option<Role> {
    let replicas = count(group, gpu);
    let fits = memory_fits(group, gpu, replicas, finder);
    let served = clients_fit(group, gpu, replicas, finder);
    (fits && served && replicas > 0).then(|| Role {
        resource: group.advertised.clone(),
        strategy: group.strategy,
        replicas,
        limits: (group.strategy == Strategy::Mps).then(|| limits(group, gpu, replicas)),
    })
}

/// How many replicas: as given, or as many as the GPU's memory has room for, an MPS daemon serves and the kubelet's list can
/// hold. None when there is no room for one.
pub(super) fn count(group: &Group<'_>, gpu: &GpuFacts) -> u32 {
    let most = match group.strategy {
        Strategy::Mps => clients_max(gpu.compute_capability),
        Strategy::Exclusive | Strategy::TimeSlicing => REPLICAS_MAX,
    };
    match (group.entry.replicas, group.entry.memory_per_replica) {
        (Replicas::Count(count), _) => count,
        (Replicas::Auto, None) => 0,
        (Replicas::Auto, Some(each)) => {
            u32::try_from(gpu.memory_bytes / each.bytes()).unwrap_or(u32::MAX).min(most)
        }
    }
}

fn memory_fits(group: &Group<'_>, gpu: &GpuFacts, replicas: u32, finder: &mut Finder<'_>) -> bool {
    let entry = group.entry;
    let limit = entry.pinned_memory_limit;
    if (entry.memory_per_replica.is_some() || limit.is_some()) && gpu.memory_bytes == 0 {
        let path = format!("{}.memoryPerReplica", group.path);
        let message = format!("`{}` speaks of memory, but that of {} is not known", group.path, named(gpu));
        finder.error(&path, message, "give a number of `replicas` and no amount of memory");
        return false;
    }
    let total = gpu.memory_bytes / MIB;
    if let Some(each) = entry.memory_per_replica {
        let needed = each.bytes().saturating_mul(u64::from(replicas.max(1)));
        if needed > gpu.memory_bytes {
            let path = format!("{}.memoryPerReplica", group.path);
            let count = replicas.max(1);
            let message =
                format!("{count} × `{path}` `{each}` is more than the memory of {}: {total}Mi", named(gpu));
            finder.error(&path, message, "lower it, or leave the GPU out by `devices`");
            return false;
        }
    }
    if let Some(limit) = limit.filter(|limit| limit.bytes() > gpu.memory_bytes) {
        let path = format!("{}.pinnedMemoryLimit", group.path);
        let message = format!("`{path}` `{limit}` is more than the memory of {}: {total}Mi", named(gpu));
        finder.error(&path, message, "lower it, or leave the GPU out by `devices`");
        return false;
    }
    true
}

fn clients_fit(group: &Group<'_>, gpu: &GpuFacts, replicas: u32, finder: &mut Finder<'_>) -> bool {
    let most = clients_max(gpu.compute_capability);
    if group.strategy != Strategy::Mps || replicas <= most {
        return true;
    }
    let path = format!("{}.replicas", group.path);
    let message = format!(
        "`sharing.mps` asks for {replicas} replicas of `{}`, but an MPS control daemon serves at most {most} clients on {}",
        group.advertised,
        named(gpu)
    );
    finder.error(&path, message, "lower `replicas`");
    false
}

fn limits(group: &Group<'_>, gpu: &GpuFacts, replicas: u32) -> Limits {
    let entry = group.entry;
    let share = (gpu.memory_bytes > 0).then(|| gpu.memory_bytes / u64::from(replicas.max(1)) / MIB);
    Limits {
        active_thread_percentage: entry.active_thread_percentage.unwrap_or(100 / replicas.max(1)),
        memory_mib: entry.pinned_memory_limit.or(entry.memory_per_replica).map(Memory::mib).or(share),
    }
}

fn named(gpu: &GpuFacts) -> String {
    format!("GPU {} (`{}`, {})", gpu.index, gpu.uuid, gpu.name)
}
