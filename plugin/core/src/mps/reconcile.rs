//! What the supervisor begins and ends after every event: wanted daemons, and what an earlier run left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use super::machine::{Context, Input, State, Step};
use super::messages::SupervisorAction;
use super::supervisor::{Service, Supervisor};
use super::{ClientLimits, DesiredDaemon};
use crate::backoff::Backoff;
use crate::config::ResourceName;
use crate::inventory::GpuUuid;
use crate::time::Time;

impl Supervisor {
    /// Moves every daemon towards what is wanted now.
    pub(super) fn advance(&mut self, now: Time) {
        if !self.wish_known && !self.stopping {
            return;
        }
        self.stop_leftovers();
        self.begin_wanted(now);
        self.give_back_leftovers();
        let known: Vec<GpuUuid> = self.services.keys().cloned().collect();
        for first in known {
            self.tell(now, &first, &Input::Look);
        }
        if self.stopping && self.services.is_empty() {
            self.actions.push_back(SupervisorAction::Exit { why: self.farewell() });
        }
    }

    /// Daemons of an earlier run that nobody wants as they are.
    fn stop_leftovers(&mut self) {
        let leftovers: Vec<(GpuUuid, DesiredDaemon)> = self
            .may_run
            .iter()
            .filter(|(first, daemon)| {
                !self.services.contains_key(*first)
                    && !self.daemons_given_up.contains(*first)
                    && self.wants(first) != Some(*daemon)
            })
            .map(|(first, daemon)| (first.clone(), daemon.clone()))
            .collect();
        for (first, daemon) in leftovers {
            self.insert(&first, daemon, State::stop());
        }
    }

    fn begin_wanted(&mut self, now: Time) {
        let wanted: BTreeSet<GpuUuid> =
            self.desired.daemons.iter().map(|(gpu, daemon)| daemon.first(gpu).clone()).collect();
        for first in wanted {
            let Some(daemon) = self.wants(&first).cloned() else { continue };
            let gpus = uuids(&daemon, &first);
            // daemons that have these GPUs now must be gone first
            if self.services.values().any(|service| service.gpus.iter().any(|gpu| gpus.contains(gpu))) {
                continue;
            }
            let begin = State::begin(Context {
                now,
                wanted: true,
                gpus: gpus.len(),
                change_modes: self.change_modes,
                ending: false,
                late: false,
                delay: Duration::ZERO,
            });
            self.insert(&first, daemon, begin);
        }
    }

    /// GPUs whose mode an earlier run changed, without a daemon that could still run.
    fn give_back_leftovers(&mut self) {
        let is_busy = |gpu: &GpuUuid| self.services.values().any(|service| service.gpus.contains(gpu));
        let forgotten: Vec<GpuUuid> = self
            .originals
            .keys()
            .filter(|gpu| !is_busy(gpu) && !self.modes_given_up.contains(*gpu))
            .cloned()
            .collect();
        for gpu in forgotten {
            let daemon = DesiredDaemon {
                resource: ResourceName::gpu(),
                replicas: 0,
                active_thread_percentage: 0,
                pinned_memory_limit_mib: None,
                client: ClientLimits::default(),
                gpus: Vec::new(),
            };
            self.insert(&gpu, daemon, State::give_back(0));
        }
    }

    fn insert(&mut self, first: &GpuUuid, daemon: DesiredDaemon, (state, step): (State, Option<Step>)) {
        let gpus = uuids(&daemon, first);
        let service = Service { daemon, gpus, state: State::Gone, backoff: Backoff::for_daemons() };
        self.services.insert(first.clone(), service);
        self.enter(first, state, step);
    }

    fn farewell(&self) -> String {
        let named = |gpus: &BTreeSet<GpuUuid>| {
            gpus.iter().map(|gpu| format!("`{gpu}`")).collect::<Vec<_>>().join(", ")
        };
        let mut left = Vec::new();
        if !self.modes_given_up.is_empty() {
            left.push(format!("gives back the compute mode of {}", named(&self.modes_given_up)));
        }
        if !self.daemons_given_up.is_empty() {
            left.push(format!("stops the daemon of {}", named(&self.daemons_given_up)));
        }
        match left.is_empty() {
            true => "asked to stop; all GPUs given back".to_owned(),
            false => {
                format!("asked to stop; not everything answers, so the next start {}", left.join(" and "))
            }
        }
    }
}

fn uuids(daemon: &DesiredDaemon, first: &GpuUuid) -> Vec<GpuUuid> {
    daemon.serves(first).into_iter().map(|gpu| gpu.uuid).collect()
}
