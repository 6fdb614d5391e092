//! GPU instances and the profiles they are made from. They are looked at here; making and destroying them is the
//! operator's, on the fake GPU itself.

use std::ffi::{c_char, c_uint, c_ulonglong};

use fake_gpu::{MigDevice, MigProfile};
use nvml_wrapper_sys::bindings::{
    NVML_GPU_INSTANCE_PROFILE_COUNT as PROFILES, nvmlDevice_t, nvmlGpuInstance_t, nvmlGpuInstanceInfo_t,
    nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t, nvmlGpuInstanceProfileInfo_v2_t,
    nvmlGpuInstanceProfileInfo_v3_t,
    nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH as ARGUMENT_VERSION_MISMATCH,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
};

use crate::call::{Answer, export, get, put, put_list};
use crate::identity::zero_ended;
use crate::mig::with_capable;
use crate::mig_handle::{gpu_instance_handle, with_gpu_instance};
use crate::session::handle_of;

/// Version words: size and number.
const PROFILE_V2: u32 = size_of::<nvmlGpuInstanceProfileInfo_v2_t>() as u32 | 2 << 24;
const PROFILE_V3: u32 = size_of::<nvmlGpuInstanceProfileInfo_v3_t>() as u32 | 3 << 24;

/// The board's profile with NVML's number.
fn profile(device: nvmlDevice_t, number: c_uint) -> Answer<&'static MigProfile> {
    if number >= PROFILES {
        return Err(INVALID_ARGUMENT);
    }
    with_capable(device, |_, gpu| {
        gpu.mig_profiles().iter().find(|profile| profile.nvml == number).ok_or(NOT_SUPPORTED)
    })
}

/// The board's profile with the id that nvidia-smi prints.
fn profile_by_id(device: nvmlDevice_t, id: c_uint) -> Answer<&'static MigProfile> {
    with_capable(device, |_, gpu| {
        gpu.mig_profiles().iter().find(|profile| profile.id == id).ok_or(INVALID_ARGUMENT)
    })
}

export! {
    /// A GPU instance profile of the board, whether MIG mode is on or not.
    fn nvmlDeviceGetGpuInstanceProfileInfo(
        device: nvmlDevice_t, number: c_uint, info: *mut nvmlGpuInstanceProfileInfo_t,
    ) {
        let profile = profile(device, number)?;
        let engines = profile.engines;
        put(info, nvmlGpuInstanceProfileInfo_t {
            id: profile.id,
            isP2pSupported: 0,
            sliceCount: profile.slices,
            instanceCount: profile.instances,
            multiprocessorCount: profile.multiprocessors,
            copyEngineCount: engines.copy,
            decoderCount: engines.decoder,
            encoderCount: engines.encoder,
            jpegCount: engines.jpeg,
            ofaCount: engines.ofa,
            memorySizeMB: profile.memory_mib,
        })
    }
}

export! {
    /// A GPU instance profile of the board with its name: versions 2 and 3 of the structure.
    fn nvmlDeviceGetGpuInstanceProfileInfoV(
        device: nvmlDevice_t, number: c_uint, info: *mut nvmlGpuInstanceProfileInfo_v2_t,
    ) {
        put_profile(profile(device, number)?, info)
    }
}

export! {
    /// The same by the id that nvidia-smi prints.
    fn nvmlDeviceGetGpuInstanceProfileInfoByIdV(
        device: nvmlDevice_t, id: c_uint, info: *mut nvmlGpuInstanceProfileInfo_v2_t,
    ) {
        put_profile(profile_by_id(device, id)?, info)
    }
}

/// NVML's name of a profile.
pub(crate) fn name_of(name: &str) -> [c_char; 96] {
    zero_ended(&format!("MIG {name}"))
}

