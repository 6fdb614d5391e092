//! What a simulated program does on the fake GPUs of its node, the same on every stage: it takes memory as its curve says,
//! keeps GPUs busy, and ends as told or when it asks for too much.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_gpu::{Gpu, GpuError, MigDevice, Node, ProcessKind, ProcessSpec, mig_minors};

use crate::scenario::Workload;
use crate::world::ContainerView;

/// The longest back-off (Kubernetes 1.36).
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// The exit code of a program that CUDA refused something.
pub(super) const CUDA_FAILED: i32 = 1;
/// How a pod's containers ended: as many as are remembered.
pub(super) const ENDS_MAX: usize = 20;
/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The environment variable that leads a program to its MPS daemon.
const PIPE_DIRECTORY: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// The environment variable by which an MPS client limits its memory: `0=1G,1=512M`.
const MEMORY_LIMIT: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
/// The environment variable by which an MPS client limits its threads.
const THREAD_PERCENTAGE: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
/// What the CUDA driver calls its lack of memory.
const OUT_OF_MEMORY: &str = "CUDA_ERROR_OUT_OF_MEMORY";

/// A program that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// Its process id on the node.
    pub(super) pid: u32,
    /// NVML indices of its GPUs.
    pub(super) gpus: Vec<u32>,
    held_mib: u64,
    busy_percent: u64,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Its exit code.
    pub(super) code: i32,
    /// Why, for people.
    pub(super) why: String,
}

impl End {
    /// CUDA refused something.
    pub(super) fn refused(why: String) -> End {
        End { code: CUDA_FAILED, why }
    }

    /// As it is remembered.
    pub(super) fn told(&self) -> String {
        format!("exit code {}: {}", self.code, self.why)
    }
}

impl Process {
    /// A program with a context on each of these GPUs.
    pub(super) fn new(pid: u32, gpus: Vec<u32>) -> Process {
        Process { pid, gpus, held_mib: 0, busy_percent: 0 }
    }

    /// Whether something is to be done at this age.
    pub(super) fn is_due(&self, work: &Workload, age: Duration) -> bool {
        let (wanted, busy) = (work.wanted_mib(age), work.wanted_percent(age));
        wanted != self.held_mib || busy != self.busy_percent || work.ends.is_some_and(|(at, _)| age >= at)
    }

    /// Does what is due at this age. The answer is the program's end; its memory is then still taken.
    pub(super) fn go_on(&mut self, node: &mut Node, work: &Workload, age: Duration) -> Option<End> {
        let wanted = work.wanted_mib(age);
        let more = wanted.saturating_sub(self.held_mib) << 20;
        let less = self.held_mib.saturating_sub(wanted) << 20;
        for gpu in &self.gpus {
            let changed = match more {
                0 if less == 0 => Ok(()),
                0 => node.free(self.pid, *gpu, less),
                more => node.allocate(self.pid, *gpu, more),
            };
            if let Err(error) = changed {
                return Some(End::refused(match error {
                    refusal @ GpuError::OutOfMemory { .. } => format!("{OUT_OF_MEMORY}: {refusal}"),
                    other => other.to_string(),
                }));
            }
        }
        self.held_mib = wanted;
        self.busy_percent = work.wanted_percent(age);
        let (at, code) = work.ends?;
        (age >= at).then(|| End { code, why: format!("ended by itself after {at:?}") })
    }
}

/// How busy programs are, for a look whether that has changed.
pub(super) fn busy_of(running: &[&Process]) -> Vec<(u32, u64)> {
    running.iter().map(|process| (process.pid, process.busy_percent)).collect()
}

/// Shows how busy the programs of a node keep its GPUs; an MPS client no more than its share of threads lets it.
pub(super) fn show_busy<'p>(node: &mut Node, running: impl Iterator<Item = &'p Process>) {
    let mut busy: BTreeMap<u32, u64> = node.gpus().iter().map(|gpu| (gpu.index, 0)).collect();
    for process in running {
        for gpu in &process.gpus {
            let found = node.processes_on(*gpu).find(|found| found.pid == process.pid);
            let share = found.map_or(0, |found| u64::from(found.thread_percentage_tenths) / 10);
            *busy.entry(*gpu).or_default() += process.busy_percent.min(share);
        }
    }
    for (gpu, percent) in busy {
        // it is one of the node's own GPUs
        let _known = node.set_utilization(gpu, u32::try_from(percent).unwrap_or(100));
    }
}

