//! Budgets of memory: who is told one, how much of it, and which hook holds containers to it.

#![allow(clippy::unwrap_used)]

mod shell;

use std::collections::BTreeMap;

use plugin_core::budget::{LIMIT, REQUEST};
use plugin_core::cdi::Spec;
use plugin_core::config::{Overrides, ResourceName, Strictness, read};
use plugin_core::effect::{Effect, effect};
use plugin_core::event::Event;
use plugin_core::inventory::{Facts, GpuUuid};
use plugin_core::mig::{MigEngines, MigFacts, MigSlices};
use shell::{Node, assert_replays, facts, gpu, shared};

/// The first CUDA version whose driver divides memory.
const ENFORCING: (u32, u32) = (13, 4);
const SLICED: &str = "version: v1\nsharing: {timeSlicing: {renameByDefault: true, resources: [{name: gpu, replicas: 4, memoryPerReplica: 3Gi}]}}\n";

/// GPUs of 16 GiB with this driver.
fn node_facts(count: u32, cuda: (u32, u32)) -> Facts {
    let mut facts = facts(count);
    facts.cuda_version = cuda;
    facts.gpus.iter_mut().for_each(|gpu| gpu.memory_bytes = 16 << 30);
    facts
}

fn started(config: &str, facts: Facts) -> Node {
    let mut node = Node::new(1);
    node.facts = Some(facts);
    node.files.insert("default".into(), config.into());
    node.start();
    node
}

fn effect_of(strategy: &str, entry: &str, facts: &Facts) -> Effect {
    let text = format!("sharing: {{{strategy}: {{resources: [{{name: gpu, {entry}}}]}}}}");
    effect(&read("c", &text, Strictness::Strict).unwrap(), &Overrides::default(), facts)
}

fn pair(envs: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    let one = |name| envs.get(name).map(String::as_str);
    assert_eq!(one(REQUEST).is_some(), one(LIMIT).is_some(), "the hook wants both or none");
    one(REQUEST).zip(one(LIMIT))
}

#[test]
fn what_is_configured_is_what_a_container_is_told_in_mib() {
    // strategy, entry, what a container with one replica reads
    let rows = [
        ("timeSlicing", "replicas: 4", None),
        ("timeSlicing", "replicas: 4, memoryPerReplica: 3Gi", Some(("3072", "3072"))),
        ("timeSlicing", "replicas: auto, memoryPerReplica: 5000M", Some(("4768", "4768"))),
        ("mps", "replicas: 4", None),
        ("mps", "replicas: 4, memoryPerReplica: 3Gi", Some(("3072", "3072"))),
        ("mps", "replicas: 4, memoryPerReplica: 3Gi, pinnedMemoryLimit: 6Gi", Some(("3072", "6144"))),
        ("mps", "replicas: 4, memoryPerReplica: 3Gi, pinnedMemoryLimit: 2Gi", Some(("2048", "2048"))),
        ("mps", "replicas: 4, pinnedMemoryLimit: 2Gi", None),
    ];
    for (strategy, entry, expected) in rows {
        for (cuda, told) in [((13, 3), None), ((12, 9), None), (ENFORCING, expected), ((14, 0), expected)] {
            let effect = effect_of(strategy, entry, &node_facts(2, cuda));
            let environment = &effect.environment[&ResourceName::gpu()];
            assert_eq!(pair(environment), told, "{strategy} {entry} {cuda:?}");
        }
    }
}

#[test]
fn a_budget_that_nothing_enforces_is_said_once_and_only_there() {
    let rows = [
        ("timeSlicing", "replicas: 4, memoryPerReplica: 3Gi", (13, 2), 1),
        ("timeSlicing", "replicas: 4, memoryPerReplica: 3Gi", ENFORCING, 0),
        ("timeSlicing", "replicas: 4", (13, 2), 0),
        ("mps", "replicas: 4, memoryPerReplica: 3Gi", (13, 2), 0),
    ];
    for (strategy, entry, cuda, count) in rows {
        let problems = effect_of(strategy, entry, &node_facts(3, cuda)).problems;
        assert_eq!(problems.len(), count, "{strategy} {entry} {cuda:?}: {problems:?}");
        for problem in problems {
            let said = problem.to_string();
            assert!(said.contains("resources[0].memoryPerReplica") && said.contains("CUDA 13.2"), "{said}");
        }
    }
}

