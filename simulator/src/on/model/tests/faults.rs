//! Every fault has its effect on what the plugin and the pods see, and undoes itself.

use plugin_core::event::Event;
use plugin_core::journal::Record;

use super::*;
use crate::scenario::{Apply, Selection, Verb};
use crate::world::NodeView;

const SEEDS: u64 = 5;
const CONFIG: &str = "nvidia.com/device-plugin.config";

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// How many devices of a resource the node offers.
fn offers(node: &NodeView, resource: &str) -> u64 {
    node.allocatable.get(resource).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

fn serves(world: &World) -> bool {
    let node = &world.nodes["gpu-1"];
    node.plugin.ready && offers(node, "nvidia.com/gpu") == 4
}

fn shares(world: &World) -> bool {
    let node = &world.nodes["gpu-1"];
    let settled = node.gpus.iter().all(|gpu| gpu.state.as_deref() == Some("settled"));
    settled && offers(node, "nvidia.com/gpu.shared") == 16
}

fn warned(world: &World, words: &str) -> bool {
    world.nodes["gpu-1"].plugin.warnings.iter().any(|warning| warning.contains(words))
}

fn act(stage: &mut ModelStage, verb: &Verb) {
    use futures::FutureExt as _;
    stage.act(verb).now_or_never().unwrap().unwrap();
}

fn flip(stage: &mut ModelStage, config: &str) {
    let set = [(CONFIG.to_owned(), config.to_owned())].into();
    act(stage, &Verb::Label { node: "gpu-1".to_owned(), set });
}

fn run_pod(stage: &mut ModelStage, name: &str, resource: &str) {
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "nodeName": "gpu-1",
        "containers": [{"name": "main", "image": "i", "resources": {"limits": {resource: 1}}}]}});
    act(stage, &Verb::Apply(vec![Apply { names: vec![name.to_owned()], manifest }]));
    until(stage, "the pod runs", |world| world.pods[name].phase == "Running");
}

/// A stage whose first node serves, with a plugin that waits for a driver that fails.
fn serving(seed: u64) -> ModelStage {
    let head = HEAD.replace("nodes:\n", "plugin: {args: [--fail-on-init-error=false]}\nnodes:\n");
    let scenario = read_text("test.yaml", &format!("{head}- wait: 1s\n")).unwrap();
    let mut stage = ModelStage::start(&scenario, options(seed)).unwrap();
    until(&mut stage, "the node serves", serves);
    stage
}

fn sharing(seed: u64) -> ModelStage {
    let mut stage = serving(seed);
    flip(&mut stage, "mps-config");
    until(&mut stage, "the node shares", shares);
    stage
}

fn suffer(stage: &mut ModelStage, what: Fault, lasts: Option<Duration>) {
    let node = if what.is_of_cluster() { "*" } else { "gpu-1" };
    assert_eq!(stage.fault(&fault(what, node, lasts)).unwrap(), Done::Did, "{what:?}");
}

fn assert_sound(stage: &mut ModelStage) {
    assert!(stage.violations().is_empty(), "{:?}", stage.violations());
    assert_eq!(stage.deaths(), [] as [&str; 0]);
}

#[test]
fn a_driver_that_fails_keeps_a_new_plugin_waiting_until_it_works() {
    let faults = [
        (Fault::NvmlError { gpu: None, code: 999 }, "error 999"),
        (Fault::NvmlError { gpu: Some(2), code: 15 }, "error 15"),
        (Fault::DriverUpgrade, "version mismatch"),
        (Fault::LateDeviceNodes, "not loaded"),
    ];
    for (what, words) in faults {
        for seed in 0..SEEDS {
            let mut stage = serving(seed);
            suffer(&mut stage, what, seconds(25));
            suffer(&mut stage, Fault::PluginRestart, None);
            until(&mut stage, "the plugin waits", |world| warned(world, words));
            assert!(!stage.world().nodes["gpu-1"].plugin.ready);
            until(&mut stage, "the plugin serves again", serves);
            assert_sound(&mut stage);
        }
    }
}

