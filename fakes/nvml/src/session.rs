//! What lies between nvmlInit and nvmlShutdown: the node, and the event sets on it.
//!
//! A C library has no other place for this than one static; it is the fake's only global.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fake_gpu::{Gpu, GpuError, Node, NodeFile, NodeFileError, STATE_FILE_NAME, STATE_VARIABLE, Text};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED as DRIVER_NOT_LOADED,
    nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as GPU_IS_LOST, nvmlReturn_enum_NVML_ERROR_IN_USE as IN_USE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH as LIB_RM_VERSION_MISMATCH,
    nvmlReturn_enum_NVML_ERROR_MEMORY as MEMORY, nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    nvmlReturn_enum_NVML_ERROR_UNINITIALIZED as UNINITIALIZED, nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN,
};

use crate::call::Answer;
use crate::events::EventSet;
use crate::mig_handle::{mig_of, with_device};

/// Most event sets of one process.
const EVENT_SETS_MAX: usize = 1024;
/// How long a call that hangs sleeps at most before it looks again.
const HANG_LOOK: Duration = Duration::from_secs(1);

/// An initialised library.
pub(crate) struct Session {
    /// nvmlInit calls without their nvmlShutdown.
    references: u32,
    /// The node this process sees.
    pub(crate) file: Arc<NodeFile>,
    /// The driver's version when the library was loaded, which is the library's own.
    version: Text<32>,
    /// Event sets by the number in their handle.
    pub(crate) event_sets: BTreeMap<usize, EventSet>,
    next_event_set: usize,
}

static SESSION: Mutex<Option<Session>> = Mutex::new(None);

fn session() -> MutexGuard<'static, Option<Session>> {
    SESSION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// nvmlInit: the first call opens the node, later ones count.
pub(crate) fn open() -> Answer {
    if let Some(session) = session().as_mut() {
        session.references += 1;
        return Ok(());
    }
    let path = state_path().ok_or(DRIVER_NOT_LOADED)?;
    let file = NodeFile::open(&path).map_err(|error| match error {
        NodeFileError::OtherLayout { .. } => LIB_RM_VERSION_MISMATCH,
        _ => DRIVER_NOT_LOADED,
    })?;
    suffer(&file)?;
    let (loaded, version) = file.read(|node| (node.driver_loaded, node.driver_version)).map_err(refusal)?;
    if loaded == 0 {
        return Err(DRIVER_NOT_LOADED);
    }
    let mut session = session();
    let opened = session.get_or_insert_with(|| Session {
        references: 0,
        file: Arc::new(file),
        version,
        event_sets: BTreeMap::new(),
        next_event_set: 1,
    });
    opened.references += 1;
    Ok(())
}

/// nvmlShutdown: the last call closes the node and frees what was left.
pub(crate) fn close() -> Answer {
    let mut session = session();
    let references = session.as_ref().ok_or(UNINITIALIZED)?.references;
    match (references, session.as_mut()) {
        (2.., Some(open)) => open.references -= 1,
        _ => *session = None,
    }
    Ok(())
}

/// Works with the session; UNINITIALIZED without one.
pub(crate) fn with_session<T>(work: impl FnOnce(&mut Session) -> Answer<T>) -> Answer<T> {
    work(session().as_mut().ok_or(UNINITIALIZED)?)
}

/// The node's file, for calls that block and so may not keep the session.
pub(crate) fn file() -> Answer<Arc<NodeFile>> {
    with_session(|session| Ok(Arc::clone(&session.file)))
}

/// Looks at the node.
pub(crate) fn with_node<T>(look: impl FnOnce(&Node) -> Answer<T>) -> Answer<T> {
    willing_file()?.read(look).map_err(refusal)?
}

/// The node's file once the driver answers calls, or its error.
fn willing_file() -> Answer<Arc<NodeFile>> {
    let (file, version) = with_session(|session| Ok((Arc::clone(&session.file), session.version)))?;
    suffer(&file)?;
    let now = file.read(|node| node.driver_version).map_err(refusal)?;
    if now.as_str() == version.as_str() { Ok(file) } else { Err(LIB_RM_VERSION_MISMATCH) }
}

/// Blocks for as long as the state says so; that ends with the fault, or with the process.
fn hang(file: &NodeFile, hangs: impl Fn(&Node) -> u32) -> Answer {
    loop {
        let seen = file.generation();
        if file.read(&hangs).map_err(refusal)? == 0 {
            return Ok(());
        }
        file.wait_change(seen, HANG_LOOK);
    }
}

