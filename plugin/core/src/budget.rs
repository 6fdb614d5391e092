//! The memory that each replica may count on, as a container is told it: a hook of the container toolkit reads both numbers
//! and lets the driver hold the container's control group to them, on each of its GPUs.
//!
//! The hook (nvidia-container-toolkit 1.20.1, `apply-cuda-memory-limits`) wants whole MiB, both variables or none, and the
//! limit not below the request; where it cannot obey, it keeps the container from starting. So nothing is said that a
//! driver before CUDA 13.4 would refuse, and nothing about MIG devices, whose memory is their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::allocate::Allocation;
use crate::config::ReplicatedResource;
use crate::inventory::{Facts, GpuUuid};
use crate::view::Device;

/// What the container may count on.
pub const REQUEST: &str = "NVIDIA_GPU_MEMORY_REQUEST";
/// What it may use at most.
pub const LIMIT: &str = "NVIDIA_GPU_MEMORY_LIMIT";
/// The first CUDA version whose driver divides a GPU's memory between control groups.
const CUDA_FIRST: (u32, u32) = (13, 4);

/// The memory of one replica, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget {
    /// What it may count on.
    pub request_mib: u64,
    /// What it may use at most; not less.
    pub limit_mib: u64,
}

impl Budget {
    /// What an entry of `sharing` gives each of its replicas, when it speaks of memory.
    pub(crate) fn of(entry: &ReplicatedResource) -> Option<Self> {
        let each = entry.memory_per_replica?;
        let most = entry.pinned_memory_limit.unwrap_or(each);
        Some(Budget { request_mib: each.min(most).mib(), limit_mib: most.mib() })
    }
}

/// Whether the driver can hold containers to a budget.
pub(crate) fn is_enforced(facts: &Facts) -> bool {
    facts.cuda_version >= CUDA_FIRST
}

/// Why a budget is counted and not enforced on this node, if it is not.
pub(crate) fn not_enforced(facts: &Facts) -> Option<String> {
    let (major, minor) = facts.cuda_version;
    let (first, point) = CUDA_FIRST;
    (!is_enforced(facts)).then(|| {
        format!(
            "the driver enforces memory budgets from CUDA {first}.{point} on, and is of CUDA {major}.{minor}"
        )
    })
}

/// Both variables. A container has one pair for all its GPUs: with unlike shares it is that of the smallest, because more
/// would take the memory of others.
pub(crate) fn add(budget: Option<Budget>, devices: &[&Device], out: &mut Allocation) {
    let Some(budget) = budget.filter(|_| devices.iter().all(|device| device.mig.is_none())) else {
        return;
    };
    let mut by_gpu: BTreeMap<&GpuUuid, BTreeSet<&str>> = BTreeMap::new();
    for device in devices {
        by_gpu.entry(&device.gpu).or_default().insert(&device.id);
    }
    let Some(fewest) = by_gpu.values().map(|ids| ids.len() as u64).min() else {
        return;
    };
    let pair = [(REQUEST, budget.request_mib), (LIMIT, budget.limit_mib)];
    out.envs.extend(pair.map(|(name, mib)| (name.to_owned(), mib.saturating_mul(fewest).to_string())));
}
