//! Admission, in the order of the kubelet's checks, and what is released when.

use super::*;

#[test]
fn a_pod_gets_devices_of_each_resource_and_nobody_gets_them_twice() {
    let mut bench = Bench::serving("a b c");
    bench.serve(OTHER, "x y");
    bench.admit(&pod("p1", &[(RES, 2), (OTHER, 1)])).unwrap();
    let first = bench.ids("p1", "app", RES);
    assert_eq!((first.len(), bench.ids("p1", "app", OTHER).len()), (2, 1));
    let options = bench.ledger.run_options("p1", "app").unwrap();
    assert_eq!(options.devices.len(), 3);
    let refused = bench.take("p2", 2).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "requested number of devices unavailable for vendor.test/dev. Requested: 2, Available: 1"
    );
    assert_eq!(bench.ledger.run_options("p2", "app"), None);
    assert!(bench.take("p3", 1).unwrap().is_disjoint(&first));
}

#[test]
fn one_call_is_made_per_container_and_resource_even_without_preference() {
    let mut bench = Bench::serving("a b c d");
    let kind = ContainerKind::App;
    let containers = vec![container("one", kind, &[(RES, 2)]), container("two", kind, &[(RES, 1)])];
    bench.admit(&pod_of("p1", containers)).unwrap();
    let sizes: Vec<_> = bench.calls.iter().map(|call| (call.container.as_str(), call.ids.len())).collect();
    assert_eq!(sizes, [("one", 2), ("two", 1)]);
    assert!(bench.asked.is_empty());
}

#[test]
fn resources_without_a_plugin_are_nobodys_business() {
    let mut bench = Bench::serving("a");
    assert_eq!(bench.admit(&pod("p1", &[("cpu", 2), ("other.test/x", 1)])), Ok(()));
    assert!(bench.calls.is_empty() && bench.ledger.devices_of("p1").is_empty());
}

#[test]
fn an_unhealthy_node_refuses_before_it_counts() {
    let mut bench = Bench::serving("a b");
    bench.take("p1", 2).unwrap();
    bench.list(RES, "!a !b");
    assert!(matches!(bench.take("p2", 1), Err(AllocationError::NoHealthyDevices { .. })));
    bench.list(RES, "a b");
    assert!(matches!(bench.take("p3", 1), Err(AllocationError::TooFew { available: 0, .. })));
}

#[test]
fn a_pod_that_is_admitted_again_needs_its_own_devices_healthy() {
    let mut bench = Bench::serving("a b");
    let held = bench.take("p1", 1).unwrap();
    assert_eq!(bench.take("p1", 1).unwrap(), held);
    assert_eq!(bench.calls.len(), 1, "nothing is allocated twice");
    let others = if held == set("a") { "!a b" } else { "a !b" };
    bench.list(RES, others);
    assert_eq!(
        bench.take("p1", 1).unwrap_err().to_string(),
        "previously allocated devices are no longer healthy; cannot allocate unhealthy devices vendor.test/dev"
    );
    assert_eq!(
        bench.take("p1", 2).unwrap_err().to_string(),
        "pod \"p1\" container \"app\" changed request for resource \"vendor.test/dev\" from 1 to 2",
        "the count is compared first"
    );
}

#[test]
fn devices_are_released_at_the_next_allocation_and_not_before() {
    let mut bench = Bench::serving("a b");
    bench.take("p1", 2).unwrap();
    bench.ledger.pod_terminated("p1");
    assert_eq!(bench.ids("p1", "app", RES), set("a b"), "the end of the pod releases nothing");
    assert_eq!(bench.take("p2", 2), Ok(set("a b")));
    assert!(bench.ledger.devices_of("p1").is_empty());
    assert_eq!(bench.ledger.run_options("p1", "app"), None);
    bench.ledger.pod_removed("p2");
    assert_eq!(bench.take("p3", 2), Ok(set("a b")));
}

