//! What must hold after every step whatever the scenario says, because an author cannot expect everything.

mod asked;
mod given;
mod holders;
mod name;
mod others;
mod seen;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::asked::Asked;
pub use self::given::{DeviceIds, Given, count_by_gpu, replicas_of};
use self::holders::{Holders, gpus_of};
pub use self::name::Invariant;
use self::others::Others;
pub use self::seen::{GpuName, NodeSeen, PartName, PodSeen, config_of, is_gpu};
use crate::scenario::Scenario;
use crate::world::World;

/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The part of an admission error that is the pod's own fault.
const OWN_FAULT: &str = "maximum request size for shared resources";

/// Judges one world after the other, or one change after the other; remembers what was handed out.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Which are suspended, and whether that was needed.
    excused: BTreeMap<Invariant, bool>,
    /// The most replicas that each configuration asks for.
    asked: Asked,
    /// Whose pods are not judged.
    others: Others,
    /// The most replicas that were asked of each node: devices outlive a change of their configuration.
    replicas: BTreeMap<String, u64>,
    /// Who holds what.
    holders: Holders,
    /// Of each node: the GPUs on which pods compute, and their compute modes when last seen.
    modes: BTreeMap<String, BTreeMap<String, String>>,
    /// What running pods were given when first seen.
    given: BTreeMap<String, Given>,
}

impl Invariants {
    /// Judges what a scenario's configurations ask for; excuses nothing.
    pub fn of(scenario: &Scenario) -> Invariants {
        Invariants { asked: Asked::of(scenario), others: Others::of(scenario), ..Invariants::default() }
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
            self.judge_node(&NodeSeen::of(name, node), &mut broken);
            broken.extend(self.modes_stay(name, &seen::modes_in_use(node)));
        }
        self.holders.keep(|name| world.pods.contains_key(name));
        self.given.retain(|name, _| world.pods.contains_key(name));
        for (name, pod) in &world.pods {
            if self.others.serve(pod) {
                continue;
            }
            let gpus = pod.node.as_ref().and_then(|node| world.nodes.get(node));
            let gpus = gpus.map_or_else(Vec::new, |node| node.gpus.iter().map(GpuName::of).collect());
            let seen = PodSeen::of(name, pod, &gpus);
            self.holders.place(&seen);
            self.judge_pod(&seen, &mut broken);
        }
        self.holders.judge_all(&mut broken);
        self.unexcused(broken)
    }

    /// What a pod's change breaks that is not excused.
    pub fn pod(&mut self, seen: &PodSeen<'_>) -> Vec<String> {
        let mut broken = Vec::new();
        if self.holders.place(seen) {
            self.holders.judge_pod(seen, &mut broken);
        }
        self.judge_pod(seen, &mut broken);
        self.unexcused(broken)
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, name: &str) {
        self.holders.remove(name);
        self.given.remove(name);
    }

    /// What a node's change breaks that is not excused.
    pub fn node(&mut self, seen: &NodeSeen<'_>) -> Vec<String> {
        let mut broken = Vec::new();
        self.judge_node(seen, &mut broken);
        self.unexcused(broken)
    }

    /// What the compute modes of a node's GPUs on which pods compute (UUID and mode) break that is not excused.
    pub fn modes(&mut self, node: &str, in_use: &[(&str, &str)]) -> Vec<String> {
        let broken = self.modes_stay(node, in_use);
        self.unexcused(broken)
    }

    fn unexcused(&mut self, mut broken: Vec<String>) -> Vec<String> {
        broken.retain(|sentence| !self.excuses(sentence));
        broken
    }

    /// Whether a broken invariant is excused, which uses the excuse.
    pub fn excuses(&mut self, sentence: &str) -> bool {
        let excuse = Invariant::of(sentence).and_then(|invariant| self.excused.get_mut(&invariant));
        excuse.map(|used| *used = true).is_some()
    }

    /// The configurations change.
    pub fn configs(&mut self, configs: &BTreeMap<String, String>) {
        for (name, text) in configs {
            self.asked.note(name, text);
        }
    }

    /// This configuration is asked of a node, if only for a moment.
    pub fn asks(&mut self, node: &str, config: &str) {
        let asked = self.asked.most(config);
        let most = self.replicas.entry(node.to_owned()).or_insert(1);
        *most = asked.max(*most);
    }

    fn judge_node(&mut self, seen: &NodeSeen<'_>, broken: &mut Vec<String>) {
        self.asks(seen.name, seen.config);
        let replicas = self.replicas.get(seen.name).copied().unwrap_or(1);
        allocatable_exists(seen, replicas, broken);
    }

    fn modes_stay(&mut self, node: &str, in_use: &[(&str, &str)]) -> Vec<String> {
        let before = self.modes.get_mut(node);
        if in_use.is_empty() && before.as_ref().is_none_or(|before| before.is_empty()) {
            return Vec::new();
        }
        let before = before.map(std::mem::take).unwrap_or_default();
        let changed = in_use.iter().filter_map(|(gpu, mode)| {
            let was = before.get(*gpu).filter(|was| was != mode)?;
            Some(format!(
                "a GPU keeps its compute mode while pods compute on it: `{gpu}` on `{node}` had {was}, now {mode}"
            ))
        });
        let broken = changed.collect();
        let now = in_use.iter().map(|(gpu, mode)| ((*gpu).to_owned(), (*mode).to_owned()));
        self.modes.insert(node.to_owned(), now.collect());
        broken
    }

    fn judge_pod(&mut self, seen: &PodSeen<'_>, broken: &mut Vec<String>) {
        broken.extend(no_refusal_by_the_plugin(seen));
        self.holders.judge_parts(seen, broken);
        if !seen.holds() {
            self.given.remove(seen.name);
        }
        if seen.phase != "Running" || seen.given.ids.is_empty() {
            return;
        }
        match self.given.get(seen.name) {
            Some(first) if is_same(first, &seen.given) => return,
            Some(first) => broken.extend(meaning_stays(seen, first)),
            None => {
                self.given.insert(seen.name.to_owned(), seen.given.clone());
            }
        }
        broken.extend(environment_names_the_gpus(seen));
    }
}

