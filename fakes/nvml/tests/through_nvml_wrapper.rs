//! The built library, loaded by path as a production program loads NVML.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test, in its helpers too")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_gpu::{NodeFile, NodeSpec, ProcessKind, ProcessSpec};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{ComputeMode, EccCounter, MemoryError, TopologyLevel};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::{nvmlEventData_t, nvmlMemory_v2_t};

/// Longest wait for something that takes milliseconds.
const BOUND: Duration = Duration::from_secs(20);
/// Names the node's directory for the part of this program that runs as another process.
const CHILD_NODE: &str = "FAKE_NVML_TEST_NODE";

/// A node of its own: the library lies beside its state file, so tests share nothing.
struct Bench {
    _directory: tempfile::TempDir,
    library: PathBuf,
    node: NodeFile,
}

/// Cargo puts the library where it puts this program.
fn built_library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().join("libfake_nvml.so");
    assert!(path.exists(), "no `{}`; build it with: cargo build -p fake-nvml", path.display());
    path
}

fn lay_out(directory: &Path) -> PathBuf {
    let library = directory.join("libnvidia-ml.so.1");
    std::fs::copy(built_library(), &library).unwrap();
    library
}

impl Bench {
    fn new(profile: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = lay_out(directory.path());
        let spec = NodeSpec::uniform("gpu-1", profile, 4);
        let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
        Self { _directory: directory, library, node }
    }

    fn nvml(&self) -> Nvml {
        load(&self.library).unwrap()
    }

    fn uuid(&self, gpu: usize) -> String {
        self.node.snapshot().unwrap().gpus[gpu].uuid.clone()
    }
}

fn load(library: &Path) -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(OsStr::new(library)).init()
}

#[test]
fn a_t4_is_found_and_described_every_way() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    assert_eq!(nvml.device_count().unwrap(), 4);
    assert_eq!(nvml.sys_driver_version().unwrap(), "595.91.07");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13020);
    assert_eq!(nvml.sys_nvml_version().unwrap(), "13.595.91.07");
    let device = nvml.device_by_index(2).unwrap();
    assert_eq!(device.name().unwrap(), "Tesla T4");
    assert_eq!(device.uuid().unwrap(), bench.uuid(2));
    assert_eq!((device.index().unwrap(), device.minor_number().unwrap()), (2, 2));
    let capability = device.cuda_compute_capability().unwrap();
    assert_eq!((capability.major, capability.minor), (7, 5));
    assert_eq!(device.architecture().unwrap().to_string(), "Turing");
    assert!(device.is_ecc_enabled().unwrap().currently_enabled);
    let pci = device.pci_info().unwrap();
    assert_eq!((pci.bus_id.as_str(), pci.pci_device_id), ("00000000:24:00.0", 0x1EB8_10DE));
    assert_eq!(device.temperature(nvml_wrapper::enum_wrappers::device::TemperatureSensor::Gpu).unwrap(), 33);
    assert_eq!((device.power_usage().unwrap(), device.enforced_power_limit().unwrap()), (33_510, 70_000));
    assert_eq!(device.utilization_rates().unwrap().gpu, 0);
    for other in [
        nvml.device_by_uuid(bench.uuid(2)).unwrap(),
        nvml.device_by_pci_bus_id("00000000:24:00.0").unwrap(),
        nvml.device_by_pci_bus_id("24:00").unwrap(),
        nvml.device_by_pci_bus_id("0000:24:00.0").unwrap(),
    ] {
        assert_eq!(other.index().unwrap(), 2);
    }
    assert!(matches!(nvml.device_by_uuid("GPU-none").err(), Some(NvmlError::NotFound)));
    assert!(matches!(nvml.device_by_index(4).err(), Some(NvmlError::InvalidArg)));
}

#[test]
fn what_a_t4_cannot_do_is_not_supported() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert!(matches!(device.mig_mode().err(), Some(NvmlError::NotSupported)));
    assert!(matches!(device.numa_node_id().err(), Some(NvmlError::NotSupported)));
    assert!(matches!(device.link_wrapper_for(0).is_active().err(), Some(NvmlError::NotSupported)));
    assert!(!device.mig_is_mig_device_handle().unwrap());
    let a100 = Bench::new("a100-sxm4-40gb");
    let nvml = a100.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let mig = device.mig_mode().unwrap();
    assert_eq!((mig.current, mig.pending), (0, 0));
    assert!(matches!(device.mig_device_by_index(0).err(), Some(NvmlError::NotFound)));
}

