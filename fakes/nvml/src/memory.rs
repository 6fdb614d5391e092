//! Memory: used is what the node's processes have, whoever asks.

use fake_gpu::{Gpu, Memory, MigDevice, Node};
use nvml_wrapper_sys::bindings::{
    nvmlBAR1Memory_t, nvmlDevice_t, nvmlMemory_t, nvmlMemory_v2_t,
    nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH as ARGUMENT_VERSION_MISMATCH,
    nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN,
};

use crate::call::{Answer, export, get, put};
use crate::mig_handle::with_device;

/// Version word of `nvmlMemory_v2_t`: size and 2.
const MEMORY_V2: u32 = size_of::<nvmlMemory_v2_t>() as u32 | 2 << 24;
/// Memory slices of a GPU with MIG; each has its part of BAR1.
const MEMORY_SLICES: u64 = 8;
/// BAR1 in use on an idle GPU (2 MiB seen on a T4).
const BAR1_USED_BYTES: u64 = 2 << 20;

/// The memory of a MIG device, or of the whole GPU: the sum over its MIG devices where it has some.
fn memory_of(node: &Node, gpu: &Gpu, mig: Option<MigDevice<'_>>) -> Answer<Memory> {
    let memory = match mig {
        Some(mig) => node.mig_memory(gpu.index, mig.instance),
        None => node.memory(gpu.index),
    };
    memory.map_err(|_| UNKNOWN)
}

export! {
    /// Memory, first form: total = free + used, so used includes what the driver reserves.
    fn nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, memory: *mut nvmlMemory_t) {
        with_device(device, |node, gpu, mig| {
            let now = memory_of(node, gpu, mig)?;
            let used = now.used_bytes + now.reserved_bytes;
            put(memory, nvmlMemory_t { total: now.total_bytes, free: now.free_bytes, used })
        })
    }
}

export! {
    /// Memory, second form: total = reserved + used + free.
    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t) {
        with_device(device, |node, gpu, mig| {
            if get(memory.cast_const())?.version != MEMORY_V2 {
                return Err(ARGUMENT_VERSION_MISMATCH);
            }
            let now = memory_of(node, gpu, mig)?;
            put(memory, nvmlMemory_v2_t {
                version: MEMORY_V2,
                total: now.total_bytes,
                reserved: now.reserved_bytes,
                free: now.free_bytes,
                used: now.used_bytes,
            })
        })
    }
}

export! {
    /// The window through which the CPU sees GPU memory.
    fn nvmlDeviceGetBAR1MemoryInfo(device: nvmlDevice_t, memory: *mut nvmlBAR1Memory_t) {
        with_device(device, |_, gpu, mig| {
            let size = mig.map_or(MEMORY_SLICES, |mig| u64::from(mig.profile.size));
            let total = gpu.board.bar1_bytes / MEMORY_SLICES * size;
            let used = BAR1_USED_BYTES.min(total);
            put(memory, nvmlBAR1Memory_t { bar1Total: total, bar1Free: total - used, bar1Used: used })
        })
    }
}
