//! What a run leaves behind: processes are waited for, and when somebody leaves in the middle, all is ended and removed.

use std::time::Duration;

use super::{WireStage, process};

/// How long processes that a stopped program left behind may take to vanish before they count as leaked.
const LEFTOVERS_VANISH_WITHIN: Duration = Duration::from_secs(2);
/// How often leftovers are looked for.
const LEFTOVERS_EVERY: Duration = Duration::from_millis(20);

impl WireStage {
    /// Waits until no process of this run lives; says which still do.
    pub(super) async fn leftovers(&self) -> Vec<String> {
        let begun = std::time::Instant::now();
        loop {
            let alive = process::alive_with(&self.directory);
            if alive.is_empty() || begun.elapsed() >= LEFTOVERS_VANISH_WITHIN {
                return alive.iter().map(|left| format!("process {} `{}`", left.pid, left.command)).collect();
            }
            tokio::time::sleep(LEFTOVERS_EVERY).await;
        }
    }
}

impl Drop for WireStage {
    /// Somebody left in the middle of a run.
    fn drop(&mut self) {
        let Some(temporary) = self.temporary.take() else { return };
        process::kill_all_with(&self.directory);
        if self.keep {
            let _kept = temporary.keep();
            return;
        }
        let begun = std::time::Instant::now();
        // what a dying process still writes would stay behind
        while !process::alive_with(&self.directory).is_empty() && begun.elapsed() < LEFTOVERS_VANISH_WITHIN {
            std::thread::sleep(LEFTOVERS_EVERY);
        }
        if let Err(error) = temporary.close() {
            eprintln!("temporary directory `{}` stays: {error}", self.directory.display());
        }
    }
}
