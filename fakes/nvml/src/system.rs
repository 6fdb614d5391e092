//! Init, shutdown, versions and error texts.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_t};

use crate::call::{export, put, put_text};
use crate::session;

export! {
    /// Initialises the library; calls are counted.
    fn nvmlInit_v2() { session::open() }
}

export! {
    /// Initialises the library. The flags (no GPUs is fine; do not attach) change nothing here.
    fn nvmlInitWithFlags(_flags: c_uint) { session::open() }
}

export! {
    /// Undoes one initialisation.
    fn nvmlShutdown() { session::close() }
}

/// Text of an error code.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        0 => c"success",
        1 => c"library not initialised",
        2 => c"invalid argument",
        3 => c"not supported",
        4 => c"no permission",
        6 => c"not found",
        7 => c"insufficient size",
        9 => c"driver not loaded",
        10 => c"timeout",
        12 => c"library not found",
        13 => c"function not found",
        15 => c"GPU is lost",
        17 => c"operating system refuses",
        18 => c"driver and library versions differ",
        19 => c"in use",
        20 => c"insufficient memory",
        25 => c"structure version not supported",
        999 => c"unknown error",
        _ => c"unknown error code",
    };
    text.as_ptr()
}

export! {
    /// Version of the driver.
    fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) {
        session::with_node(|node| put_text(version, length, node.driver_version.as_str()))
    }
}

export! {
    /// Version of this library: the CUDA major version, then the driver's.
    fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) {
        session::with_node(|node| {
            put_text(version, length, &format!("{}.{}", node.cuda_version / 1000, node.driver_version.as_str()))
        })
    }
}

export! {
    /// CUDA version of the driver: 1000 × major + 10 × minor.
    fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) { put_cuda_version(version) }
}

export! {
    /// CUDA version of the driver: 1000 × major + 10 × minor.
    fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) { put_cuda_version(version) }
}

fn put_cuda_version(version: *mut c_int) -> crate::call::Answer {
    session::with_node(|node| put(version, c_int::try_from(node.cuda_version).unwrap_or(0)))
}

export! {
    /// Name of a process that runs on some GPU.
    fn nvmlSystemGetProcessName(pid: c_uint, name: *mut c_char, length: c_uint) {
        session::with_node(|node| {
            let process = node.processes().iter().find(|process| process.pid == pid).ok_or(NOT_FOUND)?;
            put_text(name, length, process.name.as_str())
        })
    }
}
