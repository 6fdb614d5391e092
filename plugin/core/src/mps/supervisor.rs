//! The other process: keeps one MPS control daemon per desired GPU alive, and gives GPUs back as it found them.
//!
//! Each GPU is a small machine of its own:
//!
//! ```text
//!            wanted                 ModeSet                 DaemonReady
//! (absent) ─────────► Claiming ─────────────► Starting ───────────────► Ready
//!     ▲                   │  ModeFailed           │ DaemonFailed          │ DaemonExited
//!     │                   ▼                       ▼                       ▼
//!     │                 Waiting ◄─────────────────┴───────────────────────┘   (backoff, then Claiming)
//!     │ ModeSet                 DaemonStopped
//!     └──────── Restoring ◄──────────────── Stopping ◄── not wanted, in any state with a daemon
//! ```
//!
//! The original compute mode is written down before the first change, so that a crash cannot lose it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::messages::{SupervisorAction, SupervisorEvent};
use super::{Actual, DaemonStatus, Desired, DesiredDaemon, OriginalModes};
use crate::backoff::Backoff;
use crate::config::ResourceName;
use crate::inventory::{ComputeMode, GpuUuid};
use crate::time::Time;

/// Where one GPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its mode is being read and changed; nothing runs yet.
    Claiming,
    /// `StartDaemon` is under way.
    Starting,
    /// It serves.
    Ready,
    /// Something failed; the next try comes at this time.
    Waiting { why: String, retry_at: Time },
    /// `StopDaemon` is under way.
    Stopping,
    /// The daemon is gone, the mode is being given back; after a failure, when it is tried again and why.
    Restoring { failed: Option<(Time, String)> },
}

#[derive(Clone, Debug)]
struct Gpu {
    daemon: DesiredDaemon,
    state: State,
    backoff: Backoff,
}

/// The supervisor's decisions. See the module's diagram.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    gpus: BTreeMap<GpuUuid, Gpu>,
    desired: Desired,
    /// Nothing is given back before the first wish is known: what an earlier run claimed may still be wanted.
    wish_known: bool,
    originals: OriginalModes,
    change_modes: bool,
    stopping: bool,
    /// GPUs whose mode could not be given back before the end.
    given_up: BTreeSet<GpuUuid>,
    reported: Option<Actual>,
    actions: VecDeque<SupervisorAction>,
}

impl Supervisor {
    /// A supervisor that has not started yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something happened at `now`; afterwards drain [`Self::poll_action`].
    pub fn handle(&mut self, now: Time, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Started { originals, change_modes } => {
                self.originals = originals;
                self.change_modes = change_modes;
            }
            SupervisorEvent::DesiredRead { desired } => {
                self.desired = desired;
                self.wish_known = true;
            }
            SupervisorEvent::StopRequested => self.stopping = true,
            SupervisorEvent::Timeout => {}
            SupervisorEvent::ModeRead { gpu, mode } => self.mode_read(&gpu, mode),
            SupervisorEvent::ModeSet { gpu } => self.mode_set(&gpu),
            SupervisorEvent::ModeFailed { gpu, why } => self.mode_failed(now, &gpu, why),
            SupervisorEvent::ModeStuck { gpu, why } => self.mode_stuck(now, &gpu, why),
            SupervisorEvent::DaemonReady { gpu } => self.daemon_ready(&gpu),
            SupervisorEvent::DaemonFailed { gpu, why } => self.wait(now, &gpu, why),
            SupervisorEvent::DaemonExited { gpu } => self.daemon_exited(now, &gpu),
            SupervisorEvent::DaemonStopped { gpu } => self.daemon_stopped(&gpu),
        }
        self.advance(now);
        self.report();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<SupervisorAction> {
        self.actions.pop_front()
    }

