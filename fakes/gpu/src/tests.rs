//! The rules of the model, as tables and properties.

use proptest::prelude::*;

use crate::*;

const GIB: u64 = 1 << 30;
const SERVER: u32 = 500;

fn t4s(count: usize) -> Box<Node> {
    Node::new(&NodeSpec::uniform("gpu-1", "tesla-t4", count)).unwrap()
}

fn process(pid: u32, kind: ProcessKind) -> ProcessSpec {
    let server_pid = if kind == ProcessKind::MpsClient { SERVER } else { 0 };
    ProcessSpec { server_pid, ..ProcessSpec::new(pid, 0, kind, "train") }
}

#[test]
fn a_t4_has_the_facts_of_a_t4() {
    let node = t4s(4);
    let gpu = node.gpu(3).unwrap();
    assert_eq!(gpu.board.name.as_str(), "Tesla T4");
    assert_eq!((gpu.board.capability_major, gpu.board.capability_minor), (7, 5));
    assert_eq!((gpu.index, gpu.minor, gpu.numa_node), (3, 3, -1));
    assert_eq!(gpu.board.pci_device_id, 0x1EB8_10DE);
    assert_eq!(gpu.pci_bus_id(), "00000000:27:00.0");
    let memory = node.memory(3).unwrap();
    assert_eq!(memory.total_bytes >> 20, 15360);
    assert_eq!(memory.reserved_bytes >> 20, 448);
    assert_eq!(memory.free_bytes >> 20, 14912);
    assert_eq!(node.cuda_version, 13020);
}

