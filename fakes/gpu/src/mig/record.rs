//! What a GPU is cut into, in the fixed form of the shared state.

use super::layout;
use super::profile::MigProfile;
use crate::profile::BoardProfile;
use crate::record::Gpu;
use crate::spec::{identity, uuid};

/// Most MIG devices of one GPU.
pub const MIG_DEVICES_MAX: usize = 7;

/// MIG on one GPU.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Mig {
    /// Non-zero: MIG mode is on.
    pub mode: u32,
    /// The mode after the next reset.
    pub pending: u32,
    pub(crate) devices: [MigRecord; MIG_DEVICES_MAX],
    /// Keeps the record free of padding.
    pub reserved: u32,
}

impl Mig {
    pub(crate) const OFF: Self =
        Self { mode: 0, pending: 0, devices: [MigRecord::NONE; MIG_DEVICES_MAX], reserved: 0 };
}

/// The place of a MIG device.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MigRecord {
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
    /// Which of the board's profiles.
    pub(crate) profile: u32,
    /// First memory slice.
    pub(crate) start: u32,
    /// Compute slices; 0: there is no device here.
    pub(crate) compute_slices: u32,
}

impl MigRecord {
    pub(crate) const NONE: Self =
        Self { gpu_instance: 0, compute_instance: 0, profile: 0, start: 0, compute_slices: 0 };

    pub(crate) fn is_there(&self) -> bool {
        self.compute_slices != 0
    }
}

/// The two numbers that tell the MIG devices of a GPU apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct MigInstance {
    /// GPU instance.
    pub gpu_instance: u32,
    /// Compute instance within it.
    pub compute_instance: u32,
}

/// A MIG device: a compute instance in a GPU instance.
#[derive(Debug, Clone, Copy)]
pub struct MigDevice<'g> {
    gpu: &'g Gpu,
    /// NVML index on its GPU; indexes may have gaps.
    pub index: u32,
    /// GPU and compute instance.
    pub instance: MigInstance,
    /// First memory slice.
    pub start: u32,
    /// Compute slices of its own.
    pub compute_slices: u32,
    /// What its GPU instance was cut to.
    pub profile: &'static MigProfile,
}

impl MigDevice<'_> {
    /// `MIG-…`: the same whenever the same instances are made on the same GPU.
    pub fn uuid(&self) -> String {
        let MigInstance { gpu_instance, compute_instance } = self.instance;
        let number = gpu_instance << 8 | compute_instance;
        format!("MIG-{}", uuid(identity(self.gpu.uuid.as_str(), number)))
    }

    /// `1g.5gb`, or `1c.3g.20gb` when it has not all compute slices of its GPU instance.
    pub fn name(&self) -> String {
        self.profile.compute_name(self.compute_slices)
    }

    /// Its multiprocessors.
    pub fn multiprocessors(&self) -> u32 {
        self.gpu.mig_multiprocessors(self.profile, self.compute_slices)
    }
}

impl Gpu {
    /// What GPU instances the board can be cut into; none without MIG.
    pub fn mig_profiles(&self) -> &'static [MigProfile] {
        if self.board.mig_devices_max == 0 { &[] } else { BoardProfile::mig_profiles_of(self.board.profile) }
    }

    /// The multiprocessors of a compute instance of so many slices in an instance of this profile.
    pub fn mig_multiprocessors(&self, profile: &MigProfile, compute_slices: u32) -> u32 {
        if compute_slices == profile.slices {
            return profile.multiprocessors;
        }
        let ones = self.mig_profiles().iter().filter(|profile| profile.slices == 1);
        compute_slices * ones.map(|profile| profile.multiprocessors).min().unwrap_or(0)
    }

    /// How many more instances of a profile fit beside those that are there.
    pub fn mig_room(&self, profile: &MigProfile) -> u32 {
        let mut records = self.mig.devices;
        let more =
            (0..).take_while(|_| layout::add(self.mig_profiles(), &mut records, &profile.name).is_ok());
        u32::try_from(more.count()).unwrap_or(0)
    }

    /// Whether MIG mode is on.
    pub fn has_mig_on(&self) -> bool {
        self.mig.mode != 0
    }

    /// Its MIG devices, by index.
    pub fn mig_devices(&self) -> impl Iterator<Item = MigDevice<'_>> {
        let there = (0..).zip(&self.mig.devices).filter(|(_, record)| record.is_there());
        there.filter_map(|(index, record)| {
            let profile = self.mig_profiles().get(record.profile as usize)?;
            let instance =
                MigInstance { gpu_instance: record.gpu_instance, compute_instance: record.compute_instance };
            let (start, compute_slices) = (record.start, record.compute_slices);
            Some(MigDevice { gpu: self, index, instance, start, compute_slices, profile })
        })
    }

    /// The MIG device of these instances.
    pub fn mig_device(&self, instance: MigInstance) -> Option<MigDevice<'_>> {
        self.mig_devices().find(|device| device.instance == instance)
    }
}
