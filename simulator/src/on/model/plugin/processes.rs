//! Calls for the processes on a GPU: one at a time for each GPU, and one that hangs is told as failed.

use std::collections::BTreeMap;

use fake_gpu::Process;
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use plugin_core::ownership::processes::{ComputeProcess, ProcessList};

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::Host;
use super::super::latency;
use super::super::library::Library;
use super::Shell;

/// NVML calls of one look, as production makes them: load, find the GPU, count and list twice.
const CALLS: u64 = 6;
/// NVML's code for what a board or driver does not have.
const NOT_SUPPORTED: u32 = 3;

/// The calls of a process.
#[derive(Debug, Default)]
pub(super) struct ProcessCalls {
    begun: u64,
    /// By GPU: the number of the call under way, and whether it was told as failed.
    under_way: BTreeMap<GpuUuid, (u64, bool)>,
}

impl Shell {
    /// Begins a call, unless an earlier one hangs.
    pub(super) fn read_processes(&mut self, cx: &mut Context<'_>, host: &Host, gpu: GpuUuid) {
        if self.processes.under_way.contains_key(&gpu) {
            let why = "the GPU driver does not answer: an earlier call has not returned (see `dmesg`)";
            let list = ProcessList::Failed { why: why.to_owned() };
            let told = Event::ProcessesRead { gpu, list };
            return cx.after(latency::TASK, What::PluginTold(self.life, Box::new(told)));
        }
        self.processes.begun += 1;
        let number = self.processes.begun;
        self.processes.under_way.insert(gpu.clone(), (number, false));
        let takes = cx.engine.draw_from(latency::NVML_CALL) + host.nvml_delay(CALLS);
        cx.at(cx.now() + takes, What::ProcessesListed(self.life, gpu.clone(), number));
        cx.at(cx.now() + latency::NVML_EFFECT_MAX, What::ProcessesOverdue(self.life, gpu, number));
    }

    /// NVML has answered.
    pub(in super::super) fn processes_listed(
        &mut self,
        cx: &mut Context<'_>,
        host: &mut Host,
        gpu: &GpuUuid,
        number: u64,
    ) {
        if host.hangs(Some(gpu), || What::ProcessesListed(self.life, gpu.clone(), number)) {
            return;
        }
        if let Some((_, false)) = self.processes.under_way.remove(gpu) {
            let list = match host.processes(&mut self.nvml, gpu) {
                Ok(list) => list,
                Err(why) => ProcessList::Failed { why },
            };
            self.post(cx, Event::ProcessesRead { gpu: gpu.clone(), list });
        }
    }

    /// The call has had its time.
    pub(in super::super) fn processes_overdue(&mut self, cx: &mut Context<'_>, gpu: &GpuUuid, number: u64) {
        if let Some((now, told @ false)) = self.processes.under_way.get_mut(gpu)
            && *now == number
        {
            *told = true;
            let why =
                "the GPU driver does not answer: `read_processes` has not returned within 5s (see `dmesg`)";
            let list = ProcessList::Failed { why: why.to_owned() };
            self.post(cx, Event::ProcessesRead { gpu: gpu.clone(), list });
        }
    }
}

impl Host {
    /// What NVML tells of the processes on a GPU.
    fn processes(&self, loaded: &mut Library, gpu: &GpuUuid) -> Result<ProcessList, String> {
        let failed = |why: String| format!("GPU `{gpu}`: {why}");
        let gpus = self.library(loaded).map_err(failed)?;
        let record = gpus.gpu_by_uuid(gpu.as_str()).ok_or_else(|| failed("not found".to_owned()))?;
        match (record.lost, record.nvml_error, record.processes_error) {
            (0, 0, 0) => {}
            (0, 0, NOT_SUPPORTED) => return Ok(ProcessList::Unsupported),
            (0, 0, code) | (0, code, _) => return Err(failed(format!("error {code}"))),
            _ => return Ok(ProcessList::Read { processes: Vec::new() }),
        }
        let told = |process: &Process| ComputeProcess {
            pid: process.pid,
            name: Some(process.name.as_str().to_owned()),
            used_bytes: Some(process.used_bytes),
            gpu_instance: process.instance().map(|instance| instance.gpu_instance),
            compute_instance: process.instance().map(|instance| instance.compute_instance),
        };
        let mut processes: Vec<ComputeProcess> = gpus.processes_on(record.index).map(told).collect();
        processes.sort_by_key(|process| process.pid);
        Ok(ProcessList::Read { processes })
    }
}
