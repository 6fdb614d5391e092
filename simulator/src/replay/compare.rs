//! Recorded against replayed, entry by entry, because the first action that differs is where a decision changed.

use std::collections::VecDeque;
use std::io::{self, Write};

use plugin_core::time::Time;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::feed::{Feed, FeedError, Raw, Record};
use super::fields::differing;
use super::machine::Machine;

/// The most characters of an action that is shown whole.
const ACTION_WIDTH: usize = 400;

/// Why a replay came to no verdict.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// An entry is older than the one before it, and nothing started in between.
    #[error(
        "{place}: the time goes back from {before} to {at} although nothing was started here (hint: give the files of \
         one process, oldest first, none missing)"
    )]
    TimeGoesBack {
        /// `file:line`.
        place: String,
        /// Of the entry before.
        before: Time,
        /// Of this one.
        at: Time,
    },
    /// The narration cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// What was replayed until the end or the first difference.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Processes: each begins with a `started` event.
    pub starts: u64,
    /// Events fed.
    pub events: u64,
    /// Actions that were the same.
    pub actions: u64,
    /// Where it differs first.
    pub difference: Option<Difference>,
}

/// The first place where this program decides otherwise.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// `file:line` of the entry; of the last one when the journal ends too early.
    pub place: String,
    /// The entry's number over all files, from 1.
    pub entry: u64,
    /// Its time on the clock of the process.
    pub at: Time,
    /// The event before it, in one line.
    pub after: String,
    /// What the journal says.
    pub recorded: String,
    /// What this program does.
    pub replayed: String,
    /// The fields that differ, when both are the same kind of action.
    pub fields: Vec<String>,
}

/// Compares a journal with what `M` decides now, from its entry `first` on, which is a start.
///
/// # Errors
/// See [`ReplayError`]. A difference is no error.
pub fn compare<M: Machine>(
    first: Raw,
    skipped: u64,
    feed: &mut Feed,
    narrate: Option<&mut dyn Write>,
) -> Result<Replayed, ReplayError> {
    let mut comparison = Comparison::<M> {
        machine: M::begin(),
        pending: VecDeque::new(),
        done: Replayed::default(),
        entry: skipped,
        at: first.at,
        place: String::new(),
        after: String::new(),
        narrate,
    };
    let mut next = Some(first);
    while let Some(raw) = next {
        comparison.entry(raw)?;
        if comparison.done.difference.is_some() {
            return Ok(comparison.done);
        }
        next = feed.next_entry()?;
    }
    // a process that was killed while it wrote leaves out the last actions too
    if feed.cut().is_empty() {
        comparison.expect_nothing("the journal ends here");
    }
    Ok(comparison.done)
}

struct Comparison<'a, M: Machine> {
    machine: M,
    /// Replayed actions that the journal has not confirmed yet: those of one event.
    pending: VecDeque<M::Action>,
    done: Replayed,
    entry: u64,
    at: Time,
    place: String,
    after: String,
    narrate: Option<&'a mut dyn Write>,
}

impl<M: Machine> Comparison<'_, M> {
    fn entry(&mut self, raw: Raw) -> Result<(), ReplayError> {
        let starts = raw.is_start();
        if raw.at < self.at && !starts {
            return Err(ReplayError::TimeGoesBack { place: raw.place(), before: self.at, at: raw.at });
        }
        let (at, place) = (raw.at, raw.place());
        let record = raw.record::<M::Event, M::Action>()?;
        if matches!(record, Record::Event(_)) {
            self.expect_nothing("the journal goes on with the next event");
            if self.done.difference.is_some() {
                return Ok(());
            }
        }
        (self.entry, self.at, self.place) = (self.entry + 1, at, place);
        match record {
            Record::Event(event) => self.event(event, starts)?,
            Record::Action(action) => self.action(&action)?,
        }
        Ok(())
    }

    fn event(&mut self, event: M::Event, starts: bool) -> io::Result<()> {
        if starts {
            self.machine = M::begin();
            self.done.starts += 1;
        }
        self.after = format!("entry {}, {}", self.entry, M::tell_event(&event));
        self.say("event ", &M::tell_event(&event), self.at)?;
        self.done.events += 1;
        if let Some(other) = self.machine.handle(self.at, event) {
            self.differs(other.recorded, other.replayed, Vec::new());
        }
        while let Some(action) = self.machine.next_action() {
            self.pending.push_back(action);
        }
        for change in self.machine.changes() {
            self.say("·     ", &change, self.at)?;
        }
        Ok(())
    }

    fn action(&mut self, recorded: &M::Action) -> io::Result<()> {
        let replayed = self.pending.pop_front();
        if replayed.as_ref() == Some(recorded) {
            self.done.actions += 1;
            return self.say("action", &M::tell_action(recorded), self.at);
        }
        let fields = replayed.as_ref().map(|replayed| fields(recorded, replayed));
        let replayed = replayed.map_or("no action".to_owned(), |replayed| shown(&replayed));
        self.differs(shown(recorded), replayed, fields.unwrap_or_default());
        Ok(())
    }

    /// The replay must not owe an action now.
    fn expect_nothing(&mut self, recorded: &str) {
        if let Some(action) = self.pending.pop_front() {
            self.differs(recorded.to_owned(), shown(&action), Vec::new());
        }
    }

    fn differs(&mut self, recorded: String, replayed: String, fields: Vec<String>) {
        self.done.difference = Some(Difference {
            place: self.place.clone(),
            entry: self.entry,
            at: self.at,
            after: self.after.clone(),
            recorded,
            replayed,
            fields,
        });
    }

    fn say(&mut self, mark: &str, text: &str, at: Time) -> io::Result<()> {
        match self.narrate.as_mut() {
            Some(out) => writeln!(out, "{:>12}  {mark}  {text}", at.to_string()),
            None => Ok(()),
        }
    }
}

fn fields<A: Serialize>(recorded: &A, replayed: &A) -> Vec<String> {
    let (a, b) = (value(recorded), value(replayed));
    if a.get("action") == b.get("action") { differing(&a, &b) } else { Vec::new() }
}

fn value(action: &impl Serialize) -> Value {
    serde_json::to_value(action).unwrap_or_default()
}

fn shown(action: &impl Serialize) -> String {
    let text = value(action).to_string();
    match text.char_indices().nth(ACTION_WIDTH) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}