/// The GPUs that a container sees: index and UUID. Of MIG devices CUDA uses the first alone, whatever else is there.
///
/// # Errors
/// It sees none.
pub(super) fn visible(node: &Node, container: &ContainerView) -> Result<Vec<(u32, String)>, String> {
    let visible = container.env.get(VISIBLE).map(String::as_str).unwrap_or_default();
    let named = |uuid: &str| visible.split(',').any(|name| name == uuid);
    let has_node = |minor: u32| {
        let inside = format!("-> /dev/nvidia{minor} (");
        container.cdi_nodes.iter().any(|node| node.contains(&inside))
    };
    let has_capability = |gpu: &Gpu, mig: &MigDevice<'_>| {
        let minors = mig_minors(gpu.minor, mig.instance);
        let inside = minors.map(|(_, compute)| format!("-> /dev/nvidia-caps/nvidia-cap{compute} ("));
        inside.is_some_and(|inside| container.cdi_nodes.iter().any(|node| node.contains(&inside)))
    };
    let devices = node.gpus().iter().flat_map(|gpu| gpu.mig_devices().map(move |mig| (gpu, mig)));
    let mut devices = devices.filter(|(gpu, mig)| named(&mig.uuid()) || has_capability(gpu, mig));
    if let Some((gpu, mig)) = devices.next() {
        return Ok(vec![(gpu.index, mig.uuid())]);
    }
    let gpus: Vec<(u32, String)> = node
        .gpus()
        .iter()
        .filter(|gpu| named(gpu.uuid.as_str()) || has_node(gpu.minor))
        .map(|gpu| (gpu.index, gpu.uuid.as_str().to_owned()))
        .collect();
    match gpus.is_empty() {
        true => {
            let names = container.cdi.join(", ");
            Err(format!("CUDA_ERROR_NO_DEVICE: `{VISIBLE}` is `{visible}`, CDI names are `{names}`"))
        }
        false => Ok(gpus),
    }
}

/// A program of its own on a GPU or MIG device that its container sees.
pub(super) fn program(node: &Node, pid: u32, (index, uuid): &(u32, String), name: &str) -> ProcessSpec {
    let gpu = node.gpu(*index).ok();
    let mig = gpu.and_then(|gpu| gpu.mig_devices().find(|mig| mig.uuid() == *uuid));
    let instance = mig.map(|mig| mig.instance);
    ProcessSpec { instance, ..ProcessSpec::new(pid, *index, ProcessKind::Plain, name) }
}

/// The host's directory behind the container's MPS pipe directory, if it has one.
pub(super) fn pipe_directory(container: &ContainerView) -> Option<String> {
    let inside = container.env.get(PIPE_DIRECTORY)?;
    container.mounts.iter().find_map(|mount| {
        let mount = mount.strip_suffix(" (ro)").unwrap_or(mount);
        let (host, mounted) = mount.split_once(" -> ")?;
        let below = std::path::Path::new(inside).strip_prefix(mounted).ok()?;
        let below = below.to_str()?;
        Some(if below.is_empty() { host.to_owned() } else { format!("{host}/{below}") })
    })
}

/// The memory limit that a container's environment sets for its MPS clients, in bytes: the lowest of its GPUs'.
pub(super) fn own_memory_limit(container: &ContainerView) -> Option<u64> {
    let limits = container.env.get(MEMORY_LIMIT)?.split(',');
    let bytes = |limit: &str| {
        let amount = limit.split_once('=')?.1.trim_end_matches('B');
        let shift = if amount.ends_with('G') { 30 } else { 20 };
        amount.trim_end_matches(['M', 'G']).parse::<u64>().ok().map(|number| number << shift)
    };
    limits.filter_map(bytes).min()
}