#[test]
fn several_replicas_have_their_sum_and_several_gpus_the_smallest_share() {
    let node = started(SLICED, node_facts(2, ENFORCING));
    let rows: [(&[&str], &str); 4] = [
        (&["GPU-0::1"], "3072"),
        (&["GPU-0::1", "GPU-0::3"], "6144"),
        (&["GPU-0::1", "GPU-0::1"], "3072"),
        (&["GPU-0::1", "GPU-0::3", "GPU-1::0"], "3072"),
    ];
    for (ids, mib) in rows {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let answer = node.plugin.view().allocate(&shared(), &ids).unwrap();
        assert_eq!(pair(&answer.envs), Some((mib, mib)), "{ids:?}");
    }
    let none = node.plugin.view().allocate(&shared(), &[]).unwrap();
    assert_eq!(pair(&none.envs), None);
}

#[test]
fn mig_devices_and_gpus_in_mig_mode_are_not_divided() {
    let mut facts = node_facts(1, ENFORCING);
    facts.gpus[0].mig_enabled = true;
    facts.gpus[0].mig = vec![MigFacts {
        uuid: GpuUuid::new("MIG-0"),
        index: 0,
        gpu_instance: 1,
        compute_instance: 0,
        profile: "1g.5gb".into(),
        slices: MigSlices { gpu: 1, compute: 1 },
        memory_bytes: 15 << 30,
        engines: MigEngines::default(),
        nodes: Vec::new(),
    }];
    for strategy in ["none", "single"] {
        let text = format!("flags: {{migStrategy: {strategy}}}\n{}", SLICED.replace("version: v1\n", ""));
        let read = read("c", &text, Strictness::Strict).unwrap();
        let effect = effect(&read, &Overrides::default(), &facts);
        assert_eq!(pair(&effect.environment[&shared()]), None, "{strategy}");
        assert!(effect.problems.is_empty(), "{:?}", effect.problems);
    }
}

#[test]
fn a_late_allocate_of_a_role_that_ends_still_has_its_budget() {
    let mut node = started(SLICED, node_facts(1, ENFORCING));
    node.admit("holder", &shared(), &["GPU-0::0"]).unwrap();
    node.files.insert("default".into(), "version: v1".into());
    node.tell(Event::ConfigRead { files: node.files.clone() });
    let answer = node.plugin.view().allocate(&shared(), &["GPU-0::1".to_owned()]).unwrap();
    assert_eq!(pair(&answer.envs), Some(("3072", "3072")));
    assert_eq!(node.counts(&gpu()), (0, 0), "it drains");
    assert_replays(&node);
}

#[test]
fn specs_have_the_hook_that_reads_the_budget_where_there_is_one() {
    let hooks = |config: &str, cuda| {
        let flags = "flags: {nvidiaDriverRoot: /run/nvidia/driver, plugin: {deviceListStrategy: cdi-cri, nvidiaCTKPath: /opt/nvidia-cdi-hook}}\n";
        let node = started(&format!("{flags}{config}"), node_facts(2, cuda));
        let text = &node.found.specs["k8s.device-plugin.nvidia.com-gpu.json"];
        let spec: Spec = serde_json::from_str(text).unwrap();
        let of =
            |name: &str| spec.devices.iter().find(|d| d.name == name).unwrap().container_edits.hooks.clone();
        assert!(spec.container_edits.hooks.iter().all(|hook| hook.hook_name == "createContainer"));
        [of("GPU-0"), of("GPU-1"), of("all")]
    };
    let sliced = SLICED.replace("version: v1\n", "");
    let [first, _, all] = hooks(&sliced, ENFORCING);
    assert_eq!((first.len(), all.len()), (1, 2), "`all` has that of each GPU");
    assert_eq!(
        (first[0].hook_name.as_str(), first[0].path.as_str()),
        ("createRuntime", "/opt/nvidia-cdi-hook")
    );
    let args = "nvidia-cdi-hook apply-cuda-memory-limits --driver-root /run/nvidia/driver --gpu-id GPU-0";
    assert_eq!(first[0].args.join(" "), args);
    for (config, cuda) in [(sliced.as_str(), (13, 3)), ("", ENFORCING)] {
        assert!(hooks(config, cuda).iter().all(Vec::is_empty), "{config} {cuda:?}");
    }
}
