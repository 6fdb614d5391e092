//! The other process: keeps the desired MPS control daemons alive, and gives GPUs back as it found them.
//!
//! Each daemon is a small machine of its own: the diagram is in `machine`. Here is what they share: which are wanted, what
//! an earlier run left behind, and what is written down before it is done. The original compute mode is written down before
//! the first change, and a daemon before its start, so that a crash of this process loses neither.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::machine::{Context, Input, State, Step};
use super::messages::{SupervisorAction, SupervisorEvent};
use super::{Actual, DaemonStatus, Daemons, Desired, DesiredDaemon, OriginalModes};
use crate::backoff::Backoff;
use crate::inventory::{ComputeMode, GpuUuid};
use crate::time::Time;

/// Most steps of one daemon in one event: each of its GPUs may have no mode to give back.
const STEPS_MAX: usize = 256;
/// How long a refused compute mode is tried again once the process is to end: well within the 30 s that Kubernetes gives.
const ENDING_MAX: Duration = Duration::from_secs(10);
/// How long an earlier run's report stands at most.
const QUIET_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) daemon: DesiredDaemon,
    pub(super) gpus: Vec<GpuUuid>,
    pub(super) state: State,
    pub(super) backoff: Backoff,
}

/// The supervisor's decisions. Daemons go by the first GPU that they serve.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    pub(super) services: BTreeMap<GpuUuid, Service>,
    pub(super) desired: Desired,
    /// Nothing is given back before the first wish is known: what an earlier run claimed may still be wanted.
    pub(super) wish_known: bool,
    /// It is the plugin's, and not that of a file that was given to this process.
    plugin_wishes: bool,
    pub(super) originals: OriginalModes,
    /// What may run, as it is written down.
    pub(super) may_run: Daemons,
    /// Daemons of an earlier run that live and are not adopted yet.
    alive: BTreeSet<GpuUuid>,
    /// Until when an earlier run's report stands.
    quiet_until: Option<Time>,
    pub(super) change_modes: bool,
    pub(super) stopping: bool,
    /// When the process should have ended.
    stop_by: Option<Time>,
    /// When it was told something last.
    told_at: Time,
    /// GPUs whose mode could not be given back before the end.
    pub(super) modes_given_up: BTreeSet<GpuUuid>,
    /// Daemons that could not be stopped before the end.
    pub(super) daemons_given_up: BTreeSet<GpuUuid>,
    reported: Option<Actual>,
    pub(super) actions: VecDeque<SupervisorAction>,
}

