//! What happens to a node's MPS supervisor, and to the files that it shares with the plugin.

use super::engine::Context;
use super::happening::What;
use super::node::Node;

impl Node {
    /// Something happens to the MPS supervisor.
    pub(super) fn on_mps(&mut self, cx: &mut Context<'_>, what: What) {
        let host = &mut self.host;
        let program = &mut self.mps;
        let exit = match what {
            What::MpsWakes(life) => program.living(life).and_then(|shell| shell.wakes(cx, host)),
            What::MpsDue(life) => program.living(life).and_then(|shell| shell.due(cx, host)),
            What::MpsTold(life, event) => {
                if let Some(shell) = program.living(life) {
                    shell.post(cx, *event);
                }
                None
            }
            What::ReportDue(life) => {
                if let Some(shell) = program.living(life) {
                    shell.save_actual(cx, host);
                }
                None
            }
            What::DesiredLooked(life) => {
                if let Some(shell) = program.living(life) {
                    shell.desired_looked(cx, host);
                }
                None
            }
            What::EffectReturns(life, gpu) => {
                if let Some(shell) = program.living(life) {
                    shell.effect_returns(cx, host, &gpu);
                }
                None
            }
            What::EffectOverdue(life, gpu, turn) => {
                if let Some(shell) = program.living(life) {
                    shell.effect_overdue(cx, host, &gpu, turn);
                }
                None
            }
            What::DaemonLooked(life, gpu, watch) => {
                if let Some(shell) = program.living(life) {
                    shell.daemon_looked(cx, host, &gpu, watch);
                }
                None
            }
            What::EffectDone(life, gpu) => {
                if let Some(shell) = program.living(life) {
                    shell.effect_done(cx, host, &gpu);
                }
                None
            }
            _ => None,
        };
        let wrote = program.process.as_mut().map(|shell| &mut shell.has_written);
        if wrote.is_some_and(std::mem::take) {
            self.mps_root_changed(cx);
        }
        if let Some(why) = exit {
            self.mps_exits(cx, &why);
        }
    }

    /// A file in the MPS root changed: both programs watch it.
    pub(super) fn mps_root_changed(&mut self, cx: &mut Context<'_>) {
        let news = self.host.news(cx.now());
        if let Some(shell) = &mut self.plugin.process {
            shell.mps_root_changed(cx, news);
        }
        if let Some(shell) = &mut self.mps.process {
            shell.mps_root_changed(cx, news);
        }
    }
}
