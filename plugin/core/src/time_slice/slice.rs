//! The interval of one GPU: what is wanted, what it has, and what is to be done about it.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::config::TimeSlice;
use crate::time::Time;

/// First and longest pause between two tries for one GPU.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long an interval counts as set: a driver that was loaded anew between two looks has forgotten it unseen.
const RENEW: Duration = Duration::from_secs(300);

/// What a GPU's role wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This.
    Interval(TimeSlice),
    /// Nothing of ours.
    Nothing,
    /// What it has; it is changing or not known.
    AsItIs,
}

/// One GPU's interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// What it should have; `None`: what it has is not the plugin's.
    pub(super) goal: Option<TimeSlice>,
    /// What it has, as far as is known.
    pub(super) has: Option<TimeSlice>,
    /// What the plugin may have set and must give back.
    pub(super) ours: Option<TimeSlice>,
    /// What is being set, and whether the driver has forgotten everything since it was asked for.
    asked: Option<(TimeSlice, bool)>,
    /// Its GPU has no such setting.
    unsupported: bool,
    /// Why the last try failed.
    pub(super) why: Option<String>,
    /// When it is tried or set again.
    pub(super) due: Option<Time>,
    backoff: Backoff,
}

impl Slice {
    pub(super) fn new(ours: Option<TimeSlice>) -> Self {
        Slice {
            goal: None,
            has: None,
            ours,
            asked: None,
            unsupported: false,
            why: None,
            due: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
        }
    }

    /// Looks at what is wanted; the answer is what is to be set now.
    pub(super) fn look(&mut self, wanted: Wanted, now: Time) -> Option<TimeSlice> {
        let goal = match wanted {
            Wanted::Interval(interval) => Some(interval),
            Wanted::Nothing => self.ours.map(|_| TimeSlice::Default),
            Wanted::AsItIs => {
                self.due = None;
                return None;
            }
        };
        if goal != self.goal {
            self.goal = goal;
            self.due = None;
            self.backoff.reset();
        }
        let interval = goal?;
        if self.asked.is_some() || self.unsupported {
            return None;
        }
        let is_set = self.has == Some(interval);
        let due = *self.due.get_or_insert(if is_set { now + RENEW } else { now });
        if due > now {
            return None;
        }
        self.due = None;
        self.asked = Some((interval, false));
        if interval != TimeSlice::Default {
            self.ours = Some(interval);
        }
        Some(interval)
    }

    /// It was set.
    pub(super) fn set(&mut self, interval: TimeSlice) {
        if let Some((_, forgotten)) = self.asked.take_if(|(asked, _)| *asked == interval) {
            self.has = (!forgotten).then_some(interval);
            if interval == TimeSlice::Default && self.has.is_some() {
                self.ours = None;
            }
            self.why = None;
            self.backoff.reset();
        }
    }

    /// It could not be set.
    pub(super) fn failed(&mut self, interval: TimeSlice, why: String, unsupported: bool, now: Time) {
        if self.asked.take_if(|(asked, _)| *asked == interval).is_none() {
            return;
        }
        // a call that was given up may have done its work
        self.has = None;
        self.why = Some(why);
        self.unsupported = unsupported;
        if unsupported {
            self.ours = None;
        } else {
            self.due = Some(now + self.backoff.next_delay());
        }
    }

    /// The driver or the GPU was away.
    pub(super) fn forget(&mut self) {
        self.has = None;
        self.unsupported = false;
        self.due = None;
        self.backoff.reset();
        if let Some((_, forgotten)) = &mut self.asked {
            *forgotten = true;
        }
    }

