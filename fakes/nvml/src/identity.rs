//! Who a GPU is: name, UUID, numbers, PCI, architecture.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{
    nvmlBrandType_enum_NVML_BRAND_NVIDIA as BRAND_NVIDIA, nvmlBrandType_t, nvmlDevice_t,
    nvmlDeviceArchitecture_t, nvmlPciInfo_t,
};

use crate::call::{export, put, put_text};
use crate::session::with_gpu;

export! {
    /// Product name.
    fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
        with_gpu(device, |_, gpu| put_text(name, length, gpu.board.name.as_str()))
    }
}

export! {
    /// `GPU-…`.
    fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
        with_gpu(device, |_, gpu| put_text(uuid, length, gpu.uuid.as_str()))
    }
}

export! {
    /// Serial number.
    fn nvmlDeviceGetSerial(device: nvmlDevice_t, serial: *mut c_char, length: c_uint) {
        with_gpu(device, |_, gpu| put_text(serial, length, gpu.serial.as_str()))
    }
}

export! {
    /// NVML index.
    fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) {
        with_gpu(device, |_, gpu| put(index, gpu.index))
    }
}

export! {
    /// Minor number: the GPU is `/dev/nvidia<minor>`.
    fn nvmlDeviceGetMinorNumber(device: nvmlDevice_t, minor: *mut c_uint) {
        with_gpu(device, |_, gpu| put(minor, gpu.minor))
    }
}

export! {
    /// PCI address and ids.
    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, pci: *mut nvmlPciInfo_t) {
        with_gpu(device, |_, gpu| {
            let address = gpu.pci_bus_id();
            put(pci, nvmlPciInfo_t {
                busIdLegacy: zero_ended(&address[4..]),
                domain: gpu.pci_domain,
                bus: gpu.pci_bus,
                device: gpu.pci_device,
                pciDeviceId: gpu.board.pci_device_id,
                pciSubSystemId: gpu.board.pci_subsystem_id,
                busId: zero_ended(&address),
            })
        })
    }
}

pub(crate) fn zero_ended<const N: usize>(text: &str) -> [c_char; N] {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().take(N - 1).zip(text.bytes()) {
        *place = byte.cast_signed();
    }
    bytes
}

export! {
    /// CUDA compute capability.
    fn nvmlDeviceGetCudaComputeCapability(device: nvmlDevice_t, major: *mut c_int, minor: *mut c_int) {
        with_gpu(device, |_, gpu| {
            put(major, gpu.board.capability_major.cast_signed())?;
            put(minor, gpu.board.capability_minor.cast_signed())
        })
    }
}

export! {
    /// Brand: current drivers say NVIDIA for data-centre boards, the T4 included.
    fn nvmlDeviceGetBrand(device: nvmlDevice_t, brand: *mut nvmlBrandType_t) {
        with_gpu(device, |_, _| put(brand, BRAND_NVIDIA))
    }
}

export! {
    /// Architecture.
    fn nvmlDeviceGetArchitecture(device: nvmlDevice_t, architecture: *mut nvmlDeviceArchitecture_t) {
        with_gpu(device, |_, gpu| put(architecture, gpu.board.architecture))
    }
}

export! {
    /// VBIOS version.
    fn nvmlDeviceGetVbiosVersion(device: nvmlDevice_t, version: *mut c_char, length: c_uint) {
        with_gpu(device, |_, gpu| put_text(version, length, gpu.board.vbios.as_str()))
    }
}

export! {
    /// Part number of the board.
    fn nvmlDeviceGetBoardPartNumber(device: nvmlDevice_t, number: *mut c_char, length: c_uint) {
        with_gpu(device, |_, gpu| put_text(number, length, gpu.board.part_number.as_str()))
    }
}

export! {
    /// Board number: here one GPU per board, so the PCI address.
    fn nvmlDeviceGetBoardId(device: nvmlDevice_t, board: *mut c_uint) {
        with_gpu(device, |_, gpu| put(board, gpu.pci_bus << 8 | gpu.pci_device))
    }
}

export! {
    /// Whether the board has several GPUs: none here has.
    fn nvmlDeviceGetMultiGpuBoard(device: nvmlDevice_t, multi: *mut c_uint) {
        with_gpu(device, |_, _| put(multi, 0))
    }
}
