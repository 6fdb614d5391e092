//! How long the pods of a time-sliced GPU keep it at a time, where the configuration says so: set when the role begins, given
//! back when it ends, and told anew whenever the driver has forgotten it.
//!
//! | the GPU | wanted |
//! |---|---|
//! | plays a time-sliced role with an `interval` | that one |
//! | plays another role or none, or is between two | the driver's own, if the plugin has set another one; otherwise nothing |
//! | drains, or who holds it is not known yet | as it is |
//!
//! The driver forgets it when it is loaded anew, so what was set counts only until the GPU or the driver was away, and for
//! [`RENEW`] at most. What the
//! plugin may have set is kept in `gpus.json` *before* it is set: one that is killed meanwhile gives it back in its next life.
//! A GPU serves whether it could be set or not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::config::TimeSlice;
use crate::inventory::{Facts, GpuUuid};
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::time::Time;
use crate::view::Strategy;

/// First and longest pause between two tries for one GPU.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long an interval counts as set: a driver that was loaded anew between two looks has forgotten it unseen.
const RENEW: Duration = Duration::from_secs(300);
/// Most GPUs of which an interval is kept.
const KEPT_MAX: usize = 256;

/// What the plugin may have set, by GPU.
pub(crate) type KeptSlices = BTreeMap<GpuUuid, TimeSlice>;

/// What a GPU's role wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// This.
    Interval(TimeSlice),
    /// Nothing of ours.
    Nothing,
    /// What it has; it is changing or not known.
    AsItIs,
}

/// One GPU's interval.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    /// What it should have; `None`: what it has is not the plugin's.
    goal: Option<TimeSlice>,
    /// What it has, as far as is known.
    has: Option<TimeSlice>,
    /// What the plugin may have set and must give back.
    ours: Option<TimeSlice>,
    /// What is being set, and whether the driver has forgotten everything since it was asked for.
    asked: Option<(TimeSlice, bool)>,
    /// Its GPU has no such setting.
    unsupported: bool,
    /// Why the last try failed.
    failed: Option<String>,
    /// When it is tried or set again.
    due: Option<Time>,
    backoff: Backoff,
}

impl Slice {
    fn new(ours: Option<TimeSlice>) -> Self {
        Slice {
            goal: None,
            has: None,
            ours,
            asked: None,
            unsupported: false,
            failed: None,
            due: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
        }
    }

    /// Looks at what is wanted; the answer is what is to be set now.
    fn look(&mut self, wanted: Wanted, now: Time) -> Option<TimeSlice> {
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
    fn set(&mut self, interval: TimeSlice) {
        if let Some((_, forgotten)) = self.asked.take_if(|(asked, _)| *asked == interval) {
            self.has = (!forgotten).then_some(interval);
            if interval == TimeSlice::Default && self.has.is_some() {
                self.ours = None;
            }
            self.failed = None;
            self.backoff.reset();
        }
    }

    /// It could not be set.
    fn failed(&mut self, interval: TimeSlice, why: String, unsupported: bool, now: Time) {
        if self.asked.take_if(|(asked, _)| *asked == interval).is_none() {
            return;
        }
        // a call that was given up may have done its work
        self.has = None;
        self.failed = Some(why);
        self.unsupported = unsupported;
        if unsupported {
            self.ours = None;
        } else {
            self.due = Some(now + self.backoff.next_delay());
        }
    }

    /// The driver or the GPU was away.
    fn forget(&mut self) {
        self.has = None;
        self.unsupported = false;
        self.due = None;
        self.backoff.reset();
        if let Some((_, forgotten)) = &mut self.asked {
            *forgotten = true;
        }
    }

    /// Nothing is to be remembered of it.
    fn is_idle(&self) -> bool {
        self.goal.is_none() && self.ours.is_none() && self.asked.is_none()
    }
}

/// Every GPU that has an interval of ours, or had one.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeSlices(BTreeMap<GpuUuid, Slice>);

/// A GPU's interval was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceSet {
    /// The GPU.
    pub gpu: GpuUuid,
    /// Its interval.
    pub interval: TimeSlice,
}

/// A GPU's interval could not be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceFailure {
    /// The GPU.
    pub gpu: GpuUuid,
    /// What it should have had.
    pub interval: TimeSlice,
    /// The reason.
    pub why: String,
    /// The GPU has no such setting.
    pub unsupported: bool,
}

