//! MIG devices: parts of a GPU that the hardware keeps apart, as plain data, and the names of their sizes.

use serde::{Deserialize, Serialize};

use crate::inventory::GpuUuid;

/// Bytes of a gibibyte.
const GIB: u64 = 1 << 30;
/// The driver cuts a GPU's memory into eighths.
const MEMORY_PARTS: u64 = 8;

/// One MIG device: a compute instance of a GPU instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigFacts {
    /// NVML's UUID: `MIG-…`.
    pub uuid: GpuUuid,
    /// Its position on its GPU: the `M` of the index `N:M`. Positions may be left out.
    pub index: u32,
    /// The GPU instance's id.
    pub gpu_instance: u32,
    /// The compute instance's id in its GPU instance.
    pub compute_instance: u32,
    /// The size's name, for example `1g.5gb`; see [`profile`].
    pub profile: String,
    /// How much of the GPU it has.
    pub slices: MigSlices,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// What it computes with.
    #[serde(default)]
    pub engines: MigEngines,
    /// The `/dev/nvidia-caps` nodes of the GPU instance and of the compute instance.
    pub nodes: Vec<String>,
}

/// Slices of a MIG device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigSlices {
    /// Of the GPU instance.
    pub gpu: u32,
    /// Of the compute instance; fewer where several share a GPU instance.
    pub compute: u32,
}

/// Engines of a MIG device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigEngines {
    /// Multiprocessors.
    pub multiprocessors: u32,
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

impl MigFacts {
    /// Whether the GPU instance has no other compute instance: its profile is one of the driver's own.
    pub fn has_whole_instance(&self) -> bool {
        self.slices.compute == self.slices.gpu
    }

    /// Whether it can draw.
    pub fn has_graphics(&self) -> bool {
        self.profile.ends_with("+gfx")
    }
}

/// The name of a size, as NVIDIA's tools write it: `2g.10gb`; `1c.2g.10gb` for one of two compute slices; a suffix such as
/// `+me`, `+me.all`, `+gfx` or `-me` as it is given (k8s-device-plugin v0.20).
pub fn profile(slices: MigSlices, memory_bytes: u64, gpu_memory_bytes: u64, suffix: &str) -> String {
    let total = u128::from(gpu_memory_bytes.max(1));
    let parts = (u128::from(memory_bytes) * u128::from(MEMORY_PARTS)).div_ceil(total);
    let half = u128::from(MEMORY_PARTS / 2);
    let gb = (parts * total.div_ceil(u128::from(GIB)) + half) / u128::from(MEMORY_PARTS);
    let MigSlices { gpu, compute } = slices;
    let compute = if compute == gpu { String::new() } else { format!("{compute}c.") };
    format!("{compute}{gpu}g.{gb}gb{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_have_the_names_that_nvidias_tools_give_them() {
        // memory of the GPU and of the part in MiB, slices of both instances, suffix
        let rows = [
            (40_536, 4_864, 1, 1, "", "1g.5gb"),
            (40_536, 4_864, 1, 1, "+me", "1g.5gb+me"),
            (40_536, 9_856, 1, 1, "", "1g.10gb"),
            (40_536, 9_984, 2, 1, "", "1c.2g.10gb"),
            (40_536, 20_096, 3, 3, "", "3g.20gb"),
            (40_536, 40_192, 7, 7, "", "7g.40gb"),
            (81_559, 9_856, 1, 1, "", "1g.10gb"),
            (81_559, 20_096, 1, 1, "", "1g.20gb"),
            (81_559, 80_896, 7, 7, "", "7g.80gb"),
            (143_771, 16_384, 1, 1, "", "1g.18gb"),
            (143_771, 71_680, 3, 3, "", "3g.71gb"),
            (24_576, 5_952, 1, 1, "+gfx", "1g.6gb+gfx"),
            (24_576, 5_952, 1, 1, "-me", "1g.6gb-me"),
        ];
        for (total, part, gpu, compute, suffix, expected) in rows {
            let named = profile(MigSlices { gpu, compute }, part * MIB, total * MIB, suffix);
            assert_eq!(named, expected);
        }
    }

    #[test]
    fn a_gpu_of_unknown_size_does_not_end_the_plugin() {
        assert_eq!(profile(MigSlices { gpu: 1, compute: 1 }, 0, 0, ""), "1g.0gb");
    }
}
