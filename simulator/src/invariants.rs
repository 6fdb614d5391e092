//! What must hold after every step whatever the scenario says, because an author cannot expect everything.

mod asked;
mod name;
mod seen;

use std::collections::{BTreeMap, BTreeSet};

pub use self::name::Invariant;
use crate::scenario::Scenario;
use crate::world::{GpuView, NodeView, PodView, World, gpu_of};

/// The label that says how many replicas each GPU of a node has.
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
/// The label that names a node's configuration.
const CONFIG_LABEL: &str = "nvidia.com/device-plugin.config";
/// The configuration of a node without that label.
const CONFIG_DEFAULT: &str = "default";
/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The part of an admission error that is the pod's own fault.
const OWN_FAULT: &str = "maximum request size for shared resources";

/// Judges one world after the other; remembers what was handed out.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Which are suspended, and whether that was needed.
    excused: BTreeMap<Invariant, bool>,
    /// The most replicas that each configuration asks for.
    asked: BTreeMap<String, u64>,
    /// The most replicas that were ever asked of a node, or that it announced.
    replicas: BTreeMap<String, u64>,
    /// What running pods were given when first seen.
    given: BTreeMap<String, Given>,
}

#[derive(Debug, Clone, PartialEq)]
struct Given {
    ids: BTreeMap<String, Vec<String>>,
    env: BTreeMap<String, String>,
    mounts: Vec<String>,
}

/// One device of one pod.
struct Held<'w> {
    pod: &'w str,
    resource: &'w str,
    id: &'w str,
}

impl Invariants {
    /// Judges what a scenario's configurations ask for; excuses nothing.
    pub fn of(scenario: &Scenario) -> Invariants {
        Invariants { asked: asked::replicas(scenario), ..Invariants::default() }
    }

    /// Suspends these.
    pub fn excusing(mut self, excuses: &[Invariant]) -> Invariants {
        self.excused = excuses.iter().map(|invariant| (*invariant, false)).collect();
        self
    }

    /// Excuses that nothing has needed so far.
    pub fn unused_excuses(&self) -> Vec<Invariant> {
        let unused = self.excused.iter().filter(|(_, used)| !**used);
        unused.map(|(invariant, _)| *invariant).collect()
    }

    /// Every invariant that this world breaks and that is not excused, one sentence each.
    pub fn check(&mut self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, node) in &world.nodes {
            let replicas = self.replicas_of(name, node);
            broken.extend(gpus_are_held_properly(name, world, replicas));
            broken.extend(allocatable_exists(name, node, replicas));
        }
        for (name, pod) in &world.pods {
            let gpus = pod.node.as_ref().and_then(|node| world.nodes.get(node));
            let gpus = gpus.map_or(&[][..], |node| node.gpus.as_slice());
            broken.extend(environment_names_the_gpus(name, pod, gpus));
            broken.extend(no_refusal_by_the_plugin(name, pod));
        }
        broken.extend(self.given_stays(world));
        broken.retain(|sentence| !self.excuses(sentence));
        broken
    }

    /// Whether a broken invariant is excused, which uses the excuse.
    pub fn excuses(&mut self, sentence: &str) -> bool {
        let excuse = Invariant::of(sentence).and_then(|invariant| self.excused.get_mut(&invariant));
        excuse.map(|used| *used = true).is_some()
    }

    fn replicas_of(&mut self, name: &str, node: &NodeView) -> u64 {
        let announced = node.labels.get(REPLICAS_LABEL).and_then(|text| text.parse().ok()).unwrap_or(1);
        let config = node.labels.get(CONFIG_LABEL).map_or(CONFIG_DEFAULT, String::as_str);
        let asked = self.asked.get(config).copied().unwrap_or(1);
        let most = self.replicas.entry(name.to_owned()).or_insert(1);
        *most = announced.max(asked).max(*most);
        *most
    }

    fn given_stays(&mut self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        self.given.retain(|name, _| world.pods.get(name).is_some_and(World::holds_devices));
        for (name, pod) in world.pods.iter().filter(|(_, pod)| pod.phase == "Running" && !pod.ids.is_empty())
        {
            let now = Given { ids: pod.ids.clone(), env: pod.env.clone(), mounts: pod.mounts.clone() };
            let first = self.given.entry(name.clone()).or_insert_with(|| now.clone());
            if *first != now {
                broken.push(format!(
                    "a device in use never changes its meaning: pod `{name}` had {:?} {:?}, now {:?} {:?}",
                    first.ids, first.env, now.ids, now.env
                ));
            }
        }
        broken
    }
}

