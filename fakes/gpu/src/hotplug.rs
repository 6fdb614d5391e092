//! GPUs that are pulled out of a running machine and put back: NVML's indexes close the gap at once, minor numbers only
//! when the driver is loaded again.

use crate::error::GpuError;
use crate::mig::Mig;
use crate::record::{DAEMONS_MAX, EVENTS_MAX, GPUS_MAX, Gpu, Node};
use crate::text::Text;

/// The index of an event whose GPU is not there any more.
const NOBODY: u32 = u32::MAX;

impl Node {
    /// Pulls a GPU out: it vanishes from every list, and those behind it move up. Its processes end, and so do MPS control
    /// daemons that see no other GPU. The answer is its UUID.
    ///
    /// # Errors
    /// No such GPU.
    pub fn unplug(&mut self, gpu: u32) -> Result<Text<48>, GpuError> {
        let uuid = self.gpu(gpu)?.uuid;
        let count = self.gpus().len();
        self.remove_processes(|process| process.gpu == gpu);
        self.remove_mps_daemons(|daemon| daemon.gpus == 1 << gpu);
        // its record lies behind those that are left
        if let Some(moved) = self.gpus.get_mut(gpu as usize..count) {
            moved.rotate_left(1);
        }
        self.gpu_count -= 1;
        self.unplugged_count += 1;
        self.renumber(|index| match index {
            index if index == gpu => None,
            index if index > gpu => Some(index - 1),
            index => Some(index),
        });
        Ok(uuid)
    }

    /// Puts a GPU back, at the place that its PCI address has in NVML's order, with its first compute mode.
    ///
    /// # Errors
    /// It was not pulled out.
    pub fn replug(&mut self, uuid: &str) -> Result<u32, GpuError> {
        let count = self.gpus().len();
        let all = (count + self.unplugged_count as usize).min(GPUS_MAX);
        let missing = || GpuError::NotUnplugged { uuid: uuid.to_owned() };
        let out = self.gpus.get(count..all).ok_or_else(missing)?;
        let at = count + out.iter().position(|gpu| gpu.uuid.as_str() == uuid).ok_or_else(missing)?;
        let mut back = self.gpus[at];
        back.lost = 0;
        back.nvml_error = 0;
        back.nvml_hangs = 0;
        back.processes_error = 0;
        back.compute_mode = back.compute_mode_original;
        back.time_slice = 0;
        // MIG mode outlives a reset, MIG devices do not
        let mode = back.mig.pending;
        back.mig = Mig { mode, pending: mode, ..Mig::OFF };
        if self.gpus().iter().any(|gpu| gpu.minor == back.minor) {
            back.minor = self.free_minor();
        }
        let place = self.gpus().iter().position(|gpu| address(gpu) > address(&back)).unwrap_or(count);
        self.gpus[at] = back;
        if let Some(moved) = self.gpus.get_mut(place..=at) {
            moved.rotate_right(1);
        }
        self.gpu_count += 1;
        self.unplugged_count -= 1;
        let place = u32::try_from(place).unwrap_or(NOBODY);
        self.renumber(|index| Some(if index >= place { index + 1 } else { index }));
        Ok(place)
    }

    /// Gives minor numbers in NVML's order, as a driver does that is loaded again.
    pub fn renumber_minors(&mut self) {
        let count = self.gpus().len();
        for (minor, gpu) in (0..).zip(self.gpus.iter_mut().take(count)) {
            gpu.minor = minor;
        }
    }

    fn free_minor(&self) -> u32 {
        let taken = |minor: u32| self.gpus().iter().any(|gpu| gpu.minor == minor);
        (0..).find(|minor| !taken(*minor)).unwrap_or(0)
    }