/// The interval of one GPU, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSliceStatus {
    /// What it should be.
    pub wanted: TimeSlice,
    /// What it is, as far as the plugin knows.
    pub set: Option<TimeSlice>,
    /// Why it could not be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl TimeSlices {
    /// What an earlier run may have set.
    pub(crate) fn of_earlier_run(kept: &KeptSlices) -> Self {
        TimeSlices(kept.iter().map(|(gpu, ours)| (gpu.clone(), Slice::new(Some(*ours)))).collect())
    }

    /// What the plugin may have set.
    pub(crate) fn kept(&self) -> KeptSlices {
        let ours = self.0.iter().filter_map(|(gpu, slice)| Some((gpu.clone(), slice.ours?)));
        ours.take(KEPT_MAX).collect()
    }

    /// The driver was away, or these GPUs were.
    pub(crate) fn forget(&mut self, is_concerned: impl Fn(&GpuUuid) -> bool) {
        self.0.iter_mut().filter(|(gpu, _)| is_concerned(gpu)).for_each(|(_, slice)| slice.forget());
    }

    /// When something is tried or set again.
    pub(crate) fn due(&self) -> Option<Time> {
        self.0.values().filter_map(|slice| slice.due).min()
    }

    /// What is known of a GPU, where there is anything to say.
    pub(crate) fn status(&self, gpu: &GpuUuid) -> Option<TimeSliceStatus> {
        let slice = self.0.get(gpu)?;
        let why = slice.failed.clone().filter(|_| slice.has != slice.goal);
        Some(TimeSliceStatus { wanted: slice.goal?, set: slice.has, why })
    }
}

impl Plugin {
    /// Sets the intervals that are not as wanted.
    pub(crate) fn keep_time_slices(&mut self) {
        let due = self.time_slices.due().is_some_and(|at| at <= self.now);
        if !(self.change.all || due) {
            return;
        }
        let Some(facts) = self.facts() else { return };
        let wanted: Vec<(GpuUuid, Wanted)> =
            facts.gpus.iter().map(|gpu| (gpu.uuid.clone(), self.wanted_slice(facts, &gpu.uuid))).collect();
        // the setting of a GPU goes with it; one that cannot be read may be there all the same
        let may_be_there = !facts.unreadable.is_empty();
        let slices = &mut self.time_slices.0;
        slices.retain(|gpu, slice| {
            let is_there = wanted.iter().any(|(there, _)| there == gpu);
            if !is_there {
                slice.look(Wanted::AsItIs, self.now);
            }
            is_there || may_be_there
        });
        let mut asked = Vec::new();
        for (gpu, wanted) in wanted {
            if !matches!(wanted, Wanted::Interval(_)) && !slices.contains_key(&gpu) {
                continue;
            }
            let slice = slices.entry(gpu.clone()).or_insert_with(|| Slice::new(None));
            if let Some(interval) = slice.look(wanted, self.now) {
                asked.push((gpu, interval));
            }
        }
        slices.retain(|_, slice| !slice.is_idle());
        // noted before it is done
        self.keep_gpus();
        for (gpu, interval) in asked {
            self.change.all = true;
            self.act(Action::SetTimeSlice { gpu, interval });
        }
    }

    fn wanted_slice(&self, facts: &Facts, gpu: &GpuUuid) -> Wanted {
        let answers = self.driver_failing().is_none() && self.stuck_call().is_none();
        let (Some(applied), true, None) = (&self.applied, answers, self.ill(facts, gpu)) else {
            return Wanted::AsItIs;
        };
        match self.gpus.get(gpu) {
            Some(GpuState::Settled { role }) if role.strategy == Strategy::TimeSlicing => {
                applied.time_slices.get(gpu).map_or(Wanted::Nothing, |interval| Wanted::Interval(*interval))
            }
            Some(GpuState::Settled { .. } | GpuState::Converting | GpuState::Unused) => Wanted::Nothing,
            Some(GpuState::Found | GpuState::Draining { .. }) | None => Wanted::AsItIs,
        }
    }

    /// `nvidia-smi` took it.
    pub(crate) fn time_slice_set(&mut self, set: &SliceSet) {
        let SliceSet { gpu, interval } = set;
        let Some(slice) = self.time_slices.0.get_mut(gpu) else { return };
        slice.set(*interval);
        if self.said.remove(&topic(gpu)).is_some() {
            let message = format!("the time-slice interval of GPU `{gpu}` is `{interval}` now");
            self.say_once(&topic(gpu), Severity::Info, "TimeSliceSet", message);
            self.said.remove(&topic(gpu));
        }
    }

    /// `nvidia-smi` did not.
    pub(crate) fn time_slice_failed(&mut self, failure: SliceFailure) {
        let SliceFailure { gpu, interval, why, unsupported } = failure;
        let Some(slice) = self.time_slices.0.get_mut(&gpu) else { return };
        let first = format!("the time-slice interval of GPU `{gpu}` cannot be set to `{interval}`: {why}");
        slice.failed(interval, why, unsupported, self.now);
        let (reason, next) = if unsupported {
            ("TimeSliceUnsupported", "the GPU serves without it (leave `interval` out for it)")
        } else {
            (
                "TimeSliceFailed",
                "the GPU serves meanwhile, and it is tried again (`nvidia-smi compute-policy -l` shows it)",
            )
        };
        self.say_once(&topic(&gpu), Severity::Warning, reason, format!("{first}; {next}"));
    }
}

fn topic(gpu: &GpuUuid) -> String {
    format!("{gpu} time slice")
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
