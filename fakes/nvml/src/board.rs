//! Clocks, power, temperature, PCIe link: the board's idle readings.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlClockType_t, nvmlDevice_t, nvmlEnableState_t, nvmlPStates_enum_NVML_PSTATE_0 as PSTATE_0,
    nvmlPstates_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlTemperatureSensors_t,
    nvmlTemperatureThresholds_t, nvmlUtilization_t,
};

use crate::call::{Answer, export, put};
use crate::session::with_gpu;

export! {
    /// Percentage of time the GPU and its memory were busy; not supported with MIG mode on.
    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, utilization: *mut nvmlUtilization_t) {
        with_gpu(device, |_, gpu| {
            if gpu.has_mig_on() {
                return Err(NOT_SUPPORTED);
            }
            put(utilization, nvmlUtilization_t { gpu: gpu.utilization_percent, memory: 0 })
        })
    }
}

export! {
    /// Temperature in °C; the only sensor is 0.
    fn nvmlDeviceGetTemperature(device: nvmlDevice_t, sensor: nvmlTemperatureSensors_t, degrees: *mut c_uint) {
        with_gpu(device, |_, gpu| match sensor {
            0 => put(degrees, gpu.board.temperature_idle_c),
            _ => Err(INVALID_ARGUMENT),
        })
    }
}

export! {
    /// Temperature thresholds in °C: shutdown (0) and slowdown (1), where the board gives them.
    fn nvmlDeviceGetTemperatureThreshold(
        device: nvmlDevice_t, threshold: nvmlTemperatureThresholds_t, degrees: *mut c_uint,
    ) {
        with_gpu(device, |_, gpu| match (threshold, &gpu.board) {
            (0, board) if board.temperature_shutdown_c != 0 => put(degrees, board.temperature_shutdown_c),
            (1, board) if board.temperature_slowdown_c != 0 => put(degrees, board.temperature_slowdown_c),
            _ => Err(NOT_SUPPORTED),
        })
    }
}

export! {
    /// Power draw in mW.
    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, power: *mut c_uint) {
        with_gpu(device, |_, gpu| put(power, gpu.board.power_idle_mw))
    }
}

export! {
    /// Power limit in mW.
    fn nvmlDeviceGetPowerManagementLimit(device: nvmlDevice_t, limit: *mut c_uint) { power_limit(device, limit) }
}

export! {
    /// Power limit out of the box, in mW.
    fn nvmlDeviceGetPowerManagementDefaultLimit(device: nvmlDevice_t, limit: *mut c_uint) {
        power_limit(device, limit)
    }
}

export! {
    /// Power limit in force, in mW.
    fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, limit: *mut c_uint) { power_limit(device, limit) }
}

fn power_limit(device: nvmlDevice_t, limit: *mut c_uint) -> Answer {
    with_gpu(device, |_, gpu| put(limit, gpu.board.power_limit_mw))
}

export! {
    /// Whether the driver stays loaded without clients: it does.
    fn nvmlDeviceGetPersistenceMode(device: nvmlDevice_t, mode: *mut nvmlEnableState_t) {
        with_gpu(device, |_, _| put(mode, 1))
    }
}

export! {
    /// Performance state.
    fn nvmlDeviceGetPerformanceState(device: nvmlDevice_t, state: *mut nvmlPstates_t) {
        with_gpu(device, |_, _| put(state, PSTATE_0))
    }
}

export! {
    /// Clock in MHz: the highest, as in performance state 0.
    fn nvmlDeviceGetClockInfo(device: nvmlDevice_t, clock: nvmlClockType_t, mhz: *mut c_uint) {
        clock_max(device, clock, mhz)
    }
}

export! {
    /// Highest clock in MHz.
    fn nvmlDeviceGetMaxClockInfo(device: nvmlDevice_t, clock: nvmlClockType_t, mhz: *mut c_uint) {
        clock_max(device, clock, mhz)
    }
}

/// 0 graphics, 1 SM, 2 memory, 3 video.
fn clock_max(device: nvmlDevice_t, clock: nvmlClockType_t, mhz: *mut c_uint) -> Answer {
    with_gpu(device, |_, gpu| match clock {
        0 | 1 => put(mhz, gpu.board.clock_graphics_mhz),
        2 => put(mhz, gpu.board.clock_memory_mhz),
        3 => put(mhz, gpu.board.clock_video_mhz),
        _ => Err(INVALID_ARGUMENT),
    })
}

export! {
    /// PCIe generation in use.
    fn nvmlDeviceGetCurrPcieLinkGeneration(device: nvmlDevice_t, generation: *mut c_uint) {
        with_gpu(device, |_, gpu| put(generation, gpu.board.pcie_generation))
    }
}

export! {
    /// Highest PCIe generation.
    fn nvmlDeviceGetMaxPcieLinkGeneration(device: nvmlDevice_t, generation: *mut c_uint) {
        with_gpu(device, |_, gpu| put(generation, gpu.board.pcie_generation))
    }
}

export! {
    /// PCIe lanes in use.
    fn nvmlDeviceGetCurrPcieLinkWidth(device: nvmlDevice_t, width: *mut c_uint) {
        with_gpu(device, |_, gpu| put(width, gpu.board.pcie_width))
    }
}

export! {
    /// Most PCIe lanes.
    fn nvmlDeviceGetMaxPcieLinkWidth(device: nvmlDevice_t, width: *mut c_uint) {
        with_gpu(device, |_, gpu| put(width, gpu.board.pcie_width))
    }
}
