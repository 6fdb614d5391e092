//! The program nvidia-cuda-mps-control, as an MPS supervisor and CUDA programs use it.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test, in its helpers too")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake_gpu::mps::{ClientError, ClientSpec, connect};
use fake_gpu::{ComputeMode, NodeFile, NodeSpec, ProcessKind, STATE_VARIABLE};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nvidia-cuda-mps-control");
/// Longest wait for something that takes milliseconds.
const BOUND: Duration = Duration::from_secs(20);

/// A node and one pipe directory; a daemon that still runs is ended with it.
struct Bench {
    directory: tempfile::TempDir,
    node: NodeFile,
    visible: Option<String>,
    pipe: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spec = NodeSpec::uniform("gpu-1", "tesla-t4", 2);
        let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
        let pipe = directory.path().join("pipe");
        Self { directory, node, visible: None, pipe }
    }

    fn program(&self, argument: Option<&str>) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(argument)
            .env_remove("CUDA_VISIBLE_DEVICES")
            .env("CUDA_MPS_PIPE_DIRECTORY", &self.pipe)
            .env("CUDA_MPS_LOG_DIRECTORY", self.directory.path().join("log"))
            .env(STATE_VARIABLE, self.node.path())
            .envs(self.visible.iter().map(|visible| ("CUDA_VISIBLE_DEVICES", visible)));
        command
    }

    /// `-d`, with all its output: returns only when nobody holds the output open any more.
    fn start(&self) -> Output {
        self.program(Some("-d")).stdin(Stdio::null()).output().unwrap()
    }

    /// Commands on standard input.
    fn say(&self, lines: &str) -> Output {
        let mut command = self.program(None);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Without a daemon the program does not read at all.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn said(&self, lines: &str) -> String {
        let output = self.say(lines);
        assert!(output.status.success(), "{lines}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn client(&self, pid: u32) -> Result<u32, ClientError> {
        let name = "train".to_owned();
        connect(
            &self.pipe,
            &ClientSpec { pid, uid: 0, gpus: Vec::new(), limit_bytes: 0, thread_percentage: 0, name },
        )
    }

    fn daemon_pids(&self) -> Vec<u32> {
        self.node.snapshot().unwrap().mps_daemons.iter().map(|daemon| daemon.pid).collect()
    }

    fn nothing_is_left(&self) {
        assert_eq!(std::fs::read_dir(&self.pipe).unwrap().count(), 0, "pipe directory is not empty");
        let snapshot = self.node.snapshot().unwrap();
        assert_eq!(snapshot.mps_daemons, []);
        assert!(snapshot.gpus.iter().all(|gpu| gpu.processes.is_empty()), "{snapshot:?}");
    }

    /// Waits until `holds`, on every change of the node and at least every 20 ms.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < BOUND, "{what} did not come true");
            self.node.wait_change(self.node.generation(), Duration::from_millis(20));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for pid in self.daemon_pids() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn lives(pid: u32) -> bool {
    fake_gpu::started_ticks(pid).is_some()
}

fn first_line(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned()
}

#[test]
fn a_daemon_starts_answers_and_quits_without_a_trace() {
    let bench = Bench::new();
    let started = bench.start();
    assert!(started.status.success(), "{started:?}");
    let pid: u32 = first_line(&bench.pipe.join("nvidia-cuda-mps-control.pid")).parse().unwrap();
    assert_eq!(bench.daemon_pids(), [pid]);
    let commands = "get_default_active_thread_percentage\nset_default_active_thread_percentage 25\n\
                    set_default_device_pinned_mem_limit 0 3840M\nget_default_device_pinned_mem_limit 0\n";
    assert_eq!(bench.said(commands), "100.0\n25.0\n3840M");
    assert_eq!(bench.said("quit\n"), "");
    bench.nothing_is_left();
    bench.until("the daemon's end", || !lives(pid));
}

#[test]
fn without_a_daemon_commands_fail_as_with_the_real_program() {
    let bench = Bench::new();
    for _ in 0..2 {
        let output = bench.say("get_server_list\n");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "Cannot find MPS control daemon process\n");
        // The second time with a directory that a daemon could have left.
        std::fs::create_dir_all(&bench.pipe).unwrap();
    }
    assert!(matches!(bench.client(1), Err(ClientError::NoDaemon { .. })));
}

#[test]
fn a_second_daemon_on_one_pipe_directory_is_refused() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    let second = bench.start();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(String::from_utf8(second.stderr).unwrap(), "An instance of this daemon is already running\n");
    assert_eq!(bench.said("get_server_list\nquit\n"), "");
    assert!(bench.start().status.success(), "the directory is free again at once");
    bench.said("quit\n");
    bench.nothing_is_left();
}