#[test]
fn a_pod_that_only_asks_for_other_things_releases_nothing() {
    let mut bench = Bench::serving("a");
    bench.take("p1", 1).unwrap();
    bench.ledger.pod_terminated("p1");
    bench.admit(&pod("p2", &[("cpu", 1)])).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("a"));
    bench.ledger.list_pod_resources();
    assert_eq!(bench.ids("p1", "app", RES), set(""), "a List of podresources releases");
}

#[test]
fn nothing_is_released_before_all_sources_are_ready() {
    let mut bench = Bench::with(LedgerSettings { sources_ready: false, ..LedgerSettings::default() });
    bench.serve(RES, "a");
    bench.take("p1", 1).unwrap();
    bench.ledger.pod_removed("p1");
    assert!(matches!(bench.take("p2", 1), Err(AllocationError::TooFew { available: 0, .. })));
    bench.ledger.sources_ready();
    bench.ledger.pod_terminated("p2");
    assert_eq!(bench.take("p3", 1), Ok(set("a")));
}

#[test]
fn a_failed_allocate_gives_its_devices_back() {
    let mut bench = Bench::serving("a b");
    bench.answer = Box::new(|_, _| Err(call_error()));
    let refused = bench.take("p1", 2).unwrap_err();
    assert_eq!(refused.to_string(), "rpc error: code = Unknown desc = out of order");
    bench.answer = Box::new(|_, call| Ok(Some(response(&call.ids))));
    assert_eq!(bench.take("p2", 2), Ok(set("a b")));
}

#[test]
fn a_recount_during_the_call_loses_nothing() {
    let mut bench = Bench::new();
    bench.serve_with(RES, "a b c", PREFERRING);
    bench.take("gone", 1).unwrap();
    bench.ledger.pod_removed("gone");
    bench.prefer = Box::new(|ledger, call| {
        ledger.list_pod_resources();
        Ok(call.available.iter().take(2).cloned().collect())
    });
    bench.answer = Box::new(|ledger, call| {
        ledger.recount_in_use();
        Ok(Some(response(&call.ids)))
    });
    let held = bench.take("p1", 2).unwrap();
    assert_eq!(bench.ledger.devices.in_use.get(RES), Some(&held));
    assert!(bench.take("p2", 1).unwrap().is_disjoint(&held));
}

#[test]
fn a_resource_that_was_removed_refuses_only_while_somebody_holds_it() {
    let mut bench = Bench::new();
    let client = bench.serve(RES, "a b");
    bench.take("p1", 1).unwrap();
    bench.ledger.stream_ended(client, RES, Duration::ZERO);
    assert!(matches!(bench.take("p2", 1), Err(AllocationError::NoHealthyDevices { .. })));
    bench.ledger.capacity(ENDPOINT_STOP_GRACE * 2);
    assert_eq!(
        bench.take("p3", 1).unwrap_err().to_string(),
        "cannot allocate unregistered device vendor.test/dev"
    );
    assert_eq!(
        bench.ledger.pre_start_calls("p1", "app"),
        vec![Err(StartError::EndpointMissing { resource: RES.to_owned() })]
    );
    bench.ledger.pod_removed("p1");
    bench.ledger.list_pod_resources();
    assert_eq!(bench.take("p4", 1), Ok(set("")), "nobody's resource: success without a device");
}

#[test]
fn the_same_seed_chooses_the_same_devices() {
    let chosen = |order: Order| {
        let mut bench = Bench::with(LedgerSettings { order, ..LedgerSettings::default() });
        bench.serve(RES, "a b c d e f g h");
        (bench.take("p1", 3).unwrap(), bench.take("p2", 3).unwrap())
    };
    assert_eq!(chosen(Order::Seeded(5)), chosen(Order::Seeded(5)));
    assert_eq!(chosen(Order::Ascending), (set("a b c"), set("d e f")));
    assert_eq!(chosen(Order::Descending), (set("f g h"), set("c d e")));
    let differs = (0..10).any(|seed| chosen(Order::Seeded(seed)) != chosen(Order::Seeded(5)));
    assert!(differs, "another seed can choose otherwise");
}