#[test]
fn a_plugin_goes_on_under_a_driver_that_fails_after_it_was_found() {
    for what in [Fault::NvmlError { gpu: None, code: 999 }, Fault::DriverUpgrade, Fault::NvmlHang] {
        let mut stage = serving(1);
        suffer(&mut stage, what, seconds(20));
        run_pod(&mut stage, "a", "nvidia.com/gpu");
        assert!(stage.world().nodes["gpu-1"].plugin.ready, "{what:?}");
        assert_sound(&mut stage);
    }
}

#[test]
fn an_nvml_call_that_does_not_return_holds_up_conversions_until_it_does() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::NvmlHang, seconds(20));
        flip(&mut stage, "mps-config");
        pass(&mut stage, Duration::from_secs(15));
        assert!(!shares(stage.world()), "no mode can change");
        assert!(stage.world().nodes["gpu-1"].plugin.running);
        until(&mut stage, "the node shares", shares);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_gpu_that_hangs_is_ill_and_hides_no_other_that_is_lost_or_back() {
    let allocatable = |world: &World| world.nodes["gpu-1"].allocatable.get("nvidia.com/gpu")?.as_u64();
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        let all = allocatable(stage.world()).unwrap();
        suffer(&mut stage, Fault::GpuHang { gpu: 1 }, seconds(300));
        until(&mut stage, "the one that hangs is ill", |world| allocatable(world) == Some(all - 1));
        suffer(&mut stage, Fault::GpuLost { gpu: 0 }, seconds(100));
        until(&mut stage, "the lost one is noticed", |world| allocatable(world) == Some(all - 2));
        run_pod(&mut stage, "a", "nvidia.com/gpu");
        pass(&mut stage, Duration::from_secs(75));
        until(&mut stage, "the lost one is back", |world| allocatable(world) == Some(all - 1));
        pass(&mut stage, Duration::from_secs(200));
        until(&mut stage, "all are well", |world| allocatable(world) == Some(all));
        assert_sound(&mut stage);
    }
}

#[test]
fn slow_nvml_calls_make_a_plugin_find_its_gpus_later() {
    let ready_after = |what: Option<Fault>| {
        let mut stage = serving(1);
        if let Some(what) = what {
            suffer(&mut stage, what, seconds(60));
        }
        let begun = stage.now();
        suffer(&mut stage, Fault::PluginRestart, None);
        until(&mut stage, "it starts", |world| world.nodes["gpu-1"].plugin.starts == 2);
        until(&mut stage, "the plugin is ready", |world| world.nodes["gpu-1"].plugin.ready);
        assert_sound(&mut stage);
        stage.now() - begun
    };
    let delay = Duration::from_millis(100);
    let (quick, slow) = (ready_after(None), ready_after(Some(Fault::NvmlSlow { delay })));
    assert!(slow > quick + Duration::from_secs(3), "{slow:?} and {quick:?}");
}

#[test]
fn a_pulled_gpu_is_gone_for_a_plugin_that_starts_and_the_indexes_of_others_move_up() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        let before: Vec<String> =
            stage.world().nodes["gpu-1"].gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        suffer(&mut stage, Fault::GpuUnplugged { gpu: 1 }, seconds(40));
        let gpus: Vec<(u32, String)> =
            stage.world().nodes["gpu-1"].gpus.iter().map(|gpu| (gpu.index, gpu.uuid.clone())).collect();
        assert_eq!(gpus, [(0, before[0].clone()), (1, before[2].clone()), (2, before[3].clone())]);
        suffer(&mut stage, Fault::PluginRestart, None);
        until(&mut stage, "three are served", |world| offers(&world.nodes["gpu-1"], "nvidia.com/gpu") == 3);
        until(&mut stage, "it is back", |world| world.nodes["gpu-1"].gpus.len() == 4);
        suffer(&mut stage, Fault::PluginRestart, None);
        until(&mut stage, "four are served", serves);
    }
}

#[test]
fn a_fault_ends_on_the_gpu_that_it_befell_although_indexes_have_moved() {
    let mut stage = serving(1);
    suffer(&mut stage, Fault::GpuUnplugged { gpu: 0 }, seconds(3));
    suffer(&mut stage, Fault::GpuLost { gpu: 0 }, seconds(6));
    pass(&mut stage, Duration::from_secs(10));
    let gpus = &stage.world().nodes["gpu-1"].gpus;
    let health: Vec<&str> = gpus.iter().map(|gpu| gpu.health.as_str()).collect();
    assert_eq!(health, ["healthy"; 4]);
}

