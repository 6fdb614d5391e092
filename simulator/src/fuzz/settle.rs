//! What a cluster at rest looks like from outside: every plugin registered, every free GPU on offer under the role that
//! its node's label asks for, the labels right, and nothing draining that nobody holds.

use std::collections::BTreeMap;

use super::wishes::{Role, Wishes};
use crate::world::{GpuView, NodeView, World, gpu_of};

/// How the names of all resources that a plugin of a story can serve begin.
pub(super) const GPU_RESOURCES: &str = "nvidia.com/gpu";
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
const STRATEGY_LABEL: &str = "nvidia.com/gpu.sharing-strategy";
const MPS_LABEL: &str = "nvidia.com/mps.capable";

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// In a word or two, for shrinking.
    pub topic: &'static str,
    /// In a sentence.
    pub message: String,
    /// As the body of an `expect`.
    pub demand: String,
}

/// The first thing that keeps the cluster from being at rest.
pub fn missing(world: &World, wishes: &BTreeMap<&str, Wishes>) -> Option<Missing> {
    wishes.iter().find_map(|(name, wishes)| {
        let node = world.nodes.get(*name)?;
        if let Some(missing) = pods_rest(world, name) {
            return Some(missing);
        }
        let missing = at_node(world, name, node, wishes)?;
        let (registered, resources) = (&node.plugin.registered, &node.plugin.state["resources"]);
        let (message, demand) = (missing.message, missing.demand);
        Some(Missing {
            topic: missing.topic,
            message: format!(
                "node `{name}`: {message} (at the kubelet {registered:?}, at the plugin {resources})"
            ),
            demand: format!("nodes: {{{name}: {{{demand}}}}}"),
        })
    })
}

fn at_node(world: &World, name: &str, node: &NodeView, wishes: &Wishes) -> Option<Missing> {
    if !node.plugin.running {
        return some("plugin", "the plugin does not run", "plugin: {running: true}");
    }
    if wishes.gpus == 0 {
        return nothing_served(node);
    }
    if wishes.may_have_none(node) && node.plugin.state["config_applied"].is_null() {
        let message = "the plugin is ready although it has no configuration";
        return node.plugin.ready.then(|| some("readiness", message, "plugin: {ready: false}")).flatten();
    }
    let mut missing = None;
    for role in wishes.roles() {
        match in_role(world, name, node, &role) {
            None => return None,
            found => missing = missing.or(found),
        }
    }
    missing
}

/// Pods that are bound have started or failed, and pods that are deleted are gone.
fn pods_rest(world: &World, node: &str) -> Option<Missing> {
    let waits =
        world.pods.iter().find(|(_, pod)| pod.node.as_deref() == Some(node) && pod.phase == "Pending");
    let (name, _) = waits?;
    some(
        "pod start",
        format!("pod `{name}` is bound to `{node}` and does not start"),
        format!("pods: {{{name}: {{phase: Running}}}}"),
    )
}

/// A node without GPUs.
fn nothing_served(node: &NodeView) -> Option<Missing> {
    let (registered, ready) = (&node.plugin.registered, node.plugin.ready);
    if registered.is_empty() && !ready {
        return None;
    }
    some(
        "resources",
        format!("it has no GPU and serves {registered:?}, ready: {ready}"),
        "plugin: {ready: false, registered: {exactly: {}}}",
    )
}

fn in_role(world: &World, name: &str, node: &NodeView, role: &Role) -> Option<Missing> {
    if !node.plugin.ready {
        let why = &node.plugin.state["not_ready_because"];
        let message = format!("the plugin is not ready: {why}");
        return some("readiness", message, "plugin: {ready: true}");
    }
    let held = held(world, name);
    gpus_rest(node, &held, role)
        .or_else(|| offered(node, &held, role))
        .or_else(|| old_resources(node, &held, role))
        .or_else(|| labelled(node, &held, role))
}

/// GPU → resource → ids in use.
type Held<'w> = BTreeMap<&'w str, BTreeMap<&'w str, u64>>;

