//! What fuzzing exercised, because a path that no seed reaches is not tested.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::Fault;
use crate::on::model::ModelStage;
use crate::world::World;

/// Counts over one run or many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stories that were played.
    pub stories: u64,
    /// Steps that were played.
    pub steps: u64,
    /// Label flips that were made.
    pub flips: u64,
    /// Flips to a label that names no configuration that can hold.
    pub wrong_labels: u64,
    /// Removals of the label.
    pub removed_labels: u64,
    /// Pods that were created.
    pub pods: u64,
    /// Pods that a step deleted.
    pub deleted: u64,
    /// Faults that took effect, by their word.
    pub faults: BTreeMap<&'static str, u64>,
    /// Stories in which something was seen, by what.
    pub seen: BTreeMap<&'static str, u64>,
    /// Happenings.
    pub happenings: u64,
    /// Virtual time, in seconds.
    pub virtual_seconds: u64,
}

impl Tally {
    /// A fault took effect.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault.tag()).or_default() += 1;
    }

    /// Something that can be seen has changed.
    pub fn look(&mut self, world: &World) {
        for node in world.nodes.values() {
            let problems = node.plugin.state["config_problems"].as_array();
            if problems.is_some_and(|problems| !problems.is_empty()) {
                match node.plugin.state["config_applied"].is_null() {
                    true => self.see("a wrong label, and no configuration before it"),
                    false => self.see("a wrong label, and the last good configuration is kept"),
                }
            }
            for gpu in &node.gpus {
                match gpu.state.as_deref() {
                    Some("draining") if !gpu.holders.is_empty() => self.see("a GPU drains while it is held"),
                    Some("converting") => self.see("a GPU converts"),
                    _ => {}
                }
                if gpu.mps_daemon == "running" && gpu.holders.len() > 1 {
                    self.see("pods share a GPU through MPS");
                }
            }
        }
        for pod in world.pods.values() {
            match pod.phase.as_str() {
                "Failed" => self.see("a pod is refused"),
                "Pending" if pod.node.is_none() => self.see("a pod finds no room"),
                _ => {}
            }
        }
    }

    /// The run has come to rest.
    pub fn end(&mut self, stage: &mut ModelStage) {
        self.stories = 1;
        self.happenings = stage.happenings();
        let world = stage.world();
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
        self.virtual_seconds = crate::on::Stage::now(stage).as_secs();
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Tally) {
        self.stories += other.stories;
        self.steps += other.steps;
        self.flips += other.flips;
        self.wrong_labels += other.wrong_labels;
        self.removed_labels += other.removed_labels;
        self.pods += other.pods;
        self.deleted += other.deleted;
        self.happenings += other.happenings;
        self.virtual_seconds += other.virtual_seconds;
        for (of, into) in [(&other.faults, &mut self.faults), (&other.seen, &mut self.seen)] {
            for (word, count) in of {
                *into.entry(word).or_default() += count;
            }
        }
    }

    fn see(&mut self, what: &'static str) {
        self.seen.insert(what, 1);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} stories: {} steps, {} pods ({} deleted), {} label flips ({} wrong, {} removals)",
            self.stories,
            self.steps,
            self.pods,
            self.deleted,
            self.flips,
            self.wrong_labels,
            self.removed_labels
        )?;
        let hours = self.virtual_seconds / 3600;
        writeln!(f, "{} happenings in {hours} hours of virtual time", self.happenings)?;
        let list = |counts: &BTreeMap<&'static str, u64>| {
            let words = counts.iter().map(|(word, count)| format!("{word} ×{count}"));
            words.collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "faults: {}", list(&self.faults))?;
        write!(f, "stories in which: {}", list(&self.seen))
    }
}
