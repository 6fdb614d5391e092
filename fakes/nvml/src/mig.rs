//! MIG: boards that can do it have it switched off; there are no MIG devices yet.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceAttributes_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
};

use crate::call::{Answer, export, put};
use crate::session::with_gpu;

const DISABLED: c_uint = 0;

export! {
    /// MIG mode now and after the next reset; not supported on boards without MIG.
    fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        with_gpu(device, |_, gpu| {
            if gpu.board.mig_devices_max == 0 {
                return Err(NOT_SUPPORTED);
            }
            put(current, DISABLED)?;
            put(pending, DISABLED)
        })
    }
}

export! {
    /// Most MIG devices the board can have; 0 without MIG.
    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        with_gpu(device, |_, gpu| put(count, gpu.board.mig_devices_max))
    }
}

export! {
    /// Whether a handle is a MIG device's: none is.
    fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is_mig: *mut c_uint) {
        with_gpu(device, |_, _| put(is_mig, 0))
    }
}

export! {
    /// The MIG device with this index: there is none.
    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, _mig: *mut nvmlDevice_t) {
        with_gpu(device, |_, gpu| match gpu.board.mig_devices_max {
            0 => Err(NOT_SUPPORTED),
            max if index >= max => Err(INVALID_ARGUMENT),
            _ => Err(NOT_FOUND),
        })
    }
}

/// What the calls about a MIG device's handle say to a GPU's handle.
fn not_a_mig_device(device: nvmlDevice_t) -> Answer {
    with_gpu(device, |_, _| Err(INVALID_ARGUMENT))
}

export! {
    /// The GPU of a MIG device.
    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device: nvmlDevice_t, _gpu: *mut nvmlDevice_t) {
        not_a_mig_device(device)
    }
}

export! {
    /// The GPU instance of a MIG device.
    fn nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, _instance: *mut c_uint) { not_a_mig_device(device) }
}

export! {
    /// The compute instance of a MIG device.
    fn nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, _instance: *mut c_uint) { not_a_mig_device(device) }
}

export! {
    /// Sizes of a MIG device.
    fn nvmlDeviceGetAttributes_v2(device: nvmlDevice_t, _attributes: *mut nvmlDeviceAttributes_t) {
        not_a_mig_device(device)
    }
}
