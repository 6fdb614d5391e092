//! How the plugin's two programs start, stop and die on a node: the DaemonSet controller's wishes, exits, kills, reboots.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::Context;
use super::happening::{What, Which};
use super::journal::Journal;
use super::latency;
use super::mps::MpsShell;
use super::node::Node;
use super::plugin::{Exit, Shell};
use super::program::State;

/// The label that schedules the MPS supervisor.
const MPS_LABEL: (&str, &str) = ("nvidia.com/mps.capable", "true");

impl Node {
    /// The DaemonSet controller compares the Node's labels with what runs.
    pub(super) fn reconcile(&mut self, cx: &mut Context<'_>, labels: &BTreeMap<String, String>) {
        let capable = labels.get(MPS_LABEL.0).is_some_and(|value| value == MPS_LABEL.1);
        for (which, selected) in [(Which::Plugin, true), (Which::Mps, capable)] {
            let wanted = selected && !self.is_closing;
            match (self.state(which), wanted) {
                (State::Absent, true) => {
                    self.set_state(which, State::Starting);
                    cx.after(latency::PROCESS_START, What::ProgramStarts(which));
                }
                (State::Running, false) => self.ask_to_stop(cx, which),
                (State::Absent, false)
                | (State::Running, true)
                | (State::Starting | State::Stopping, true | false) => {}
            }
        }
    }

    /// A program's process begins.
    pub(super) fn program_starts(&mut self, cx: &mut Context<'_>, which: Which) {
        if self.is_closing {
            return self.set_state(which, State::Absent);
        }
        if !self.kubelet.is_up() {
            // containers are started by the kubelet
            return cx.after(latency::PROCESS_START, What::ProgramStarts(which));
        }
        let journal = Journal::new(self.journals_kept);
        match which {
            Which::Plugin if self.plugin.process.is_none() => {
                let life = self.plugin.begin();
                let shell = Shell::start(cx, &mut self.host, life, &self.settings, journal);
                self.plugin.process = Some(shell);
            }
            Which::Mps if self.mps.process.is_none() => {
                let life = self.mps.begin();
                self.mps.process = Some(MpsShell::start(cx, &mut self.host, life, journal));
                // a lock is taken without a change that the kernel tells
                if let Some(shell) = &mut self.plugin.process {
                    shell.mps_root_changed(cx, latency::SLOW_LOOK);
                }
            }
            Which::Plugin | Which::Mps => {}
        }
        // labels may have changed while it started
        cx.api.want_reconcile(cx.engine);
        cx.show();
    }

    /// SIGTERM.
    pub(super) fn ask_to_stop(&mut self, cx: &mut Context<'_>, which: Which) {
        self.set_state(which, State::Stopping);
        let (alive, life) = match which {
            Which::Plugin => (self.plugin.process.is_some(), self.plugin.life),
            Which::Mps => (self.mps.process.is_some(), self.mps.life),
        };
        if !alive {
            return self.stopped(cx, which);
        }
        cx.at(cx.now() + latency::STOP_TIME_MAX, What::StopOverdue(which, life));
        match which {
            Which::Plugin => {
                if let Some(shell) = &mut self.plugin.process {
                    shell.post(cx, plugin_core::event::Event::StopRequested);
                }
            }
            Which::Mps => {
                if let Some(shell) = &mut self.mps.process {
                    shell.ask_to_stop(cx);
                }
            }
        }
    }

    /// A program that was asked to stop has had its time: SIGKILL.
    pub(super) fn stop_overdue(&mut self, cx: &mut Context<'_>, which: Which, life: u32) {
        let alive = match which {
            Which::Plugin => self.plugin.living(life).is_some(),
            Which::Mps => self.mps.living(life).is_some(),
        };
        if alive && self.state(which) == State::Stopping {
            self.deaths.push(format!(
                "`{}` on node `{}` did not end on SIGTERM",
                program_name(which),
                self.name
            ));
            self.kill(cx, which);
            self.stopped(cx, which);
        }
    }

    /// SIGKILL: nothing is put away. `false` when it did not run.
    pub(super) fn kill(&mut self, cx: &mut Context<'_>, which: Which) -> bool {
        let was_alive = match which {
            Which::Plugin => self.plugin.process.take().is_some_and(|mut shell| {
                shell.die(cx, &mut self.host);
                self.plugin_buried(shell);
                true
            }),
            Which::Mps => self.mps.process.take().is_some_and(|shell| {
                self.journals.push((Which::Mps, shell.journal));
                self.mps_lock_dropped(cx);
                true
            }),
        };
        cx.show();
        was_alive
    }

    /// A killed program is started again, as a kubelet does with a dead container.
    pub(super) fn start_again(&mut self, cx: &mut Context<'_>, which: Which) {
        self.start_later(cx, which, 0);
    }

    /// The same after a back-off.
    pub(super) fn start_later(&mut self, cx: &mut Context<'_>, which: Which, pause: u64) {
        self.set_state(which, State::Starting);
        let at = cx.now() + cx.engine.draw_from(latency::PROCESS_START) + pause;
        cx.at(at, What::ProgramStarts(which));
    }

