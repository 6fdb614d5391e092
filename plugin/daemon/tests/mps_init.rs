//! The first process of the MPS container: it outlives its supervisor, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot start what it tests has failed")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(root: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tandem-device-plugin"))
        .args(["mps", "--init", "--mps-root"])
        .arg(root)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until there is an answer.
fn awaited<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The supervisor below the first process, once it holds the lock of its root.
fn supervisor(first: &Child, not: Option<u32>) -> u32 {
    let list = format!("/proc/{0}/task/{0}/children", first.id());
    awaited("a supervisor", || {
        let children = fs::read_to_string(&list).ok()?;
        children.split_whitespace().find_map(|pid| pid.parse().ok().filter(|pid| Some(*pid) != not))
    })
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_killed_supervisor_is_reaped_and_started_again_and_a_wish_to_stop_reaches_it() {
    let root = tempfile::tempdir().unwrap();
    let mut first = start(root.path());
    let one = supervisor(&first, None);
    signal("-KILL", one);
    let two = supervisor(&first, Some(one));
    awaited("the killed supervisor is gone, and no zombie", || {
        (!Path::new(&format!("/proc/{one}")).exists()).then_some(())
    });
    assert!(first.try_wait().unwrap().is_none(), "the first process ended");
    // it listens for signals once it holds the lock
    awaited("the supervisor's lock", || root.path().join("supervisor.lock").exists().then_some(()));
    signal("-TERM", first.id());
    let status = awaited("the end", || first.try_wait().unwrap());
    assert!(!Path::new(&format!("/proc/{two}")).exists(), "the supervisor was left behind");
    assert!(status.code().is_some(), "{status}");
}