fn put_profile(profile: &MigProfile, info: *mut nvmlGpuInstanceProfileInfo_v2_t) -> Answer {
    let engines = profile.engines;
    let memory: c_ulonglong = profile.memory_mib;
    match get(info.cast::<c_uint>().cast_const())? {
        PROFILE_V2 => put(
            info,
            nvmlGpuInstanceProfileInfo_v2_t {
                version: PROFILE_V2,
                id: profile.id,
                isP2pSupported: 0,
                sliceCount: profile.slices,
                instanceCount: profile.instances,
                multiprocessorCount: profile.multiprocessors,
                copyEngineCount: engines.copy,
                decoderCount: engines.decoder,
                encoderCount: engines.encoder,
                jpegCount: engines.jpeg,
                ofaCount: engines.ofa,
                memorySizeMB: memory,
                name: name_of(&profile.name),
            },
        ),
        PROFILE_V3 => put(
            info.cast::<nvmlGpuInstanceProfileInfo_v3_t>(),
            nvmlGpuInstanceProfileInfo_v3_t {
                version: PROFILE_V3,
                id: profile.id,
                sliceCount: profile.slices,
                instanceCount: profile.instances,
                multiprocessorCount: profile.multiprocessors,
                copyEngineCount: engines.copy,
                decoderCount: engines.decoder,
                encoderCount: engines.encoder,
                jpegCount: engines.jpeg,
                ofaCount: engines.ofa,
                memorySizeMB: memory,
                name: name_of(&profile.name),
                capabilities: 0,
            },
        ),
        _ => Err(ARGUMENT_VERSION_MISMATCH),
    }
}

export! {
    /// Where instances of a profile can begin; without a place for them only how many there are.
    fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
        device: nvmlDevice_t, id: c_uint, places: *mut nvmlGpuInstancePlacement_t, count: *mut c_uint,
    ) {
        let profile = profile_by_id(device, id)?;
        let mut starts = profile.starts.clone();
        starts.sort_unstable();
        if places.is_null() {
            return put(count, c_uint::try_from(starts.len()).unwrap_or(0));
        }
        let at = |start| nvmlGpuInstancePlacement_t { start, size: profile.size };
        put_list(count, places, starts.into_iter().map(at).collect())
    }
}

export! {
    /// How many more instances of a profile fit beside those that are there.
    fn nvmlDeviceGetGpuInstanceRemainingCapacity(device: nvmlDevice_t, id: c_uint, count: *mut c_uint) {
        let profile = profile_by_id(device, id)?;
        with_capable(device, |_, gpu| match gpu.has_mig_on() {
            true => put(count, gpu.mig_room(profile)),
            false => Err(NOT_SUPPORTED),
        })
    }
}

/// One MIG device for each GPU instance: its first.
fn is_first(device: &MigDevice<'_>, all: &[MigDevice<'_>]) -> bool {
    let same = all.iter().filter(|other| other.instance.gpu_instance == device.instance.gpu_instance);
    same.map(|other| other.index).min() == Some(device.index)
}

export! {
    /// The GPU instances of a profile; the caller gives room for as many as there can be.
    fn nvmlDeviceGetGpuInstances(
        device: nvmlDevice_t, id: c_uint, places: *mut nvmlGpuInstance_t, count: *mut c_uint,
    ) {
        let profile = profile_by_id(device, id)?;
        with_capable(device, |_, gpu| {
            if !gpu.has_mig_on() {
                return Err(NOT_SUPPORTED);
            }
            let all: Vec<MigDevice<'_>> = gpu.mig_devices().collect();
            let found = all.iter().filter(|mig| mig.profile.id == profile.id && is_first(mig, &all));
            let handles = found.map(|mig| gpu_instance_handle(gpu, mig)).collect();
            put(count, profile.instances)?;
            put_list(count, places, handles)
        })
    }
}

export! {
    /// The GPU instance with this number.
    fn nvmlDeviceGetGpuInstanceById(device: nvmlDevice_t, id: c_uint, place: *mut nvmlGpuInstance_t) {
        with_capable(device, |_, gpu| {
            if !gpu.has_mig_on() {
                return Err(NOT_SUPPORTED);
            }
            let found = gpu.mig_devices().find(|mig| mig.instance.gpu_instance == id).ok_or(NOT_FOUND)?;
            put(place, gpu_instance_handle(gpu, &found))
        })
    }
}

export! {
    /// Whose a GPU instance is, and where.
    fn nvmlGpuInstanceGetInfo(handle: nvmlGpuInstance_t, info: *mut nvmlGpuInstanceInfo_t) {
        with_gpu_instance(handle, |gpu, inside| {
            let mig = inside.first().ok_or(INVALID_ARGUMENT)?;
            put(info, nvmlGpuInstanceInfo_t {
                device: handle_of(gpu.index),
                id: mig.instance.gpu_instance,
                profileId: mig.profile.id,
                placement: nvmlGpuInstancePlacement_t { start: mig.start, size: mig.profile.size },
            })
        })
    }
}
