//! The journals of a node's processes, kept in memory while the run lasts and written out at its end.

use plugin_core::action::Action;
use plugin_core::event::Event;
use plugin_core::journal::{Entry, VERSION};
use plugin_core::mps::{SupervisorAction, SupervisorEvent};
use plugin_core::time::Time;
use serde::Serialize;

/// Most lines of one process; a journal that would grow longer ends there and says so.
const LINES_MAX: usize = 2_000_000;

/// One line of the supervisor's journal, as production writes it.
#[derive(Serialize)]
struct MpsLine<'a, T: Serialize> {
    v: u32,
    at: Time,
    #[serde(flatten)]
    record: &'a T,
}

/// What one process heard and did.
#[derive(Debug, Default)]
pub(super) struct Journal {
    kept: bool,
    entries: Vec<Entry>,
    lines: Vec<String>,
    left_out: u64,
}

impl Journal {
    /// A journal that is kept, or one that forgets everything.
    pub(super) fn new(kept: bool) -> Journal {
        Journal { kept, ..Journal::default() }
    }

    /// The plugin's event.
    pub(super) fn event(&mut self, at: Time, event: &Event) {
        if self.has_room() {
            self.entries.push(Entry::event(at, event.clone()));
        }
    }

    /// The plugin's action.
    pub(super) fn action(&mut self, at: Time, action: &Action) {
        if self.has_room() {
            self.entries.push(Entry::action(at, action.clone()));
        }
    }

    /// The supervisor's event.
    pub(super) fn mps_event(&mut self, at: Time, event: &SupervisorEvent) {
        self.mps_line(at, event);
    }

    /// The supervisor's action.
    pub(super) fn mps_action(&mut self, at: Time, action: &SupervisorAction) {
        self.mps_line(at, action);
    }

    fn mps_line(&mut self, at: Time, record: &impl Serialize) {
        if self.has_room() {
            let line = MpsLine { v: VERSION, at, record };
            self.lines.extend(serde_json::to_string(&line).ok());
        }
    }

    fn has_room(&mut self) -> bool {
        let room = self.entries.len() + self.lines.len() < LINES_MAX;
        self.left_out += u64::from(self.kept && !room);
        self.kept && room
    }

    /// The entries of a plugin's journal.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The journal's file.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let entries = self.entries.iter().filter_map(|entry| entry.to_line().ok());
        for line in entries.chain(self.lines.iter().cloned()) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// How many lines did not fit.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}
