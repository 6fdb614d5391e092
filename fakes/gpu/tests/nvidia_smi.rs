//! The program nvidia-smi, as a device plugin uses it.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test, in its helpers too")]

use std::process::Command;

use fake_gpu::{ControlTrouble, NodeFile, NodeSpec, STATE_VARIABLE, TimeSlice};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nvidia-smi");

#[test]
fn it_changes_the_nodes_state_and_says_by_its_exit_status_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let spec = NodeSpec::uniform("gpu-1", "tesla-t4", 2);
    let node = NodeFile::create(&directory.path().join("fake-gpu.state"), &spec).unwrap();
    let ask = |words: &[&str]| {
        let output = Command::new(PROGRAM).args(words).env(STATE_VARIABLE, node.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let uuid = node.snapshot().unwrap().gpus[1].uuid.clone();
    assert_eq!(ask(&["compute-policy", "-i", &uuid, "--set-timeslice", "2"]).0, Some(0));
    assert_eq!(node.snapshot().unwrap().gpus[1].time_slice, TimeSlice::Medium);
    assert_eq!(ask(&["compute-policy", "--list"]).1, "GPU 0: timeslice default\nGPU 1: timeslice medium\n");
    let (code, said) = ask(&["compute-policy", "-i", "GPU-x", "--set-timeslice=1"]);
    assert!(code == Some(6) && said.contains("`GPU-x`"), "{code:?} {said}");
    assert_eq!(ask(&["-q"]).0, Some(2));
    let spoil = |trouble| {
        node.change(|node| {
            node.set_smi_trouble(trouble);
            Ok(())
        })
        .unwrap();
    };
    spoil(Some(ControlTrouble::Fails));
    assert_eq!(ask(&["compute-policy", "-i", "0", "--set-timeslice=1"]).0, Some(1));
    spoil(None);
    node.set_driver_loaded(false).unwrap();
    assert_eq!(ask(&["compute-policy", "-l"]).0, Some(9));
}
