//! What a cluster at rest looks like from outside: every plugin registered, every free GPU on offer under the role that
//! its node's label asks for, the labels right, and nothing draining that nobody holds.

use std::collections::{BTreeMap, BTreeSet};

use super::division::{Division, Role};
use super::held::{Held, free, held};
use super::wishes::Wishes;
use crate::world::{GpuView, NodeView, World};

/// How the names of all resources that a plugin of a story can serve begin.
const GPU_RESOURCES: [&str; 2] = ["nvidia.com/gpu", "nvidia.com/mig-"];
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
const STRATEGY_LABEL: &str = "nvidia.com/gpu.sharing-strategy";
/// The topic of an interval of time-slicing that is not as wanted; the last thing that is looked at.
const TIME_SLICE: &str = "time slice";
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
        if let Some(missing) = pods_rest(world, name, wishes) {
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
    let has_none = node.plugin.state["config_applied"].is_null() || node.plugin.registered.is_empty();
    if wishes.may_have_none(node) && has_none {
        return none_in_force(node);
    }
    let mut missing = None;
    for division in wishes.divisions() {
        match in_division(world, name, node, wishes, &division) {
            None => return None,
            found => missing = missing.or(found),
        }
    }
    missing
}

/// A node without a configuration that holds: it says so, and what an earlier one set is taken back.
fn none_in_force(node: &NodeView) -> Option<Missing> {
    if node.plugin.ready {
        let message = "the plugin is ready although it has no configuration";
        return some("readiness", message, "plugin: {ready: false}");
    }
    let is_set = |gpu: &&GpuView| gpu.mps_daemon == "absent" && gpu.compute_mode != "Default";
    let GpuView { index, compute_mode, .. } = node.gpus.iter().find(is_set)?;
    some(
        "compute mode",
        format!("GPU {index} has compute mode {compute_mode}, and no configuration asks for it"),
        format!("gpus: {{contains: {{index: {index}, computeMode: Default}}}}"),
    )
}

