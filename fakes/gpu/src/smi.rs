//! What nvidia-smi does with compute policies: `compute-policy -i GPU --set-timeslice N` and `compute-policy --list`.
//!
//! Words and numbers are those of its help, exit statuses those of its manual page ("Return value").

use std::fmt::Write as _;

use crate::error::GpuError;
use crate::record::{Gpu, Node};
use crate::time_slice::TimeSlice;

/// What it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The help.
    Help,
    /// The policies of a GPU, or all.
    List(Option<String>),
    /// Another time slice for a GPU, or all.
    Set(Option<String>, TimeSlice),
}

/// Why it fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmiError {
    /// It cannot read its arguments.
    #[error("Invalid combination of input arguments: {0}; nvidia-smi compute-policy -h tells more")]
    Arguments(String),
    /// The GPU has no such setting.
    #[error("{0}")]
    NotSupported(GpuError),
    /// There is no such GPU.
    #[error("No devices were found: `{0}`")]
    NoSuchGpu(String),
    /// The driver does not run.
    #[error("the NVIDIA driver cannot be talked to; is it loaded?")]
    NoDriver,
    /// The GPU has fallen off its bus.
    #[error("Unable to determine the device handle for GPU: {0}")]
    Lost(GpuError),
    /// NVML answers an error.
    #[error("Failed to initialize NVML: error {0}")]
    Nvml(u32),
}

impl SmiError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Arguments(_) => 2,
            Self::NotSupported(_) => 3,
            Self::NoSuchGpu(_) => 6,
            Self::NoDriver => 9,
            Self::Lost(_) => 15,
            Self::Nvml(code) => u8::try_from(*code).unwrap_or(u8::MAX),
        }
    }
}

impl Request {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// Anything but one request about compute policies.
    pub fn read(arguments: &[String]) -> Result<Self, SmiError> {
        let wrong = || SmiError::Arguments(arguments.join(" "));
        let mut words = arguments.iter().flat_map(|word| match word.split_once('=') {
            Some((flag, value)) => vec![flag, value],
            None => vec![word.as_str()],
        });
        if words.next() != Some("compute-policy") {
            return Err(wrong());
        }
        let (mut gpu, mut slice, mut list, mut help) = (None, None, false, false);
        while let Some(word) = words.next() {
            match word {
                "-i" | "--id" => gpu = Some(words.next().ok_or_else(wrong)?.to_owned()),
                "--set-timeslice" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    slice = Some(number.and_then(TimeSlice::from_number).ok_or_else(wrong)?);
                }
                "-l" | "--list" => list = true,
                "-h" | "--help" => help = true,
                _ => return Err(wrong()),
            }
        }
        match (slice, list, help) {
            (Some(slice), false, false) => Ok(Self::Set(gpu, slice)),
            (None, true, false) => Ok(Self::List(gpu)),
            (None, false, _) => Ok(Self::Help),
            (Some(_) | None, _, _) => Err(wrong()),
        }
    }
}

impl Node {
    /// Whether it never comes to an end: it looks at every GPU first.
    pub fn smi_hangs(&self) -> bool {
        self.nvml_hangs != 0 || self.gpus().iter().any(|gpu| gpu.nvml_hangs != 0)
    }

    /// Does what nvidia-smi is asked for; the answer is what it prints.
    ///
    /// # Errors
    /// See [`SmiError`]. Of several GPUs those before the one that fails are set.
    pub fn nvidia_smi(&mut self, request: &Request) -> Result<String, SmiError> {
        let mut said = String::new();
        let (gpu, slice) = match request {
            Request::Help => return Ok(HELP.to_owned()),
            Request::List(gpu) => (gpu, None),
            Request::Set(gpu, slice) => (gpu, Some(*slice)),
        };
        for index in self.named(gpu.as_deref())? {
            if let Some(slice) = slice {
                self.set_time_slice(index, slice).map_err(|error| match error {
                    GpuError::Lost { .. } => SmiError::Lost(error),
                    error => SmiError::NotSupported(error),
                })?;
            }
            let now = self.gpu(index).map_or(TimeSlice::Default, Gpu::time_slice);
            // writing to a String cannot fail
            let _ = writeln!(said, "GPU {index}: timeslice {}", now.word());
        }
        Ok(said)
    }

