//! The MIG devices of a GPU as NVML and the driver's `/proc` tell them. One that cannot be read is left out and said; the
//! others stay.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use plugin_core::inventory::GpuUuid;
use plugin_core::mig::{MigEngines, MigFacts, MigSlices, profile};

use crate::cause;
use crate::nvml_instances::{Ids, Instances};

/// `MigMode::current` of a GPU whose MIG mode is on (`NVML_DEVICE_MIG_ENABLE`).
const ENABLED: u32 = 1;
/// Where the driver lists the numbers of MIG's device nodes, below the proc mount.
const MINORS: &str = "driver/nvidia-caps/mig-minors";
/// Longest such list that is read: the driver's own has some 90 KiB.
const MINORS_BYTES_MAX: usize = 1 << 20;
/// What the nodes' paths begin with.
const NODE: &str = "/dev/nvidia-caps/nvidia-cap";
/// GPU instance profiles that NVML numbers, and some more.
const PROFILES_MAX: u32 = 32;
/// NVML's numbers of profiles whose names end in something of their own (go-nvlib v0.8, NVML 13).
const SUFFIXES: [(u32, &str); 9] = [
    (7, "+me"),
    (8, "+me"),
    (10, "+gfx"),
    (11, "+gfx"),
    (12, "+gfx"),
    (13, "-me"),
    (14, "-me"),
    (15, "+me.all"),
    (16, "+me.all"),
];

/// Whether a GPU computes only through its MIG devices; never where it has no MIG.
pub(crate) fn is_enabled(gpu: &Device<'_>) -> bool {
    gpu.mig_mode().is_ok_and(|mode| mode.current == ENABLED)
}

/// Reads the MIG devices of GPUs.
pub(crate) struct MigReader {
    instances: Instances,
    minors: BTreeMap<String, u32>,
}

/// The GPU whose parts are read.
pub(crate) struct Whole<'d, 'n> {
    pub(crate) device: &'d Device<'n>,
    pub(crate) uuid: &'d str,
    pub(crate) minor: u32,
    pub(crate) memory_bytes: u64,
}

impl MigReader {
    /// For the library that was loaded under this name, and the proc mount.
    pub(crate) fn open(library: &OsStr, proc_root: &Path) -> Result<Self, NvmlError> {
        let path = proc_root.join(MINORS);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the device nodes of MIG devices are not known");
            String::new()
        });
        Ok(MigReader { instances: Instances::open(library)?, minors: minors(&text) })
    }

    /// Every MIG device of a GPU that can be read. Indexes may have gaps.
    pub(crate) fn devices(&self, gpu: &Whole<'_, '_>) -> Vec<MigFacts> {
        let count = gpu.device.mig_device_count().unwrap_or(0);
        let mut found = Vec::new();
        for index in 0..count {
            let read = match gpu.device.mig_device_by_index(index) {
                Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue,
                Err(error) => Err(error),
                Ok(mig) => self.device(gpu, index, &mig),
            };
            match read {
                Ok(mig) => found.push(mig),
                Err(error) => {
                    let (gpu, why) = (gpu.uuid, cause::line(&error));
                    tracing::warn!(gpu, index, why, "a MIG device cannot be read and is left out");
                }
            }
        }
        found
    }

    fn device(&self, gpu: &Whole<'_, '_>, index: u32, mig: &Device<'_>) -> Result<MigFacts, NvmlError> {
        let Ids { gpu_instance, compute_instance } = self.instances.ids(mig)?;
        let told = mig.attributes()?;
        let slices =
            MigSlices { gpu: told.gpu_instance_slice_count, compute: told.compute_instance_slice_count };
        let memory_bytes = told.memory_size_mb << 20;
        let suffix = self.suffix(gpu.device, gpu_instance, mig);
        let of_instance = format!("gpu{}/gi{gpu_instance}", gpu.minor);
        let nodes = [format!("{of_instance}/access"), format!("{of_instance}/ci{compute_instance}/access")];
        let minors: Option<Vec<String>> =
            nodes.iter().map(|file| self.minors.get(file).map(|minor| format!("{NODE}{minor}"))).collect();
        Ok(MigFacts {
            uuid: GpuUuid::new(mig.uuid()?),
            index,
            gpu_instance,
            compute_instance,
            profile: profile(slices, memory_bytes, gpu.memory_bytes, &suffix),
            slices,
            memory_bytes,
            engines: MigEngines {
                multiprocessors: told.multiprocessor_count,
                copy: told.shared_copy_engine_count,
                decoder: told.shared_decoder_count,
                encoder: told.shared_encoder_count,
                jpeg: told.shared_jpeg_count,
                ofa: told.shared_ofa_count,
            },
            nodes: minors.unwrap_or_default(),
        })
    }

    /// What the profile's name ends in: by NVML's number of the profile, else by the name that NVML gives the device.
    fn suffix(&self, gpu: &Device<'_>, gpu_instance: u32, mig: &Device<'_>) -> String {
        match self.instances.profile_id(gpu, gpu_instance) {
            Ok(id) => {
                let is_it = |number: &u32| gpu.profile_info(*number).is_ok_and(|info| info.id == id);
                let number = (0..PROFILES_MAX).find(is_it);
                let known = SUFFIXES.iter().find(|(known, _)| Some(*known) == number);
                known.map_or_else(String::new, |(_, suffix)| (*suffix).to_owned())
            }
            Err(_) => mig.name().map_or_else(|_| String::new(), |name| suffix_of_name(&name)),
        }
    }
}

/// `+me` of `NVIDIA A100-SXM4-40GB MIG 1g.5gb+me`.
fn suffix_of_name(name: &str) -> String {
    let profile = name.rsplit_once(" MIG ").map_or("", |(_, profile)| profile);
    let at = profile.find(['+', '-']);
    at.and_then(|at| profile.get(at..)).unwrap_or_default().to_owned()
}

/// The numbers by capability file: lines `gpu0/gi1/access 12` and others, of which those that cannot be read are skipped.
fn minors(text: &str) -> BTreeMap<String, u32> {
    let text = text.get(..text.len().min(MINORS_BYTES_MAX)).unwrap_or_default();
    let line = |line: &str| {
        let (file, minor) = line.trim().rsplit_once(' ')?;
        Some((file.trim().to_owned(), minor.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_list_of_minors_is_read_line_by_line() {
        let text = "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\n\nnonsense\ngpu0/gi1/access x\n gpu1/gi7/ci0/access 202 \n";
        let found = minors(text);
        assert_eq!(found.get("gpu0/gi0/access"), Some(&3));
        assert_eq!(found.get("gpu0/gi0/ci0/access"), Some(&4));
        assert_eq!(found.get("gpu1/gi7/ci0/access"), Some(&202));
        assert_eq!((found.get("config"), found.len()), (Some(&1), 5));
    }

    #[test]
    fn a_name_tells_the_suffix_where_the_driver_does_not() {
        let rows = [
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", ""),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", "+me"),
            ("NVIDIA RTX PRO 6000 MIG 1g.24gb+me.all", "+me.all"),
            ("NVIDIA RTX PRO 6000 MIG 1g.24gb-me", "-me"),
            ("NVIDIA A100-SXM4-40GB", ""),
        ];
        for (name, suffix) in rows {
            assert_eq!(suffix_of_name(name), suffix, "{name}");
        }
    }
}