/// The active thread percentage that a container's environment sets for its MPS clients.
pub(super) fn own_percentage(container: &ContainerView) -> Option<u32> {
    container.env.get(THREAD_PERCENTAGE)?.parse().ok()
}

/// Whether a container starts again after it ended.
pub(super) fn starts_again(restart_policy: &str, code: i32) -> bool {
    restart_policy == "Always" || restart_policy == "OnFailure" && code != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipe_directory_is_found_through_the_mount_that_holds_it() {
        let mut container = ContainerView::default();
        assert_eq!(pipe_directory(&container), None);
        container.env.insert(PIPE_DIRECTORY.to_owned(), "/mps/gpu/pipe".to_owned());
        assert_eq!(pipe_directory(&container), None);
        container.mounts = vec!["/dev/shm -> /dev/shm".to_owned(), "<mpsRoot>/x -> /mps (ro)".to_owned()];
        assert_eq!(pipe_directory(&container).as_deref(), Some("<mpsRoot>/x/gpu/pipe"));
        container.mounts = vec!["<mpsRoot>/y -> /mps/gpu/pipe".to_owned()];
        assert_eq!(pipe_directory(&container).as_deref(), Some("<mpsRoot>/y"));
    }

    #[test]
    fn a_program_runs_on_the_first_mig_device_that_its_container_sees() {
        let mut spec = fake_gpu::NodeSpec::uniform("gpu-1", "a100-sxm4-40gb", 2);
        spec.gpus[1].mig = Some(vec!["3g.20gb".to_owned(), "1g.5gb".to_owned()]);
        let mut node = Node::new(&spec).unwrap();
        let uuids: Vec<String> = node.gpus()[1].mig_devices().map(|mig| mig.uuid()).collect();
        let mut container = ContainerView::default();
        container.env.insert(VISIBLE.to_owned(), uuids.join(","));
        assert_eq!(visible(&node, &container).unwrap(), [(1, uuids[0].clone())]);
        container.env.clear();
        // 1g.5gb is GPU instance 7 of the second GPU
        container.cdi_nodes = ["nvidia1", "nvidia-caps/nvidia-cap201", "nvidia-caps/nvidia-cap202"]
            .map(|name| format!("/dev/{name} -> /dev/{name} (rw)"))
            .to_vec();
        let seen = visible(&node, &container).unwrap();
        assert_eq!(seen, [(1, uuids[1].clone())]);
        let spec = program(&node, 7, &seen[0], "train");
        node.start_process(&spec).unwrap();
        let mut process = Process::new(7, vec![1]);
        let work = |mib| Workload {
            pods: crate::scenario::Selection::Names(Vec::new()),
            memory: vec![(Duration::ZERO, mib)],
            compute: Vec::new(),
            ends: None,
        };
        assert_eq!(process.go_on(&mut node, &work(4000), Duration::ZERO), None);
        let end = process.go_on(&mut node, &work(5000), Duration::ZERO).unwrap();
        assert!(end.why.contains(OUT_OF_MEMORY), "{}", end.why);
    }

    #[test]
    fn an_mps_client_limits_itself_by_its_environment() {
        let mut container = ContainerView::default();
        assert_eq!((own_memory_limit(&container), own_percentage(&container)), (None, None));
        for (text, mib) in [("0=1G,1=512M", 512), ("0=2048M", 2048), ("0=10G", 10240), ("0=300MB", 300)] {
            container.env.insert(MEMORY_LIMIT.to_owned(), text.to_owned());
            assert_eq!(own_memory_limit(&container), Some(mib << 20), "{text}");
        }
        container.env.insert(THREAD_PERCENTAGE.to_owned(), "25".to_owned());
        assert_eq!(own_percentage(&container), Some(25));
    }

    #[test]
    fn a_container_starts_again_as_its_pod_says() {
        let table =
            [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)];
        for (policy, code, again) in table {
            assert_eq!(starts_again(policy, code), again, "{policy} {code}");
        }
    }
}
