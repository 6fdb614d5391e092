//! How long everything takes: the seed draws from these ranges, and so decides which of two racing things comes first.
//!
//! The ranges are wide on purpose: a plugin must be right for every order that a busy node can produce.

/// A range of nanoseconds from which a duration is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latency {
    /// Shortest.
    pub(super) least: u64,
    /// Longest.
    pub(super) most: u64,
}

const fn micros(least: u64, most: u64) -> Latency {
    Latency { least: least * 1_000, most: most * 1_000 }
}

const fn millis(least: u64, most: u64) -> Latency {
    micros(least * 1_000, most * 1_000)
}

/// One nanosecond to another: a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A process's event loop takes the next event.
pub(super) const LOOP: Latency = micros(1, 200);
/// A task puts an event into the loop's queue.
pub(super) const TASK: Latency = micros(1, 100);
/// A message over a Unix socket, one way.
pub(super) const SOCKET: Latency = micros(30, 2_000);
/// The kernel tells of a changed directory.
pub(super) const DIRECTORY: Latency = micros(20, 5_000);
/// A change that the kernel does not tell is found by looking (the plugin looks every two seconds).
pub(super) const SLOW_LOOK: Latency = millis(1, 2_000);
/// A small file is written durably.
pub(super) const DISK: Latency = micros(100, 20_000);
/// NVML is loaded and lists all GPUs.
pub(super) const NVML_FIND: Latency = millis(1, 300);
/// One NVML call on one GPU.
pub(super) const NVML_CALL: Latency = micros(50, 20_000);
/// nvidia-smi starts, sets a time slice and ends.
pub(super) const NVIDIA_SMI: Latency = millis(1, 1_500);
/// The plugin kills an nvidia-smi that does not end.
pub(super) const NVIDIA_SMI_MAX: u64 = 15 * SECOND;
/// A request to the API server, one way.
pub(super) const API: Latency = micros(200, 20_000);
/// The API server refuses a connection while it is down.
pub(super) const API_REFUSED: Latency = micros(50, 2_000);
/// A watch delivers a change.
pub(super) const WATCH: Latency = micros(200, 50_000);
/// The scheduler's next pass after a change.
pub(super) const SCHEDULER: Latency = micros(500, 20_000);
/// A Deployment's pods are made or deleted after a change.
pub(super) const REPLICAS: Latency = millis(1, 100);
/// A DaemonSet's pod is made or deleted after a change of labels.
pub(super) const DAEMON_SET: Latency = millis(2, 200);
/// A program is started.
pub(super) const PROCESS_START: Latency = millis(2, 100);
/// A container of a pod is created and started.
pub(super) const CONTAINER_START: Latency = millis(10, 800);
/// A kubelet starts until it serves its sockets.
pub(super) const KUBELET_START: Latency = millis(5, 300);
/// An MPS control daemon starts and takes its limits.
pub(super) const MPS_START: Latency = millis(30, 500);
/// An MPS control daemon that runs already is given its limits again.
pub(super) const MPS_ADOPT: Latency = millis(3, 50);
/// An MPS control daemon quits.
pub(super) const MPS_STOP: Latency = millis(5, 300);
/// A kubelet tries again to reach a plugin that registers.
pub(super) const DIAL_AGAIN: Latency = millis(50, 1_000);
/// How far apart two of the kubelet's quick status writes at its start are.
pub(super) const QUICK_TICK: Latency = millis(90, 110);
/// A machine boots.
pub(super) const BOOT: Latency = millis(5_000, 60_000);

/// Longest time for a call to the kubelet, as the plugin bounds it.
pub(super) const CALL_TIME_MAX: u64 = 10 * SECOND;
/// How long the kubelet tries to reach a plugin that registers (Kubernetes 1.36).
pub(super) const DIAL_TIME_MAX: u64 = 10 * SECOND;
/// How long the supervisor waits before it writes its report again that the disk had no room for.
pub(super) const REPORT_AGAIN: u64 = 2 * SECOND;
/// How long a command to an MPS control daemon may take, as the supervisor bounds it.
pub(super) const MPS_COMMAND_MAX: u64 = 5 * SECOND;
/// How long an MPS control daemon may take until it answers, as the supervisor bounds it.
pub(super) const MPS_START_MAX: u64 = 10 * SECOND;
/// Between two looks at an MPS control daemon.
pub(super) const MPS_LOOK: u64 = 5 * SECOND;
/// How long an MPS control daemon may take to quit, as the supervisor bounds it.
pub(super) const MPS_QUIT_MAX: u64 = 10 * SECOND;
/// The kubelet's first back-off for a container that died.
pub(super) const BACK_OFF: u64 = 10 * SECOND;
/// How long a program may take to stop before it is killed: Kubernetes' grace period where a pod names none.
pub(super) const STOP_TIME_MAX: u64 = 30 * SECOND;
/// How long an NVML call about one GPU may take, as the supervisor bounds it.
pub(super) const NVML_EFFECT_MAX: u64 = 5 * SECOND;
/// How long a look waits for GPUs that do not answer while others do, as in production.
pub(super) const GPU_SILENCE: u64 = 5 * SECOND;
