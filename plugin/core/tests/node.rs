//! Whole stories of one node, told to the core alone.

mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::event::Event;
use shell::{Node, assert_replays, facts, gpu, shared};

#[test]
fn a_node_without_a_label_serves_exclusive_gpus() {
    let node = Node::started(4);
    assert_eq!(node.counts(&gpu()), (4, 4));
    assert_eq!(node.label("gpu.sharing-strategy"), Some("none"));
    assert_eq!(node.label("gpu.replicas"), Some("1"));
    assert_eq!(node.label("mps.capable"), Some("false"));
    let status = &node.plugin.view().status;
    assert!(status.ready, "{:?}", status.not_ready_because);
    assert_eq!(status.switch, "settled");
    assert_replays(&node);
}

#[test]
fn a_node_without_a_driver_stays_up_unready_says_why_once_and_serves_when_one_appears() {
    let mut node = Node::started(0);
    node.wait(Duration::from_secs(35));
    assert!(node.exit.is_none());
    assert!(!node.plugin.view().status.ready);
    assert_eq!(node.said.iter().filter(|s| s.starts_with("NoDriver")).count(), 1, "{:?}", node.said);
    let looks = node.actions.iter().filter(|a| **a == Action::FindGpus).count();
    assert_eq!(looks, 4, "one at start, one every ten seconds");
    node.facts = Some(facts(2));
    node.wait(Duration::from_secs(10));
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert!(node.plugin.view().status.ready);
    assert_replays(&node);
}

#[test]
fn a_flip_to_mps_on_an_idle_node_renames_every_gpu_and_zeroes_the_old_name_at_once() {
    let mut node = Node::started(4);
    node.set_config_label(Some("mps-config"));
    assert_eq!(node.counts(&shared()), (16, 16));
    assert_eq!(node.counts(&gpu()), (4, 0), "old ids turn unhealthy before they leave");
    assert_eq!(node.label("gpu.replicas"), Some("4"));
    assert_eq!(node.label("gpu.sharing-strategy"), Some("mps"));
    assert_eq!(node.label("mps.capable"), Some("true"));
    node.wait(Duration::from_secs(31));
    assert_eq!(node.counts(&gpu()), (0, 0));
    assert!(node.actions.contains(&Action::Close { resource: gpu() }), "an empty resource closes its socket");
    assert_replays(&node);
}

#[test]
fn a_staged_flip_keeps_serving_until_an_mps_supervisor_is_alive() {
    let mut node = Node::started(4);
    node.supervisor_alive = true; // the label changes nothing now, so no report comes
    node.set_config_label(Some("mps-config"));
    assert_eq!(node.label("mps.capable"), Some("true"), "written when the switch is staged");
    assert_eq!(node.counts(&gpu()), (4, 4));
    assert_eq!(node.plugin.view().status.switch, "staged");
    node.wait(Duration::from_secs(61));
    assert!(node.said.iter().any(|s| s.starts_with("MpsSupervisorMissing")), "{:?}", node.said);
    node.tell(Event::MpsReported { supervisor_alive: true, actual: None });
    assert_eq!(node.counts(&shared()), (16, 16));
    assert_replays(&node);
}

#[test]
fn a_held_gpu_keeps_its_role_until_its_holder_is_gone_and_the_others_switch_at_once() {
    let mut node = Node::started(4);
    node.admit("training", &gpu(), &["GPU-1"]).unwrap();
    node.set_config_label(Some("mps-config"));
    assert_eq!(node.states(), ["settled", "draining", "settled", "settled"]);
    assert_eq!(node.counts(&shared()), (12, 12), "ids of the held GPU are absent");
    assert_eq!(node.counts(&gpu()), (4, 1), "the held id stays healthy");
    node.wait(Duration::from_secs(120));
    assert_eq!(node.counts(&gpu()), (1, 1), "unheld old ids are gone, the held one stays");
    node.delete("training");
    node.wait(Duration::from_secs(2));
    assert_eq!(node.states(), ["settled"; 4]);
    assert_eq!(node.counts(&shared()), (16, 16));
    assert_replays(&node);
}

