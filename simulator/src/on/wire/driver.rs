//! The driver of a node: the fake library in its driver root and the state that every process of the node shares.

use std::path::Path;

use fake_gpu::{
    ComputeMode, GpuSnapshot, Memory, MigSnapshot, NodeFile, NodeSnapshot, ProcessKind, is_uninvited,
};

use super::binaries::Binaries;
use super::capabilities;
use super::layout::NodeLayout;
use super::refused;
use crate::on::StageError;
use crate::scenario::GpuNode;
use crate::world::{GpuView, MemoryView, MigView};

/// An installed driver.
#[derive(Debug)]
pub(super) struct Driver {
    state: NodeFile,
}

impl Driver {
    /// Installs GPUs and then the library, so that a plugin that sees the library sees GPUs.
    ///
    /// # Errors
    /// The state cannot be made or the library cannot be linked.
    pub(super) fn install(
        node: &str,
        gpus: &GpuNode,
        layout: &NodeLayout,
        binaries: &Binaries,
    ) -> Result<Driver, StageError> {
        let state = NodeFile::create(&layout.gpus, &gpus.spec(node))
            .map_err(|error| refused(format!("install a driver on node `{node}`"), &error))?;
        let snapshot = state.snapshot().map_err(|error| refused("read the GPUs' state", &error))?;
        snapshot.gpus.iter().try_for_each(|gpu| on_the_bus(gpu, &layout.sysfs))?;
        files(&snapshot.driver_version, layout)?;
        capabilities::install(&state, layout)?;
        let links = [
            (&binaries.mps_control, layout.mps_control()),
            (&binaries.nvidia_smi, layout.nvidia_smi()),
            (&binaries.nvml, layout.nvml()),
        ];
        for (made, link) in links {
            std::os::unix::fs::symlink(made, &link).map_err(|error| StageError::File {
                what: "link",
                path: link.clone(),
                error,
            })?;
        }
        Ok(Driver { state })
    }

    /// The state that every process of the node shares.
    pub(super) fn state(&self) -> &NodeFile {
        &self.state
    }

    /// The GPUs now.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn snapshot(&self) -> Result<NodeSnapshot, StageError> {
        self.state.snapshot().map_err(|error| refused("read the GPUs' state", &error))
    }

    /// Compute modes that are not what they were at first, daemons and processes that still use a GPU.
    pub(super) fn leaks(&self, node: &str) -> Vec<String> {
        let Ok(snapshot) = self.state.snapshot() else {
            return Vec::new();
        };
        let mut leaks = Vec::new();
        for gpu in &snapshot.gpus {
            if gpu.compute_mode != gpu.compute_mode_original {
                leaks.push(format!(
                    "compute mode {} on GPU {} of node `{node}`, which was {}",
                    compute_mode(gpu.compute_mode),
                    gpu.index,
                    compute_mode(gpu.compute_mode_original)
                ));
            }
            // those of nobody are the story's own
            let left = gpu.processes.iter().filter(|process| !is_uninvited(process.pid));
            leaks.extend(left.map(|process| {
                format!("process {} `{}` on GPU {} of node `{node}`", process.pid, process.name, gpu.index)
            }));
        }
        leaks.extend(snapshot.mps_daemons.iter().map(|daemon| {
            format!("MPS control daemon {} of node `{node}` on `{}`", daemon.pid, daemon.pipe_directory)
        }));
        leaks
    }
}

/// Shows a GPU in the node's sysfs: the plugin asks there for its NUMA node, and must not find the host's.
fn on_the_bus(gpu: &GpuSnapshot, sysfs: &Path) -> Result<(), StageError> {
    // NVML writes the PCI domain with eight digits, the kernel with four
    let address = gpu.pci_bus_id.to_lowercase();
    let address = address.strip_prefix("0000").unwrap_or(&address);
    let directory = sysfs.join("bus/pci/devices").join(address);
    let file = directory.join("numa_node");
    let numa = gpu.numa_node.map_or_else(|| "-1".to_owned(), |node| node.to_string());
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, format!("{numa}\n")))
        .map_err(|error| StageError::File { what: "write", path: file, error })
}

/// What CDI specs are made from: a library of the driver's version, and control nodes that are character devices.
fn files(version: &str, layout: &NodeLayout) -> Result<(), StageError> {
    let failed = |path: &Path, error| StageError::File { what: "make", path: path.to_owned(), error };
    let library = layout.driver_root.join("usr/lib64").join(format!("libcuda.so.{version}"));
    let dev = layout.driver_root.join("dev");
    for directory in [library.parent().unwrap_or(&library), &dev] {
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    }
    std::fs::write(&library, "").map_err(|error| failed(&library, error))?;
    for node in ["nvidiactl", "nvidia-uvm"] {
        let path = dev.join(node);
        std::os::unix::fs::symlink("/dev/null", &path).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// A GPU as the driver shows it; holders and the plugin's account are added by others.
pub(in crate::on) fn gpu(gpu: &GpuSnapshot) -> GpuView {
    GpuView {
        uuid: gpu.uuid.clone(),
        index: gpu.index,
        minor: gpu.minor,
        compute_mode: compute_mode(gpu.compute_mode).to_owned(),
        time_slice: gpu.time_slice.word().to_owned(),
        mps_daemon: match gpu.mps_daemon_pid {
            Some(_) if gpu.mps_fault => "fault",
            Some(_) => "running",
            None => "absent",
        }
        .to_owned(),
        health: if gpu.lost { "lost" } else { "healthy" }.to_owned(),
        memory: memory(&gpu.memory),
        mig: gpu.mig_mode.then(|| gpu.mig_devices.iter().map(|device| mig(gpu, device)).collect()),
        processes: gpu.processes.iter().filter(|process| process.kind != ProcessKind::MpsServer).count()
            as u64,
        utilization: gpu.utilization_percent,
        ..GpuView::default()
    }
}

fn memory(memory: &Memory) -> MemoryView {
    let used_mib = memory.used_bytes >> 20;
    MemoryView { used: memory.used_bytes, total: memory.total_bytes, used_mib }
}

fn mig(gpu: &GpuSnapshot, device: &MigSnapshot) -> MigView {
    let here = gpu.processes.iter().filter(|process| process.instance == Some(device.instance));
    MigView {
        index: device.index,
        uuid: device.uuid.clone(),
        profile: device.profile.clone(),
        gpu_instance: device.instance.gpu_instance,
        compute_instance: device.instance.compute_instance,
        memory: memory(&device.memory),
        processes: here.count() as u64,
        holders: Vec::new(),
    }
}

/// As nvidia-smi prints it.
pub(in crate::on) fn compute_mode(mode: ComputeMode) -> &'static str {
    match mode {
        ComputeMode::Default => "Default",
        ComputeMode::ExclusiveThread => "Exclusive_Thread",
        ComputeMode::Prohibited => "Prohibited",
        ComputeMode::ExclusiveProcess => "Exclusive_Process",
    }
}