#[test]
fn ecc_errors_are_counted_by_the_driver() {
    let mut stage = serving(1);
    suffer(&mut stage, Fault::EccError { gpu: 1 }, None);
    let gpus = stage.cluster.nodes[0].host.gpus.as_ref().unwrap();
    assert_eq!(gpus.gpu(1).unwrap().ecc_errors, [0, 1]);
    assert_eq!(gpus.events_from(0).count(), 1);
}

#[test]
fn an_mps_daemon_that_hangs_holds_up_its_gpu_and_is_killed_in_the_end() {
    for seed in 0..SEEDS {
        let mut stage = sharing(seed);
        suffer(&mut stage, Fault::MpsDaemonHang { gpu: None }, seconds(100));
        flip(&mut stage, "default");
        pass(&mut stage, Duration::from_secs(14));
        let running = |world: &World| {
            world.nodes["gpu-1"].gpus.iter().filter(|gpu| gpu.mps_daemon == "running").count()
        };
        assert_eq!(running(stage.world()), 4, "they do not take `quit`");
        until(&mut stage, "they are killed", |world| running(world) == 0);
        until(&mut stage, "the node serves", serves);
        assert_sound(&mut stage);
    }
}

#[test]
fn mps_servers_in_fault_are_seen() {
    let mut stage = sharing(1);
    suffer(&mut stage, Fault::MpsFault { gpu: 2 }, seconds(3));
    let daemon = |world: &World, gpu: usize| world.nodes["gpu-1"].gpus[gpu].mps_daemon.clone();
    assert_eq!(daemon(stage.world(), 2), "fault");
    assert_eq!(daemon(stage.world(), 1), "running");
    until(&mut stage, "it is over", |world| daemon(world, 2) == "running");
}

#[test]
fn a_killed_mps_container_takes_its_daemons_with_it_and_all_come_back() {
    for seed in 0..SEEDS {
        let mut stage = sharing(seed);
        suffer(&mut stage, Fault::MpsOomKilled, None);
        let gpus = |world: &World, daemon: &str| {
            world.nodes["gpu-1"].gpus.iter().all(|gpu| gpu.mps_daemon == daemon)
        };
        assert!(gpus(stage.world(), "absent") && !stage.world().nodes["gpu-1"].mps.running);
        until(&mut stage, "daemons run", |world| gpus(world, "running") && shares(world));
        assert_eq!(stage.world().nodes["gpu-1"].mps.starts, 2);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_killed_or_replaced_plugin_is_away_for_its_time() {
    for what in [Fault::PluginOomKilled, Fault::PluginUpgrade] {
        for seed in 0..SEEDS {
            let mut stage = serving(seed);
            run_pod(&mut stage, "a", "nvidia.com/gpu");
            suffer(&mut stage, what, seconds(12));
            pass(&mut stage, Duration::from_secs(10));
            assert!(!stage.world().nodes["gpu-1"].plugin.running, "{what:?}");
            until(&mut stage, "it serves again", serves);
            let world = stage.world();
            assert_eq!((world.nodes["gpu-1"].plugin.starts, world.pods["a"].phase.as_str()), (2, "Running"));
            assert_sound(&mut stage);
        }
    }
}

#[test]
fn a_slow_api_server_delays_the_labels() {
    let mut stage = serving(1);
    suffer(&mut stage, Fault::ApiServerSlow { delay: Duration::from_secs(4) }, seconds(30));
    flip(&mut stage, "sliced");
    let label = |world: &World| world.nodes["gpu-1"].labels["nvidia.com/gpu.replicas"].clone();
    pass(&mut stage, Duration::from_secs(3));
    assert_eq!(label(stage.world()), "1");
    until(&mut stage, "the label is there", |world| label(world) == "2");
    suffer(&mut stage, Fault::ApiServerSlow { delay: Duration::from_secs(20) }, seconds(40));
    flip(&mut stage, "default");
    until(&mut stage, "a patch is given up", |world| warned(world, "no answer within 10s"));
    until(&mut stage, "the label is there", |world| label(world) == "1");
    assert_sound(&mut stage);
}

#[test]
fn an_api_server_that_refuses_the_plugin_is_asked_again_until_it_serves() {
    for code in [429, 401] {
        let mut stage = serving(1);
        suffer(&mut stage, Fault::ApiServerRefuses { code }, seconds(20));
        flip(&mut stage, "sliced");
        let words = format!("status {code}");
        until(&mut stage, "labels are refused", |world| warned(world, &words));
        assert_eq!(stage.world().nodes["gpu-1"].labels["nvidia.com/gpu.replicas"], "1");
        until(&mut stage, "they are taken", |world| {
            world.nodes["gpu-1"].labels["nvidia.com/gpu.replicas"] == "2"
        });
        assert_sound(&mut stage);
    }
}

#[test]
fn expired_watches_are_replaced_by_lists_and_no_flip_is_missed() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::WatchExpired, seconds(30));
        flip(&mut stage, "mps-config");
        until(&mut stage, "the node shares", shares);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_kubelet_whose_socket_refuses_at_first_is_registered_with_as_soon_as_it_listens() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::KubeletSocketRace, seconds(3));
        until(&mut stage, "the plugin is refused", |world| warned(world, "Connection refused"));
        until(&mut stage, "it is registered", |world| {
            !world.nodes["gpu-1"].plugin.registered.is_empty() && serves(world)
        });
        assert_sound(&mut stage);
    }
}

