//! MIG through the built library, as a program of production sees it.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test, in its helpers too")]

use std::ffi::{CStr, OsStr, c_uint};
use std::path::PathBuf;

use fake_gpu::{MigInstance, Node, NodeFile, NodeSpec, ProcessKind, ProcessSpec};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    nvmlComputeInstanceInfo_t, nvmlComputeInstanceProfileInfo_t, nvmlEventData_t, nvmlGpuInstance_t,
    nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_v2_t,
    nvmlGpuInstanceProfileInfo_v3_t,
};

/// NVML's codes.
const INVALID_ARGUMENT: u32 = 2;
const NOT_SUPPORTED: u32 = 3;
const NOT_FOUND: u32 = 6;
const IN_USE: u32 = 19;

/// A node of two GPUs, the first cut as `layout` says.
struct Bench {
    _directory: tempfile::TempDir,
    node: NodeFile,
    nvml: Nvml,
}

impl Bench {
    fn new(board: &str, layout: Option<&[&str]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libnvidia-ml.so.1");
        std::fs::copy(built_library(), &library).unwrap();
        let mut spec = NodeSpec::uniform("gpu-1", board, 2);
        spec.gpus[0].mig = layout.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
        let nvml = Nvml::builder().lib_path(OsStr::new(&library)).init().unwrap();
        Self { _directory: directory, node, nvml }
    }

    fn gpu(&self) -> Device<'_> {
        self.nvml.device_by_index(0).unwrap()
    }

    fn mig(&self, index: u32) -> Device<'_> {
        self.gpu().mig_device_by_index(index).unwrap()
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Node) -> Result<T, fake_gpu::GpuError>) -> T {
        self.node.change(edit).unwrap()
    }

    fn run(&self, pid: u32, gpu_instance: u32) {
        let instance = Some(MigInstance { gpu_instance, compute_instance: 0 });
        let spec = ProcessSpec { instance, ..ProcessSpec::new(pid, 0, ProcessKind::Plain, "train") };
        self.node.start_process(&spec).unwrap();
    }
}

/// Cargo puts the library where it puts this program.
fn built_library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libfake_nvml.so")
}

/// Calls a function that the wrapper does not have: a code and what the function wrote.
macro_rules! raw {
    ($nvml:expr, $name:ident, $kind:ty, |$place:ident| ($($argument:expr),*)) => {{
        let call = $nvml.lib().$name.as_ref().unwrap();
        // SAFETY: zero is valid for these plain structures, and all handles come from the library.
        #[allow(unsafe_code)]
        unsafe {
            let mut value: $kind = std::mem::zeroed();
            let $place = &raw mut value;
            (call($($argument),*), value)
        }
    }};
}

/// The raw handle of a device.
#[allow(unsafe_code)]
fn raw(device: &Device<'_>) -> nvml_wrapper_sys::bindings::nvmlDevice_t {
    // SAFETY: it is used only while the device lives.
    unsafe { device.handle() }
}

#[test]
fn a_mig_device_says_who_it_is_and_whose() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["3g.20gb", "1g.5gb"]));
    let (gpu, mig) = (bench.gpu(), bench.mig(0));
    assert_eq!(mig.name().unwrap(), "NVIDIA A100-SXM4-40GB MIG 3g.20gb");
    assert_eq!(bench.mig(1).name().unwrap(), "NVIDIA A100-SXM4-40GB MIG 1g.5gb");
    assert!(mig.mig_is_mig_device_handle().unwrap() && !gpu.mig_is_mig_device_handle().unwrap());
    assert_eq!(mig.mig_parent_device().unwrap().uuid().unwrap(), gpu.uuid().unwrap());
    let uuid = mig.uuid().unwrap();
    assert_eq!(uuid, bench.node.snapshot().unwrap().gpus[0].mig_devices[0].uuid);
    assert_eq!(bench.nvml.device_by_uuid(uuid.as_str()).unwrap().name().unwrap(), mig.name().unwrap());
    let old = format!("MIG-{}/2/0", gpu.uuid().unwrap());
    assert_eq!(bench.nvml.device_by_uuid(old).unwrap().uuid().unwrap(), uuid);
    assert!(matches!(bench.nvml.device_by_uuid("MIG-none").err(), Some(NvmlError::NotFound)));
    assert_eq!(raw!(bench.nvml, nvmlDeviceGetGpuInstanceId, c_uint, |p| (raw(&mig), p)), (0, 2));
    assert_eq!(raw!(bench.nvml, nvmlDeviceGetComputeInstanceId, c_uint, |p| (raw(&mig), p)), (0, 0));
    let (code, _) = raw!(bench.nvml, nvmlDeviceGetGpuInstanceId, c_uint, |p| (raw(&gpu), p));
    assert_eq!(code, INVALID_ARGUMENT);
    let sizes = mig.attributes().unwrap();
    assert_eq!((sizes.gpu_instance_slice_count, sizes.compute_instance_slice_count), (3, 3));
    assert_eq!((sizes.memory_size_mb, sizes.multiprocessor_count), (19968, 42));
    assert_eq!((sizes.shared_copy_engine_count, sizes.shared_decoder_count), (3, 2));
    let capability = mig.cuda_compute_capability().unwrap();
    assert_eq!((capability.major, capability.minor), (8, 0));
}

