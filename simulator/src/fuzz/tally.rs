//! What fuzzing exercised, because a path that no seed reaches is not tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::kind::DRAWN;
use crate::faults::Fault;
use crate::world::{NodeView, World};

/// Every way of a GPU from one state to another, as the plugin tells them; those that nothing takes are told as well.
const MOVES: [(&str, &str); 15] = [
    ("found", "settled"),
    ("found", "draining"),
    ("found", "converting"),
    ("found", "unused"),
    ("settled", "draining"),
    ("draining", "settled"),
    ("draining", "converting"),
    ("draining", "unused"),
    ("converting", "settled"),
    ("converting", "draining"),
    ("converting", "unused"),
    ("unused", "converting"),
    ("unused", "settled"),
    ("unused", "draining"),
    ("settled", "unused"),
];
/// What labels lead to, as [`super::label::Label::word`] says it.
const LABELS: [&str; 7] = [
    "exclusive",
    "MPS",
    "time-slicing",
    "several roles",
    "MIG devices",
    "an edited configuration",
    "a wrong label",
];
/// What may be seen in a story.
const SIGHTS: [&str; 16] = [
    "a GPU converts",
    "a GPU drains while it is held",
    "a GPU has left its node",
    "a fault comes while GPUs drain or convert",
    "a GPU in MIG mode is held through its MIG devices",
    "a node serves whole GPUs, time-slicing and MPS",
    "a plugin starts again",
    "a plugin starts again while GPUs drain",
    "a pod finds no room",
    "a pod is refused",
    "a resource is registered again",
    "a wrong label, and no configuration before it",
    "a wrong label, and the last good configuration is kept",
    "an MPS supervisor starts again",
    "pods share a GPU through MPS",
    "servers of MPS are in FAULT",
];

/// Counts over one run or many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stories that were played.
    pub stories: u64,
    /// Steps that were played.
    pub steps: u64,
    /// Label flips that were made.
    pub flips: u64,
    /// Flips by what the label led to before and after.
    pub flips_between: BTreeMap<(&'static str, &'static str), u64>,
    /// Edits of a configuration.
    pub edits: u64,
    /// Pods that were created.
    pub pods: u64,
    /// Pods that a step deleted.
    pub deleted: u64,
    /// Pods that ended by themselves.
    pub finished: u64,
    /// Faults that took effect, by their word.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults that the stage cannot make, by their word and its reason.
    pub skipped: BTreeMap<(&'static str, String), u64>,
    /// GPUs that changed their state, by the states.
    pub moves: BTreeMap<(String, String), u64>,
    /// Stories in which something was seen, by what.
    pub seen: BTreeMap<&'static str, u64>,
    /// Happenings.
    pub happenings: u64,
    /// The stage's time, in seconds.
    pub seconds: u64,
}

/// Looks at one run and counts what it sees.
#[derive(Debug, Default)]
pub struct Counter {
    /// The counts.
    pub tally: Tally,
    /// What each GPU's state was at the last look.
    states: BTreeMap<String, String>,
    /// GPUs of each node at the last look.
    gpus: BTreeMap<String, usize>,
    /// Starts of each node's plugin at the last look.
    starts: BTreeMap<String, u64>,
}

impl Counter {
    /// A fault took effect in this world.
    pub fn fault(&mut self, fault: Fault, world: &World) {
        *self.tally.faults.entry(fault.tag()).or_default() += 1;
        if world.nodes.values().any(is_changing) {
            self.see("a fault comes while GPUs drain or convert");
        }
    }

    /// A fault is nothing that the stage can make.
    pub fn skipped(&mut self, fault: Fault, why: String) {
        *self.tally.skipped.entry((fault.tag(), why)).or_default() += 1;
    }

    /// A label changed.
    pub fn flip(&mut self, from: &'static str, to: &'static str) {
        self.tally.flips += 1;
        *self.tally.flips_between.entry((from, to)).or_default() += 1;
    }