#[test]
fn an_empty_list_after_a_kubelet_start_frees_no_gpu() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        run_pod(&mut stage, "a", "nvidia.com/gpu");
        suffer(&mut stage, Fault::PodResourcesEmpty, seconds(3));
        flip(&mut stage, "mps-config");
        pass(&mut stage, Duration::from_secs(30));
        let held = stage.world().pods["a"].gpus[0].clone();
        let gpus = &stage.world().nodes["gpu-1"].gpus;
        let gpu = gpus.iter().find(|gpu| gpu.uuid == held).unwrap();
        assert_eq!(
            (gpu.state.as_deref(), gpu.mps_daemon.as_str()),
            (Some("draining"), "absent"),
            "seed {seed}"
        );
        act(&mut stage, &Verb::Delete(Selection::Names(vec!["a".to_owned()])));
        until(&mut stage, "the node shares", shares);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_plugin_that_starts_beside_the_first_kubelet_of_a_node_hears_of_its_checkpoint_until_that_is_lost() {
    let mut stage = serving(1);
    let heard = |stage: &ModelStage| -> Vec<bool> {
        let of_node = |(node, _): &(&str, _)| *node == "gpu-1";
        let entries = stage.plugin_journals().into_iter().filter(of_node).flat_map(|(_, entries)| entries);
        let told = entries.filter_map(|entry| match &entry.record {
            Record::Event(Event::KubeletAppeared { has_checkpoint, .. }) => Some(*has_checkpoint),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(heard(&stage), [false]);
    suffer(&mut stage, Fault::PluginCrash, None);
    until(&mut stage, "the node serves again", |world| {
        serves(world) && world.nodes["gpu-1"].plugin.starts == 2
    });
    assert_eq!(heard(&stage), [false, true]);
    suffer(&mut stage, Fault::CheckpointLost, None);
    pass(&mut stage, Duration::from_secs(5));
    assert_eq!(heard(&stage), [false, true, false]);
}

#[test]
fn a_directory_that_is_made_anew_is_found_although_its_watch_is_dead() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        run_pod(&mut stage, "a", "nvidia.com/gpu");
        suffer(&mut stage, Fault::PluginDirectoryRecreated, seconds(6));
        assert!(stage.cluster.nodes[0].host.sockets.is_empty());
        pass(&mut stage, Duration::from_secs(5));
        assert!(stage.world().nodes["gpu-1"].plugin.registered.is_empty());
        until(&mut stage, "the plugin serves again", |world| {
            serves(world) && !world.nodes["gpu-1"].plugin.registered.is_empty()
        });
        assert_eq!(stage.world().nodes["gpu-1"].plugin.starts, 1);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_node_that_is_registered_again_has_lost_its_label_and_the_plugin_writes_its_own_anew() {
    for seed in 0..SEEDS {
        let mut stage = sharing(seed);
        suffer(&mut stage, Fault::NodeRecreated, seconds(4));
        assert!(stage.world().nodes["gpu-1"].labels.is_empty());
        until(&mut stage, "the plugin hears of it", |world| warned(world, "does not exist"));
        until(&mut stage, "the node serves as by default", |world| {
            let node = &world.nodes["gpu-1"];
            serves(world)
                && !node.labels.contains_key(CONFIG)
                && node.labels.get("nvidia.com/gpu.replicas").is_some_and(|value| value == "1")
        });
        assert_eq!(stage.deaths(), [] as [&str; 0]);
    }
}

#[test]
fn a_full_disk_holds_up_mps_until_it_has_room() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::DiskFull, seconds(20));
        flip(&mut stage, "mps-config");
        until(&mut stage, "the plugin says so", |world| warned(world, "No space left on device"));
        assert!(!shares(stage.world()));
        until(&mut stage, "the node shares", shares);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_full_disk_holds_up_cdi_specs_until_it_has_room() {
    let named = "version: v1\nflags: {plugin: {deviceListStrategy: [cdi-cri]}}\n\
                 sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}\n";
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::DiskFull, seconds(20));
        stage.edit_configs([("default".to_owned(), named.to_owned())].into());
        until(&mut stage, "the plugin says so", |world| warned(world, "CDI specs cannot be written"));
        assert_eq!(offers(&stage.world().nodes["gpu-1"], "nvidia.com/gpu"), 4, "no name leads anywhere yet");
        until(&mut stage, "the names hold", |world| offers(&world.nodes["gpu-1"], "nvidia.com/gpu") == 8);
        assert_sound(&mut stage);
    }
}

