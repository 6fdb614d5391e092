//! Handles of MIG devices, GPU instances and compute instances: a mark, the GPU's index and the instances' numbers, so that
//! a handle whose instance is gone is noticed.

use fake_gpu::{Gpu, MigDevice, MigInstance, Node};
use nvml_wrapper_sys::bindings::{
    nvmlComputeInstance_t, nvmlDevice_t, nvmlGpuInstance_t,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
};

use crate::call::Answer;
use crate::session::{gpu_of, with_gpu_at};

/// Marks of the three kinds of handle.
const MIG_MARK: usize = 0x4D47;
const GPU_INSTANCE_MARK: usize = 0x4749;
const COMPUTE_INSTANCE_MARK: usize = 0x4349;
/// Bits of each number.
const NUMBER_BITS: u32 = 8;

fn marked(mark: usize, gpu: u32, instance: MigInstance) -> usize {
    let numbers = [gpu, instance.gpu_instance, instance.compute_instance];
    numbers.into_iter().fold(mark, |handle, number| handle << NUMBER_BITS | number as usize)
}

fn unmarked(mark: usize, handle: usize) -> Answer<(u32, MigInstance)> {
    let number = |place: u32| u32::from((handle >> (place * NUMBER_BITS)).to_le_bytes()[0]);
    let instance = MigInstance { gpu_instance: number(1), compute_instance: number(0) };
    if handle >> (3 * NUMBER_BITS) == mark { Ok((number(2), instance)) } else { Err(INVALID_ARGUMENT) }
}

/// The handle of a MIG device.
pub(crate) fn mig_handle(gpu: &Gpu, device: &MigDevice<'_>) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(marked(MIG_MARK, gpu.index, device.instance))
}

/// The GPU and the instances of a MIG device's handle.
pub(crate) fn mig_of(device: nvmlDevice_t) -> Answer<(u32, MigInstance)> {
    unmarked(MIG_MARK, device.addr())
}

/// Looks at the GPU of a handle, and at the MIG device if it is one's.
pub(crate) fn with_device<T>(
    device: nvmlDevice_t,
    look: impl FnOnce(&Node, &Gpu, Option<MigDevice<'_>>) -> Answer<T>,
) -> Answer<T> {
    match mig_of(device) {
        Ok((gpu, instance)) => with_gpu_at(gpu, |node, gpu| {
            let device = gpu.mig_device(instance).ok_or(INVALID_ARGUMENT)?;
            look(node, gpu, Some(device))
        }),
        Err(_) => with_gpu_at(gpu_of(device)?, |node, gpu| look(node, gpu, None)),
    }
}

/// Looks at a MIG device; a GPU's handle is an invalid argument.
pub(crate) fn with_mig<T>(
    device: nvmlDevice_t,
    look: impl FnOnce(&Node, &Gpu, MigDevice<'_>) -> Answer<T>,
) -> Answer<T> {
    with_device(device, |node, gpu, mig| look(node, gpu, mig.ok_or(INVALID_ARGUMENT)?))
}

/// The handle of the GPU instance of a MIG device.
pub(crate) fn gpu_instance_handle(gpu: &Gpu, device: &MigDevice<'_>) -> nvmlGpuInstance_t {
    let instance = MigInstance { compute_instance: 0, ..device.instance };
    std::ptr::without_provenance_mut(marked(GPU_INSTANCE_MARK, gpu.index, instance))
}

/// Looks at a GPU instance: its GPU, and the MIG devices in it, of which there is one at least.
pub(crate) fn with_gpu_instance<T>(
    handle: nvmlGpuInstance_t,
    look: impl FnOnce(&Gpu, &[MigDevice<'_>]) -> Answer<T>,
) -> Answer<T> {
    let (gpu, instance) = unmarked(GPU_INSTANCE_MARK, handle.addr())?;
    with_gpu_at(gpu, |_, gpu| {
        let inside = gpu.mig_devices().filter(|d| d.instance.gpu_instance == instance.gpu_instance);
        let inside: Vec<MigDevice<'_>> = inside.collect();
        if inside.is_empty() { Err(INVALID_ARGUMENT) } else { look(gpu, &inside) }
    })
}

/// The handle of the compute instance of a MIG device.
pub(crate) fn compute_instance_handle(gpu: &Gpu, device: &MigDevice<'_>) -> nvmlComputeInstance_t {
    std::ptr::without_provenance_mut(marked(COMPUTE_INSTANCE_MARK, gpu.index, device.instance))
}

/// Looks at a compute instance.
pub(crate) fn with_compute_instance<T>(
    handle: nvmlComputeInstance_t,
    look: impl FnOnce(&Gpu, MigDevice<'_>) -> Answer<T>,
) -> Answer<T> {
    let (gpu, instance) = unmarked(COMPUTE_INSTANCE_MARK, handle.addr())?;
    with_gpu_at(gpu, |_, gpu| look(gpu, gpu.mig_device(instance).ok_or(INVALID_ARGUMENT)?))
}
