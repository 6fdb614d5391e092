//! What of the driver is looked for on disk, and what was found: plain data, so that the shell decides nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::IMEX_CHANNELS;
use crate::config::Effective;
use crate::inventory::{Facts, GpuFacts};

/// Where drivers put libraries below their root.
const LIBRARIES: [&str; 6] = [
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
];
/// Where programs are below a root.
const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// The driver's programs.
const PROGRAMS: [&str; 7] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
];
/// Configuration of graphics.
const CONFIGS: [&str; 8] = [
    "/etc/vulkan/icd.d/nvidia_icd.json",
    "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/nvidia/nvoptix.bin",
];
/// Sockets of the driver's daemons. NVIDIA's generator lists `/tmp/nvidia-mps` too and never finds it, as it is a directory.
pub(super) const SOCKETS: [&str; 2] = ["/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket"];
/// What GPUDirect Storage reads.
pub(super) const GDS_FILES: [&str; 2] = ["/etc/cufile.json", "/run/udev"];
/// Device nodes that all GPUs share, in NVIDIA's order.
pub(super) const CONTROL_NODES: [&str; 4] =
    ["/dev/nvidia-modeset", "/dev/nvidia-uvm-tools", "/dev/nvidia-uvm", "/dev/nvidiactl"];

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Where the driver root is mounted in the plugin's container.
    pub root: String,
    /// Files below it; the last part may have a `*` that stands for any characters.
    pub files: Vec<String>,
    /// Character devices below it, or below `/` when it has no `dev`; likewise.
    pub nodes: Vec<String>,
    /// PCI devices, as sysfs names them, whose DRM nodes are wanted.
    pub pci: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Path below the root → the path that its links lead to, below the root as well.
    pub files: BTreeMap<String, String>,
    /// Character devices, by path.
    pub nodes: BTreeMap<String, NodeAccess>,
    /// PCI device → its DRM nodes.
    pub drm: BTreeMap<String, Vec<String>>,
    /// The plugin's own files in the spec directory: name → text.
    pub specs: BTreeMap<String, String>,
}

/// Who may use a device node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAccess {
    /// Everyone may read and write.
    pub world: bool,
    /// Its group.
    pub gid: u32,
}

impl Search {
    /// What specs need with these settings.
    pub fn new(flags: &Effective, facts: &Facts) -> Search {
        let version = &facts.driver_version;
        let mut files = Vec::new();
        for directory in LIBRARIES {
            files.push(format!("{directory}/*.so.{version}"));
            files.push(format!("{directory}/vdpau/*.so.{version}"));
            files.push(format!("{directory}/libnvidia-egl-gbm.so.1.*"));
            files.push(format!("{directory}/libnvidia-egl-wayland.so.1.*"));
        }
        files.extend(
            ["/usr/lib/firmware", "/lib/firmware"].map(|at| format!("{at}/nvidia/{version}/gsp*.bin")),
        );
        let programs = PROGRAM_DIRECTORIES.iter().flat_map(|at| PROGRAMS.map(|name| format!("{at}/{name}")));
        files.extend(programs);
        files.extend(CONFIGS.iter().chain(&SOCKETS).map(|path| (*path).to_owned()));
        let mut nodes: Vec<String> = CONTROL_NODES.map(str::to_owned).to_vec();
        nodes.extend(["/dev/dri/card*", "/dev/dri/renderD*"].map(str::to_owned));
        nodes.extend(flags.imex_channel_ids.iter().map(|id| format!("{IMEX_CHANNELS}{id}")));
        if flags.gdrcopy_enabled {
            nodes.push("/dev/gdrdrv".to_owned());
        }
        if flags.gds_enabled {
            nodes.push("/dev/nvidia-fs*".to_owned());
            files.extend(GDS_FILES.map(str::to_owned));
        }
        if flags.mofed_enabled {
            nodes.extend(["/dev/infiniband/uverbs*", "/dev/infiniband/rdma_cm"].map(str::to_owned));
        }
        let root = flags.plugin.container_driver_root.clone();
        Search { root, files, nodes, pci: facts.gpus.iter().map(pci).collect() }
    }
}

/// A GPU's PCI device as sysfs names it: lower case, with four digits of domain instead of NVML's eight.
pub(super) fn pci(gpu: &GpuFacts) -> String {
    let id = gpu.pci_bus_id.to_ascii_lowercase();
    id.strip_prefix("0000").filter(|rest| rest.len() >= "0000:00:00.0".len()).unwrap_or(&id).to_owned()
}