    /// Something that can be seen has changed.
    pub fn look(&mut self, world: &World) {
        for (name, node) in &world.nodes {
            self.look_at_node(name, node);
        }
        for pod in world.pods.values() {
            match pod.phase.as_str() {
                "Failed" => self.see("a pod is refused"),
                "Pending" if pod.node.is_none() => self.see("a pod finds no room"),
                _ => {}
            }
        }
    }

    fn look_at_node(&mut self, name: &str, node: &NodeView) {
        let problems = node.plugin.state["config_problems"].as_array();
        if problems.is_some_and(|problems| !problems.is_empty()) {
            match node.plugin.state["config_applied"].is_null() {
                true => self.see("a wrong label, and no configuration before it"),
                false => self.see("a wrong label, and the last good configuration is kept"),
            }
        }
        let strategies: BTreeSet<&str> =
            node.gpus.iter().filter_map(|gpu| gpu.plugin["strategy"].as_str()).collect();
        if strategies.len() > 2 {
            self.see("a node serves whole GPUs, time-slicing and MPS");
        }
        let before = self.gpus.insert(name.to_owned(), node.gpus.len());
        if before.is_some_and(|before| before > node.gpus.len()) {
            self.see("a GPU has left its node");
        }
        let starts = self.starts.insert(name.to_owned(), node.plugin.starts);
        if starts.is_some_and(|starts| starts > 0 && starts < node.plugin.starts)
            && node.gpus.iter().any(|gpu| self.states.get(&gpu.uuid).is_some_and(|state| state == "draining"))
        {
            self.see("a plugin starts again while GPUs drain");
        }
        for gpu in &node.gpus {
            match gpu.state.as_deref() {
                Some("draining") if !gpu.holders.is_empty() => self.see("a GPU drains while it is held"),
                Some("converting") => self.see("a GPU converts"),
                Some("unused") if !gpu.holders.is_empty() => {
                    self.see("a GPU in MIG mode is held through its MIG devices");
                }
                _ => {}
            }
            match gpu.mps_daemon.as_str() {
                "running" if gpu.holders.len() > 1 => self.see("pods share a GPU through MPS"),
                "fault" => self.see("servers of MPS are in FAULT"),
                _ => {}
            }
            let Some(state) = &gpu.state else { continue };
            match self.states.get_mut(&gpu.uuid) {
                Some(before) if before == state => {}
                Some(before) => {
                    let from = std::mem::replace(before, state.clone());
                    *self.tally.moves.entry((from, state.clone())).or_default() += 1;
                }
                None => {
                    self.states.insert(gpu.uuid.clone(), state.clone());
                }
            }
        }
    }

    /// The run has come to rest.
    pub fn end(&mut self, world: &World, happenings: u64, seconds: u64) {
        self.tally.stories = 1;
        self.tally.happenings = happenings;
        self.tally.seconds = seconds;
        let many = |counts: &BTreeMap<String, u64>| counts.values().any(|count| *count > 1);
        for node in world.nodes.values() {
            if many(&node.plugin.registrations) {
                self.see("a resource is registered again");
            }
            if node.plugin.starts > 1 {
                self.see("a plugin starts again");
            }
            if node.mps.starts > 1 {
                self.see("an MPS supervisor starts again");
            }
        }
    }

    fn see(&mut self, what: &'static str) {
        self.tally.seen.insert(what, 1);
    }
}

fn is_changing(node: &NodeView) -> bool {
    node.gpus.iter().any(|gpu| matches!(gpu.state.as_deref(), Some("draining" | "converting")))
}

impl Tally {
    /// Adds another run.
    pub fn add(&mut self, other: &Tally) {
        self.stories += other.stories;
        self.steps += other.steps;
        self.flips += other.flips;
        self.edits += other.edits;
        self.pods += other.pods;
        self.deleted += other.deleted;
        self.finished += other.finished;
        self.happenings += other.happenings;
        self.seconds += other.seconds;
        add(&mut self.flips_between, &other.flips_between);
        add(&mut self.faults, &other.faults);
        add(&mut self.skipped, &other.skipped);
        add(&mut self.moves, &other.moves);
        add(&mut self.seen, &other.seen);
    }
}

