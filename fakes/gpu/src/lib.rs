//! A fake GPU node: boards, memory, processes, MPS, one truth shared by every process.
//!
//! The model is one plain structure, [`Node`]. It lives in a `Box` when everything
//! happens inside one process, or in a file that every process of a node maps,
//! [`NodeFile`], when real programs are tried. Both offer the same operations:
//!
//! ```
//! use fake_gpu::{Node, NodeSpec, ProcessKind, ProcessSpec};
//!
//! let mut node = Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", 4))?;
//! node.start_process(&ProcessSpec::new(4711, 0, ProcessKind::Plain, "train"))?;
//! node.allocate(4711, 0, 2 << 30)?;
//! node.raise_xid(0, 79)?;
//! assert_eq!(node.snapshot().gpus[0].memory.used_bytes, 2 << 30);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a file: `NodeFile::create(path, &spec)`, and in any process
//! `NodeFile::open(path)`; then `file.snapshot()`, `file.raise_xid(0, 79)`, and for
//! several steps as one `file.change(|node| …)`. Programs find the file through
//! [`STATE_VARIABLE`], or as [`STATE_FILE_NAME`] beside the library or program.
//!
//! | module | what it holds |
//! |---|---|
//! | `profile`, `spec` | boards as data; what a node is made of |
//! | `record`, `board`, `text` | the fixed-size records of the state |
//! | `node`, `process`, `memory`, `event` | the rules: lost GPUs, compute mode, memory, MPS limits, events |
//! | `hotplug`, `trouble` | GPUs that are pulled out, driver upgrades, NVML calls that fail or hang |
//! | `mig` | GPUs cut into MIG devices |
//! | `snapshot` | everything at one moment, for expectations and reports |
//! | `file`, `shared` | the same state in a file mapped by many processes |
//! | `smi` | what nvidia-smi does, as far as it is stood in for |
//! | `mps` | the MPS control daemon's command language, daemon and client |

mod alive;
mod board;
mod error;
mod event;
mod file;
mod hotplug;
mod memory;
mod mig;
// Its own module documentation tells what it is.
pub mod mps;
mod node;
mod nvlink;
mod process;
mod profile;
mod record;
mod shared;
pub mod smi;
mod snapshot;
mod spec;
mod text;
mod time_slice;
mod trouble;

pub use alive::started_ticks;
pub use board::BoardRecord;
pub use error::GpuError;
pub use event::{EventKind, NO_INSTANCE};
pub use file::{NodeFile, NodeFileError, STATE_FILE_NAME, STATE_VARIABLE};
pub use memory::Memory;
pub use mig::{
    MIG_DEVICES_MAX, Mig, MigDevice, MigEngines, MigError, MigInstance, MigProfile, check_layout, mig_minors,
    mig_minors_file,
};
pub use nvlink::{LinkEnd, Wiring};
pub use process::{MPS_SERVER_MEMORY_BYTES, ProcessKind, ProcessSpec, is_uninvited};
pub use profile::{Architecture, BoardProfile, ProfileError, profile_names};
pub use record::{
    ComputeMode, DAEMONS_MAX, EVENTS_MAX, Event, GPUS_MAX, Gpu, MpsDaemon, Node, PROCESSES_MAX, Process,
};
pub use snapshot::{GpuSnapshot, MigSnapshot, MpsDaemonSnapshot, NodeSnapshot, ProcessSnapshot};
pub use spec::{GpuSpec, NodeSpec, SpecError};
pub use text::Text;
pub use time_slice::TimeSlice;
pub use trouble::{ControlTrouble, VERSION_MISMATCH};

#[cfg(test)]
mod tests;
