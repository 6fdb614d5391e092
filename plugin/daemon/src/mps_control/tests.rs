//! Against a small shell script that keeps a process per pipe directory and writes down every command.

use plugin_core::config::ResourceName;
use plugin_core::mps::{ClientLimits, DaemonGpu};

use super::*;
use crate::mps_daemon::PID_FILE;

const SCRIPT: &str = r#"#!/bin/sh
# a daemon is a copy of sleep under the daemon's name; its settings are files in the pipe directory
dir="$CUDA_MPS_PIPE_DIRECTORY"
pid="$dir/nvidia-cuda-mps-control.pid"
echo "$CUDA_VISIBLE_DEVICES" > "$dir/visible"
alive() { [ -f "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
if [ "$1" = "-d" ]; then
  echo "$@" > "$dir/arguments"
  [ -f "$dir/../../../refuse" ] && { echo "An instance of this daemon is already running"; exit 1; }
  "$(dirname "$0")/nvidia-cuda-mps-daemon" 60 </dev/null >/dev/null 2>&1 &
  echo $! > "$pid"
  echo 100.0 > "$dir/percentage"
  exit 0
fi
alive || { echo "Cannot find MPS control daemon process" >&2; exit 1; }
read -r command
echo "$command" >> "$dir/commands"
case "$command" in
  get_default_active_thread_percentage) cat "$dir/percentage" ;;
  set_default_active_thread_percentage*) echo "${command##* }.0" > "$dir/percentage" ;;
  get_server_list) [ -f "$dir/status" ] && echo 77 || true ;;
  "get_server_status 77") cat "$dir/status" ;;
  quit) kill "$(cat "$pid")"; rm -f "$pid" ;;
esac
"#;