impl Supervisor {
    /// A supervisor that has not started yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something happened at `now`; afterwards drain [`Self::poll_action`].
    pub fn handle(&mut self, now: Time, event: SupervisorEvent) {
        self.told_at = now;
        match event {
            SupervisorEvent::Started { originals, change_modes, daemons, alive } => {
                let has_left_something = !alive.is_empty() || !originals.is_empty();
                self.quiet_until = has_left_something.then(|| now + QUIET_MAX);
                self.alive = alive;
                self.originals = originals;
                self.change_modes = change_modes;
                self.may_run = daemons;
            }
            SupervisorEvent::DesiredRead { desired } => {
                self.desired = desired;
                self.wish_known = true;
                self.plugin_wishes = true;
            }
            SupervisorEvent::AloneRead { desired } if !self.plugin_wishes => {
                self.desired = desired;
                self.wish_known = true;
            }
            SupervisorEvent::AloneRead { .. } => {}
            SupervisorEvent::StopRequested => {
                self.stopping = true;
                self.stop_by.get_or_insert(now + ENDING_MAX);
            }
            SupervisorEvent::Timeout => {}
            SupervisorEvent::ModeRead { gpu, mode } => self.mode_read(now, &gpu, mode),
            SupervisorEvent::ModeSet { gpu } => self.mode_answered(now, &gpu, &Input::ModeSet),
            SupervisorEvent::ModeFailed { gpu, why } => {
                self.mode_answered(now, &gpu, &Input::ModeFailed(why));
            }
            SupervisorEvent::ModeStuck { gpu, why } => {
                self.mode_answered(now, &gpu, &Input::ModeStuck(why));
            }
            SupervisorEvent::DaemonReady { gpu } => self.tell(now, &gpu, &Input::Ready),
            SupervisorEvent::DaemonFailed { gpu, why } => self.tell(now, &gpu, &Input::Failed(why)),
            SupervisorEvent::DaemonExited { gpu } => self.tell(now, &gpu, &Input::Exited),
            SupervisorEvent::DaemonLooked { gpu, ill } => self.tell(now, &gpu, &Input::Looked(ill)),
            SupervisorEvent::DaemonStopped { gpu } => self.tell(now, &gpu, &Input::Stopped),
            SupervisorEvent::DaemonStayed { gpu, why } => self.tell(now, &gpu, &Input::Stayed(why)),
        }
        self.advance(now);
        self.report(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<SupervisorAction> {
        self.actions.pop_front()
    }

    /// When to send `Timeout`.
    pub fn poll_timeout(&self) -> Option<Time> {
        let quiet = self.quiet_until.filter(|_| !self.wish_known);
        let stop_by = self.stop_by.filter(|at| *at > self.told_at);
        self.services.values().filter_map(|service| service.state.due()).chain(quiet).chain(stop_by).min()
    }

    /// The daemon that is wanted under this name.
    pub(super) fn wants(&self, first: &GpuUuid) -> Option<&DesiredDaemon> {
        let wanted = self.desired.daemons.iter().find(|(gpu, daemon)| daemon.first(gpu) == first);
        wanted.map(|(_, daemon)| daemon).filter(|_| !self.stopping)
    }

    fn mode_read(&mut self, now: Time, gpu: &GpuUuid, mode: ComputeMode) {
        let Some(first) = self.at_gpu(gpu) else { return };
        let claims = self.services.get(&first).is_some_and(|s| matches!(s.state, State::Claiming { .. }));
        if claims && self.wants_present(&first) && !self.originals.contains_key(gpu) {
            self.originals.insert(gpu.clone(), mode);
            self.actions.push_back(SupervisorAction::PersistOriginals { originals: self.originals.clone() });
        }
        self.tell(now, &first, &Input::ModeRead);
    }

    fn mode_answered(&mut self, now: Time, gpu: &GpuUuid, input: &Input) {
        let Some(first) = self.at_gpu(gpu) else { return };
        let restores = self.services.get(&first).is_some_and(|s| matches!(s.state, State::Restoring { .. }));
        if restores && *input == Input::ModeSet {
            self.mode_given_back(gpu);
        }
        self.tell(now, &first, input);
    }

    fn mode_given_back(&mut self, gpu: &GpuUuid) {
        if self.originals.remove(gpu).is_some() {
            self.actions.push_back(SupervisorAction::PersistOriginals { originals: self.originals.clone() });
        }
    }

    /// The daemon that waits for an answer about this GPU's mode.
    fn at_gpu(&self, gpu: &GpuUuid) -> Option<GpuUuid> {
        let is_at = |service: &Service| match service.state {
            State::Claiming { at } | State::Restoring { at, .. } => service.gpus.get(at) == Some(gpu),
            State::Starting
            | State::Ready { .. }
            | State::Waiting { .. }
            | State::Stopping { .. }
            | State::Gone => false,
        };
        self.services.iter().find(|(_, service)| is_at(service)).map(|(first, _)| first.clone())
    }

    /// Whether what is there is what is wanted.
    fn wants_present(&self, first: &GpuUuid) -> bool {
        self.services.get(first).is_some_and(|service| self.wants(first) == Some(&service.daemon))
    }

    /// One daemon's machine takes an input, and its effect begins.
    pub(super) fn tell(&mut self, now: Time, first: &GpuUuid, input: &Input) {
        let wanted = self.wants_present(first);
        let Some(service) = self.services.get_mut(first) else { return };
        let before = service.state.clone();
        let (ending, change_modes, gpus) = (self.stopping, self.change_modes, service.gpus.len());
        let delay = service.backoff.clone().next_delay();
        let late = self.stop_by.is_some_and(|at| at <= now);
        let cx = Context { now, wanted, gpus, change_modes, ending, late, delay };
        let (state, step) = before.clone().on(input, cx);
        match (&before, &state) {
            (_, State::Ready { .. }) => service.backoff.reset(),
            (_, after) if after.due().is_some() && before.due() != after.due() => {
                service.backoff.next_delay();
            }
            _ => {}
        }
        match (&before, input) {
            (State::Stopping { .. }, Input::Stopped) => self.ran(first),
            (State::Stopping { .. }, Input::Stayed(_)) if ending => {
                self.daemons_given_up.insert(first.clone());
            }
            (State::Restoring { at, .. }, _) if *input != Input::ModeSet && before.leaves_gpu(&state) => {
                self.modes_given_up.extend(service.gpus.get(*at).cloned());
            }
            _ => {}
        }
        if !matches!(state, State::Claiming { .. } | State::Starting) {
            self.alive.remove(first);
        }
        self.enter(first, state, step);
    }

    pub(super) fn enter(&mut self, first: &GpuUuid, state: State, step: Option<Step>) {
        let (mut state, mut step) = (state, step);
        for _ in 0..STEPS_MAX {
            let Some(Step::GiveBack(at)) = step else { break };
            let Some(service) = self.services.get(first) else { return };
            // what was never changed needs no driver
            if service.gpus.get(at).is_some_and(|gpu| self.originals.contains_key(gpu)) {
                break;
            }
            (state, step) = match at + 1 < service.gpus.len() {
                true => State::give_back(at + 1),
                false => (State::Gone, None),
            };
        }
        if state == State::Gone {
            self.services.remove(first);
            return;
        }
        let Some(service) = self.services.get_mut(first) else { return };
        service.state = state;
        let daemon = service.daemon.clone();
        let gpu = |at: usize| service.gpus.get(at).cloned().unwrap_or_else(|| first.clone());
        let action = match step {
            None => return,
            Some(Step::Read(at)) => SupervisorAction::ReadMode { gpu: gpu(at) },
            Some(Step::Claim(at)) => {
                SupervisorAction::SetMode { gpu: gpu(at), mode: ComputeMode::ExclusiveProcess }
            }
            Some(Step::GiveBack(at)) => {
                let gpu = gpu(at);
                let mode = self.originals.get(&gpu).copied().unwrap_or_default();
                SupervisorAction::SetMode { gpu, mode }
            }
            Some(Step::Start) => {
                self.will_run(first, &daemon);
                SupervisorAction::StartDaemon { gpu: first.clone(), daemon }
            }
            Some(Step::Stop) => SupervisorAction::StopDaemon { gpu: first.clone(), daemon },
        };
        self.actions.push_back(action);
    }

    /// From now on the daemon may run.
    fn will_run(&mut self, first: &GpuUuid, daemon: &DesiredDaemon) {
        if self.may_run.insert(first.clone(), daemon.clone()).as_ref() != Some(daemon) {
            self.actions.push_back(SupervisorAction::PersistDaemons { daemons: self.may_run.clone() });
        }
    }

    /// It does not run any more.
    fn ran(&mut self, first: &GpuUuid) {
        if self.may_run.remove(first).is_some() {
            self.actions.push_back(SupervisorAction::PersistDaemons { daemons: self.may_run.clone() });
        }
    }

    /// Writes the report when it changed. While it is not known what is wanted of an earlier run's living daemons, that run's
    /// report stands: this one knows nothing better.
    fn report(&mut self, now: Time) {
        if self.wish_known || self.stopping || self.quiet_until.is_some_and(|until| until <= now) {
            self.quiet_until = None;
        }
        if self.quiet_until.is_some() {
            return;
        }
        let told = self.services.iter().flat_map(|(first, service)| {
            let adopts = matches!(service.state, State::Claiming { .. } | State::Starting);
            // it serves while it is adopted
            let status = match adopts && self.alive.contains(first) {
                true => DaemonStatus::Ready,
                false => service.state.status(),
            };
            service.gpus.iter().map(move |gpu| (gpu.clone(), status.clone()))
        });
        let daemons = self.given_up().chain(told).collect();
        let actual = Actual { generation: self.desired.generation, daemons };
        if self.reported.as_ref() != Some(&actual) {
            self.reported = Some(actual.clone());
            // before Exit, which is last
            let exit = self.actions.iter().position(|a| matches!(a, SupervisorAction::Exit { .. }));
            let at = exit.unwrap_or(self.actions.len());
            self.actions.insert(at, SupervisorAction::WriteActual { actual });
        }
    }

    /// What this run leaves to the next one: somebody must come back for it.
    fn given_up(&self) -> impl Iterator<Item = (GpuUuid, DaemonStatus)> {
        let left = || DaemonStatus::Failed { why: "left to the next start of the supervisor".to_owned() };
        let daemons = self.may_run.iter().filter(|(first, _)| self.daemons_given_up.contains(*first));
        let served = daemons.flat_map(|(first, daemon)| daemon.serves(first)).map(|gpu| gpu.uuid);
        self.modes_given_up.iter().cloned().chain(served).map(move |gpu| (gpu, left()))
    }
}
