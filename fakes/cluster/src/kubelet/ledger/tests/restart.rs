//! What a kubelet's restart keeps.

use super::*;

/// The state after a restart: `running` containers were found running.
fn restarted(checkpoint: &Checkpoint, running: &[(&str, &str)]) -> Bench {
    let mut found = RunningContainers::new();
    for (uid, name) in running {
        found.entry((*uid).to_owned()).or_default().insert((*name).to_owned());
    }
    let settings = LedgerSettings { sources_ready: false, running: found, ..LedgerSettings::default() };
    Bench::over(Ledger::restore(settings, checkpoint, Duration::ZERO))
}

fn with_one_pod() -> (Checkpoint, BTreeSet<String>) {
    let mut bench = Bench::new();
    bench.serve_with(RES, "a b", PREPARING);
    let held = bench.take("p1", 1).unwrap();
    (bench.ledger.checkpoint(), held)
}

#[test]
fn a_checkpoint_keeps_pods_devices_numa_nodes_and_answers() {
    let mut bench = Bench::serving("a@0,1 b c");
    bench.serve(OTHER, "x !y");
    bench.admit(&pod("p1", &[(RES, 2), (OTHER, 1)])).unwrap();
    bench.take("p2", 1).unwrap();
    let checkpoint = bench.ledger.checkpoint();
    let text = checkpoint.to_text().unwrap();
    let read = Checkpoint::from_text(&text).unwrap();
    let mut again = restarted(&read, &[]);
    for uid in ["p1", "p2"] {
        assert_eq!(again.ledger.devices_of(uid), bench.ledger.devices_of(uid));
        assert_eq!(again.ledger.run_options(uid, "app"), bench.ledger.run_options(uid, "app"));
    }
    assert_eq!(again.ledger.checkpoint().entries, checkpoint.entries);
    assert_eq!(checkpoint.registered.unwrap()[OTHER], Some(vec!["x".to_owned()]), "healthy ids only");
}

#[test]
fn checkpointed_resources_show_zero_at_once_and_go_after_the_grace_period() {
    let (checkpoint, _) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[]);
    assert_eq!(bench.counts(RES), Some((0, 0)));
    assert!(bench.ledger.devices.is_ours(RES));
    assert!(bench.ledger.capacity(ENDPOINT_STOP_GRACE).removed_now.is_empty());
    assert_eq!(bench.ledger.capacity(ENDPOINT_STOP_GRACE * 2).removed_now, set(RES));
}

#[test]
fn a_running_container_is_admitted_before_its_plugin_is_back_and_starts_unprepared() {
    let (checkpoint, held) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[("p1", "app")]);
    assert_eq!(bench.take("p1", 1), Ok(held));
    assert!(bench.calls.is_empty());
    assert_eq!(bench.ledger.pre_start_calls("p1", "app"), vec![], "the options are not known yet");
    assert!(bench.ledger.run_options("p1", "app").is_some(), "from the checkpointed answer");
}

#[test]
fn a_container_that_does_not_run_at_the_restart_is_refused_until_its_plugin_is_back() {
    let (checkpoint, held) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[]);
    assert!(matches!(bench.take("p1", 1), Err(AllocationError::NoHealthyDevices { .. })));
    let mut bench = restarted(&checkpoint, &[]);
    bench.serve(RES, "a b");
    assert_eq!(bench.take("p1", 1), Ok(held), "plugin first: nothing is needed");
    assert!(bench.calls.is_empty());
}

#[test]
fn once_the_sources_are_ready_running_no_longer_helps() {
    let (checkpoint, _) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[("p1", "app")]);
    bench.ledger.sources_ready();
    assert!(matches!(bench.take("p1", 1), Err(AllocationError::NoHealthyDevices { .. })));
}

#[test]
fn entries_of_pods_that_are_gone_do_not_block_their_devices_for_ever() {
    let (checkpoint, _) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[]);
    bench.serve(RES, "a b");
    assert!(matches!(bench.take("p2", 2), Err(AllocationError::TooFew { available: 1, .. })));
    bench.ledger.sources_ready();
    bench.ledger.pod_terminated("p2");
    assert_eq!(bench.take("p3", 2), Ok(set("a b")));
}

#[test]
fn the_file_keeps_a_released_pod_until_it_is_written_again() {
    let mut bench = Bench::serving("a b");
    bench.take("p1", 1).unwrap();
    bench.ledger.pod_removed("p1");
    bench.ledger.list_pod_resources();
    let of = |bench: &Bench| bench.ledger.file_entries().map(|entry| entry.0.to_owned()).collect::<Vec<_>>();
    assert_eq!(of(&bench), ["p1"]);
    assert_eq!(bench.ledger.checkpoint().entries, None, "one that is written now has it no more");
    assert_eq!(bench.ledger.checkpoint_file().entries.map(|all| all.len()), Some(1));
    bench.list(RES, "a b");
    assert!(of(&bench).is_empty());
}

#[test]
fn a_lost_checkpoint_makes_a_held_device_look_free() {
    let mut bench = restarted(&Checkpoint::default(), &[("p1", "app")]);
    bench.serve(RES, "a");
    bench.take("p1", 1).unwrap();
    bench.ledger.sources_ready();
    assert_eq!(bench.take("p2", 1), Ok(set("a")), "p1 still uses it");
}

#[test]
fn the_file_is_due_after_lists_allocations_and_removals_but_not_after_releases() {
    let mut bench = Bench::new();
    assert!(!bench.ledger.take_checkpoint_due());
    let client = bench.serve(RES, "a b");
    assert!(bench.ledger.take_checkpoint_due(), "a list");
    bench.take("p1", 1).unwrap();
    assert!(bench.ledger.take_checkpoint_due(), "an allocation");
    bench.take("p1", 1).unwrap();
    assert!(!bench.ledger.take_checkpoint_due(), "nothing was needed");
    bench.ledger.pod_removed("p1");
    bench.ledger.list_pod_resources();
    assert!(!bench.ledger.take_checkpoint_due(), "a release");
    bench.ledger.stream_ended(client, RES, Duration::ZERO);
    bench.ledger.capacity(ENDPOINT_STOP_GRACE * 2);
    assert!(bench.ledger.take_checkpoint_due(), "a removal");
}

#[test]
fn a_return_with_other_ids_keeps_the_container_but_not_a_new_admission() {
    let (checkpoint, _) = with_one_pod();
    let mut bench = restarted(&checkpoint, &[]);
    bench.serve(RES, "x y");
    assert!(bench.ledger.run_options("p1", "app").is_some());
    assert!(matches!(bench.take("p1", 1), Err(AllocationError::NoLongerHealthy { .. })));
}