#[test]
fn a_flip_back_waits_for_every_sharer_and_then_restores_labels_and_stops_the_daemons() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-config"));
    node.admit("a", &shared(), &["GPU-0::0"]).unwrap();
    node.admit("b", &shared(), &["GPU-1::2"]).unwrap();
    node.wait(Duration::from_secs(1));
    node.set_config_label(None);
    assert_eq!(node.states(), ["draining", "draining"]);
    assert_eq!(node.counts(&shared()), (8, 2), "no free device under the old name");
    assert_eq!(node.counts(&gpu()).1, 0, "none under the new one");
    assert_eq!(node.label("gpu.sharing-strategy"), Some("mps"));
    node.wait(Duration::from_secs(31));
    assert_eq!(node.counts(&shared()), (2, 2), "unheld ids have left");
    node.delete("a");
    node.wait(Duration::from_secs(2));
    assert_eq!(node.states(), ["settled", "draining"]);
    assert_eq!(node.counts(&gpu()).1, 1);
    assert_eq!(node.label("mps.capable"), Some("true"), "one daemon is still needed");
    node.delete("b");
    node.wait(Duration::from_secs(2));
    assert_eq!(node.counts(&gpu()).1, 2);
    assert_eq!(node.label("gpu.sharing-strategy"), Some("none"));
    assert_eq!(node.label("mps.capable"), Some("false"));
    assert_eq!(node.actual.as_ref().map(|a| a.daemons.len()), Some(0));
    assert_replays(&node);
}

#[test]
fn an_abandoned_flip_gives_held_gpus_their_role_back_without_a_change() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("mps-config"));
    node.set_config_label(None);
    node.wait(Duration::from_secs(1));
    assert_eq!(node.counts(&gpu()), (2, 2));
    assert_eq!(node.states(), ["settled", "settled"]);
    node.wait(Duration::from_secs(31));
    assert_eq!(node.counts(&shared()), (0, 0));
    assert_replays(&node);
}

#[test]
fn an_allocate_that_races_with_a_flip_makes_a_holder_and_no_failed_pod() {
    let mut node = Node::started(1);
    // the kubelet has called Allocate, but lists the pod only later
    node.admit("late", &gpu(), &["GPU-0"]).unwrap();
    let late = node.holdings.pop().unwrap();
    node.set_config_label(Some("mps-config"));
    node.wait(Duration::from_secs(4));
    assert_eq!(node.states(), ["draining"]);
    node.holdings.push(late);
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["draining"]);
    node.holdings.clear();
    node.wait(Duration::from_secs(3));
    assert_eq!(node.counts(&shared()), (4, 4));
}

#[test]
fn an_allocate_that_was_granted_before_the_flip_and_told_after_it_takes_the_gpu_back() {
    let mut node = Node::started(2);
    let before = node.plugin.view();
    node.set_config_label(Some("mps-config"));
    assert_eq!(node.counts(&shared()), (8, 8));
    // answered from the view of a moment ago, and heard of only now
    let ids = vec!["GPU-0".to_owned()];
    assert!(before.allocate(&gpu(), &ids).is_ok());
    let late = Event::Allocated { resource: gpu(), ids, view_generation: before.generation, refused: None };
    node.tell(late);
    assert_eq!(node.states(), ["draining", "settled"]);
    assert_eq!(node.counts(&shared()), (8, 4), "nobody else gets the GPU");
    node.wait(Duration::from_secs(60));
    assert_eq!(node.states(), ["settled", "settled"], "no pod ever came to hold it");
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_replays(&node);
}

#[test]
fn a_wrong_label_value_is_said_once_and_changes_nothing() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-confg"));
    node.wait(Duration::from_secs(60));
    assert_eq!(node.counts(&gpu()), (2, 2));
    let refused: Vec<_> = node.said.iter().filter(|s| s.starts_with("ConfigRefused")).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("mps-confg") && refused[0].contains("mps-config"), "{refused:?}");
    assert_eq!(node.plugin.view().status.config_applied.as_deref(), Some("default"));
}

#[test]
fn a_kubelet_restart_registers_everything_again_and_keeps_the_holders() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-0"]).unwrap();
    node.wait(Duration::from_secs(1));
    node.tell(Event::StreamClosed { resource: gpu(), attempt: 1 });
    let before = node.actions.len();
    node.tell(Event::KubeletAppeared { age_ms: 60_000, has_checkpoint: true });
    let endpoint = "nvidia-gpu.sock".to_owned();
    let after = &node.actions[before..];
    assert!(
        after.contains(&Action::Listen { resource: gpu(), endpoint: endpoint.clone(), attempt: 2 }),
        "{after:?}"
    );
    assert!(after.contains(&Action::Register { resource: gpu(), endpoint, attempt: 2 }), "{after:?}");
    assert_eq!(node.plugin.view().status.gpus[0].holders, ["default/training/main"]);
    assert_eq!(node.counts(&gpu()), (2, 2));
}

#[test]
fn two_shared_devices_for_one_container_are_refused_with_nvidias_words() {
    let mut node = Node::started(1);
    node.set_config_label(Some("mps-config"));
    let refused = node.admit("greedy", &shared(), &["GPU-0::0", "GPU-0::1"]).unwrap_err();
    assert!(refused.contains("maximum request size for shared resources is 1; found 2"), "{refused}");
    assert!(node.plugin.view().status.gpus[0].holders.is_empty());
}

