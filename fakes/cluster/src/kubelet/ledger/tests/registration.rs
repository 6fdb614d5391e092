//! Plugins that come, overlap and go.

use super::*;

#[test]
fn a_refused_registration_changes_nothing() {
    let mut bench = Bench::serving("a");
    assert!(bench.ledger.register("v1alpha1", RES).is_err());
    assert!(bench.ledger.register("v1beta1", "gpu").is_err());
    assert_eq!(bench.counts(RES), Some((1, 1)));
    assert_eq!(bench.take("p1", 1), Ok(set("a")));
}

#[test]
fn a_later_registration_replaces_the_earlier_list_and_gets_the_calls() {
    for options in [(false, false), (false, true), (true, false), (true, true)] {
        let options = PluginOptions { pre_start_required: options.0, preferred_allocation: options.1 };
        let mut bench = Bench::new();
        bench.serve_with(RES, "a b", options);
        let second = bench.serve_with(RES, "a b", options);
        assert_eq!(bench.counts(RES), Some((2, 2)));
        bench.take("p1", 1).unwrap();
        assert_eq!(bench.calls[0].client, second);
        bench.serve_with(RES, "c", options);
        assert_eq!(bench.counts(RES), Some((1, 1)));
    }
}

#[test]
fn the_old_stream_still_sets_the_list() {
    let mut bench = Bench::serving("a b");
    let second = bench.serve(RES, "c");
    bench.list(RES, "a b");
    assert_eq!(bench.counts(RES), Some((2, 2)));
    bench.take("p1", 1).unwrap();
    assert_eq!(bench.calls[0].client, second, "the new plugin is asked for the old one's ids");
}

#[test]
fn the_end_of_the_old_stream_disconnects_the_new_plugin_unless_that_is_fixed() {
    let overlap = |mut bench: Bench| {
        let old = bench.serve(RES, "a b c");
        let new = bench.serve(RES, "a b c");
        let closed = bench.ledger.stream_ended(old, RES, Duration::ZERO);
        (closed == Some(new), bench.counts(RES))
    };
    assert_eq!(overlap(Bench::new()), (true, Some((3, 0))));
    assert_eq!(overlap(Bench::fixed()), (false, Some((3, 3))));
}

#[test]
fn a_failed_second_registration_orphans_the_first_unless_that_is_fixed() {
    let orphan = |mut bench: Bench| {
        let first = bench.serve(RES, "a b");
        let second = bench.ledger.register("v1beta1", RES).unwrap();
        bench.ledger.connect_failed(second, RES);
        assert_eq!(bench.counts(RES), Some((2, 2)), "the first is still connected");
        let closed = bench.ledger.stream_ended(first, RES, Duration::ZERO);
        (closed, bench.counts(RES), bench.take("p1", 1).is_ok())
    };
    assert_eq!(orphan(Bench::new()), (None, Some((2, 2)), true), "its death is not noticed");
    let (closed, counts, admitted) = orphan(Bench::fixed());
    assert!(closed.is_some());
    assert_eq!((counts, admitted), (Some((2, 0)), false));
}

#[test]
fn a_registration_is_referenced_as_long_as_calls_can_reach_it() {
    let mut bench = Bench::new();
    let old = bench.serve(RES, "a");
    assert!(bench.ledger.is_referenced(old));
    let new = bench.serve(RES, "a");
    assert!(!bench.ledger.is_referenced(old) && bench.ledger.is_referenced(new));
}

#[test]
fn calls_to_a_stopped_endpoint_name_it() {
    let mut bench = Bench::new();
    let client = bench.serve_with(RES, "a b", PREPARING);
    bench.take("p1", 1).unwrap();
    bench.ledger.stream_ended(client, RES, Duration::ZERO);
    bench.list(RES, "a b");
    let refused = bench.take("p2", 1).unwrap_err();
    assert_eq!(refused.to_string(), "endpoint vendor.test/dev has been stopped");
    let calls = bench.ledger.pre_start_calls("p1", "app");
    assert_eq!(calls, vec![Err(StartError::EndpointStopped { resource: RES.to_owned() })]);
    assert_eq!(bench.ledger.devices.in_use.get(RES).map(BTreeSet::len), Some(1), "the choice is undone");
}
