//! When the kubelet and the API server are asked about holders and pods: while a decision waits for the answer.

use crate::bind_stop::BindStop;
use crate::inventory::GpuUuid;
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::time::Time;

impl Plugin {
    /// When the newest read was asked for that proves what it does not list, if no id was withdrawn since.
    pub(crate) fn evidence_for(&self, gpu: &GpuUuid) -> Option<Time> {
        let left = self.withdrawal.last_left(gpu);
        self.ownership.evidence().filter(|asked| left.is_none_or(|left| *asked >= left))
    }

    /// Asks about pods before ids are withdrawn, and while a GPU drains: whether its holders are about to leave, and who holds
    /// it, or something of it that is gone, that only the checkpoint names.
    pub(crate) fn follow_pods(&mut self) {
        let waits = |state: &GpuState| matches!(state, GpuState::Draining { .. } | GpuState::Found);
        let (alone, unexplained) = match self.gpus.values().any(waits) || self.is_gone_one_held() {
            true => self.holders_alone(),
            false => (false, None),
        };
        let drains = self.gpus.iter().find_map(|(gpu, state)| match state {
            GpuState::Draining { since, .. } if self.ownership.is_held(gpu) => Some(*since),
            GpuState::Draining { .. } | GpuState::Found | GpuState::Settled { .. } => None,
            GpuState::Converting | GpuState::Unused => None,
        });
        let bound = match self.withdrawal.state {
            BindStop::Admitting { tainted, .. } => Some(tainted + self.settings.timing.bind_settle),
            BindStop::Open | BindStop::Tainting { .. } | BindStop::Closed | BindStop::Following { .. } => {
                None
            }
        };
        // a list that is asked for too early would have to be asked for again
        let since = bound.filter(|at| *at <= self.now).max(unexplained).max(drains);
        match since {
            Some(since) => self.watch_pods(since),
            None if alone || bound.is_some() => self.pods.suffice(),
            None => self.ignore_pods(),
        }
    }

    /// Reads PodResources while a GPU is draining, somebody's hold is unsettled or an MPS daemon that should be renewed is
    /// held, and until it has told anything at all.
    pub(crate) fn poll_holders(&mut self) {
        let draining = self.gpus.values().any(|s| matches!(s, GpuState::Draining { .. } | GpuState::Found));
        let unproven = self.gpus.iter().any(|(gpu, s)| match s {
            GpuState::Draining { since, .. } => self.evidence_for(gpu).is_none_or(|e| e < *since),
            GpuState::Found | GpuState::Settled { .. } | GpuState::Converting | GpuState::Unused => false,
        });
        let unsettled = self.ownership.is_unsettled();
        let untold = self.ownership.evidence().is_none() && !self.gpus.is_empty();
        let overdue = self.renewals.is_overdue(self.now);
        if !draining && !unsettled && !untold && !overdue && !self.is_gone_one_held() {
            self.next_read = None;
            return;
        }
        let starting = self.kubelet_start.is_starting(self.now);
        let fast = unproven && self.ownership.unreadable().is_none() && !starting;
        if fast || self.next_read.is_some_and(|at| at <= self.now) {
            return self.read_holders();
        }
        if self.next_read.is_none() && !self.ownership.is_asking() {
            let pause = if unsettled {
                self.settings.timing.holders_poll / 4
            } else {
                self.settings.timing.holders_poll
            };
            let next = self.now + pause;
            // the first read that proves something comes as soon as it can
            let settles = self.kubelet_start.settles_at(self.now).filter(|_| draining);
            self.next_read = Some(settles.map_or(next, |at| at.min(next)));
        }
    }
}