#[test]
fn a_compute_instance_with_a_part_of_the_slices_says_so() {
    let bench = Bench::new("h100-80gb-hbm3", Some(&["1c.2g.20gb", "1c.2g.20gb"]));
    let mig = bench.mig(1);
    assert_eq!(mig.name().unwrap(), "NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb");
    let sizes = mig.attributes().unwrap();
    assert_eq!((sizes.gpu_instance_slice_count, sizes.compute_instance_slice_count), (2, 1));
    assert_eq!((sizes.memory_size_mb, sizes.multiprocessor_count), (20096, 16));
    assert_eq!(raw!(bench.nvml, nvmlDeviceGetComputeInstanceId, c_uint, |p| (raw(&mig), p)), (0, 1));
}

#[test]
fn indexes_have_gaps_and_a_handle_whose_device_is_gone_is_refused() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["1g.5gb"; 3]));
    let gpu = bench.gpu();
    assert_eq!(gpu.mig_device_count().unwrap(), 7);
    let gone = bench.mig(1);
    bench.change(|node| node.destroy_mig_device(0, MigInstance { gpu_instance: 12, compute_instance: 0 }));
    assert!(matches!(gpu.mig_device_by_index(1).err(), Some(NvmlError::NotFound)));
    assert!(gpu.mig_device_by_index(2).is_ok());
    assert!(matches!(gpu.mig_device_by_index(7).err(), Some(NvmlError::InvalidArg)));
    assert!(matches!(gone.uuid().err(), Some(NvmlError::InvalidArg)));
    assert!(matches!(bench.mig(0).mig_device_by_index(0).err(), Some(NvmlError::InvalidArg)));
}

#[test]
fn mig_mode_switches_at_once_on_a_free_gpu_and_is_pending_on_a_used_one() {
    let bench = Bench::new("a100-sxm4-40gb", None);
    let gpu = bench.gpu();
    let modes = || {
        let mode = gpu.mig_mode().unwrap();
        (mode.current, mode.pending)
    };
    bench.node.start_process(&ProcessSpec::new(7, 0, ProcessKind::Plain, "train")).unwrap();
    assert_eq!((gpu.set_mig_mode(true).unwrap(), modes()), (IN_USE, (0, 1)));
    bench.node.stop_process(7).unwrap();
    assert_eq!((gpu.set_mig_mode(true).unwrap(), modes()), (0, (1, 1)));
    assert!(matches!(gpu.mig_device_by_index(0).err(), Some(NvmlError::NotFound)));
    assert_eq!((gpu.set_mig_mode(false).unwrap(), modes()), (0, (0, 0)));
    let t4 = Bench::new("tesla-t4", None);
    assert!(matches!(t4.gpu().set_mig_mode(true).err(), Some(NvmlError::NotSupported)));
    assert!(matches!(t4.gpu().mig_device_by_index(0).err(), Some(NvmlError::NotSupported)));
}

#[test]
fn memory_and_processes_are_of_the_mig_device_and_together_of_the_gpu() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["3g.20gb", "3g.20gb"]));
    for (pid, gpu_instance, gibibytes) in [(1, 1, 2_u64), (2, 2, 3)] {
        bench.run(pid, gpu_instance);
        bench.node.allocate(pid, 0, gibibytes << 30).unwrap();
    }
    let used = |device: &Device<'_>| device.memory_info().unwrap().used >> 30;
    assert_eq!((used(&bench.mig(0)), used(&bench.mig(1)), used(&bench.gpu())), (2, 3, 5));
    assert_eq!(bench.mig(0).memory_info().unwrap().total >> 20, 19968);
    assert_eq!(bench.mig(0).bar1_memory_info().unwrap().total >> 20, 32768);
    let processes = |device: &Device<'_>| {
        let list = device.running_compute_processes().unwrap();
        list.iter().map(|found| (found.pid, found.gpu_instance_id)).collect::<Vec<_>>()
    };
    assert_eq!(processes(&bench.mig(1)), [(2, Some(2))]);
    assert_eq!(processes(&bench.gpu()), [(1, Some(1)), (2, Some(2))]);
}