#[test]
fn a_function_the_library_lacks_is_an_error_not_a_crash() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert!(matches!(device.fan_speed(0).err(), Some(NvmlError::FailedToLoadSymbol(_))));
}

#[test]
fn memory_is_what_the_processes_have() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    bench.node.start_process(&ProcessSpec::new(42, 0, ProcessKind::Plain, "train")).unwrap();
    bench.node.allocate(42, 0, 1 << 30).unwrap();
    let memory = device.memory_info().unwrap();
    assert_eq!((memory.total >> 20, memory.used >> 20), (15360, 1024));
    assert_eq!(memory.total, memory.reserved + memory.used + memory.free);
    let processes = device.running_compute_processes().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!((processes[0].pid, &processes[0].used_gpu_memory), (42, &UsedGpuMemory::Used(1 << 30)));
    assert_eq!(nvml.sys_process_name(42, 64).unwrap(), "train");
    assert_eq!(device.running_compute_processes_count().unwrap(), 1);
    assert_eq!(device.running_graphics_processes().unwrap().len(), 0);
}

#[test]
fn mps_clients_and_their_server_are_listed_apart() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let server = ProcessSpec::new(50, 0, ProcessKind::MpsServer, "nvidia-cuda-mps-server");
    bench.node.start_process(&server).unwrap();
    let client = ProcessSpec::new(51, 0, ProcessKind::MpsClient, "train");
    bench.node.start_process(&ProcessSpec { server_pid: 50, ..client }).unwrap();
    let pids = |list: Vec<nvml_wrapper::struct_wrappers::device::ProcessInfo>| {
        list.iter().map(|process| process.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(device.running_compute_processes().unwrap()), [50]);
    assert_eq!(pids(device.mps_running_compute_processes().unwrap()), [51]);
}

#[test]
fn compute_mode_set_by_one_is_seen_by_all() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let mut device = nvml.device_by_index(1).unwrap();
    assert_eq!(device.compute_mode().unwrap(), ComputeMode::Default);
    device.set_compute_mode(ComputeMode::ExclusiveProcess).unwrap();
    assert_eq!(device.compute_mode().unwrap(), ComputeMode::ExclusiveProcess);
    let gpus = bench.node.snapshot().unwrap().gpus;
    assert_eq!(gpus[1].compute_mode, fake_gpu::ComputeMode::ExclusiveProcess);
    assert_eq!(gpus[0].compute_mode, fake_gpu::ComputeMode::Default);
}

#[test]
fn a_struct_of_another_version_is_refused() {
    const ARGUMENT_VERSION_MISMATCH: u32 = 25;
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let ask = nvml.lib().nvmlDeviceGetMemoryInfo_v2.as_ref().unwrap();
    let mut memory = nvmlMemory_v2_t { version: 3 << 24, total: 0, reserved: 0, free: 0, used: 0 };
    // SAFETY: a live handle and a place of the right type.
    #[allow(unsafe_code)]
    let (refused, null) =
        unsafe { (ask(device.handle(), &raw mut memory), ask(device.handle(), std::ptr::null_mut())) };
    assert_eq!((refused, null), (ARGUMENT_VERSION_MISMATCH, 2));
}

#[test]
fn a_lost_gpu_says_so_to_every_call_and_comes_back() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    bench.node.set_lost(0, true).unwrap();
    assert!(matches!(device.memory_info().err(), Some(NvmlError::GpuLost)));
    assert!(matches!(device.uuid().err(), Some(NvmlError::GpuLost)));
    assert!(matches!(nvml.device_by_index(0).err(), Some(NvmlError::GpuLost)));
    assert_eq!(nvml.device_count().unwrap(), 4);
    assert_eq!(nvml.device_by_index(1).unwrap().uuid().unwrap(), bench.uuid(1));
    bench.node.set_lost(0, false).unwrap();
    assert_eq!(device.uuid().unwrap(), bench.uuid(0));
}

