//! The faults of the plugin's two programs and of the MPS control daemons.

use super::super::engine::Context;
use super::super::happening::{Ending, Which};
use super::super::latency;
use super::super::node::Node;
use super::super::program::State;
use super::{LASTS_DEFAULT, nanos};
use crate::faults::Fault;

impl Node {
    /// One fault of a program; the answer is why it could not happen.
    pub(super) fn programs_suffer(
        &mut self,
        cx: &mut Context<'_>,
        fault: Fault,
        lasts: Option<u64>,
    ) -> Option<String> {
        let back_off = lasts.unwrap_or(latency::BACK_OFF);
        match fault {
            Fault::PluginCrash => self.crash(cx, Which::Plugin, 0),
            Fault::PluginOomKilled => self.crash(cx, Which::Plugin, back_off),
            Fault::SupervisorCrash => self.crash(cx, Which::Mps, 0),
            Fault::MpsOomKilled => {
                let why = self.crash(cx, Which::Mps, back_off);
                // the control daemons are in the same container, and the kernel kills all of it
                why.or_else(|| {
                    self.mps_daemons_crash(cx, None);
                    None
                })
            }
            Fault::PluginRestart => self.plugin_restarts(cx, 0),
            Fault::PluginUpgrade => self.plugin_restarts(cx, lasts.unwrap_or(nanos(LASTS_DEFAULT))),
            Fault::MpsDaemonCrash { gpu } => self.mps_daemons_crash(cx, gpu),
            Fault::MpsDaemonHang { gpu } => {
                let pids = self.host.mps_daemons_on(gpu);
                if pids.is_empty() {
                    return Some(format!("no MPS control daemon runs on node `{}`", self.name));
                }
                self.host.hung.extend(pids.iter().copied());
                self.ends_in(cx, lasts.unwrap_or(nanos(LASTS_DEFAULT)), Ending::MpsDaemonHang(pids))
            }
            Fault::MpsDirectoryBlocked => {
                if self.host.mps.has_directories {
                    return Some(format!("MPS directories of node `{}` were made already", self.name));
                }
                self.host.mps.is_blocked = true;
                self.ends_in(cx, lasts.unwrap_or(nanos(LASTS_DEFAULT)), Ending::MpsDirectoryBlocked)
            }
            fault => self.driver_suffers(cx, fault, lasts),
        }
    }

    fn plugin_restarts(&mut self, cx: &mut Context<'_>, pause: u64) -> Option<String> {
        if self.plugin.process.is_none() || self.plugin.state != State::Running {
            return Some(format!("the plugin of node `{}` does not run", self.name));
        }
        self.plugin.restarts = true;
        self.plugin.pause = pause;
        self.ask_to_stop(cx, Which::Plugin);
        None
    }

    fn crash(&mut self, cx: &mut Context<'_>, which: Which, pause: u64) -> Option<String> {
        let program = match which {
            Which::Plugin => "plugin",
            Which::Mps => "MPS supervisor",
        };
        let stopping = self.state(which) == State::Stopping;
        if !self.kill(cx, which) {
            return Some(format!("the {program} of node `{}` does not run", self.name));
        }
        if stopping {
            // whoever stopped it finds it gone
            self.ask_to_stop(cx, which);
        } else {
            self.start_later(cx, which, pause);
        }
        None
    }

    fn mps_daemons_crash(&mut self, cx: &mut Context<'_>, gpu: Option<u32>) -> Option<String> {
        let pids = self.host.mps_daemons_on(gpu);
        if pids.is_empty() {
            return Some(format!("no MPS control daemon runs on node `{}`", self.name));
        }
        pids.into_iter().for_each(|pid| self.host.end_mps_daemon(pid, false));
        if let Some(shell) = &mut self.mps.process {
            shell.daemons_changed(cx, &self.host);
        }
        None
    }
}
