//! The `mps` subcommand: a process of its own around the core's supervisor, so that a restart of the plugin never touches
//! an MPS client. The loop waits, writes down, asks the core and performs; nothing in it decides.

pub(crate) mod alone;
pub(crate) mod init;
pub(crate) mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use plugin_core::inventory::GpuUuid;
use plugin_core::mps::{Actual, Daemons, OriginalModes, Supervisor, SupervisorAction, SupervisorEvent};
use plugin_core::time::Time;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::gpu::{GpuBackend, GpuThread};
use crate::journal_file::JournalFile;
use crate::mps_control::MpsControl;
use crate::mps_desired::{lock, watch_desired};
use crate::mps_files::{self, MpsRoot};
use crate::mps_worker::{Effect, Worker};
use alone::AloneSettings;

/// Most events that wait for the loop.
const EVENTS_MAX: usize = 1024;
/// How long a report that could not be written waits for the next try.
const REPORT_AGAIN: Duration = Duration::from_secs(2);

/// How `mps` was told to behave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MpsSettings {
    /// The directory shared with the plugin.
    pub(crate) root: MpsRoot,
    /// The control program.
    pub(crate) control: PathBuf,
    /// Leave compute modes alone.
    pub(crate) keep_compute_mode: bool,
    /// One MPS server serves every user.
    pub(crate) multi_user: bool,
    /// A configuration of its own, where no plugin of ours runs on the node.
    pub(crate) alone: Option<AloneSettings>,
    /// Whether a first process is needed that starts this one again.
    pub(crate) init: bool,
    /// Where the journal is kept, if anywhere.
    pub(crate) journal_dir: Option<PathBuf>,
}

/// Runs until it is asked to stop and every GPU is given back. Returns why it ended.
///
/// # Errors
/// What prevents the start: the root directory, the lock, the journal, unreadable compute modes of an earlier run.
pub(crate) async fn run(settings: MpsSettings, backend: Box<dyn GpuBackend>) -> anyhow::Result<String> {
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let root = settings.root.clone();
    root.create()
        .with_context(|| format!("MPS root `{}` cannot be made (hint: --mps-root)", root.0.display()))?;
    let mut stop = listen_for_signals()?;
    let Some(lock) = lock(&root, &mut stop).await? else {
        return Ok("asked to stop while another supervisor was running".to_owned());
    };
    let journal = JournalFile::begin_in(settings.journal_dir.as_deref(), "mps")?;
    // without them a changed mode would be taken for the original
    let originals =
        mps_files::read_json(&root.compute_modes()).map_err(anyhow::Error::msg)?.unwrap_or_default();
    // without them a daemon that nobody wants any more would run for good
    let daemons: Daemons =
        mps_files::read_json(&root.daemons()).map_err(anyhow::Error::msg)?.unwrap_or_default();
    let control =
        MpsControl { program: settings.control, root: root.clone(), multi_user: settings.multi_user };
    let alive = daemons.iter().filter(|(gpu, daemon)| control.is_alive(gpu, daemon));
    let alive = alive.map(|(gpu, _)| gpu.clone()).collect();
    let change_modes = !settings.keep_compute_mode;
    let started = SupervisorEvent::Started { originals, change_modes, daemons, alive };
    tokio::spawn(watch_desired(root.clone(), events.clone()));
    let gpus = GpuThread::start(backend);
    let reload = listen_for_reload()?;
    if let Some(alone) = settings.alone {
        tokio::spawn(alone::watch(alone, gpus.clone(), reload, events.clone()));
    }
    let mut supervisor = SupervisorLoop {
        core: Supervisor::new(),
        begin: Instant::now(),
        journal,
        root: root.clone(),
        originals_unsaved: None,
        daemons_unsaved: None,
        report_unsaved: None,
        control,
        gpus,
        workers: BTreeMap::new(),
        events,
    };
    let why = supervisor.run(started, queue, stop).await;
    drop(lock);
    Ok(why)
}

fn listen_for_signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (stop, stopped) = mpsc::channel(1);
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // one that waits already is enough
                let _ = stop.try_send(());
            }
        });
    }
    Ok(stopped)
}

/// SIGHUP: the configuration file is read again. It ends nothing.
fn listen_for_reload() -> std::io::Result<Arc<Notify>> {
    let mut signals = signal(SignalKind::hangup())?;
    let reload = Arc::new(Notify::new());
    let told = Arc::clone(&reload);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            told.notify_one();
        }
    });
    Ok(reload)
}

/// One line of the journal.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    v: u32,
    at: Time,
    #[serde(flatten)]
    record: &'a T,
}

struct SupervisorLoop {
    core: Supervisor,
    begin: Instant,
    journal: Option<JournalFile>,
    root: MpsRoot,
    /// Compute modes that could not be written down: no mode may change before they are.
    originals_unsaved: Option<OriginalModes>,
    /// Daemons that could not be written down: none may start before they are.
    daemons_unsaved: Option<Daemons>,
    /// The report that could not be written: the plugin would wait for it for good.
    report_unsaved: Option<Actual>,
    control: MpsControl,
    gpus: GpuThread,
    workers: BTreeMap<GpuUuid, Worker>,
    events: mpsc::Sender<SupervisorEvent>,
}