    /// Nothing is to be remembered of it.
    pub(super) fn is_idle(&self) -> bool {
        self.goal.is_none() && self.ours.is_none() && self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeSlice::{Default as Own, Long, Short};
    use Wanted::{AsItIs, Interval, Nothing};

    const NOW: Time = Time::from_millis(1000);

    fn slice(has: Option<TimeSlice>, ours: Option<TimeSlice>) -> Slice {
        Slice { goal: has, has, ..Slice::new(ours) }
    }

    /// What a GPU has and what may be ours, under every wish: what is set, and what is ours then.
    #[test]
    fn an_interval_is_set_when_it_differs_and_given_back_only_when_it_is_ours() {
        let rows = [
            (None, None, Interval(Short), Some(Short), Some(Short)),
            (None, None, Interval(Own), Some(Own), None),
            (None, None, Nothing, None, None),
            (None, None, AsItIs, None, None),
            (Some(Short), Some(Short), Interval(Short), None, Some(Short)),
            (Some(Short), Some(Short), Interval(Long), Some(Long), Some(Long)),
            (Some(Short), Some(Short), Interval(Own), Some(Own), Some(Short)),
            (Some(Short), Some(Short), Nothing, Some(Own), Some(Short)),
            (Some(Short), Some(Short), AsItIs, None, Some(Short)),
            (Some(Own), None, Interval(Own), None, None),
            (Some(Own), None, Nothing, None, None),
            // after a start, or a driver that was loaded anew
            (None, Some(Short), Interval(Short), Some(Short), Some(Short)),
            (None, Some(Short), Nothing, Some(Own), Some(Short)),
            (None, Some(Short), AsItIs, None, Some(Short)),
        ];
        for (has, ours, wanted, asked, ours_then) in rows {
            let mut it = slice(has, ours);
            assert_eq!(it.look(wanted, NOW), asked, "{has:?} {ours:?} {wanted:?}");
            assert_eq!(it.ours, ours_then, "{has:?} {ours:?} {wanted:?}");
            assert_eq!(it.look(wanted, NOW), None, "one at a time: {has:?} {ours:?} {wanted:?}");
        }
    }

    #[test]
    fn what_was_given_back_is_not_ours_any_more() {
        let mut it = slice(Some(Short), Some(Short));
        assert_eq!(it.look(Nothing, NOW), Some(Own));
        assert!(!it.is_idle());
        it.set(Own);
        assert_eq!((it.has, it.ours), (Some(Own), None));
        assert_eq!(it.look(Nothing, NOW), None);
        assert!(it.is_idle());
    }

    #[test]
    fn a_wish_that_changed_meanwhile_is_granted_after_the_answer() {
        let mut it = slice(None, None);
        assert_eq!(it.look(Interval(Short), NOW), Some(Short));
        assert_eq!(it.look(Interval(Long), NOW), None);
        it.set(Long);
        assert_eq!(it.asked, Some((Short, false)), "an answer to another question changes nothing");
        it.set(Short);
        assert_eq!(it.look(Interval(Long), NOW), Some(Long));
        it.failed(Long, "no".into(), false, NOW);
        assert_eq!(it.look(Nothing, NOW), Some(Own), "it may be set all the same");
    }

    #[test]
    fn a_failure_is_tried_again_ever_later_and_an_unsupported_one_never() {
        let mut it = slice(None, None);
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(it.look(Interval(Short), now), Some(Short));
            it.failed(Short, "exit status 1".into(), false, now);
            let at = now + Duration::from_secs(seconds);
            assert_eq!(it.due, Some(at));
            assert_eq!(it.look(Interval(Short), now), None);
            now = at;
        }
        assert_eq!(it.look(Interval(Long), NOW), Some(Long), "another wish does not wait");
        it.failed(Long, "not supported".into(), true, now);
        assert_eq!((it.due, it.ours), (None, None));
        assert_eq!(it.look(Interval(Long), now + RETRY.1), None);
        it.forget();
        assert_eq!(it.look(Interval(Long), now), Some(Long), "another driver may");
    }

    #[test]
    fn what_the_driver_forgot_is_set_again_also_when_it_was_being_set() {
        let mut it = slice(Some(Short), Some(Short));
        it.forget();
        assert_eq!(it.look(AsItIs, NOW), None);
        assert_eq!(it.look(Interval(Short), NOW), Some(Short));
        it.forget();
        it.set(Short);
        assert_eq!(it.has, None);
        assert_eq!(it.look(Interval(Short), NOW), Some(Short));
        it.set(Short);
        assert_eq!(it.look(Interval(Short), NOW), None);
    }

    #[test]
    fn what_is_set_is_set_again_after_a_while() {
        let mut it = slice(None, None);
        assert_eq!(it.look(Interval(Short), NOW), Some(Short));
        it.set(Short);
        assert_eq!((it.look(Interval(Short), NOW), it.due), (None, Some(NOW + RENEW)));
        assert_eq!(it.look(Interval(Short), NOW + RENEW), Some(Short));
        assert_eq!((it.has, it.due), (Some(Short), None), "it counts meanwhile");
        it.failed(Short, "gone".into(), false, NOW + RENEW);
        assert_eq!((it.has, it.due), (None, Some(NOW + RENEW + RETRY.0)));
        assert_eq!(it.look(Nothing, NOW + RENEW), Some(Own));
        it.set(Own);
        assert_eq!((it.look(Nothing, NOW + RENEW), it.due), (None, None), "what is not ours is left alone");
    }

    #[test]
    fn while_nothing_can_be_done_nothing_is_waited_for() {
        let mut it = slice(None, None);
        assert_eq!(it.look(Interval(Short), NOW), Some(Short));
        it.failed(Short, "gone".into(), false, NOW);
        assert_eq!(it.look(AsItIs, NOW + RETRY.0), None);
        assert_eq!(it.due, None);
        assert_eq!(it.look(Interval(Short), NOW + RETRY.0), Some(Short));
    }
}
