//! What a cluster at rest looks like from outside: every plugin registered, every free GPU on offer under the role that
//! its node's label asks for, the labels right, and nothing draining that nobody holds.

use std::collections::BTreeMap;

use super::story::Label;
use crate::world::{GpuView, NodeView, World, gpu_of};

/// The resource of whole GPUs.
const GPU: &str = "nvidia.com/gpu";
/// How the names of all resources that a plugin of a story can serve begin.
const GPU_RESOURCES: &str = "nvidia.com/gpu";
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
const STRATEGY_LABEL: &str = "nvidia.com/gpu.sharing-strategy";
const MPS_LABEL: &str = "nvidia.com/mps.capable";

/// What was asked of one node so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    gpus: u32,
    newest: Label,
    /// Every label so far that named a configuration which can hold.
    good: Vec<Label>,
    /// The newest label was wrong before the plugin had ever been seen with a configuration.
    wrong_from_start: bool,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// In a word or two, for shrinking.
    pub topic: &'static str,
    /// In a sentence.
    pub message: String,
}

/// How the GPUs of a node are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The extended resource.
    pub resource: &'static str,
    /// Devices of each free GPU.
    pub replicas: u64,
    /// The value of the label that names the strategy.
    pub strategy: &'static str,
    /// Whether each GPU has an MPS control daemon.
    pub mps: bool,
}

impl Wishes {
    /// A node without the label.
    pub fn new(gpus: u32) -> Wishes {
        Wishes {
            gpus,
            newest: Label::Absent,
            good: vec![Label::Absent],
            wrong_from_start: false,
        }
    }

    /// The label changes; `early` while the plugin may never have read another one.
    pub fn flip(&mut self, label: Label, early: bool) {
        self.newest = label;
        if label.is_good() {
            self.good.push(label);
            self.wrong_from_start = false;
        } else {
            self.wrong_from_start |= early;
        }
    }

    /// The roles that the node's GPUs may play at rest: the one that is asked for; after a wrong label any that was good
    /// once, because only the plugin knows which one it read last.
    pub fn roles(&self) -> Vec<Role> {
        let labels = match self.newest.is_good() {
            true => std::slice::from_ref(&self.newest),
            false => &self.good,
        };
        let mut roles: Vec<Role> = labels.iter().map(role).collect();
        roles.dedup();
        roles
    }

    /// Whether a plugin may be without any configuration: it started while the label was wrong, and has no last good one.
    fn may_have_none(&self, node: &NodeView) -> bool {
        let started_again = node.plugin.starts > 1;
        !self.newest.is_good() && (started_again || self.wrong_from_start)
    }
}

/// The role that a label asks for.
fn role(label: &Label) -> Role {
    match label {
        Label::Shared(sharing) => Role {
            resource: sharing.resource(),
            replicas: u64::from(sharing.replicas),
            strategy: if sharing.mps { "mps" } else { "time-slicing" },
            mps: sharing.mps,
        },
        Label::Absent | Label::Default | Label::Broken | Label::Missing => Role {
            resource: GPU,
            replicas: 1,
            strategy: "none",
            mps: false,
        },
    }
}

/// The first thing that keeps the cluster from being at rest.
pub fn missing(world: &World, wishes: &BTreeMap<&str, Wishes>) -> Option<Missing> {
    wishes.iter().find_map(|(name, wishes)| {
        let Some(node) = world.nodes.get(*name) else {
            return some("node", format!("there is no node `{name}`"));
        };
        let missing = at_node(world, name, node, wishes)?;
        some(missing.topic, format!("node `{name}`: {}", missing.message))
    })
}

