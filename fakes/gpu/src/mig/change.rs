//! MIG as an operator changes it: mode on and off, MIG devices made and destroyed, memory and Xids of one of them.

use super::layout::{self, MigError};
use super::record::{Mig, MigInstance, MigRecord};
use crate::error::GpuError;
use crate::event::EventKind;
use crate::memory::Memory;
use crate::record::{ComputeMode, Event, Gpu, Node};

impl Node {
    /// Switches MIG mode; a change takes all MIG devices away, and puts the compute mode back to default.
    ///
    /// # Errors
    /// No such GPU, it is lost, it has no MIG, or a process is on it.
    pub fn set_mig_mode(&mut self, gpu: u32, on: bool) -> Result<(), GpuError> {
        self.is_free(gpu)?;
        let record = self.gpu_mut(gpu)?;
        record.mig.pending = u32::from(on);
        record.settle_mig();
        Ok(())
    }

    /// Asks for MIG mode as NVML does: what cannot be now is pending until [`Self::settle_mig_modes`]. True: it is so now.
    ///
    /// # Errors
    /// No such GPU, it is lost, or it has no MIG.
    pub fn ask_mig_mode(&mut self, gpu: u32, on: bool) -> Result<bool, GpuError> {
        match self.set_mig_mode(gpu, on) {
            Ok(()) => Ok(true),
            Err(GpuError::InUse { .. }) => {
                let record = self.gpu_mut(gpu)?;
                record.mig.pending = u32::from(on);
                Ok(record.mig.mode == record.mig.pending)
            }
            Err(error) => Err(error),
        }
    }

    /// Pending MIG modes come into force, as when the driver is loaded again.
    pub fn settle_mig_modes(&mut self) {
        let count = self.gpus().len();
        self.gpus.iter_mut().take(count).for_each(Gpu::settle_mig);
    }

    /// Cuts a GPU into these MIG devices and no others, with MIG mode on; an empty layout is MIG without devices.
    ///
    /// # Errors
    /// No such GPU, it is lost, a process is on it, or it cannot be cut so; then nothing has changed.
    pub fn lay_out_mig(&mut self, gpu: u32, layout: &[String]) -> Result<(), GpuError> {
        self.is_free(gpu)?;
        let record = self.gpu_mut(gpu)?;
        let devices =
            layout::lay_out(record.mig_profiles(), layout).map_err(|(_, why)| cannot(record, why))?;
        record.mig.pending = 1;
        record.settle_mig();
        record.mig.devices = devices;
        Ok(())
    }

    /// Makes one MIG device beside the others: `1g.5gb`, `3g.20gb:4`, `1c.3g.20gb`.
    ///
    /// # Errors
    /// No such GPU, it is lost, MIG mode is off, or there is no such profile or no room.
    pub fn create_mig_device(&mut self, gpu: u32, name: &str) -> Result<MigInstance, GpuError> {
        let record = self.gpu_mut(gpu)?;
        record.is_there()?;
        if !record.has_mig_on() {
            return Err(GpuError::MigIsOff { uuid: record.uuid.as_str().to_owned() });
        }
        let profiles = record.mig_profiles();
        let made = layout::add(profiles, &mut record.mig.devices, name).map_err(|why| cannot(record, why))?;
        Ok(MigInstance { gpu_instance: made.gpu_instance, compute_instance: made.compute_instance })
    }

    /// Destroys a MIG device; the indexes of the others stay.
    ///
    /// # Errors
    /// No such GPU or MIG device, or a process is on it.
    pub fn destroy_mig_device(&mut self, gpu: u32, instance: MigInstance) -> Result<(), GpuError> {
        let uuid = self.gpu(gpu)?.uuid.as_str().to_owned();
        let processes = self.processes_on(gpu).filter(|process| process.instance() == Some(instance)).count();
        if processes > 0 {
            return Err(GpuError::InUse { uuid, processes });
        }
        let same = |record: &&mut MigRecord| {
            record.is_there()
                && record.gpu_instance == instance.gpu_instance
                && record.compute_instance == instance.compute_instance
        };
        let found = self.gpu_mut(gpu)?.mig.devices.iter_mut().find(same);
        *found.ok_or(GpuError::NoSuchMigDevice { uuid, instance })? = MigRecord::NONE;
        Ok(())
    }

    /// The memory of a MIG device: its GPU instance's, which the compute instances in it share.
    ///
    /// # Errors
    /// No such GPU or MIG device.
    pub fn mig_memory(&self, gpu: u32, instance: MigInstance) -> Result<Memory, GpuError> {
        let record = self.gpu(gpu)?;
        let missing = || GpuError::NoSuchMigDevice { uuid: record.uuid.as_str().to_owned(), instance };
        let total_bytes = record.mig_device(instance).ok_or_else(missing)?.profile.memory_mib << 20;
        let inside = self.processes_on(gpu).filter(|process| {
            process.instance().is_some_and(|found| found.gpu_instance == instance.gpu_instance)
        });
        let used_bytes = inside.fold(0_u64, |sum, process| sum.saturating_add(process.used_bytes));
        let free_bytes = total_bytes.saturating_sub(used_bytes);
        Ok(Memory { total_bytes, reserved_bytes: 0, used_bytes, free_bytes })
    }

    /// Raises an Xid that names a MIG device.
    ///
    /// # Errors
    /// No such GPU.
    pub fn raise_mig_xid(&mut self, gpu: u32, instance: MigInstance, code: u64) -> Result<Event, GpuError> {
        self.raise(gpu, Some(instance), EventKind::Xid, code)
    }

    /// A GPU whose MIG may be changed.
    fn is_free(&self, gpu: u32) -> Result<(), GpuError> {
        let record = self.gpu(gpu)?;
        record.is_there()?;
        if record.board.mig_devices_max == 0 {
            return Err(cannot(record, MigError::NoMig));
        }
        match self.processes_on(gpu).count() {
            0 => Ok(()),
            processes => Err(GpuError::InUse { uuid: record.uuid.as_str().to_owned(), processes }),
        }
    }
}

impl Gpu {
    /// The pending mode comes into force.
    fn settle_mig(&mut self) {
        if self.mig.mode != self.mig.pending {
            self.mig = Mig { mode: self.mig.pending, pending: self.mig.pending, ..Mig::OFF };
            self.compute_mode = ComputeMode::Default.number();
        }
    }

    fn is_there(&self) -> Result<(), GpuError> {
        match self.lost {
            0 => Ok(()),
            _ => Err(GpuError::Lost { uuid: self.uuid.as_str().to_owned() }),
        }
    }
}

fn cannot(gpu: &Gpu, why: MigError) -> GpuError {
    GpuError::Mig { uuid: gpu.uuid.as_str().to_owned(), why }
}
