//! The effects on one GPU, one after the other, while other GPUs go on.

use std::collections::VecDeque;

use fake_gpu::ControlTrouble;
use plugin_core::inventory::{ComputeMode, GpuUuid};
use plugin_core::mps::{DesiredDaemon, SupervisorEvent};

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::{Host, MPS_ROOT};
use super::super::latency;
use super::super::library::Library;
use super::super::saboteur::Sabotage;
use super::MpsShell;

/// Something to do with a GPU.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Tell its compute mode.
    ReadMode,
    /// Change its compute mode.
    SetMode(ComputeMode),
    /// Answer that its compute mode cannot be changed.
    Refuse(String),
    /// Answer that no daemon can be started.
    RefuseStart(String),
    /// Start or adopt its control daemon.
    Start(DesiredDaemon),
    /// Stop its control daemon.
    Stop(DesiredDaemon),
}

/// The queue of one GPU.
#[derive(Debug, Default)]
pub(super) struct Worker {
    effects: VecDeque<Effect>,
    /// The control daemon that is watched.
    daemon: Option<u32>,
    /// Counts the daemons that were watched: a look at an earlier one is void.
    watch: u64,
    /// What the last look found.
    ill: Option<String>,
    /// Counts the NVML calls that hung.
    turn: u64,
    /// One hangs, and is still waited for.
    hangs: bool,
    /// One hangs that is not waited for any more: what it does when it returns.
    late: Option<Effect>,
}

