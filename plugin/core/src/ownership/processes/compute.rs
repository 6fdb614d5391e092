//! Processes that compute on GPUs: NVML's own answer, as far as a decision needs it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Unit;

/// Longest name of a process in characters; whoever starts it chooses it.
const NAME_CHARS_MAX: usize = 64;
/// What a node's own MPS processes are called.
const MPS_NAMES: [&str; 2] = ["nvidia-cuda-mps-server", "nvidia-cuda-mps-control"];

/// A process with a compute context on a GPU, as NVML tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ComputeProcess {
    /// Its id, as the plugin's process sees it.
    pub pid: u32,
    /// What it is called, where that is known: a program's name or path, and perhaps its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The GPU's memory that it uses, in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// The GPU instance that it runs on, where there is one and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_instance: Option<u32>,
    /// The compute instance that it runs on, where there is one and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_instance: Option<u32>,
}

/// NVML's answer about one GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum ProcessList {
    /// These, MPS clients among them.
    Read {
        /// By process id.
        processes: Vec<ComputeProcess>,
    },
    /// This GPU, driver or library has no such list.
    Unsupported,
    /// It does not tell, or has not answered in its time.
    Failed {
        /// The driver's message.
        why: String,
    },
}

impl ComputeProcess {
    /// The name of its program: without directories and arguments, and without what could spoil a message.
    pub fn program(&self) -> Option<String> {
        let first = self.name.as_deref()?.split_whitespace().next()?;
        let last = first.rsplit('/').next().unwrap_or(first);
        let clean = last.chars().map(|c| if c.is_control() { '?' } else { c });
        let program: String = clean.take(NAME_CHARS_MAX).collect();
        (!program.is_empty()).then_some(program)
    }

    /// Whether it is a control daemon or a server of MPS, by its name.
    pub(crate) fn is_mps_of_node(&self) -> bool {
        self.program().is_some_and(|program| MPS_NAMES.contains(&program.as_str()))
    }

    /// Whether it may be on this GPU or MIG device; on which part of its GPU it is may not be known.
    pub(crate) fn is_on(&self, unit: Unit<'_>) -> bool {
        let same = |told: Option<u32>, own: u32| told.is_none_or(|id| id == own);
        unit.mig.is_none_or(|mig| {
            same(self.gpu_instance, mig.gpu_instance) && same(self.compute_instance, mig.compute_instance)
        })
    }
}

impl fmt::Display for ComputeProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        self.program().map_or(Ok(()), |program| write!(f, " ({program})"))
    }
}
