//! Finding a GPU: by index, UUID, PCI address and serial number.

use std::ffi::{c_char, c_uint};

use fake_gpu::{Gpu, MigDevice, MigInstance};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as GPU_IS_LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
};

use crate::call::{Answer, export, get_text, put};
use crate::mig_handle::mig_handle;
use crate::session::{handle_of, hang_on, with_node};

export! {
    /// How many GPUs the node has; lost ones still count.
    fn nvmlDeviceGetCount_v2(count: *mut c_uint) {
        with_node(|node| put(count, c_uint::try_from(node.gpus().len()).unwrap_or(0)))
    }
}

export! {
    /// The GPU with this index.
    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) {
        find(device, INVALID_ARGUMENT, |gpu| gpu.index == index)
    }
}

export! {
    /// The GPU or MIG device with this UUID; a MIG device also as `MIG-<GPU's UUID>/<GPU instance>/<compute instance>`.
    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) {
        let uuid = get_text(uuid)?;
        if uuid.starts_with("MIG-") {
            return find_mig(device, uuid);
        }
        find(device, NOT_FOUND, |gpu| gpu.uuid.as_str() == uuid)
    }
}

export! {
    /// The GPU at this PCI address; the domain may have four or eight digits, or be left out.
    fn nvmlDeviceGetHandleByPciBusId_v2(address: *const c_char, device: *mut nvmlDevice_t) {
        let wanted = parse_address(get_text(address)?).ok_or(INVALID_ARGUMENT)?;
        find(device, NOT_FOUND, |gpu| wanted == (gpu.pci_domain, gpu.pci_bus, gpu.pci_device))
    }
}

export! {
    /// The GPU with this serial number.
    fn nvmlDeviceGetHandleBySerial(serial: *const c_char, device: *mut nvmlDevice_t) {
        let serial = get_text(serial)?;
        find(device, NOT_FOUND, |gpu| gpu.serial.as_str() == serial)
    }
}

fn find(place: *mut nvmlDevice_t, missing: u32, wanted: impl Fn(&Gpu) -> bool) -> Answer {
    let (index, lost) = with_node(|node| {
        let gpu = node.gpus().iter().find(|gpu| wanted(gpu)).ok_or(missing)?;
        Ok((gpu.index, gpu.lost))
    })?;
    hang_on(index)?;
    if lost != 0 { Err(GPU_IS_LOST) } else { put(place, handle_of(index)) }
}

fn find_mig(place: *mut nvmlDevice_t, uuid: &str) -> Answer {
    let old = |gpu: &Gpu, mig: &MigDevice<'_>| {
        let MigInstance { gpu_instance, compute_instance } = mig.instance;
        format!("MIG-{}/{gpu_instance}/{compute_instance}", gpu.uuid.as_str())
    };
    with_node(|node| {
        let all = node.gpus().iter().flat_map(|gpu| gpu.mig_devices().map(move |mig| (gpu, mig)));
        let mut found = all.filter(|(gpu, mig)| mig.uuid() == uuid || old(gpu, mig) == uuid);
        let (gpu, mig) = found.next().ok_or(NOT_FOUND)?;
        if gpu.lost != 0 {
            return Err(GPU_IS_LOST);
        }
        put(place, mig_handle(gpu, &mig))
    })
}

/// `[domain:]bus:device[.function]`, hexadecimal.
fn parse_address(address: &str) -> Option<(u32, u32, u32)> {
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let address = address.split_once('.').map_or(address, |(address, _function)| address);
    let mut parts = address.rsplit(':');
    let (device, bus) = (number(parts.next()?)?, number(parts.next()?)?);
    let domain = parts.next().map_or(Some(0), number)?;
    parts.next().is_none().then_some((domain, bus, device))
}
