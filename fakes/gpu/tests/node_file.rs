//! One truth for all processes: what one changes, the others see, and nobody who dies stands in the way.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test, in its helpers too")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake_gpu::{GpuError, NodeFile, NodeFileError, NodeSpec, ProcessKind, ProcessSpec, started_ticks};

/// Longest wait for something that takes milliseconds.
const BOUND: Duration = Duration::from_secs(20);
/// Names the state file for the part of this program that runs as another process.
const CHILD_STATE: &str = "NODE_FILE_TEST_STATE";

fn state(directory: &tempfile::TempDir) -> (PathBuf, NodeFile) {
    let path = directory.path().join("fake-gpu.state");
    let file = NodeFile::create(&path, &NodeSpec::uniform("gpu-1", "tesla-t4", 4)).unwrap();
    (path, file)
}

fn plain(pid: u32) -> ProcessSpec {
    ProcessSpec::new(pid, 0, ProcessKind::Plain, "train")
}

/// Starts this test program again with only the test `name`, which then plays the other process.
fn other_process(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_STATE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_state() -> Option<PathBuf> {
    std::env::var_os(CHILD_STATE).map(PathBuf::from)
}

/// Reads a child's output until it says `word`.
fn wait_for(child: &mut Child, word: &str) {
    let output = child.stdout.as_mut().unwrap();
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains(word) {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "child ended, it said: {said}");
        said.push(char::from(byte[0]));
    }
}

#[test]
fn two_handles_see_one_truth() {
    let directory = tempfile::tempdir().unwrap();
    let (path, one) = state(&directory);
    let other = NodeFile::open(&path).unwrap();
    one.start_process(&plain(7)).unwrap();
    other.allocate(7, 0, 1 << 30).unwrap();
    assert_eq!(one.snapshot().unwrap(), other.snapshot().unwrap());
    assert_eq!(one.snapshot().unwrap().gpus[0].memory.used_bytes, 1 << 30);
}

#[test]
fn a_refused_change_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (_, file) = state(&directory);
    let before = file.snapshot().unwrap();
    let refused = file.change(|node| {
        node.start_process(&plain(7))?;
        node.allocate(7, 0, u64::MAX)
    });
    assert!(matches!(refused, Err(NodeFileError::Refused(GpuError::OutOfMemory { .. }))));
    assert_eq!(file.snapshot().unwrap(), before);
}

#[test]
fn another_process_sees_and_changes_the_same_node() {
    if let Some(path) = child_state() {
        let file = NodeFile::open(&path).unwrap();
        assert_eq!(file.snapshot().unwrap().gpus[2].processes.len(), 1);
        file.raise_xid(2, 79).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = state(&directory);
    file.start_process(&ProcessSpec { gpu: 2, ..plain(7) }).unwrap();
    let mut child = other_process("another_process_sees_and_changes_the_same_node", &path);
    assert!(child.wait().unwrap().success());
    let events =
        file.read(|node| node.events_from(0).map(|event| (event.gpu, event.data)).collect::<Vec<_>>());
    assert_eq!(events.unwrap(), [(2, 79)]);
}

#[test]
fn a_process_that_dies_in_the_middle_of_a_change_leaves_no_trace() {
    if let Some(path) = child_state() {
        let file = NodeFile::open(&path).unwrap();
        let _ = file.change(|node| {
            node.set_lost(0, true)?;
            println!("in the middle");
            // Held until the other side kills this process.
            let _ = std::io::stdin().read(&mut [0]);
            std::process::abort();
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        });
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = state(&directory);
    let mut child = other_process("a_process_that_dies_in_the_middle_of_a_change_leaves_no_trace", &path);
    wait_for(&mut child, "in the middle");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!file.snapshot().unwrap().gpus[0].lost);
    file.set_lost(0, true).unwrap();
    assert!(file.snapshot().unwrap().gpus[0].lost);
}

#[test]
fn a_waiter_wakes_when_another_process_changes_something() {
    if let Some(path) = child_state() {
        let file = NodeFile::open(&path).unwrap();
        let seen = file.generation();
        println!("waiting");
        let started = Instant::now();
        while file.read(|node| node.event_next()).unwrap() == 0 {
            assert!(started.elapsed() < BOUND);
            file.wait_change(seen, BOUND);
        }
        // Not by its timeout.
        assert!(started.elapsed() < BOUND / 2);
        println!("woke");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = state(&directory);
    let mut child = other_process("a_waiter_wakes_when_another_process_changes_something", &path);
    wait_for(&mut child, "waiting");
    file.raise_xid(0, 31).unwrap();
    wait_for(&mut child, "woke");
    assert!(child.wait().unwrap().success());
}

#[test]
fn threads_of_one_process_take_turns() {
    const THREADS: u32 = 8;
    const CHANGES: u32 = 200;
    let directory = tempfile::tempdir().unwrap();
    let (_, file) = state(&directory);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..CHANGES {
                    file.raise_xid(0, 31).unwrap();
                }
            });
        }
    });
    assert_eq!(file.snapshot().unwrap().gpus[0].event_count, u64::from(THREADS * CHANGES));
    assert_eq!(file.generation(), THREADS * CHANGES);
}

#[test]
fn a_real_process_that_dies_gives_its_memory_back() {
    let directory = tempfile::tempdir().unwrap();
    let (_, file) = state(&directory);
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let started_ticks = started_ticks(child.id()).unwrap();
    file.start_process(&ProcessSpec { started_ticks, ..plain(child.id()) }).unwrap();
    file.allocate(child.id(), 0, 1 << 30).unwrap();
    assert_eq!(file.snapshot().unwrap().gpus[0].processes.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(file.snapshot().unwrap().gpus[0].memory.used_bytes, 0);
}

#[test]
fn a_panic_in_a_change_leaves_the_file_usable() {
    let directory = tempfile::tempdir().unwrap();
    let (_, file) = state(&directory);
    let panicked = std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            file.change(|node| -> Result<(), GpuError> {
                node.set_lost(0, true)?;
                panic!("the reason of this test");
            })
        });
        changing.join().is_err()
    });
    assert!(panicked);
    assert!(!file.snapshot().unwrap().gpus[0].lost);
}

#[test]
fn a_file_that_is_no_state_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other");
    std::fs::write(&path, "hello").unwrap();
    let refused = NodeFile::open(&path).err().unwrap();
    assert!(matches!(refused, NodeFileError::OtherLayout { .. }), "{refused}");
    assert!(refused.to_string().contains("other"));
    let missing = NodeFile::open(&directory.path().join("missing")).err().unwrap();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn a_state_file_is_not_made_over_another() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _file) = state(&directory);
    let again = NodeFile::create(&path, &NodeSpec::uniform("gpu-1", "tesla-t4", 1)).err().unwrap();
    assert!(matches!(again, NodeFileError::Io { .. }), "{again}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