    /// The indexes of a GPU by UUID or index, or of all.
    fn named(&self, gpu: Option<&str>) -> Result<Vec<u32>, SmiError> {
        match self.nvml_error {
            _ if self.driver_loaded == 0 => return Err(SmiError::NoDriver),
            0 => {}
            code => return Err(SmiError::Nvml(code)),
        }
        let Some(name) = gpu else {
            return Ok(self.gpus().iter().map(|gpu| gpu.index).collect());
        };
        let is_it = |gpu: &&Gpu| gpu.uuid.as_str() == name || gpu.index.to_string() == name;
        let found = self.gpus().iter().find(is_it);
        found.map(|gpu| vec![gpu.index]).ok_or_else(|| SmiError::NoSuchGpu(name.to_owned()))
    }
}

const HELP: &str =
    "nvidia-smi compute-policy [-i GPU] [-l | --list] [--set-timeslice 0=DEFAULT 1=SHORT 2=MEDIUM 3=LONG]\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeSpec, VERSION_MISMATCH};

    fn node() -> Box<Node> {
        Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 2)).unwrap()
    }

    fn ask(node: &mut Node, line: &str) -> Result<String, u8> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Request::read(&words).and_then(|request| node.nvidia_smi(&request)).map_err(|error| error.status())
    }

    #[test]
    fn a_gpu_is_named_by_uuid_or_index_and_the_slice_by_number() {
        let mut node = node();
        let uuid = node.gpus()[1].uuid;
        ask(&mut node, &format!("compute-policy -i {} --set-timeslice 1", uuid.as_str())).unwrap();
        assert_eq!(
            ask(&mut node, "compute-policy -l").unwrap(),
            "GPU 0: timeslice default\nGPU 1: timeslice short\n"
        );
        ask(&mut node, "compute-policy --id=0 --set-timeslice=3").unwrap();
        assert_eq!(ask(&mut node, "compute-policy --list -i 0").unwrap(), "GPU 0: timeslice long\n");
        assert!(ask(&mut node, "compute-policy").unwrap().contains("2=MEDIUM"));
    }

    #[test]
    fn what_it_cannot_do_has_its_exit_status() {
        let mut node = node();
        for (line, status) in [
            ("-q", 2),
            ("compute-policy --set-timeslice 4", 2),
            ("compute-policy --set-timeslice", 2),
            ("compute-policy -l --set-timeslice 1", 2),
            ("compute-policy -i 7 --set-timeslice 1", 6),
            ("compute-policy -i GPU-x -l", 6),
        ] {
            assert_eq!(ask(&mut node, line), Err(status), "{line}");
        }
        let set = "compute-policy -i 0 --set-timeslice 1";
        node.set_lost(0, true).unwrap();
        assert_eq!(ask(&mut node, set), Err(15));
        node.set_lost(0, false).unwrap();
        node.gpus[0].board.architecture = crate::Architecture::Pascal.number();
        assert_eq!(ask(&mut node, set), Err(3));
        node.set_nvml_error(None, VERSION_MISMATCH).unwrap();
        assert_eq!(ask(&mut node, set), Err(18));
        node.set_driver_loaded(false);
        assert_eq!(ask(&mut node, set), Err(9));
    }

    #[test]
    fn a_driver_that_is_loaded_anew_and_a_gpu_that_was_away_know_no_time_slice() {
        let ways: [fn(&mut Node); 5] = [
            |node| node.upgrade_driver(),
            |node| {
                node.set_driver_loaded(false);
                node.set_driver_loaded(true);
            },
            |node| {
                let uuid = node.unplug(0).unwrap();
                node.replug(uuid.as_str()).unwrap();
            },
            |node| {
                node.set_lost(0, true).unwrap();
                node.set_lost(0, false).unwrap();
            },
            Node::forget_time_slices,
        ];
        for way in ways {
            let mut node = node();
            node.set_time_slice(0, TimeSlice::Long).unwrap();
            assert_eq!(node.snapshot().gpus[0].time_slice, TimeSlice::Long);
            way(&mut node);
            assert_eq!(node.snapshot().gpus[0].time_slice, TimeSlice::Default);
        }
    }
}
