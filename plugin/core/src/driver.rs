//! What is known of the driver over time: calls that do not return, looks that fail, and GPUs that come, go, break and start.
//!
//! | the driver | GPUs that are known | next look |
//! |---|---|---|
//! | does not answer | stay served | with a growing pause; an answer that comes late counts |
//! | cannot be used | stay served for [`FAILING_GRACE`], then are ill | after `driver_retry` |
//! | cannot read some of them | these are ill, the others as before | the shell's, when something changed |
//! | has some whose fabric is not complete | new ones are withheld, served ones are ill | after `driver_retry` |
//! | does not list some any more | are gone | the shell's |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::inventory::{Facts, GpuFacts, GpuUuid};
use crate::links::Links;
use crate::plugin::{Driver, Plugin};
use crate::time::Time;
use crate::unit::Unit;

/// For how long GPUs stay healthy while every look fails: a reload of the driver takes seconds, and a device that turns
/// unhealthy ends pods that are on their way.
const FAILING_GRACE: Duration = Duration::from_secs(30);
/// Longest pause between two tries of a driver that does not answer.
const STUCK_RETRY_MAX: Duration = Duration::from_secs(300);

/// What is not well with the driver.
#[derive(Clone, Debug, Default)]
pub(crate) struct DriverWatch {
    stuck: Option<Stuck>,
    failing: Option<Failing>,
    /// Known GPUs that are on the bus and cannot be read.
    lost: BTreeSet<GpuUuid>,
    look_at: Option<Time>,
}

#[derive(Clone, Debug)]
struct Stuck {
    call: String,
    /// When it was told, and how long it had been waited for then.
    told: Time,
    waited: Duration,
    retry_at: Time,
    backoff: Backoff,
}

#[derive(Clone, Debug)]
struct Failing {
    since: Time,
    why: String,
}

impl Plugin {
    /// NVML reported these.
    pub(crate) fn gpus_found(&mut self, mut facts: Facts) {
        self.driver_answers();
        let was_away = self.driver_watch.failing.take().is_some();
        if was_away {
            self.say_once("driver", Severity::Info, "DriverAnswers", "NVML can be used again".to_owned());
        } else {
            self.said.remove("driver");
        }
        let before = match std::mem::take(&mut self.driver) {
            Driver::Present(before) => Some(before),
            Driver::Unknown | Driver::Missing { .. } => None,
        };
        let lost = before.as_ref().map(|before| keep_lost(before, &mut facts)).unwrap_or_default();
        self.tell_lost(&facts, &lost);
        self.tell_starting(before.as_ref(), &facts);
        if let Some(before) = &before {
            self.tell_changes(before, &facts);
        }
        self.compare_gpus(before.as_ref(), &facts);
        self.forget_time_slices(before.as_ref(), &facts, &lost, was_away);
        self.links = Arc::new(Links::of(&facts));
        self.driver_watch.lost = lost;
        let waits = !facts.starting.is_empty();
        self.driver_watch.look_at = waits.then(|| self.now + self.settings.timing.driver_retry);
        self.driver = Driver::Present(facts);
        self.specs.stale = true;
        self.choice_is_stale = true;
    }

    /// What the driver forgot while it was away, or the GPUs while they were.
    fn forget_time_slices(
        &mut self,
        before: Option<&Facts>,
        facts: &Facts,
        lost: &BTreeSet<GpuUuid>,
        was_away: bool,
    ) {
        let Some(before) = before else { return };
        let is_another = was_away || before.driver_version != facts.driver_version;
        let was_lost = &self.driver_watch.lost;
        let is_back =
            |gpu: &GpuUuid| before.gpu(gpu).is_none() || (was_lost.contains(gpu) && !lost.contains(gpu));
        self.time_slices.forget(|gpu| is_another || is_back(gpu));
    }

    /// There is no library, or NVML cannot be used.
    pub(crate) fn driver_missing(&mut self, why: String, failed: bool) {
        let reason = if failed { "DriverFailed" } else { "NoDriver" };
        let what = if failed { "NVML cannot be used" } else { "no NVIDIA driver library on this node" };
        self.without_driver(format!("{what}: {why}"), failed, reason);
    }

    /// This is a machine of a kind that cannot be served.
    pub(crate) fn platform_unsupported(&mut self, platform: &str, why: &str) {
        self.without_driver(
            format!("unsupported platform `{platform}`: {why}"),
            false,
            "PlatformUnsupported",
        );
    }

