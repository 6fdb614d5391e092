//! What can play a role: a whole GPU or a MIG device of one. Roles, states and holders are kept under its UUID.

use std::fmt;

use crate::config::MigStrategy;
use crate::inventory::{Facts, GpuFacts, GpuUuid};
use crate::mig::MigFacts;
use crate::resources::Role;
use crate::view::{Device, MigPart};

/// A whole GPU, or a MIG device of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// The physical GPU.
    pub gpu: &'a GpuFacts,
    /// The part of it, when it is not the whole.
    pub mig: Option<&'a MigFacts>,
}

impl<'a> Unit<'a> {
    /// A whole GPU.
    pub fn whole(gpu: &'a GpuFacts) -> Self {
        Unit { gpu, mig: None }
    }

    /// `GPU-…` or `MIG-…`.
    pub fn uuid(self) -> &'a GpuUuid {
        self.mig.map_or(&self.gpu.uuid, |mig| &mig.uuid)
    }

    /// Its memory.
    pub fn memory_bytes(self) -> u64 {
        self.mig.map_or(self.gpu.memory_bytes, |mig| mig.memory_bytes)
    }

    /// Where it is among the node's: by NVML's index, a GPU before its parts.
    pub fn position(self) -> (u32, Option<u32>) {
        (self.gpu.index, self.mig.map(|mig| mig.index))
    }

    /// `0`, or `0:1` for a MIG device.
    pub fn index(self) -> String {
        match self.mig {
            None => self.gpu.index.to_string(),
            Some(mig) => format!("{}:{}", self.gpu.index, mig.index),
        }
    }

    /// The product's name, and the size of the part.
    pub fn name(self) -> String {
        match self.mig {
            None => self.gpu.name.clone(),
            Some(mig) => format!("{} MIG {}", self.gpu.name, mig.profile),
        }
    }

    /// Whether one is a part of the other.
    pub fn is_related(self, other: Unit<'_>) -> bool {
        self.gpu.uuid == other.gpu.uuid && self.mig.is_some() != other.mig.is_some()
    }

    /// One of its devices in a role.
    pub(crate) fn device(self, id: String, role: &Role, (healthy, granted): (bool, bool)) -> Device {
        Device {
            id,
            healthy,
            granted,
            gpu: self.uuid().clone(),
            parent: self.gpu.uuid.clone(),
            numa_node: self.gpu.numa_node,
            strategy: role.strategy,
            gpu_index: self.gpu.index,
            gpu_minor: self.gpu.minor,
            mig: self.mig.map(|mig| MigPart { index: mig.index, nodes: mig.nodes.clone() }),
            mps: role.mps_share(),
        }
    }
}

impl fmt::Display for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.mig.is_some() { "MIG device" } else { "GPU" };
        write!(f, "{sort} `{}` (index {})", self.uuid(), self.index())
    }
}

impl Facts {
    /// Everything that can play a role under some strategy: every GPU, each followed by its MIG devices.
    pub fn units(&self) -> impl Iterator<Item = Unit<'_>> + Clone {
        self.gpus.iter().flat_map(units_of)
    }

    /// What can play a role under this strategy: `none` knows whole GPUs only; otherwise a GPU in MIG mode is its parts.
    pub fn units_under(&self, strategy: MigStrategy) -> impl Iterator<Item = Unit<'_>> {
        self.units().filter(move |unit| match strategy {
            MigStrategy::None => unit.mig.is_none(),
            MigStrategy::Single | MigStrategy::Mixed => unit.mig.is_some() == unit.gpu.mig_enabled,
        })
    }

    /// The GPU or MIG device with this UUID.
    pub fn unit(&self, uuid: &GpuUuid) -> Option<Unit<'_>> {
        self.units().find(|unit| unit.uuid() == uuid)
    }
}

/// A GPU, then its MIG devices.
pub(crate) fn units_of(gpu: &GpuFacts) -> impl Iterator<Item = Unit<'_>> + Clone {
    let parts = gpu.mig.iter().map(move |mig| Unit { gpu, mig: Some(mig) });
    std::iter::once(Unit::whole(gpu)).chain(parts)
}
