//! The program itself: with which status it ends, and that it says why in one line.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A node's directories; everything that the program touches is below them.
fn run(node: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem-device-plugin"));
    command.env_clear();
    let below = |name: &str| node.join(name).display().to_string();
    command.args(["run", "--kubelet-socket", &below("dp/kubelet.sock")]);
    command.args(["--pod-resources-socket", &below("pr/kubelet.sock"), "--state-dir", &below("state")]);
    command.args(["--driver-root-ctr-path", &below("driver"), "--cdi-spec-dir", &below("cdi")]);
    command.args(["--mps-root", &below("mps"), "--admin-socket", &below("admin.sock")]);
    command.args(more);
    command
}

fn node() -> tempfile::TempDir {
    let node = tempfile::tempdir().unwrap();
    for directory in ["dp", "pr", "driver/usr/lib64"] {
        fs::create_dir_all(node.path().join(directory)).unwrap();
    }
    node
}

/// Status, and the lines that say why it ended.
fn ended(mut command: Command) -> (Option<i32>, Vec<String>) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let all = [stdout, stderr].concat();
    let lines = String::from_utf8_lossy(&all).lines().map(str::to_owned).collect::<Vec<_>>();
    let is_the_end =
        |line: &&String| line.starts_with("tandem-device-plugin: ") || line.starts_with("error: ");
    (status.code(), lines.iter().filter(is_the_end).cloned().collect())
}

#[test]
fn a_driver_that_cannot_be_used_ends_the_program_with_1_and_one_line() {
    let node = node();
    fs::write(node.path().join("driver/usr/lib64/libnvidia-ml.so.1"), "no library").unwrap();
    let (code, errors) = ended(run(node.path(), &[]));
    assert_eq!(code, Some(1), "{errors:?}");
    assert_eq!(errors.len(), 1, "one line: {errors:?}");
    assert!(errors[0].contains("NVML") && errors[0].contains("libnvidia-ml.so.1"), "{errors:?}");
    assert_eq!(fs::read_dir(node.path().join("dp")).unwrap().count(), 0, "no socket is left");
}

#[test]
fn an_admin_address_that_is_taken_ends_the_program_with_1_and_the_address() {
    let node = node();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, errors) = ended(run(node.path(), &["--admin-address", &address]));
    assert_eq!(code, Some(1), "{errors:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(&address), "{errors:?}");
}

#[test]
fn a_wrong_flag_ends_the_program_with_2_and_the_choices() {
    let node = node();
    let (code, errors) = ended(run(node.path(), &["--device-list-strategy", "cdi"]));
    assert_eq!(code, Some(2), "{errors:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("`cdi`") && errors[0].contains("`cdi-cri`"), "{errors:?}");
}

#[test]
fn uninstall_removes_our_specs_names_them_and_leaves_those_of_others() {
    let node = node();
    let cdi = node.path().join("cdi");
    fs::create_dir_all(&cdi).unwrap();
    let ours = ["gpu", "imex-channel", "gdrcopy", "gds", "mofed"];
    let file = |class: &str| cdi.join(format!("k8s.device-plugin.nvidia.com-{class}.json"));
    for class in ours {
        fs::write(file(class), "{}").unwrap();
    }
    let foreign = cdi.join("management.nvidia.com-gpu.yaml");
    fs::write(&foreign, "{}").unwrap();
    let uninstall = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem-device-plugin"));
        command.env_clear().args(["uninstall", "--cdi-spec-dir"]).arg(&cdi).output().unwrap()
    };
    let done = uninstall();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    for class in ours {
        assert!(
            !file(class).exists() && said.contains(&file(class).display().to_string()),
            "{class}: {said}"
        );
    }
    assert!(foreign.exists());
    assert_eq!(uninstall().status.code(), Some(0), "a second time there is nothing to do");
    fs::create_dir(file("gpu")).unwrap();
    let refused = uninstall();
    assert_eq!(refused.status.code(), Some(1), "what cannot be removed is an error");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("k8s.device-plugin.nvidia.com-gpu.json"));
}
