//! What a node shows.

use super::*;

#[test]
fn unhealthy_devices_count_for_capacity_only() {
    let mut bench = Bench::serving("a b !c");
    assert_eq!(bench.counts(RES), Some((3, 2)));
    bench.list(RES, "a b");
    assert_eq!(bench.counts(RES), Some((2, 2)));
    bench.list(RES, "a !b !c");
    assert_eq!(bench.counts(RES), Some((3, 1)));
    bench.list(RES, "!b !c");
    assert_eq!(bench.counts(RES), Some((2, 0)));
    bench.serve(OTHER, "x !y !z");
    assert_eq!((bench.counts(RES), bench.counts(OTHER)), (Some((2, 0)), Some((3, 1))));
}

#[test]
fn only_the_exact_word_healthy_counts() {
    let listed = |health: &str| {
        let device = plugin_api::deviceplugin::Device {
            id: "a".to_owned(),
            health: health.to_owned(),
            topology: None,
        };
        Device::from_api(&device).healthy
    };
    assert!(listed("Healthy"));
    for other in ["healthy", "", "Unknown", "Unhealthy", "Healthy "] {
        assert!(!listed(other), "{other:?}");
    }
}

#[test]
fn an_allocation_does_not_lower_allocatable() {
    let mut bench = Bench::serving("a b");
    bench.take("p1", 1).unwrap();
    assert_eq!(bench.counts(RES), Some((2, 2)));
}

#[test]
fn a_stopped_plugin_keeps_its_capacity_for_the_grace_period_and_is_removed_once() {
    let mut bench = Bench::new();
    let client = bench.serve(RES, "a b c");
    let second = Duration::from_secs(1);
    assert_eq!(bench.ledger.stream_ended(client, RES, second), Some(client));
    let in_time = bench.ledger.capacity(second + ENDPOINT_STOP_GRACE);
    assert_eq!(in_time.resources.get(RES), Some(&ResourceCount { capacity: 3, allocatable: 0 }));
    assert!(in_time.removed.is_empty());
    let late = bench.ledger.capacity(second * 2 + ENDPOINT_STOP_GRACE);
    assert!(late.resources.is_empty());
    assert_eq!((late.removed_now, late.removed), (set(RES), set(RES)));
    let later = bench.ledger.capacity(second * 3 + ENDPOINT_STOP_GRACE);
    assert_eq!((later.removed_now, later.removed), (set(""), set(RES)), "listed once, its key kept");
    assert!(bench.ledger.devices.all.is_empty() && bench.ledger.devices.healthy.is_empty());
    assert!(bench.ledger.devices.unhealthy.is_empty());
    bench.serve(RES, "a");
    let back = bench.ledger.capacity(second * 4 + ENDPOINT_STOP_GRACE);
    assert_eq!(back.resources.get(RES), Some(&ResourceCount { capacity: 1, allocatable: 1 }));
    assert!(back.removed.is_empty());
}

#[test]
fn a_stream_that_ends_before_its_first_list_shows_nothing_but_a_capacity_of_zero() {
    let mut bench = Bench::new();
    let client = bench.ledger.register("v1beta1", RES).unwrap();
    bench.ledger.connected(client, RES, PluginOptions::default());
    assert_eq!(bench.counts(RES), None, "connected, nothing said");
    bench.ledger.stream_ended(client, RES, Duration::ZERO);
    assert_eq!(bench.counts(RES), Some((0, 0)));
    assert_eq!(bench.take("p1", 1), Ok(set("")), "not ours: success without a device");
}

#[test]
fn an_empty_list_shows_zero_and_refuses() {
    let mut bench = Bench::serving("");
    assert_eq!(bench.counts(RES), Some((0, 0)));
    let refused = bench.take("p1", 1).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no healthy devices present; cannot allocate unhealthy devices vendor.test/dev"
    );
}

#[test]
fn the_node_has_room_for_what_is_already_in_use() {
    let mut bench = Bench::serving("a b");
    let holder = pod("p1", &[(RES, 2)]);
    bench.admit(&holder).unwrap();
    bench.list(RES, "a !b");
    let figures = |count| limits(&[(RES, count)]);
    assert_eq!(bench.ledger.check_fit(&holder, &figures(1)), Ok(()), "raised to the two in use");
    assert_eq!(bench.ledger.check_fit(&holder, &figures(5)), Ok(()), "a higher figure is left alone");
}

#[test]
fn a_pod_beyond_the_nodes_figures_is_out_of_that_resource() {
    let mut bench = Bench::serving("a b");
    bench.take("p1", 1).unwrap();
    let second = pod("p2", &[(RES, 1)]);
    bench.ledger.pods.insert("p2".to_owned(), KnownPod::active(&Arc::new(second.clone())));
    let refused = bench.ledger.check_fit(&second, &limits(&[(RES, 0)])).unwrap_err();
    assert_eq!(refused.reason, "OutOfvendor.test/dev");
    assert_eq!(
        refused.message,
        "Pod was rejected: Node didn't have enough resource: vendor.test/dev, requested: 1, used: 1, capacity: 0"
    );
    assert_eq!(bench.ledger.check_fit(&second, &limits(&[])), Ok(()), "absent from the node: not compared");
}

#[test]
fn the_figures_of_this_moment_include_removed_resources_with_zero() {
    let mut bench = Bench::serving("a !b");
    let client = bench.serve(OTHER, "x");
    bench.ledger.stream_ended(client, OTHER, Duration::ZERO);
    bench.ledger.capacity(ENDPOINT_STOP_GRACE * 2);
    assert_eq!(bench.ledger.allocatable_figures(), limits(&[(RES, 1), (OTHER, 0)]));
}
