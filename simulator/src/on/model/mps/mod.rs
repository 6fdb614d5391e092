//! The MPS supervisor's process in the model: the core's own supervisor in a shell like production's, with one queue of
//! effects per GPU.

mod effects;
pub(super) mod server;

use std::collections::{BTreeMap, VecDeque};

use plugin_core::inventory::GpuUuid;
use plugin_core::mps::{
    Actual, Daemons, Desired, OriginalModes, Supervisor, SupervisorAction, SupervisorEvent,
};
use plugin_core::time::Time;

use self::effects::{Effect, Worker};
use super::engine::Context;
use super::happening::What;
use super::host::Host;
use super::journal::Journal;
use super::latency;
use super::library::Library;

/// What a full disk answers.
const DISK_FULL: &str = "No space left on device (os error 28)";

/// Files that wait for room on the disk.
#[derive(Debug, Default)]
struct Unwritten {
    originals: Option<OriginalModes>,
    daemons: Option<Daemons>,
    actual: Option<Actual>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct MpsShell {
    /// Which of the supervisor's processes on this node this is.
    pub(super) life: u32,
    began: u64,
    core: Supervisor,
    queue: VecDeque<SupervisorEvent>,
    awake: bool,
    armed: Option<u64>,
    desired_told: Option<Desired>,
    desired_looks: bool,
    workers: BTreeMap<GpuUuid, Worker>,
    nvml: Library,
    /// What the disk had no room for.
    unwritten: Unwritten,
    /// A file that the plugin watches has changed.
    pub(super) has_written: bool,
    pub(super) journal: Journal,
}

impl MpsShell {
    /// The process starts and takes the lock, which only a running supervisor holds.
    pub(super) fn start(cx: &mut Context<'_>, host: &mut Host, life: u32, journal: Journal) -> MpsShell {
        host.mps.lock = Some(life);
        let mut shell = MpsShell {
            life,
            began: cx.now(),
            core: Supervisor::new(),
            queue: VecDeque::new(),
            awake: false,
            armed: None,
            desired_told: None,
            desired_looks: false,
            workers: BTreeMap::new(),
            nvml: Library::default(),
            unwritten: Unwritten::default(),
            has_written: false,
            journal,
        };
        let originals: OriginalModes = host.mps.originals.clone().unwrap_or_default();
        let daemons = host.mps.daemons.clone().unwrap_or_default();
        let alive = daemons.iter().filter(|(gpu, daemon)| host.mps_daemon(gpu, daemon).is_some());
        let alive = alive.map(|(gpu, _)| gpu.clone()).collect();
        let change_modes = !host.mps.keeps_modes;
        shell.post(cx, SupervisorEvent::Started { originals, change_modes, daemons, alive });
        cx.after(latency::TASK, What::DesiredLooked(life));
        shell
    }

    /// Adds an event to the loop's queue.
    pub(super) fn post(&mut self, cx: &mut Context<'_>, event: SupervisorEvent) {
        self.queue.push_back(event);
        if !std::mem::replace(&mut self.awake, true) {
            cx.after(latency::LOOP, What::MpsWakes(self.life));
        }
    }

    /// Somebody asks the process to end; that goes before everything that waits.
    pub(super) fn ask_to_stop(&mut self, cx: &mut Context<'_>) {
        self.queue.push_front(SupervisorEvent::StopRequested);
        if !std::mem::replace(&mut self.awake, true) {
            cx.after(latency::LOOP, What::MpsWakes(self.life));
        }
    }

    /// The loop takes the next event. `Some` when the process ends.
    pub(super) fn wakes(&mut self, cx: &mut Context<'_>, host: &mut Host) -> Option<String> {
        self.awake = false;
        let event = if self.is_due(cx) { SupervisorEvent::Timeout } else { self.queue.pop_front()? };
        let exit = self.step(cx, host, event);
        if exit.is_none() && !self.queue.is_empty() && !self.awake {
            self.awake = true;
            cx.after(latency::LOOP, What::MpsWakes(self.life));
        }
        exit
    }

    /// The time that the core asked for has come, unless it asked for another meanwhile.
    pub(super) fn due(&mut self, cx: &mut Context<'_>, host: &mut Host) -> Option<String> {
        self.armed = None;
        if self.is_due(cx) {
            return self.step(cx, host, SupervisorEvent::Timeout);
        }
        self.arm(cx);
        None
    }