    fn without_driver(&mut self, why: String, failed: bool, reason: &str) {
        self.driver_answers();
        let retry_at = self.now + self.settings.timing.driver_retry;
        if matches!(self.driver, Driver::Present(_)) {
            let message = format!("{why}; the GPUs that are known stay served for {FAILING_GRACE:?}");
            self.say_once("driver", Severity::Warning, reason, message);
            let since = self.driver_watch.failing.take().map_or(self.now, |f| f.since);
            self.driver_watch.failing = Some(Failing { since, why });
            self.driver_watch.look_at = Some(retry_at);
            return;
        }
        let next = if reason == "PlatformUnsupported" { "nothing is served" } else { WAITING };
        self.say_once("driver", Severity::Warning, reason, format!("{why}; {next}"));
        self.driver = Driver::Missing { why, failed, retry_at };
    }

    /// A call to the driver has not returned for `waited` seconds; it goes on.
    pub(crate) fn driver_stuck(&mut self, call: &str, gpu: Option<&GpuUuid>, waited: u64) {
        self.driver_watch.look_at = None;
        if let Some(stuck) = &mut self.driver_watch.stuck {
            stuck.retry_at = self.now + stuck.backoff.next_delay();
            return;
        }
        let mut backoff = Backoff::new(self.settings.timing.driver_retry, STUCK_RETRY_MAX);
        let retry_at = self.now + backoff.next_delay();
        self.driver_watch.stuck = Some(Stuck {
            call: call.to_owned(),
            told: self.now,
            waited: Duration::from_secs(waited),
            retry_at,
            backoff,
        });
        let on = gpu.map(|gpu| format!(" on GPU `{gpu}`")).unwrap_or_default();
        let message = format!(
            "the GPU driver does not answer: `{call}`{on} has not returned for {waited} s; GPUs that are known stay \
             served (see `dmesg` for Xids; a driver that hangs for good needs a reboot)"
        );
        self.say_once("stuck", Severity::Warning, "DriverStuck", message);
    }

    fn driver_answers(&mut self) {
        if let Some(stuck) = self.driver_watch.stuck.take() {
            let seconds = (stuck.waited + (self.now - stuck.told)).as_secs();
            let message = format!("the GPU driver answers again, after {seconds} s");
            self.say_once("stuck", Severity::Info, "DriverAnswers", message);
        }
    }

    /// Looks for a driver that is not well, when it is time; or ends the process, when that was asked for.
    pub(crate) fn look_again(&mut self) {
        let pause = self.settings.timing.driver_retry;
        match (&mut self.driver_watch, &mut self.driver) {
            (DriverWatch { stuck: Some(stuck), .. }, _) if stuck.retry_at <= self.now => {
                // the shell says so again when this one does not return either
                stuck.retry_at = self.now + STUCK_RETRY_MAX;
            }
            (DriverWatch { stuck: Some(_), .. }, _) => return,
            (_, Driver::Missing { retry_at, .. }) if *retry_at <= self.now => *retry_at = self.now + pause,
            (DriverWatch { look_at: Some(at), .. }, _) if *at <= self.now => *at = self.now + pause,
            _ => return,
        }
        self.act(Action::FindGpus);
    }

    /// When [`Self::look_again`] has something to do.
    pub(crate) fn driver_deadline(&self) -> Option<Time> {
        match (&self.driver_watch, &self.driver) {
            (DriverWatch { stuck: Some(stuck), .. }, _) => Some(stuck.retry_at),
            (_, Driver::Missing { retry_at, .. }) => Some(*retry_at),
            (watch, Driver::Unknown | Driver::Present(_)) => watch.look_at,
        }
    }

    /// The call that does not return.
    pub(crate) fn stuck_call(&self) -> Option<&str> {
        self.driver_watch.stuck.as_ref().map(|stuck| stuck.call.as_str())
    }

    /// Why NVML cannot be used, although GPUs are known.
    pub(crate) fn driver_failing(&self) -> Option<&str> {
        self.driver_watch.failing.as_ref().map(|failing| failing.why.as_str())
    }

    /// Whether the GPU is not offered before its fabric is complete: nobody has been offered it yet.
    pub(crate) fn is_withheld(&self, facts: &Facts, unit: Unit<'_>) -> bool {
        facts.starting.contains(&unit.gpu.uuid) && !self.gpus.contains_key(unit.uuid())
    }

