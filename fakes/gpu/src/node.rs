//! A node's GPUs: looking them up, losing them, their compute mode, and the MPS daemons that see them.

use crate::error::GpuError;
use crate::record::{ComputeMode, DAEMONS_MAX, GPUS_MAX, Gpu, MpsDaemon, Node};

impl Node {
    /// All GPUs, in NVML's order, lost ones included.
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus[..(self.gpu_count as usize).min(GPUS_MAX)]
    }

    /// The GPU with this NVML index.
    ///
    /// # Errors
    /// [`GpuError::NoSuchGpu`].
    pub fn gpu(&self, gpu: u32) -> Result<&Gpu, GpuError> {
        let count = self.gpu_count;
        self.gpus().get(gpu as usize).ok_or(GpuError::NoSuchGpu { gpu, count })
    }

    /// The GPU with this UUID.
    pub fn gpu_by_uuid(&self, uuid: &str) -> Option<&Gpu> {
        self.gpus().iter().find(|gpu| gpu.uuid.as_str() == uuid)
    }

    pub(crate) fn gpu_mut(&mut self, gpu: u32) -> Result<&mut Gpu, GpuError> {
        let count = (self.gpu_count as usize).min(GPUS_MAX);
        let missing = GpuError::NoSuchGpu { gpu, count: self.gpu_count };
        self.gpus[..count].get_mut(gpu as usize).ok_or(missing)
    }

    /// Loads or unloads the driver; without it NVML does not initialise. One that is loaded anew knows no time slices.
    pub fn set_driver_loaded(&mut self, loaded: bool) {
        if loaded && self.driver_loaded == 0 {
            self.forget_time_slices();
        }
        self.driver_loaded = u32::from(loaded);
    }

    /// Makes a GPU fall off the bus, or brings it back. Its processes die with it. No event is
    /// raised: raise Xid 79 as well where a driver would.
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_lost(&mut self, gpu: u32, lost: bool) -> Result<(), GpuError> {
        let record = self.gpu_mut(gpu)?;
        if record.lost != 0 && !lost {
            record.time_slice = 0;
        }
        record.lost = u32::from(lost);
        if lost {
            self.remove_processes(|process| process.gpu == gpu);
        }
        Ok(())
    }

    /// Sets the compute mode; running processes stay, as with the real driver.
    ///
    /// # Errors
    /// No such GPU, it is lost, or MIG mode is on.
    pub fn set_compute_mode(&mut self, gpu: u32, mode: ComputeMode) -> Result<(), GpuError> {
        let record = self.gpu_mut(gpu)?;
        if record.lost != 0 {
            return Err(GpuError::Lost { uuid: record.uuid.as_str().to_owned() });
        }
        if record.has_mig_on() {
            return Err(GpuError::MigIsOn { uuid: record.uuid.as_str().to_owned() });
        }
        record.compute_mode = mode.number();
        Ok(())
    }

    /// Puts the MPS servers of a GPU into FAULT, or ends the fault: while it lasts they take no new clients.
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_mps_fault(&mut self, gpu: u32, fault: bool) -> Result<(), GpuError> {
        self.gpu_mut(gpu)?.mps_fault = u32::from(fault);
        Ok(())
    }

    /// Sets how busy a GPU reports to be, in percent (at most 100).
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_utilization(&mut self, gpu: u32, percent: u32) -> Result<(), GpuError> {
        self.gpu_mut(gpu)?.utilization_percent = percent.min(100);
        Ok(())
    }

    /// Running MPS control daemons.
    pub fn mps_daemons(&self) -> &[MpsDaemon] {
        &self.daemons[..(self.daemon_count as usize).min(DAEMONS_MAX)]
    }

    /// Notes that an MPS control daemon runs; a second note of the same pid replaces the first.
    ///
    /// # Errors
    /// The table is full.
    pub fn add_mps_daemon(&mut self, daemon: MpsDaemon) -> Result<(), GpuError> {
        self.remove_mps_daemon(daemon.pid);
        let count = self.mps_daemons().len();
        let Some(slot) = self.daemons.get_mut(count) else {
            return Err(GpuError::TableFull { table: "MPS control daemons", max: DAEMONS_MAX });
        };
        *slot = daemon;
        self.daemon_count += 1;
        Ok(())
    }

    /// Notes that an MPS control daemon is gone.
    pub fn remove_mps_daemon(&mut self, pid: u32) {
        self.remove_mps_daemons(|daemon| daemon.pid == pid);
    }

    pub(crate) fn remove_mps_daemons(&mut self, gone: impl Fn(&MpsDaemon) -> bool) {
        let mut kept = 0;
        for index in 0..self.mps_daemons().len() {
            let daemon = self.daemons[index];
            if !gone(&daemon) {
                self.daemons[kept] = daemon;
                kept += 1;
            }
        }
        self.daemon_count = u32::try_from(kept).unwrap_or(0);
    }
}
