//! `mps --ready`: what a readiness probe of the supervisor's container runs. It reads files and asks nobody.

use anyhow::{Result, anyhow, bail};
use plugin_core::mps::{Actual, Desired, not_ready_because};

use crate::mps_files::{self, MpsRoot};

/// Succeeds when a supervisor runs with this root and all its daemons serve that are wished for; `alone` when its own file says
/// which those are.
///
/// # Errors
/// One line: what is missing.
pub(crate) fn ready(root: &MpsRoot, alone: bool) -> Result<()> {
    if !root.supervisor_alive() {
        bail!(
            "no MPS supervisor holds `{}`; the first process of its container starts it again",
            root.lock().display()
        );
    }
    let actual: Option<Actual> = mps_files::read_json(&root.actual()).map_err(|why| anyhow!(why))?;
    let desired: Option<Desired> = match alone {
        true => None,
        // nobody wished for anything yet
        false => Some(mps_files::read_json(&root.desired()).map_err(|why| anyhow!(why))?.unwrap_or_default()),
    };
    match not_ready_because(desired.as_ref(), actual.as_ref()).as_slice() {
        [] => Ok(()),
        obstacles => bail!("the MPS supervisor is not ready: {}", obstacles.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_supervisor_is_ready_when_it_lives_and_has_reported_on_the_newest_wish() {
        let directory = tempfile::tempdir().unwrap();
        let root = MpsRoot(directory.path().join("mps"));
        let why = |root: &MpsRoot| ready(root, false).map_err(|e| e.to_string());
        assert!(why(&root).is_err_and(|why| why.contains("supervisor.lock")));
        root.create().unwrap();
        let lock = File::create(root.lock()).unwrap();
        lock.lock().unwrap();
        assert!(why(&root).is_err_and(|why| why.contains("not reported")));
        mps_files::write_json(&root.actual(), &Actual::default()).unwrap();
        assert_eq!(why(&root), Ok(()));
        mps_files::write_json(&root.desired(), &Desired { generation: 1, ..Desired::default() }).unwrap();
        assert!(why(&root).is_err_and(|why| why.contains("newest is 1")));
        assert!(ready(&root, true).is_ok());
        drop(lock);
        assert!(why(&root).is_err());
    }
}
