//! What holds whatever happens.

use super::*;
use proptest::prelude::*;

const PODS: usize = 6;

#[derive(Clone, Debug)]
enum Deed {
    Admit(usize, u64),
    End(usize),
    List(Vec<(u8, bool)>),
    FailNext,
    Reconnect,
    ReadPodResources,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..PODS, 0..4_u64).prop_map(|(pod, count)| Deed::Admit(pod, count)),
        2 => (0..PODS).prop_map(Deed::End),
        2 => proptest::collection::vec((0..8_u8, any::<bool>()), 0..8).prop_map(Deed::List),
        1 => Just(Deed::FailNext),
        1 => Just(Deed::Reconnect),
        1 => Just(Deed::ReadPodResources),
    ]
}

fn word((id, healthy): &(u8, bool)) -> String {
    format!("{}d{id}@{}", if *healthy { "" } else { "!" }, id % 2)
}

fn play(deeds: &[Deed], profile: Profile, seed: u64) {
    let order = Order::Seeded(seed);
    let mut bench = Bench::with(LedgerSettings { profile, order, ..LedgerSettings::default() });
    let mut client = bench.serve_with(RES, "d0@0 d1@1 d2@0 d3@1", PREFERRING);
    bench.prefer = Box::new(|_, call| {
        let offered = as_set(&call.available);
        assert!(as_set(&call.must_include).is_subset(&offered));
        assert!(call.size as usize <= offered.len());
        Ok(call.available.iter().take(1).cloned().collect())
    });
    for deed in deeds {
        match deed {
            Deed::Admit(pod_number, count) => {
                let uid = format!("p{pod_number}");
                if bench.ledger.is_active(&uid) {
                    continue;
                }
                bench.ledger.list_pod_resources();
                if bench.take(&uid, *count).is_err() {
                    bench.ledger.pod_terminated(&uid);
                } else {
                    assert_eq!(bench.ids(&uid, "app", RES).len() as u64, *count);
                }
                bench.answer = Box::new(|_, call| Ok(Some(response(&call.ids))));
            }
            Deed::End(pod_number) => bench.ledger.pod_terminated(&format!("p{pod_number}")),
            Deed::List(words) => {
                let words: Vec<String> = words.iter().map(word).collect();
                bench.list(RES, &words.join(" "));
            }
            Deed::FailNext => bench.answer = Box::new(|_, _| Err(call_error())),
            Deed::Reconnect => {
                bench.ledger.stream_ended(client, RES, Duration::ZERO);
                client = bench.serve_with(RES, "d0@0 d1@1 d2@0 d3@1", PREFERRING);
            }
            Deed::ReadPodResources => drop(bench.ledger.list_pod_resources()),
        }
        no_device_has_two_holders(&bench);
        what_is_recorded_is_in_use(&bench);
        let text = bench.ledger.checkpoint().to_text().unwrap();
        assert_eq!(Checkpoint::from_text(&text).unwrap(), bench.ledger.checkpoint());
    }
}

fn what_is_recorded_is_in_use(bench: &Bench) {
    for (resource, ids) in bench.ledger.records.in_use() {
        let in_use = &bench.ledger.devices.in_use[&resource];
        assert!(ids.is_subset(in_use), "{resource}: {ids:?} are recorded, {in_use:?} in use");
    }
}

fn no_device_has_two_holders(bench: &Bench) {
    let mut held = BTreeSet::new();
    for number in 0..PODS {
        let uid = format!("p{number}");
        if bench.ledger.is_active(&uid) {
            for id in bench.ids(&uid, "app", RES) {
                assert!(held.insert(id.clone()), "{id} has two holders");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_device_is_held_twice_and_every_checkpoint_reads_back(
        deeds in proptest::collection::vec(deed(), 0..40),
        seed in any::<u64>(),
    ) {
        play(&deeds, Profile::v1_36(), seed);
        play(&deeds, Profile::fixed(), seed);
    }
}
