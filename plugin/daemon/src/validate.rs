//! The `validate` subcommand: every problem of configuration files, before a node meets them.

use std::io::Write;
use std::path::{Path, PathBuf};

use plugin_core::config::{Strictness, read};

use crate::files;

/// Largest file in bytes.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The exit status when all files are fine.
const FINE: u8 = 0;
/// The exit status when a file has a problem.
const PROBLEMS: u8 = 1;
/// The exit status when a file cannot be read.
const UNREADABLE: u8 = 2;

/// Checks each file strictly and prints what is wrong; the exit status is that of the worst.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn print(paths: &[PathBuf], out: &mut impl Write) -> std::io::Result<u8> {
    let mut worst = FINE;
    for path in paths {
        worst = worst.max(check(path, out)?);
    }
    Ok(worst)
}

fn check(path: &Path, out: &mut impl Write) -> std::io::Result<u8> {
    let name = path.display().to_string();
    let text = match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => {
            writeln!(out, "{name}: does not exist")?;
            return Ok(UNREADABLE);
        }
        Err(e) => {
            writeln!(out, "{name}: cannot be read: {e}")?;
            return Ok(UNREADABLE);
        }
    };
    match read(&name, &text, Strictness::Strict) {
        Ok(read) => {
            for warning in &read.warnings {
                writeln!(out, "{warning}")?;
            }
            writeln!(out, "{name}: ok")?;
            Ok(FINE)
        }
        Err(problems) => {
            writeln!(out, "{problems}")?;
            Ok(PROBLEMS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(text: Option<&str>) -> (u8, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let mut out = Vec::new();
        let code = print(&[path], &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_file_is_ok() {
        let (code, out) = validate(Some("version: v1\nflags:\n  migStrategy: none\n"));
        assert_eq!(code, FINE, "{out}");
        assert!(out.ends_with("config.yaml: ok\n"), "{out}");
    }

    #[test]
    fn an_unknown_key_is_a_problem_with_its_position() {
        let (code, out) = validate(Some("version: v1\nflagz: {}\n"));
        assert_eq!(code, PROBLEMS);
        assert!(out.contains("config.yaml:2:1"), "{out}");
    }

    #[test]
    fn a_file_that_is_not_there_cannot_be_read() {
        assert_eq!(validate(None).0, UNREADABLE);
    }
}