    /// Why nothing on the GPU can be used now.
    pub(crate) fn ill(&self, facts: &Facts, gpu: &GpuUuid) -> Option<String> {
        let grace_is_over = |f: &&Failing| f.since + FAILING_GRACE <= self.now;
        if self.driver_watch.lost.contains(gpu) {
            Some("the driver cannot read it".to_owned())
        } else if facts.starting.contains(gpu) {
            Some("its NVLink fabric is not complete".to_owned())
        } else {
            self.driver_watch.failing.as_ref().filter(grace_is_over).map(|f| f.why.clone())
        }
    }

    fn tell_lost(&mut self, facts: &Facts, lost: &BTreeSet<GpuUuid>) {
        let why = facts.unreadable.join("; ");
        for gpu in lost.difference(&self.driver_watch.lost.clone()) {
            let message = format!(
                "GPU `{gpu}` is lost: {why}; its devices are unhealthy until it answers (see `dmesg`; a GPU that fell off \
                 its bus needs a reboot)"
            );
            self.say_once(&format!("{gpu} lost"), Severity::Warning, "GpuLost", message);
        }
        for gpu in self.driver_watch.lost.clone().difference(lost) {
            self.said.remove(&format!("{gpu} lost"));
            if facts.gpu(gpu).is_some() {
                let message = format!("GPU `{gpu}` answers again");
                self.say_once(&format!("{gpu} lost"), Severity::Info, "GpuBack", message);
            }
        }
        if facts.unreadable.len() > lost.len() {
            let message = format!("GPUs that cannot be read are not served: {why} (see `dmesg`)");
            self.say_once("unreadable", Severity::Warning, "GpuUnreadable", message);
        } else {
            self.said.remove("unreadable");
        }
    }

    fn tell_starting(&mut self, before: Option<&Facts>, facts: &Facts) {
        let names = |gpus: &[GpuUuid]| gpus.iter().map(|g| format!("`{g}`")).collect::<Vec<_>>().join(", ");
        let earlier = before.is_some_and(|before| !before.starting.is_empty());
        if facts.starting.is_empty() && earlier {
            let message = "the NVLink fabric of every GPU is complete".to_owned();
            self.say_once("fabric", Severity::Info, "FabricReady", message);
        } else if !facts.starting.is_empty() {
            let message = format!(
                "the NVLink fabric of GPU {} is not complete; it is offered when it is (does nvidia-fabricmanager of the \
                 driver's version run?)",
                names(&facts.starting)
            );
            self.say_once("fabric", Severity::Warning, "FabricNotReady", message);
        }
    }

    fn tell_changes(&mut self, before: &Facts, facts: &Facts) {
        if before.driver_version != facts.driver_version {
            let message =
                format!("the driver is `{}` now, it was `{}`", facts.driver_version, before.driver_version);
            self.say_once("driver version", Severity::Info, "DriverChanged", message);
        }
        for gpu in missing(facts, before) {
            let message = format!("GPU `{}` (index {}) is new on this node", gpu.uuid, gpu.index);
            self.say_once(&format!("{} here", gpu.uuid), Severity::Info, "GpuAdded", message);
        }
    }
}

/// What follows while nothing is known.
const WAITING: &str = "nothing is served until it can be loaded";

/// The GPUs of `these` that the others do not have.
fn missing<'a>(these: &'a Facts, others: &'a Facts) -> impl Iterator<Item = &'a GpuFacts> {
    these.gpus.iter().filter(|gpu| others.gpu(&gpu.uuid).is_none())
}

/// A GPU that cannot be read does not say who it is. When as many are unreadable as are missing, those are the ones: they
/// stay in the list as they were, so that nothing of their pods changes. With more missing than unreadable nobody can tell
/// which is which, and all of them are gone.
fn keep_lost(before: &Facts, facts: &mut Facts) -> BTreeSet<GpuUuid> {
    let missing: Vec<GpuFacts> = missing(before, facts).cloned().collect();
    if missing.len() > facts.unreadable.len() {
        return BTreeSet::new();
    }
    let lost = missing.iter().map(|gpu| gpu.uuid.clone()).collect();
    facts.gpus.extend(missing);
    facts.gpus.sort_by_key(|gpu| gpu.index);
    lost
}