fn at_node(world: &World, name: &str, node: &NodeView, wishes: &Wishes) -> Option<Missing> {
    if !node.plugin.running {
        return some("plugin", "the plugin does not run".to_owned());
    }
    if let Some(missing) = pods_rest(world, name) {
        return Some(missing);
    }
    if wishes.gpus == 0 {
        return nothing_served(node);
    }
    if wishes.may_have_none(node) && node.plugin.state["config_applied"].is_null() {
        return nothing_offered(node);
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
    let waits = world
        .pods
        .iter()
        .find(|(_, pod)| pod.node.as_deref() == Some(node) && pod.phase == "Pending");
    let (name, _) = waits?;
    some("pod start", format!("pod `{name}` is bound and does not start"))
}

/// A node without GPUs.
fn nothing_served(node: &NodeView) -> Option<Missing> {
    let registered = &node.plugin.registered;
    if registered.is_empty() && !node.plugin.ready {
        return None;
    }
    some(
        "resources",
        format!("it has no GPU and serves {registered:?}, ready: {}", node.plugin.ready),
    )
}

/// A plugin that has never had a configuration offers no GPU.
fn nothing_offered(node: &NodeView) -> Option<Missing> {
    let ready = node.plugin.ready;
    ready.then(|| Missing {
        topic: "readiness",
        message: "the plugin is ready although it has no configuration".to_owned(),
    })
}

fn in_role(world: &World, name: &str, node: &NodeView, role: &Role) -> Option<Missing> {
    if !node.plugin.ready {
        let why = &node.plugin.state["not_ready_because"];
        return some("readiness", format!("the plugin is not ready: {why}"));
    }
    let held = held(world, name);
    gpus_rest(node, &held, role)
        .or_else(|| offered(node, &held, role))
        .or_else(|| labelled(node, &held, role))
}

/// GPU → resource → ids in use.
type Held<'w> = BTreeMap<&'w str, BTreeMap<&'w str, u64>>;

fn held<'w>(world: &'w World, node: &str) -> Held<'w> {
    let mut held = Held::new();
    let here = world
        .pods
        .values()
        .filter(|pod| pod.node.as_deref() == Some(node) && World::holds_devices(pod));
    for (resource, ids) in here.flat_map(|pod| &pod.ids) {
        for id in ids {
            *held.entry(gpu_of(id)).or_default().entry(resource).or_default() += 1;
        }
    }
    held
}

/// A GPU that nobody holds plays its role, with its daemon and its compute mode.
fn gpus_rest(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    node.gpus
        .iter()
        .filter(|gpu| !held.contains_key(gpu.uuid.as_str()))
        .find_map(|gpu| gpu_rests(gpu, role))
}

fn gpu_rests(gpu: &GpuView, role: &Role) -> Option<Missing> {
    let index = gpu.index;
    let state = gpu.state.as_deref().unwrap_or("unknown");
    if state != "settled" || gpu.role.as_deref() != Some(role.resource) {
        let now = gpu.role.as_deref().unwrap_or("nothing");
        let wanted = role.resource;
        let message = format!("GPU {index} is {state} as {now}, nobody holds it, and {wanted} is wanted");
        return some("free GPU", message);
    }
    let daemon = if role.mps { "running" } else { "absent" };
    if gpu.mps_daemon != daemon {
        let message = format!("the MPS control daemon of GPU {index} is {}", gpu.mps_daemon);
        return some("MPS daemon", message);
    }
    let is_exclusive = gpu.compute_mode == "Exclusive_Process";
    if is_exclusive != role.mps {
        let message = format!("GPU {index} has compute mode {}", gpu.compute_mode);
        return some("compute mode", message);
    }
    None
}

/// The kubelet offers every device of every free GPU, and of a GPU in use at least what is in use.
fn offered(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    let free = node.gpus.len().saturating_sub(held.len()) as u64;
    let mut least = free * role.replicas;
    let mut most = least;
    for gpu in held.values() {
        let in_use = gpu.get(role.resource).copied().unwrap_or(0);
        least += in_use;
        most += in_use.max(role.replicas);
    }
    let amount = |resource: &str| {
        let amount = node.allocatable.get(resource);
        amount.and_then(serde_json::Value::as_u64).unwrap_or(0)
    };
    let now = amount(role.resource);
    if now < least || now > most {
        let resource = role.resource;
        return some(
            "allocatable",
            format!("`{resource}` is allocatable {now} times, wanted {least} to {most}"),
        );
    }
    let others = node
        .allocatable
        .keys()
        .filter(|name| name.starts_with(GPU_RESOURCES) && *name != role.resource);
    others.into_iter().find_map(|resource| {
        let now = amount(resource);
        let used: u64 = held.values().filter_map(|gpu| gpu.get(resource.as_str())).sum();
        (now != used).then(|| Missing {
            topic: "old resource",
            message: format!("`{resource}` is allocatable {now} times, in use {used} times, and not wanted"),
        })
    })
}

/// The labels tell the role as soon as one GPU plays it for certain.
fn labelled(node: &NodeView, held: &Held<'_>, role: &Role) -> Option<Missing> {
    let all_free = held.is_empty();
    if held.len() >= node.gpus.len() {
        return None;
    }
    let mut wanted = vec![
        (REPLICAS_LABEL, role.replicas.to_string()),
        (STRATEGY_LABEL, role.strategy.to_owned()),
    ];
    if role.mps || all_free {
        wanted.push((MPS_LABEL, role.mps.to_string()));
    }
    wanted.into_iter().find_map(|(key, value)| {
        let now = node.labels.get(key);
        (now != Some(&value)).then(|| Missing {
            topic: "label",
            message: format!("label `{key}` is {now:?}, wanted `{value}`"),
        })
    })
}

fn some(topic: &'static str, message: String) -> Option<Missing> {
    Some(Missing { topic, message })
}