#[test]
fn topology_and_affinity_follow_numa() {
    let directory = tempfile::tempdir().unwrap();
    let library = lay_out(directory.path());
    let mut spec = NodeSpec::uniform("gpu-1", "tesla-t4", 3);
    for (gpu, numa) in spec.gpus.iter_mut().zip([0, 0, 1]) {
        gpu.numa_node = Some(numa);
    }
    NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
    let nvml = load(&library).unwrap();
    let gpu = |index| nvml.device_by_index(index).unwrap();
    let between = |one, other| gpu(one).topology_common_ancestor(gpu(other)).unwrap();
    assert_eq!(between(0, 0), TopologyLevel::Internal);
    assert_eq!(between(0, 1), TopologyLevel::Node);
    assert_eq!(between(0, 2), TopologyLevel::System);
    assert_eq!(gpu(2).memory_affinity(1, 0).unwrap(), [0b10]);
    assert_eq!(gpu(2).cpu_affinity(1).unwrap(), [0xffff_0000]);
}

#[test]
fn links_are_told_with_what_they_end_at() {
    let told = |board, wiring| {
        let directory = tempfile::tempdir().unwrap();
        let library = lay_out(directory.path());
        let spec = NodeSpec { wiring, ..NodeSpec::uniform("gpu-1", board, 2) };
        let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
        let nvml = load(&library).unwrap();
        let link = |number| {
            let device = nvml.device_by_index(0).unwrap();
            let link = device.link_wrapper_for(number);
            (link.is_active(), link.remote_pci_info().map(|pci| pci.bus_id))
        };
        let peer = nvml.device_by_index(1).unwrap().pci_info().unwrap().bus_id;
        let (first, behind_last) = (link(0), link(12));
        node.change(|node| node.set_lost(1, true)).unwrap();
        (first, behind_last, link(11), peer)
    };
    let ((up, at), (behind, _), (up_without_peer, _), peer) =
        told("a100-sxm4-40gb", Some(fake_gpu::Wiring::Pairs));
    assert_eq!((up.unwrap(), at.unwrap()), (true, peer));
    assert!(matches!(behind, Err(NvmlError::InvalidArg)));
    assert!(!up_without_peer.unwrap());
    let ((up, at), _, (up_without_peer, _), peer) = told("a100-sxm4-40gb", None);
    assert!(up.unwrap() && at.unwrap() != peer && up_without_peer.unwrap(), "behind an NVSwitch");
    assert!(matches!(told("tesla-t4", None).0.0, Err(NvmlError::NotSupported)));
}

#[test]
fn ecc_errors_are_counted() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(0).unwrap();
    bench.node.change(|node| node.raise_event(0, fake_gpu::EventKind::DoubleBitEcc, 0)).unwrap();
    let errors = |kind| device.total_ecc_errors(kind, EccCounter::Volatile).unwrap();
    assert_eq!((errors(MemoryError::Corrected), errors(MemoryError::Uncorrected)), (0, 1));
    let fields = [nvml_wrapper::structs::device::FieldId(4), nvml_wrapper::structs::device::FieldId(91)];
    let samples = device.field_values_for(&fields).unwrap();
    assert!(samples[0].as_ref().unwrap().value.is_ok());
    assert!(samples[1].as_ref().unwrap().value.is_err());
}

#[test]
fn without_a_driver_nothing_initialises_until_it_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let library = lay_out(directory.path());
    assert!(matches!(load(&library).err(), Some(NvmlError::DriverNotLoaded)));
    let spec = NodeSpec::uniform("gpu-1", "tesla-t4", 1);
    let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
    node.set_driver_loaded(false).unwrap();
    assert!(matches!(load(&library).err(), Some(NvmlError::DriverNotLoaded)));
    node.set_driver_loaded(true).unwrap();
    assert_eq!(load(&library).unwrap().device_count().unwrap(), 1);
}

#[test]
fn a_file_that_is_no_state_is_a_version_mismatch() {
    let directory = tempfile::tempdir().unwrap();
    let library = lay_out(directory.path());
    std::fs::write(directory.path().join("fake-gpu.state"), "other").unwrap();
    assert!(matches!(load(&library).err(), Some(NvmlError::LibRmVersionMismatch)));
}