/// Blocks while calls about this GPU do not return.
pub(crate) fn hang_on(gpu: u32) -> Answer {
    hang(&*file()?, |node| node.gpu(gpu).map_or(0, |gpu| gpu.nvml_hangs))
}

/// What a driver that misbehaves does to a call: it hangs, takes its time, or fails.
fn suffer(file: &NodeFile) -> Answer {
    hang(file, |node| node.nvml_hangs)?;
    let (delay, error) = file.read(|node| (node.nvml_delay_ms, node.nvml_error)).map_err(refusal)?;
    std::thread::sleep(Duration::from_millis(u64::from(delay)));
    if error == 0 { Ok(()) } else { Err(error) }
}

/// Looks at the GPU of a handle; a lost one answers GPU_IS_LOST to everything. What is asked through this is not supported
/// for MIG devices.
pub(crate) fn with_gpu<T>(device: nvmlDevice_t, look: impl FnOnce(&Node, &Gpu) -> Answer<T>) -> Answer<T> {
    if mig_of(device).is_ok() {
        return with_device(device, |_, _, _| Err(NOT_SUPPORTED));
    }
    let gpu = gpu_of(device)?;
    with_gpu_at(gpu, look)
}

/// Looks at the GPU with this index, as [`with_gpu`] does.
pub(crate) fn with_gpu_at<T>(gpu: u32, look: impl FnOnce(&Node, &Gpu) -> Answer<T>) -> Answer<T> {
    hang_on(gpu)?;
    with_node(|node| {
        let gpu = node.gpu(gpu).map_err(code)?;
        match (gpu.lost, gpu.nvml_error) {
            (0, 0) => look(node, gpu),
            (0, error) => Err(error),
            _ => Err(GPU_IS_LOST),
        }
    })
}

/// Changes something on the node.
pub(crate) fn change_node<T>(edit: impl FnOnce(&mut Node) -> Result<T, GpuError>) -> Answer<T> {
    willing_file()?.change(edit).map_err(refusal)
}

fn refusal(error: NodeFileError) -> u32 {
    match error {
        NodeFileError::Refused(error) => code(error),
        _ => UNKNOWN,
    }
}

fn code(error: GpuError) -> u32 {
    match error {
        GpuError::NoSuchGpu { .. } => INVALID_ARGUMENT,
        GpuError::Lost { .. } => GPU_IS_LOST,
        GpuError::InUse { .. } => IN_USE,
        GpuError::MigIsOn { .. } | GpuError::MigIsOff { .. } | GpuError::Mig { .. } => NOT_SUPPORTED,
        _ => UNKNOWN,
    }
}

/// Device handles are the GPU's index with a mark, so that stray pointers are noticed.
const DEVICE_MARK: usize = 0x4750_5500;

/// The handle of a GPU.
pub(crate) fn handle_of(gpu: u32) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(DEVICE_MARK + gpu as usize)
}

/// The GPU of a handle.
pub(crate) fn gpu_of(device: nvmlDevice_t) -> Answer<u32> {
    let index = device.addr().checked_sub(DEVICE_MARK).ok_or(INVALID_ARGUMENT)?;
    u32::try_from(index).ok().filter(|gpu| (*gpu as usize) < fake_gpu::GPUS_MAX).ok_or(INVALID_ARGUMENT)
}

impl Session {
    /// Keeps a new event set and gives its number.
    pub(crate) fn add_event_set(&mut self, set: EventSet) -> Answer<usize> {
        if self.event_sets.len() >= EVENT_SETS_MAX {
            return Err(MEMORY);
        }
        let number = self.next_event_set;
        self.next_event_set += 1;
        self.event_sets.insert(number, set);
        Ok(number)
    }
}

/// Where the node's state is: the variable, else beside this library.
fn state_path() -> Option<PathBuf> {
    match std::env::var_os(STATE_VARIABLE) {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => Some(library_path()?.parent()?.join(STATE_FILE_NAME)),
    }
}

/// The path this library was loaded from.
fn library_path() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let inside = library_path as *const c_void;
    // SAFETY: all-zero is a valid Dl_info, and dladdr only fills it in.
    let (found, info) = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(inside, &raw mut info), info)
    };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gave a name that ends with a zero and lives as long as the library.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned())
}