#[test]
fn clients_share_an_exclusive_gpu_through_a_real_server_process() {
    let bench = Bench::new();
    bench.node.set_compute_mode(0, ComputeMode::ExclusiveProcess).unwrap();
    assert!(bench.start().status.success());
    bench.said("set_default_device_pinned_mem_limit 0 1G\nset_default_active_thread_percentage 25\n");
    let server = bench.client(9_000_001).unwrap();
    assert_eq!(bench.client(9_000_002).unwrap(), server);
    assert!(lives(server));
    assert_eq!(bench.said("get_server_list\n"), server.to_string());
    assert_eq!(bench.said(&format!("get_client_list {server}\n")), "9000001\n9000002");
    let kinds: Vec<ProcessKind> =
        bench.node.snapshot().unwrap().gpus[0].processes.iter().map(|process| process.kind).collect();
    assert_eq!(kinds, [ProcessKind::MpsServer, ProcessKind::MpsClient, ProcessKind::MpsClient]);
    bench.node.allocate(9_000_001, 0, 1 << 30).unwrap();
    assert!(bench.node.allocate(9_000_001, 0, 1).is_err());
    bench.node.allocate(9_000_002, 0, 1 << 30).unwrap();
    bench.said("quit -t 0\n");
    bench.nothing_is_left();
    bench.until("the server's end", || !lives(server));
    let log = |name: &str| std::fs::read_to_string(bench.directory.path().join("log").join(name)).unwrap();
    assert!(log("control.log").contains(&format!("NEW SERVER {server}: Ready")), "{}", log("control.log"));
    assert!(log("control.log").contains("] Starting control daemon using socket "));
    assert!(log("server.log").contains("client 9000001"));
}

#[test]
fn quit_waits_for_clients_to_finish() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    bench.client(9_000_001).unwrap();
    let mut command = bench.program(None);
    let mut quit: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    quit.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    // Asked as a client that is there already, so that the question itself lets nobody in.
    let closed = |refused: ClientError| refused.to_string().contains("quitting");
    bench.until("the closed door", || bench.client(9_000_001).is_err_and(closed));
    assert_eq!(quit.try_wait().unwrap(), None, "quit came back with a client running");
    bench.node.stop_process(9_000_001).unwrap();
    assert!(quit.wait().unwrap().success());
    bench.nothing_is_left();
}

#[test]
fn a_signal_ends_the_daemon_and_its_servers() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    let server = bench.client(9_000_001).unwrap();
    let pid = bench.daemon_pids()[0];
    signal("-TERM", pid);
    bench.until("the daemon's end", || !lives(pid) && !lives(server));
    bench.nothing_is_left();
}

#[test]
fn a_killed_daemon_leaves_a_directory_that_the_next_one_takes_over() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    let server = bench.client(9_000_001).unwrap();
    let pid = bench.daemon_pids()[0];
    signal("-KILL", pid);
    bench.until("the end of daemon and server", || !lives(pid) && !lives(server));
    assert!(bench.pipe.join("control").exists());
    assert_eq!(bench.say("get_server_list\n").status.code(), Some(1));
    assert_eq!(bench.daemon_pids(), [0; 0]);
    assert!(bench.start().status.success());
    assert_eq!(bench.said("get_server_list\nquit\n"), "");
}

