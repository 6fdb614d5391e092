//! Every verb of the language, and what it leaves to see.

use super::*;

const GPU: &str = "nvidia.com/gpu";
const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: NAME, labels: {app: NAME}}, spec: {containers: \
                   [{name: main, image: i, resources: {limits: {RESOURCE: 1}}}]}}";

fn pod(name: &str, resource: &str) -> String {
    POD.replace("NAME", name).replace("RESOURCE", resource)
}

/// Plays steps with a few seeds; all must be green.
fn green(steps: &str) {
    let scenario = scenario(steps);
    for seed in 0..5 {
        run(&scenario, seed).assert_green(seed);
    }
}

#[test]
fn pods_are_applied_and_deleted_by_name_and_by_label() {
    let steps = format!(
        "- apply: [{{count: 3, manifest: {a}}}, {{manifest: {b}}}]\n\
         - expect: {{within: 30s, phases: {{exactly: {{Running: 4}}}}, pods: {{b: {{gpus: {{size: 1}}, events: {{contains: 'Started container main'}}}}}}}}\n\
         - delete: {{pods: ['a-*']}}\n\
         - expect: {{within: 30s, phases: {{exactly: {{Running: 1}}}}}}\n\
         - delete: {{selector: {{app: b}}}}\n\
         - expect: {{within: 30s, phases: {{exactly: {{}}}}, nodes: {{gpu-*: {{gpus: {{each: {{holders: []}}}}}}}}}}\n",
        a = pod("a", GPU),
        b = pod("b", GPU)
    );
    green(&steps);
}

#[test]
fn the_plugin_restarts_and_is_killed_under_running_pods() {
    let steps = format!(
        "- apply: [{{count: 2, manifest: {a}}}]\n\
         - name: before\n  expect: {{within: 30s, phases: {{exactly: {{Running: 2}}}}}}\n\
         - restart: {{plugin: gpu-1}}\n\
         - kill: {{plugin: gpu-2}}\n\
         - expect: {{within: 30s, pods: {{a-*: {{unchangedSince: before}}}}, nodes: {{gpu-*: {{plugin: {{running: true, ready: true, starts: 2, \
           registered: {{exactly: {{nvidia.com/gpu: 4}}}}, registrations: {{nvidia.com/gpu: {{atLeast: 2}}}}}}, allocatable: {{nvidia.com/gpu: 4}}}}}}}}\n",
        a = pod("a", GPU)
    );
    green(&steps);
}

#[test]
fn the_mps_supervisor_restarts_and_is_killed_without_a_change_for_its_clients() {
    let steps = format!(
        "- label: {{node: gpu-2, set: {{nvidia.com/device-plugin.config: mps-config}}}}\n\
         - expect: {{within: 60s, nodes: {{gpu-2: {{allocatable: {{nvidia.com/gpu.shared: 16}}}}}}}}\n\
         - apply: [{{count: 4, manifest: {a}}}]\n\
         - name: before\n  expect: {{within: 30s, phases: {{exactly: {{Running: 4}}}}}}\n\
         - kill: {{mps: gpu-2}}\n\
         - expect: {{within: 60s, holds: 3s, pods: {{a-*: {{unchangedSince: before}}}}, nodes: {{gpu-2: {{mps: {{running: true, starts: 2}}, \
           allocatable: {{nvidia.com/gpu.shared: 16}}, gpus: {{each: {{mpsDaemon: running, computeMode: Exclusive_Process, state: settled}}}}}}}}}}\n",
        a = pod("a", "nvidia.com/gpu.shared")
    );
    green(&steps);
}

#[test]
fn the_kubelet_restarts_and_the_plugin_registers_again() {
    let steps = format!(
        "- apply: [{{count: 3, manifest: {a}}}]\n\
         - name: before\n  expect: {{within: 30s, phases: {{exactly: {{Running: 3}}}}}}\n\
         - restart: {{kubelet: gpu-1}}\n\
         - expect: {{within: 3s, pods: {{a-*: {{unchangedSince: before}}}}, nodes: {{gpu-1: {{allocatable: {{nvidia.com/gpu: 4}}, \
           plugin: {{starts: 1, registered: {{exactly: {{nvidia.com/gpu: 4}}}}, registrations: {{nvidia.com/gpu: {{atLeast: 2}}}}}}}}}}}}\n",
        a = pod("a", GPU)
    );
    green(&steps);
}

#[test]
fn a_driver_that_appears_is_found() {
    green(
        "- expect: {within: 30s, nodes: {cpu-1: {plugin: {running: true, ready: false, warnings: {containsOnce: driver}}}}}\n\
         - installDriver: {node: cpu-1, gpus: {board: tesla-t4, count: 2}}\n\
         - wait: 5s\n\
         - expect: {within: 30s, nodes: {cpu-1: {allocatable: {nvidia.com/gpu: 2}, plugin: {ready: true}, gpus: {size: 2}}}}\n",
    );
}

#[test]
fn time_slicing_gives_replicas_without_a_supervisor_and_a_label_can_be_taken_away() {
    green(
        "- label: {node: gpu-1, set: {nvidia.com/device-plugin.config: sliced}}\n\
         - expect: {within: 60s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 8}, mps: {starts: 0}, \
           labels: {nvidia.com/gpu.replicas: \"2\", nvidia.com/gpu.sharing-strategy: time-slicing}}}}\n\
         - unlabel: {node: gpu-1, keys: [nvidia.com/device-plugin.config]}\n\
         - expect: {within: 90s, nodes: {gpu-1: {allocatable: {nvidia.com/gpu: 4}, labels: {nvidia.com/gpu.replicas: \"1\"}}}}\n",
    );
}

#[test]
fn an_edited_config_map_reaches_the_nodes_that_use_it() {
    let mut stage = stage("- wait: 1s\n", 4);
    let gpus = |world: &World, count: u64| {
        let offered = world.nodes["gpu-1"].allocatable.get(GPU);
        offered.and_then(serde_json::Value::as_u64) == Some(count)
    };
    until(&mut stage, "the nodes serve", |world| gpus(world, 4));
    let sliced = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 3}]}}\n";
    stage.edit_configs([("default".to_owned(), sliced.to_owned())].into());
    until(&mut stage, "the new text holds", |world| gpus(world, 12));
    assert_eq!(stage.violations(), []);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let mut stage = stage("- wait: 1s\n", 1);
    pass(&mut stage, Duration::from_secs(2));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut act = |verb| runtime.block_on(stage.act(&verb)).unwrap_err().to_string();
    use crate::scenario::{Process, Selection, Verb};
    let set = [("nvidia.com/device-plugin.config".to_owned(), "not valid!".to_owned())].into();
    let node = || "gpu-1".to_owned();
    let wrong = act(Verb::Label { node: node(), set });
    assert!(wrong.contains("label node `gpu-1`"), "{wrong}");
    let process = Process::Mps;
    let absent = act(Verb::Restart { process, node: node() });
    assert!(absent.contains("does not run"), "{absent}");
    let nothing = act(Verb::Delete(Selection::Names(vec!["x".to_owned()])));
    assert!(nothing.contains("no pod is selected"), "{nothing}");
    let gpus = scenario("- wait: 1s\n").nodes[0].gpus.clone().unwrap();
    let twice = act(Verb::InstallDriver { node: node(), gpus });
    assert!(twice.contains("there is one already"), "{twice}");
}
