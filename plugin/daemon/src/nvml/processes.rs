//! Which compute processes are on a GPU, and what they are called.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use plugin_core::ownership::processes::{ComputeProcess, ProcessList};

/// Most processes of one GPU that are told; 60 clients is what MPS allows.
const PROCESSES_MAX: usize = 256;
/// Longest name that NVML is asked for, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Programs with a context of their own, MPS servers, and MPS clients, which NVML lists apart. In MIG mode these are the
/// processes on all MIG devices of the GPU.
///
/// # Errors
/// NVML's, other than that there is no such list.
pub(crate) fn read(
    device: Result<Device<'_>, NvmlError>,
    proc_root: &Path,
) -> Result<ProcessList, NvmlError> {
    let device = match device {
        Ok(device) => device,
        Err(NvmlError::GpuLost) => return Ok(ProcessList::Read { processes: Vec::new() }),
        Err(error) => return Err(error),
    };
    let owners = match listed(device.running_compute_processes()) {
        Ok(Some(owners)) => owners,
        Ok(None) => return Ok(ProcessList::Unsupported),
        Err(error) => return Err(error),
    };
    let clients = listed(device.mps_running_compute_processes())?.unwrap_or_default();
    let by_pid: BTreeMap<u32, ProcessInfo> =
        owners.into_iter().chain(clients).map(|process| (process.pid, process)).collect();
    let told = by_pid.into_values().take(PROCESSES_MAX);
    Ok(ProcessList::Read { processes: told.map(|process| named(&device, process, proc_root)).collect() })
}

/// A GPU that has fallen off its bus runs nothing any more; a board, driver or library without such a list has none.
fn listed(answer: Result<Vec<ProcessInfo>, NvmlError>) -> Result<Option<Vec<ProcessInfo>>, NvmlError> {
    match answer {
        Ok(processes) => Ok(Some(processes)),
        Err(NvmlError::GpuLost) => Ok(Some(Vec::new())),
        Err(NvmlError::NotSupported | NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn named(device: &Device<'_>, process: ProcessInfo, proc_root: &Path) -> ComputeProcess {
    let told = device.nvml().sys_process_name(process.pid, NAME_BYTES_MAX).ok();
    ComputeProcess {
        pid: process.pid,
        name: told.filter(|name| !name.is_empty()).or_else(|| command(proc_root, process.pid)),
        used_bytes: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
        gpu_instance: process.gpu_instance_id,
        compute_instance: process.compute_instance_id,
    }
}

/// The program as the kernel tells it, where NVML does not.
fn command(proc_root: &Path, pid: u32) -> Option<String> {
    let line = fs::read(proc_root.join(pid.to_string()).join("cmdline")).ok()?;
    let program = line.split(|byte| *byte == 0).next()?;
    let program = String::from_utf8_lossy(&program[..program.len().min(NAME_BYTES_MAX)]).into_owned();
    (!program.is_empty()).then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_a_process_by_its_first_argument() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(command(root.path(), 7), None);
        let directory = root.path().join("7");
        fs::create_dir(&directory).unwrap();
        for (line, expected) in [(&b"/bin/train\0--all\0"[..], Some("/bin/train")), (b"", None)] {
            fs::write(directory.join("cmdline"), line).unwrap();
            assert_eq!(command(root.path(), 7).as_deref(), expected);
        }
    }

    #[test]
    fn what_nvml_cannot_tell_is_no_failure_and_what_it_does_not_tell_is_one() {
        let failed = |error| listed(Err(error)).map(|processes| processes.map(|p| p.len()));
        let missing = || NvmlError::FailedToLoadSymbol("nvmlDeviceGetComputeRunningProcesses_v3".into());
        for error in [NvmlError::NotSupported, NvmlError::FunctionNotFound, missing()] {
            assert!(matches!(failed(error), Ok(None)));
        }
        assert!(matches!(failed(NvmlError::GpuLost), Ok(Some(0))));
        for error in [NvmlError::Unknown, NvmlError::NoPermission, NvmlError::InsufficientSize(Some(3))] {
            assert!(failed(error).is_err());
        }
    }
}
