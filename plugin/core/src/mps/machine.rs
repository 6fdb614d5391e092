//! The life of one control daemon, as a table: where it is, what happened, what follows.
//!
//! ```text
//!            wanted                  ModeSet, for each GPU           Ready
//! (absent) ─────────► Claiming ──────────────────────► Starting ───────────────► Ready ──► ill or not, as looked
//!     ▲               │    │ ModeFailed                    │ Failed                │ Exited
//!     │     unwanted, │    ▼                               ▼                       ▼
//!     │     once read │  Waiting ◄─────────────────────────┴───────────────────────┘   (backoff, then Claiming)
//!     │               ▼                      Stopped
//!     └──────────── Restoring ◄───────────────────────────── Stopping ◄── unwanted, in Starting (once answered), Ready, Waiting
//!       ModeSet,      │    ▲ backoff                           │    ▲ backoff
//!       for each GPU  └────┘ ModeFailed                        └────┘ Stayed
//! ```
//!
//! One effect is under way at a time, and a state is left by its answer: an answer can never be taken for that of another
//! effect. Whoever is asked to end does not wait for a driver or a daemon that does not answer, and not for long for a driver
//! that refuses.

use std::time::Duration;

use super::DaemonStatus;
use crate::time::Time;

/// Where one daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The compute mode of this one of its GPUs is being read and changed; nothing runs yet.
    Claiming { at: usize },
    /// `StartDaemon` is under way.
    Starting,
    /// It serves, or runs and takes no new clients.
    Ready { ill: Option<String> },
    /// Something failed; the next try comes at this time.
    Waiting { why: String, retry_at: Time },
    /// `StopDaemon` is under way; after a failure, when it is tried again and why.
    Stopping { failed: Option<(Time, String)> },
    /// The daemon is gone, the mode of this one of its GPUs is being given back.
    Restoring { at: usize, failed: Option<(Time, String)> },
    /// All is given back, or given up.
    Gone,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Something else happened, or the time has come.
    Look,
    /// The mode of the GPU that it is at is known.
    ModeRead,
    /// The mode of the GPU that it is at is as it should be.
    ModeSet,
    /// NVML refused.
    ModeFailed(String),
    /// NVML does not answer.
    ModeStuck(String),
    /// The daemon answers and has its limits.
    Ready,
    /// It did not start.
    Failed(String),
    /// It is gone unasked.
    Exited,
    /// Whether it takes new clients.
    Looked(Option<String>),
    /// It is gone.
    Stopped,
    /// It may still run.
    Stayed(String),
}

/// What the machine asks for: one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the mode of this one of its GPUs.
    Read(usize),
    /// Change it to EXCLUSIVE_PROCESS.
    Claim(usize),
    /// Start or adopt the daemon.
    Start,
    /// Stop it.
    Stop,
    /// Give the mode of this one of its GPUs back.
    GiveBack(usize),
}

/// What the machine looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) now: Time,
    /// This daemon with these limits is wanted.
    pub(super) wanted: bool,
    /// How many GPUs it serves.
    pub(super) gpus: usize,
    /// Compute modes may be changed.
    pub(super) change_modes: bool,
    /// The process is to end.
    pub(super) ending: bool,
    /// It should have ended by now: what is refused is left to the next run.
    pub(super) late: bool,
    /// How long a failure waits for the next try.
    pub(super) delay: Duration,
}

impl State {
    /// Where a wanted daemon begins.
    pub(super) fn begin(cx: Context) -> (State, Option<Step>) {
        match cx.change_modes {
            true => (State::Claiming { at: 0 }, Some(Step::Read(0))),
            false => (State::Starting, Some(Step::Start)),
        }
    }

    /// Where the mode of a GPU is given back of which nothing else is known.
    pub(super) fn give_back(at: usize) -> (State, Option<Step>) {
        (State::Restoring { at, failed: None }, Some(Step::GiveBack(at)))
    }

    /// Where a daemon is made to quit.
    pub(super) fn stop() -> (State, Option<Step>) {
        (State::Stopping { failed: None }, Some(Step::Stop))
    }

