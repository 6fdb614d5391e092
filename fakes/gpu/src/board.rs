//! A board's facts in the fixed form of the shared state, because a profile's text cannot lie there.

use crate::profile::BoardProfile;
use crate::text::Text;

/// A board's facts as they lie in the node's state; sizes in bytes, zero for what the board does not give.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct BoardRecord {
    /// Framebuffer.
    pub memory_total_bytes: u64,
    /// Kept by driver and firmware.
    pub memory_reserved_bytes: u64,
    /// BAR1 window.
    pub bar1_bytes: u64,
    /// NVML's architecture number.
    pub architecture: u32,
    /// CUDA compute capability, before the point.
    pub capability_major: u32,
    /// CUDA compute capability, after the point.
    pub capability_minor: u32,
    /// Non-zero: ECC is on.
    pub ecc: u32,
    /// Most MIG devices; 0: no MIG.
    pub mig_devices_max: u32,
    /// PCI device and vendor id.
    pub pci_device_id: u32,
    /// PCI subsystem id.
    pub pci_subsystem_id: u32,
    /// PCIe link generation.
    pub pcie_generation: u32,
    /// PCIe link width.
    pub pcie_width: u32,
    /// Power limit, mW.
    pub power_limit_mw: u32,
    /// Idle power, mW.
    pub power_idle_mw: u32,
    /// Idle temperature, °C.
    pub temperature_idle_c: u32,
    /// Shutdown temperature, °C.
    pub temperature_shutdown_c: u32,
    /// Slowdown temperature, °C.
    pub temperature_slowdown_c: u32,
    /// Highest graphics clock, MHz.
    pub clock_graphics_mhz: u32,
    /// Highest memory clock, MHz.
    pub clock_memory_mhz: u32,
    /// Highest video clock, MHz.
    pub clock_video_mhz: u32,
    /// Which shipped profile it is, as [`crate::profile_names`] lists them.
    pub profile: u32,
    /// Non-zero: it is attached to an NVLink fabric, and tells its state.
    pub fabric: u32,
    /// NVLinks; 0: none.
    pub nvlinks: u32,
    /// Product name.
    pub name: Text<60>,
    /// VBIOS version.
    pub vbios: Text<28>,
    /// Part number.
    pub part_number: Text<28>,
}

impl BoardRecord {
    pub(crate) const EMPTY: Self = Self {
        memory_total_bytes: 0,
        memory_reserved_bytes: 0,
        bar1_bytes: 0,
        architecture: 0,
        capability_major: 0,
        capability_minor: 0,
        ecc: 0,
        mig_devices_max: 0,
        pci_device_id: 0,
        pci_subsystem_id: 0,
        pcie_generation: 0,
        pcie_width: 0,
        power_limit_mw: 0,
        power_idle_mw: 0,
        temperature_idle_c: 0,
        temperature_shutdown_c: 0,
        temperature_slowdown_c: 0,
        clock_graphics_mhz: 0,
        clock_memory_mhz: 0,
        clock_video_mhz: 0,
        profile: 0,
        fabric: 0,
        nvlinks: 0,
        name: Text::EMPTY,
        vbios: Text::EMPTY,
        part_number: Text::EMPTY,
    };

    pub(crate) fn new(number: u32, profile: &BoardProfile) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            memory_total_bytes: profile.memory.total_mib * MIB,
            memory_reserved_bytes: profile.memory.reserved_mib * MIB,
            bar1_bytes: profile.memory.bar1_mib * MIB,
            architecture: profile.architecture.number(),
            capability_major: profile.compute_capability.major,
            capability_minor: profile.compute_capability.minor,
            ecc: u32::from(profile.ecc),
            mig_devices_max: profile.mig_devices_max,
            pci_device_id: profile.pci.device_id,
            pci_subsystem_id: profile.pci.subsystem_id,
            pcie_generation: profile.pci.generation,
            pcie_width: profile.pci.width,
            power_limit_mw: profile.power.limit_mw,
            power_idle_mw: profile.power.idle_mw,
            temperature_idle_c: profile.temperature.idle_c,
            temperature_shutdown_c: profile.temperature.shutdown_c.unwrap_or(0),
            temperature_slowdown_c: profile.temperature.slowdown_c.unwrap_or(0),
            clock_graphics_mhz: profile.clocks.graphics_mhz_max,
            clock_memory_mhz: profile.clocks.memory_mhz_max,
            clock_video_mhz: profile.clocks.video_mhz_max,
            profile: number,
            fabric: u32::from(profile.fabric),
            nvlinks: profile.nvlinks,
            name: Text::new(&profile.name),
            vbios: Text::new(&profile.vbios),
            part_number: Text::new(&profile.board_part_number),
        }
    }
}