#[test]
fn what_only_a_gpu_has_a_mig_device_does_not_tell() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["2g.10gb"]));
    let (gpu, mut mig) = (bench.gpu(), bench.mig(0));
    let unsupported = |error: Option<NvmlError>| matches!(error, Some(NvmlError::NotSupported));
    assert!(unsupported(mig.minor_number().err()));
    assert!(unsupported(mig.compute_mode().err()));
    assert!(unsupported(mig.power_usage().err()));
    assert!(unsupported(mig.pci_info().err()));
    let exclusive = nvml_wrapper::enum_wrappers::device::ComputeMode::ExclusiveProcess;
    assert!(unsupported(mig.set_compute_mode(exclusive).err()));
    assert!(unsupported(bench.gpu().set_compute_mode(exclusive).err()));
    assert!(unsupported(gpu.utilization_rates().err()));
    let invalid = |error: Option<NvmlError>| matches!(error, Some(NvmlError::InvalidArg));
    assert!(invalid(bench.mig(0).topology_common_ancestor(gpu).err()));
    assert!(invalid(bench.gpu().topology_common_ancestor(mig).err()));
    assert!(invalid(bench.mig(0).mig_mode().err()));
    let set = bench.nvml.create_event_set().unwrap();
    let refused = bench.mig(0).register_events(EventTypes::CRITICAL_XID_ERROR, set).err().unwrap();
    assert!(invalid(Some(refused.error)));
}

#[test]
fn every_profile_of_the_board_is_told_whether_mig_mode_is_on_or_not() {
    for layout in [None, Some(&["1g.5gb"] as &[&str])] {
        let bench = Bench::new("a100-sxm4-40gb", layout);
        let gpu = bench.gpu();
        let mut found = Vec::new();
        for number in 0..17 {
            let (code, info) = raw!(
                bench.nvml,
                nvmlDeviceGetGpuInstanceProfileInfoV,
                nvmlGpuInstanceProfileInfo_v2_t,
                |p| (
                    raw(&gpu),
                    number,
                    versioned(p, size_of::<nvmlGpuInstanceProfileInfo_v2_t>() as u32 | 2 << 24)
                )
            );
            match code {
                0 => found.push((text(&info.name), info.id, info.sliceCount, info.memorySizeMB)),
                NOT_SUPPORTED => {
                    assert!(matches!(gpu.profile_info(number).err(), Some(NvmlError::NotSupported)))
                }
                code => panic!("profile {number}: {code}"),
            }
        }
        let expected = [
            ("MIG 1g.5gb", 19, 1, 4864),
            ("MIG 2g.10gb", 14, 2, 9856),
            ("MIG 3g.20gb", 9, 3, 19968),
            ("MIG 4g.20gb", 5, 4, 19968),
            ("MIG 7g.40gb", 0, 7, 40192),
            ("MIG 1g.5gb+me", 20, 1, 4864),
            ("MIG 1g.10gb", 15, 1, 9856),
        ];
        assert_eq!(found, expected.map(|(name, id, slices, mib)| (name.to_owned(), id, slices, mib)));
        assert!(matches!(gpu.profile_info(17).err(), Some(NvmlError::InvalidArg)));
        // the wrapper's own call always answers an empty list
        let mut places = [nvmlGpuInstancePlacement_t { start: 9, size: 9 }; 3];
        let (code, count) = raw!(
            bench.nvml,
            nvmlDeviceGetGpuInstancePossiblePlacements_v2,
            c_uint,
            |count| (raw(&gpu), 14, places.as_mut_ptr(), with_room(count, 3))
        );
        let places = places.map(|place| (place.start, place.size));
        assert_eq!((code, count, places), (0, 3, [(0, 2), (2, 2), (4, 2)]));
    }
}

#[test]
fn the_third_form_of_a_profile_is_known_and_a_fourth_is_not() {
    const VERSION_MISMATCH: u32 = 25;
    let bench = Bench::new("h100-80gb-hbm3", None);
    let gpu = bench.gpu();
    let size = size_of::<nvmlGpuInstanceProfileInfo_v3_t>() as u32;
    let (code, info) = raw!(
        bench.nvml,
        nvmlDeviceGetGpuInstanceProfileInfoByIdV,
        nvmlGpuInstanceProfileInfo_v3_t,
        |p| (raw(&gpu), 9, versioned(p, size | 3 << 24).cast())
    );
    assert_eq!((code, text(&info.name).as_str(), info.multiprocessorCount), (0, "MIG 3g.40gb", 60));
    let (code, _) = raw!(
        bench.nvml,
        nvmlDeviceGetGpuInstanceProfileInfoV,
        nvmlGpuInstanceProfileInfo_v3_t,
        |p| (raw(&gpu), 0, versioned(p, size | 4 << 24).cast())
    );
    assert_eq!(code, VERSION_MISMATCH);
}