    /// The next state and the effect that it begins with.
    pub(super) fn on(self, input: &Input, cx: Context) -> (State, Option<Step>) {
        match self {
            State::Claiming { at } => claiming(at, input, cx),
            State::Starting => match input {
                Input::Ready if cx.wanted => (State::Ready { ill: None }, None),
                Input::Failed(why) if cx.wanted => waiting(why, cx),
                Input::Ready | Input::Failed(_) => State::stop(),
                Input::Look
                | Input::ModeRead
                | Input::ModeSet
                | Input::ModeFailed(_)
                | Input::ModeStuck(_)
                | Input::Exited
                | Input::Looked(_)
                | Input::Stopped
                | Input::Stayed(_) => (State::Starting, None),
            },
            State::Ready { ill } => match input {
                Input::Look if !cx.wanted => State::stop(),
                Input::Exited => waiting("the control daemon exited", cx),
                Input::Looked(ill) => (State::Ready { ill: ill.clone() }, None),
                Input::Look
                | Input::ModeRead
                | Input::ModeSet
                | Input::ModeFailed(_)
                | Input::ModeStuck(_)
                | Input::Ready
                | Input::Failed(_)
                | Input::Stopped
                | Input::Stayed(_) => (State::Ready { ill }, None),
            },
            State::Waiting { why, retry_at } => match input {
                Input::Look if !cx.wanted => State::stop(),
                Input::Look if retry_at <= cx.now => State::begin(cx),
                Input::Look
                | Input::ModeRead
                | Input::ModeSet
                | Input::ModeFailed(_)
                | Input::ModeStuck(_)
                | Input::Ready
                | Input::Failed(_)
                | Input::Exited
                | Input::Looked(_)
                | Input::Stopped
                | Input::Stayed(_) => (State::Waiting { why, retry_at }, None),
            },
            State::Stopping { failed } => stopping(failed, input, cx),
            State::Restoring { at, failed } => restoring(at, failed, input, cx),
            State::Gone => (State::Gone, None),
        }
    }