#[test]
fn a_machine_that_stands_still_goes_on_afterwards() {
    for seed in 0..SEEDS {
        let mut stage = serving(seed);
        suffer(&mut stage, Fault::Suspend, seconds(600));
        let skipped = stage.fault(&fault(Fault::PluginCrash, "gpu-1", None)).unwrap();
        assert!(matches!(&skipped, Done::Skipped(why) if why.contains("stands still")), "{skipped:?}");
        flip(&mut stage, "mps-config");
        pass(&mut stage, Duration::from_secs(590));
        assert!(serves(stage.world()) && !shares(stage.world()), "nothing moves");
        until(&mut stage, "the node shares", shares);
        assert_sound(&mut stage);
    }
}

#[test]
fn without_inotify_a_kubelet_restart_is_found_by_looking() {
    let mut waits = Vec::new();
    for what in [None, Some(Fault::InotifyExhausted)] {
        let mut total = Duration::ZERO;
        for seed in 0..SEEDS {
            let mut stage = serving(seed);
            if let Some(what) = what {
                suffer(&mut stage, what, seconds(60));
            }
            let begun = stage.now();
            suffer(&mut stage, Fault::KubeletRestart, None);
            pass(&mut stage, Duration::from_millis(1));
            while stage.world().nodes["gpu-1"].plugin.registered.is_empty() {
                stage.advance(Duration::from_millis(10));
            }
            total += stage.now() - begun;
            assert_sound(&mut stage);
        }
        waits.push(total);
    }
    assert!(waits[1] > waits[0] + Duration::from_secs(2), "{waits:?}");
}

#[test]
fn what_only_processes_on_gpus_feel_is_skipped_with_the_reason() {
    let mut stage = serving(1);
    let done = stage.fault(&fault(Fault::DeviceCgroupsRewritten, "gpu-1", None)).unwrap();
    assert!(matches!(&done, Done::Skipped(why) if why.contains("no process of a pod")), "{done:?}");
    let done = stage.fault(&fault(Fault::NvmlHang, "cpu-1", None)).unwrap();
    assert!(matches!(&done, Done::Skipped(why) if why.contains("no driver")), "{done:?}");
}