fn held<'w>(world: &'w World, node: &str) -> Held<'w> {
    let mut held = Held::new();
    let here =
        world.pods.values().filter(|pod| pod.node.as_deref() == Some(node) && World::holds_devices(pod));
    for (resource, ids) in here.flat_map(|pod| &pod.ids) {
        for id in ids {
            *held.entry(gpu_of(id)).or_default().entry(resource).or_default() += 1;
        }
    }
    held
}

/// A GPU that nobody holds plays its role, with its daemon and its compute mode.
fn gpus_rest(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    node.gpus.iter().filter(|gpu| !held.contains_key(gpu.uuid.as_str())).find_map(|gpu| gpu_rests(gpu, role))
}

fn gpu_rests(gpu: &GpuView, role: &Role) -> Option<Missing> {
    let (index, wanted) = (gpu.index, role.resource);
    let demand = |what: String| format!("gpus: {{contains: {{index: {index}, {what}}}}}");
    let state = gpu.state.as_deref().unwrap_or("unknown");
    if state != "settled" || gpu.role.as_deref() != Some(wanted) {
        let now = gpu.role.as_deref().unwrap_or("nothing");
        let message = format!("GPU {index} is {state} as {now}, nobody holds it, and {wanted} is wanted");
        return some("free GPU", message, demand(format!("state: settled, role: {wanted}")));
    }
    let daemon = if role.mps { "running" } else { "absent" };
    if gpu.mps_daemon != daemon {
        let message = format!("the MPS control daemon of GPU {index} is {}", gpu.mps_daemon);
        return some("MPS daemon", message, demand(format!("mpsDaemon: {daemon}")));
    }
    let mode = if role.mps { "Exclusive_Process" } else { "Default" };
    if gpu.compute_mode != mode {
        let message = format!("GPU {index} has compute mode {}", gpu.compute_mode);
        return some("compute mode", message, demand(format!("computeMode: {mode}")));
    }
    None
}