    /// Whether it was giving the mode of a GPU back and now does something else.
    pub(super) fn leaves_gpu(&self, after: &State) -> bool {
        match (self, after) {
            (State::Restoring { at: before, .. }, State::Restoring { at, .. }) => at != before,
            (State::Restoring { .. }, _) => true,
            _ => false,
        }
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Option<Time> {
        match self {
            State::Waiting { retry_at, .. } => Some(*retry_at),
            State::Stopping { failed } | State::Restoring { failed, .. } => {
                failed.as_ref().map(|(at, _)| *at)
            }
            State::Claiming { .. } | State::Starting | State::Ready { .. } | State::Gone => None,
        }
    }

    /// As the plugin is told.
    pub(super) fn status(&self) -> DaemonStatus {
        match self {
            State::Claiming { .. } | State::Starting => DaemonStatus::Starting,
            State::Ready { ill: None } => DaemonStatus::Ready,
            State::Ready { ill: Some(why) } => DaemonStatus::Ill { why: why.clone() },
            State::Waiting { why, .. }
            | State::Stopping { failed: Some((_, why)) }
            | State::Restoring { failed: Some((_, why)), .. } => DaemonStatus::Failed { why: why.clone() },
            State::Stopping { failed: None } | State::Restoring { failed: None, .. } | State::Gone => {
                DaemonStatus::Stopping
            }
        }
    }
}

fn claiming(at: usize, input: &Input, cx: Context) -> (State, Option<Step>) {
    match input {
        Input::ModeRead | Input::ModeSet | Input::ModeFailed(_) | Input::ModeStuck(_) if !cx.wanted => {
            State::give_back(0)
        }
        Input::ModeRead => (State::Claiming { at }, Some(Step::Claim(at))),
        Input::ModeSet if at + 1 < cx.gpus => (State::Claiming { at: at + 1 }, Some(Step::Read(at + 1))),
        Input::ModeSet => (State::Starting, Some(Step::Start)),
        Input::ModeFailed(why) | Input::ModeStuck(why) => waiting(why, cx),
        Input::Look
        | Input::Ready
        | Input::Failed(_)
        | Input::Exited
        | Input::Looked(_)
        | Input::Stopped
        | Input::Stayed(_) => (State::Claiming { at }, None),
    }
}

fn waiting(why: &str, cx: Context) -> (State, Option<Step>) {
    (State::Waiting { why: why.to_owned(), retry_at: cx.now + cx.delay }, None)
}

fn stopping(failed: Option<(Time, String)>, input: &Input, cx: Context) -> (State, Option<Step>) {
    match input {
        Input::Stopped => State::give_back(0),
        Input::Stayed(_) if cx.ending => (State::Gone, None),
        Input::Stayed(why) => (State::Stopping { failed: Some((cx.now + cx.delay, why.clone())) }, None),
        Input::Look if failed.as_ref().is_some_and(|(at, _)| *at <= cx.now) => State::stop(),
        Input::Look
        | Input::ModeRead
        | Input::ModeSet
        | Input::ModeFailed(_)
        | Input::ModeStuck(_)
        | Input::Ready
        | Input::Failed(_)
        | Input::Exited
        | Input::Looked(_) => (State::Stopping { failed }, None),
    }
}

fn restoring(at: usize, failed: Option<(Time, String)>, input: &Input, cx: Context) -> (State, Option<Step>) {
    let next = || if at + 1 < cx.gpus { State::give_back(at + 1) } else { (State::Gone, None) };
    match input {
        Input::ModeSet => next(),
        Input::ModeStuck(_) if cx.ending => next(),
        Input::ModeFailed(_) if cx.late => next(),
        Input::Look if cx.late && failed.is_some() => next(),
        Input::ModeFailed(why) | Input::ModeStuck(why) => {
            (State::Restoring { at, failed: Some((cx.now + cx.delay, why.clone())) }, None)
        }
        Input::Look if failed.as_ref().is_some_and(|(due, _)| *due <= cx.now) => State::give_back(at),
        Input::Look
        | Input::ModeRead
        | Input::Ready
        | Input::Failed(_)
        | Input::Exited
        | Input::Looked(_)
        | Input::Stopped
        | Input::Stayed(_) => (State::Restoring { at, failed }, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_000);
    const DELAY: Duration = Duration::from_secs(1);

    fn cx(wanted: bool) -> Context {
        Context { now: NOW, wanted, gpus: 2, change_modes: true, ending: false, late: false, delay: DELAY }
    }

    fn why() -> String {
        "no".to_owned()
    }

    fn states() -> Vec<State> {
        vec![
            State::Claiming { at: 0 },
            State::Claiming { at: 1 },
            State::Starting,
            State::Ready { ill: None },
            State::Ready { ill: Some(why()) },
            State::Waiting { why: why(), retry_at: NOW + DELAY },
            State::Waiting { why: why(), retry_at: NOW },
            State::Stopping { failed: None },
            State::Stopping { failed: Some((NOW, why())) },
            State::Restoring { at: 0, failed: None },
            State::Restoring { at: 1, failed: None },
            State::Restoring { at: 0, failed: Some((NOW, why())) },
            State::Gone,
        ]
    }

    fn inputs() -> Vec<Input> {
        vec![
            Input::Look,
            Input::ModeRead,
            Input::ModeSet,
            Input::ModeFailed(why()),
            Input::ModeStuck(why()),
            Input::Ready,
            Input::Failed(why()),
            Input::Exited,
            Input::Looked(None),
            Input::Looked(Some(why())),
            Input::Stopped,
            Input::Stayed(why()),
        ]
    }

    /// Every arrow of the diagram: state, input, whether it is wanted, what follows.
    fn arrows() -> Vec<(State, Input, bool, State, Option<Step>)> {
        let failed = || Some((NOW + DELAY, why()));
        let waiting = |why: &str| State::Waiting { why: why.to_owned(), retry_at: NOW + DELAY };
        let restoring = |at| State::Restoring { at, failed: None };
        let stop = || (State::Stopping { failed: None }, Some(Step::Stop));
        let mut arrows = Vec::new();
        let mut arrow = |from: &State, input, wanted, (to, step): (State, Option<Step>)| {
            arrows.push((from.clone(), input, wanted, to, step));
        };
        for at in [0, 1] {
            let claiming = State::Claiming { at };
            arrow(&claiming, Input::ModeRead, true, (claiming.clone(), Some(Step::Claim(at))));
            let next = match at {
                0 => (State::Claiming { at: 1 }, Some(Step::Read(1))),
                _ => (State::Starting, Some(Step::Start)),
            };
            arrow(&claiming, Input::ModeSet, true, next);
            for input in [Input::ModeFailed(why()), Input::ModeStuck(why())] {
                arrow(&claiming, input, true, (waiting("no"), None));
            }
            for input in [Input::ModeRead, Input::ModeSet, Input::ModeFailed(why()), Input::ModeStuck(why())]
            {
                arrow(&claiming, input, false, (restoring(0), Some(Step::GiveBack(0))));
            }
        }
        arrow(&State::Starting, Input::Ready, true, (State::Ready { ill: None }, None));
        arrow(&State::Starting, Input::Failed(why()), true, (waiting("no"), None));
        arrow(&State::Starting, Input::Ready, false, stop());
        arrow(&State::Starting, Input::Failed(why()), false, stop());
        for ready in [State::Ready { ill: None }, State::Ready { ill: Some(why()) }] {
            arrow(&ready, Input::Look, false, stop());
            for wanted in [true, false] {
                arrow(&ready, Input::Exited, wanted, (waiting("the control daemon exited"), None));
                for ill in [None, Some(why())] {
                    let looked = Input::Looked(ill.clone());
                    arrow(&ready, looked, wanted, (State::Ready { ill }, None));
                }
            }
        }
        let due = State::Waiting { why: why(), retry_at: NOW };
        arrow(&due, Input::Look, true, (State::Claiming { at: 0 }, Some(Step::Read(0))));
        arrow(&due, Input::Look, false, stop());
        arrow(&waiting("no"), Input::Look, false, stop());
        for wanted in [true, false] {
            for stopping in [State::Stopping { failed: None }, State::Stopping { failed: Some((NOW, why())) }]
            {
                arrow(&stopping, Input::Stopped, wanted, (restoring(0), Some(Step::GiveBack(0))));
                let stayed = (State::Stopping { failed: failed() }, None);
                arrow(&stopping, Input::Stayed(why()), wanted, stayed);
            }
            arrow(&State::Stopping { failed: Some((NOW, why())) }, Input::Look, wanted, stop());
            let late = State::Restoring { at: 0, failed: Some((NOW, why())) };
            for (at, state) in [(0, restoring(0)), (1, restoring(1)), (0, late.clone())] {
                let next = match at {
                    0 => (restoring(1), Some(Step::GiveBack(1))),
                    _ => (State::Gone, None),
                };
                arrow(&state, Input::ModeSet, wanted, next);
                for input in [Input::ModeFailed(why()), Input::ModeStuck(why())] {
                    arrow(&state, input, wanted, (State::Restoring { at, failed: failed() }, None));
                }
            }
            arrow(&late, Input::Look, wanted, (restoring(0), Some(Step::GiveBack(0))));
        }
        arrows
    }

    #[test]
    fn the_diagram_is_the_table_and_everything_else_changes_nothing() {
        let arrows = arrows();
        for state in states() {
            for input in inputs() {
                for wanted in [true, false] {
                    let arrow =
                        arrows.iter().find(|(s, i, w, ..)| *s == state && *i == input && *w == wanted);
                    let expected = match arrow {
                        Some((.., to, step)) => (to.clone(), *step),
                        None => (state.clone(), None),
                    };
                    let found = state.clone().on(&input, cx(wanted));
                    assert_eq!(found, expected, "{state:?} {input:?} wanted: {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_process_that_is_to_end_waits_for_nobody_who_does_not_answer() {
        let ending = Context { ending: true, ..cx(false) };
        let stays = State::Stopping { failed: None }.on(&Input::Stayed(why()), ending);
        assert_eq!(stays, (State::Gone, None));
        let next = State::Restoring { at: 0, failed: None }.on(&Input::ModeStuck(why()), ending);
        assert_eq!(next, State::give_back(1));
        let last = State::Restoring { at: 1, failed: None }.on(&Input::ModeStuck(why()), ending);
        assert_eq!(last, (State::Gone, None));
    }

    #[test]
    fn a_process_that_should_have_ended_leaves_refused_modes_to_the_next_one() {
        let ending = Context { ending: true, ..cx(false) };
        let refuses = Input::ModeFailed(why());
        let (waits, step) = State::Restoring { at: 0, failed: None }.on(&refuses, ending);
        assert!(waits.due().is_some() && step.is_none(), "it is tried again: {waits:?}");
        let late = Context { late: true, ..ending };
        assert_eq!(waits.on(&Input::Look, late), State::give_back(1));
        assert_eq!(State::Restoring { at: 1, failed: None }.on(&refuses, late), (State::Gone, None));
        let under_way = State::Restoring { at: 0, failed: None };
        assert_eq!(under_way.clone().on(&Input::Look, late), (under_way, None), "its answer is awaited");
    }

    #[test]
    fn with_modes_left_alone_a_daemon_begins_with_its_start() {
        let keep = Context { change_modes: false, ..cx(true) };
        assert_eq!(State::begin(keep), (State::Starting, Some(Step::Start)));
    }
}
