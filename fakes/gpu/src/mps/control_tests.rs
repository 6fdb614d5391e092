//! The control daemon's decisions, without processes or sockets.

use std::io;

use super::*;
use crate::process::{ProcessKind, ProcessSpec};
use crate::spec::NodeSpec;

/// Servers that are numbers.
struct Numbers(u32);

impl Launcher for Numbers {
    fn launch(&mut self) -> io::Result<(u32, u64)> {
        self.0 += 1;
        Ok((self.0, 0))
    }

    fn end(&mut self, _pid: u32) {}
}

struct Bench {
    _directory: tempfile::TempDir,
    node: Arc<NodeFile>,
    control: Control,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spec = NodeSpec::uniform("gpu-1", "tesla-t4", 2);
        let node = Arc::new(NodeFile::create(&directory.path().join("state"), &spec).unwrap());
        let gpus =
            node.read(|node| node.gpus().iter().map(|g| (g.index, g.uuid.as_str().to_owned())).collect());
        let logs = Logs::open(None, 1);
        let control = Control::new(Arc::clone(&node), gpus.unwrap(), Box::new(Numbers(100)), logs);
        Self { _directory: directory, node, control }
    }

    fn ok(&mut self, line: &str) -> String {
        let reply = self.control.answer(line.parse().unwrap());
        assert!(reply.ok, "{line}: {}", reply.text);
        reply.text
    }

    fn error(&mut self, line: &str) -> String {
        let reply = self.control.answer(line.parse().unwrap());
        assert!(!reply.ok, "{line}: {}", reply.text);
        reply.text
    }
}

#[test]
fn the_first_client_starts_a_server_and_the_next_shares_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.ok("get_server_list"), "");
    assert_eq!(bench.ok("@connect 1 0 - 0 train"), "101");
    assert_eq!(bench.ok("@connect 2 0 - 0 train"), "101");
    assert_eq!(bench.ok("get_server_list"), "101");
    assert_eq!(bench.ok("get_client_list 101"), "1\n2");
    assert_eq!(bench.ok("get_server_status 101"), "ACTIVE");
    assert!(bench.ok("ps").lines().nth(1).unwrap().ends_with("train"));
    assert_eq!(bench.ok("get_device_client_list").lines().count(), 4);
}

#[test]
fn limits_hold_from_the_moment_the_real_daemon_says() {
    let mut bench = Bench::new();
    assert_eq!(bench.ok("get_default_active_thread_percentage"), "100.0");
    assert_eq!(bench.ok("set_default_active_thread_percentage 25"), "25.0");
    assert_eq!(bench.ok("get_default_device_pinned_mem_limit 0"), "unset");
    bench.ok("set_default_device_pinned_mem_limit 0 2G");
    bench.ok("start_server -uid 0");
    bench.ok("set_default_device_pinned_mem_limit 0 1G");
    assert_eq!(bench.ok("get_device_pinned_mem_limit 101 0"), "2048M");
    bench.ok("@connect 1 0 - 0 train");
    bench.ok("set_device_pinned_mem_limit 101 0 3G");
    bench.ok("@connect 2 0 - 0 train");
    bench.ok(&format!("@connect 3 0 - {} train", 1 << 30));
    let gpus = bench.node.snapshot().unwrap().gpus;
    let limits = |pid| {
        let process = gpus[0].processes.iter().find(|process| process.pid == pid).unwrap();
        (process.limit_bytes.map(|bytes| bytes >> 30), process.thread_percentage_tenths)
    };
    assert_eq!([limits(1), limits(2), limits(3)], [(Some(2), 250), (Some(3), 250), (Some(1), 250)]);
    assert_eq!(gpus[1].processes.iter().find(|process| process.pid == 1).unwrap().limit_bytes, None);
}

#[test]
fn a_client_gets_only_the_gpus_its_container_sees() {
    let mut bench = Bench::new();
    let uuid = bench.node.snapshot().unwrap().gpus[1].uuid.clone();
    bench.ok(&format!("@connect 1 0 {uuid} 0 train"));
    let clients = |gpu: usize| bench.node.snapshot().unwrap().gpus[gpu].processes.len();
    assert_eq!((clients(0), clients(1)), (1, 2), "server on both, client on the second");
    assert!(bench.error("@connect 2 0 GPU-none 0 train").contains("GPU-none"));
}

