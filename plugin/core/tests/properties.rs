//! Whatever happens in whatever order: no GPU changes under a holder, and nothing is handed out twice.

#![allow(clippy::unwrap_used)]

mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_core::event::{ComputeProcess, Event, ProcessList};
use plugin_core::inventory::GpuUuid;
use plugin_core::resources::gpu_of;
use proptest::prelude::*;
use shell::{Node, assert_replays, gpu, shared};

const GPUS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Flip(bool),
    WrongLabel,
    Admit { shared: bool, choice: usize },
    Delete { choice: usize },
    Wait { millis: u64 },
    KubeletRestart,
    PluginRestart,
    LoseHolders,
    Processes { gpu: u32, pids: u32, told: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(Step::Flip),
        1 => Just(Step::WrongLabel),
        6 => (any::<bool>(), 0..64usize).prop_map(|(shared, choice)| Step::Admit { shared, choice }),
        3 => (0..64usize).prop_map(|choice| Step::Delete { choice }),
        4 => (1..40_000u64).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::KubeletRestart),
        1 => Just(Step::PluginRestart),
        1 => Just(Step::LoseHolders),
        2 => (0..GPUS, 0..3u32, any::<bool>()).prop_map(|(gpu, pids, told)| Step::Processes { gpu, pids, told }),
    ]
}

/// The kubelet's choice: any healthy id that no pod holds.
fn free_ids(node: &Node, shared_one: bool) -> Vec<String> {
    let resource = if shared_one { shared() } else { gpu() };
    let held: BTreeSet<&String> =
        node.holdings.iter().filter(|h| h.resource == resource.to_string()).flat_map(|h| &h.ids).collect();
    let devices = node.plugin.view().devices(&resource);
    let healthy = devices.iter().flat_map(|d| d.values()).filter(|d| d.healthy).map(|d| d.id.clone());
    healthy.filter(|id| !held.contains(id)).collect()
}

/// So many processes that are of no pod; or NVML does not tell.
fn processes(pids: u32, told: bool) -> ProcessList {
    let process = |pid| ComputeProcess {
        pid,
        name: None,
        used_bytes: None,
        gpu_instance: None,
        compute_instance: None,
    };
    match told {
        true => ProcessList::Read { processes: (1..=pids).map(process).collect() },
        false => ProcessList::Failed { why: "Unknown Error".into() },
    }
}

/// From the outside: only what pods hold and what the kubelet may hand out next.
fn check(node: &Node) {
    let mut holders: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for holding in &node.holdings {
        for id in &holding.ids {
            let entry = holders.entry(gpu_of(id).to_string()).or_default();
            entry.push((holding.resource.clone(), holding.pod.clone()));
        }
    }
    for (gpu_uuid, users) in &holders {
        let resources: BTreeSet<&String> = users.iter().map(|(resource, _)| resource).collect();
        assert!(resources.len() == 1, "{gpu_uuid} has holders under two resources: {users:?}");
        let exclusive = *resources.first().unwrap() == &gpu().to_string();
        assert!(!exclusive || users.len() == 1, "{gpu_uuid} has two exclusive holders: {users:?}");
        assert!(users.len() <= 4, "{gpu_uuid} has more holders than replicas: {users:?}");
        let other = if exclusive { shared() } else { gpu() };
        let free_elsewhere = node.plugin.view().devices(&other).is_some_and(|devices| {
            devices.values().any(|d| d.gpu.as_str() == gpu_uuid && (d.healthy || d.granted))
        });
        assert!(!free_elsewhere, "{gpu_uuid} is held as {resources:?} and offered as {other}");
    }
    let status = &node.plugin.view().status;
    assert_eq!(status.gpus.len(), GPUS as usize);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_hands_a_gpu_out_twice(steps in prop::collection::vec(step(), 1..60)) {
        let mut node = Node::started(GPUS);
        let mut pods = 0;
        for step in steps {
            match step {
                Step::Flip(on) => node.set_config_label(on.then_some("mps-config")),
                Step::WrongLabel => node.set_config_label(Some("nonsense")),
                Step::Admit { shared: shared_one, choice } => {
                    let free = free_ids(&node, shared_one);
                    if let Some(id) = free.get(choice % free.len().max(1)) {
                        pods += 1;
                        let resource = if shared_one { shared() } else { gpu() };
                        let admitted = node.admit(&format!("pod-{pods}"), &resource, &[id.as_str()]);
                        prop_assert_eq!(admitted, Ok(()), "a healthy id is granted");
                    }
                }
                Step::Delete { choice } => {
                    let count = node.holdings.len();
                    if count > 0 {
                        node.holdings.remove(choice % count);
                    }
                }
                Step::Wait { millis } => node.wait(Duration::from_millis(millis)),
                Step::KubeletRestart => node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true }),
                Step::PluginRestart => node.restart_plugin(),
                Step::LoseHolders => node.tell(Event::HoldersUnreadable { why: "no answer".into(), checkpoint: node.checkpoint.clone() }),
                Step::Processes { gpu, pids, told } => {
                    node.processes.insert(GpuUuid::new(format!("GPU-{gpu}")), processes(pids, told));
                }
            }
            check(&node);
        }
        assert_replays(&node);

        // nobody is left: the node converges to what the label asks for
        node.holdings.clear();
        node.processes.clear();
        node.set_config_label(Some("mps-config"));
        node.wait(Duration::from_secs(60));
        prop_assert_eq!(node.counts(&shared()), (12, 12));
        prop_assert_eq!(node.counts(&gpu()), (0, 0));
    }

    #[test]
    fn preferences_are_valid_for_any_request(
        flip in any::<bool>(),
        mask in prop::collection::vec(any::<bool>(), 12),
        must_count in 0..3usize,
        size in 0..8usize,
    ) {
        let mut node = Node::started(GPUS);
        node.set_config_label(flip.then_some("mps-config"));
        let resource = if flip { shared() } else { gpu() };
        let view = node.plugin.view();
        let all: Vec<String> = view.devices(&resource).unwrap().keys().cloned().collect();
        let available: Vec<String> =
            all.iter().zip(mask.iter().cycle()).filter(|(_, on)| **on).map(|(id, _)| id.clone()).collect();
        let must: Vec<String> = available.iter().take(must_count).cloned().collect();
        match view.prefer(&resource, &available, &must, size) {
            Ok(chosen) => {
                let distinct: BTreeSet<&String> = chosen.iter().collect();
                prop_assert_eq!(distinct.len(), chosen.len(), "an id twice");
                prop_assert!(chosen.iter().all(|id| available.contains(id)));
                prop_assert!(must.iter().all(|id| chosen.contains(id)));
                prop_assert_eq!(chosen.len(), size.max(must.len()));
            }
            Err(_) => prop_assert!(available.len() < size),
        }
    }
}
