//! Looks at the GPUs: asked for, or because time has passed; what is new is told, and a look that hangs as well.

use std::collections::{BTreeMap, BTreeSet};

use fake_gpu::Node as Gpus;
use plugin_core::event::Event;
use plugin_core::inventory::ComputeMode;

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::Host;
use super::super::{latency, links};
use super::Shell;

/// NVML calls for the list of GPUs, and for each of them, as production makes them.
const CALLS_PER_LIST: u64 = 3;
/// See [`CALLS_PER_LIST`].
const CALLS_PER_GPU: u64 = 10;
/// Looks that are under way at once, as production bounds them.
const LOOKS_MAX: usize = 4;

/// The looks of a process.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// GPUs that did not answer the last look.
    silent: BTreeSet<u32>,
    begun: u64,
    answered: u64,
    /// Those under way, and whether somebody asked for them.
    under_way: BTreeMap<u64, bool>,
    told: Option<Event>,
}

impl Shell {
    /// Begins a look, unless one is under way that nobody needs twice; one that another has overtaken may never return.
    pub(super) fn look_at_gpus(&mut self, cx: &mut Context<'_>, host: &Host, asked: bool) {
        if !asked && self.looks.begun > self.looks.answered {
            return;
        }
        if self.looks.under_way.len() >= LOOKS_MAX {
            return self.look_is_stuck(cx);
        }
        self.looks.begun += 1;
        let number = self.looks.begun;
        self.looks.under_way.insert(number, asked);
        let calls = |gpus: &Gpus| CALLS_PER_GPU * gpus.gpus().len() as u64 + links::calls(gpus);
        let delay = host.nvml_delay(CALLS_PER_LIST + host.gpus.as_deref().map_or(0, calls));
        // a GPU that has been waited for in vain is not asked again before its call returns
        let silent = host.silent_gpus();
        let wait = if silent.is_subset(&self.looks.silent) { 0 } else { latency::GPU_SILENCE };
        self.looks.silent = silent;
        let at = cx.now() + cx.engine.draw_from(latency::NVML_FIND) + delay + wait;
        cx.at(at, What::GpusListed(self.life, number));
        cx.at(cx.now() + self.driver_patience, What::LookOverdue(self.life, number));
    }

    /// The plugin looks by itself, and will again.
    pub(in super::super) fn gpus_due(&mut self, cx: &mut Context<'_>, host: &Host) {
        self.look_at_gpus(cx, host, false);
        cx.at(cx.now() + self.gpu_look, What::GpusDue(self.life));
    }

    /// A look takes too long, unless it is over or another one was begun.
    pub(in super::super) fn look_overdue(&mut self, cx: &mut Context<'_>, number: u64) {
        if number == self.looks.begun && self.looks.under_way.contains_key(&number) {
            self.look_is_stuck(cx);
        }
    }

    fn look_is_stuck(&mut self, cx: &mut Context<'_>) {
        let waited_s = self.driver_patience / latency::SECOND;
        let event = Event::DriverStuck { call: "find_gpus".to_owned(), gpu: None, waited_s };
        self.looks.told = Some(event.clone());
        self.post(cx, event);
    }

    /// NVML has answered. An answer that a newer one has overtaken is old.
    pub(in super::super) fn gpus_listed(&mut self, cx: &mut Context<'_>, host: &mut Host, number: u64) {
        if host.hangs(None, || What::GpusListed(self.life, number)) {
            return;
        }
        let asked = self.looks.under_way.remove(&number).unwrap_or_default();
        if number < self.looks.answered {
            return;
        }
        self.looks.answered = number;
        let event = match host.facts(&mut self.nvml) {
            Ok(facts) => Event::GpusFound { facts },
            Err((true, why)) => Event::DriverFailed { why },
            Err((false, why)) => Event::NoDriver { why },
        };
        let is_news = self.looks.told.as_ref().is_none_or(|told| !is_same(told, &event));
        if asked || is_news {
            self.looks.told = Some(event.clone());
            self.post(cx, event);
        }
    }
}

/// Compute modes follow the roles that the plugin itself gives.
fn is_same(told: &Event, now: &Event) -> bool {
    let (Event::GpusFound { facts: told }, Event::GpusFound { facts: now }) = (told, now) else {
        return told == now;
    };
    let (mut told, mut now) = (told.clone(), now.clone());
    for gpu in told.gpus.iter_mut().chain(&mut now.gpus) {
        gpu.compute_mode = ComputeMode::Default;
    }
    told == now
}
