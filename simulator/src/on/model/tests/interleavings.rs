//! What must hold whatever comes between: faults and flips at every moment of an allocation.
//!
//! Each story plays with many seeds; a violation names the seed that replays it.

use std::collections::BTreeMap;

use super::*;
use crate::on::model::api::pods::Fate;
use crate::on::model::happening::Changes;

const SHARED: &str = "nvidia.com/gpu.shared";
const GPU: &str = "nvidia.com/gpu";
const CONFIG: &str = "nvidia.com/device-plugin.config";

fn settled(seed: u64) -> ModelStage {
    let mut stage = stage("- wait: 1s\n", seed);
    until(&mut stage, "both GPU nodes serve", |world| {
        ["gpu-1", "gpu-2"].iter().all(|node| world.nodes[*node].allocatable.get(GPU).is_some_and(|n| *n == 4))
    });
    stage
}

fn label(stage: &mut ModelStage, node: usize, value: Option<&str>) {
    let patch: Changes = BTreeMap::from([(CONFIG.to_owned(), value.map(str::to_owned))]);
    let cluster = &mut stage.cluster;
    cluster.api.patch_labels(&mut cluster.engine, node, &patch).unwrap();
}

fn apply(stage: &mut ModelStage, prefix: &str, count: usize, resource: &str, fate: Fate) {
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "main", "image": "i", "resources": {"limits": {resource: 1}}}]}});
    let cluster = &mut stage.cluster;
    let template = cluster.api.template(&cluster.engine, &manifest).unwrap();
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        cluster.api.create_pod(&mut cluster.engine, &template, &name, fate).unwrap();
    }
}

fn running(world: &World) -> u64 {
    world.phases.get("Running").copied().unwrap_or(0)
}

fn failed(world: &World) -> Vec<String> {
    let failed = world.pods.iter().filter(|(_, pod)| pod.phase == "Failed");
    failed.map(|(name, pod)| format!("{name}: {}", pod.message)).collect()
}

fn allocatable(world: &World, node: &str, resource: &str) -> u64 {
    let count = world.nodes[node].allocatable.get(resource);
    count.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

fn assert_kept(stage: &ModelStage, seed: u64) {
    assert_eq!(stage.violations(), [], "seed {seed}");
}

#[test]
fn a_flip_during_allocations_fails_no_pod_and_shares_no_gpu_between_roles() {
    for seed in 0..30 {
        let mut stage = settled(seed);
        apply(&mut stage, "a", 6, GPU, Fate::EndsAfter(Duration::from_secs(20)));
        // somewhere between binding and running
        pass(&mut stage, Duration::from_millis(seed * 5));
        label(&mut stage, 0, Some("mps-config"));
        label(&mut stage, 1, Some("mps-config"));
        until(&mut stage, "all GPUs are shared", |world| {
            allocatable(world, "gpu-1", SHARED) == 16 && allocatable(world, "gpu-2", SHARED) == 16
        });
        assert_eq!(failed(stage.world()), [] as [&str; 0], "seed {seed}");
        assert_kept(&stage, seed);
    }
}

#[test]
fn two_flips_in_quick_succession_end_where_the_last_one_says() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        label(&mut stage, 0, Some("mps-config"));
        pass(&mut stage, Duration::from_millis(seed * 30));
        label(&mut stage, 0, Some("sliced"));
        pass(&mut stage, Duration::from_millis(seed));
        label(&mut stage, 0, None);
        pass(&mut stage, Duration::from_secs(40));
        until(&mut stage, "the node is as before", |world| {
            let node = &world.nodes["gpu-1"];
            allocatable(world, "gpu-1", GPU) == 4
                && node.plugin.ready
                && !node.mps.running
                && node.gpus.iter().all(|gpu| gpu.compute_mode == "Default" && gpu.mps_daemon == "absent")
        });
        assert_kept(&stage, seed);
    }
}