#[test]
fn init_is_counted_and_calls_outside_it_are_refused() {
    const UNINITIALIZED: u32 = 1;
    let bench = Bench::new("tesla-t4");
    let one = bench.nvml();
    let two = Nvml::builder().lib_path(OsStr::new(&bench.library)).flags(InitFlags::NO_GPUS).init().unwrap();
    two.shutdown().unwrap();
    assert_eq!(one.device_count().unwrap(), 4);
    // SAFETY: the function takes one place for a number; the library is loaded until the end of the test.
    #[allow(unsafe_code)]
    let (library, refused) = unsafe {
        let library = nvml_wrapper_sys::bindings::NvmlLib::new(&bench.library).unwrap();
        one.shutdown().unwrap();
        let mut count = 0;
        let refused = library.nvmlDeviceGetCount_v2.as_ref().unwrap()(&raw mut count);
        (library, refused)
    };
    assert_eq!(refused, UNINITIALIZED);
    drop(library);
}

#[test]
fn two_nodes_live_in_one_process_through_two_copies() {
    let (one, other) = (Bench::new("tesla-t4"), Bench::new("l40s"));
    let (first, second) = (one.nvml(), other.nvml());
    assert_eq!(first.device_by_index(0).unwrap().name().unwrap(), "Tesla T4");
    assert_eq!(second.device_by_index(0).unwrap().name().unwrap(), "NVIDIA L40S");
}

#[test]
fn a_waiter_gets_every_xid_of_its_gpus_in_order_and_no_other() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    bench.node.raise_xid(0, 1).unwrap();
    let set = nvml.create_event_set().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    assert!(device.supported_event_types().unwrap().contains(EventTypes::CRITICAL_XID_ERROR));
    let set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|e| e.error).unwrap();
    assert!(matches!(set.wait(0).err(), Some(NvmlError::Timeout)));
    bench.node.raise_xid(1, 2).unwrap();
    bench.node.change(|node| node.raise_event(0, fake_gpu::EventKind::SingleBitEcc, 0)).unwrap();
    bench.node.raise_xid(0, 31).unwrap();
    bench.node.raise_xid(0, 79).unwrap();
    let ask = nvml.lib().nvmlEventSetWait_v2.as_ref().unwrap();
    let mut codes = Vec::new();
    for _ in 0..2 {
        // SAFETY: zero is a valid value of this plain struct, and the set is live.
        #[allow(unsafe_code)]
        let data = unsafe {
            let mut data: nvmlEventData_t = std::mem::zeroed();
            assert_eq!(ask(set.handle(), &raw mut data, 1000), 0);
            data
        };
        assert_eq!((data.gpuInstanceId, data.computeInstanceId), (u32::MAX, u32::MAX));
        codes.push(data.eventData);
    }
    assert_eq!(codes, [31, 79]);
    assert!(matches!(set.wait(0).err(), Some(NvmlError::Timeout)));
    bench.node.raise_xid(0, 79).unwrap();
    bench.node.set_lost(0, true).unwrap();
    set.wait(0).unwrap();
    assert!(matches!(set.wait(0).err(), Some(NvmlError::GpuLost)));
}

#[test]
fn a_blocked_wait_wakes_when_another_handle_raises_an_xid() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let set = nvml.create_event_set().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    let set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|e| e.error).unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            set.wait(u32::try_from(BOUND.as_millis()).unwrap()).map(drop)?;
            set.release_events()
        });
        // Other calls go on while one waits.
        assert_eq!(nvml.device_count().unwrap(), 4);
        NodeFile::open(bench.node.path()).unwrap().raise_xid(0, 79).unwrap();
        waiter.join().unwrap().unwrap();
    });
    assert!(started.elapsed() < BOUND / 2);
}

#[test]
fn two_processes_see_the_same_truth() {
    if let Some(directory) = std::env::var_os(CHILD_NODE).map(PathBuf::from) {
        let nvml = load(&directory.join("libnvidia-ml.so.1")).unwrap();
        let mut device = nvml.device_by_index(3).unwrap();
        assert_eq!(device.compute_mode().unwrap(), ComputeMode::ExclusiveProcess);
        device.set_compute_mode(ComputeMode::Prohibited).unwrap();
        return;
    }
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let mut device = nvml.device_by_index(3).unwrap();
    device.set_compute_mode(ComputeMode::ExclusiveProcess).unwrap();
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["two_processes_see_the_same_truth", "--exact"])
        .env(CHILD_NODE, bench.library.parent().unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(other.unwrap().success());
    assert_eq!(device.compute_mode().unwrap(), ComputeMode::Prohibited);
}

