//! The GPUs of a node as NVML tells them: the one place that loads NVIDIA's library.

mod processes;
mod readers;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::ComputeMode as NvmlMode;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use plugin_core::cdi::IMEX_CHANNELS;
use plugin_core::inventory::{ComputeMode, Facts, GpuFacts, GpuUuid};
use plugin_core::ownership::processes::ProcessList;

use self::readers::{Readers, Readings};
use crate::cause;
use crate::cdi_files::{dev_root, is_device};
use crate::gpu::{FindError, GpuBackend, GpuError};
use crate::nvml_mig::{self, MigReader, Whole};
use crate::{nvml_fabric, nvml_links, platform};

/// The library's name; the `1` is NVML's ABI version.
const SONAME: &str = "libnvidia-ml.so.1";
/// Where drivers put it below their root, in the order of NVIDIA k8s-device-plugin v0.20.
const LIBRARY_DIRECTORIES: [&str; 6] = [
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
];
/// Device nodes that all GPUs share, in the order in which containers get them.
const CONTROL_NODES: [&str; 4] =
    ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"];
/// `NVML_AFFINITY_SCOPE_NODE`.
const AFFINITY_SCOPE_NODE: u32 = 0;
/// Words of a NUMA node mask: 64 × 64 nodes.
const AFFINITY_WORDS: usize = 64;

/// Where to find things on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NvmlPaths {
    /// The library; `None` searches below the driver root and then asks the loader.
    pub(crate) library: Option<PathBuf>,
    /// Where the driver's root directory is mounted in this container.
    pub(crate) driver_root: PathBuf,
    /// The sysfs mount.
    pub(crate) sysfs_root: PathBuf,
    /// The proc mount.
    pub(crate) proc_root: PathBuf,
}

/// NVML, loaded for each call and released after it: NVML counts GPUs when it is initialised, an open `/dev/nvidia*` keeps
/// the driver from being unloaded, and after an upgrade of the driver the library in memory is the old one for good.
#[derive(Clone, Debug)]
pub(crate) struct NvmlBackend {
    paths: NvmlPaths,
    readers: Readers,
}

impl NvmlBackend {
    /// Nothing is loaded yet.
    pub(crate) fn new(paths: NvmlPaths) -> Self {
        NvmlBackend { paths, readers: Readers::default() }
    }

    fn with_device<T>(
        &self,
        gpu: &GpuUuid,
        work: impl FnOnce(Result<Device<'_>, NvmlError>) -> Result<T, NvmlError>,
    ) -> Result<T, GpuError> {
        let refused = |why: String| GpuError::Refused { gpu: gpu.clone(), why };
        let nvml = open(&self.paths).map_err(|e| refused(e.to_string()))?;
        work(nvml.device_by_uuid(gpu.as_str())).map_err(|e| refused(cause::line(&e)))
    }
}

impl GpuBackend for NvmlBackend {
    fn find(&self) -> Result<Facts, FindError> {
        let nvml = open(&self.paths)?;
        let facts = facts(nvml, &self.paths, &self.readers)
            .map_err(|e| FindError::DriverFailed { why: cause::line(&e) })?;
        match facts.gpus.iter().find_map(|gpu| platform::tegra_gpu(&gpu.name)) {
            Some(why) => Err(FindError::Unsupported { platform: "tegra", why }),
            None => Ok(facts),
        }
    }

    fn compute_mode(&self, gpu: &GpuUuid) -> Result<ComputeMode, GpuError> {
        self.with_device(gpu, |device| Ok(from_nvml(device?.compute_mode()?)))
    }

    fn set_compute_mode(&self, gpu: &GpuUuid, mode: ComputeMode) -> Result<(), GpuError> {
        self.with_device(gpu, |device| device?.set_compute_mode(to_nvml(mode)))
    }

