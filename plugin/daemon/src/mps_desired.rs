//! The supervisor's half of the conversation with the plugin: holds the lock that says "alive", and reads `desired.json`.

use std::fs::{File, OpenOptions, TryLockError};

use anyhow::Context;
use plugin_core::mps::{Desired, SupervisorEvent};
use tokio::sync::{mpsc, oneshot};

use crate::dir_watch::DirWatch;
use crate::mps_files::{self, MpsRoot};

/// Holds the lock that says "alive". While another supervisor has it, this one waits; `None` when it is stopped meanwhile.
pub(crate) async fn lock(root: &MpsRoot, stop: &mut mpsc::Receiver<()>) -> anyhow::Result<Option<File>> {
    let path = root.lock();
    let failed = || format!("`{}` cannot be locked", path.display());
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::Error(e)) => return Err(e).with_context(failed),
        Err(TryLockError::WouldBlock) => {}
    }
    tracing::warn!(path = %path.display(), "another MPS supervisor is running; waiting for its end");
    let (locked, waiting) = oneshot::channel();
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let result = file.lock().map(|()| file);
        // nobody waits any more when the process is ending
        let _ = locked.send(result);
    })?;
    tokio::select! {
        biased;
        _ = stop.recv() => Ok(None),
        locked = waiting => Ok(Some(locked?.with_context(failed)?)),
    }
}

/// Tells what the plugin wants, at once and after every change. Without the file nothing is told: the last wish holds.
pub(crate) async fn watch_desired(root: MpsRoot, events: mpsc::Sender<SupervisorEvent>) {
    let mut changes = DirWatch::new(&root.0);
    let mut told: Option<Result<Desired, String>> = None;
    loop {
        let found = mps_files::read_json::<Desired>(&root.desired()).transpose();
        if let Some(found) = found.filter(|f| told.as_ref() != Some(f)) {
            told = Some(found.clone());
            let sent = match found {
                Ok(desired) => events.send(SupervisorEvent::DesiredRead { desired }).await,
                Err(why) => {
                    tracing::warn!(why, "the plugin's wishes cannot be read; the last ones hold");
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
        changes.changed().await;
    }
}
