//! GPU memory: who has how much, and when it runs out.

use crate::error::GpuError;
use crate::record::Node;

/// Memory of one GPU in bytes; `total = reserved + used + free`, as nvidia-smi shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// Kept by driver and firmware.
    pub reserved_bytes: u64,
    /// Used by processes.
    pub used_bytes: u64,
    /// Left.
    pub free_bytes: u64,
}

impl Node {
    /// The memory of a GPU; used is the sum over its processes.
    ///
    /// # Errors
    /// No such GPU.
    pub fn memory(&self, gpu: u32) -> Result<Memory, GpuError> {
        let board = &self.gpu(gpu)?.board;
        let used = self.processes_on(gpu).fold(0_u64, |sum, process| sum.saturating_add(process.used_bytes));
        Ok(Memory {
            total_bytes: board.memory_total_bytes,
            reserved_bytes: board.memory_reserved_bytes,
            used_bytes: used,
            free_bytes: board
                .memory_total_bytes
                .saturating_sub(board.memory_reserved_bytes)
                .saturating_sub(used),
        })
    }

    /// Allocates device memory, as `cuMemAlloc` does.
    ///
    /// # Errors
    /// The process has no context there, the GPU is lost, or it does not fit: on the GPU, or under
    /// the MPS client's own limit.
    pub fn allocate(&mut self, pid: u32, gpu: u32, bytes: u64) -> Result<(), GpuError> {
        let record = self.gpu(gpu)?;
        let uuid = || record.uuid.as_str().to_owned();
        if record.lost != 0 {
            return Err(GpuError::Lost { uuid: uuid() });
        }
        let Some(process) = self.processes_on(gpu).find(|process| process.pid == pid) else {
            return Err(GpuError::NoSuchProcess { pid, gpu });
        };
        let share = match process.limit_bytes {
            0 => u64::MAX,
            limit => limit.saturating_sub(process.used_bytes),
        };
        let memory = match process.instance() {
            Some(instance) => self.mig_memory(gpu, instance)?,
            None => self.memory(gpu)?,
        };
        let free_bytes = memory.free_bytes.min(share);
        if bytes > free_bytes {
            return Err(GpuError::OutOfMemory { uuid: uuid(), pid, asked_bytes: bytes, free_bytes });
        }
        self.change_used(pid, gpu, |used| used + bytes);
        Ok(())
    }

    /// Frees device memory.
    ///
    /// # Errors
    /// The process has no context there, or has less than that.
    pub fn free(&mut self, pid: u32, gpu: u32, bytes: u64) -> Result<(), GpuError> {
        self.gpu(gpu)?;
        let Some(process) = self.processes_on(gpu).find(|process| process.pid == pid) else {
            return Err(GpuError::NoSuchProcess { pid, gpu });
        };
        let used_bytes = process.used_bytes;
        if bytes > used_bytes {
            return Err(GpuError::FreesTooMuch { pid, gpu, asked_bytes: bytes, used_bytes });
        }
        self.change_used(pid, gpu, |used| used - bytes);
        Ok(())
    }

    fn change_used(&mut self, pid: u32, gpu: u32, change: impl Fn(u64) -> u64) {
        let count = self.processes().len();
        for process in self.processes[..count].iter_mut().filter(|p| p.pid == pid && p.gpu == gpu) {
            process.used_bytes = change(process.used_bytes);
        }
    }
}
