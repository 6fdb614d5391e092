//! No new pods while ids are withdrawn: the machine that makes a change of roles cost no pod its life.
//!
//! A refused Allocate ends a pod for good, and so does an id that a pod was bound for and that is unhealthy when the kubelet
//! comes to it. So before a healthy id is withdrawn for a role, the node is tainted, the pods that are bound to it already are
//! waited for until the kubelet has admitted them, and the taint stays until the Node's figures, which lag behind by up to
//! 10 s, do not promise the ids any more.
//!
//! | state | what is true | left when |
//! |---|---|---|
//! | *Open* | pods are bound as ever; nothing is withdrawn | ids are to be withdrawn → *Tainting* |
//! | *Tainting* | the taint is being written | the Node has it → *Admitting*; the wait is over → *Closed* |
//! | *Admitting* | pods that were bound before it are waited for | a list that a scheduler's last bind cannot escape shows all admitted, or the wait is over → *Closed* |
//! | *Closed* | nobody is on the way: ids are withdrawn | nothing is left to withdraw → *Following* |
//! | *Following* | the Node's figures still promise what was withdrawn | they do not any more, or the wait is over → *Open*; more is to be withdrawn → *Closed* |
//!
//! While the API server is away no kubelet can write figures either: that wait begins when it tells of the Node again.
//!
//! In *Tainting* and *Admitting* the wish may be taken back: → *Following*.
//!
//! Ids are withdrawn in *Closed* alone. A process that finds the taint on its Node begins in *Following*; pods may have been
//! bound before that taint, so its way to *Closed* leads through *Admitting*. Without an API server to ask (no node name)
//! nothing of this is possible: ids are withdrawn at once, and that is said.

use std::time::Duration;

use crate::time::Time;

/// Where the machine is. See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindStop {
    /// Pods are bound as ever; nothing may be withdrawn.
    #[default]
    Open,
    /// The Node should get the taint.
    Tainting {
        /// Since when.
        since: Time,
    },
    /// The Node has the taint; pods that are bound already are waited for.
    Admitting {
        /// Since when ids are to be withdrawn.
        since: Time,
        /// Since when the Node has the taint.
        tainted: Time,
    },
    /// Nobody is on the way to this node: ids may be withdrawn.
    Closed,
    /// Ids were withdrawn, or need not be any more: the Node's figures have to follow before pods may be bound again.
    Following {
        /// Since when.
        since: Time,
        /// Pods that were bound before the taint have been waited for.
        waited: bool,
    },
}

/// Everything that the machine looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binds {
    /// The present time.
    pub now: Time,
    /// Healthy ids are to be withdrawn.
    pub wanted: bool,
    /// The Node has the taint.
    pub tainted: bool,
    /// All pods that were bound when this list of them was asked for are admitted; `None` while one is not or nobody has
    /// told.
    pub admitted: Option<Time>,
    /// The Node promises no more devices than there are.
    pub figures_follow: bool,
    /// Since when the API server tells of the Node; `None` while it does not.
    pub told: Option<Time>,
}

/// The named times of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindTimes {
    /// For how long a scheduler may bind by what it knew before the taint.
    pub settle: Duration,
    /// How long pods that are bound already are waited for.
    pub wait: Duration,
    /// How long the Node's figures are waited for.
    pub figures: Duration,
}

impl BindStop {
    /// The state after looking once; the caller repeats until it stays.
    #[must_use]
    pub fn next(self, s: &Binds, times: &BindTimes) -> BindStop {
        let is_over = |since: Time, wait: Duration| s.now >= since + wait;
        let following = |waited| BindStop::Following { since: s.now, waited };
        match self {
            BindStop::Open if s.wanted => BindStop::Tainting { since: s.now },
            BindStop::Open => BindStop::Open,
            BindStop::Tainting { .. } | BindStop::Admitting { .. } if !s.wanted => following(false),
            BindStop::Tainting { since } if is_over(since, times.wait) => BindStop::Closed,
            BindStop::Tainting { since } if s.tainted => BindStop::Admitting { since, tainted: s.now },
            BindStop::Tainting { since } => BindStop::Tainting { since },
            BindStop::Admitting { since, .. } if is_over(since, times.wait) => BindStop::Closed,
            BindStop::Admitting { tainted, .. }
                if s.admitted.is_some_and(|asked| asked >= tainted + times.settle) =>
            {
                BindStop::Closed
            }
            BindStop::Admitting { since, tainted } => BindStop::Admitting { since, tainted },
            BindStop::Closed if s.wanted => BindStop::Closed,
            BindStop::Closed => following(true),
            BindStop::Following { waited: true, .. } if s.wanted && s.tainted => BindStop::Closed,
            BindStop::Following { .. } if s.wanted => BindStop::Tainting { since: s.now },
            BindStop::Following { since, .. }
                if s.told.is_some_and(|told| is_over(since.max(told), times.figures)) =>
            {
                BindStop::Open
            }
            BindStop::Following { since, .. } if s.figures_follow && is_over(since, times.settle) => {
                BindStop::Open
            }
            BindStop::Following { since, waited } => BindStop::Following { since, waited },
        }
    }

