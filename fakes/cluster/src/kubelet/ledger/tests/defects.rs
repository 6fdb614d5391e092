//! The kubelet's known defects, each with its switch on and off.

use super::*;

#[test]
fn b1_an_empty_answer_leaks_its_devices_until_the_next_failure() {
    let leak = |mut bench: Bench| {
        bench.serve(RES, "a b");
        bench.answer = Box::new(|_, _| Ok(None));
        let refused = bench.take("p1", 2).unwrap_err();
        assert_eq!(refused.to_string(), "no containers return in allocation response");
        bench.ledger.pod_terminated("p1");
        bench.answer = Box::new(|_, call| Ok(Some(response(&call.ids))));
        bench.take("p2", 1).is_ok()
    };
    assert!(!leak(Bench::new()));
    assert!(leak(Bench::fixed()));
}

#[test]
fn b2_a_failed_preference_leaks_what_was_already_taken() {
    let leak = |mut bench: Bench| {
        bench.serve_with(RES, "a@0 b@1 c@1", PREFERRING);
        bench.prefer = Box::new(|_, _| Err(call_error()));
        assert!(bench.admit_aligned(&pod("p1", &[(RES, 2)]), &[0]).is_err());
        bench.ledger.pod_terminated("p1");
        bench.prefer = Box::new(|_, _| Ok(Vec::new()));
        bench.take("p2", 3).is_ok()
    };
    assert!(!leak(Bench::new()));
    assert!(leak(Bench::fixed()));
}

#[test]
fn b3_a_second_resource_that_fails_leaves_the_first_recorded() {
    let kept = |profile: Profile| {
        let order = Order::Descending;
        let mut bench = Bench::with(LedgerSettings { profile, order, ..LedgerSettings::default() });
        bench.serve(RES, "a");
        bench.serve(OTHER, "!x");
        assert!(bench.admit(&pod("p1", &[(RES, 1), (OTHER, 1)])).is_err());
        let kept = !bench.ledger.devices_of("p1").is_empty();
        let refused_while_active = bench.take("p2", 1).is_err();
        bench.ledger.pod_terminated("p1");
        bench.ledger.pod_terminated("p2");
        assert_eq!(bench.take("p3", 1), Ok(set("a")), "free once the pod has failed");
        (kept, refused_while_active)
    };
    assert_eq!(kept(Profile::v1_36()), (true, true));
    assert_eq!(kept(Profile::fixed()), (false, false));
}

#[test]
fn b4_a_device_that_leaves_the_list_during_its_allocate_kills_the_kubelet() {
    let removed = |mut bench: Bench| {
        bench.serve(RES, "a");
        bench.answer = Box::new(|ledger, call| {
            ledger.list_received(RES, &[]);
            Ok(Some(response(&call.ids)))
        });
        bench.take("p1", 1)
    };
    assert!(matches!(removed(Bench::new()), Err(AllocationError::KubeletDies { .. })));
    assert_eq!(removed(Bench::fixed()), Ok(set("a")));
}

#[test]
fn b5_an_allocation_that_begins_before_another_ends_kills_the_kubelet() {
    let two = |mut bench: Bench| {
        bench.serve(RES, "a b");
        bench.answer = Box::new(|ledger, call| {
            if call.container == "app" && ledger.devices_of("p2").is_empty() {
                let _other_pods_worker = ledger.begin_admission(&Arc::new(pod("p2", &[(RES, 1)])));
            }
            Ok(Some(response(&call.ids)))
        });
        bench.take("p1", 1)
    };
    assert!(matches!(two(Bench::new()), Err(AllocationError::KubeletDiesOfTwo { .. })));
    assert!(two(Bench::fixed()).is_ok());
}

#[test]
fn b8_an_id_listed_twice_counts_twice() {
    let count = |mut bench: Bench| {
        bench.serve(RES, "a !a b");
        bench.counts(RES)
    };
    assert_eq!(count(Bench::new()), Some((3, 2)));
    assert_eq!(count(Bench::fixed()), Some((2, 1)));
}

#[test]
fn b9_a_removed_device_reads_healthy() {
    assert_eq!(Bench::new().ledger.health_of(RES, "gone"), "Healthy");
    assert_eq!(Bench::fixed().ledger.health_of(RES, "gone"), "Unknown");
}

#[test]
fn b10_a_limit_of_zero_fails_when_nothing_is_healthy() {
    let zero = |mut bench: Bench| {
        bench.serve(RES, "!a");
        bench.admit(&pod("p1", &[(RES, 0)])).is_ok()
    };
    assert!(!zero(Bench::new()));
    assert!(zero(Bench::fixed()));
}

#[test]
fn b11_a_plugin_without_a_list_lets_pods_start_without_a_device() {
    let listless = |mut bench: Bench| {
        let client = bench.ledger.register("v1beta1", RES).unwrap();
        bench.ledger.connected(client, RES, PluginOptions::default());
        bench.take("p1", 1).map_err(|error| error.to_string())
    };
    assert_eq!(listless(Bench::new()), Ok(set("")));
    let refused = "cannot allocate unregistered device vendor.test/dev".to_owned();
    assert_eq!(listless(Bench::fixed()), Err(refused));
}
