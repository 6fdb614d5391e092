//! Every step is a few programs started in order; this starts one, says so, and says how long it took.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How the variables begin by which Cargo tells a program of itself.
const OF_A_PROGRAM: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Starts programs in the repository's root, with nothing on their standard input.
#[derive(Debug)]
pub struct Runner {
    root: PathBuf,
    cargo: String,
}

impl Runner {
    /// A runner for the repository at `root`; `cargo` is the cargo to call.
    pub fn new(root: &Path, cargo: &str) -> Self {
        Self { root: root.to_owned(), cargo: cargo.to_owned() }
    }

    /// A runner for the repository that this program was built from, with the cargo that started it.
    pub fn here() -> Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = own.parent().context("the crate `ci` has no parent directory")?;
        if !root.join("Cargo.toml").is_file() {
            bail!("`{}` is not the workspace; start this as `cargo ci` in a checkout", root.display());
        }
        Ok(Self::new(root, &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())))
    }

    /// The repository's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `cargo <arguments>` and shows its output. Fails when it cannot be started or does not end with 0.
    pub fn cargo<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<()> {
        self.cargo_with(&[], arguments)
    }

    /// The same with more environment variables.
    pub fn cargo_with<S: AsRef<str>>(
        &self,
        variables: &[(&str, PathBuf)],
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let arguments: Vec<String> = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let line = format!("cargo {}", arguments.join(" "));
        println!("ci: {line}");
        let started = Instant::now();
        let mut command = Command::new(&self.cargo);
        // a build script that sees these change is run again, and half of the dependencies with it
        let of_this_program = |name: &str| OF_A_PROGRAM.iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_program)) {
            command.env_remove(name);
        }
        let status = command
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .args(&arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start `{line}`"))?;
        let took = seconds(started.elapsed());
        if !status.success() {
            bail!("`{line}` failed after {took}: {status}");
        }
        println!("ci: done in {took}: {line}");
        Ok(())
    }

    /// Whether `cargo <subcommand>` is installed.
    pub fn has_subcommand(&self, subcommand: &str) -> bool {
        let probe = Command::new(&self.cargo)
            .args([subcommand, "--version"])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|status| status.success())
    }
}

/// A duration as people read it.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_its_arguments_and_status() {
        let runner = Runner::new(Path::new("/"), "false");
        let error = runner.cargo(["build", "--release"]).unwrap_err().to_string();
        assert!(error.starts_with("`cargo build --release` failed after "), "{error}");
        assert!(error.ends_with("exit status: 1"), "{error}");
        assert!(!runner.has_subcommand("deny"));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let runner = Runner::new(Path::new("/"), "/nonexistent/cargo");
        let error = runner.cargo(["build"]).unwrap_err().to_string();
        assert_eq!(error, "cannot start `cargo build`");
        assert!(!runner.has_subcommand("deny"));
    }

    #[test]
    fn a_program_that_succeeds_is_no_error() {
        let runner = Runner::new(Path::new("/"), "true");
        assert!(runner.cargo(["build"]).is_ok());
        assert!(runner.has_subcommand("deny"));
    }
}
