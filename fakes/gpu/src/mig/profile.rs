//! What GPU instances a board can be cut into, as its profile file lists them.

/// A size that a GPU instance can be cut to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigProfile {
    /// Its name, such as `1g.5gb` or `1g.5gb+me`.
    pub name: String,
    /// The id that nvidia-smi prints.
    pub id: u32,
    /// NVML's number (`NVML_GPU_INSTANCE_PROFILE_…`).
    pub nvml: u32,
    /// Compute slices.
    pub slices: u32,
    /// Most instances of it on one GPU.
    pub instances: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Where an instance can begin, in the order in which the driver takes the places.
    pub starts: Vec<u32>,
    /// How many memory slices it takes from there.
    pub size: u32,
    /// Its engines.
    pub engines: MigEngines,
}

/// The engines of a GPU instance, which its compute instances share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigEngines {
    /// Copy engines.
    pub copy: u32,
    /// Video decoders.
    pub decoder: u32,
    /// Video encoders.
    pub encoder: u32,
    /// JPEG decoders.
    pub jpeg: u32,
    /// Optical flow accelerators.
    pub ofa: u32,
}

impl MigProfile {
    /// Whether an instance of it can have a compute instance of so many slices.
    pub fn has_compute(&self, slices: u32) -> bool {
        match slices {
            0 => false,
            slices if slices == self.slices => true,
            // a half of four is two, not three
            1 | 2 => slices < self.slices,
            3 | 4 => self.slices == 7,
            _ => false,
        }
    }

    /// Most compute instances of so many slices in an instance.
    pub fn compute_instances(&self, slices: u32) -> u32 {
        if self.has_compute(slices) { self.slices / slices } else { 0 }
    }

    /// The name of a compute instance in it: `3g.20gb`, or `1c.3g.20gb` when it has not all slices.
    pub fn compute_name(&self, slices: u32) -> String {
        if slices == self.slices { self.name.clone() } else { format!("{slices}c.{}", self.name) }
    }
}
