//! Kubelet 1.37: several plugins of one resource, and one of them leaves.

use super::*;

fn bench() -> Bench {
    Bench::with(LedgerSettings { profile: Profile::v1_37(), ..LedgerSettings::default() })
}

fn connect(bench: &mut Bench, socket: &str) -> ClientId {
    let client = bench.ledger.register_at("v1beta1", RES, socket).unwrap();
    bench.ledger.connected(client, RES, PluginOptions::default());
    client
}

#[test]
fn a_plugin_that_leaves_does_not_disturb_the_one_that_came_after_it() {
    let mut bench = bench();
    let old = connect(&mut bench, "old.sock");
    let new = connect(&mut bench, "new.sock");
    bench.list(RES, "a b");
    assert_eq!(bench.ledger.stream_ended(old, RES, Duration::ZERO), Some(old));
    assert_eq!(bench.counts(RES), Some((2, 2)));
    assert_eq!(bench.ledger.stream_ended(new, RES, Duration::ZERO), Some(new));
    assert_eq!(bench.counts(RES), Some((2, 0)), "nobody is left");
}

#[test]
fn the_survivor_gets_the_calls_when_the_newest_leaves() {
    let mut bench = bench();
    let old = connect(&mut bench, "old.sock");
    let new = connect(&mut bench, "new.sock");
    bench.list(RES, "a b");
    bench.ledger.stream_ended(new, RES, Duration::ZERO);
    assert_eq!(bench.counts(RES), Some((2, 2)));
    bench.take("p1", 1).unwrap();
    assert_eq!(bench.calls[0].client, old);
}

#[test]
fn a_second_registration_on_the_same_socket_is_refused_until_the_first_is_gone() {
    let mut bench = bench();
    let first = connect(&mut bench, "p.sock");
    let refused = bench.ledger.register_at("v1beta1", RES, "p.sock").unwrap_err();
    assert_eq!(refused.to_string(), "device plugin already connected: p.sock");
    bench.ledger.stream_ended(first, RES, Duration::ZERO);
    assert!(bench.ledger.register_at("v1beta1", RES, "p.sock").is_ok());
}
