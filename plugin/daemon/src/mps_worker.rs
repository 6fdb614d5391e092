//! The effects on one GPU, one after the other: a daemon is stopped after its start ended, while other GPUs go on.

use plugin_core::inventory::{ComputeMode, GpuUuid};
use plugin_core::mps::{DesiredDaemon, SupervisorEvent};
use tokio::sync::mpsc;

use crate::gpu::{GpuError, GpuThread};
use crate::mps_control::MpsControl;
use crate::process::Process;

/// Most effects that wait; the core asks for the next one when the last is answered.
const EFFECTS_MAX: usize = 16;

/// Something to do with the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell its compute mode.
    ReadMode,
    /// Change its compute mode.
    SetMode(ComputeMode),
    /// Answer that its compute mode must not change, and why.
    Refuse(String),
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
        tokio::spawn(Work { gpu, control, gpus, daemon: None }.run(queue, events));
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
    daemon: Option<Process>,
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
                () = ended(self.daemon.as_ref()) => {
                    self.daemon = None;
                    SupervisorEvent::DaemonExited { gpu: self.gpu.clone() }
                }
            };
            if events.send(event).await.is_err() {
                return;
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
            Effect::Start(daemon) => match self.control.start(&gpu, &daemon).await {
                Ok(process) => {
                    tracing::info!(%gpu, resource = %daemon.resource, "the MPS control daemon is ready");
                    self.daemon = Some(process);
                    SupervisorEvent::DaemonReady { gpu }
                }
                Err(e) => {
                    tracing::warn!(%gpu, why = %e, "the MPS control daemon did not start");
                    SupervisorEvent::DaemonFailed { gpu, why: e.to_string() }
                }
            },
            Effect::Stop(daemon) => {
                self.daemon = None;
                match self.control.stop(&gpu, &daemon).await {
                    Ok(()) => {
                        tracing::info!(%gpu, resource = %daemon.resource, "the MPS control daemon is gone")
                    }
                    Err(e) => tracing::error!(%gpu, why = %e, "the MPS control daemon may still run"),
                }
                SupervisorEvent::DaemonStopped { gpu }
            }
        }
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

async fn ended(daemon: Option<&Process>) {
    match daemon {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}
