//! The effects on one GPU, one after the other: a daemon is stopped after its start ended, while other GPUs go on.

mod logs;

use std::time::Duration;

use plugin_core::inventory::{ComputeMode, GpuUuid};
use plugin_core::mps::{DesiredDaemon, SupervisorEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::gpu::{GpuError, GpuThread};
use crate::mps_control::MpsControl;
use crate::mps_daemon::ControlError;
use crate::process::Process;
use logs::LogTail;

/// Most effects that wait; the core asks for the next one when the last is answered.
const EFFECTS_MAX: usize = 16;

/// Between two looks at a daemon that runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Something to do with the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell its compute mode.
    ReadMode,
    /// Change its compute mode.
    SetMode(ComputeMode),
    /// Answer that its compute mode must not change, and why.
    Refuse(String),
    /// Answer that no daemon may start, and why.
    RefuseStart(String),
    /// Start or adopt its control daemon.
    Start(DesiredDaemon),
    /// Stop its control daemon.
    Stop(DesiredDaemon),
}

/// The queue of one GPU.
pub(crate) struct Worker {
    effects: mpsc::Sender<Effect>,
}

impl Worker {
    /// Starts to work; answers go to `events`.
    pub(crate) fn start(
        gpu: GpuUuid,
        control: MpsControl,
        gpus: GpuThread,
        events: mpsc::Sender<SupervisorEvent>,
    ) -> Self {
        let (effects, queue) = mpsc::channel(EFFECTS_MAX);
        tokio::spawn(Work { gpu, control, gpus, watched: None }.run(queue, events));
        Worker { effects }
    }

    /// Adds an effect to the queue.
    pub(crate) fn give(&self, effect: Effect) {
        if let Err(e) = self.effects.try_send(effect) {
            tracing::error!(why = %e, "an effect on a GPU was lost");
        }
    }
}

struct Work {
    gpu: GpuUuid,
    control: MpsControl,
    gpus: GpuThread,
    /// The daemon that is watched.
    watched: Option<Watched>,
}

/// A daemon that was ready.
struct Watched {
    process: Process,
    daemon: DesiredDaemon,
    /// What the last look found.
    ill: Option<String>,
    look_at: Instant,
    _logs: LogTail,
}

/// What a watched daemon does by itself.
enum Found {
    Ended,
    Looked(Option<String>),
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Effect>, events: mpsc::Sender<SupervisorEvent>) {
        loop {
            let event = tokio::select! {
                biased;
                effect = queue.recv() => match effect {
                    Some(effect) => self.perform(effect).await,
                    None => return,
                },
                found = self.watch() => match self.note(found) {
                Some(event) => event,
                None => continue,
                },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the daemon ends, or looks at it when that is due. An effect that comes meanwhile goes first.
    async fn watch(&self) -> Found {
        let Some(watched) = &self.watched else {
            return std::future::pending().await;
        };
        let look = async {
            tokio::time::sleep_until(watched.look_at).await;
            self.control.look(&self.gpu, &watched.daemon).await
        };
        tokio::select! {
            biased;
            () = watched.process.ended() => Found::Ended,
            ill = look => Found::Looked(ill),
        }
    }

    /// What is new in it.
    fn note(&mut self, found: Found) -> Option<SupervisorEvent> {
        let gpu = self.gpu.clone();
        match found {
            Found::Ended => {
                self.watched = None;
                Some(SupervisorEvent::DaemonExited { gpu })
            }
            Found::Looked(ill) => {
                let watched = self.watched.as_mut()?;
                watched.look_at = Instant::now() + LOOK_EVERY;
                if watched.ill == ill {
                    return None;
                }
                match &ill {
                    Some(why) => tracing::warn!(%gpu, why, "the MPS control daemon takes no new clients"),
                    None => tracing::info!(%gpu, "the MPS control daemon takes clients again"),
                }
                watched.ill.clone_from(&ill);
                Some(SupervisorEvent::DaemonLooked { gpu, ill })
            }
        }
    }

    async fn perform(&mut self, effect: Effect) -> SupervisorEvent {
        let gpu = self.gpu.clone();
        match effect {
            Effect::ReadMode => match self.gpus.compute_mode(gpu.clone()).await {
                Ok(mode) => SupervisorEvent::ModeRead { gpu, mode },
                Err(e) => mode_failed(gpu, &e),
            },
            Effect::SetMode(mode) => match self.gpus.set_compute_mode(gpu.clone(), mode).await {
                Ok(()) => SupervisorEvent::ModeSet { gpu },
                Err(e) => mode_failed(gpu, &e),
            },
            Effect::Refuse(why) => SupervisorEvent::ModeFailed { gpu, why },
            Effect::RefuseStart(why) => SupervisorEvent::DaemonFailed { gpu, why },
            Effect::Start(daemon) => match self.start(&daemon).await {
                Ok(watched) => {
                    tracing::info!(%gpu, resource = %daemon.resource, "the MPS control daemon is ready");
                    self.watched = Some(watched);
                    SupervisorEvent::DaemonReady { gpu }
                }
                Err(e) => {
                    tracing::warn!(%gpu, why = %e, "the MPS control daemon did not start");
                    SupervisorEvent::DaemonFailed { gpu, why: e.to_string() }
                }
            },
            Effect::Stop(daemon) => {
                self.watched = None;
                match self.control.stop(&gpu, &daemon).await {
                    Ok(()) => {
                        tracing::info!(%gpu, resource = %daemon.resource, "the MPS control daemon is gone");
                        SupervisorEvent::DaemonStopped { gpu }
                    }
                    Err(e) => {
                        tracing::error!(%gpu, why = %e, "the MPS control daemon may still run");
                        SupervisorEvent::DaemonStayed { gpu, why: e.to_string() }
                    }
                }
            }
        }
    }

    async fn start(&self, daemon: &DesiredDaemon) -> Result<Watched, ControlError> {
        // before the daemon writes its first line
        let logs = LogTail::start(&self.control.log_dir(&self.gpu, daemon), &self.gpu);
        let process = self.control.start(&self.gpu, daemon).await?;
        let look_at = Instant::now() + LOOK_EVERY;
        Ok(Watched { process, daemon: daemon.clone(), ill: None, look_at, _logs: logs })
    }
}

fn mode_failed(gpu: GpuUuid, error: &GpuError) -> SupervisorEvent {
    let why = error.to_string();
    tracing::warn!(%gpu, why, "the compute mode could not be read or changed; trying again");
    match error {
        GpuError::Refused { .. } => SupervisorEvent::ModeFailed { gpu, why },
        GpuError::Stuck { .. } | GpuError::StillStuck => SupervisorEvent::ModeStuck { gpu, why },
    }
}
