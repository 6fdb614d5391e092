//! What is kept about GPUs across restarts: which ones a count chose, of which GPU a MIG device was a part, and which ones
//! have a time-slice interval of ours.
//!
//! A choice holds until the configuration's sharing changes: a GPU that is put in, pulled out or numbered anew moves no other
//! one into another role. A MIG device that was cut away while a pod has it is still attributed to its GPU.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Severity};
use crate::config::{Config, MigStrategy};
use crate::inventory::{Facts, GpuUuid};
use crate::last_good::fingerprint;
use crate::plugin::Plugin;
use crate::time::Time;
use crate::time_slice::{KeptSlices, TimeSlices};

/// The format's version; a file of another one is not read.
const VERSION: u32 = 1;
/// How long a file that could not be written waits for the next try.
const WRITE_RETRY: Duration = Duration::from_secs(30);
/// Most MIG devices whose GPU is kept.
const PARENTS_MAX: usize = 1024;

/// Which GPUs and MIG devices each count of a configuration chose, by the entry's path.
pub type Picks = BTreeMap<String, Vec<GpuUuid>>;

/// The choices of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chosen {
    /// What the choices depend on, see [`key`].
    pub(crate) key: String,
    /// The choices.
    pub(crate) picks: Picks,
}

/// What is kept, as the file in the state directory holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGpus {
    version: u32,
    /// The Node; none when the plugin has no node name.
    node: Option<String>,
    chosen: Chosen,
    /// The GPU of each MIG device.
    parents: BTreeMap<GpuUuid, GpuUuid>,
    /// Time-slice intervals that the plugin may have set and must give back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    time_slices: KeptSlices,
}

/// What is kept, and how far that is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper {
    pub(crate) gpus: KeptGpus,
    /// As the state directory holds it, as far as is known.
    on_disk: Option<KeptGpus>,
    /// When the file that could not be written is written again.
    pub(crate) retry_at: Option<Time>,
}

/// What the choices of counts depend on: the sharing, the names and the MIG strategy, not the rest of the file. Another
/// interval of time-slicing moves no GPU.
pub(crate) fn key(config: &Config, strategy: MigStrategy) -> String {
    let mut sharing = config.sharing.clone();
    for entry in sharing.time_slicing.iter_mut().flat_map(|sliced| &mut sliced.resources) {
        entry.time_slice = None;
    }
    let parts = (&sharing, &config.resources, strategy);
    // values of ours always have a JSON form
    fingerprint(&serde_json::to_string(&parts).unwrap_or_default())
}

impl KeptGpus {
    /// Reads the state file of this node.
    ///
    /// # Errors
    /// It was not written by this program, for this node, or not wholly.
    pub fn parse(file: &str, node: Option<&str>) -> Result<Self, String> {
        let read: KeptGpus = serde_json::from_str(file).map_err(|e| format!("it cannot be read: {e}"))?;
        if read.version != VERSION {
            return Err(format!("it has version {}, this program reads version {VERSION}", read.version));
        }
        if read.node.as_deref() != node {
            return Err("it is of another node".to_owned());
        }
        Ok(read)
    }

    /// What the counts of a configuration chose before; nothing when it is another one.
    pub(crate) fn picks(&self, key: &str) -> Picks {
        if self.chosen.key == key { self.chosen.picks.clone() } else { Picks::new() }
    }

    /// The MIG devices that a GPU has, or had.
    pub(crate) fn parts<'a>(&'a self, gpu: &'a GpuUuid) -> impl Iterator<Item = &'a GpuUuid> {
        self.parents.iter().filter(move |(_, parent)| *parent == gpu).map(|(mig, _)| mig)
    }
}

impl Plugin {
    /// The state file was read.
    pub(crate) fn kept_gpus_read(&mut self, file: Option<&str>) {
        match file.map(|file| KeptGpus::parse(file, self.settings.node_name.as_deref())) {
            None => {}
            Some(Ok(kept)) => {
                self.time_slices = TimeSlices::of_earlier_run(&kept.time_slices);
                self.kept.on_disk = Some(kept.clone());
                self.kept.gpus = kept;
            }
            Some(Err(why)) => self.kept_gpus_ignored(&why),
        }
        self.choice_is_stale = true;
    }

    pub(crate) fn kept_gpus_ignored(&mut self, why: &str) {
        let message = format!(
            "what is known of the GPUs from an earlier run is ignored: {why}; counts of `devices` choose anew"
        );
        self.say_once("kept gpus", Severity::Warning, "KeptGpusIgnored", message);
    }

    /// The state file could not be written: it is tried again later.
    pub(crate) fn kept_gpus_failed(&mut self, why: &str) {
        self.kept.on_disk = None;
        self.kept.retry_at = Some(self.now + WRITE_RETRY);
        let message = format!(
            "which GPUs play which role cannot be kept for the next start: {why} (is --state-dir a writable hostPath?)"
        );
        self.say_once("kept gpus", Severity::Warning, "KeptGpusNotKept", message);
    }

