//! The capability files of MIG: which `/dev/nvidia-caps/nvidia-cap<minor>` opens which GPU or compute instance. The driver
//! fixes all numbers beforehand, whether the instances exist or not.

use std::fmt::Write as _;

use super::record::MigInstance;
use crate::record::Node;

/// GPUs, GPU instances and compute instances that the driver has numbers for.
const GPUS: u32 = 32;
const GPU_INSTANCES: u32 = 15;
const COMPUTE_INSTANCES: u32 = 8;
/// The numbers of `config` and `monitor`, and the first of a GPU.
const CONFIG: u32 = 1;
const MONITOR: u32 = 2;
const FIRST: u32 = 3;

/// The minor numbers of the two device nodes of a MIG device: its GPU instance's and its compute instance's. `gpu` is the
/// GPU's minor number. None beyond what the driver has numbers for.
pub fn mig_minors(gpu: u32, instance: MigInstance) -> Option<(u32, u32)> {
    let MigInstance { gpu_instance, compute_instance } = instance;
    let known = gpu < GPUS && gpu_instance < GPU_INSTANCES && compute_instance < COMPUTE_INSTANCES;
    let of_instance = FIRST + (gpu * GPU_INSTANCES + gpu_instance) * (1 + COMPUTE_INSTANCES);
    known.then_some((of_instance, of_instance + 1 + compute_instance))
}

/// The text of `/proc/driver/nvidia-caps/mig-minors`.
pub fn mig_minors_file() -> String {
    let mut text = format!("config {CONFIG}\nmonitor {MONITOR}\n");
    for (gpu, gpu_instance) in (0..GPUS).flat_map(|gpu| (0..GPU_INSTANCES).map(move |gi| (gpu, gi))) {
        for compute_instance in 0..COMPUTE_INSTANCES {
            let instance = MigInstance { gpu_instance, compute_instance };
            let Some((of_gpu, of_compute)) = mig_minors(gpu, instance) else { continue };
            // writing to a text does not fail
            let _written = match compute_instance {
                0 => writeln!(text, "gpu{gpu}/gi{gpu_instance}/access {of_gpu}"),
                _ => Ok(()),
            };
            let _written =
                writeln!(text, "gpu{gpu}/gi{gpu_instance}/ci{compute_instance}/access {of_compute}");
        }
    }
    text
}

impl Node {
    /// The minor numbers of all capability device nodes that exist: the fixed two, and two for each MIG device; sorted.
    pub fn capability_minors(&self) -> Vec<u32> {
        let mut minors = vec![CONFIG, MONITOR];
        for gpu in self.gpus() {
            let of_devices = gpu.mig_devices().filter_map(|device| mig_minors(gpu.minor, device.instance));
            minors.extend(of_devices.flat_map(|(gpu, compute)| [gpu, compute]));
        }
        minors.sort_unstable();
        minors.dedup();
        minors
    }
}
