//! Files and boards in, text and exit status out.

use crate::gpu::MockGpuBackend;

use super::*;

const MIXED: &str = "version: v1
sharing:
  mps:
    resources:
    - {name: nvidia.com/gpu, rename: nvidia.com/gpu.shared, replicas: 4, devices: ['1']}
";

fn settings(node: Node) -> ValidateSettings {
    ValidateSettings { files: Vec::new(), node, against_nvidia: false, json: false }
}

fn validate(text: Option<&str>, settings: ValidateSettings) -> (u8, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    if let Some(text) = text {
        std::fs::write(&path, text).unwrap();
    }
    let mut out = Vec::new();
    let mut backend = MockGpuBackend::new();
    backend.expect_find().returning(|| Err(FindError::NoDriver { why: "no such file".into() }));
    let settings = ValidateSettings { files: vec![path], ..settings };
    let code = print(&settings, &backend, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn a_good_file_is_ok() {
    let (code, out) = validate(Some("version: v1\nflags:\n  migStrategy: none\n"), settings(Node::Unknown));
    assert_eq!(code, FINE, "{out}");
    assert!(out.ends_with("config.yaml: ok\n"), "{out}");
}

#[test]
fn an_unknown_key_is_a_problem_with_its_position() {
    let (code, out) = validate(Some("version: v1\nflagz: {}\n"), settings(Node::Unknown));
    assert_eq!(code, PROBLEMS);
    assert!(out.contains("config.yaml:2:1"), "{out}");
}

#[test]
fn a_file_that_is_not_there_cannot_be_read() {
    let (code, out) = validate(None, settings(Node::Unknown));
    assert!(code == UNREADABLE && out.ends_with("config.yaml: does not exist\n"), "{out}");
}

#[test]
fn on_boards_a_file_tells_its_resources_daemons_labels_and_environment() {
    let (code, out) = validate(Some(MIXED), settings(Node::Boards("2*tesla-t4".into())));
    assert_eq!(code, FINE, "{out}");
    for line in [
        "  resource nvidia.com/gpu: 1 (GPU 0: 1)",
        "  resource nvidia.com/gpu.shared: 4 (GPU 1: 4)",
        "  variable CUDA_MPS_PIPE_DIRECTORY=/mps/nvidia.com/gpu.shared/pipe in containers with nvidia.com/gpu.shared",
        "  variable NVIDIA_VISIBLE_DEVICES=<its GPU> in containers with nvidia.com/gpu",
        "  MPS control daemon for GPU 1: 3840 MiB, 25 % of threads per client",
        "  label nvidia.com/mps.capable=true",
    ] {
        assert!(out.lines().any(|found| found == line), "no line `{line}` in\n{out}");
    }
}

#[test]
fn on_boards_a_file_tells_its_time_slice_intervals_and_that_they_are_new() {
    let text = "sharing: {timeSlicing: {resources: [{name: gpu, rename: s, replicas: 2, devices: [1], interval: Short}]}}";
    let against = ValidateSettings { against_nvidia: true, ..settings(Node::Boards("2*tesla-t4".into())) };
    let (_, out) = validate(Some(text), against);
    assert!(out.contains("  time-slice interval of GPU 1: short\n"), "{out}");
    let change = "    time-slice interval of GPU-00000001-0000-0000-0000-000000000000: none → short\n";
    assert!(out.contains(change), "{out}");
}

#[test]
fn a_gpu_that_the_node_does_not_have_is_a_problem_there() {
    let text = MIXED.replace("['1']", "['7']");
    assert_eq!(validate(Some(&text), settings(Node::Unknown)).0, FINE);
    let (code, out) = validate(Some(&text), settings(Node::Boards("2*tesla-t4".into())));
    assert!(code == PROBLEMS && out.contains("config.yaml:5:") && out.contains('7'), "{out}");
}

#[test]
fn against_nvidia_every_change_is_listed() {
    let against =
        |node: &str| ValidateSettings { against_nvidia: true, ..settings(Node::Boards(node.into())) };
    let (_, out) = validate(Some(MIXED), against("2*tesla-t4"));
    assert!(out.contains("    devices of nvidia.com/gpu.shared: none → 4\n"), "{out}");
    let (_, out) = validate(Some("version: v1\n"), against("2*tesla-t4"));
    assert!(out.contains("nothing changes"), "{out}");
}

#[test]
fn a_key_that_nvidia_ignores_does_not_hide_the_changes() {
    let against = ValidateSettings { against_nvidia: true, ..settings(Node::Boards("l40s".into())) };
    let (code, out) = validate(Some("version: v1\nflags: {renameByDefault: true}\n"), against);
    assert!(code == PROBLEMS && out.contains("sharing.mps") && out.contains("nothing changes"), "{out}");
}

#[test]
fn an_unknown_board_or_a_machine_without_gpus_is_told_with_the_next_step() {
    let (code, out) = validate(Some("version: v1"), settings(Node::Boards("t4".into())));
    assert!(code == UNREADABLE && out.contains("--node: there is no board `t4`"), "{out}");
    let (code, out) = validate(Some("version: v1"), settings(Node::Live));
    assert!(code == UNREADABLE && out.contains("--live: no such file"), "{out}");
}

#[test]
fn as_json_a_program_can_read_it() {
    let json = ValidateSettings { json: true, ..settings(Node::Boards("2*tesla-t4".into())) };
    let (_, out) = validate(Some(MIXED), json);
    let reports: serde_json::Value = serde_json::from_str(&out).unwrap();
    let shared = &reports[0]["effect"]["resources"]["nvidia.com/gpu.shared"];
    assert_eq!(shared.as_object().unwrap().len(), 1, "{out}");
}