    /// `desired.json` may have changed.
    pub(super) fn mps_root_changed(&mut self, cx: &mut Context<'_>, news: latency::Latency) {
        if !std::mem::replace(&mut self.desired_looks, true) {
            cx.after(news, What::DesiredLooked(self.life));
        }
    }

    /// Reads `desired.json`. Without the file nothing is told: the last wish holds.
    pub(super) fn desired_looked(&mut self, cx: &mut Context<'_>, host: &Host) {
        self.desired_looks = false;
        if let Some(desired) = &host.mps.desired
            && self.desired_told.as_ref() != Some(desired)
        {
            self.desired_told = Some(desired.clone());
            let desired = desired.clone();
            self.post(cx, SupervisorEvent::DesiredRead { desired });
        }
    }

    /// The first modes must be on disk before any is changed; `true` when they are.
    fn save_originals(&mut self, host: &mut Host) -> bool {
        if host.disk_full && self.unwritten.originals.is_some() {
            return false;
        }
        if let Some(originals) = self.unwritten.originals.take() {
            host.mps.originals = Some(originals);
        }
        true
    }

    /// So must the daemons that may run before any is started.
    fn save_daemons(&mut self, host: &mut Host) -> bool {
        if host.disk_full && self.unwritten.daemons.is_some() {
            return false;
        }
        if let Some(daemons) = self.unwritten.daemons.take() {
            host.mps.daemons = Some(daemons);
        }
        true
    }

    /// Writes the newest report; what the disk has no room for is tried again later.
    pub(super) fn save_actual(&mut self, cx: &mut Context<'_>, host: &mut Host) {
        if host.disk_full && self.unwritten.actual.is_some() {
            return cx.at(cx.now() + latency::REPORT_AGAIN, What::ReportDue(self.life));
        }
        if let Some(actual) = self.unwritten.actual.take() {
            host.mps.actual = Some(actual);
            self.has_written = true;
        }
    }

    fn is_due(&self, cx: &Context<'_>) -> bool {
        self.core.poll_timeout().is_some_and(|at| at <= self.time(cx))
    }

    fn time(&self, cx: &Context<'_>) -> Time {
        Time::from_nanos(cx.now() - self.began)
    }

    fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.core.poll_timeout() else {
            return;
        };
        // a time that is over must not stop the clock
        let at = (self.began + at.as_nanos()).max(cx.now() + latency::LOOP.least);
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            cx.at(at, What::MpsDue(self.life));
        }
    }

    /// One event, all its actions.
    fn step(&mut self, cx: &mut Context<'_>, host: &mut Host, event: SupervisorEvent) -> Option<String> {
        let now = self.time(cx);
        self.journal.mps_event(now, &event);
        self.core.handle(now, event);
        let mut actions = Vec::new();
        // ends with the actions of one event
        while let Some(action) = self.core.poll_action() {
            self.journal.mps_action(now, &action);
            actions.push(action);
        }
        let mut exit = None;
        for action in actions {
            exit = exit.or(self.perform(cx, host, action));
        }
        if exit.is_none() {
            self.arm(cx);
        }
        exit
    }

    fn perform(&mut self, cx: &mut Context<'_>, host: &mut Host, action: SupervisorAction) -> Option<String> {
        match action {
            SupervisorAction::PersistOriginals { originals } => {
                self.unwritten.originals = Some(originals);
                self.save_originals(host);
            }
            SupervisorAction::PersistDaemons { daemons } => {
                self.unwritten.daemons = Some(daemons);
                self.save_daemons(host);
            }
            SupervisorAction::WriteActual { actual } => {
                self.unwritten.actual = Some(actual);
                self.save_actual(cx, host);
            }
            SupervisorAction::Exit { why } => return Some(why),
            SupervisorAction::ReadMode { gpu } => self.give(cx, host, gpu, Effect::ReadMode),
            SupervisorAction::SetMode { gpu, mode } => match self.save_originals(host) {
                true => self.give(cx, host, gpu, Effect::SetMode(mode)),
                false => self.give(cx, host, gpu, Effect::Refuse(DISK_FULL.to_owned())),
            },
            SupervisorAction::StartDaemon { gpu, daemon } => match self.save_daemons(host) {
                true => self.give(cx, host, gpu, Effect::Start(daemon)),
                false => self.give(cx, host, gpu, Effect::RefuseStart(DISK_FULL.to_owned())),
            },
            SupervisorAction::StopDaemon { gpu, daemon } => {
                self.give(cx, host, gpu, Effect::Stop(daemon));
            }
        }
        None
    }
}
