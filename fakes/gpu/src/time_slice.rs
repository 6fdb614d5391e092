//! The time slice of a GPU, which a driver remembers until it is loaded again.

use crate::error::GpuError;
use crate::profile::Architecture;
use crate::record::{Gpu, Node};

/// How long one process keeps a GPU before it is another's turn (nvidia-smi's compute policy `timeslice`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSlice {
    /// The driver's own.
    Default,
    /// Shorter.
    Short,
    /// In between.
    Medium,
    /// Longer.
    Long,
}

impl TimeSlice {
    const ALL: [Self; 4] = [Self::Default, Self::Short, Self::Medium, Self::Long];

    /// nvidia-smi's number of it.
    pub fn number(self) -> u32 {
        Self::ALL.into_iter().zip(0..).find(|(slice, _)| *slice == self).map_or(0, |(_, number)| number)
    }

    /// The one of nvidia-smi's number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|slice| slice.number() == number)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Short => "short",
            Self::Medium => "medium",
            Self::Long => "long",
        }
    }
}

impl Gpu {
    /// The time slice in force.
    pub fn time_slice(&self) -> TimeSlice {
        TimeSlice::from_number(self.time_slice).unwrap_or(TimeSlice::Default)
    }
}

impl Node {
    /// Sets the time slice.
    ///
    /// # Errors
    /// No such GPU, it is lost, MIG mode is on, or it is older than Volta.
    pub fn set_time_slice(&mut self, gpu: u32, slice: TimeSlice) -> Result<(), GpuError> {
        let record = self.gpu_mut(gpu)?;
        let uuid = record.uuid.as_str().to_owned();
        if record.lost != 0 {
            return Err(GpuError::Lost { uuid });
        }
        if record.has_mig_on() {
            return Err(GpuError::MigIsOn { uuid });
        }
        if record.board.architecture < Architecture::Volta.number() {
            return Err(GpuError::NoTimeSlice { uuid });
        }
        record.time_slice = slice.number();
        Ok(())
    }

    /// Every GPU has the driver's own time slice, as after a boot.
    pub fn forget_time_slices(&mut self) {
        self.gpus.iter_mut().for_each(|gpu| gpu.time_slice = 0);
    }
}
