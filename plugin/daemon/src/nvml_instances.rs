//! The instances behind a MIG device, which nvml-wrapper has no calls for: asked of the library itself.

#![allow(unsafe_code)]

use std::ffi::{OsStr, c_uint};

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlGpuInstanceInfo_t, nvmlReturn_enum_NVML_SUCCESS as SUCCESS};

/// The library a second time: the loader gives the one that is loaded and initialized already.
pub(crate) struct Instances {
    library: NvmlLib,
}

/// The ids of a MIG device's instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

impl Instances {
    /// The library at the path or name under which it was loaded.
    pub(crate) fn open(library: &OsStr) -> Result<Self, NvmlError> {
        // SAFETY: the same library was loaded before; it runs nothing when it is opened once more.
        let library = unsafe { NvmlLib::new(library) }.map_err(NvmlError::LibloadingError)?;
        Ok(Instances { library })
    }

    /// The instances of a MIG device.
    pub(crate) fn ids(&self, mig: &Device<'_>) -> Result<Ids, NvmlError> {
        let gpu = symbol(self.library.nvmlDeviceGetGpuInstanceId.as_ref())?;
        let compute = symbol(self.library.nvmlDeviceGetComputeInstanceId.as_ref())?;
        let (mut gpu_instance, mut compute_instance): (c_uint, c_uint) = (0, 0);
        // SAFETY: the handle is the device's, NVML is initialized while it lives, and the places outlive the calls.
        unsafe {
            done(gpu(mig.handle(), &mut gpu_instance))?;
            done(compute(mig.handle(), &mut compute_instance))?;
        }
        Ok(Ids { gpu_instance, compute_instance })
    }

    /// The driver's id of the profile that a GPU instance was made from.
    pub(crate) fn profile_id(&self, gpu: &Device<'_>, gpu_instance: u32) -> Result<u32, NvmlError> {
        let by_id = symbol(self.library.nvmlDeviceGetGpuInstanceById.as_ref())?;
        let info = symbol(self.library.nvmlGpuInstanceGetInfo.as_ref())?;
        // SAFETY: both types are plain numbers and pointers, for which zero is a value; the handle is the device's, NVML is
        // initialized while it lives, and the places outlive the calls.
        unsafe {
            let mut instance = std::mem::zeroed();
            done(by_id(gpu.handle(), gpu_instance, &mut instance))?;
            let mut told: nvmlGpuInstanceInfo_t = std::mem::zeroed();
            done(info(instance, &mut told))?;
            Ok(told.profileId)
        }
    }
}

/// A function that older libraries lack.
fn symbol<S: Copy, E>(symbol: Result<&S, E>) -> Result<S, NvmlError> {
    symbol.copied().map_err(|_| NvmlError::FunctionNotFound)
}

fn done(code: c_uint) -> Result<(), NvmlError> {
    if code == SUCCESS { Ok(()) } else { nvml_wrapper::error::nvml_try(code) }
}
