//! A simulated process on the fake driver of a node: how it starts, directly or through MPS, and how it goes on.

use std::path::Path;

use fake_gpu::mps::{ClientSpec, connect};

use super::super::node::Node;
use super::Run;
use crate::on::work::{self, End, Process};
use crate::scenario::Workload;
use crate::world::ContainerView;

/// Makes a context on each GPU that the container sees.
pub(super) fn start(node: &Node, pod: &str, container: &ContainerView, pid: u32) -> Result<Process, String> {
    let driver = node.driver.as_ref().ok_or("CUDA_ERROR_NO_DEVICE: no driver")?.state();
    let seen = driver.read(|driver| work::visible(driver, container));
    let gpus = seen.map_err(|error| error.to_string())??;
    if let Some(pipe) = work::pipe_directory(container) {
        let client = ClientSpec {
            pid,
            uid: 0,
            gpus: gpus.iter().map(|(_, uuid)| uuid.clone()).collect(),
            limit_bytes: work::own_memory_limit(container).unwrap_or(0),
            thread_percentage: work::own_percentage(container).unwrap_or(0),
            name: pod.to_owned(),
        };
        connect(&node.on_this_machine(Path::new(&pipe)), &client)
            .map_err(|error| format!("CUDA_ERROR_MPS_CONNECTION_FAILED: {error}"))?;
    } else {
        let started = driver.change(|node| {
            gpus.iter().try_for_each(|gpu| node.start_process(&work::program(node, pid, gpu, pod)))
        });
        started.map_err(|error| error.to_string())?;
    }
    Ok(Process::new(pid, gpus.into_iter().map(|(index, _)| index).collect()))
}

/// Lets a process do what is due; the answer is its end.
pub(super) fn go_on(node: &Node, run: &mut Run, work: &Workload) -> Option<End> {
    let age = run.began.elapsed();
    if !run.process.is_due(work, age) {
        return None;
    }
    let state = node.driver.as_ref()?.state();
    match state.change(|driver| Ok(run.process.go_on(driver, work, age))) {
        Ok(end) => end,
        Err(error) => Some(End::refused(error.to_string())),
    }
}