#[test]
fn a_plugin_that_crashes_during_allocations_comes_back_and_gives_no_device_twice() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        apply(&mut stage, "a", 8, GPU, Fate::Stays);
        pass(&mut stage, Duration::from_millis(seed * 5));
        stage.fault(&fault(Fault::PluginCrash, "gpu-*", None)).unwrap();
        until(&mut stage, "both plugins serve again", |world| {
            ["gpu-1", "gpu-2"].iter().all(|node| {
                let plugin = &world.nodes[*node].plugin;
                plugin.starts == 2 && plugin.ready && plugin.registered.get(GPU) == Some(&4)
            })
        });
        until(&mut stage, "no pod is undecided", |world| running(world) + failed(world).len() as u64 == 8);
        // a call that died with the plugin is a real fault; the kubelet's words for it
        for why in failed(stage.world()) {
            let real = [
                "error reading from server",
                "connection is closing",
                "has been stopped",
                "no healthy devices",
            ];
            assert!(real.iter().any(|part| why.contains(part)), "seed {seed}: {why}");
        }
        let held =
            |violation: &&Violation| !violation.sentence.contains("no pod fails because of the plugin");
        assert_eq!(stage.violations().iter().find(held), None, "seed {seed}: holders stay apart");
    }
}

#[test]
fn a_kubelet_that_restarts_during_allocations_keeps_running_pods_and_their_devices() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        apply(&mut stage, "early", 4, GPU, Fate::Stays);
        until(&mut stage, "the early pods run", |world| running(world) == 4);
        let before = stage.world().pods.clone();
        apply(&mut stage, "late", 4, GPU, Fate::Stays);
        pass(&mut stage, Duration::from_millis(seed * 7));
        stage.fault(&fault(Fault::KubeletRestart, "gpu-*", None)).unwrap();
        until(&mut stage, "both kubelets know all devices again", |world| {
            ["gpu-1", "gpu-2"].iter().all(|node| {
                world.nodes[*node].plugin.registered.get(GPU) == Some(&4)
                    && allocatable(world, node, GPU) == 4
            })
        });
        until(&mut stage, "no pod is undecided", |world| running(world) + failed(world).len() as u64 == 8);
        for (name, pod) in before {
            assert_eq!(stage.world().pods[&name].ids, pod.ids, "seed {seed}");
        }
        // a pod that was bound and had not started is refused by a kubelet whose plugin is not back (kubelet 1.36)
        let held =
            |violation: &&Violation| !violation.sentence.contains("no pod fails because of the plugin");
        assert_eq!(stage.violations().iter().find(held), None, "seed {seed}");
    }
}

#[test]
fn an_mps_daemon_that_dies_is_started_again_and_so_is_its_supervisor() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        label(&mut stage, 1, Some("mps-config"));
        let served = |world: &World| allocatable(world, "gpu-2", SHARED) == 16;
        until(&mut stage, "the node shares its GPUs", served);
        apply(&mut stage, "a", 6, SHARED, Fate::Stays);
        until(&mut stage, "the pods run", |world| running(world) == 6);
        let crash = Fault::MpsDaemonCrash { gpu: Some(1) };
        stage.fault(&fault(crash, "gpu-2", None)).unwrap();
        assert_eq!(stage.world().nodes["gpu-2"].gpus[1].mps_daemon, "absent");
        stage.fault(&fault(Fault::SupervisorCrash, "gpu-2", None)).unwrap();
        let mended = |world: &World| {
            let node = &world.nodes["gpu-2"];
            let daemons = node.gpus.iter().all(|gpu| gpu.mps_daemon == "running");
            daemons && node.mps.running && node.plugin.ready
        };
        until(&mut stage, "every daemon runs again", mended);
        until(&mut stage, "every replica is offered again", served);
        assert_eq!(running(stage.world()), 6);
        assert_kept(&stage, seed);
    }
}