fn add<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, of: &BTreeMap<K, u64>) {
    for (word, count) in of {
        *into.entry(word.clone()).or_default() += count;
    }
}

/// Counts of what is known to be possible, those that are 0 included, and of everything else that was met.
fn all<'w>(known: &[&'w str], counts: impl Iterator<Item = (&'w str, u64)>) -> String {
    let mut all: BTreeMap<&str, u64> = known.iter().map(|word| (*word, 0)).collect();
    for (word, count) in counts {
        *all.entry(word).or_default() += count;
    }
    let words = all.iter().map(|(word, count)| format!("{word} ×{count}"));
    words.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} stories: {} steps, {} pods ({} deleted, {} ended), {} label flips, {} edits of a configuration",
            self.stories, self.steps, self.pods, self.deleted, self.finished, self.flips, self.edits
        )?;
        let hours = self.seconds as f64 / 3600.0;
        writeln!(f, "{} happenings in {hours:.1} hours of the stage's time", self.happenings)?;
        let plain = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(word, count)| (*word, *count)).collect::<Vec<_>>()
        };
        writeln!(f, "faults: {}", all(&DRAWN, plain(&self.faults).into_iter()))?;
        for ((fault, why), count) in &self.skipped {
            writeln!(f, "  {fault} ×{count} skipped: {why}")?;
        }
        writeln!(f, "flips from what the label led to, and to what:")?;
        for from in LABELS {
            let to = self.flips_between.iter().filter(|((of, _), _)| *of == from);
            writeln!(f, "  {from}: {}", all(&LABELS, to.map(|((_, to), count)| (*to, *count))))?;
        }
        let moves: Vec<(String, u64)> =
            self.moves.iter().map(|((from, to), count)| (format!("{from} → {to}"), *count)).collect();
        let known: Vec<String> = MOVES.iter().map(|(from, to)| format!("{from} → {to}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let moves = moves.iter().map(|(words, count)| (words.as_str(), *count));
        writeln!(f, "GPUs that changed their state: {}", all(&known, moves))?;
        write!(f, "stories in which: {}", all(&SIGHTS, plain(&self.seen).into_iter()))
    }
}

/// A reason without the names of nodes and processes, so that it is counted once.
pub(super) fn nameless(why: &str) -> String {
    let mut parts = why.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut inside = true;
    for part in parts {
        text.push_str(if inside { "…" } else { part });
        inside = !inside;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_told_as_well() {
        let mut counter = Counter::default();
        counter.flip("MPS", "exclusive");
        counter.fault(Fault::WatchDrop, &World::default());
        counter.see("a GPU converts");
        let mut tally = Tally::default();
        tally.add(&counter.tally);
        tally.add(&counter.tally);
        let text = tally.to_string();
        for words in ["watchDrop ×2", "nodeReboot ×0", "found → draining ×0", "a GPU converts ×2"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.contains("MPS: MIG devices ×0, MPS ×0, a wrong label ×0"), "{text}");
    }

    #[test]
    fn a_gpu_that_changes_its_state_is_counted_once() {
        let mut counter = Counter::default();
        let mut world = World::default();
        for state in ["settled", "settled", "draining", "draining", "converting"] {
            let gpu = crate::world::GpuView {
                uuid: "GPU-a".to_owned(),
                state: Some(state.to_owned()),
                ..Default::default()
            };
            world.nodes.insert("n".to_owned(), NodeView { gpus: vec![gpu], ..NodeView::default() });
            counter.look(&world);
        }
        let moved = |from: &str, to: &str| ((from.to_owned(), to.to_owned()), 1);
        assert_eq!(
            counter.tally.moves,
            [moved("settled", "draining"), moved("draining", "converting")].into()
        );
    }
}
