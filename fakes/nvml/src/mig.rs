//! MIG mode and MIG devices; the instances behind them are in `instances`.

use std::ffi::c_uint;

use fake_gpu::{Gpu, Node};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceAttributes_t, nvmlReturn_enum_NVML_ERROR_IN_USE as IN_USE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
    nvmlReturn_t,
};

use crate::call::{Answer, export, put};
use crate::mig_handle::{mig_handle, with_device, with_mig};
use crate::session::{change_node, gpu_of, handle_of, with_gpu_at};

/// Looks at a GPU that can have MIG; a MIG device's handle is an invalid argument, a board without MIG not supported.
pub(crate) fn with_capable<T>(
    device: nvmlDevice_t,
    look: impl FnOnce(&Node, &Gpu) -> Answer<T>,
) -> Answer<T> {
    with_gpu_at(gpu_of(device)?, |node, gpu| match gpu.board.mig_devices_max {
        0 => Err(NOT_SUPPORTED),
        _ => look(node, gpu),
    })
}

export! {
    /// MIG mode now and after the next reset; not supported on boards without MIG.
    fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        with_capable(device, |_, gpu| {
            put(current, gpu.mig.mode)?;
            put(pending, gpu.mig.pending)
        })
    }
}

export! {
    /// Switches MIG mode. While processes are on the GPU it is only pending, and the activation status says why. The real
    /// call needs root; this one does not.
    fn nvmlDeviceSetMigMode(device: nvmlDevice_t, mode: c_uint, activation: *mut nvmlReturn_t) {
        if mode > 1 || activation.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let gpu = with_capable(device, |_, gpu| Ok(gpu.index))?;
        let is_now = change_node(|node| node.ask_mig_mode(gpu, mode == 1))?;
        put(activation, if is_now { SUCCESS } else { IN_USE })
    }
}

export! {
    /// Most MIG devices the board can have; 0 without MIG.
    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        with_gpu_at(gpu_of(device)?, |_, gpu| put(count, gpu.board.mig_devices_max))
    }
}

export! {
    /// Whether a handle is a MIG device's.
    fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is_mig: *mut c_uint) {
        with_device(device, |_, _, mig| put(is_mig, c_uint::from(mig.is_some())))
    }
}

export! {
    /// The MIG device with this index; indexes have gaps where devices were destroyed.
    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, place: *mut nvmlDevice_t) {
        with_capable(device, |_, gpu| {
            if index >= gpu.board.mig_devices_max {
                return Err(INVALID_ARGUMENT);
            }
            let found = gpu.mig_devices().find(|mig| mig.index == index).ok_or(NOT_FOUND)?;
            put(place, mig_handle(gpu, &found))
        })
    }
}

export! {
    /// The GPU of a MIG device.
    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device: nvmlDevice_t, place: *mut nvmlDevice_t) {
        with_mig(device, |_, gpu, _| put(place, handle_of(gpu.index)))
    }
}

export! {
    /// The GPU instance of a MIG device.
    fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, instance: *mut c_uint) {
        with_mig(device, |_, _, mig| put(instance, mig.instance.gpu_instance))
    }
}

export! {
    /// The compute instance of a MIG device.
    fn nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, instance: *mut c_uint) {
        with_mig(device, |_, _, mig| put(instance, mig.instance.compute_instance))
    }
}

export! {
    /// Sizes of a MIG device.
    fn nvmlDeviceGetAttributes_v2(device: nvmlDevice_t, attributes: *mut nvmlDeviceAttributes_t) {
        with_mig(device, |_, _, mig| {
            let engines = mig.profile.engines;
            put(attributes, nvmlDeviceAttributes_t {
                multiprocessorCount: mig.multiprocessors(),
                sharedCopyEngineCount: engines.copy,
                sharedDecoderCount: engines.decoder,
                sharedEncoderCount: engines.encoder,
                sharedJpegCount: engines.jpeg,
                sharedOfaCount: engines.ofa,
                gpuInstanceSliceCount: mig.profile.slices,
                computeInstanceSliceCount: mig.compute_slices,
                memorySizeMB: mig.profile.memory_mib,
            })
        })
    }
}
