//! The seed story of the project, and what determinism means.

use super::*;
use crate::scenario::read_file;

const MIXED_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/sharing/mixed-cluster.yaml");

#[test]
fn the_mixed_cluster_plays_with_every_seed() {
    let scenario = read_file(MIXED_CLUSTER.as_ref()).unwrap();
    for seed in 0..20 {
        run(&scenario, seed).assert_green(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let scenario = read_file(MIXED_CLUSTER.as_ref()).unwrap();
    let (first, again, other) = (run(&scenario, 7), run(&scenario, 7), run(&scenario, 8));
    let bytes = first.stage.journals();
    assert!(bytes.lines().count() > 100, "{bytes}");
    assert_eq!(bytes, again.stage.journals());
    assert_eq!(first.stage.happenings(), again.stage.happenings());
    assert_ne!(bytes, other.stage.journals());
}

#[test]
fn journals_are_written_where_the_programs_would_write_them() {
    let scenario = read_file(MIXED_CLUSTER.as_ref()).unwrap();
    let run = run(&scenario, 1);
    let dir = tempfile::tempdir().unwrap();
    run.stage.write_journals(dir.path()).unwrap();
    let plugin = std::fs::read_to_string(dir.path().join("gpu-2/journal/journal.jsonl")).unwrap();
    let entries = plugin_core::journal::parse(&plugin).unwrap();
    assert!(plugin_core::journal::replay(&entries).unwrap() > 10);
    let mps = std::fs::read_to_string(dir.path().join("gpu-2/journal/mps/mps.jsonl")).unwrap();
    assert!(mps.contains("daemon_ready"), "{mps}");
    assert!(!dir.path().join("cpu-1/journal/mps").exists());
}