impl SupervisorLoop {
    async fn run(
        &mut self,
        started: SupervisorEvent,
        mut queue: mpsc::Receiver<SupervisorEvent>,
        mut stop: mpsc::Receiver<()>,
    ) -> String {
        let mut event = started;
        loop {
            if let Some(why) = self.step(event) {
                return why;
            }
            event = match self.next_event(&mut queue, &mut stop).await {
                Some(event) => event,
                None => return "all sources of events are gone".to_owned(),
            };
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn next_event(
        &self,
        queue: &mut mpsc::Receiver<SupervisorEvent>,
        stop: &mut mpsc::Receiver<()>,
    ) -> Option<SupervisorEvent> {
        let due = async {
            match self.core.poll_timeout() {
                Some(at) => {
                    tokio::time::sleep_until((self.begin + Duration::from_nanos(at.as_nanos())).into()).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(()) = stop.recv() => Some(SupervisorEvent::StopRequested),
            () = due => Some(SupervisorEvent::Timeout),
            () = tokio::time::sleep(REPORT_AGAIN), if self.report_unsaved.is_some() => {
                Some(SupervisorEvent::Timeout)
            }
            event = queue.recv() => event,
        }
    }

    /// One event, all its actions. The answer is why the process should end.
    fn step(&mut self, event: SupervisorEvent) -> Option<String> {
        self.save_report();
        let at = self.now();
        let mut lines = Vec::new();
        self.note(&mut lines, at, &event);
        self.core.handle(at, event);
        let actions: Vec<SupervisorAction> = std::iter::from_fn(|| self.core.poll_action()).collect();
        for action in &actions {
            self.note(&mut lines, at, action);
        }
        if let Some(e) = self.journal.as_mut().and_then(|j| j.write(&lines)) {
            tracing::error!(why = %e, "the journal cannot be written; the supervisor goes on without");
        }
        let mut exit = None;
        for action in actions {
            exit = exit.or(self.perform(action));
        }
        exit
    }

    fn note(&self, lines: &mut Vec<String>, at: Time, record: &impl Serialize) {
        tracing::debug!(record = serde_json::to_string(record).unwrap_or_default(), "noted");
        if self.journal.is_some() {
            let line = Line { v: plugin_core::journal::VERSION, at, record };
            lines.extend(serde_json::to_string(&line).ok());
        }
    }

    fn perform(&mut self, action: SupervisorAction) -> Option<String> {
        match action {
            SupervisorAction::PersistOriginals { originals } => {
                self.originals_unsaved = Some(originals);
                self.save_originals();
            }
            SupervisorAction::PersistDaemons { daemons } => {
                self.daemons_unsaved = Some(daemons);
                self.save_daemons();
            }
            SupervisorAction::WriteActual { actual } => {
                self.report_unsaved = Some(actual);
                self.save_report();
            }
            SupervisorAction::Exit { why } => return Some(why),
            SupervisorAction::ReadMode { gpu } => self.give(gpu, Effect::ReadMode),
            SupervisorAction::SetMode { gpu, mode } => match self.save_originals() {
                None => self.give(gpu, Effect::SetMode(mode)),
                Some(why) => self.give(gpu, Effect::Refuse(why)),
            },
            SupervisorAction::StartDaemon { gpu, daemon } => match self.save_daemons() {
                None => self.give(gpu, Effect::Start(daemon)),
                Some(why) => self.give(gpu, Effect::RefuseStart(why)),
            },
            SupervisorAction::StopDaemon { gpu, daemon } => self.give(gpu, Effect::Stop(daemon)),
        }
        None
    }

    /// Writes down what is not written down yet; the answer is why that failed.
    fn save_originals(&mut self) -> Option<String> {
        let originals = self.originals_unsaved.take()?;
        let why = mps_files::write_json(&self.root.compute_modes(), &originals).err()?;
        tracing::error!(why, "compute modes stay as they are until the original ones can be written down");
        self.originals_unsaved = Some(originals);
        Some(why)
    }

    /// The same of the daemons that may run.
    fn save_daemons(&mut self) -> Option<String> {
        let daemons = self.daemons_unsaved.take()?;
        let why = mps_files::write_json(&self.root.daemons(), &daemons).err()?;
        tracing::error!(why, "no control daemon starts until it can be written down");
        self.daemons_unsaved = Some(daemons);
        Some(why)
    }

    fn save_report(&mut self) {
        let Some(actual) = self.report_unsaved.take() else {
            return;
        };
        if let Err(why) = mps_files::write_json(&self.root.actual(), &actual) {
            tracing::error!(
                why,
                "the plugin does not hear of the control daemons; trying again (is the disk full?)"
            );
            self.report_unsaved = Some(actual);
        }
    }

    fn give(&mut self, gpu: GpuUuid, effect: Effect) {
        let (control, gpus, events) = (&self.control, &self.gpus, &self.events);
        let start = || Worker::start(gpu.clone(), control.clone(), gpus.for_one_gpu(), events.clone());
        self.workers.entry(gpu.clone()).or_insert_with(start).give(effect);
    }
}

#[cfg(test)]
mod tests;
