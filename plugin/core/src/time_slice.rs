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
//! five minutes at most. What the plugin may have set is kept in `gpus.json` *before* it is set: one that is killed meanwhile
//! gives it back in its next life.
//! A GPU serves whether it could be set or not.

mod slice;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Severity};
use crate::config::TimeSlice;
use crate::inventory::{Facts, GpuUuid};
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::time::Time;
use crate::view::Strategy;
use slice::{Slice, Wanted};

/// Most GPUs of which an interval is kept.
const KEPT_MAX: usize = 256;

/// What the plugin may have set, by GPU.
pub(crate) type KeptSlices = BTreeMap<GpuUuid, TimeSlice>;

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
        let why = slice.why.clone().filter(|_| slice.has != slice.goal);
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
