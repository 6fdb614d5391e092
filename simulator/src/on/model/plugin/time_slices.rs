//! nvidia-smi as the plugin runs it, in virtual time.

use fake_gpu::ControlTrouble;
use fake_gpu::smi::{Request, SmiError};
use plugin_core::config::TimeSlice;
use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use plugin_core::time_slice::{SliceFailure, SliceSet};

use super::super::engine::Context;
use super::super::happening::What;
use super::super::host::Host;
use super::super::latency;
use super::Shell;

/// What is said of a run without an end.
const TOO_LATE: &str = "`nvidia-smi` did not end within 15s and was killed";

impl Shell {
    /// A run has come to its end, or has none.
    pub(in super::super) fn time_slice_asked(
        &mut self,
        cx: &mut Context<'_>,
        host: &mut Host,
        gpu: GpuUuid,
        interval: TimeSlice,
    ) {
        if self.kept_gpus.is_some() {
            // it begins when `gpus.json` is written
            return cx.after(latency::NVIDIA_SMI, What::TimeSliceAsked(self.life, gpu, interval));
        }
        let failed = |why: String, unsupported| {
            Event::TimeSliceFailed(SliceFailure { gpu: gpu.clone(), interval, why, unsupported })
        };
        let (pause, event) = match host.set_time_slice(&gpu, interval) {
            Ok(()) => (host.nvml_delay(1), Event::TimeSliceSet(SliceSet { gpu: gpu.clone(), interval })),
            Err(Failure::Hangs) => (latency::NVIDIA_SMI_MAX, failed(TOO_LATE.to_owned(), false)),
            Err(Failure::Missing) => (
                0,
                failed(
                    "`nvidia-smi` cannot be run: No such file or directory (os error 2)".to_owned(),
                    false,
                ),
            ),
            Err(Failure::Says(error)) => {
                let unsupported = matches!(error, SmiError::NotSupported(_));
                (0, failed(format!("{error} (exit status: {})", error.status()), unsupported))
            }
        };
        cx.show();
        cx.at(cx.now() + pause, What::PluginTold(self.life, Box::new(event)));
    }
}

/// Why a run does not do what it should.
enum Failure {
    Hangs,
    Missing,
    Says(SmiError),
}

impl Host {
    fn set_time_slice(&mut self, gpu: &GpuUuid, interval: TimeSlice) -> Result<(), Failure> {
        let gpus = self.gpus.as_mut().ok_or(Failure::Missing)?;
        let delay = u64::from(gpus.nvml_delay_ms) * 1_000_000;
        match gpus.smi_trouble() {
            Some(ControlTrouble::Missing) => return Err(Failure::Missing),
            Some(ControlTrouble::Hangs) => return Err(Failure::Hangs),
            Some(ControlTrouble::Fails | ControlTrouble::Garbage) => {
                return Err(Failure::Says(SmiError::Nvml(1)));
            }
            None if gpus.smi_hangs() || delay >= latency::NVIDIA_SMI_MAX => return Err(Failure::Hangs),
            None => {}
        }
        let slice = match interval {
            TimeSlice::Default => fake_gpu::TimeSlice::Default,
            TimeSlice::Short => fake_gpu::TimeSlice::Short,
            TimeSlice::Medium => fake_gpu::TimeSlice::Medium,
            TimeSlice::Long => fake_gpu::TimeSlice::Long,
        };
        let request = Request::Set(Some(gpu.as_str().to_owned()), slice);
        gpus.nvidia_smi(&request).map(|_| ()).map_err(Failure::Says)
    }
}
