//! One line of JSON per event and action: what a run was, and all that is needed to play it again.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::action::Action;
use crate::event::Event;
use crate::plugin::Plugin;
use crate::time::Time;

/// The format's version; a reader refuses others.
pub const VERSION: u32 = 1;

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// Something happened.
    Event(Event),
    /// Something was asked for because of the events before it.
    Action(Action),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`VERSION`].
    pub v: u32,
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

impl Entry {
    /// A line for an event.
    pub fn event(at: Time, event: Event) -> Self {
        Entry { v: VERSION, at, record: Record::Event(event) }
    }

    /// A line for an action.
    pub fn action(at: Time, action: Action) -> Self {
        Entry { v: VERSION, at, record: Record::Action(action) }
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// When a value has no JSON form; none of ours does.
    pub fn to_line(&self) -> Result<String, JournalError> {
        serde_json::to_string(self).map_err(|e| JournalError::NotJson { line: 0, why: e.to_string() })
    }
}

/// Why a journal cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// A line is not an entry.
    #[error("journal line {line} is not an entry: {why}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// The parser's message.
        why: String,
    },
    /// Written by another version.
    #[error("journal line {line} has version {found}, this program reads version {VERSION}")]
    Version {
        /// Counted from 1.
        line: usize,
        /// What the line says.
        found: u32,
    },
}

/// All entries of a journal's text.
///
/// # Errors
/// The first line that is not an entry of this version.
pub fn parse(text: &str) -> Result<Vec<Entry>, JournalError> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(i, l)| {
            let entry: Entry = serde_json::from_str(l)
                .map_err(|e| JournalError::NotJson { line: i + 1, why: e.to_string() })?;
            if entry.v == VERSION {
                Ok(entry)
            } else {
                Err(JournalError::Version { line: i + 1, found: entry.v })
            }
        })
        .collect()
}

/// The first place where a replay differs from what was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Index of the entry, counted from 0.
    pub entry: usize,
    /// The action that the journal has there, if any.
    pub recorded: Option<Action>,
    /// The action that this program takes, if any.
    pub replayed: Option<Action>,
}

/// Feeds the journal's events to a new plugin and compares its actions with the recorded ones.
pub fn replay(entries: &[Entry]) -> Result<usize, Box<Difference>> {
    let mut plugin = Plugin::new();
    let mut count = 0;
    let mut pending: std::collections::VecDeque<Action> = std::collections::VecDeque::new();
    for (index, entry) in entries.iter().enumerate() {
        match &entry.record {
            Record::Event(event) => {
                if let Some(extra) = pending.pop_front() {
                    return Err(Box::new(Difference { entry: index, recorded: None, replayed: Some(extra) }));
                }
                plugin.handle(entry.at, event.clone());
                while let Some(action) = plugin.poll_action() {
                    pending.push_back(action);
                }
            }
            Record::Action(action) => {
                let replayed = pending.pop_front();
                if replayed.as_ref() != Some(action) {
                    let recorded = Some(action.clone());
                    return Err(Box::new(Difference { entry: index, recorded, replayed }));
                }
                count += 1;
            }
        }
    }
    Ok(count)
}