    /// Keeps what the configuration in force chose, and the parents of MIG devices. Written when it changed.
    pub(crate) fn keep_gpus(&mut self) {
        let due = self.kept.retry_at.is_some_and(|at| at <= self.now);
        let Some(facts) = self.facts().filter(|_| self.change.all || due) else {
            return;
        };
        let parents = self.parents(facts);
        let time_slices = self.time_slices.kept();
        let chosen = self.applied.as_ref().map(|applied| applied.chosen.clone());
        let kept = &mut self.kept.gpus;
        kept.version = VERSION;
        kept.node.clone_from(&self.settings.node_name);
        kept.parents = parents;
        kept.time_slices = time_slices;
        if let Some(chosen) = chosen {
            kept.chosen = chosen;
        }
        let is_empty = kept.chosen.picks.is_empty() && kept.parents.is_empty() && kept.time_slices.is_empty();
        let is_written = self.kept.on_disk.as_ref() == Some(&self.kept.gpus);
        let waits = self.kept.retry_at.is_some_and(|at| at > self.now);
        if due {
            self.kept.retry_at = None;
        }
        if is_written || waits || (is_empty && self.kept.on_disk.is_none()) {
            return;
        }
        // a value of ours always has a JSON form
        if let Ok(text) = serde_json::to_string(&self.kept.gpus) {
            self.kept.on_disk = Some(self.kept.gpus.clone());
            self.act(Action::KeepGpus { text });
        }
    }

    /// The MIG devices that are there, and those that are gone and may be held.
    fn parents(&self, facts: &Facts) -> BTreeMap<GpuUuid, GpuUuid> {
        let is_known = self.ownership.evidence().is_some();
        let stays = |mig: &GpuUuid| !is_known || self.ownership.is_held(mig);
        let before = self.kept.gpus.parents.iter().filter(|(mig, _)| stays(mig));
        let before = before.map(|(mig, gpu)| (mig.clone(), gpu.clone()));
        let now =
            facts.gpus.iter().flat_map(|gpu| gpu.mig.iter().map(|mig| (mig.uuid.clone(), gpu.uuid.clone())));
        before.chain(now).take(PARENTS_MAX).collect()
    }

    /// Whether somebody has a MIG device that is gone, also one that went before this process began.
    pub(crate) fn is_lost_part_held(&self) -> bool {
        let gpus = self.facts().into_iter().flat_map(|facts| &facts.gpus);
        gpus.into_iter().any(|gpu| self.held_lost_parts(&gpu.uuid).next().is_some())
    }

    /// The MIG devices of a GPU that the driver does not report any more and that somebody has.
    pub(crate) fn held_lost_parts<'a>(&'a self, gpu: &'a GpuUuid) -> impl Iterator<Item = &'a GpuUuid> {
        let is_lost = |mig: &&GpuUuid| self.facts().is_some_and(|facts| facts.unit(mig).is_none());
        self.kept.gpus.parts(gpu).filter(is_lost).filter(|mig| self.ownership.is_held(mig))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TimeSlice;

    fn kept() -> KeptGpus {
        let picks = [("sharing.mps.resources[0]".to_owned(), vec![GpuUuid::new("GPU-1")])];
        KeptGpus {
            version: VERSION,
            node: Some("n1".into()),
            chosen: Chosen { key: "k".into(), picks: picks.into() },
            parents: [(GpuUuid::new("MIG-1"), GpuUuid::new("GPU-0"))].into(),
            time_slices: [(GpuUuid::new("GPU-1"), TimeSlice::Short)].into(),
        }
    }

    #[test]
    fn the_state_file_reads_back_as_it_was_written() {
        let text = serde_json::to_string(&kept()).unwrap();
        let read = KeptGpus::parse(&text, Some("n1")).unwrap();
        assert_eq!(read, kept());
        assert_eq!(read.picks("k").len(), 1);
        assert!(read.picks("another").is_empty());
        let gpu = GpuUuid::new("GPU-0");
        assert_eq!(read.parts(&gpu).collect::<Vec<_>>(), [&GpuUuid::new("MIG-1")]);
    }

    #[test]
    fn a_state_file_that_is_foreign_damaged_or_cut_off_says_which() {
        let text = serde_json::to_string(&kept()).unwrap();
        let rows = [
            (text.replace("\"version\":1", "\"version\":2"), Some("n1"), "version 2"),
            (text.clone(), Some("n2"), "another node"),
            (text.clone(), None, "another node"),
            (text[..text.len() / 2].to_owned(), Some("n1"), "cannot be read"),
            (String::new(), Some("n1"), "cannot be read"),
        ];
        for (file, node, part) in rows {
            let why = KeptGpus::parse(&file, node).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn the_key_is_of_sharing_alone() {
        let read =
            |text: &str| crate::config::read("f", text, crate::config::Strictness::Warn).unwrap().config;
        let sharing =
            "sharing: {timeSlicing: {resources: [{name: gpu, rename: s, replicas: 2, devices: 1}]}}";
        let same = key(&read(sharing), MigStrategy::None);
        let commented = format!("# a remark\nflags: {{failOnInitError: false}}\n{sharing}");
        assert_eq!(key(&read(&commented), MigStrategy::None), same);
        let quicker = sharing.replace("devices: 1", "devices: 1, interval: short");
        assert_eq!(key(&read(&quicker), MigStrategy::None), same);
        assert_ne!(key(&read(&sharing.replace("devices: 1", "devices: 2")), MigStrategy::None), same);
        assert_ne!(key(&read(sharing), MigStrategy::Mixed), same);
    }
}
