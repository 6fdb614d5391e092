//! A kubelet that starts lists no pod for a moment, and that looks like a node that nobody uses. So what it does not list
//! proves nothing until it has been up for a while.

use std::time::Duration;

use crate::config::ResourceName;
use crate::plugin::Plugin;
use crate::registration::Input;
use crate::time::Time;

/// For how long after its start a kubelet's list may lack pods that run: it has to hear of them and of their containers first.
pub(crate) const KUBELET_SETTLES: Duration = Duration::from_secs(5);
/// How long a kubelet may refuse to be read, and a starting one still count as starting; then it is one that never tells.
pub(crate) const KUBELET_STARTS_MAX: Duration = Duration::from_secs(30);

/// What is known about the kubelet's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KubeletStart {
    /// From when on what it does not list is absent; `None` while no kubelet is there.
    settled_at: Option<Time>,
    /// When a kubelet that cannot be read stops counting as starting.
    starting_until: Time,
    /// Since when every read has failed.
    silent_since: Option<Time>,
}

impl KubeletStart {
    /// Its socket is there and was made this long ago. Without a checkpoint it never handed out a device, and an empty list
    /// is the truth.
    pub(crate) fn appeared(&mut self, now: Time, age: Duration, has_checkpoint: bool) {
        let rest = KUBELET_SETTLES.saturating_sub(age);
        let is_starting = has_checkpoint && !rest.is_zero();
        self.settled_at = Some(if is_starting { now + rest } else { Time::START });
        self.starting_until = if is_starting { now + KUBELET_STARTS_MAX } else { now };
    }

    /// Its socket is gone.
    pub(crate) fn gone(&mut self) {
        *self = KubeletStart::default();
    }

    /// A read was answered.
    pub(crate) fn read(&mut self) {
        self.silent_since = None;
    }

    /// A read failed: a kubelet that is starting has not begun to tell.
    pub(crate) fn unread(&mut self, now: Time) {
        self.silent_since.get_or_insert(now);
        if self.is_starting(now) {
            self.settled_at = Some((now + KUBELET_SETTLES).min(self.starting_until));
        }
    }

    /// Whether its list may lack pods that run.
    pub(crate) fn is_starting(&self, now: Time) -> bool {
        self.settled_at.is_none_or(|at| now < at)
    }

    /// Whether it has refused for so long that it will not tell at all, as where its directory is not mounted. A kubelet that
    /// is replaced, or busy for a while, refuses as well, and has pods that hold GPUs.
    pub(crate) fn never_tells(&self, now: Time) -> bool {
        !self.is_starting(now) && self.silent_since.is_some_and(|since| now >= since + KUBELET_STARTS_MAX)
    }

    /// Whether what a read that was asked for then did not list is absent.
    pub(crate) fn proves(&self, asked: Time) -> bool {
        self.settled_at.is_some_and(|at| asked >= at)
    }

    /// When a read proves something for the first time.
    pub(crate) fn settles_at(&self, now: Time) -> Option<Time> {
        self.settled_at.filter(|at| *at > now)
    }
}

impl Plugin {
    pub(crate) fn kubelet_appeared(&mut self, age_ms: u64, has_checkpoint: bool) {
        if self.kubelet_up || !self.registrations.is_empty() {
            self.ownership.kubelet_restarted(self.settings.timing.hint_absence);
        }
        self.kubelet_up = true;
        self.checkpoint.kubelet_started();
        let age = Duration::from_millis(age_ms);
        self.kubelet_start.appeared(self.now, age, has_checkpoint);
        if self.kubelet_start.is_starting(self.now) {
            self.doubt_gpus();
        }
        let strangers =
            self.registrations.iter().filter(|(_, registration)| !registration.met(self.now, age));
        let strangers: Vec<ResourceName> = strangers.map(|(resource, _)| resource.clone()).collect();
        for resource in strangers {
            self.streamed.remove(&resource);
            self.registration(&resource, Input::KubeletAppeared);
        }
        self.read_holders();
    }

    pub(crate) fn kubelet_gone(&mut self) {
        self.kubelet_up = false;
        self.kubelet_start.gone();
    }
}

/// The age of a kubelet of which none is told: its lists are complete.
pub(crate) fn long_ago() -> u64 {
    u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(60_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_kubelet_proves_nothing_until_it_has_been_up_for_a_while() {
        let mut kubelet = KubeletStart::default();
        assert!(!kubelet.proves(NOW), "no kubelet");
        for (age, has_checkpoint, rest) in
            [(0, true, 5), (3, true, 2), (5, true, 0), (3_600, true, 0), (0, false, 0)]
        {
            kubelet.appeared(NOW, seconds(age), has_checkpoint);
            assert_eq!(kubelet.proves(NOW), rest == 0, "{age} s old, checkpoint: {has_checkpoint}");
            assert_eq!(kubelet.is_starting(NOW), rest != 0);
            assert!(kubelet.proves(NOW + seconds(rest)));
        }
        kubelet.gone();
        assert!(!kubelet.proves(NOW + seconds(60)));
    }

    #[test]
    fn a_starting_kubelet_that_refuses_is_waited_for_but_not_for_good() {
        let mut kubelet = KubeletStart::default();
        kubelet.appeared(NOW, Duration::ZERO, true);
        kubelet.unread(NOW + seconds(4));
        assert!(!kubelet.proves(NOW + seconds(8)));
        assert!(kubelet.proves(NOW + seconds(9)));
        for second in 4..40 {
            kubelet.unread(NOW + seconds(second));
        }
        assert!(kubelet.proves(NOW + KUBELET_STARTS_MAX));
    }

    #[test]
    fn a_kubelet_never_tells_only_after_it_has_refused_for_long() {
        let mut kubelet = KubeletStart::default();
        kubelet.appeared(NOW, seconds(100), true);
        kubelet.unread(NOW);
        kubelet.unread(NOW + seconds(29));
        assert!(!kubelet.never_tells(NOW + seconds(29)));
        assert!(kubelet.never_tells(NOW + seconds(30)));
        kubelet.read();
        kubelet.unread(NOW + seconds(31));
        assert!(!kubelet.never_tells(NOW + seconds(31)), "it told in between");
        kubelet.appeared(NOW + seconds(61), seconds(0), true);
        assert!(!kubelet.never_tells(NOW + seconds(61)), "it is starting");
    }

    #[test]
    fn a_failed_read_of_an_old_kubelet_changes_nothing() {
        let mut kubelet = KubeletStart::default();
        kubelet.appeared(NOW, seconds(100), true);
        kubelet.unread(NOW + seconds(1));
        assert!(kubelet.proves(NOW + seconds(1)));
    }
}