#[test]
fn a_killed_server_is_replaced_for_the_next_client() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    let server = bench.client(9_000_001).unwrap();
    signal("-KILL", server);
    bench.until("the end of the server", || !lives(server));
    let next = bench.client(9_000_002).unwrap();
    assert_ne!(next, server);
    assert_eq!(bench.said("get_server_list\n"), next.to_string());
    bench.said("quit -t 0\n");
    bench.nothing_is_left();
}

#[test]
fn visible_devices_choose_the_gpus_and_count_the_ordinals() {
    let mut bench = Bench::new();
    let uuid = bench.node.snapshot().unwrap().gpus[1].uuid.clone();
    bench.visible = Some(uuid.clone());
    assert!(bench.start().status.success());
    let snapshot = bench.node.snapshot().unwrap();
    assert_eq!(snapshot.gpus[0].mps_daemon_pid, None);
    assert_eq!(snapshot.gpus[1].mps_daemon_pid, Some(bench.daemon_pids()[0]));
    bench.said(&format!("set_default_device_pinned_mem_limit {uuid} 2G\n"));
    assert_eq!(bench.said("get_default_device_pinned_mem_limit 0\n"), "2048M");
    let other = bench.say("set_default_device_pinned_mem_limit 1 2G\n");
    assert_eq!(other.status.code(), Some(1));
    bench.client(9_000_001).unwrap();
    assert_eq!(bench.node.snapshot().unwrap().gpus[0].processes, []);
    bench.said("quit -t 0\n");
}

#[test]
fn a_pipe_directory_longer_than_a_socket_address_works() {
    let mut bench = Bench::new();
    bench.pipe = bench.directory.path().join("d".repeat(120)).join("nvidia.com").join("gpu.shared");
    let started = bench.start();
    assert!(started.status.success(), "{started:?}");
    bench.client(9_000_001).unwrap();
    bench.said("quit -t 0\n");
    bench.nothing_is_left();
}

#[test]
fn the_foreground_daemon_ends_with_quit() {
    let bench = Bench::new();
    let mut daemon = bench.program(Some("-f")).stdin(Stdio::null()).spawn().unwrap();
    bench.until("the daemon", || bench.say("get_server_list\n").status.success());
    bench.said("quit\n");
    assert!(daemon.wait().unwrap().success());
    bench.nothing_is_left();
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_leaves_nothing() {
    let mut bench = Bench::new();
    bench.visible = Some("7".to_owned());
    let output = bench.start();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("CUDA_VISIBLE_DEVICES is `7`"));
    let mut command = bench.program(Some("-d"));
    let output = command.env(STATE_VARIABLE, "/nonexistent/state").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/state"));
    assert!(!bench.pipe.exists());
}

#[test]
fn wrong_commands_and_arguments_are_refused() {
    let bench = Bench::new();
    assert!(bench.start().status.success());
    let output = bench
        .say("frobnicate\nset_default_active_thread_percentage 200\nget_default_active_thread_percentage\n");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("unknown command `frobnicate`\nwrong arguments"), "{said}");
    assert!(said.ends_with("100.0\n"), "{said}");
    let output = bench.program(Some("--help")).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: nvidia-cuda-mps-control"));
    bench.said("quit\n");
}

#[test]
fn a_caller_does_not_wait_for_the_daemon_to_close_its_files() {
    let bench = Bench::new();
    // The shell hands a pipe down as file 3 too; `cat` ends only when everybody has closed it.
    let mut shell = Command::new("sh");
    let script = format!("(\"{PROGRAM}\" -d 3>&1; echo started) | cat");
    let mut child = shell
        .args(["-c", &script])
        .env("CUDA_MPS_PIPE_DIRECTORY", &bench.pipe)
        .env("CUDA_MPS_LOG_DIRECTORY", bench.directory.path().join("log"))
        .env(STATE_VARIABLE, bench.node.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "started\n");
    assert!(child.wait().unwrap().success());
    bench.said("quit\n");
}