fn gpus_are_held_properly(node: &str, world: &World, replicas: u64) -> Vec<String> {
    let mut by_gpu: BTreeMap<&str, Vec<Held<'_>>> = BTreeMap::new();
    for (pod, view) in &world.pods {
        if view.node.as_deref() != Some(node) || !World::holds_devices(view) {
            continue;
        }
        for (resource, id) in
            view.ids.iter().flat_map(|(resource, ids)| ids.iter().map(move |id| (resource, id)))
        {
            by_gpu.entry(gpu_of(id)).or_default().push(Held { pod, resource, id });
        }
    }
    let mut broken = Vec::new();
    for (gpu, held) in by_gpu {
        let pods: BTreeSet<&str> = held.iter().map(|held| held.pod).collect();
        let ids: BTreeSet<&str> = held.iter().map(|held| held.id).collect();
        let strategies: BTreeSet<(&str, bool)> =
            held.iter().map(|held| (held.resource, held.id.contains("::"))).collect();
        let exclusive = held.iter().any(|held| !held.id.contains("::"));
        let who = pods.iter().copied().collect::<Vec<_>>().join(", ");
        if exclusive && pods.len() > 1 {
            broken
                .push(format!("a GPU held exclusively has one holder: `{gpu}` on `{node}` is held by {who}"));
        }
        if strategies.len() > 1 {
            broken.push(format!(
                "all holders of a GPU share one strategy: `{gpu}` on `{node}` is held as {} by {who}",
                strategies.iter().map(|(resource, _)| *resource).collect::<Vec<_>>().join(" and ")
            ));
        }
        if ids.len() < held.len() {
            broken.push(format!(
                "a device is handed out once: `{gpu}` on `{node}` has a device held twice by {who}"
            ));
        }
        if held.len() as u64 > replicas {
            broken.push(format!(
                "no more holders than replicas: `{gpu}` on `{node}` has {} of {replicas}: {who}",
                held.len()
            ));
        }
    }
    broken
}

fn allocatable_exists(name: &str, node: &NodeView, replicas: u64) -> Vec<String> {
    let most = node.gpus.len() as u64 * replicas;
    node.allocatable
        .iter()
        .filter(|(resource, _)| resource.starts_with("nvidia.com/gpu"))
        .filter_map(|(resource, count)| count.as_u64().map(|count| (resource, count)))
        .filter(|(_, count)| *count > most)
        .map(|(resource, count)| {
            format!(
                "allocatable never exceeds what exists: `{resource}` on `{name}` is {count}, at most {most}"
            )
        })
        .collect()
}

fn environment_names_the_gpus(name: &str, pod: &PodView, gpus: &[GpuView]) -> Option<String> {
    if pod.phase != "Running" || pod.gpus.is_empty() {
        return None;
    }
    let held: BTreeSet<String> = pod.gpus.iter().cloned().collect();
    let ways = seen::gpus(pod, gpus);
    let wrong = ways.iter().find(|(_, named)| *named != held);
    let none = (String::from("no way"), BTreeSet::new());
    let (way, named) = if ways.is_empty() { &none } else { wrong? };
    Some(format!(
        "`{VISIBLE}` names exactly the GPUs of a pod's ids, and so does CDI: pod `{name}` has {named:?} by {way}, holds \
         {held:?}"
    ))
}

fn no_refusal_by_the_plugin(name: &str, pod: &PodView) -> Option<String> {
    let refused = pod.reason == "UnexpectedAdmissionError" || pod.reason == "TopologyAffinityError";
    (refused && !pod.message.contains(OWN_FAULT)).then(|| {
        format!(
            "no pod fails because of the plugin: pod `{name}` failed with {}: {}",
            pod.reason, pod.message
        )
    })
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