#[test]
fn an_api_server_that_is_away_during_a_flip_only_delays_it() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        label(&mut stage, 1, Some("mps-config"));
        pass(&mut stage, Duration::from_millis(seed * 35));
        let away = fault(Fault::ApiServerDown, "*", Some(Duration::from_secs(8)));
        stage.fault(&away).unwrap();
        until(&mut stage, "the node shares its GPUs", |world| {
            let labels = &world.nodes["gpu-2"].labels;
            allocatable(world, "gpu-2", SHARED) == 16
                && labels.get("nvidia.com/gpu.sharing-strategy").is_some_and(|s| s == "mps")
        });
        assert_kept(&stage, seed);
    }
}

#[test]
fn a_kubelet_that_hangs_and_pod_resources_that_do_not_answer_only_delay_a_drain() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        apply(&mut stage, "a", 8, GPU, Fate::EndsAfter(Duration::from_secs(10)));
        until(&mut stage, "the pods run", |world| running(world) == 8);
        label(&mut stage, 0, Some("sliced"));
        label(&mut stage, 1, Some("sliced"));
        let hang = fault(Fault::KubeletHang, "gpu-1", Some(Duration::from_secs(13)));
        let mute = fault(Fault::PodResourcesUnavailable, "gpu-2", Some(Duration::from_secs(14)));
        stage.fault(&hang).unwrap();
        stage.fault(&mute).unwrap();
        pass(&mut stage, Duration::from_secs(8));
        for node in ["gpu-1", "gpu-2"] {
            let gpus = &stage.world().nodes[node].gpus;
            let states = gpus.iter().all(|gpu| gpu.state.as_deref() == Some("draining"));
            assert!(states, "seed {seed}: {gpus:?}");
        }
        pass(&mut stage, Duration::from_secs(40));
        until(&mut stage, "both nodes are sliced", |world| {
            allocatable(world, "gpu-1", GPU) == 8 && allocatable(world, "gpu-2", GPU) == 8
        });
        assert_kept(&stage, seed);
    }
}

#[test]
fn a_node_that_reboots_serves_again_and_the_other_goes_on() {
    for seed in 0..12 {
        let mut stage = settled(seed);
        label(&mut stage, 1, Some("mps-config"));
        until(&mut stage, "the node shares its GPUs", |world| allocatable(world, "gpu-2", SHARED) == 16);
        stage.fault(&fault(Fault::NodeReboot, "gpu-2", Some(Duration::from_secs(20)))).unwrap();
        let down = stage.world();
        assert!(!down.nodes["gpu-2"].plugin.running && down.nodes["gpu-1"].plugin.running);
        pass(&mut stage, Duration::from_secs(20));
        until(&mut stage, "the node shares its GPUs again", |world| {
            let node = &world.nodes["gpu-2"];
            node.plugin.registered.get(SHARED) == Some(&16)
                && allocatable(world, "gpu-2", SHARED) == 16
                && node.gpus.iter().all(|gpu| gpu.mps_daemon == "running")
        });
        assert_kept(&stage, seed);
    }
}

#[test]
fn faults_that_cannot_happen_are_skipped_with_their_reason() {
    let mut stage = settled(1);
    let skipped = stage.fault(&fault(Fault::SupervisorCrash, "gpu-1", None)).unwrap();
    assert!(matches!(&skipped, crate::on::Done::Skipped(why) if why.contains("does not run")), "{skipped:?}");
    let error = stage.fault(&fault(Fault::PluginCrash, "nowhere", None)).unwrap_err();
    assert!(error.to_string().contains("`nowhere`"), "{error}");
    let lost = Fault::GpuLost { gpu: 1 };
    stage.fault(&fault(lost, "gpu-1", Some(Duration::from_secs(1)))).unwrap();
    let xid = Fault::Xid { gpu: 0, code: 79 };
    stage.fault(&fault(xid, "gpu-1", None)).unwrap();
    stage.fault(&fault(Fault::WatchDrop, "gpu-1", None)).unwrap();
    pass(&mut stage, Duration::from_secs(5));
    assert!(stage.world().nodes["gpu-1"].plugin.ready);
}