#[test]
fn the_environment_names_the_state_before_the_library_s_place() {
    if std::env::var_os(CHILD_NODE).is_some() {
        assert_eq!(load(&built_library()).unwrap().device_count().unwrap(), 4);
        return;
    }
    let bench = Bench::new("tesla-t4");
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["the_environment_names_the_state_before_the_library_s_place", "--exact"])
        .env(CHILD_NODE, "any")
        .env("FAKE_GPU_STATE", bench.node.path())
        .stdout(Stdio::null())
        .status();
    assert!(other.unwrap().success());
}

#[test]
fn calls_fail_with_the_code_that_was_set_for_a_gpu_or_for_all() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let device = nvml.device_by_index(1).unwrap();
    bench.node.change(|node| node.set_nvml_error(Some(1), 999)).unwrap();
    assert!(matches!(device.name(), Err(NvmlError::Unknown)));
    assert!(nvml.device_by_index(0).unwrap().name().is_ok());
    bench.node.change(|node| node.set_nvml_error(None, 10)).unwrap();
    assert!(matches!(nvml.device_count(), Err(NvmlError::Timeout)));
    bench.node.change(|node| node.set_nvml_error(None, 0)).unwrap();
    bench.node.change(|node| node.set_nvml_error(Some(1), 0)).unwrap();
    assert!(device.name().is_ok());
}

#[test]
fn a_call_that_hangs_returns_when_the_fault_is_over_and_a_slow_one_after_its_time() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let set = |hangs| {
        let change = bench.node.change(|node| {
            node.nvml_hangs = u32::from(hangs);
            Ok(())
        });
        change.unwrap();
    };
    set(true);
    std::thread::scope(|scope| {
        let (told, answer) = std::sync::mpsc::sync_channel(1);
        let nvml = &nvml;
        scope.spawn(move || told.send(nvml.device_count()).unwrap());
        assert!(answer.recv_timeout(Duration::from_millis(300)).is_err(), "the call must not return");
        set(false);
        assert_eq!(answer.recv_timeout(BOUND).unwrap().unwrap(), 4);
    });
    let slow = bench.node.change(|node| {
        node.nvml_delay_ms = 50;
        Ok(())
    });
    slow.unwrap();
    let begun = Instant::now();
    nvml.device_count().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_gpu_whose_calls_hang_holds_up_no_call_about_another() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    bench.node.change(|node| node.set_nvml_hangs(1, true)).unwrap();
    std::thread::scope(|scope| {
        let (told, answer) = std::sync::mpsc::sync_channel(1);
        let nvml = &nvml;
        scope.spawn(move || told.send(nvml.device_by_index(1).and_then(|device| device.uuid())).unwrap());
        assert!(answer.recv_timeout(Duration::from_millis(300)).is_err(), "the call must not return");
        assert_eq!(nvml.device_count().unwrap(), 4);
        assert!(nvml.device_by_index(2).unwrap().memory_info().is_ok());
        bench.node.change(|node| node.set_nvml_hangs(1, false)).unwrap();
        assert_eq!(answer.recv_timeout(BOUND).unwrap().unwrap(), bench.uuid(1));
    });
}

#[test]
fn after_a_driver_upgrade_a_program_has_the_old_library_until_it_loads_it_again() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let upgrade = bench.node.change(|node| {
        node.upgrade_driver();
        Ok(())
    });
    upgrade.unwrap();
    assert!(matches!(nvml.device_count(), Err(NvmlError::LibRmVersionMismatch)));
    drop(nvml);
    assert_eq!(bench.nvml().sys_driver_version().unwrap(), "595.91.08");
}

#[test]
fn a_gpu_that_was_pulled_out_is_not_enumerated_and_indexes_move_up() {
    let bench = Bench::new("tesla-t4");
    let nvml = bench.nvml();
    let (gone, next) = (bench.uuid(1), bench.uuid(2));
    bench.node.change(|node| node.unplug(1).map(|_| ())).unwrap();
    assert_eq!(nvml.device_count().unwrap(), 3);
    assert!(matches!(nvml.device_by_uuid(gone.as_str()), Err(NvmlError::NotFound)));
    let moved = nvml.device_by_uuid(next.as_str()).unwrap();
    assert_eq!((moved.index().unwrap(), moved.minor_number().unwrap()), (1, 2));
}
