//! One line that says how far fuzzing is: a bar on a terminal, now and then a line elsewhere.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use super::campaign::Goal;

/// Characters of the bar.
const WIDTH: usize = 30;
/// How often a bar is drawn anew.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module; what it writes goes to standard error.
#[derive(Debug)]
pub struct Progress {
    how: How,
    goal: Goal,
    begun: Instant,
    drawn: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Bar,
    Lines,
    Quiet,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new(goal: Goal, quiet: bool) -> Progress {
        let how = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => How::Quiet,
            (false, true) => How::Bar,
            (false, false) => How::Lines,
        };
        let now = Instant::now();
        Progress { how, goal, begun: now, drawn: now }
    }

    /// So many stories are done.
    pub fn done(&mut self, stories: u64, failures: usize) {
        let every = match self.how {
            How::Bar => BAR_EVERY,
            How::Lines => LINE_EVERY,
            How::Quiet => return,
        };
        if self.drawn.elapsed() < every {
            return;
        }
        self.drawn = Instant::now();
        let line = line(self.goal, self.begun.elapsed(), stories, failures);
        if self.how == How::Bar {
            eprint!("\r{line}\x1b[K");
            // a terminal that cannot be written to is no reason to stop
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Something else is about to be written.
    pub fn clear(&self) {
        if self.how == How::Bar {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(goal: Goal, took: Duration, stories: u64, failures: usize) -> String {
    let seconds = took.as_secs_f64();
    let part = match goal {
        Goal::Seeds(seeds) => stories as f64 / seeds.max(1) as f64,
        Goal::Time(time) => seconds / time.as_secs_f64(),
    };
    let part = part.clamp(0.0, 1.0);
    let filled = (part * WIDTH as f64) as usize;
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled));
    let speed = stories as f64 / seconds.max(0.001);
    let percent = part * 100.0;
    let failed = match failures {
        0 => String::new(),
        count => format!(" · {count} failing"),
    };
    format!("{bar} {percent:3.0}% · {stories} stories · {speed:.0}/s{failed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_and_how_fast() {
        let half = line(Goal::Seeds(100), Duration::from_secs(10), 50, 2);
        assert!(half.contains(" 50% · 50 stories · 5/s · 2 failing"), "{half}");
        assert_eq!(half.matches('█').count(), WIDTH / 2);
        let over = line(Goal::Time(Duration::from_secs(60)), Duration::from_secs(90), 9, 0);
        assert!(over.contains("100%") && !over.contains("failing"), "{over}");
    }
}