    fn processes(&self, gpu: &GpuUuid) -> Result<ProcessList, GpuError> {
        let proc_root = &self.paths.proc_root;
        self.with_device(gpu, |device| processes::read(device, proc_root))
    }
}

/// Loads and initialises NVML, and tells a missing library from one that does not work, and from a machine without NVML.
fn open(paths: &NvmlPaths) -> Result<Nvml, FindError> {
    if let Some(why) = platform::wsl(&paths.driver_root) {
        return Err(FindError::Unsupported { platform: "wsl", why });
    }
    let library = library_path(paths);
    let shown = Path::new(&library).display().to_string();
    let error = match Nvml::builder().lib_path(&library).init() {
        Ok(nvml) => return Ok(nvml),
        Err(error) => error,
    };
    match error {
        NvmlError::LibloadingError(e) => {
            let text = cause::line(&e);
            // a library that is there may lack one of its own libraries: that is a broken driver, not a missing one
            let absent = text.contains(&format!("{shown}: cannot open shared object file: No such file"));
            let why = format!("NVML cannot be loaded: {text}");
            let tegra = platform::tegra(&paths.driver_root, &paths.sysfs_root).filter(|_| absent);
            Err(match tegra {
                Some(why) => FindError::Unsupported { platform: "tegra", why },
                None if absent => FindError::NoDriver { why },
                None => FindError::DriverFailed { why },
            })
        }
        e => {
            let why = format!("NVML library `{shown}` cannot be initialized: {}", cause::line(&e));
            Err(FindError::DriverFailed { why })
        }
    }
}

/// The setting, else the first library below the driver root, else the bare name for the loader.
fn library_path(paths: &NvmlPaths) -> OsString {
    let below_root = || {
        let candidates = LIBRARY_DIRECTORIES.iter().map(|d| paths.driver_root.join(d).join(SONAME));
        candidates.into_iter().find(|c| c.exists())
    };
    let found = paths.library.clone().or_else(below_root);
    found.map_or_else(|| SONAME.into(), PathBuf::into_os_string)
}

fn facts(nvml: Nvml, paths: &NvmlPaths, readers: &Readers) -> Result<Facts, NvmlError> {
    let cuda = nvml.sys_cuda_driver_version()?;
    let number = |n: i32| u32::try_from(n).unwrap_or(0);
    let mut facts = Facts {
        driver_version: nvml.sys_driver_version()?,
        cuda_version: (
            number(nvml_wrapper::cuda_driver_version_major(cuda)),
            number(nvml_wrapper::cuda_driver_version_minor(cuda)),
        ),
        control_nodes: control_nodes(&dev_root(&paths.driver_root)),
        ..Facts::default()
    };
    let count = nvml.device_count()?;
    // a call that hangs keeps the library as long as it lasts
    let nvml = Arc::new(nvml);
    let (shared, its_paths) = (Arc::clone(&nvml), paths.clone());
    let Readings { answers, mut silent } = readers.read(count, move |index| gpu(&shared, index, &its_paths));
    for (index, answer) in answers {
        match answer {
            Ok(None) => {}
            Ok(Some(Found { gpu, is_starting })) => {
                facts.starting.extend(is_starting.then(|| gpu.uuid.clone()));
                facts.gpus.push(gpu);
            }
            Err(e) if is_of_driver(&e) => return Err(e),
            // one GPU that fell off its bus must not hide the others
            Err(e) => {
                silent.insert(index, cause::line(&e));
            }
        }
    }
    facts.unreadable = silent.into_iter().map(|(index, why)| format!("GPU index {index}: {why}")).collect();
    facts.links = nvml_links::read(&nvml, &facts.gpus);
    Ok(facts)
}

/// Whether the error says that the driver itself is gone or another one.
fn is_of_driver(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibRmVersionMismatch | NvmlError::DriverNotLoaded | NvmlError::Uninitialized)
}

/// What one GPU tells about itself.
struct Found {
    gpu: GpuFacts,
    is_starting: bool,
}

/// Reads one GPU; a display-only board is none.
fn gpu(nvml: &Nvml, index: u32, paths: &NvmlPaths) -> Result<Option<Found>, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let name = device.name()?;
    if platform::is_display_only(&name) {
        return Ok(None);
    }
    let mut gpu = gpu_facts(&device, index, name, &paths.sysfs_root)?;
    add_mig(&mut gpu, &device, paths);
    let is_starting = nvml_fabric::is_starting(&device)?;
    Ok(Some(Found { gpu, is_starting }))
}

fn gpu_facts(device: &Device<'_>, index: u32, name: String, sysfs: &Path) -> Result<GpuFacts, NvmlError> {
    let capability = device.cuda_compute_capability()?;
    let pci_bus_id = device.pci_info()?.bus_id;
    Ok(GpuFacts {
        uuid: GpuUuid::new(device.uuid()?),
        index,
        minor: device.minor_number()?,
        name,
        memory_bytes: device.memory_info().map_or(0, |m| m.total),
        compute_capability: (
            u32::try_from(capability.major).unwrap_or(0),
            u32::try_from(capability.minor).unwrap_or(0),
        ),
        numa_node: numa_node(sysfs, &pci_bus_id).unwrap_or_else(|| nvml_numa_node(device)),
        pci_bus_id,
        mig_capable: device.mig_mode().is_ok(),
        compute_mode: device.compute_mode().map_or(ComputeMode::Default, from_nvml),
        mig_enabled: false,
        mig: Vec::new(),
    })
}

