//! Asks which processes are on a GPU, and answers in time whatever the driver does.

use std::collections::BTreeMap;

use plugin_core::event::Event;
use plugin_core::inventory::GpuUuid;
use plugin_core::ownership::processes::ProcessList;

use crate::gpu::GpuThread;

/// Most GPUs with a thread of their own; machines have 16. Beyond it the threads of GPUs that are not asked about are let go.
const GPUS_MAX: usize = 64;

/// See the module. One GPU that hangs keeps no other waiting.
pub(crate) struct ProcessReader {
    gpus: GpuThread,
    by_gpu: BTreeMap<GpuUuid, GpuThread>,
}

impl ProcessReader {
    /// Nothing is asked yet.
    pub(crate) fn new(gpus: GpuThread) -> Self {
        ProcessReader { gpus, by_gpu: BTreeMap::new() }
    }

    /// The answer to `ReadProcesses`; the call begins when it is first polled.
    pub(crate) fn read(&mut self, gpu: GpuUuid) -> impl Future<Output = Event> + Send + 'static {
        if self.by_gpu.len() >= GPUS_MAX {
            self.by_gpu.retain(|known, thread| *known == gpu || thread.is_busy());
        }
        let thread = self.by_gpu.entry(gpu.clone()).or_insert_with(|| self.gpus.for_one_gpu()).clone();
        async move {
            let list = match thread.processes(gpu.clone()).await {
                Ok(list) => list,
                Err(error) => ProcessList::Failed { why: error.to_string() },
            };
            Event::ProcessesRead { gpu, list }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::*;
    use crate::gpu::{GpuError, MockGpuBackend};

    #[tokio::test]
    async fn a_gpu_that_hangs_is_told_as_unreadable_and_keeps_no_other_waiting() {
        let (release, held) = sync_channel::<()>(1);
        let held = Mutex::new(held);
        let (ill, well, refused) = (GpuUuid::new("GPU-a"), GpuUuid::new("GPU-b"), GpuUuid::new("GPU-c"));
        let mut backend = MockGpuBackend::new();
        // an expectation for each, because one that hangs is locked
        backend.expect_processes().withf(|gpu| gpu.as_str() == "GPU-a").returning(move |_| {
            let _ = held.lock().map(|held| held.recv());
            Ok(ProcessList::Unsupported)
        });
        let none = |_: &GpuUuid| Ok(ProcessList::Read { processes: Vec::new() });
        backend.expect_processes().withf(|gpu| gpu.as_str() == "GPU-b").returning(none);
        backend
            .expect_processes()
            .returning(|gpu| Err(GpuError::Refused { gpu: gpu.clone(), why: "Unknown Error".into() }));
        let gpus = GpuThread::start(Box::new(backend)).waiting_for(Duration::from_millis(20));
        let mut reader = ProcessReader::new(gpus);
        for why in ["`read_processes` has not returned within 20ms", "an earlier call has not returned"] {
            let told = reader.read(ill.clone()).await;
            let Event::ProcessesRead { gpu, list: ProcessList::Failed { why: told } } = told else {
                panic!("{told:?}")
            };
            assert!(gpu == ill && told.contains(why), "{told}");
            let read = ProcessList::Read { processes: Vec::new() };
            assert_eq!(
                reader.read(well.clone()).await,
                Event::ProcessesRead { gpu: well.clone(), list: read }
            );
        }
        let why = "GPU `GPU-c`: Unknown Error".to_owned();
        assert_eq!(
            reader.read(refused.clone()).await,
            Event::ProcessesRead { gpu: refused, list: ProcessList::Failed { why } }
        );
        drop(release);
    }
}
