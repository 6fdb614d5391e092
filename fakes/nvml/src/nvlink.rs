//! NVLinks: which are up, what they can do, and what they end at.

use std::ffi::c_uint;

use fake_gpu::{Gpu, LinkEnd, Node};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEnableState_enum_NVML_FEATURE_DISABLED as DOWN,
    nvmlEnableState_enum_NVML_FEATURE_ENABLED as UP, nvmlEnableState_t,
    nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU as A_GPU,
    nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH as A_SWITCH, nvmlIntNvLinkDeviceType_t,
    nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_COUNT as CAPABILITIES,
    nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_SLI_BRIDGE as SLI_BRIDGE, nvmlNvLinkCapability_t,
    nvmlPciInfo_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
};

use crate::call::{Answer, export, put};
use crate::identity::zero_ended;
use crate::session::with_gpu;

/// Looks at a link that the board has; `None` is one that is down.
fn with_link(
    device: nvmlDevice_t,
    link: c_uint,
    look: impl FnOnce(&Node, &Gpu, Option<LinkEnd>) -> Answer,
) -> Answer {
    with_gpu(device, |node, gpu| match gpu.board.nvlinks {
        0 => Err(NOT_SUPPORTED),
        links if link >= links => Err(INVALID_ARGUMENT),
        _ => look(node, gpu, node.nvlink(gpu, link)),
    })
}

export! {
    /// Whether a link is up.
    fn nvmlDeviceGetNvLinkState(device: nvmlDevice_t, link: c_uint, state: *mut nvmlEnableState_t) {
        with_link(device, link, |_, _, end| put(state, if end.is_some() { UP } else { DOWN }))
    }
}

export! {
    /// What a link can do: all but being an SLI bridge, while it is up.
    fn nvmlDeviceGetNvLinkCapability(
        device: nvmlDevice_t, link: c_uint, capability: nvmlNvLinkCapability_t, can: *mut c_uint,
    ) {
        with_link(device, link, |_, _, end| match capability {
            CAPABILITIES.. => Err(INVALID_ARGUMENT),
            capability => put(can, c_uint::from(end.is_some() && capability != SLI_BRIDGE)),
        })
    }
}

export! {
    /// The PCI address of what a link ends at; the subsystem is not told.
    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(device: nvmlDevice_t, link: c_uint, pci: *mut nvmlPciInfo_t) {
        with_link(device, link, |_, gpu, end| {
            let end = end.ok_or(NOT_SUPPORTED)?;
            let address = format!("{:08X}:{:02X}:{:02X}.0", gpu.pci_domain, end.pci_bus, end.pci_device);
            put(pci, nvmlPciInfo_t {
                busIdLegacy: zero_ended(&address[4..]),
                domain: gpu.pci_domain,
                bus: end.pci_bus,
                device: end.pci_device,
                pciDeviceId: end.pci_device_id,
                pciSubSystemId: 0,
                busId: zero_ended(&address),
            })
        })
    }
}

export! {
    /// What kind of thing a link ends at.
    fn nvmlDeviceGetNvLinkRemoteDeviceType(
        device: nvmlDevice_t, link: c_uint, kind: *mut nvmlIntNvLinkDeviceType_t,
    ) {
        with_link(device, link, |_, _, end| {
            let end = end.ok_or(NOT_SUPPORTED)?;
            put(kind, if end.is_switch { A_SWITCH } else { A_GPU })
        })
    }
}