    /// When to send `Timeout`.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.gpus
            .values()
            .filter_map(|g| match &g.state {
                State::Waiting { retry_at, .. } => Some(*retry_at),
                State::Restoring { failed } => failed.as_ref().map(|(retry_at, _)| *retry_at),
                State::Claiming | State::Starting | State::Ready | State::Stopping => None,
            })
            .min()
    }

    fn wants(&self, gpu: &GpuUuid) -> Option<&DesiredDaemon> {
        if self.stopping { None } else { self.desired.daemons.get(gpu) }
    }

    fn mode_read(&mut self, gpu: &GpuUuid, mode: ComputeMode) {
        if self.gpus.get(gpu).is_none_or(|g| g.state != State::Claiming) {
            return;
        }
        if !self.originals.contains_key(gpu) {
            self.originals.insert(gpu.clone(), mode);
            self.actions.push_back(SupervisorAction::PersistOriginals { originals: self.originals.clone() });
        }
        self.actions
            .push_back(SupervisorAction::SetMode { gpu: gpu.clone(), mode: ComputeMode::ExclusiveProcess });
    }

    fn mode_set(&mut self, gpu: &GpuUuid) {
        match self.gpus.get(gpu).map(|g| g.state.clone()) {
            Some(State::Claiming) => self.start(gpu),
            Some(State::Restoring { .. }) => self.restored(gpu),
            _ => {}
        }
    }

    fn mode_failed(&mut self, now: Time, gpu: &GpuUuid, why: String) {
        match self.gpus.get_mut(gpu) {
            Some(entry) if matches!(entry.state, State::Restoring { .. }) => {
                entry.state = State::Restoring { failed: Some((now + entry.backoff.next_delay(), why)) };
            }
            Some(entry) if entry.state == State::Claiming => self.wait(now, gpu, why),
            _ => {}
        }
    }

    /// The driver does not answer. A process that is to end does not wait for it: the mode is written down, and the next
    /// start gives it back.
    fn mode_stuck(&mut self, now: Time, gpu: &GpuUuid, why: String) {
        let restores = self.gpus.get(gpu).is_some_and(|g| matches!(g.state, State::Restoring { .. }));
        if self.stopping && restores {
            self.gpus.remove(gpu);
            self.given_up.insert(gpu.clone());
        } else {
            self.mode_failed(now, gpu, why);
        }
    }

    fn daemon_ready(&mut self, gpu: &GpuUuid) {
        if let Some(entry) = self.gpus.get_mut(gpu).filter(|g| g.state == State::Starting) {
            entry.state = State::Ready;
            entry.backoff.reset();
        }
    }

    fn daemon_exited(&mut self, now: Time, gpu: &GpuUuid) {
        if self.gpus.get(gpu).is_some_and(|g| g.state == State::Ready) {
            self.wait(now, gpu, "the control daemon exited".to_owned());
        }
    }

    fn daemon_stopped(&mut self, gpu: &GpuUuid) {
        if self.gpus.get(gpu).is_some_and(|g| g.state == State::Stopping) {
            self.give_back(gpu);
        }
    }

    fn wait(&mut self, now: Time, gpu: &GpuUuid, why: String) {
        if let Some(entry) = self.gpus.get_mut(gpu) {
            if matches!(entry.state, State::Stopping | State::Restoring { .. }) {
                return;
            }
            let retry_at = now + entry.backoff.next_delay();
            entry.state = State::Waiting { why, retry_at };
        }
    }

    fn start(&mut self, gpu: &GpuUuid) {
        if let Some(entry) = self.gpus.get_mut(gpu) {
            entry.state = State::Starting;
            self.actions
                .push_back(SupervisorAction::StartDaemon { gpu: gpu.clone(), daemon: entry.daemon.clone() });
        }
    }

    fn claim(&mut self, gpu: &GpuUuid) {
        if !self.change_modes {
            return self.start(gpu);
        }
        if let Some(entry) = self.gpus.get_mut(gpu) {
            entry.state = State::Claiming;
            self.actions.push_back(SupervisorAction::ReadMode { gpu: gpu.clone() });
        }
    }

    fn give_back(&mut self, gpu: &GpuUuid) {
        let Some(mode) = self.originals.get(gpu).copied().filter(|_| self.change_modes) else {
            return self.restored(gpu);
        };
        if let Some(entry) = self.gpus.get_mut(gpu) {
            entry.state = State::Restoring { failed: None };
            self.actions.push_back(SupervisorAction::SetMode { gpu: gpu.clone(), mode });
        }
    }

    fn restored(&mut self, gpu: &GpuUuid) {
        self.gpus.remove(gpu);
        if self.originals.remove(gpu).is_some() {
            self.actions.push_back(SupervisorAction::PersistOriginals { originals: self.originals.clone() });
        }
    }

    /// Moves every GPU towards what is wanted now.
    fn advance(&mut self, now: Time) {
        if !self.wish_known && !self.stopping {
            return;
        }
        let wanted: Vec<(GpuUuid, DesiredDaemon)> =
            if self.stopping { Vec::new() } else { self.desired.daemons.clone().into_iter().collect() };
        for (gpu, daemon) in wanted {
            if !self.gpus.contains_key(&gpu) {
                let entry = Gpu { daemon, state: State::Claiming, backoff: Backoff::for_daemons() };
                self.gpus.insert(gpu.clone(), entry);
                self.claim(&gpu);
            }
        }
        // GPUs that an earlier run changed and nobody wants now
        let forgotten: Vec<GpuUuid> = self
            .originals
            .keys()
            .filter(|g| !self.gpus.contains_key(*g) && !self.given_up.contains(*g))
            .cloned()
            .collect();
        for gpu in forgotten {
            self.adopt_forgotten(&gpu);
        }
        let known: Vec<GpuUuid> = self.gpus.keys().cloned().collect();
        for gpu in known {
            self.advance_one(now, &gpu);
        }
        if self.stopping && self.gpus.is_empty() {
            self.actions.push_back(SupervisorAction::Exit { why: self.farewell() });
        }
    }

    fn farewell(&self) -> String {
        if self.given_up.is_empty() {
            return "asked to stop; all GPUs given back".to_owned();
        }
        let gpus: Vec<String> = self.given_up.iter().map(|gpu| format!("`{gpu}`")).collect();
        format!(
            "asked to stop; the driver does not answer, so the next start gives back the compute mode of {}",
            gpus.join(", ")
        )
    }

    /// A GPU whose mode an earlier run did not give back. Its daemon, if one still runs, belongs to a directory that nobody
    /// knows any more; only the mode can be restored.
    fn adopt_forgotten(&mut self, gpu: &GpuUuid) {
        let daemon = DesiredDaemon {
            resource: ResourceName::gpu(),
            replicas: 0,
            active_thread_percentage: 0,
            pinned_memory_limit_mib: None,
        };
        let state = State::Restoring { failed: None };
        self.gpus.insert(gpu.clone(), Gpu { daemon, state, backoff: Backoff::for_daemons() });
        self.give_back(gpu);
    }

    fn advance_one(&mut self, now: Time, gpu: &GpuUuid) {
        let Some(entry) = self.gpus.get(gpu) else { return };
        let same = self.wants(gpu) == Some(&entry.daemon);
        match &entry.state {
            State::Ready | State::Starting | State::Waiting { .. } if !same => {
                let daemon = entry.daemon.clone();
                self.actions.push_back(SupervisorAction::StopDaemon { gpu: gpu.clone(), daemon });
                self.set_state(gpu, State::Stopping);
            }
            State::Claiming if !same => self.give_back(gpu),
            State::Waiting { retry_at, .. } if *retry_at <= now => self.claim(gpu),
            State::Restoring { failed: Some((at, _)) } if *at <= now => self.give_back(gpu),
            State::Claiming
            | State::Starting
            | State::Ready
            | State::Waiting { .. }
            | State::Stopping
            | State::Restoring { .. } => {}
        }
    }

    fn set_state(&mut self, gpu: &GpuUuid, state: State) {
        if let Some(entry) = self.gpus.get_mut(gpu) {
            entry.state = state;
        }
    }

    /// Writes the report when it changed.
    fn report(&mut self) {
        let daemons = self.gpus.iter().map(|(gpu, g)| (gpu.clone(), g.state.status())).collect();
        let actual = Actual { generation: self.desired.generation, daemons };
        if self.reported.as_ref() != Some(&actual) {
            self.reported = Some(actual.clone());
            // before Exit, which is last
            let exit = self.actions.iter().position(|a| matches!(a, SupervisorAction::Exit { .. }));
            let at = exit.unwrap_or(self.actions.len());
            self.actions.insert(at, SupervisorAction::WriteActual { actual });
        }
    }
}

impl State {
    fn status(&self) -> DaemonStatus {
        match self {
            State::Claiming | State::Starting => DaemonStatus::Starting,
            State::Ready => DaemonStatus::Ready,
            State::Waiting { why, .. } | State::Restoring { failed: Some((_, why)) } => {
                DaemonStatus::Failed { why: why.clone() }
            }
            State::Stopping | State::Restoring { failed: None } => DaemonStatus::Stopping,
        }
    }
}