fn allocatable(node: &NodeView, resource: &str) -> u64 {
    let amount = node.allocatable.get(resource);
    amount.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The kubelet offers every device of every free GPU, and of a GPU in use at least what is in use.
fn offered(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    let resource = role.resource;
    let free = node.gpus.len().saturating_sub(held.len()) as u64;
    let mut least = free * role.replicas;
    let mut most = least;
    for gpu in held.values() {
        let in_use = gpu.get(resource).copied().unwrap_or(0);
        least += in_use;
        most += in_use.max(role.replicas);
    }
    let now = allocatable(node, resource);
    if (least..=most).contains(&now) {
        return None;
    }
    some(
        "allocatable",
        format!("`{resource}` is allocatable {now} times, wanted {least} to {most}"),
        format!("allocatable: {{{resource}: {{atLeast: {least}, atMost: {most}}}}}"),
    )
}

/// Of any other resource the kubelet offers what is in use, and no more.
fn old_resources(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    let others =
        node.allocatable.keys().filter(|name| name.starts_with(GPU_RESOURCES) && *name != role.resource);
    others.into_iter().find_map(|resource| {
        let now = allocatable(node, resource);
        let used: u64 = held.values().filter_map(|gpu| gpu.get(resource.as_str())).sum();
        if now == used {
            return None;
        }
        some(
            "old resource",
            format!("`{resource}` is allocatable {now} times, in use {used} times, and not wanted"),
            format!("allocatable: {{{resource}: {used}}}"),
        )
    })
}

/// The labels tell the role as soon as one GPU plays it for certain.
fn labelled(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    if held.len() >= node.gpus.len() {
        return None;
    }
    let mut wanted =
        vec![(REPLICAS_LABEL, role.replicas.to_string()), (STRATEGY_LABEL, role.strategy.to_owned())];
    // daemons of a role that is being left are wanted for as long as somebody uses them
    if role.mps || held.is_empty() {
        wanted.push((MPS_LABEL, role.mps.to_string()));
    }
    wanted.into_iter().find_map(|(key, value)| {
        let now = node.labels.get(key);
        if now == Some(&value) {
            return None;
        }
        some(
            "label",
            format!("label `{key}` is {now:?}, wanted `{value}`"),
            format!("labels: {{{key}: \"{value}\"}}"),
        )
    })
}

fn some(topic: &'static str, message: impl Into<String>, demand: impl Into<String>) -> Option<Missing> {
    Some(Missing { topic, message: message.into(), demand: demand.into() })
}

#[cfg(test)]
mod tests {
    use super::super::story::{Label, Sharing};
    use super::super::wishes::{GPU, role};
    use super::*;

    const MPS: Label = Label::Shared(Sharing { mps: true, replicas: 4, renamed: true });

    /// A node at rest with one GPU in this role.
    fn at_rest(label: &Label) -> World {
        let role = role(label);
        let gpu = GpuView {
            uuid: "GPU-a".to_owned(),
            compute_mode: if role.mps { "Exclusive_Process" } else { "Default" }.to_owned(),
            mps_daemon: if role.mps { "running" } else { "absent" }.to_owned(),
            state: Some("settled".to_owned()),
            role: Some(role.resource.to_owned()),
            ..GpuView::default()
        };
        let mut node = NodeView { gpus: vec![gpu], ..NodeView::default() };
        (node.plugin.running, node.plugin.ready) = (true, true);
        node.allocatable.insert(role.resource.to_owned(), role.replicas.into());
        for (key, value) in [
            (REPLICAS_LABEL, role.replicas.to_string()),
            (STRATEGY_LABEL, role.strategy.to_owned()),
            (MPS_LABEL, role.mps.to_string()),
        ] {
            node.labels.insert(key.to_owned(), value);
        }
        let mut world = World::default();
        world.nodes.insert("n".to_owned(), node);
        world
    }

    fn topic(world: &World, wishes: &Wishes) -> Option<&'static str> {
        missing(world, &[("n", wishes.clone())].into()).map(|missing| missing.topic)
    }

    fn wishes(labels: &[Label]) -> Wishes {
        let mut wishes = Wishes::new(1);
        labels.iter().for_each(|label| wishes.flip(*label, false));
        wishes
    }

    #[test]
    fn a_node_is_at_rest_in_the_role_that_its_label_asks_for_and_in_no_other() {
        for label in [Label::Absent, MPS] {
            assert_eq!(topic(&at_rest(&label), &wishes(&[label])), None);
        }
        assert_eq!(topic(&at_rest(&Label::Absent), &wishes(&[MPS])), Some("free GPU"));
        assert_eq!(topic(&at_rest(&MPS), &wishes(&[MPS, Label::Absent])), Some("free GPU"));
    }

    #[test]
    fn after_a_wrong_label_any_earlier_role_will_do() {
        let wishes = wishes(&[MPS, Label::Broken]);
        assert_eq!(topic(&at_rest(&MPS), &wishes), None);
        assert_eq!(topic(&at_rest(&Label::Absent), &wishes), None);
    }

    #[test]
    fn each_thing_that_is_wrong_is_missed() {
        type Change = fn(&mut NodeView);
        let changes: [(&str, Change); 7] = [
            ("plugin", |node| node.plugin.running = false),
            ("readiness", |node| node.plugin.ready = false),
            ("MPS daemon", |node| node.gpus[0].mps_daemon = "absent".to_owned()),
            ("compute mode", |node| {
                node.gpus[0].compute_mode = "Default".to_owned();
            }),
            ("allocatable", |node| node.allocatable.clear()),
            ("old resource", |node| {
                node.allocatable.insert(GPU.to_owned(), 1.into());
            }),
            ("label", |node| {
                node.labels.insert(REPLICAS_LABEL.to_owned(), "2".to_owned());
            }),
        ];
        for (expected, change) in changes {
            let mut world = at_rest(&MPS);
            world.nodes.values_mut().for_each(change);
            assert_eq!(topic(&world, &wishes(&[MPS])), Some(expected));
        }
    }
}
