//! The driver's library as the plugin's programs find it in the model: it fails, takes its time or hangs, and is of an old
//! version after an upgrade.

use std::collections::BTreeSet;

use fake_gpu::{Gpu, MigDevice, Node as Gpus, Text, VERSION_MISMATCH, mig_minors};
use plugin_core::inventory::{Facts, GpuFacts, GpuUuid};
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};

use super::engine::Context;
use super::happening::What;
use super::host::{Host, from_gpu};
use super::{latency, links};

/// NVML calls that hang at the same time; a program has one at a time per GPU.
const PARKED_MAX: usize = 256;

/// A program's NVML: the version of the library, once it is loaded.
#[derive(Debug, Default)]
pub(super) struct Library(Option<Text<32>>);

impl Host {
    /// How much longer NVML takes for a number of calls, in nanoseconds.
    pub(super) fn nvml_delay(&self, calls: u64) -> u64 {
        self.gpus.as_ref().map_or(0, |gpus| u64::from(gpus.nvml_delay_ms) * 1_000_000 * calls)
    }

    /// Whether an NVML call hangs, the node's or one about a GPU; what it leads to then happens when it returns. A look at
    /// all GPUs hangs when each of them does.
    pub(super) fn hangs(&mut self, gpu: Option<&GpuUuid>, what: impl FnOnce() -> What) -> bool {
        let hangs = |of: &Gpu| of.nvml_hangs != 0;
        let hangs = self.gpus.as_ref().is_some_and(|gpus| {
            let of_gpu = match gpu {
                Some(uuid) => gpus.gpus().iter().any(|of| of.uuid.as_str() == uuid.as_str() && hangs(of)),
                None => !gpus.gpus().is_empty() && gpus.gpus().iter().all(hangs),
            };
            of_gpu || gpus.nvml_hangs != 0
        });
        if hangs && self.parked.len() < PARKED_MAX {
            self.parked.push(what());
        }
        hangs
    }

    /// Whether a call hangs, which keeps the library loaded.
    pub(super) fn has_parked_calls(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The GPUs about which calls hang.
    pub(super) fn silent_gpus(&self) -> BTreeSet<u32> {
        let gpus = self.gpus.iter().flat_map(|gpus| gpus.gpus());
        gpus.filter(|gpu| gpu.nvml_hangs != 0).map(|gpu| gpu.index).collect()
    }

    /// NVML calls return again, all or some: those that do not are held again.
    pub(super) fn nvml_returns(&mut self, cx: &mut Context<'_>) {
        for what in std::mem::take(&mut self.parked) {
            cx.after(latency::NVML_CALL, what);
        }
    }

    /// A program's library as the driver sees it: loaded if need be, and left for the next call to load anew when it is of
    /// another version, as production does.
    pub(super) fn library(&self, loaded: &mut Library) -> Result<&Gpus, String> {
        let gpus = self.gpus.as_ref().ok_or("there is no driver")?;
        let now = gpus.driver_version;
        let code = match gpus.nvml_error {
            0 if loaded.0.is_some_and(|version| version.as_str() != now.as_str()) => VERSION_MISMATCH,
            code => code,
        };
        if gpus.driver_loaded == 0 {
            loaded.0 = None;
            return Err("the driver is not loaded".to_owned());
        }
        match code {
            0 => loaded.0 = Some(now),
            VERSION_MISMATCH => {
                loaded.0 = None;
                return Err("driver/library version mismatch".to_owned());
            }
            code => return Err(format!("error {code}")),
        }
        Ok(gpus)
    }

    /// What NVML would report; `Err` holds whether a library is there, and the message.
    pub(super) fn facts(&self, loaded: &mut Library) -> Result<Facts, (bool, String)> {
        if self.gpus.is_none() {
            let why =
                "NVML library `libnvidia-ml.so.1`: cannot open shared object file: No such file or directory";
            return Err((false, why.to_owned()));
        }
        let named = |why| (true, format!("NVML library `libnvidia-ml.so.1`: {why}"));
        let gpus = self.library(loaded).map_err(named)?;
        let trouble = |gpu: &Gpu| match (gpu.lost, gpu.nvml_error) {
            (0, _) if gpu.nvml_hangs != 0 => Some("NVML has not answered for 5s".to_owned()),
            (0, 0) => None,
            (0, VERSION_MISMATCH) => Some("driver/library version mismatch".to_owned()),
            (0, code) => Some(format!("error {code}")),
            _ => Some("the GPU has fallen off the bus or has otherwise become inaccessible".to_owned()),
        };
        if let Some(gpu) = gpus.gpus().iter().find(|gpu| gpu.nvml_error == VERSION_MISMATCH) {
            // that is the driver's, whichever GPU it is answered for
            return Err(named(trouble(gpu).unwrap_or_default()));
        }
        let well = || gpus.gpus().iter().filter(|gpu| trouble(gpu).is_none());
        let unreadable = |gpu: &Gpu| trouble(gpu).map(|why| format!("GPU index {}: {why}", gpu.index));
        let starts = |gpu: &&Gpu| gpus.fabric_starting != 0 && gpu.board.fabric != 0;
        Ok(Facts {
            driver_version: gpus.driver_version.as_str().to_owned(),
            cuda_version: (gpus.cuda_version / 1000, gpus.cuda_version % 1000 / 10),
            gpus: well().map(gpu_facts).collect(),
            links: links::links(gpus),
            control_nodes: Vec::new(),
            starting: well().filter(starts).map(|gpu| GpuUuid::new(gpu.uuid.as_str())).collect(),
            unreadable: gpus.gpus().iter().filter_map(unreadable).collect(),
        })
    }
}

fn gpu_facts(gpu: &Gpu) -> GpuFacts {
    GpuFacts {
        uuid: GpuUuid::new(gpu.uuid.as_str()),
        index: gpu.index,
        minor: gpu.minor,
        name: gpu.board.name.as_str().to_owned(),
        memory_bytes: gpu.board.memory_total_bytes,
        compute_capability: (gpu.board.capability_major, gpu.board.capability_minor),
        pci_bus_id: gpu.pci_bus_id(),
        numa_node: u32::try_from(gpu.numa_node).ok(),
        mig_capable: gpu.board.mig_devices_max > 0,
        compute_mode: from_gpu(gpu.mode()),
        mig_enabled: gpu.has_mig_on(),
        mig: gpu.mig_devices().map(|mig| mig_facts(gpu, &mig)).collect(),
    }
}

fn mig_facts(gpu: &Gpu, mig: &MigDevice<'_>) -> MigFacts {
    let engines = mig.profile.engines;
    let minors = mig_minors(gpu.minor, mig.instance).map(|(of_gpu, of_compute)| [of_gpu, of_compute]);
    MigFacts {
        uuid: GpuUuid::new(mig.uuid()),
        index: mig.index,
        gpu_instance: mig.instance.gpu_instance,
        compute_instance: mig.instance.compute_instance,
        profile: mig.name(),
        slices: MigSlices { gpu: mig.profile.slices, compute: mig.compute_slices },
        memory_bytes: mig.profile.memory_mib << 20,
        engines: MigEngines {
            multiprocessors: mig.multiprocessors(),
            copy: engines.copy,
            decoder: engines.decoder,
            encoder: engines.encoder,
            jpeg: engines.jpeg,
            ofa: engines.ofa,
        },
        nodes: minors.into_iter().flatten().map(|n| format!("/dev/nvidia-caps/nvidia-cap{n}")).collect(),
    }
}