/// Pods that are bound have started or failed, and pods that are deleted are gone.
fn pods_rest(world: &World, name: &str, wishes: &Wishes) -> Option<Missing> {
    let waits = world
        .pods
        .iter()
        .filter(|(_, pod)| pod.node.as_deref() == Some(name) && pod.phase == "Pending")
        .find(|(pod, _)| !wishes.may_wait(pod));
    let node = name;
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

fn in_division(
    world: &World,
    name: &str,
    node: &NodeView,
    wishes: &Wishes,
    division: &Division,
) -> Option<Missing> {
    let has_devices =
        |gpu: &GpuView| division.roles_of(gpu.index).into_iter().any(|role| role.devices(gpu) > 0);
    if !node.gpus.iter().any(has_devices) {
        // all of them were pulled out, or have no MIG device left
        return None;
    }
    let held = held(world, name, node, wishes);
    let is_lost =
        |gpu: &GpuView| gpu.mig.as_ref().is_some_and(Vec::is_empty) && held.contains_key(gpu.uuid.as_str());
    if node.gpus.iter().filter(|gpu| has_devices(gpu)).all(is_lost) {
        // whoever holds a MIG device that has gone keeps its GPU from being whole
        return None;
    }
    if !node.plugin.ready {
        let why = &node.plugin.state["not_ready_because"];
        let message = format!("the plugin is not ready: {why}");
        return some("readiness", message, "plugin: {ready: true}");
    }
    gpus_rest(node, &held, wishes, division)
        .or_else(|| counted(node, &held, wishes, division))
        .or_else(|| offered(node, &held, wishes, division))
        .or_else(|| labelled(node, &held, division))
}

/// A GPU that nobody holds plays one of its roles, with its daemon and its compute mode.
fn gpus_rest(node: &NodeView, held: &Held<'_>, wishes: &Wishes, division: &Division) -> Option<Missing> {
    let rests = |gpu: &GpuView| gpu_rests(gpu, &division.roles_of(gpu.index));
    let is_excused = |missing: &Missing| missing.topic == TIME_SLICE && wishes.may_leave_interval(node);
    free(node, held).filter_map(rests).find(|missing| !is_excused(missing))
}

/// Whether a GPU plays a role for certain.
fn plays(gpu: &GpuView, role: &Role) -> bool {
    let state = gpu.state.as_deref();
    match role.in_parts {
        true => state == Some("unused"),
        false => state == Some("settled") && gpu.role.as_deref() == Some(role.resource.as_str()),
    }
}

fn gpu_rests(gpu: &GpuView, roles: &[&Role]) -> Option<Missing> {
    let index = gpu.index;
    let demand = |what: String| format!("gpus: {{contains: {{index: {index}, {what}}}}}");
    let Some(role) = roles.iter().find(|role| plays(gpu, role)) else {
        let state = gpu.state.as_deref().unwrap_or("unknown");
        let now = gpu.role.as_deref().unwrap_or("nothing");
        let wanted: Vec<&str> = roles.iter().map(|role| role.resource.as_str()).collect();
        let wanted = wanted.join(" or ");
        let message = format!("GPU {index} is {state} as {now}, nobody holds it, and {wanted} is wanted");
        let demanded = match roles {
            [role] if !role.in_parts => format!("state: settled, role: {wanted}"),
            [_] => "state: unused".to_owned(),
            _ => "state: settled".to_owned(),
        };
        return some("free GPU", message, demand(demanded));
    };
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
    if gpu.time_slice != role.time_slice {
        let message =
            format!("GPU {index} has the time slice {}, wanted {}", gpu.time_slice, role.time_slice);
        return some(TIME_SLICE, message, demand(format!("timeSlice: {}", role.time_slice)));
    }
    None
}

/// As many GPUs play the role of each group as it asks for; of those in use it is not always known.
fn counted(node: &NodeView, held: &Held<'_>, wishes: &Wishes, division: &Division) -> Option<Missing> {
    let gpus = u32::try_from(node.gpus.len()).unwrap_or(u32::MAX);
    // what was pulled out keeps its place in a count, so that no other GPU moves for it; and indexes move up meanwhile, so that
    // a list may name another GPU
    let away = wishes.gpus.saturating_sub(gpus) as usize;
    division.takes(gpus).into_iter().zip(division.takes(wishes.gpus)).find_map(
        |((role, wanted), (_, of_all))| {
            let least = free(node, held).filter(|gpu| plays(gpu, role)).count();
            let most = least + held.len();
            let (wanted, of_all) = (wanted as usize, of_all as usize);
            if least <= wanted.max(of_all) + away && wanted.min(of_all).saturating_sub(away) <= most {
                return None;
            }
            let resource = &role.resource;
            let all = wanted as u64 * role.each;
            some(
                "group",
                format!("{least} free GPUs and {} in use play `{resource}`, wanted {wanted}", held.len()),
                format!("allocatable: {{{resource}: {all}}}"),
            )
        },
    )
}

fn allocatable(node: &NodeView, resource: &str) -> u64 {
    let amount = node.allocatable.get(resource);
    amount.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The kubelet offers every device of every free GPU, and of a GPU in use at least what is in use. Of a resource that
/// nobody wants it offers what is in use, and no more.
fn offered(node: &NodeView, held: &Held<'_>, wishes: &Wishes, division: &Division) -> Option<Missing> {
    let is_ours = |name: &&str| GPU_RESOURCES.iter().any(|begin| name.starts_with(begin));
    let offers = node.allocatable.keys().map(String::as_str).filter(is_ours);
    let mut all: BTreeSet<&str> = division.roles().map(|role| role.resource.as_str()).collect();
    all.extend(offers);
    all.into_iter().find_map(|resource| {
        let of_free = free(node, held).filter_map(|gpu| {
            let role = division.roles_of(gpu.index).into_iter().find(|role| plays(gpu, role))?;
            (role.resource == resource).then(|| role.devices(gpu))
        });
        let mut least: u64 = of_free.sum();
        let mut most = least;
        let wanted = division.roles().find(|role| role.resource == resource);
        let in_use =
            |gpu: &GpuView| held.get(gpu.uuid.as_str()).map(|gpu| gpu.get(resource).copied().unwrap_or(0));
        for (gpu, in_use) in node.gpus.iter().filter_map(|gpu| Some((gpu, in_use(gpu)?))) {
            least += in_use;
            most += in_use.max(wanted.map_or(0, |role| role.devices(gpu)));
        }
        let now = allocatable(node, resource);
        if (least..=most).contains(&now) {
            return None;
        }
        match wanted {
            _ if wishes.may_be_stale(node, resource) && least == 0 => None,
            Some(_) => some(
                "allocatable",
                format!("`{resource}` is allocatable {now} times, wanted {least} to {most}"),
                format!("allocatable: {{{resource}: {{atLeast: {least}, atMost: {most}}}}}"),
            ),
            None => some(
                "old resource",
                format!("`{resource}` is allocatable {now} times, in use {least} times, and not wanted"),
                format!("allocatable: {{{resource}: {least}}}"),
            ),
        }
    })
}

/// The labels tell the role as soon as one GPU plays it for certain.
fn labelled(node: &NodeView, held: &Held<'_>, division: &Division) -> Option<Missing> {
    if held.len() >= node.gpus.len() {
        return None;
    }
    let mut wanted = Vec::new();
    if let Some((strategy, replicas)) = division.rest.labels {
        wanted.push((REPLICAS_LABEL, replicas.to_string()));
        wanted.push((STRATEGY_LABEL, strategy.to_owned()));
    }
    // daemons of a role that is being left are wanted for as long as somebody uses them
    let mps = node.gpus.iter().any(|gpu| gpu.mps_daemon == "running");
    if mps || held.is_empty() {
        wanted.push((MPS_LABEL, mps.to_string()));
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
#[path = "settle_tests.rs"]
mod tests;
