//! A node's history from the plugin's journal: it is played again, so that the state between two lines is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plugin_core::action::{Action, Severity};
use plugin_core::event::{Event, Holding};
use plugin_core::time::Time;
use plugin_core::view::View;

use super::history::{History, Moment, What};
use crate::replay::feed::{Feed, FeedError, Record, ring};
use crate::replay::machine::{Machine, PluginMachine, gpu_state};

/// The most moments that are kept of one node.
const MOMENTS_MAX: usize = 100_000;

/// Reads the journal in a directory; whatever cannot be read is a gap.
pub fn history(directory: &Path) -> History {
    let mut reader = Reader::default();
    let mut feed = Feed::new(ring(directory));
    let mut skipped = 0_u64;
    if let Err(error) = reader.all(&mut feed, &mut skipped) {
        reader.history.gaps.push(format!("the journal is told up to an error only: {error}"));
    }
    let history = &mut reader.history;
    if skipped > 0 {
        history.gaps.push(format!("{skipped} entries before the first start of the plugin are left out"));
    }
    for place in feed.cut() {
        history.gaps.push(format!("{place} is unfinished and left out"));
    }
    if history.moments.len() >= MOMENTS_MAX {
        history.gaps.push(format!("only the first {MOMENTS_MAX} moments are told"));
    }
    reader.history
}

#[derive(Default)]
struct Reader {
    history: History,
    machine: Option<PluginMachine>,
    at: Time,
    states: BTreeMap<String, String>,
    listed: Vec<Holding>,
    /// (resource, id) that a pod holds or was just given.
    used: BTreeSet<(String, String)>,
}

impl Reader {
    fn all(&mut self, feed: &mut Feed, skipped: &mut u64) -> Result<(), FeedError> {
        while let Some(raw) = feed.next_entry()? {
            if raw.is_start() {
                self.machine = Some(PluginMachine::begin());
                self.history.starts += 1;
                self.states.clear();
            }
            let Some(mut machine) = self.machine.take() else {
                *skipped += 1;
                continue;
            };
            self.at = raw.at;
            match raw.record::<Event, Action>()? {
                Record::Event(event) => {
                    self.event(&event, &machine.view());
                    // actions are told as they were recorded
                    machine.handle(self.at, event);
                    while machine.next_action().is_some() {}
                    self.gpus(&machine.view());
                }
                Record::Action(action) => self.action(action),
            }
            self.machine = Some(machine);
        }
        Ok(())
    }

    fn add(&mut self, what: What) {
        if self.history.moments.len() < MOMENTS_MAX {
            let (start, at) = (self.history.starts, self.at);
            self.history.moments.push(Moment { start, at, what });
        }
    }

    fn event(&mut self, event: &Event, view: &View) {
        match event {
            Event::Started { .. } => self.add(What::Started),
            Event::Registered { resource, .. } => {
                self.add(What::Registered { resource: resource.to_string() })
            }
            Event::Allocated { resource, ids, view_generation, refused } => {
                let name = resource.to_string();
                let usage = self.usage(&name, view);
                if refused.is_none() {
                    self.used.extend(ids.iter().map(|id| (name.clone(), id.clone())));
                }
                self.add(What::Allocated {
                    resource: name,
                    ids: ids.clone(),
                    view: *view_generation,
                    refused: refused.clone(),
                    usage,
                });
            }
            Event::HoldersRead { holdings, .. } => self.holders(holdings),
            _ => {}
        }
    }

    fn usage(&self, resource: &str, view: &View) -> BTreeMap<String, (usize, usize)> {
        let served = view.resources.iter().find(|(name, _)| name.as_str() == resource);
        let mut usage: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for device in served.into_iter().flat_map(|(_, served)| served.devices.values()) {
            let (used, all) = usage.entry(device.gpu.to_string()).or_default();
            *all += 1;
            *used += usize::from(self.used.contains(&(resource.to_owned(), device.id.clone())));
        }
        usage
    }

    fn holders(&mut self, holdings: &[Holding]) {
        let before = std::mem::replace(&mut self.listed, holdings.to_vec());
        for holding in before.iter().filter(|old| !holdings.contains(old)) {
            for id in &holding.ids {
                self.used.remove(&(holding.resource.clone(), id.clone()));
            }
            self.add(What::Released { holding: holding.clone() });
        }
        for holding in holdings {
            let ids = holding.ids.iter().map(|id| (holding.resource.clone(), id.clone()));
            self.used.extend(ids);
            if !before.contains(holding) {
                self.add(What::Listed { holding: holding.clone() });
            }
        }
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::Exit { why, .. } => self.add(What::Ended { why }),
            // states of GPUs are told by the replay
            Action::Announce { reason, .. } if reason.starts_with("Gpu") => {}
            Action::Announce { severity, message, .. } => {
                self.add(What::Said { warning: severity == Severity::Warning, message })
            }
            _ => {}
        }
    }

    fn gpus(&mut self, view: &View) {
        let mut now = BTreeMap::new();
        for gpu in &view.status.gpus {
            self.history.gpus.insert(gpu.uuid.to_string(), gpu.index);
            now.insert(gpu.uuid.to_string(), gpu_state(gpu));
        }
        let before = std::mem::take(&mut self.states);
        for uuid in before.keys().filter(|uuid| !now.contains_key(*uuid)) {
            let state = "gone".to_owned();
            self.add(What::Gpu { uuid: uuid.clone(), state });
        }
        for (uuid, state) in now.iter().filter(|(uuid, state)| before.get(*uuid) != Some(*state)) {
            self.add(What::Gpu { uuid: uuid.clone(), state: state.clone() });
        }
        self.states = now;
    }
}
