//! Where a run's journals, logs and reports stay on disk, because a failure is studied after the run is gone.

use std::io;
use std::path::{Path, PathBuf};

/// How many runs of one scenario are kept; older ones make room.
pub const RUNS_KEPT_MAX: u64 = 20;
/// How many numbers are tried before giving up.
const NUMBERS_TRIED_MAX: u64 = 10_000;

/// The default directory of all runs: `tandem/runs` in Cargo's target directory, or in the temporary one.
pub fn default_root(workspace: Option<&Path>) -> PathBuf {
    let target = match (std::env::var_os("CARGO_TARGET_DIR"), workspace) {
        (Some(target), Some(root)) => root.join(target),
        (Some(target), None) => PathBuf::from(target),
        (None, Some(root)) => root.join("target"),
        (None, None) => std::env::temp_dir(),
    };
    target.join("tandem").join("runs")
}

/// Makes a new directory `<root>/<scenario>-<n>` and removes runs that are too old.
///
/// # Errors
/// What the file system says.
pub fn create(root: &Path, scenario: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(root)?;
    let taken = numbers(root, scenario)?;
    let first = taken.iter().max().map_or(1, |most| most + 1);
    for number in first..first + NUMBERS_TRIED_MAX {
        let path = root.join(format!("{scenario}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => {
                for old in taken.iter().filter(|old| **old + RUNS_KEPT_MAX <= number) {
                    std::fs::remove_dir_all(root.join(format!("{scenario}-{old}")))?;
                }
                return std::path::absolute(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free run number"))
}

fn numbers(root: &Path, scenario: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(scenario)?.strip_prefix('-')?.parse().ok());
        found.extend(number);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_and_only_old_ones_of_the_same_scenario_go() {
        let root = tempfile::tempdir().unwrap();
        let other = create(root.path(), "other").unwrap();
        let first = create(root.path(), "story").unwrap();
        assert!(first.ends_with("story-1"));
        for _ in 0..RUNS_KEPT_MAX {
            create(root.path(), "story").unwrap();
        }
        assert!(!first.exists() && root.path().join("story-2").exists() && other.exists());
        assert_eq!(numbers(root.path(), "story").unwrap().len() as u64, RUNS_KEPT_MAX);
    }
}
