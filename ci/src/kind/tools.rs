//! The programs that a kind cluster needs: all that is missing is said at once, before anything is made.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::runner::seconds;

/// What is needed, and where it comes from.
const NEEDED: &[(&str, &str)] = &[
    ("docker", "Debian's docker.io, with its daemon running"),
    ("kind", "https://kind.sigs.k8s.io, one binary"),
    ("kubectl", "Debian's kubernetes-client"),
];

/// Programs that were found.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    path: OsString,
}

impl Tools {
    /// Finds all of them; `variable` reads the environment.
    ///
    /// # Errors
    /// Everything that is missing.
    pub(super) fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Tools> {
        let tools = Tools { path: variable("PATH").unwrap_or_default() };
        let mut missing: Vec<String> = NEEDED
            .iter()
            .filter(|(name, _)| tools.where_is(name).is_none())
            .map(|(name, from)| format!("`{name}` ({from})"))
            .collect();
        if tools.where_is("docker").is_some()
            && let Err(error) = tools.said("docker", ["version", "--format", "{{.Server.Version}}"])
        {
            missing.push(format!("a container engine that answers: {error:#}"));
        }
        match missing.is_empty() {
            true => Ok(tools),
            false => bail!("a kind cluster cannot be made here; missing: {}", missing.join("; ")),
        }
    }

    fn where_is(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path).map(|directory| directory.join(name)).find(|path| path.is_file())
    }

    /// Pulls the node images that the engine does not have.
    ///
    /// # Errors
    /// Which image can neither be found nor pulled.
    pub(super) fn has_node_images(&self, config: &str) -> Result<()> {
        for image in images(config) {
            if self.said("docker", ["image", "inspect", "--format", "{{.Id}}", image]).is_ok() {
                continue;
            }
            self.run("docker", ["pull", image]).with_context(|| {
                format!("node image `{image}` is not in the engine and cannot be pulled (hint: `docker load` an archive of it)")
            })?;
        }
        Ok(())
    }

    /// Runs a program and shows its output.
    ///
    /// # Errors
    /// It cannot be started or does not end with 0.
    pub(super) fn run<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let (line, mut command) = self.command(program, arguments)?;
        println!("ci: {line}");
        let started = Instant::now();
        let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
        let took = seconds(started.elapsed());
        if !status.success() {
            bail!("`{line}` failed after {took}: {status}");
        }
        println!("ci: done in {took}: {line}");
        Ok(())
    }

    /// What a program prints.
    ///
    /// # Errors
    /// It cannot be started, or does not end with 0, with what it says on its error output.
    pub(super) fn said<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<String> {
        let (line, mut command) = self.command(program, arguments)?;
        let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("`{line}` failed: {error}");
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(String, Command)> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let line = format!("{program} {}", arguments.join(" "));
        let found = self.where_is(program).unwrap_or_else(|| Path::new(program).to_owned());
        let mut command = Command::new(found);
        command.args(&arguments).env("PATH", &self.path).stdin(Stdio::null());
        Ok((line, command))
    }
}

/// The node images of a cluster's configuration, each once.
fn images(config: &str) -> BTreeSet<&str> {
    config.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect()
}
