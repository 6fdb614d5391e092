//! What becomes of a plugin's looks at its machine: at the GPUs, and at the files that CDI specs are made of.

use super::engine::Context;
use super::happening::What;
use super::node::Node;

impl Node {
    /// What becomes of looks at the GPUs.
    pub(super) fn on_looks(&mut self, cx: &mut Context<'_>, what: What) {
        let (host, program) = (&mut self.host, &mut self.plugin);
        let newest = program.life;
        match what {
            What::BoundPodsListed(life, attempt) => {
                if let Some(shell) = program.living(life) {
                    shell.bound_pods_listed(cx, attempt);
                }
            }
            What::BoundPodsSeen(pods) => {
                if let Some(shell) = program.living(newest) {
                    shell.bound_pods_seen(cx, &pods);
                }
            }
            What::GpusListed(life, number) => {
                if let Some(shell) = program.living(life) {
                    shell.gpus_listed(cx, host, number);
                }
            }
            What::GpusDue(life) => {
                if let Some(shell) = program.living(life) {
                    shell.gpus_due(cx, host);
                }
            }
            What::LookOverdue(life, number) => {
                if let Some(shell) = program.living(life) {
                    shell.look_overdue(cx, number);
                }
            }
            What::ProcessesListed(life, gpu, number) => {
                if let Some(shell) = program.living(life) {
                    shell.processes_listed(cx, host, &gpu, number);
                }
            }
            What::ProcessesOverdue(life, gpu, number) => {
                if let Some(shell) = program.living(life) {
                    shell.processes_overdue(cx, &gpu, number);
                }
            }
            what => self.on_specs(cx, what),
        }
    }

    /// What becomes of CDI specs and state files.
    fn on_specs(&mut self, cx: &mut Context<'_>, what: What) {
        let (host, program) = (&mut self.host, &mut self.plugin);
        match what {
            What::DriverFilesLooked(life, attempt, search) => {
                if let Some(shell) = program.living(life) {
                    shell.driver_files_looked(cx, host, attempt, &search);
                }
            }
            What::KeptGpusWritten(life) => {
                if let Some(shell) = program.living(life) {
                    shell.kept_gpus_written(cx, host);
                }
            }
            What::LastGoodWritten(life) => {
                if let Some(shell) = program.living(life) {
                    shell.last_good_written(cx, host);
                }
            }
            What::TimeSliceAsked(life, gpu, interval) => {
                if let Some(shell) = program.living(life) {
                    shell.time_slice_asked(cx, host, gpu, interval);
                }
            }
            What::SpecsWritten(life, specs) => {
                if let Some(shell) = program.living(life) {
                    shell.specs_written(cx, host, specs);
                }
            }
            what => self.on_server(cx, what),
        }
    }
}