#[test]
fn every_profile_makes_a_node_of_64_gpus_with_distinct_identities() {
    for profile in profile_names() {
        let node = Node::new(&NodeSpec::uniform("n", profile, GPUS_MAX)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for gpu in node.gpus() {
            assert!(gpu.board.memory_total_bytes > gpu.board.memory_reserved_bytes, "{profile}");
            assert!(seen.insert(gpu.uuid.as_str().to_owned()), "{profile}: uuid twice");
            assert!(seen.insert(gpu.pci_bus_id()), "{profile}: address twice");
            assert!(seen.insert(gpu.serial.as_str().to_owned()), "{profile}: serial twice");
            assert!(gpu.pci_bus < 256);
        }
    }
}

#[test]
fn uuids_follow_from_node_and_index() {
    let uuid = |name: &str, index| {
        Node::new(&NodeSpec::uniform(name, "tesla-t4", 2))
            .unwrap()
            .gpu(index)
            .unwrap()
            .uuid
            .as_str()
            .to_owned()
    };
    assert_eq!(uuid("gpu-1", 0), uuid("gpu-1", 0));
    assert_ne!(uuid("gpu-1", 0), uuid("gpu-1", 1));
    assert_ne!(uuid("gpu-1", 0), uuid("gpu-2", 0));
    let shape: Vec<usize> = uuid("gpu-1", 0).split('-').map(str::len).collect();
    assert_eq!(shape, [3, 8, 4, 4, 4, 12]);
}

#[test]
fn a_wrong_specification_says_what_is_wrong() {
    let refused = |spec: NodeSpec| Node::new(&spec).unwrap_err().to_string();
    let unknown = refused(NodeSpec::uniform("n", "tesla-t5", 1));
    assert!(unknown.contains("`tesla-t5`") && unknown.contains("tesla-t4"), "{unknown}");
    let many = refused(NodeSpec::uniform("n", "tesla-t4", 65));
    assert!(many.contains("65") && many.contains("64"), "{many}");
    let mut spec = NodeSpec::uniform("n", "tesla-t4", 1);
    spec.cuda_version = "13".to_owned();
    assert!(refused(spec).contains("`13`"));
}

#[test]
fn used_memory_is_the_sum_over_processes_and_runs_out() {
    let mut node = t4s(1);
    node.start_process(&process(1, ProcessKind::Plain)).unwrap();
    node.start_process(&process(2, ProcessKind::Plain)).unwrap();
    node.allocate(1, 0, 10 * GIB).unwrap();
    node.allocate(2, 0, 4 * GIB).unwrap();
    assert_eq!(node.memory(0).unwrap().used_bytes, 14 * GIB);
    let full = node.allocate(2, 0, GIB).unwrap_err();
    assert!(matches!(full, GpuError::OutOfMemory { pid: 2, .. }), "{full}");
    node.free(1, 0, 10 * GIB).unwrap();
    node.allocate(2, 0, GIB).unwrap();
    assert!(node.stop_process(2));
    assert!(!node.stop_process(2));
    assert_eq!(node.memory(0).unwrap().used_bytes, 0);
    assert!(matches!(node.allocate(2, 0, 1), Err(GpuError::NoSuchProcess { .. })));
    assert!(matches!(node.free(1, 0, 1), Err(GpuError::FreesTooMuch { .. })));
}

#[test]
fn compute_modes_admit_whom_they_should() {
    use ComputeMode::{Default, ExclusiveProcess, ExclusiveThread, Prohibited};
    use ProcessKind::{MpsClient, MpsServer, Plain};
    // Mode, who is there already, who comes, admitted.
    let cases = [
        (Default, vec![Plain], Plain, true),
        (Default, vec![Plain], MpsServer, true),
        (Default, vec![MpsServer], MpsClient, true),
        (Default, vec![], MpsClient, false),
        (ExclusiveProcess, vec![], Plain, true),
        (ExclusiveProcess, vec![Plain], Plain, false),
        (ExclusiveProcess, vec![Plain], MpsServer, false),
        (ExclusiveProcess, vec![MpsServer], Plain, false),
        (ExclusiveProcess, vec![MpsServer], MpsServer, false),
        (ExclusiveProcess, vec![MpsServer], MpsClient, true),
        (ExclusiveProcess, vec![MpsServer, MpsClient], MpsClient, true),
        (ExclusiveThread, vec![Plain], Plain, false),
        (Prohibited, vec![], Plain, false),
        (Prohibited, vec![], MpsServer, false),
    ];
    for (mode, there, comes, admitted) in cases {
        let mut node = t4s(1);
        node.set_compute_mode(0, mode).unwrap();
        for (offset, kind) in (0..).zip(&there) {
            let pid = if *kind == MpsServer { SERVER } else { 1 + offset };
            node.start_process(&process(pid, *kind)).unwrap();
        }
        let started = node.start_process(&process(900, comes));
        assert_eq!(started.is_ok(), admitted, "{mode:?} {there:?} {comes:?}: {started:?}");
    }
}

#[test]
fn compute_mode_changes_and_the_original_is_remembered() {
    let mut node = t4s(2);
    node.set_compute_mode(1, ComputeMode::ExclusiveProcess).unwrap();
    let snapshot = node.snapshot();
    assert_eq!(snapshot.gpus[0].compute_mode, ComputeMode::Default);
    assert_eq!(snapshot.gpus[1].compute_mode, ComputeMode::ExclusiveProcess);
    assert_eq!(snapshot.gpus[1].compute_mode_original, ComputeMode::Default);
    assert!(matches!(
        node.set_compute_mode(2, ComputeMode::Default),
        Err(GpuError::NoSuchGpu { gpu: 2, count: 2 })
    ));
}

#[test]
fn an_mps_client_runs_out_at_its_limit_and_the_others_do_not() {
    let mut node = t4s(1);
    node.start_process(&process(SERVER, ProcessKind::MpsServer)).unwrap();
    node.start_process(&ProcessSpec { limit_bytes: GIB, ..process(1, ProcessKind::MpsClient) }).unwrap();
    node.start_process(&process(2, ProcessKind::MpsClient)).unwrap();
    node.allocate(1, 0, GIB).unwrap();
    let full = node.allocate(1, 0, 1).unwrap_err();
    assert!(matches!(full, GpuError::OutOfMemory { free_bytes: 0, .. }), "{full}");
    node.allocate(2, 0, 2 * GIB).unwrap();
    assert_eq!(node.memory(0).unwrap().used_bytes, 3 * GIB + MPS_SERVER_MEMORY_BYTES);
    assert_eq!(node.mps_clients(SERVER), [1, 2]);
}

#[test]
fn mps_admits_48_clients_before_cuda_13_1_and_60_after() {
    for (cuda, max) in [("13.0", 48), ("13.1", 60)] {
        let spec = NodeSpec { cuda_version: cuda.to_owned(), ..NodeSpec::uniform("n", "tesla-t4", 1) };
        let mut node = Node::new(&spec).unwrap();
        node.start_process(&process(SERVER, ProcessKind::MpsServer)).unwrap();
        for client in 0..max {
            node.start_process(&process(1000 + client, ProcessKind::MpsClient)).unwrap();
        }
        let refused = node.start_process(&process(9, ProcessKind::MpsClient)).unwrap_err();
        assert!(matches!(refused, GpuError::TooManyMpsClients { .. }), "{refused}");
    }
}

#[test]
fn an_mps_fault_keeps_new_clients_away_until_it_ends() {
    let mut node = t4s(1);
    node.start_process(&process(SERVER, ProcessKind::MpsServer)).unwrap();
    node.set_mps_fault(0, true).unwrap();
    let refused = node.start_process(&process(1, ProcessKind::MpsClient)).unwrap_err();
    assert!(matches!(refused, GpuError::MpsServerNotReady { .. }), "{refused}");
    node.set_mps_fault(0, false).unwrap();
    node.start_process(&process(1, ProcessKind::MpsClient)).unwrap();
}

#[test]
fn a_lost_gpu_loses_its_processes_and_refuses_all_until_it_is_back() {
    let mut node = t4s(2);
    node.start_process(&process(1, ProcessKind::Plain)).unwrap();
    node.start_process(&ProcessSpec { gpu: 1, ..process(1, ProcessKind::Plain) }).unwrap();
    node.set_lost(0, true).unwrap();
    assert_eq!(node.processes_on(0).count(), 0);
    assert_eq!(node.processes_on(1).count(), 1);
    let lost = |result: Result<(), GpuError>| matches!(result, Err(GpuError::Lost { .. }));
    assert!(lost(node.start_process(&process(2, ProcessKind::Plain))));
    assert!(lost(node.allocate(1, 0, 1)));
    assert!(lost(node.set_compute_mode(0, ComputeMode::Default)));
    node.set_lost(0, false).unwrap();
    node.start_process(&process(2, ProcessKind::Plain)).unwrap();
}

#[test]
fn events_are_numbered_per_node_and_per_gpu_and_the_oldest_leave_the_ring() {
    let mut node = t4s(2);
    node.raise_xid(0, 31).unwrap();
    node.raise_xid(1, 79).unwrap();
    let event = node.raise_event(0, EventKind::DoubleBitEcc, 0).unwrap();
    assert_eq!((event.sequence, event.gpu_sequence, event.gpu_instance), (2, 2, NO_INSTANCE));
    assert_eq!(node.gpu(0).unwrap().ecc_errors, [0, 1]);
    let codes: Vec<u64> = node.events_from(0).map(|event| event.data).collect();
    assert_eq!(codes, [31, 79, 0]);
    for code in 0..EVENTS_MAX as u64 {
        node.raise_xid(1, code).unwrap();
    }
    let left: Vec<u64> = node.events_from(0).map(|event| event.sequence).collect();
    assert_eq!(left, (3..3 + EVENTS_MAX as u64).collect::<Vec<_>>());
    assert_eq!(node.events_from(node.event_next()).count(), 0);
    assert!(matches!(node.raise_xid(7, 1), Err(GpuError::NoSuchGpu { .. })));
}

#[test]
fn the_process_table_is_bounded() {
    let mut node = t4s(64);
    for pid in 0..PROCESSES_MAX as u32 {
        node.start_process(&ProcessSpec { gpu: pid % 64, ..process(pid + 1, ProcessKind::Plain) }).unwrap();
    }
    let refused = node.start_process(&process(9999, ProcessKind::Plain)).unwrap_err();
    assert!(matches!(refused, GpuError::TableFull { max: PROCESSES_MAX, .. }), "{refused}");
}

#[test]
fn text_is_cut_at_a_character() {
    assert_eq!(Text::<4>::new("abcdef").as_str(), "abcd");
    assert_eq!(Text::<4>::new("abcé").as_str(), "abc");
    assert_eq!(Text::<4>::EMPTY.as_str(), "");
}

proptest! {
    /// Whatever is started, stopped, allocated and freed, memory adds up and never overflows.
    #[test]
    fn memory_always_adds_up(steps in prop::collection::vec((0_u32..6, 1_u32..6, 0_u64..8), 0..200)) {
        let mut node = t4s(1);
        let mut expected = std::collections::BTreeMap::new();
        for (what, pid, gibibytes) in steps {
            let bytes = gibibytes * GIB;
            match what {
                0 => if node.start_process(&process(pid, ProcessKind::Plain)).is_ok() {
                    prop_assert!(expected.insert(pid, 0).is_none());
                },
                1 => prop_assert_eq!(node.stop_process(pid), expected.remove(&pid).is_some()),
                2..=4 => if node.allocate(pid, 0, bytes).is_ok() {
                    *expected.get_mut(&pid).unwrap() += bytes;
                },
                _ => if node.free(pid, 0, bytes).is_ok() {
                    *expected.get_mut(&pid).unwrap() -= bytes;
                },
            }
            let memory = node.memory(0).unwrap();
            prop_assert_eq!(memory.used_bytes, expected.values().sum::<u64>());
            prop_assert_eq!(memory.reserved_bytes + memory.used_bytes + memory.free_bytes, memory.total_bytes);
        }
    }
}
