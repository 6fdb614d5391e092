//! When the plugin is asked, with what, and how much its answer counts.

use super::*;

fn preferring(list: &str, answer: &'static str) -> Bench {
    let mut bench = Bench::new();
    bench.serve_with(RES, list, PREFERRING);
    bench.prefer = Box::new(move |_, _| Ok(answer.split_whitespace().map(str::to_owned).collect()));
    bench
}

#[test]
fn a_preference_is_followed() {
    let mut bench = preferring("a b c d", "b d");
    assert_eq!(bench.take("p1", 2), Ok(set("b d")));
    let asked = &bench.asked[0];
    assert_eq!((as_set(&asked.available), asked.must_include.len(), asked.size), (set("a b c d"), 0, 2));
}

#[test]
fn the_plugin_is_asked_even_when_nothing_is_left_to_choose() {
    let mut bench = preferring("a b", "a b");
    bench.take("p1", 2).unwrap();
    assert_eq!(bench.asked.len(), 1, "without topology it is");
}

#[test]
fn ids_that_were_not_offered_are_ignored_and_a_short_answer_is_topped_up() {
    let mut bench = preferring("a b c !d", "d bogus c");
    let ids = bench.take("p1", 2).unwrap();
    assert!(ids.contains("c") && ids.len() == 2 && !ids.contains("d"), "{ids:?}");
    let mut bench = preferring("a b c", "a b c");
    assert_eq!(bench.take("p1", 2).unwrap().len(), 2, "surplus is ignored");
}

#[test]
fn a_failed_preference_fails_the_pod() {
    let mut bench = preferring("a b", "");
    bench.prefer = Box::new(|_, _| Err(call_error()));
    assert_eq!(
        bench.take("p1", 1).unwrap_err().to_string(),
        "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = out of order"
    );
    bench.prefer = Box::new(|_, _| Ok(Vec::new()));
    assert_eq!(bench.take("p2", 2).map(|ids| ids.len()), Ok(2), "nothing was taken yet: nothing leaks");
}

const TWO_SOCKETS: &str = "a@0 b@0 c@0 d@0 e@1 f@1 g@1 h@1";

#[test]
fn a_hint_without_any_topology_is_ignored() {
    let mut bench = Bench::serving("a b@");
    bench.admit_aligned(&pod("p1", &[(RES, 1)]), &[0]).unwrap();
    assert_eq!(bench.ids("p1", "app", RES).len(), 1);
}

#[test]
fn aligned_devices_come_first() {
    for (nodes, expected) in [(&[0][..], "a b c d"), (&[1], "e f g h")] {
        for count in [1, 2, 4] {
            let mut bench = Bench::serving(TWO_SOCKETS);
            bench.admit_aligned(&pod("p1", &[(RES, count)]), nodes).unwrap();
            let ids = bench.ids("p1", "app", RES);
            assert!(ids.len() as u64 == count && ids.is_subset(&set(expected)), "{nodes:?} {ids:?}");
        }
    }
    let mut bench = Bench::serving("a b@1");
    bench.admit_aligned(&pod("p1", &[(RES, 1)]), &[1]).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("b"), "the one with a topology");
}

#[test]
fn too_few_aligned_devices_are_all_taken_and_topped_up() {
    let mut bench = Bench::serving("a@0 b@0 c@0 e@1 f@1 g@1");
    bench.admit_aligned(&pod("p1", &[(RES, 4)]), &[0]).unwrap();
    let ids = bench.ids("p1", "app", RES);
    assert!(set("a b c").is_subset(&ids) && ids.len() == 4, "{ids:?}");
}

#[test]
fn a_device_on_two_nodes_is_aligned_with_either_and_recorded_under_both() {
    let mut bench = Bench::serving("a@1 b@1,2 c");
    bench.admit_aligned(&pod("p1", &[(RES, 1)]), &[2]).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("b"));
    let entries = bench.ledger.checkpoint().entries.unwrap();
    let nodes: Vec<i64> = entries[0].devices.as_ref().unwrap().keys().copied().collect();
    assert_eq!(nodes, [1, 2]);
}

#[test]
fn only_the_aligned_part_of_a_preference_counts_while_enough_are_aligned() {
    let mut bench = preferring(TWO_SOCKETS, "e d bogus c");
    bench.admit_aligned(&pod("p1", &[(RES, 3)]), &[0]).unwrap();
    let ids = bench.ids("p1", "app", RES);
    assert!(set("c d").is_subset(&ids) && ids.is_subset(&set("a b c d")), "{ids:?}");
    let asked = &bench.asked[0];
    assert_eq!((as_set(&asked.available), asked.size), (set("a b c d"), 3));
}

#[test]
fn all_aligned_devices_must_be_included_when_more_are_needed() {
    let mut bench = preferring(TWO_SOCKETS, "h g bogus");
    bench.admit_aligned(&pod("p1", &[(RES, 6)]), &[0]).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("a b c d g h"));
    let asked = &bench.asked[0];
    assert_eq!(as_set(&asked.must_include), set("a b c d"));
    assert_eq!((as_set(&asked.available), asked.size), (set("a b c d e f g h"), 6), "the full request");
}

#[test]
fn exactly_enough_aligned_devices_are_taken_without_asking() {
    let mut bench = preferring(TWO_SOCKETS, "");
    bench.admit_aligned(&pod("p1", &[(RES, 4)]), &[1]).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("e f g h"));
    assert!(bench.asked.is_empty());
}

#[test]
fn devices_that_others_hold_are_not_offered() {
    let mut bench = preferring("a b c d", "a b");
    bench.take("p1", 2).unwrap();
    bench.take("p2", 1).unwrap();
    assert_eq!(as_set(&bench.asked[1].available), set("c d"));
}

#[test]
fn reusable_devices_must_be_included_and_the_size_is_the_full_request() {
    let mut bench = preferring("a b c d", "");
    let containers = vec![
        container("init", ContainerKind::Init, &[(RES, 2)]),
        container("app", ContainerKind::App, &[(RES, 3)]),
    ];
    bench.admit(&pod_of("p1", containers)).unwrap();
    let (init, app) = (bench.ids("p1", "init", RES), bench.ids("p1", "app", RES));
    assert!(init.is_subset(&app) && app.len() == 3);
    let asked = &bench.asked[1];
    assert_eq!((as_set(&asked.must_include), asked.size), (init, 3));
    assert_eq!(as_set(&asked.available), set("a b c d"));
}