/// The MIG devices of a GPU in MIG mode.
fn add_mig(gpu: &mut GpuFacts, device: &Device<'_>, paths: &NvmlPaths) {
    gpu.mig_enabled = nvml_mig::is_enabled(device);
    if !gpu.mig_enabled {
        return;
    }
    let (uuid, minor, memory_bytes) = (gpu.uuid.as_str(), gpu.minor, gpu.memory_bytes);
    match MigReader::open(&library_path(paths), &paths.proc_root) {
        Ok(reader) => gpu.mig = reader.devices(&Whole { device, uuid, minor, memory_bytes }),
        Err(error) => {
            let why = cause::line(&error);
            tracing::warn!(gpu = uuid, why, "the MIG devices of a GPU cannot be read");
        }
    }
}

/// What sysfs says about the PCI device: `None` when it says nothing, `Some(None)` when it says "none" (a negative number).
fn numa_node(sysfs: &Path, nvml_bus_id: &str) -> Option<Option<u32>> {
    let path = sysfs.join("bus/pci/devices").join(sysfs_bus_id(nvml_bus_id)).join("numa_node");
    let number: i64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(u32::try_from(number).ok())
}

/// NVML writes the PCI domain with eight digits, the kernel with four.
fn sysfs_bus_id(nvml_bus_id: &str) -> String {
    let id = nvml_bus_id.to_lowercase();
    match id.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 => format!("{}:{rest}", &domain[4..]),
        _ => id,
    }
}

/// The lowest node of NVML's memory affinity.
fn nvml_numa_node(device: &Device<'_>) -> Option<u32> {
    let mask = device.memory_affinity(AFFINITY_WORDS, AFFINITY_SCOPE_NODE).ok()?;
    let (word, bits) = mask.iter().enumerate().find(|(_, bits)| **bits != 0)?;
    u32::try_from(word).ok().map(|word| word * 64 + bits.trailing_zeros())
}

fn control_nodes(dev_root: &Path) -> Vec<String> {
    let below = |node: &str| dev_root.join(node.trim_start_matches('/'));
    let exists = |node: &&str| below(node).exists();
    let mut nodes: Vec<String> = CONTROL_NODES.iter().copied().filter(exists).map(str::to_owned).collect();
    // the only channel that can be configured; it may stand beside the driver's other nodes or at the plain path
    let channel = format!("{IMEX_CHANNELS}0");
    if is_device(&below(&channel)) || is_device(Path::new(&channel)) {
        nodes.push(channel);
    }
    nodes
}

fn from_nvml(mode: NvmlMode) -> ComputeMode {
    match mode {
        NvmlMode::Default => ComputeMode::Default,
        NvmlMode::ExclusiveThread => ComputeMode::ExclusiveThread,
        NvmlMode::Prohibited => ComputeMode::Prohibited,
        NvmlMode::ExclusiveProcess => ComputeMode::ExclusiveProcess,
    }
}

fn to_nvml(mode: ComputeMode) -> NvmlMode {
    match mode {
        ComputeMode::Default => NvmlMode::Default,
        ComputeMode::ExclusiveThread => NvmlMode::ExclusiveThread,
        ComputeMode::Prohibited => NvmlMode::Prohibited,
        ComputeMode::ExclusiveProcess => NvmlMode::ExclusiveProcess,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path) -> NvmlPaths {
        NvmlPaths {
            library: None,
            driver_root: root.to_owned(),
            sysfs_root: root.join("sys"),
            proc_root: root.join("proc"),
        }
    }

    #[test]
    fn a_missing_library_is_a_missing_driver() {
        let root = tempfile::tempdir().unwrap();
        let library = Some(root.path().join("libnvidia-ml.so.1"));
        let found = NvmlBackend::new(NvmlPaths { library, ..paths(root.path()) }).find();
        assert!(
            matches!(&found, Err(FindError::NoDriver { why }) if why.contains("libnvidia-ml.so.1")),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_a_failed_driver() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("usr/lib64");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(SONAME), "not a library").unwrap();
        let found = NvmlBackend::new(paths(root.path())).find();
        assert!(matches!(found, Err(FindError::DriverFailed { .. })), "{found:?}");
    }

    #[test]
    fn the_numa_node_comes_from_sysfs_and_a_negative_one_is_none() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("bus/pci/devices/0000:00:1e.0");
        fs::create_dir_all(&device).unwrap();
        let read = || numa_node(root.path(), "00000000:00:1E.0");
        assert_eq!(read(), None);
        fs::write(device.join("numa_node"), "1\n").unwrap();
        assert_eq!(read(), Some(Some(1)));
        fs::write(device.join("numa_node"), "-1\n").unwrap();
        assert_eq!(read(), Some(None));
    }

    #[test]
    fn control_nodes_are_those_that_exist_below_the_dev_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/nvidia-uvm"), "").unwrap();
        assert_eq!(dev_root(root.path()), root.path());
        assert_eq!(control_nodes(root.path()), ["/dev/nvidia-uvm"]);
    }
}
