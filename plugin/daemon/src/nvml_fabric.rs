//! Whether the NVLink fabric of a GPU is complete, which the NVML binding has no safe call for.

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper_sys::bindings::{
    NVML_GPU_FABRIC_STATE_IN_PROGRESS as IN_PROGRESS, NVML_GPU_FABRIC_STATE_NOT_STARTED as NOT_STARTED,
    nvmlGpuFabricInfo_t,
};

/// Whether the GPU is part of a fabric that is not complete. A board without one, and a driver that does not know the call,
/// have nothing to wait for.
///
/// # Errors
/// NVML's, other than "not supported".
#[allow(unsafe_code)]
pub(crate) fn is_starting(device: &Device<'_>) -> Result<bool, NvmlError> {
    let Ok(call) = device.nvml().lib().nvmlDeviceGetGpuFabricInfo.as_ref() else {
        return Ok(false);
    };
    let mut info = nvmlGpuFabricInfo_t { clusterUuid: [0; 16], status: 0, cliqueId: 0, state: 0 };
    // SAFETY: the handle is of the library that the device borrows, and NVML writes one struct of this layout.
    let code = unsafe { call(device.handle(), &raw mut info) };
    match nvml_try(code) {
        Ok(()) => Ok(matches!(u32::from(info.state), NOT_STARTED | IN_PROGRESS)),
        Err(NvmlError::NotSupported) => Ok(false),
        Err(e) => Err(e),
    }
}