/// Says for how many items there is room.
fn with_room(count: *mut c_uint, room: c_uint) -> *mut c_uint {
    versioned(count, room)
}

/// Writes the word with which a structure begins.
fn versioned<T>(place: *mut T, version: u32) -> *mut T {
    // SAFETY: the structures of these tests begin with their version; a count is one word.
    #[allow(unsafe_code)]
    unsafe {
        place.cast::<u32>().write(version);
    }
    place
}

fn text(bytes: &[std::ffi::c_char]) -> String {
    // SAFETY: the library ends its texts with a zero within the array.
    #[allow(unsafe_code)]
    let text = unsafe { CStr::from_ptr(bytes.as_ptr()) };
    text.to_str().unwrap().to_owned()
}

#[test]
fn instances_are_found_by_profile_and_by_number() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["2g.10gb", "1c.3g.20gb", "2c.3g.20gb"]));
    let gpu = bench.gpu();
    let nvml = &bench.nvml;
    let mut handles: [nvmlGpuInstance_t; 2] = [std::ptr::null_mut(); 2];
    let (code, count) =
        raw!(nvml, nvmlDeviceGetGpuInstances, c_uint, |p| (raw(&gpu), 9, handles.as_mut_ptr(), p));
    assert_eq!((code, count), (0, 1));
    let (code, info) = raw!(nvml, nvmlGpuInstanceGetInfo, nvmlGpuInstanceInfo_t, |p| (handles[0], p));
    assert_eq!((code, info.id, info.profileId), (0, 2, 9));
    assert_eq!((info.placement.start, info.placement.size, info.device), (4, 4, raw(&gpu)));
    let (code, same) = raw!(nvml, nvmlDeviceGetGpuInstanceById, nvmlGpuInstance_t, |p| (raw(&gpu), 2, p));
    assert_eq!((code, same), (0, handles[0]));
    let (code, _) = raw!(nvml, nvmlDeviceGetGpuInstanceById, nvmlGpuInstance_t, |p| (raw(&gpu), 1, p));
    assert_eq!(code, NOT_FOUND);
    let room = |id| raw!(nvml, nvmlDeviceGetGpuInstanceRemainingCapacity, c_uint, |p| (raw(&gpu), id, p));
    // 2g.10gb is at 0, so two slices are left
    assert_eq!((room(19), room(14), room(9)), ((0, 2), (0, 1), (0, 0)));
    let (code, profile) =
        raw!(nvml, nvmlGpuInstanceGetComputeInstanceProfileInfo, nvmlComputeInstanceProfileInfo_t, |p| (
            handles[0], 1, 0, p
        ));
    assert_eq!((code, profile.sliceCount, profile.multiprocessorCount), (0, 2, 28));
    let mut inside = [std::ptr::null_mut(); 1];
    let (code, count) =
        raw!(nvml, nvmlGpuInstanceGetComputeInstances, c_uint, |p| (handles[0], 1, inside.as_mut_ptr(), p));
    assert_eq!((code, count), (0, 1));
    let (code, info) =
        raw!(nvml, nvmlComputeInstanceGetInfo_v2, nvmlComputeInstanceInfo_t, |p| (inside[0], p));
    assert_eq!((code, info.id, info.profileId, info.gpuInstance), (0, 0, 1, handles[0]));
}

#[test]
fn an_xid_of_a_mig_device_arrives_with_its_instances() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["2g.10gb"]));
    let gpu = bench.gpu();
    let set = bench.nvml.create_event_set().unwrap();
    let set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|e| e.error).unwrap();
    let instance = MigInstance { gpu_instance: 5, compute_instance: 0 };
    bench.change(|node| node.raise_mig_xid(0, instance, 94));
    let (code, data) = raw!(bench.nvml, nvmlEventSetWait_v2, nvmlEventData_t, |p| (set.handle(), p, 1000));
    assert_eq!((code, data.eventData, data.device), (0, 94, raw(&gpu)));
    assert_eq!((data.gpuInstanceId, data.computeInstanceId), (5, 0));
}

#[test]
fn a_lost_gpu_takes_its_mig_devices_with_it() {
    let bench = Bench::new("a100-sxm4-40gb", Some(&["2g.10gb"]));
    let mig = bench.mig(0);
    let uuid = mig.uuid().unwrap();
    bench.node.set_lost(0, true).unwrap();
    assert!(matches!(mig.memory_info().err(), Some(NvmlError::GpuLost)));
    assert!(matches!(mig.minor_number().err(), Some(NvmlError::GpuLost)));
    assert!(matches!(bench.nvml.device_by_uuid(uuid).err(), Some(NvmlError::GpuLost)));
}
