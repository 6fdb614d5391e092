//! A node's state in a file, so that the plugin, MPS and the simulator see one truth.
//!
//! Every change is made under the file's exclusive lock and every look under its shared lock (flock);
//! the kernel drops the lock of a process that dies. Real processes that have died are taken off the
//! state before anybody sees them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alive::is_alive;
use crate::error::GpuError;
use crate::process::ProcessSpec;
use crate::record::{ComputeMode, Event, Node};
use crate::shared::Mapping;
use crate::snapshot::NodeSnapshot;
use crate::spec::{NodeSpec, SpecError};

/// Environment variable that names the state file.
pub const STATE_VARIABLE: &str = "FAKE_GPU_STATE";
/// Name of the state file where no variable names it: beside the library or program that asks.
pub const STATE_FILE_NAME: &str = "fake-gpu.state";

/// Why a state file cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum NodeFileError {
    /// The node cannot be made.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A GPU refuses.
    #[error(transparent)]
    Refused(#[from] GpuError),
    /// The file system refuses.
    #[error("state file `{}` cannot be used: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Not a state file, or one of another build.
    #[error("file `{}` is not a fake GPU state of this build; make it again", path.display())]
    OtherLayout {
        /// The file.
        path: PathBuf,
    },
}

/// A node's state in a file; any number of processes may have it open.
pub struct NodeFile {
    path: PathBuf,
    file: File,
    mapping: Mapping,
    /// Threads of this process take turns: the file's lock is one per open file.
    turn: Mutex<()>,
}

impl std::fmt::Debug for NodeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Holds this process's turn and the file's lock.
struct Held<'a> {
    file: &'a File,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing the file also unlocks it, so a failure here cannot block others for long.
        let _ = self.file.unlock();
    }
}

impl NodeFile {
    /// Makes a new state file for a fresh node.
    ///
    /// # Errors
    /// The specification is wrong, the file exists already, or it cannot be written.
    pub fn create(path: &Path, spec: &NodeSpec) -> Result<Self, NodeFileError> {
        let io_error = |why| NodeFileError::Io { path: path.to_owned(), why };
        let node = Node::new(spec)?;
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(&draft);
        let linked = made.and_then(|file| {
            Mapping::create(&file, &node)?;
            std::fs::hard_link(&draft, path)
        });
        // The draft is of no use to anybody; if it cannot be removed, the link's error says why.
        let _ = std::fs::remove_file(&draft);
        linked.map_err(io_error)?;
        Self::open(path)
    }

    /// Opens the state file of a node.
    ///
    /// # Errors
    /// It is missing or not accessible, or not a state file of this build.
    pub fn open(path: &Path) -> Result<Self, NodeFileError> {
        let io_error = |why| NodeFileError::Io { path: path.to_owned(), why };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error)?;
        let mapping = Mapping::open(&file)
            .map_err(io_error)?
            .ok_or_else(|| NodeFileError::OtherLayout { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), file, mapping, turn: Mutex::new(()) })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn hold(&self, lock: impl Fn(&File) -> io::Result<()>) -> Result<Held<'_>, NodeFileError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        lock(&self.file).map_err(|why| NodeFileError::Io { path: self.path.clone(), why })?;
        Ok(Held { file: &self.file, _turn: turn })
    }

    /// Looks at the state; nothing changes meanwhile. Must not call other methods of this file.
    ///
    /// # Errors
    /// The file cannot be locked.
    pub fn read<T>(&self, look: impl FnOnce(&Node) -> T) -> Result<T, NodeFileError> {
        {
            let _held = self.hold(File::lock_shared)?;
            if !self.mapping.read(|node| node.has_dead(is_alive)) {
                return Ok(self.mapping.read(look));
            }
        }
        let _held = self.hold(File::lock)?;
        let nothing_fails = self.mapping.change(|node| {
            node.remove_dead(is_alive);
            Ok::<(), GpuError>(())
        });
        nothing_fails?;
        Ok(self.mapping.read(look))
    }

    /// Changes the state in one step that others see whole or not at all, and wakes all waiters.
    /// If `edit` fails, nothing has changed. Must not call other methods of this file.
    ///
    /// # Errors
    /// What `edit` refuses, or the file cannot be locked.
    pub fn change<T>(&self, edit: impl FnOnce(&mut Node) -> Result<T, GpuError>) -> Result<T, NodeFileError> {
        let _held = self.hold(File::lock)?;
        let done = self.mapping.change(|node| {
            node.remove_dead(is_alive);
            edit(node)
        })?;
        Ok(done)
    }

    /// Counts the changes; read it before a look, then wait for more with [`Self::wait_change`].
    pub fn generation(&self) -> u32 {
        self.mapping.generation()
    }

    /// Sleeps until any process changes the state after `seen`, at most `timeout`; may return early.
    pub fn wait_change(&self, seen: u32, timeout: Duration) {
        self.mapping.wait(seen, timeout);
    }

    /// Everything, at one moment.
    ///
    /// # Errors
    /// The file cannot be locked.
    pub fn snapshot(&self) -> Result<NodeSnapshot, NodeFileError> {
        self.read(Node::snapshot)
    }

    /// [`Node::set_driver_loaded`].
    ///
    /// # Errors
    /// The file cannot be locked.
    pub fn set_driver_loaded(&self, loaded: bool) -> Result<(), NodeFileError> {
        self.change(|node| {
            node.set_driver_loaded(loaded);
            Ok(())
        })
    }

    /// [`Node::set_lost`].
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_lost(&self, gpu: u32, lost: bool) -> Result<(), NodeFileError> {
        self.change(|node| node.set_lost(gpu, lost))
    }

    /// [`Node::raise_xid`].
    ///
    /// # Errors
    /// No such GPU.
    pub fn raise_xid(&self, gpu: u32, code: u64) -> Result<Event, NodeFileError> {
        self.change(|node| node.raise_xid(gpu, code))
    }

    /// [`Node::set_compute_mode`].
    ///
    /// # Errors
    /// No such GPU, or it is lost.
    pub fn set_compute_mode(&self, gpu: u32, mode: ComputeMode) -> Result<(), NodeFileError> {
        self.change(|node| node.set_compute_mode(gpu, mode))
    }

    /// [`Node::set_mps_fault`].
    ///
    /// # Errors
    /// No such GPU.
    pub fn set_mps_fault(&self, gpu: u32, fault: bool) -> Result<(), NodeFileError> {
        self.change(|node| node.set_mps_fault(gpu, fault))
    }

    /// [`Node::start_process`].
    ///
    /// # Errors
    /// As there.
    pub fn start_process(&self, spec: &ProcessSpec) -> Result<(), NodeFileError> {
        self.change(|node| node.start_process(spec))
    }

    /// [`Node::stop_process`].
    ///
    /// # Errors
    /// The file cannot be locked.
    pub fn stop_process(&self, pid: u32) -> Result<bool, NodeFileError> {
        self.change(|node| Ok(node.stop_process(pid)))
    }

    /// [`Node::allocate`].
    ///
    /// # Errors
    /// As there.
    pub fn allocate(&self, pid: u32, gpu: u32, bytes: u64) -> Result<(), NodeFileError> {
        self.change(|node| node.allocate(pid, gpu, bytes))
    }

    /// [`Node::free`].
    ///
    /// # Errors
    /// As there.
    pub fn free(&self, pid: u32, gpu: u32, bytes: u64) -> Result<(), NodeFileError> {
        self.change(|node| node.free(pid, gpu, bytes))
    }
}
