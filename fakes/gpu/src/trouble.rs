//! A driver that misbehaves: NVML calls that fail, take long or never return, an upgrade under running programs, and a
//! fabric that is not ready.

use crate::error::GpuError;
use crate::record::Node;
use crate::text::Text;

/// NVML's code for a library whose version is not the driver's.
pub const VERSION_MISMATCH: u32 = 18;

/// What can be wrong with a program of the driver: the MPS control program, whose daemons that run already go on, or
/// nvidia-smi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlTrouble {
    /// It does not end, whatever it is asked.
    Hangs,
    /// It says what nobody understands, and ends well.
    Garbage,
    /// It ends with exit status 1.
    Fails,
    /// It is not installed.
    Missing,
}

impl ControlTrouble {
    const ALL: [Self; 4] = [Self::Hangs, Self::Garbage, Self::Fails, Self::Missing];

    /// 0 is none.
    fn number(self) -> u32 {
        Self::ALL.into_iter().zip(1..).find(|(known, _)| *known == self).map_or(0, |(_, number)| number)
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }
}

impl Node {
    /// What is wrong with the MPS control program.
    pub fn control_trouble(&self) -> Option<ControlTrouble> {
        ControlTrouble::from_number(self.mps_control)
    }

    /// Spoils the MPS control program, or mends it.
    pub fn set_control_trouble(&mut self, trouble: Option<ControlTrouble>) {
        self.mps_control = trouble.map_or(0, ControlTrouble::number);
    }

    /// What is wrong with nvidia-smi.
    pub fn smi_trouble(&self) -> Option<ControlTrouble> {
        ControlTrouble::from_number(self.smi)
    }

    /// Spoils nvidia-smi, or mends it.
    pub fn set_smi_trouble(&mut self, trouble: Option<ControlTrouble>) {
        self.smi = trouble.map_or(0, ControlTrouble::number);
    }

    /// Lets NVML calls answer an error code, those about one GPU or all; 0 ends it.
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_nvml_error(&mut self, gpu: Option<u32>, code: u32) -> Result<(), GpuError> {
        match gpu {
            Some(gpu) => self.gpu_mut(gpu)?.nvml_error = code,
            None => self.nvml_error = code,
        }
        Ok(())
    }

    /// Lets NVML answer an error code when it is asked for the processes on a GPU; 0 ends it.
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_processes_error(&mut self, gpu: u32, code: u32) -> Result<(), GpuError> {
        self.gpu_mut(gpu)?.processes_error = code;
        Ok(())
    }

    /// Lets NVML calls about one GPU not return, or return again.
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_nvml_hangs(&mut self, gpu: u32, hangs: bool) -> Result<(), GpuError> {
        self.gpu_mut(gpu)?.nvml_hangs = u32::from(hangs);
        Ok(())
    }

    /// Installs the next version of the driver, whose modules then number the GPUs anew; pending MIG modes come into force. A program that loaded NVML before
    /// has the library of the old version.
    pub fn upgrade_driver(&mut self) {
        self.driver_version = Text::new(&next_version(self.driver_version.as_str()));
        self.renumber_minors();
        self.settle_mig_modes();
        self.forget_time_slices();
    }
}

/// The version with its last number counted up, in as many digits.
fn next_version(version: &str) -> String {
    let (head, last) = version.rsplit_once('.').unwrap_or(("", version));
    let next = last.parse::<u32>().unwrap_or(0) + 1;
    let next = format!("{next:0width$}", width = last.len());
    if head.is_empty() { next } else { format!("{head}.{next}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeSpec, ProcessKind, ProcessSpec};

    #[test]
    fn each_trouble_of_a_program_is_found_again_and_ends() {
        let mut node = Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 1)).unwrap();
        assert_eq!(node.control_trouble(), None);
        for trouble in ControlTrouble::ALL {
            node.set_control_trouble(Some(trouble));
            assert_eq!((node.control_trouble(), node.smi_trouble()), (Some(trouble), None));
            node.set_smi_trouble(Some(trouble));
            assert_eq!(node.smi_trouble(), Some(trouble));
            node.set_smi_trouble(None);
        }
        node.set_control_trouble(None);
        assert_eq!((node.control_trouble(), node.smi_trouble()), (None, None));
    }

    #[test]
    fn an_upgrade_counts_the_version_up() {
        let mut node = Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 1)).unwrap();
        assert_eq!(node.driver_version.as_str(), "595.91.07");
        node.upgrade_driver();
        assert_eq!(node.driver_version.as_str(), "595.91.08");
        assert_eq!(next_version("580"), "581");
    }

    #[test]
    fn no_process_gets_a_context_before_the_fabric_is_ready() {
        let mut node = Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 1)).unwrap();
        node.fabric_starting = 1;
        let train = ProcessSpec::new(7, 0, ProcessKind::Plain, "train");
        let refused = node.start_process(&train).unwrap_err();
        assert!(refused.to_string().contains("802"), "{refused}");
        node.fabric_starting = 0;
        node.start_process(&train).unwrap();
    }
}
