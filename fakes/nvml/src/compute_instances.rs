//! Compute instances and the profiles they are made from.

use std::ffi::c_uint;

use fake_gpu::MigDevice;
use nvml_wrapper_sys::bindings::{
    NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED as ENGINES_SHARED,
    NVML_COMPUTE_INSTANCE_PROFILE_COUNT as PROFILES, nvmlComputeInstance_t, nvmlComputeInstanceInfo_t,
    nvmlComputeInstancePlacement_t, nvmlComputeInstanceProfileInfo_t, nvmlComputeInstanceProfileInfo_v2_t,
    nvmlGpuInstance_t, nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH as ARGUMENT_VERSION_MISMATCH,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
};

use crate::call::{Answer, export, get, put, put_list};
use crate::instances::name_of;
use crate::mig_handle::{
    compute_instance_handle, gpu_instance_handle, with_compute_instance, with_gpu_instance,
};
use crate::session::handle_of;

/// Version word: size and number.
const PROFILE_V2: u32 = size_of::<nvmlComputeInstanceProfileInfo_v2_t>() as u32 | 2 << 24;
/// Compute slices by NVML's number of a compute instance profile.
const SLICES: [u32; 5] = [1, 2, 3, 4, 7];

/// A compute instance profile of a GPU instance, in the form without a name.
fn compute_profile(
    handle: nvmlGpuInstance_t,
    number: c_uint,
    engines: c_uint,
) -> Answer<(nvmlComputeInstanceProfileInfo_t, String)> {
    if number >= PROFILES || engines != ENGINES_SHARED {
        return Err(INVALID_ARGUMENT);
    }
    with_gpu_instance(handle, |gpu, inside| {
        let profile = inside.first().ok_or(INVALID_ARGUMENT)?.profile;
        let slices = *SLICES.get(number as usize).ok_or(NOT_SUPPORTED)?;
        if !profile.has_compute(slices) {
            return Err(NOT_SUPPORTED);
        }
        let info = nvmlComputeInstanceProfileInfo_t {
            id: number,
            sliceCount: slices,
            instanceCount: profile.compute_instances(slices),
            multiprocessorCount: gpu.mig_multiprocessors(profile, slices),
            sharedCopyEngineCount: profile.engines.copy,
            sharedDecoderCount: profile.engines.decoder,
            sharedEncoderCount: profile.engines.encoder,
            sharedJpegCount: profile.engines.jpeg,
            sharedOfaCount: profile.engines.ofa,
        };
        Ok((info, profile.compute_name(slices)))
    })
}

export! {
    /// A compute instance profile of a GPU instance.
    fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
        handle: nvmlGpuInstance_t, number: c_uint, engines: c_uint, info: *mut nvmlComputeInstanceProfileInfo_t,
    ) {
        put(info, compute_profile(handle, number, engines)?.0)
    }
}

export! {
    /// A compute instance profile of a GPU instance with its name: version 2 of the structure.
    fn nvmlGpuInstanceGetComputeInstanceProfileInfoV(
        handle: nvmlGpuInstance_t, number: c_uint, engines: c_uint,
        info: *mut nvmlComputeInstanceProfileInfo_v2_t,
    ) {
        let (plain, name) = compute_profile(handle, number, engines)?;
        if get(info.cast::<c_uint>().cast_const())? != PROFILE_V2 {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        put(info, nvmlComputeInstanceProfileInfo_v2_t {
            version: PROFILE_V2,
            id: plain.id,
            sliceCount: plain.sliceCount,
            instanceCount: plain.instanceCount,
            multiprocessorCount: plain.multiprocessorCount,
            sharedCopyEngineCount: plain.sharedCopyEngineCount,
            sharedDecoderCount: plain.sharedDecoderCount,
            sharedEncoderCount: plain.sharedEncoderCount,
            sharedJpegCount: plain.sharedJpegCount,
            sharedOfaCount: plain.sharedOfaCount,
            name: name_of(&name),
        })
    }
}

/// NVML's number of the profile of a compute instance.
fn compute_number(mig: &MigDevice<'_>) -> c_uint {
    let found = (0..).zip(SLICES).find(|(_, slices)| *slices == mig.compute_slices);
    found.map_or(0, |(number, _)| number)
}

export! {
    /// The compute instances of a profile in a GPU instance; the caller gives room for as many as there can be.
    fn nvmlGpuInstanceGetComputeInstances(
        handle: nvmlGpuInstance_t, id: c_uint, places: *mut nvmlComputeInstance_t, count: *mut c_uint,
    ) {
        let (info, _) = compute_profile(handle, id, ENGINES_SHARED)?;
        with_gpu_instance(handle, |gpu, inside| {
            let found = inside.iter().filter(|mig| compute_number(mig) == id);
            let handles = found.map(|mig| compute_instance_handle(gpu, mig)).collect();
            put(count, info.instanceCount)?;
            put_list(count, places, handles)
        })
    }
}

export! {
    /// The compute instance with this number in a GPU instance.
    fn nvmlGpuInstanceGetComputeInstanceById(
        handle: nvmlGpuInstance_t, id: c_uint, place: *mut nvmlComputeInstance_t,
    ) {
        with_gpu_instance(handle, |gpu, inside| {
            let found = inside.iter().find(|mig| mig.instance.compute_instance == id).ok_or(NOT_FOUND)?;
            put(place, compute_instance_handle(gpu, found))
        })
    }
}

export! {
    /// Whose a compute instance is; where its slices begin is not modelled and told as its number.
    fn nvmlComputeInstanceGetInfo_v2(handle: nvmlComputeInstance_t, info: *mut nvmlComputeInstanceInfo_t) {
        with_compute_instance(handle, |gpu, mig| {
            put(info, nvmlComputeInstanceInfo_t {
                device: handle_of(gpu.index),
                gpuInstance: gpu_instance_handle(gpu, &mig),
                id: mig.instance.compute_instance,
                profileId: compute_number(&mig),
                placement: nvmlComputeInstancePlacement_t {
                    start: mig.instance.compute_instance,
                    size: mig.compute_slices,
                },
            })
        })
    }
}
