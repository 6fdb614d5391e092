//! Compute mode, and which processes are on a GPU.

use std::ffi::c_uint;

use fake_gpu::{ComputeMode, Process, ProcessKind};
use nvml_wrapper_sys::bindings::{
    nvmlComputeMode_t, nvmlDevice_t, nvmlProcessInfo_t,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
};

use crate::call::{Answer, export, put, put_list};
use crate::mig_handle::with_device;
use crate::session::{change_node, with_gpu};

export! {
    /// Compute mode in force.
    fn nvmlDeviceGetComputeMode(device: nvmlDevice_t, mode: *mut nvmlComputeMode_t) {
        with_gpu(device, |_, gpu| put(mode, gpu.compute_mode))
    }
}

export! {
    /// Sets the compute mode for everybody on the node; not supported with MIG mode on. The real call needs root; this one
    /// does not.
    fn nvmlDeviceSetComputeMode(device: nvmlDevice_t, mode: nvmlComputeMode_t) {
        let mode = ComputeMode::from_number(mode).ok_or(INVALID_ARGUMENT)?;
        let gpu = with_gpu(device, |_, gpu| Ok(gpu.index))?;
        change_node(|node| node.set_compute_mode(gpu, mode))
    }
}

export! {
    /// Processes that own a context: plain programs and MPS servers.
    fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, places: *mut nvmlProcessInfo_t,
    ) {
        list(device, count, places, |process| process.kind() != ProcessKind::MpsClient)
    }
}

export! {
    /// MPS clients.
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, places: *mut nvmlProcessInfo_t,
    ) {
        list(device, count, places, |process| process.kind() == ProcessKind::MpsClient)
    }
}

export! {
    /// Graphics programs: there are none.
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, places: *mut nvmlProcessInfo_t,
    ) {
        list(device, count, places, |_| false)
    }
}

fn list(
    device: nvmlDevice_t,
    count: *mut c_uint,
    places: *mut nvmlProcessInfo_t,
    wanted: impl Fn(&Process) -> bool,
) -> Answer {
    with_device(device, |node, gpu, mig| {
        if gpu.processes_error != 0 {
            return Err(gpu.processes_error);
        }
        let here = |process: &&Process| mig.is_none_or(|mig| process.instance() == Some(mig.instance));
        let processes = node.processes_on(gpu.index).filter(|process| wanted(process)).filter(here);
        let items = processes
            .map(|process| nvmlProcessInfo_t {
                pid: process.pid,
                usedGpuMemory: process.used_bytes,
                gpuInstanceId: process.gpu_instance,
                computeInstanceId: process.compute_instance,
            })
            .collect();
        put_list(count, places, items)
    })
}
