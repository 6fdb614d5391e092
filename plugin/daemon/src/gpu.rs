//! The seam to the hardware: what the plugin needs of a GPU driver, and the thread on which it may block.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use plugin_core::inventory::{ComputeMode, Facts, GpuUuid};
use thiserror::Error;
use tokio::sync::oneshot;

/// Most calls that wait for the driver; a driver that hangs must not collect more.
const CALLS_MAX: usize = 256;

/// Why there are no facts about GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FindError {
    /// This node has no driver library; one may be installed later.
    #[error("{why}")]
    NoDriver {
        /// The loader's message.
        why: String,
    },
    /// The library is there but cannot be used.
    #[error("{why}")]
    DriverFailed {
        /// The driver's message.
        why: String,
    },
}

/// Why an effect on a GPU failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum GpuError {
    /// The driver refused.
    #[error("GPU `{gpu}`: {why}")]
    Refused {
        /// The GPU.
        gpu: GpuUuid,
        /// The driver's message.
        why: String,
    },
    /// The driver does not answer, and too many calls wait for it.
    #[error("the GPU driver does not answer; {CALLS_MAX} calls wait for it")]
    Stuck,
}

/// A GPU driver. Calls may block.
#[cfg_attr(test, mockall::automock)]
pub(crate) trait GpuBackend: Send {
    /// Loads the driver's library if needed and reports everything.
    fn find(&mut self) -> Result<Facts, FindError>;
    /// Who may open contexts on the GPU now.
    fn compute_mode(&mut self, gpu: &GpuUuid) -> Result<ComputeMode, GpuError>;
    /// Changes who may open contexts on the GPU; needs root.
    fn set_compute_mode(&mut self, gpu: &GpuUuid, mode: ComputeMode) -> Result<(), GpuError>;
}

type Call = Box<dyn FnOnce(&mut dyn GpuBackend) + Send>;

/// A backend on its own thread, so that a driver that blocks never blocks an Allocate.
#[derive(Clone)]
pub(crate) struct GpuThread {
    calls: SyncSender<Call>,
}

impl GpuThread {
    /// Starts the thread. It ends with the last clone of this handle.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(backend: Box<dyn GpuBackend>) -> std::io::Result<Self> {
        let (calls, queue) = sync_channel(CALLS_MAX);
        std::thread::Builder::new().name("gpu".into()).spawn(move || serve(backend, &queue))?;
        Ok(GpuThread { calls })
    }

    /// See [`GpuBackend::find`].
    pub(crate) async fn find(&self) -> Result<Facts, FindError> {
        let stuck = || Err(FindError::DriverFailed { why: GpuError::Stuck.to_string() });
        self.call(|b| b.find()).await.unwrap_or_else(stuck)
    }

    /// See [`GpuBackend::compute_mode`].
    pub(crate) async fn compute_mode(&self, gpu: GpuUuid) -> Result<ComputeMode, GpuError> {
        self.call(move |b| b.compute_mode(&gpu)).await.unwrap_or(Err(GpuError::Stuck))
    }

    /// See [`GpuBackend::set_compute_mode`].
    pub(crate) async fn set_compute_mode(&self, gpu: GpuUuid, mode: ComputeMode) -> Result<(), GpuError> {
        self.call(move |b| b.set_compute_mode(&gpu, mode)).await.unwrap_or(Err(GpuError::Stuck))
    }

    /// `None` when too many calls wait, or the thread is gone.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn GpuBackend) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |backend| {
            // the caller may have given up
            let _ = answer.send(work(backend));
        });
        match self.calls.try_send(call) {
            Ok(()) => answered.await.ok(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

fn serve(mut backend: Box<dyn GpuBackend>, queue: &Receiver<Call>) {
    while let Ok(call) = queue.recv() {
        call(backend.as_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_backend_fails_the_call_and_not_the_thread() {
        let mut backend = MockGpuBackend::new();
        backend.expect_find().times(2).returning(|| Err(FindError::NoDriver { why: "no such file".into() }));
        let gpus = GpuThread::start(Box::new(backend)).unwrap();
        for _ in 0..2 {
            assert_eq!(gpus.find().await, Err(FindError::NoDriver { why: "no such file".into() }));
        }
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_reported_once_the_queue_is_full() {
        let (release, held) = sync_channel::<()>(1);
        let mut backend = MockGpuBackend::new();
        backend.expect_compute_mode().returning(move |_| {
            let _ = held.recv();
            Ok(ComputeMode::Default)
        });
        let gpus = GpuThread::start(Box::new(backend)).unwrap();
        let gpu = GpuUuid::new("GPU-a");
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..CALLS_MAX + 2 {
            let (gpus, gpu) = (gpus.clone(), gpu.clone());
            waiting.spawn(async move { gpus.compute_mode(gpu).await });
        }
        let first = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(first, Err(GpuError::Stuck));
        drop(release);
    }
}