    /// The plugin's core asked for the end of the process.
    pub(super) fn plugin_exits(&mut self, cx: &mut Context<'_>, exit: Option<Exit>) {
        let Some(exit) = exit else { return };
        let Some(mut shell) = self.plugin.process.take() else {
            return;
        };
        shell.end(cx, &mut self.host);
        self.plugin_buried(shell);
        self.mps_root_changed(cx);
        if self.plugin.state == State::Stopping {
            self.stopped(cx, Which::Plugin);
        } else {
            self.deaths.push(format!(
                "`plugin` on node `{}` ended unasked with exit status {}: {}",
                self.name, exit.code, exit.why
            ));
        }
        cx.show();
    }

    /// The supervisor's core asked for the end of the process.
    pub(super) fn mps_exits(&mut self, cx: &mut Context<'_>, why: &str) {
        let Some(shell) = self.mps.process.take() else {
            return;
        };
        self.journals.push((Which::Mps, shell.journal));
        self.mps_lock_dropped(cx);
        if self.mps.state == State::Stopping {
            self.stopped(cx, Which::Mps);
        } else {
            self.deaths.push(format!("`mps` on node `{}` ended unasked: {why}", self.name));
        }
        cx.show();
    }

    fn plugin_buried(&mut self, shell: Shell) {
        self.warnings.extend(shell.warnings);
        self.journals.push((Which::Plugin, shell.journal));
    }

    /// The system drops the lock with its process; whoever watches the directory hears of it.
    fn mps_lock_dropped(&mut self, cx: &mut Context<'_>) {
        self.host.mps.lock = None;
        if let Some(shell) = &mut self.plugin.process {
            shell.mps_root_changed(cx, self.host.news(cx.now()));
        }
    }

    fn stopped(&mut self, cx: &mut Context<'_>, which: Which) {
        let again = match which {
            Which::Plugin => self.plugin.stopped(),
            Which::Mps => self.mps.stopped(),
        };
        if again {
            let pause = std::mem::take(&mut self.plugin.pause) * u64::from(which == Which::Plugin);
            let at = cx.now() + cx.engine.draw_from(latency::PROCESS_START) + pause;
            cx.at(at, What::ProgramStarts(which));
        }
        cx.api.want_reconcile(cx.engine);
    }

    /// What the controller believes of a program.
    pub(super) fn state(&self, which: Which) -> State {
        match which {
            Which::Plugin => self.plugin.state,
            Which::Mps => self.mps.state,
        }
    }

    fn set_state(&mut self, which: Which, state: State) {
        match which {
            Which::Plugin => self.plugin.state = state,
            Which::Mps => self.mps.state = state,
        }
    }

    /// The machine goes down: every process ends, and what lay in memory is lost.
    pub(super) fn goes_down(&mut self, cx: &mut Context<'_>) {
        self.kill(cx, Which::Plugin);
        self.kill(cx, Which::Mps);
        self.kubelet.stop(cx);
        self.kubelet.lose_containers();
        self.work_is_lost();
        self.host.reboots();
        self.host.mps_daemons_on(None).into_iter().for_each(|pid| self.host.end_mps_daemon(pid, true));
        if let Some(gpus) = self.host.gpus.as_mut() {
            let pids: Vec<u32> = gpus.processes().iter().map(|process| process.pid).collect();
            for pid in pids {
                gpus.stop_process(pid);
            }
            gpus.renumber_minors();
            gpus.forget_time_slices();
            gpus.nvml_hangs = 0;
            // nobody sets the mode of a GPU in MIG mode
            let mode = |gpu: &fake_gpu::Gpu| (!gpu.has_mig_on()).then(|| gpu.mode_original());
            let modes: Vec<_> = gpus.gpus().iter().map(|gpu| (gpu.index, mode(gpu))).collect();
            for (gpu, mode) in modes {
                // a boot gives a lost GPU back, and every GPU its first mode
                let back = gpus.set_lost(gpu, false).and_then(|()| gpus.set_nvml_hangs(gpu, false));
                let back = back.and_then(|()| mode.map_or(Ok(()), |mode| gpus.set_compute_mode(gpu, mode)));
                if let Err(error) = back {
                    self.deaths.push(format!("node `{}`: {error}", self.name));
                }
            }
        }
        self.is_off = true;
        cx.show();
    }

    /// The machine is up again: its kubelet starts, and starts the pods of the DaemonSets.
    pub(super) fn boots(&mut self, cx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_off, false) {
            return;
        }
        // a kubelet that starts mounts volumes anew, whatever was edited meanwhile
        self.host.config = Arc::clone(&self.host.config_map);
        cx.after(latency::KUBELET_START, What::KubeletStarts);
        for which in [Which::Plugin, Which::Mps] {
            if self.state(which) != State::Absent {
                self.start_again(cx, which);
            }
        }
        cx.api.want_reconcile(cx.engine);
    }
}

fn program_name(which: Which) -> &'static str {
    match which {
        Which::Plugin => "plugin",
        Which::Mps => "mps",
    }
}