    /// Lets everything that names a GPU by its index follow it to its new one.
    fn renumber(&mut self, new: impl Fn(u32) -> Option<u32>) {
        for (index, gpu) in (0..).zip(self.gpus.iter_mut().take(self.gpu_count as usize)) {
            gpu.index = index;
        }
        for process in self.processes.iter_mut().take(self.process_count as usize) {
            process.gpu = new(process.gpu).unwrap_or(NOBODY);
        }
        for daemon in self.daemons.iter_mut().take((self.daemon_count as usize).min(DAEMONS_MAX)) {
            let seen = (0..GPUS_MAX as u32).filter(|index| daemon.gpus >> index & 1 == 1);
            daemon.gpus =
                seen.filter_map(&new).fold(0, |mask, index| mask | 1_u64.checked_shl(index).unwrap_or(0));
        }
        for event in self.events.iter_mut().take(EVENTS_MAX).filter(|event| event.gpu != NOBODY) {
            event.gpu = new(event.gpu).unwrap_or(NOBODY);
        }
    }
}

fn address(gpu: &Gpu) -> (u32, u32, u32) {
    (gpu.pci_domain, gpu.pci_bus, gpu.pci_device)
}

#[cfg(test)]
mod tests {
    use crate::{MpsDaemon, Node, NodeSpec, ProcessKind, ProcessSpec, Text};

    fn node() -> Box<Node> {
        Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 4)).unwrap()
    }

    fn numbers(node: &Node) -> Vec<(u32, u32)> {
        node.gpus().iter().map(|gpu| (gpu.index, gpu.minor)).collect()
    }

    fn uuids(node: &Node) -> Vec<String> {
        node.gpus().iter().map(|gpu| gpu.uuid.as_str().to_owned()).collect()
    }

    #[test]
    fn indexes_close_the_gap_of_a_pulled_gpu_and_minors_do_when_the_driver_is_loaded_again() {
        let mut node = node();
        let before = uuids(&node);
        let gone = node.unplug(1).unwrap();
        assert_eq!(gone.as_str(), before[1]);
        assert_eq!(uuids(&node), [before[0].clone(), before[2].clone(), before[3].clone()]);
        assert_eq!(numbers(&node), [(0, 0), (1, 2), (2, 3)]);
        node.renumber_minors();
        assert_eq!(numbers(&node), [(0, 0), (1, 1), (2, 2)]);
        node.replug(gone.as_str()).unwrap();
        assert_eq!(uuids(&node), before);
        assert_eq!(numbers(&node), [(0, 0), (1, 3), (2, 1), (3, 2)], "its minor was given to another");
        assert!(node.replug(gone.as_str()).is_err());
    }

    #[test]
    fn gpus_come_back_in_any_order() {
        let mut node = node();
        let before = uuids(&node);
        let gone: Vec<_> = (0..3).map(|_| node.unplug(0).unwrap()).collect();
        assert_eq!(uuids(&node), [before[3].clone()]);
        for index in [1, 0, 2] {
            node.replug(gone[index].as_str()).unwrap();
        }
        assert_eq!(uuids(&node), before);
        assert_eq!(numbers(&node), [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn processes_and_daemons_follow_their_gpu_and_end_with_it() {
        let mut node = node();
        for (pid, gpu) in [(10, 1), (20, 3)] {
            node.start_process(&ProcessSpec::new(pid, gpu, ProcessKind::Plain, "train")).unwrap();
        }
        for (pid, gpus) in [(1, 0b0010), (2, 0b1000)] {
            let pipe_directory = Text::new("/p");
            node.add_mps_daemon(MpsDaemon { pid, reserved: 0, started_ticks: 0, gpus, pipe_directory })
                .unwrap();
        }
        node.raise_xid(3, 13).unwrap();
        node.unplug(1).unwrap();
        assert_eq!(node.processes().iter().map(|p| (p.pid, p.gpu)).collect::<Vec<_>>(), [(20, 2)]);
        assert_eq!(node.mps_daemons().iter().map(|d| (d.pid, d.gpus)).collect::<Vec<_>>(), [(2, 0b0100)]);
        assert_eq!(node.events_from(0).map(|event| event.gpu).collect::<Vec<_>>(), [2]);
    }
}
