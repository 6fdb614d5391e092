//! Reads one snapshot of the world's view, because what a lane shows is spread over several of its places.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{GpuWas, Holder, NodeWas, PodWas};
use crate::world::gpu_of;

/// The label that says how many replicas each GPU of a node has.
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
/// The most characters kept of a text that the world tells, such as a reason.
pub(super) const TEXT_CHARS_MAX: usize = 2000;
/// The most devices into which one GPU is drawn divided.
const REPLICAS_MAX: u64 = 4096;

/// A GPU in one snapshot.
pub(super) struct GpuSeen {
    pub(super) uuid: String,
    pub(super) index: u32,
    pub(super) was: GpuWas,
    /// Bytes used and bytes in all, when told.
    pub(super) memory: Option<(u64, u64)>,
}

/// What the node and its plugin are.
pub(super) fn node(view: &Value) -> NodeWas {
    let plugin = &view["plugin"];
    let says = match (truth(plugin, "running"), truth(plugin, "ready")) {
        (false, _) => "absent",
        (true, false) => "running",
        (true, true) => "ready",
    };
    let allocatable = view["allocatable"].as_object().into_iter().flatten();
    NodeWas {
        ready: truth(view, "ready"),
        plugin: says.to_owned(),
        config: text(&plugin["state"]["config_applied"]),
        switch: text(&plugin["state"]["switch"]),
        allocatable: allocatable
            .filter(|(name, _)| name.contains('/'))
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
    }
}

/// The GPUs of a node, with the pods that hold them.
pub(super) fn gpus(name: &str, view: &Value, pods: &Value) -> Vec<GpuSeen> {
    let all = view["gpus"].as_array().map(Vec::as_slice).unwrap_or_default();
    let slots = slots(name, pods);
    all.iter()
        .enumerate()
        .filter_map(|(position, gpu)| {
            let uuid = text(&gpu["uuid"])?;
            let role = text(&gpu["role"]);
            let strategy = text(&gpu["plugin"]["strategy"]);
            let holders = holders(gpu, slots.get(uuid.as_str()));
            let replicas = replicas(view, gpu, &role, strategy.as_deref(), &holders);
            let index = gpu["index"].as_u64().unwrap_or(position as u64);
            Some(GpuSeen {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                memory: memory(gpu),
                was: GpuWas {
                    state: text(&gpu["state"]).unwrap_or_else(|| "found".to_owned()),
                    ill: ill(gpu),
                    compute_mode: text(&gpu["computeMode"]).unwrap_or_default(),
                    mps_daemon: text(&gpu["mpsDaemon"]).unwrap_or_default(),
                    role,
                    strategy,
                    replicas,
                    holders,
                },
                uuid,
            })
        })
        .collect()
}

/// A pod, and what it asks for.
pub(super) fn pod(view: &Value) -> (PodWas, BTreeMap<String, u64>) {
    let scheduled = &view["scheduled"];
    let mut words: Vec<String> = ["reason", "message"].iter().filter_map(|key| text(&view[key])).collect();
    if words.is_empty() && scheduled["status"] == "False" {
        words = ["reason", "message"].iter().filter_map(|key| text(&scheduled[key])).collect();
    }
    let lists = view["ids"].as_object().into_iter().flatten();
    let ids = lists.flat_map(|(_, ids)| ids.as_array().into_iter().flatten()).filter_map(text).collect();
    let asks = view["resources"].as_object().into_iter().flatten();
    let asks = asks.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
    let was = PodWas {
        phase: text(&view["phase"]).unwrap_or_default(),
        node: text(&view["node"]),
        reason: words.join(": "),
        ids,
    };
    (was, asks)
}

/// GPU → `(pod, replica)` for every device id that a pod of the node has.
fn slots<'p>(node: &str, pods: &'p Value) -> BTreeMap<&'p str, Vec<(&'p str, Option<u32>)>> {
    let mut slots: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (name, pod) in pods.as_object().into_iter().flatten() {
        if pod["node"] != node {
            continue;
        }
        let lists = pod["ids"].as_object().into_iter().flatten();
        for id in lists.flat_map(|(_, ids)| ids.as_array().into_iter().flatten()).filter_map(Value::as_str) {
            let replica = id.split_once("::").and_then(|(_, replica)| replica.parse().ok());
            slots.entry(gpu_of(id)).or_default().push((name.as_str(), replica));
        }
    }
    slots
}

/// The kubelet's holders, each in the slot that its device id names.
fn holders(gpu: &Value, slots: Option<&Vec<(&str, Option<u32>)>>) -> Vec<Holder> {
    let mut slots = slots.cloned().unwrap_or_default();
    let names = gpu["holders"].as_array().into_iter().flatten().filter_map(text);
    let mut holders: Vec<Holder> = names
        .map(|pod| {
            let at = slots.iter().position(|(name, _)| *name == pod);
            let slot = at.and_then(|at| slots.swap_remove(at).1);
            Holder { slot, pod }
        })
        .collect();
    holders.sort();
    holders
}

/// Into how many devices the GPU is divided: what the plugin says, else one when it is exclusive, else what its node
/// announces; never fewer than hold it.
fn replicas(
    view: &Value,
    gpu: &Value,
    role: &Option<String>,
    strategy: Option<&str>,
    holders: &[Holder],
) -> u32 {
    let held = holders.iter().map(|holder| holder.slot.map_or(0, |slot| slot + 1)).max().unwrap_or(0);
    let least = u64::from(held).max(holders.len() as u64);
    let shared = strategy.map_or(holders.len() > 1, |strategy| strategy != "exclusive");
    let said = match gpu["plugin"]["replicas"].as_u64() {
        Some(said) => said,
        None if role.is_none() && holders.is_empty() => 0,
        None if !shared => 1,
        None => view["labels"][REPLICAS_LABEL].as_str().and_then(|count| count.parse().ok()).unwrap_or(1),
    };
    u32::try_from(said.max(least).min(REPLICAS_MAX)).unwrap_or(u32::MAX)
}

/// Why a GPU is ill: `ill` or `health` of the GPU or of the plugin's account, as a word or `{reason}`.
fn ill(gpu: &Value) -> Option<String> {
    let places = [&gpu["ill"], &gpu["health"], &gpu["plugin"]["ill"], &gpu["plugin"]["health"]];
    places.into_iter().find_map(|place| {
        let word = text(place).or_else(|| text(&place["reason"])).or_else(|| text(&place["state"]))?;
        (!matches!(word.to_ascii_lowercase().as_str(), "healthy" | "ok")).then_some(word)
    })
}

/// Bytes used and bytes in all, when the stage tells them as `memory: {used, total}`.
fn memory(gpu: &Value) -> Option<(u64, u64)> {
    let memory = &gpu["memory"];
    Some((memory["used"].as_u64()?, memory["total"].as_u64()?))
}

fn truth(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(false)
}

/// A text that says something, cut to [`TEXT_CHARS_MAX`].
pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(cut)
}

/// The beginning of a text, with an ellipsis when there is more.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