#[test]
fn another_user_waits_for_the_clients_of_the_first() {
    let mut bench = Bench::new();
    bench.ok("@connect 1 0 - 0 train");
    assert!(bench.error("@connect 2 1000 - 0 train").contains("another user"));
    bench.node.stop_process(1).unwrap();
    assert_eq!(bench.ok("@connect 2 1000 - 0 train"), "102");
    assert_eq!(bench.ok("get_server_list"), "102");
}

#[test]
fn a_gpu_that_is_taken_exclusively_gets_no_server() {
    let mut bench = Bench::new();
    bench.node.set_compute_mode(1, crate::ComputeMode::ExclusiveProcess).unwrap();
    bench.node.start_process(&ProcessSpec::new(7, 1, ProcessKind::Plain, "train")).unwrap();
    assert!(bench.error("start_server -uid 0").contains("ExclusiveProcess"));
    assert_eq!(bench.ok("get_server_list"), "");
    assert_eq!(bench.node.snapshot().unwrap().gpus[0].processes, []);
}

#[test]
fn a_fault_is_reported_and_keeps_clients_away() {
    let mut bench = Bench::new();
    bench.ok("@connect 1 0 - 0 train");
    bench.node.set_mps_fault(0, true).unwrap();
    assert_eq!(bench.ok("get_server_status 101"), "FAULT");
    assert!(bench.error("@connect 2 0 - 0 train").contains("FAULT"));
}

#[test]
fn a_server_that_is_gone_is_forgotten_with_its_clients() {
    let mut bench = Bench::new();
    bench.ok("@connect 1 0 - 0 train");
    bench.node.stop_process(101).unwrap();
    assert_eq!(bench.ok("get_server_list"), "");
    assert_eq!(bench.node.snapshot().unwrap().gpus[0].processes, []);
    assert_eq!(bench.ok("@connect 2 0 - 0 train"), "102");
}

#[test]
fn clients_and_servers_are_ended_on_request() {
    let mut bench = Bench::new();
    bench.ok("@connect 1 0 - 0 train");
    bench.ok("@connect 2 0 - 0 train");
    bench.ok("terminate_client 101 1");
    assert!(bench.error("terminate_client 101 1").contains("`1`"));
    assert!(bench.error("shutdown_server 101").contains("1 clients"));
    bench.ok("shutdown_server 101 -f");
    assert_eq!(bench.node.snapshot().unwrap().gpus[0].processes, []);
    assert!(bench.error("get_client_list 101").contains("`101`"));
}

#[test]
fn a_quitting_daemon_takes_no_more_clients() {
    let mut bench = Bench::new();
    bench.ok("@connect 1 0 - 0 train");
    bench.ok("quit");
    assert!(bench.error("@connect 2 0 - 0 train").contains("quitting"));
    assert!(bench.control.has_clients().unwrap());
    bench.control.end_all();
    assert!(!bench.control.has_clients().unwrap());
}

#[test]
fn one_server_takes_the_clients_of_all_users_when_it_is_told_to() {
    let mut bench = Bench::new();
    bench.control.users = Users::All;
    assert_eq!(bench.ok("@connect 1 0 - 0 train"), "101");
    assert_eq!(bench.ok("@connect 2 1000 - 0 train"), "101");
}

#[test]
fn a_client_tightens_its_share_of_threads_and_cannot_widen_it() {
    let mut bench = Bench::new();
    bench.ok("set_default_active_thread_percentage 50");
    bench.ok("@connect 1 0 - 0:25 train");
    bench.ok("@connect 2 0 - 0:90 train");
    let gpus = bench.node.read(|node| node.snapshot()).unwrap().gpus;
    let clients = gpus[0].processes.iter().filter(|process| process.server_pid.is_some());
    let shares: Vec<u32> = clients.map(|process| process.thread_percentage_tenths).collect();
    assert_eq!(shares, [250, 500]);
}