    /// Whether the Node should have the taint.
    pub fn wants_taint(self) -> bool {
        self != BindStop::Open
    }

    /// Whether ids may be withdrawn.
    pub fn is_closed(self) -> bool {
        self == BindStop::Closed
    }

    /// When time alone moves it on; `told` as in [`Binds`].
    pub fn due(self, now: Time, told: Option<Time>, times: &BindTimes) -> Option<Time> {
        let (one, other) = match self {
            BindStop::Open | BindStop::Closed => return None,
            BindStop::Tainting { since } => (Some(since + times.wait), None),
            BindStop::Admitting { since, tainted } => {
                (Some(since + times.wait), Some(tainted + times.settle))
            }
            BindStop::Following { since, .. } => {
                (told.map(|told| since.max(told) + times.figures), Some(since + times.settle))
            }
        };
        [one, other].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// `open`, `tainting`, `admitting`, `closed` or `following`.
    pub fn tag(self) -> &'static str {
        match self {
            BindStop::Open => "open",
            BindStop::Tainting { .. } => "tainting",
            BindStop::Admitting { .. } => "admitting",
            BindStop::Closed => "closed",
            BindStop::Following { .. } => "following",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: BindTimes = BindTimes {
        settle: Duration::from_secs(1),
        wait: Duration::from_secs(30),
        figures: Duration::from_secs(60),
    };

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1_000)
    }

    fn tag(state: BindStop, s: &Binds) -> &'static str {
        state.next(s, &TIMES).tag()
    }

    /// Every state under every combination of what the machine looks at.
    #[test]
    fn the_table_is_the_machine() {
        let since = at(100);
        let states = [
            BindStop::Open,
            BindStop::Tainting { since },
            BindStop::Admitting { since, tainted: at(102) },
            BindStop::Closed,
            BindStop::Following { since, waited: true },
            BindStop::Following { since, waited: false },
        ];
        for now in [at(102), at(103), at(129), at(130), at(160)] {
            for (wanted, tainted, figures_follow) in
                (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0))
            {
                for (admitted, told) in [None, Some(at(102)), Some(at(103))]
                    .into_iter()
                    .flat_map(|admitted| [None, Some(at(90)), Some(at(101))].map(|told| (admitted, told)))
                {
                    let s = Binds { now, wanted, tainted, admitted, figures_follow, told };
                    let waits_no_more = now >= at(130);
                    // the wait for the figures begins anew when the Node is read again
                    let follow = figures_follow || (now >= at(160) && told == Some(at(90)));
                    let expected = [
                        if wanted { "tainting" } else { "open" },
                        match (wanted, waits_no_more, tainted) {
                            (false, _, _) => "following",
                            (true, true, _) => "closed",
                            (true, false, true) => "admitting",
                            (true, false, false) => "tainting",
                        },
                        match (wanted, waits_no_more || admitted == Some(at(103))) {
                            (false, _) => "following",
                            (true, true) => "closed",
                            (true, false) => "admitting",
                        },
                        if wanted { "closed" } else { "following" },
                        match (wanted, tainted, follow) {
                            (true, true, _) => "closed",
                            (true, false, _) => "tainting",
                            (false, _, true) => "open",
                            (false, _, false) => "following",
                        },
                        match (wanted, follow) {
                            (true, _) => "tainting",
                            (false, true) => "open",
                            (false, false) => "following",
                        },
                    ];
                    for (state, expected) in states.iter().zip(expected) {
                        assert_eq!(tag(*state, &s), expected, "{state:?} {s:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_taint_is_wanted_from_the_wish_to_the_figures_and_time_moves_every_wait() {
        let states = [
            (BindStop::Open, false, None),
            (BindStop::Tainting { since: at(1) }, true, Some(at(31))),
            (BindStop::Admitting { since: at(1), tainted: at(3) }, true, Some(at(4))),
            (BindStop::Closed, true, None),
            (BindStop::Following { since: at(1), waited: true }, true, Some(at(2))),
        ];
        for (state, taint, due) in states {
            assert_eq!(
                (state.wants_taint(), state.due(at(1), Some(at(1)), &TIMES)),
                (taint, due),
                "{state:?}"
            );
        }
        let late = BindStop::Following { since: at(1), waited: true };
        assert_eq!(late.due(at(2), Some(at(1)), &TIMES), Some(at(61)), "what has come does not come again");
        assert_eq!(late.due(at(2), Some(at(5)), &TIMES), Some(at(65)), "the Node was away until then");
        assert_eq!(late.due(at(2), None, &TIMES), None, "nothing follows while the Node is away");
    }
}
