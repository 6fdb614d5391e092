//! Where a GPU hangs: NUMA, CPUs, common ancestors.

use std::ffi::{c_int, c_uint, c_ulong};

use fake_gpu::Gpu;
use nvml_wrapper_sys::bindings::{
    nvmlAffinityScope_t, nvmlDevice_t, nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL as INTERNAL,
    nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE as SAME_NUMA, nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM as SYSTEM,
    nvmlGpuP2PCapsIndex_t, nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_NOT_SUPPORTED as P2P_NOT_SUPPORTED,
    nvmlGpuP2PStatus_t, nvmlGpuTopologyLevel_t,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN,
};

use crate::call::{Answer, export, put};
use crate::session::{gpu_of, with_gpu, with_gpu_at};

/// CPUs of one NUMA node of the fake machine: NUMA node n has the n-th sixteen.
const CPUS_PER_NUMA_NODE: usize = 16;
/// Most words of a mask that a caller may ask for.
const MASK_WORDS_MAX: usize = 64;

export! {
    /// The NUMA node that a GPU *is* (Grace boards). These boards are none: not supported, as on real ones.
    fn nvmlDeviceGetNumaNodeId(device: nvmlDevice_t, _node: *mut c_uint) {
        with_gpu(device, |_, _| Err(NOT_SUPPORTED))
    }
}

export! {
    /// NUMA nodes near the GPU, as a mask; without NUMA, node 0.
    fn nvmlDeviceGetMemoryAffinity(
        device: nvmlDevice_t, words: c_uint, mask: *mut c_ulong, _scope: nvmlAffinityScope_t,
    ) {
        with_gpu(device, |_, gpu| put_mask(words, mask, numa_node(gpu)..numa_node(gpu) + 1))
    }
}

export! {
    /// CPUs near the GPU, as a mask.
    fn nvmlDeviceGetCpuAffinity(device: nvmlDevice_t, words: c_uint, mask: *mut c_ulong) {
        with_gpu(device, |_, gpu| put_mask(words, mask, cpus(gpu)))
    }
}

export! {
    /// CPUs near the GPU, as a mask; node and socket are the same here.
    fn nvmlDeviceGetCpuAffinityWithinScope(
        device: nvmlDevice_t, words: c_uint, mask: *mut c_ulong, _scope: nvmlAffinityScope_t,
    ) {
        with_gpu(device, |_, gpu| put_mask(words, mask, cpus(gpu)))
    }
}

fn numa_node(gpu: &Gpu) -> usize {
    usize::try_from(gpu.numa_node).unwrap_or(0)
}

fn cpus(gpu: &Gpu) -> std::ops::Range<usize> {
    let first = numa_node(gpu) * CPUS_PER_NUMA_NODE;
    first..first + CPUS_PER_NUMA_NODE
}

fn put_mask(words: c_uint, mask: *mut c_ulong, bits: std::ops::Range<usize>) -> Answer {
    let words = words as usize;
    if mask.is_null() || words == 0 || words > MASK_WORDS_MAX {
        return Err(INVALID_ARGUMENT);
    }
    for word in 0..words {
        let here = bits.clone().filter(|bit| bit / c_ulong::BITS as usize == word);
        let value = here.fold(0, |value: c_ulong, bit| value | 1 << (bit % c_ulong::BITS as usize));
        // SAFETY: not null, and NVML's contract gives room for `words` words.
        put(unsafe { mask.add(word) }, value)?;
    }
    Ok(())
}

export! {
    /// How far apart two GPUs are: the same, within a NUMA node, or across the machine.
    fn nvmlDeviceGetTopologyCommonAncestor(
        one: nvmlDevice_t, other: nvmlDevice_t, level: *mut nvmlGpuTopologyLevel_t,
    ) {
        with_gpu_at(gpu_of(one)?, |node, gpu| {
            let other = node.gpu(gpu_of(other)?).map_err(|_| UNKNOWN)?;
            put(level, match (gpu.index == other.index, gpu.numa_node == other.numa_node) {
                (true, _) => INTERNAL,
                (false, true) => SAME_NUMA,
                (false, false) => SYSTEM,
            })
        })
    }
}

export! {
    /// Whether two GPUs share a board: none here do.
    fn nvmlDeviceOnSameBoard(one: nvmlDevice_t, other: nvmlDevice_t, same: *mut c_int) {
        let same_gpu = gpu_of(other)? == gpu_of(one)?;
        with_gpu(one, |_, _| put(same, c_int::from(same_gpu)))
    }
}

export! {
    /// Whether two GPUs can read each other's memory: not modelled.
    fn nvmlDeviceGetP2PStatus(
        one: nvmlDevice_t, _other: nvmlDevice_t, _index: nvmlGpuP2PCapsIndex_t, status: *mut nvmlGpuP2PStatus_t,
    ) {
        with_gpu_at(gpu_of(one)?, |_, _| put(status, P2P_NOT_SUPPORTED))
    }
}
