//! The seam to the hardware: what the plugin needs of a GPU driver, and threads on which it may block.
//!
//! Each call has a thread of its own, so a call that does not return keeps nobody waiting but its caller, and the caller
//! only for a time that has a name. The thread is left alone then: a call that hangs in the kernel cannot be ended, and one
//! that is only slow still gives its answer. What hangs is bounded, because each thread takes one of few places.

pub(crate) mod processes;

use std::sync::Arc;
use std::time::Duration;

use plugin_core::inventory::{ComputeMode, Facts, GpuUuid};
use plugin_core::ownership::processes::ProcessList;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

/// Most looks at all GPUs that are under way: one, and those that do not return.
const LOOKS_MAX: usize = 4;
/// How long a call about one GPU may take before it counts as failed.
const EFFECT_TIME_MAX: Duration = Duration::from_secs(5);

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
    /// A machine whose GPUs NVML does not manage.
    #[error("unsupported platform `{platform}`: {why}")]
    Unsupported {
        /// `tegra` or `wsl`.
        platform: &'static str,
        /// How that is known.
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
    /// The call has not returned in its time.
    #[error("the GPU driver does not answer: `{call}` has not returned within {waited:?} (see `dmesg`)")]
    Stuck {
        /// The call.
        call: &'static str,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// Calls before this one have not returned.
    #[error("the GPU driver does not answer: an earlier call has not returned (see `dmesg`)")]
    StillStuck,
}

/// A GPU driver. Calls may block, and several may be under way.
#[cfg_attr(test, mockall::automock)]
pub(crate) trait GpuBackend: Send + Sync {
    /// Loads the driver's library and reports everything.
    fn find(&self) -> Result<Facts, FindError>;
    /// Who may open contexts on the GPU now.
    fn compute_mode(&self, gpu: &GpuUuid) -> Result<ComputeMode, GpuError>;
    /// Changes who may open contexts on the GPU; needs root.
    fn set_compute_mode(&self, gpu: &GpuUuid, mode: ComputeMode) -> Result<(), GpuError>;
    /// Which compute processes are on the GPU now; never [`ProcessList::Failed`].
    fn processes(&self, gpu: &GpuUuid) -> Result<ProcessList, GpuError>;
}

/// A backend whose calls run on threads of their own. See the module.
#[derive(Clone)]
pub(crate) struct GpuThread {
    backend: Arc<dyn GpuBackend>,
    places: Arc<Semaphore>,
    effect_time: Duration,
}

impl GpuThread {
    /// No thread runs before the first call.
    pub(crate) fn start(backend: Box<dyn GpuBackend>) -> Self {
        GpuThread {
            backend: backend.into(),
            places: Arc::new(Semaphore::new(LOOKS_MAX)),
            effect_time: EFFECT_TIME_MAX,
        }
    }

    /// The same driver for the calls about one GPU. They never overtake each other: while one hangs, the next fails, or a
    /// compute mode that was asked for long ago could be set after a newer one.
    pub(crate) fn for_one_gpu(&self) -> Self {
        GpuThread { places: Arc::new(Semaphore::new(1)), ..self.clone() }
    }

    /// See [`GpuBackend::find`]. It takes as long as it takes; nothing comes when its thread died.
    ///
    /// # Errors
    /// When too many looks do not return.
    pub(crate) fn find(&self) -> Result<oneshot::Receiver<Result<Facts, FindError>>, GpuError> {
        self.begin(|backend| backend.find())
    }

    /// See [`GpuBackend::compute_mode`].
    pub(crate) async fn compute_mode(&self, gpu: GpuUuid) -> Result<ComputeMode, GpuError> {
        self.effect("read_compute_mode", move |backend| backend.compute_mode(&gpu)).await
    }

    /// See [`GpuBackend::set_compute_mode`].
    pub(crate) async fn set_compute_mode(&self, gpu: GpuUuid, mode: ComputeMode) -> Result<(), GpuError> {
        self.effect("set_compute_mode", move |backend| backend.set_compute_mode(&gpu, mode)).await
    }

    /// See [`GpuBackend::processes`].
    pub(crate) async fn processes(&self, gpu: GpuUuid) -> Result<ProcessList, GpuError> {
        self.effect("read_processes", move |backend| backend.processes(&gpu)).await
    }

    /// With another patience for calls about one GPU.
    #[cfg(test)]
    pub(crate) fn waiting_for(self, effect_time: Duration) -> Self {
        GpuThread { effect_time, ..self }
    }

    /// Whether a call is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.places.available_permits() == 0
    }

    async fn effect<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl FnOnce(&dyn GpuBackend) -> Result<T, GpuError> + Send + 'static,
    ) -> Result<T, GpuError> {
        let answer = self.begin(work)?;
        match tokio::time::timeout(self.effect_time, answer).await {
            Ok(Ok(answer)) => answer,
            // its thread died
            Ok(Err(_)) => Err(GpuError::StillStuck),
            Err(_) => Err(GpuError::Stuck { call, waited: self.effect_time }),
        }
    }

    fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn GpuBackend) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, GpuError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| GpuError::StillStuck)?;
        let (answer, answered) = oneshot::channel();
        let backend = Arc::clone(&self.backend);
        let call = move || {
            let done = work(backend.as_ref());
            // before the answer, so that whoever has it can make the next call
            drop(place);
            // the caller may have given up
            let _ = answer.send(done);
        };
        std::thread::Builder::new().name("gpu".into()).spawn(call).map_err(|_| GpuError::StillStuck)?;
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    /// A driver whose compute mode cannot be read until the sender is dropped.
    fn hung() -> (GpuThread, SyncSender<()>) {
        let (release, held) = sync_channel::<()>(1);
        let held = Mutex::new(held);
        let mut backend = MockGpuBackend::new();
        backend.expect_set_compute_mode().returning(|_, _| Ok(()));
        backend.expect_find().returning(move || {
            let _ = held.lock().map(|held| held.recv());
            Ok(Facts::default())
        });
        (GpuThread::start(Box::new(backend)), release)
    }

    #[tokio::test]
    async fn a_failing_backend_fails_every_call_anew() {
        let mut backend = MockGpuBackend::new();
        backend.expect_find().times(2).returning(|| Err(FindError::NoDriver { why: "no such file".into() }));
        let gpus = GpuThread::start(Box::new(backend));
        for _ in 0..2 {
            let found = gpus.find().unwrap().await.unwrap();
            assert_eq!(found, Err(FindError::NoDriver { why: "no such file".into() }));
        }
    }

    #[tokio::test]
    async fn calls_that_hang_are_bounded_keep_no_effect_waiting_and_give_their_places_back() {
        let (gpus, release) = hung();
        let hanging: Vec<_> = (0..LOOKS_MAX).map(|_| gpus.find().unwrap()).collect();
        assert_eq!(gpus.find().map(|_| ()), Err(GpuError::StillStuck));
        let gpu = GpuUuid::new("GPU-a");
        assert_eq!(gpus.for_one_gpu().set_compute_mode(gpu, ComputeMode::Default).await, Ok(()));
        drop(release);
        for look in hanging {
            assert_eq!(look.await.unwrap(), Ok(Facts::default()), "a late answer is an answer");
        }
        assert!(gpus.find().is_ok());
    }

    #[tokio::test]
    async fn an_effect_that_hangs_fails_in_its_time_and_no_later_one_overtakes_it() {
        let (release, held) = sync_channel::<()>(1);
        let held = Mutex::new(held);
        let mut backend = MockGpuBackend::new();
        backend.expect_set_compute_mode().times(1).returning(move |_, _| {
            let _ = held.lock().map(|held| held.recv());
            Ok(())
        });
        let waited = Duration::from_millis(20);
        let gpus = GpuThread { effect_time: waited, ..GpuThread::start(Box::new(backend)).for_one_gpu() };
        let gpu = GpuUuid::new("GPU-a");
        let first = gpus.set_compute_mode(gpu.clone(), ComputeMode::ExclusiveProcess).await;
        assert_eq!(first, Err(GpuError::Stuck { call: "set_compute_mode", waited }));
        let second = gpus.set_compute_mode(gpu, ComputeMode::Default).await;
        assert_eq!(second, Err(GpuError::StillStuck));
        drop(release);
    }
}