struct Bench {
    _directory: tempfile::TempDir,
    control: MpsControl,
    gpu: GpuUuid,
    wanted: DesiredDaemon,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nvidia-cuda-mps-control");
        fs::write(&program, SCRIPT).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|p| Path::new(p).exists()).unwrap();
        fs::copy(sleep, directory.path().join("nvidia-cuda-mps-daemon")).unwrap();
        let control = MpsControl { program, root: MpsRoot(directory.path().join("mps")), multi_user: false };
        let wanted = DesiredDaemon {
            resource: ResourceName::gpu().shared(),
            replicas: 4,
            active_thread_percentage: 25,
            pinned_memory_limit_mib: Some(3840),
            client: ClientLimits::default(),
            gpus: Vec::new(),
        };
        Bench { _directory: directory, control, gpu: GpuUuid::new("GPU-a"), wanted }
    }

    fn pipe(&self) -> PathBuf {
        self.control.root.0.join("nvidia.com/gpu.shared/GPU-a/pipe")
    }

    fn commands(&self) -> Vec<String> {
        fs::read_to_string(self.pipe().join("commands")).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_started_daemon_sees_one_gpu_and_has_its_limits() {
    let bench = Bench::new();
    let process = bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    assert_eq!(fs::read_to_string(bench.pipe().join("visible")).unwrap().trim(), "GPU-a");
    let commands = bench.commands();
    assert!(commands.contains(&"set_default_device_pinned_mem_limit 0 3840M".to_owned()), "{commands:?}");
    assert!(commands.contains(&"set_default_active_thread_percentage 25".to_owned()), "{commands:?}");
    let mode = fs::metadata(bench.pipe()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, DIRECTORY_MODE);
    bench.control.stop(&bench.gpu, &bench.wanted).await.unwrap();
    process.ended().await;
}

#[tokio::test]
async fn a_daemon_that_answers_is_adopted_and_gets_its_limits_again() {
    let bench = Bench::new();
    let first = bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    let pid = fs::read_to_string(bench.pipe().join(PID_FILE)).unwrap();
    let again = DesiredDaemon { active_thread_percentage: 50, ..bench.wanted.clone() };
    bench.control.start(&bench.gpu, &again).await.unwrap();
    assert_eq!(fs::read_to_string(bench.pipe().join(PID_FILE)).unwrap(), pid);
    assert!(bench.commands().contains(&"set_default_active_thread_percentage 50".to_owned()));
    bench.control.stop(&bench.gpu, &again).await.unwrap();
    first.ended().await;
}

#[tokio::test]
async fn stopping_a_daemon_that_is_not_there_is_success() {
    let bench = Bench::new();
    bench.control.stop(&bench.gpu, &bench.wanted).await.unwrap();
}

#[tokio::test]
async fn a_refused_start_tells_what_the_program_said() {
    let bench = Bench::new();
    fs::create_dir_all(&bench.control.root.0).unwrap();
    fs::create_dir_all(bench.control.root.0.join("nvidia.com")).unwrap();
    fs::write(bench.control.root.0.join("nvidia.com/refuse"), "").unwrap();
    let error = bench.control.start(&bench.gpu, &bench.wanted).await.unwrap_err();
    assert!(error.to_string().contains("already running"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bench = Bench::new();
    let control = MpsControl { program: "/nonexistent/control".into(), ..bench.control.clone() };
    let error = control.start(&bench.gpu, &bench.wanted).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/control"), "{error}");
}

#[tokio::test]
async fn a_daemon_for_a_resource_sees_its_gpus_in_order_and_limits_each_by_its_ordinal() {
    let bench = Bench::new();
    let of = |uuid: &str, mib| DaemonGpu { uuid: GpuUuid::new(uuid), memory_mib: Some(mib) };
    // not the order of the names, and not that of NVML's indexes
    let gpus = vec![of("GPU-b", 1000), of("GPU-a", 2000)];
    let wanted = DesiredDaemon { gpus, ..bench.wanted.clone() };
    let first = GpuUuid::new("GPU-b");
    bench.control.start(&first, &wanted).await.unwrap();
    let pipe = bench.control.root.0.join("nvidia.com/gpu.shared/pipe");
    assert_eq!(fs::read_to_string(pipe.join("visible")).unwrap().trim(), "GPU-b,GPU-a");
    let commands = fs::read_to_string(pipe.join("commands")).unwrap();
    let limits: Vec<&str> = commands.lines().filter(|line| line.contains("mem_limit")).collect();
    assert_eq!(
        limits,
        ["set_default_device_pinned_mem_limit 0 1000M", "set_default_device_pinned_mem_limit 1 2000M"]
    );
    bench.control.stop(&first, &wanted).await.unwrap();
}

#[tokio::test]
async fn a_pipe_directory_is_the_same_one_after_its_daemon_died() {
    let bench = Bench::new();
    let first = bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    let identity = crate::files::Identity::of(&bench.pipe());
    first.kill().unwrap();
    first.ended().await;
    bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    assert_eq!(crate::files::Identity::of(&bench.pipe()), identity, "holders have mounted it");
    bench.control.stop(&bench.gpu, &bench.wanted).await.unwrap();
}

#[tokio::test]
async fn a_server_in_fault_and_a_silent_daemon_are_seen() {
    let bench = Bench::new();
    bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    assert_eq!(bench.control.look(&bench.gpu, &bench.wanted).await, None, "it has no server yet");
    fs::write(bench.pipe().join("status"), "ACTIVE\n").unwrap();
    assert_eq!(bench.control.look(&bench.gpu, &bench.wanted).await, None);
    fs::write(bench.pipe().join("status"), "FAULT\n").unwrap();
    let fault = bench.control.look(&bench.gpu, &bench.wanted).await.unwrap();
    assert!(fault.contains("server 77") && fault.contains("`FAULT`"), "{fault}");
    bench.control.stop(&bench.gpu, &bench.wanted).await.unwrap();
    let silent = bench.control.look(&bench.gpu, &bench.wanted).await.unwrap();
    assert!(silent.contains("does not answer") && silent.contains("Cannot find"), "{silent}");
}

#[tokio::test]
async fn a_daemon_serves_all_users_when_it_is_told_to() {
    let mut bench = Bench::new();
    bench.control.multi_user = true;
    bench.control.start(&bench.gpu, &bench.wanted).await.unwrap();
    let arguments = fs::read_to_string(bench.pipe().join("arguments")).unwrap();
    assert_eq!(arguments.trim(), "-d -multiuser-server");
    bench.control.stop(&bench.gpu, &bench.wanted).await.unwrap();
}