#[test]
fn an_mps_container_gets_the_pipe_of_its_own_gpu_at_nvidias_path() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-config"));
    let got = node.plugin.view().allocate(&shared(), &["GPU-1::3".into()]).unwrap();
    let envs: BTreeMap<String, String> = [
        ("CUDA_MPS_PIPE_DIRECTORY".to_owned(), "/mps/nvidia.com/gpu.shared/pipe".to_owned()),
        ("NVIDIA_VISIBLE_DEVICES".to_owned(), "GPU-1".to_owned()),
    ]
    .into();
    assert_eq!(got.envs, envs);
    let mounts: Vec<_> =
        got.mounts.iter().map(|m| (m.host_path.as_str(), m.container_path.as_str())).collect();
    let expected = [
        ("/run/nvidia/mps/nvidia.com/gpu.shared/GPU-1/pipe", "/mps/nvidia.com/gpu.shared/pipe"),
        ("/run/nvidia/mps/shm", "/dev/shm"),
    ];
    assert_eq!(mounts, expected);
}

#[test]
fn an_unusable_nvml_ends_the_process_unless_told_to_wait() {
    let mut node = Node::new(0);
    node.start();
    node.tell(Event::DriverFailed { why: "driver/library version mismatch".into() });
    let (code, why) = node.exit.clone().unwrap();
    assert_eq!(code, 1);
    assert!(why.contains("driver/library version mismatch"), "{why}");

    let mut node = Node::new(0);
    node.start();
    let patient = "version: v1\nflags:\n  failOnInitError: false\n";
    let files = [("default".to_owned(), patient.to_owned())].into();
    node.tell(Event::ConfigRead { files });
    node.tell(Event::DriverFailed { why: "driver/library version mismatch".into() });
    assert_eq!(node.exit, None);
}

#[test]
fn a_stop_closes_every_socket_and_exits_with_zero() {
    let mut node = Node::started(1);
    node.tell(Event::StopRequested);
    assert!(node.actions.contains(&Action::Close { resource: gpu() }));
    assert_eq!(node.exit.as_ref().map(|(code, _)| *code), Some(0));
    assert_eq!(node.plugin.poll_timeout(), None);
}

#[test]
fn a_plugin_restart_finds_mps_holders_and_their_daemons_as_they_were() {
    let mut node = Node::started(2);
    node.set_config_label(Some("mps-config"));
    node.admit("a", &shared(), &["GPU-0::0"]).unwrap();
    node.restart_plugin();
    assert_eq!(node.states(), ["settled", "settled"]);
    assert_eq!(node.counts(&shared()), (8, 8));
    assert_eq!(node.plugin.view().status.gpus[0].holders, ["default/a/main"]);
    assert_replays(&node);
}

#[test]
fn a_plugin_that_restarts_during_a_drain_goes_on_draining() {
    let mut node = Node::started(2);
    node.admit("training", &gpu(), &["GPU-0"]).unwrap();
    node.set_config_label(Some("mps-config"));
    node.restart_plugin();
    assert_eq!(node.states(), ["draining", "settled"]);
    assert_eq!(node.counts(&gpu()), (1, 1));
    assert_eq!(node.counts(&shared()), (4, 4));
    node.delete("training");
    node.wait(Duration::from_secs(3));
    assert_eq!(node.counts(&shared()), (8, 8));
}

#[test]
fn a_wish_for_mps_daemons_that_could_not_be_written_is_written_again_until_it_is() {
    let mut node = Node::started(4);
    node.set_config_label(Some("mps-config"));
    let wishes = |node: &Node| {
        let wishes = node.actions.iter().filter_map(|action| match action {
            Action::WriteMpsDesired { desired } => Some(desired.clone()),
            _ => None,
        });
        wishes.collect::<Vec<_>>()
    };
    let before = wishes(&node);
    let why = || "`desired.json` cannot be written: No space left on device".to_owned();
    node.tell(Event::MpsDesiredFailed { why: why() });
    node.wait(Duration::from_secs(6));
    assert_eq!(wishes(&node).len(), before.len() + 1, "one failure, one more try");
    assert_eq!(wishes(&node).last(), before.last(), "the same wish");
    node.tell(Event::MpsDesiredFailed { why: why() });
    node.wait(Duration::from_secs(30));
    assert_eq!(wishes(&node).len(), before.len() + 2);
    let told = node.said.iter().filter(|s| s.starts_with("MpsDesiredNotWritten")).count();
    assert_eq!(told, 1, "said once: {:?}", node.said);
    assert_replays(&node);
}
