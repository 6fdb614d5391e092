//! `tandem-sim replay`: does this program still decide as the journal says? A journal is a run of the plugin or of its MPS
//! supervisor, in the laboratory or on a real node.
//!
//! | module | what it holds |
//! |---|---|
//! | [`feed`] | lines of a journal, one at a time, every mistake with its place |
//! | [`machine`] | plugin and MPS supervisor behind one interface |
//! | [`compare`] | recorded against replayed |
//! | [`fields`], [`tell`] | what differs in an action; events and actions for people |

pub mod compare;
pub mod feed;
pub mod fields;
pub mod machine;
pub mod tell;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use plugin_core::mps::Supervisor;

use crate::cli::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_PASSED};
use compare::{ReplayError, Replayed, compare};
use feed::{Feed, ring};
use machine::{Machine, PluginMachine};

/// What to replay.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A journal, `journal.jsonl` or `mps.jsonl`, or the directory with `journal.jsonl`. The older file of its ring,
    /// `<name>.1.jsonl` beside it, is read first.
    #[arg(value_name = "JOURNAL")]
    pub journal: PathBuf,
    /// Do not read the older file of the ring.
    #[arg(long)]
    pub alone: bool,
    /// Tell every event, action and change.
    #[arg(long, short)]
    pub verbose: bool,
}

/// What a journal came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was replayed, until its end or the first difference.
    Compared {
        /// Whose journal it is.
        decider: &'static str,
        /// What was replayed.
        replayed: Replayed,
        /// Entries before the first start, which the ring has cut off from their beginning.
        skipped: u64,
        /// Unfinished last lines.
        cut: Vec<String>,
    },
    /// It holds entries and no start.
    NoStart {
        /// How many entries.
        entries: u64,
    },
    /// It holds no entry.
    Empty,
}

/// Runs the subcommand; returns the exit code: 0 the same, 1 it differs, 2 unreadable.
pub fn replay_command(args: &ReplayArgs) -> u8 {
    let mut out = BufWriter::new(io::stdout().lock());
    let verdict = {
        let narrate: Option<&mut dyn Write> = if args.verbose { Some(&mut out) } else { None };
        replay(args, narrate)
    };
    let (text, code) = match &verdict {
        Ok(verdict) => told(args, verdict),
        // whoever reads has seen enough
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return EXIT_PASSED,
        Err(error) => {
            let _closed = out.flush();
            eprintln!("tandem-sim: {error}");
            return EXIT_BAD_INPUT;
        }
    };
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    code
}

/// Replays a journal; every event, action and change is written to `narrate`.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(args: &ReplayArgs, narrate: Option<&mut dyn Write>) -> Result<Verdict, ReplayError> {
    let mut files = ring(&args.journal);
    if args.alone {
        files.drain(..files.len().saturating_sub(1));
    }
    let mut feed = Feed::new(files);
    let mut skipped = 0;
    let first = loop {
        match feed.next_entry()? {
            Some(raw) if raw.is_start() => break raw,
            Some(_) => skipped += 1,
            None if skipped == 0 => return Ok(Verdict::Empty),
            None => return Ok(Verdict::NoStart { entries: skipped }),
        }
    };
    let (decider, replayed) = if first.has("originals") {
        let replayed = compare::<Supervisor>(first, skipped, &mut feed, narrate)?;
        (<Supervisor as Machine>::NAME, replayed)
    } else {
        let replayed = compare::<PluginMachine>(first, skipped, &mut feed, narrate)?;
        (PluginMachine::NAME, replayed)
    };
    let cut = feed.cut().to_vec();
    Ok(Verdict::Compared { decider, replayed, skipped, cut })
}

fn told(args: &ReplayArgs, verdict: &Verdict) -> (String, u8) {
    let journal = args.journal.display();
    match verdict {
        Verdict::Empty => (format!("{journal}: no entries\n"), EXIT_BAD_INPUT),
        Verdict::NoStart { entries } => (
            format!(
                "{journal}: {entries} entries and no `started` event: the ring of two files has overwritten the \
                 beginning of this run, and without it the state is not known (hint: copy both files, and before they \
                 turn; or restart the plugin and record again)\n"
            ),
            EXIT_BAD_INPUT,
        ),
        Verdict::Compared { decider, replayed, skipped, cut } => {
            let mut text = String::new();
            if *skipped > 0 {
                text.push_str(&format!(
                    "skipped {skipped} entries of a run whose beginning the ring has overwritten\n"
                ));
            }
            for place in cut {
                text.push_str(&format!("{place}: left out, unfinished: the process ended while it wrote\n"));
            }
            text.push_str(&summary(decider, replayed));
            let code = if replayed.difference.is_some() { EXIT_FAILED } else { EXIT_PASSED };
            (text, code)
        }
    }
}

fn summary(decider: &str, replayed: &Replayed) -> String {
    let counts = format!("{} events, {} actions", replayed.events, replayed.actions);
    let starts = match replayed.starts {
        1 => format!("one run of the {decider}"),
        many => format!("{many} runs of the {decider}"),
    };
    let Some(difference) = &replayed.difference else {
        return format!("the same: {starts}, {counts}\n");
    };
    let mut text = format!(
        "{}: differs at entry {}, {} (after {counts} that are the same)\n  after     {}\n  recorded  {}\n  replayed  {}\n",
        difference.place,
        difference.entry,
        difference.at,
        difference.after,
        difference.recorded,
        difference.replayed
    );
    for field in &difference.fields {
        text.push_str(&format!("    - {field}\n"));
    }
    text
}

#[cfg(test)]
pub(crate) mod recorded_node;
#[cfg(test)]
mod tests;
