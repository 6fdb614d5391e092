//! The supervisor without our plugin, in the place of NVIDIA's MPS control daemon: a configuration file that was given to it
//! says which daemons there should be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugin_core::config::Overrides;
use plugin_core::inventory::Facts;
use plugin_core::mps::{Desired, SupervisorEvent, desired_alone};
use tokio::sync::{Notify, mpsc};

use crate::config_dir::ConfigPath;
use crate::dir_watch::DirWatch;
use crate::files;
use crate::gpu::GpuThread;

/// Between two looks for a driver that is not there.
const DRIVER_RETRY: Duration = Duration::from_secs(10);

/// The file and what stands over it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AloneSettings {
    /// The configuration file.
    pub(crate) file: PathBuf,
    /// Flags and environment.
    pub(crate) overrides: Overrides,
}

/// Tells what the file asks for, at once, after every change, and whenever `asked` is notified. What cannot hold is told in
/// the log alone: the last wish stays.
pub(crate) async fn watch(
    settings: AloneSettings,
    gpus: GpuThread,
    asked: Arc<Notify>,
    events: mpsc::Sender<SupervisorEvent>,
) {
    let facts = find(&gpus).await;
    let mut changes = DirWatch::new(files::directory_of(&settings.file));
    let mut told: Option<Result<Desired, Vec<String>>> = None;
    loop {
        let found = read(&settings, &facts);
        if told.as_ref() != Some(&found) {
            told = Some(found.clone());
            match found {
                Ok(desired) => {
                    let gpus = desired.daemons.len();
                    tracing::info!(gpus, "the configuration file says which GPUs are shared by MPS");
                    if events.send(SupervisorEvent::AloneRead { desired }).await.is_err() {
                        return;
                    }
                }
                Err(problems) => {
                    for why in problems {
                        tracing::error!(why, "the configuration is refused; the last one holds");
                    }
                }
            }
        }
        tokio::select! {
            biased;
            () = asked.notified() => {}
            () = changes.changed() => {}
        }
    }
}

fn read(settings: &AloneSettings, facts: &Facts) -> Result<Desired, Vec<String>> {
    let files = ConfigPath::File(settings.file.clone()).read().map_err(|e| vec![e.to_string()])?;
    let one = files.into_iter().next();
    let (name, text) = one.ok_or_else(|| vec![format!("`{}` is no file", settings.file.display())])?;
    desired_alone(&name, &text, &settings.overrides, facts)
}

/// The GPUs, as soon as there is a driver.
async fn find(gpus: &GpuThread) -> Facts {
    let mut ticks = tokio::time::interval(DRIVER_RETRY);
    loop {
        ticks.tick().await;
        let why = match gpus.find() {
            Ok(answer) => match answer.await {
                Ok(Ok(facts)) => return facts,
                Ok(Err(e)) => e.to_string(),
                Err(_) => "the driver's thread ended".to_owned(),
            },
            Err(e) => e.to_string(),
        };
        tracing::warn!(why, "the GPUs are not known yet; looking again in {DRIVER_RETRY:?}");
    }
}

#[cfg(test)]
mod tests {
    use plugin_core::board;
    use plugin_core::config::Flags;

    use super::*;
    use crate::gpu::MockGpuBackend;

    #[tokio::test]
    async fn the_file_is_followed_and_a_wrong_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let write = |replicas: &str| {
            let text = format!(
                "version: v1\nsharing: {{mps: {{resources: [{{name: nvidia.com/gpu, replicas: {replicas}}}]}}}}"
            );
            files::replace(&file, text.as_bytes()).unwrap();
        };
        write("4");
        let mut backend = MockGpuBackend::new();
        backend.expect_find().returning(|| Ok(board::node("2*tesla-t4").unwrap()));
        let flags = Flags { mps_root: Some("/mps".to_owned()), ..Flags::default() };
        let overrides = Overrides { flags, ..Overrides::default() };
        let settings = AloneSettings { file: file.clone(), overrides };
        let (events, mut seen) = mpsc::channel(8);
        let asked = Arc::new(Notify::new());
        tokio::spawn(watch(settings, GpuThread::start(Box::new(backend)), Arc::clone(&asked), events));
        let replicas = |event: Option<SupervisorEvent>| match event {
            Some(SupervisorEvent::AloneRead { desired }) => {
                desired.daemons.values().map(|daemon| daemon.replicas).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(replicas(seen.recv().await), [4, 4]);
        write("many");
        asked.notify_one();
        write("2");
        asked.notify_one();
        assert_eq!(replicas(seen.recv().await), [2, 2]);
    }
}
