//! A simulated process on the fake driver: its contexts, its memory, and what CUDA refuses it.

use std::path::{Path, PathBuf};

use fake_cluster::node::ContainerSnapshot;
use fake_gpu::mps::{ClientSpec, connect};
use fake_gpu::{GpuError, NodeFileError, ProcessKind, ProcessSpec};

use super::super::node::Node;
use super::{CUDA_FAILED, End, Run};
use crate::scenario::Workload;

/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The environment variable that leads a program to its MPS daemon.
const PIPE_DIRECTORY: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// What the CUDA driver calls its lack of memory.
const OUT_OF_MEMORY: &str = "CUDA_ERROR_OUT_OF_MEMORY";

/// Makes a context on each GPU that the container sees.
pub(super) fn start(node: &Node, container: &ContainerSnapshot, pid: u32) -> Result<Vec<u32>, String> {
    let driver = node.driver.as_ref().ok_or("CUDA_ERROR_NO_DEVICE: no driver")?;
    let snapshot = driver.snapshot().map_err(|error| error.to_string())?;
    let visible = container.env.get(VISIBLE).map(String::as_str).unwrap_or_default();
    let named = |uuid: &str| visible.split(',').any(|name| name == uuid);
    let has_node = |minor: u32| {
        let path = format!("/dev/nvidia{minor}");
        container.injected.devices.iter().any(|node| node.container_path == path)
    };
    let gpus: Vec<(u32, String)> = snapshot
        .gpus
        .iter()
        .filter(|gpu| named(&gpu.uuid) || has_node(gpu.minor))
        .map(|gpu| (gpu.index, gpu.uuid.clone()))
        .collect();
    if gpus.is_empty() {
        let names = container.cdi_devices.join(", ");
        return Err(format!("CUDA_ERROR_NO_DEVICE: `{VISIBLE}` is `{visible}`, CDI names are `{names}`"));
    }
    if let Some(pipe) = pipe_directory(container) {
        let client = ClientSpec {
            pid,
            uid: 0,
            gpus: gpus.iter().map(|(_, uuid)| uuid.clone()).collect(),
            limit_bytes: 0,
            name: container.pod.clone(),
        };
        connect(&pipe, &client).map_err(|error| format!("CUDA_ERROR_MPS_CONNECTION_FAILED: {error}"))?;
    } else {
        for (index, _) in &gpus {
            let spec = ProcessSpec::new(pid, *index, ProcessKind::Plain, &container.pod);
            driver.state().start_process(&spec).map_err(|error| error.to_string())?;
        }
    }
    Ok(gpus.into_iter().map(|(index, _)| index).collect())
}

/// The host's directory behind the container's pipe directory.
fn pipe_directory(container: &ContainerSnapshot) -> Option<PathBuf> {
    let inside = Path::new(container.env.get(PIPE_DIRECTORY)?);
    container.mounts.iter().find_map(|mount| {
        let below = inside.strip_prefix(&mount.container_path).ok()?;
        Some(Path::new(&mount.host_path).join(below))
    })
}

/// Takes or gives back memory as the curve says; the answer is the process's end.
pub(super) fn go_on(node: &Node, run: &mut Run, work: &Workload) -> Option<End> {
    let age = run.began.elapsed();
    let state = node.driver.as_ref()?.state();
    let wanted = work.wanted_mib(age);
    let more = wanted.saturating_sub(run.held_mib) << 20;
    let less = run.held_mib.saturating_sub(wanted) << 20;
    for gpu in &run.gpus {
        let changed = match more {
            0 if less == 0 => Ok(()),
            0 => state.free(run.pid, *gpu, less),
            more => state.allocate(run.pid, *gpu, more),
        };
        if let Err(error) = changed {
            let why = match error {
                NodeFileError::Refused(refusal @ GpuError::OutOfMemory { .. }) => {
                    format!("{OUT_OF_MEMORY}: {refusal}")
                }
                other => other.to_string(),
            };
            return Some(End { code: CUDA_FAILED, why });
        }
    }
    run.held_mib = wanted;
    let (at, code) = work.ends?;
    (age >= at).then(|| End { code, why: format!("ended by itself after {at:?}") })
}