/// Whether it is the same thing, without a look inside.
fn is_same(first: &Given, now: &Given) -> bool {
    Arc::ptr_eq(&first.ids, &now.ids) && Arc::ptr_eq(&first.containers, &now.containers)
}

fn meaning_stays(seen: &PodSeen<'_>, first: &Given) -> Option<String> {
    let (name, now) = (seen.name, &seen.given);
    let stays = first.ids == now.ids && first.containers == now.containers;
    (!stays).then(|| {
        format!(
            "a device in use never changes its meaning: pod `{name}` had {:?} {:?}, now {:?} {:?}",
            first.ids, first.containers, now.ids, now.containers
        )
    })
}

fn allocatable_exists(seen: &NodeSeen<'_>, replicas: u64, broken: &mut Vec<String>) {
    let name = seen.name;
    let all = seen.gpus as u64 * replicas;
    for (resource, count) in seen.allocatable.iter().filter(|(_, count)| *count > all) {
        broken.push(format!(
            "allocatable never exceeds what exists: `{resource}` on `{name}` is {count}, at most {all}"
        ));
    }
    // the kubelet's lists come before the Node's figures
    for (resource, gpus) in seen.lists.iter().filter(|(resource, _)| is_gpu(resource)) {
        for (gpu, count) in gpus.iter().filter(|(_, count)| **count > replicas) {
            broken.push(format!(
                "allocatable never exceeds what exists: the list of `{resource}` on `{name}` has {count} devices of \
                 `{gpu}`, at most {replicas}"
            ));
        }
    }
}

fn environment_names_the_gpus(seen: &PodSeen<'_>) -> Option<String> {
    let held = gpus_of(&seen.given.ids);
    let ways = ways::gpus(&seen.given.containers, seen.gpus);
    let wrong = ways.iter().find(|(_, named)| !named.iter().eq(&held));
    let none = ("no way", BTreeSet::new());
    let (way, named) = if ways.is_empty() { &none } else { wrong? };
    let name = seen.name;
    Some(format!(
        "`{VISIBLE}` names exactly the GPUs of a pod's ids, and so does CDI: pod `{name}` has {named:?} by {way}, holds \
         {held:?}"
    ))
}

fn no_refusal_by_the_plugin(seen: &PodSeen<'_>) -> Option<String> {
    let refused = matches!(seen.reason, "UnexpectedAdmissionError" | "TopologyAffinityError");
    (refused && !seen.message.contains(OWN_FAULT)).then(|| {
        let PodSeen { name, reason, message, .. } = seen;
        format!("no pod fails because of the plugin: pod `{name}` failed with {reason}: {message}")
    })
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