impl MpsShell {
    /// Adds an effect to a GPU's queue.
    pub(super) fn give(&mut self, cx: &mut Context<'_>, host: &Host, gpu: GpuUuid, effect: Effect) {
        let worker = self.workers.entry(gpu.clone()).or_default();
        worker.effects.push_back(effect);
        if worker.effects.len() == 1 {
            self.begin(cx, host, &gpu);
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, host: &Host, gpu: &GpuUuid) {
        let first = self.workers.get(gpu).and_then(|worker| worker.effects.front());
        let hangs =
            |wanted: &DesiredDaemon| host.mps_daemon(gpu, wanted).is_some_and(|pid| host.hung.contains(&pid));
        let trouble = host.gpus.as_ref().and_then(|gpus| gpus.control_trouble());
        let is_late = self.workers.get(gpu).is_some_and(|worker| worker.late.is_some());
        let (latency, wait) = match first {
            None => return,
            Some(Effect::ReadMode | Effect::SetMode(_)) if is_late => (latency::TASK, 0),
            Some(Effect::ReadMode | Effect::SetMode(_)) => (latency::NVML_CALL, host.nvml_delay(1)),
            Some(Effect::Refuse(_) | Effect::RefuseStart(_)) => (latency::TASK, 0),
            Some(Effect::Start(_)) if trouble == Some(ControlTrouble::Hangs) => {
                (latency::MPS_ADOPT, latency::MPS_COMMAND_MAX + latency::MPS_START_MAX)
            }
            Some(Effect::Start(_)) if trouble.is_some() => (latency::MPS_ADOPT, 0),
            Some(Effect::Stop(wanted)) if trouble.is_some() && host.mps_daemon(gpu, wanted).is_some() => {
                (latency::MPS_STOP, latency::MPS_COMMAND_MAX + latency::MPS_QUIT_MAX)
            }
            Some(Effect::Start(wanted)) if hangs(wanted) => (latency::MPS_ADOPT, latency::MPS_COMMAND_MAX),
            Some(Effect::Start(wanted)) if host.mps_daemon(gpu, wanted).is_some() => (latency::MPS_ADOPT, 0),
            Some(Effect::Start(_)) => (latency::MPS_START, 0),
            Some(Effect::Stop(wanted)) if hangs(wanted) => {
                (latency::MPS_STOP, latency::MPS_COMMAND_MAX + latency::MPS_QUIT_MAX)
            }
            Some(Effect::Stop(_)) => (latency::MPS_STOP, 0),
        };
        let at = cx.now() + cx.engine.draw_from(latency) + wait;
        cx.at(at, What::EffectDone(self.life, gpu.clone()));
    }

    /// The first effect of a GPU's queue is done now.
    pub(in super::super) fn effect_done(&mut self, cx: &mut Context<'_>, host: &mut Host, gpu: &GpuUuid) {
        let Some(worker) = self.workers.get_mut(gpu) else {
            return;
        };
        let asks_nvml = matches!(worker.effects.front(), Some(Effect::ReadMode | Effect::SetMode(_)));
        if asks_nvml && worker.late.is_some() {
            return self.effect_is_stuck(cx, host, gpu, "an earlier call has not returned");
        }
        if asks_nvml && host.hangs(Some(gpu), || What::EffectReturns(self.life, gpu.clone())) {
            worker.hangs = true;
            worker.turn += 1;
            let overdue = What::EffectOverdue(self.life, gpu.clone(), worker.turn);
            return cx.at(cx.now() + latency::NVML_EFFECT_MAX, overdue);
        }
        self.effect_ends(cx, host, gpu);
    }

    /// A call that hung returns: it is done, or does what nobody waits for any more.
    pub(in super::super) fn effect_returns(&mut self, cx: &mut Context<'_>, host: &mut Host, gpu: &GpuUuid) {
        if host.hangs(Some(gpu), || What::EffectReturns(self.life, gpu.clone())) {
            return;
        }
        let Some(worker) = self.workers.get_mut(gpu) else {
            return;
        };
        if let Some(late) = worker.late.take() {
            worker.perform(host, &mut self.nvml, gpu.clone(), late);
        } else if std::mem::take(&mut worker.hangs) {
            self.effect_ends(cx, host, gpu);
        }
    }

    /// A call hangs for too long: the next effects go on.
    pub(in super::super) fn effect_overdue(
        &mut self,
        cx: &mut Context<'_>,
        host: &Host,
        gpu: &GpuUuid,
        turn: u64,
    ) {
        let worker = self.workers.get_mut(gpu).filter(|worker| worker.hangs && worker.turn == turn);
        if let Some(worker) = worker {
            worker.hangs = false;
            worker.late = worker.effects.front().cloned();
            self.effect_is_stuck(cx, host, gpu, "a call has not returned within 5s");
        }
    }

    fn effect_is_stuck(&mut self, cx: &mut Context<'_>, host: &Host, gpu: &GpuUuid, why: &str) {
        if let Some(worker) = self.workers.get_mut(gpu) {
            worker.effects.pop_front();
        }
        let why = format!("the GPU driver does not answer: {why}");
        self.post(cx, SupervisorEvent::ModeStuck { gpu: gpu.clone(), why });
        self.begin(cx, host, gpu);
    }

    fn effect_ends(&mut self, cx: &mut Context<'_>, host: &mut Host, gpu: &GpuUuid) {
        let Some(worker) = self.workers.get_mut(gpu) else {
            return;
        };
        let Some(effect) = worker.effects.pop_front() else {
            return;
        };
        let event = worker.perform(host, &mut self.nvml, gpu.clone(), effect);
        if matches!(event, SupervisorEvent::DaemonReady { .. }) {
            let look = What::DaemonLooked(self.life, gpu.clone(), worker.watch);
            cx.at(cx.now() + latency::MPS_LOOK, look);
        }
        self.post(cx, event);
        self.begin(cx, host, gpu);
        self.daemons_changed(cx, host);
        cx.show();
    }

    /// A control daemon that runs is looked at, and again later.
    pub(in super::super) fn daemon_looked(
        &mut self,
        cx: &mut Context<'_>,
        host: &Host,
        gpu: &GpuUuid,
        watch: u64,
    ) {
        let Some(worker) = self.workers.get_mut(gpu).filter(|worker| worker.watch == watch) else {
            return;
        };
        let Some(pid) = worker.daemon else { return };
        let again = What::DaemonLooked(self.life, gpu.clone(), watch);
        let found = host.mps_ill(pid);
        // effects go first
        if !worker.effects.is_empty() || found.as_ref().map(|(why, _)| why) == worker.ill.as_ref() {
            return cx.at(cx.now() + latency::MPS_LOOK, again);
        }
        let silent = found.as_ref().is_some_and(|(_, silent)| *silent);
        worker.ill = found.map(|(why, _)| why);
        let event = SupervisorEvent::DaemonLooked { gpu: gpu.clone(), ill: worker.ill.clone() };
        let wait = if silent { 2 * latency::MPS_COMMAND_MAX } else { 0 };
        let at = cx.now() + cx.engine.draw_from(latency::MPS_ADOPT) + wait;
        cx.at(at, What::MpsTold(self.life, Box::new(event)));
        // one look after the other: news of a later one never comes first
        cx.at(at + latency::MPS_LOOK, again);
    }

    /// Control daemons that are gone although nobody asked them to.
    pub(in super::super) fn daemons_changed(&mut self, cx: &mut Context<'_>, host: &Host) {
        let mut exited = Vec::new();
        for (gpu, worker) in &mut self.workers {
            // effects go first: the queue's next Start or Stop finds out by itself
            let busy = !worker.effects.is_empty();
            if worker.daemon.is_some_and(|pid| !busy && !host.mps_daemon_lives(pid)) {
                worker.daemon = None;
                exited.push(gpu.clone());
            }
        }
        for gpu in exited {
            let event = SupervisorEvent::DaemonExited { gpu };
            cx.after(latency::TASK, What::MpsTold(self.life, Box::new(event)));
        }
    }
}

/// Why no control daemon can be started or adopted now.
fn cannot_start(host: &Host, running: Option<u32>) -> Option<String> {
    if host.mps.is_blocked {
        return Some(format!("MPS directory `{MPS_ROOT}/nvidia.com` cannot be made: not a directory"));
    }
    let why = match host.gpus.as_ref()?.control_trouble() {
        Some(ControlTrouble::Missing) => "`nvidia-cuda-mps-control` cannot be run: no such file",
        Some(ControlTrouble::Hangs) => "MPS command `-d` had no answer within 10s",
        Some(ControlTrouble::Garbage) => "the active thread percentage is `MPS??` after it was set",
        Some(ControlTrouble::Fails) => "MPS command `-d` failed: cuInit failed (exit status: 1)",
        None if running.is_some_and(|pid| host.hung.contains(&pid)) => {
            "MPS command `-d` failed: an instance of this daemon is already running"
        }
        None => return None,
    };
    Some(why.to_owned())
}

impl Worker {
    fn perform(
        &mut self,
        host: &mut Host,
        nvml: &mut Library,
        gpu: GpuUuid,
        effect: Effect,
    ) -> SupervisorEvent {
        match effect {
            Effect::ReadMode => match host.mode(nvml, &gpu) {
                Ok(mode) => SupervisorEvent::ModeRead { gpu, mode },
                Err(why) => SupervisorEvent::ModeFailed { gpu, why },
            },
            Effect::SetMode(mode) => match host.set_mode(nvml, &gpu, mode) {
                Ok(()) => SupervisorEvent::ModeSet { gpu },
                Err(why) => SupervisorEvent::ModeFailed { gpu, why },
            },
            Effect::Refuse(why) => SupervisorEvent::ModeFailed { gpu, why },
            Effect::RefuseStart(why) => SupervisorEvent::DaemonFailed { gpu, why },
            Effect::Start(wanted) => {
                let running = host.mps_daemon(&gpu, &wanted);
                if let Some(why) = cannot_start(host, running) {
                    return SupervisorEvent::DaemonFailed { gpu, why };
                }
                host.mps.has_directories = true;
                match running.map_or_else(|| host.start_mps_daemon(&gpu, &wanted), Ok) {
                    Ok(pid) => {
                        host.limit_mps(pid, &gpu, &wanted);
                        self.daemon = Some(pid);
                        self.watch += 1;
                        self.ill = None;
                        SupervisorEvent::DaemonReady { gpu }
                    }
                    Err(why) => SupervisorEvent::DaemonFailed { gpu, why },
                }
            }
            Effect::Stop(wanted) => {
                self.daemon = None;
                let running = host.mps_daemon(&gpu, &wanted);
                let running = running.filter(|_| host.sabotage != Some(Sabotage::ImmortalDaemons));
                if let Some(pid) = running {
                    host.end_mps_daemon(pid, true);
                }
                SupervisorEvent::DaemonStopped { gpu }
            }
        }
    }
}
