//! What must hold after every step whatever the scenario says, because an author cannot expect everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{NodeView, PodView, World, gpu_of};

/// The label that says how many replicas each GPU of a node has.
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";
/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The part of an admission error that is the pod's own fault.
const OWN_FAULT: &str = "maximum request size for shared resources";

/// One thing that must hold; its name is what `excuses:` in a scenario says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A GPU held exclusively has one holder.
    OneExclusiveHolder,
    /// All holders of a GPU share one strategy.
    OneStrategy,
    /// A device is handed out once.
    HandedOutOnce,
    /// No more holders than replicas.
    WithinReplicas,
    /// Allocatable never exceeds what exists.
    AllocatableExists,
    /// A device in use never changes its meaning.
    MeaningStays,
    /// A pod's environment names exactly the GPUs of its ids.
    EnvironmentNamesGpus,
    /// No pod fails because of the plugin.
    NoRefusal,
}

impl Invariant {
    /// Every invariant: its name in scenarios, and the words with which its sentences begin.
    pub const ALL: &'static [(Invariant, &'static str, &'static str)] = &[
        (Invariant::OneExclusiveHolder, "oneExclusiveHolder", "a GPU held exclusively has one holder"),
        (Invariant::OneStrategy, "oneStrategy", "all holders of a GPU share one strategy"),
        (Invariant::HandedOutOnce, "handedOutOnce", "a device is handed out once"),
        (Invariant::WithinReplicas, "withinReplicas", "no more holders than replicas"),
        (Invariant::AllocatableExists, "allocatableExists", "allocatable never exceeds what exists"),
        (Invariant::MeaningStays, "meaningStays", "a device in use never changes its meaning"),
        (
            Invariant::EnvironmentNamesGpus,
            "environmentNamesGpus",
            "`NVIDIA_VISIBLE_DEVICES` names exactly the GPUs",
        ),
        (Invariant::NoRefusal, "noRefusal", "no pod fails because of the plugin"),
    ];

    /// The invariant of that name.
    pub fn parse(name: &str) -> Option<Invariant> {
        let mut all = Self::ALL.iter();
        all.find(|(_, known, _)| *known == name).map(|(invariant, ..)| *invariant)
    }

    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(invariant, ..)| *invariant == self).map_or("", |(_, name, _)| name)
    }

    /// Whose sentence it is.
    fn of(sentence: &str) -> Option<Invariant> {
        let mut all = Self::ALL.iter();
        all.find(|(_, _, begins)| sentence.contains(begins)).map(|(invariant, ..)| *invariant)
    }
}

/// Judges one world after the other; remembers what was handed out.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Which are suspended, and whether that was needed.
    excused: BTreeMap<Invariant, bool>,
    /// The most replicas that a node ever announced.
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
    /// All invariants but these.
    pub fn excusing(excuses: &[Invariant]) -> Invariants {
        Invariants {
            excused: excuses.iter().map(|invariant| (*invariant, false)).collect(),
            ..Invariants::default()
        }
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
            broken.extend(environment_names_the_gpus(name, pod));
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
        let most = self.replicas.entry(name.to_owned()).or_insert(1);
        *most = announced.max(*most);
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

fn environment_names_the_gpus(name: &str, pod: &PodView) -> Option<String> {
    if pod.phase != "Running" || pod.gpus.is_empty() {
        return None;
    }
    let named: BTreeSet<&str> = pod
        .containers
        .values()
        .filter_map(|container| container.env.get(VISIBLE))
        .flat_map(|value| value.split(','))
        .collect();
    let held: BTreeSet<&str> = pod.gpus.iter().map(String::as_str).collect();
    (named != held).then(|| {
        format!(
            "`{VISIBLE}` names exactly the GPUs of a pod's ids: pod `{name}` has {named:?}, holds {held:?}"
        )
    })
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
