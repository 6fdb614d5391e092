//! The live view of a run, because a scenario is watched by a person: a line per step, progress while waiting,
//! the table and the verdict.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{Outcome, RunReport, StepReport, seconds, table};
use crate::expect::Mismatch;
use crate::play::Observer;
use crate::run::RunOptions;
use crate::scenario::{Scenario, StageName};

/// How often progress is written while waiting on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often progress is written to a file or pipe.
const PROGRESS_EVERY_PLAIN: Duration = Duration::from_secs(2);
/// The width a progress line is cut to.
const LINE_WIDTH: usize = 118;

/// Where the live view goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error, because standard output carries a report.
    Stderr,
    /// Nowhere.
    Quiet,
}

/// Writes the live view.
#[derive(Debug)]
pub struct Terminal {
    channel: Channel,
    rewrites: bool,
    last_progress: Option<Instant>,
    current: String,
}

impl Terminal {
    /// A view on a channel; lines are rewritten only where a person sits.
    pub fn new(channel: Channel) -> Self {
        let rewrites = match channel {
            Channel::Stdout => std::io::stdout().is_terminal(),
            Channel::Stderr => std::io::stderr().is_terminal(),
            Channel::Quiet => false,
        };
        Terminal { channel, rewrites, last_progress: None, current: String::new() }
    }

    /// Writes a line.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(&self, text: &str) {
        // A closed pipe ends the view, never the run.
        let _closed = match self.channel {
            Channel::Stdout => {
                std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush())
            }
            Channel::Stderr => std::io::stderr().write_all(text.as_bytes()),
            Channel::Quiet => Ok(()),
        };
    }

    /// The head of a run.
    pub fn head(&self, scenario: &Scenario, stage: StageName, options: &RunOptions) {
        self.line(&format!("{} · {stage} stage · seed {}", scenario.title(), options.seed));
        for line in scenario.story.lines() {
            self.line(&format!("  {line}"));
        }
        let scaled = scenario.scaled();
        if !scaled.is_empty() {
            self.line(&format!("  timers scaled: {}", scaled.join(", ")));
        }
        self.line("");
    }

    /// Every step of a run that was not told while it played.
    pub fn steps(&self, report: &RunReport) {
        for step in &report.steps {
            self.step(step, "");
        }
    }

    /// The end of a run: table, leaks, logs when it failed, where the journal is, verdict.
    pub fn tail(&self, report: &RunReport) {
        self.line("");
        self.write(&table::render(&report.world));
        for leak in &report.leaks {
            self.line(&format!("✗ left behind: {leak}"));
        }
        if !report.passed() && !report.interrupted {
            for (name, log) in &report.logs {
                self.line(&format!("\n--- end of the log of {name}"));
                self.line(log.trim_end());
            }
        }
        self.line("");
        if !report.timers_scaled.is_empty() {
            self.line(&format!("timers scaled: {}", report.timers_scaled.join(", ")));
        }
        if !report.run_dir.as_os_str().is_empty() {
            self.line(&format!("journal, logs, report: {}", report.run_dir.display()));
        }
        let (mark, verdict) = match (report.passed(), report.interrupted) {
            (true, _) => ("✓", "passed"),
            (false, true) => ("✗", "interrupted"),
            (false, false) => ("✗", "FAILED"),
        };
        let done = report.steps.iter().filter(|step| step.outcome == Outcome::Passed).count();
        let in_part = report.steps.iter().filter(|step| matches!(step.outcome, Outcome::PassedInPart { .. }));
        let in_part = match in_part.count() {
            0 => String::new(),
            count => format!(", {count} in part"),
        };
        self.line(&format!(
            "{mark} {} {verdict}: {done} of {} steps{in_part} in {}",
            report.scenario,
            report.steps.len(),
            seconds(report.took)
        ));
    }
}

impl Observer for Terminal {
    fn begins(&mut self, index: usize, text: &str) {
        self.current = format!("{:>2}  {text}", index + 1);
        self.last_progress = None;
        if self.rewrites {
            self.write(&format!("\r\x1b[K  … {}", cut(&self.current)));
        }
    }

    fn waits(&mut self, waited: Duration, within: Duration, missing: &[Mismatch]) {
        let every = if self.rewrites { PROGRESS_EVERY } else { PROGRESS_EVERY_PLAIN };
        let last = *self.last_progress.get_or_insert_with(Instant::now);
        if last.elapsed() < every {
            return;
        }
        self.last_progress = Some(Instant::now());
        let first = missing.first().map(|mismatch| mismatch.path.as_str()).unwrap_or_default();
        let text = format!(
            "{:>2} not yet true after {} of {}: {first}",
            missing.len(),
            seconds(waited),
            seconds(within)
        );
        if self.rewrites {
            self.write(&format!("\r\x1b[K  … {}", cut(&text)));
        } else {
            self.line(&format!("  … {text}"));
        }
    }

    fn ends(&mut self, report: &StepReport) {
        let start = if self.rewrites { "\r\x1b[K" } else { "" };
        self.step(report, start);
    }
}

impl Terminal {
    fn step(&self, report: &StepReport, start: &str) {
        let mark = match report.outcome {
            Outcome::Passed => "✓",
            Outcome::PassedInPart { .. } => "≈",
            Outcome::Skipped { .. } | Outcome::NotReached => "-",
            _ => "✗",
        };
        let word = match report.outcome {
            Outcome::Passed => String::new(),
            _ => format!("  {}", report.outcome.word()),
        };
        self.line(&format!(
            "{start}  {mark} {:>2}  {}  ({}){word}",
            report.index + 1,
            report.text,
            seconds(report.took)
        ));
        for line in report.outcome.details().iter().flat_map(|details| details.lines()) {
            self.line(&format!("        {line}"));
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LINE_WIDTH).collect()
}
