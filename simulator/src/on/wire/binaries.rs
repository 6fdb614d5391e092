//! The build products that the wire stage runs, because a scenario must never meet a missing or stale binary:
//! they are built once per run, and Cargo itself says where they lie.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::Message;

/// Names a directory of ready-made binaries, which are then used without building.
pub const DIR_VARIABLE: &str = "TANDEM_BIN_DIR";
/// The production binary.
pub const PLUGIN: &str = "tandem-device-plugin";
/// The fake driver library as Cargo names it.
pub const NVML: &str = "libfake_nvml.so";
/// The fake MPS control program.
pub const MPS_CONTROL: &str = "nvidia-cuda-mps-control";
/// The fake nvidia-smi.
pub const NVIDIA_SMI: &str = "nvidia-smi";
/// The example device plugin.
pub const EXAMPLE: &str = "example-device-plugin";
/// The command that builds all of them.
const BUILD: &str = "cargo build -p plugin-daemon -p fake-nvml -p fake-gpu -p fake-cluster";

/// How the variables begin by which Cargo tells a program of itself.
const OF_A_PROGRAM: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// `tandem-device-plugin`.
    pub plugin: PathBuf,
    /// The fake `libnvidia-ml.so.1`.
    pub nvml: PathBuf,
    /// `nvidia-cuda-mps-control`.
    pub mps_control: PathBuf,
    /// `nvidia-smi`.
    pub nvidia_smi: PathBuf,
    /// `example-device-plugin`.
    pub example: PathBuf,
}

/// Why the binaries cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The directory of ready-made binaries lacks one.
    #[error(
        "`{DIR_VARIABLE}` names `{directory}`, which has no `{name}` (hint: `{BUILD}` builds it, or unset the variable)"
    )]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// The binary.
        name: &'static str,
    },
    /// Cargo cannot be started.
    #[error(
        "cannot run `{BUILD}`: {0} (hint: install Rust, or name a directory of binaries in `{DIR_VARIABLE}`)"
    )]
    NoCargo(std::io::Error),
    /// The build failed; the compiler's messages went to standard error.
    #[error("`{BUILD}` failed with {0}")]
    Failed(std::process::ExitStatus),
    /// The build succeeded but Cargo named no such product.
    #[error("`{BUILD}` made no `{0}`")]
    NotBuilt(&'static str),
    /// No workspace to build in.
    #[error(
        "no workspace with `plugin/daemon` above `{0}` (hint: run inside a clone, or name a directory of binaries in `{DIR_VARIABLE}`)"
    )]
    NoWorkspace(PathBuf),
}

impl Binaries {
    /// From [`DIR_VARIABLE`] if it is set, else built in the workspace.
    ///
    /// # Errors
    /// See [`BinaryError`].
    pub fn find_or_build() -> Result<Binaries, BinaryError> {
        match std::env::var_os(DIR_VARIABLE) {
            Some(directory) => Binaries::from_dir(Path::new(&directory)),
            None => Binaries::build(&workspace()?),
        }
    }

    /// Ready-made ones from a directory.
    ///
    /// # Errors
    /// One is not there.
    pub fn from_dir(directory: &Path) -> Result<Binaries, BinaryError> {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let find = |name| {
            let path = directory.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(BinaryError::Missing { directory: directory.clone(), name })
            }
        };
        Binaries::of(find)
    }

    fn of<E>(find: impl Fn(&'static str) -> Result<PathBuf, E>) -> Result<Binaries, E> {
        Ok(Binaries {
            plugin: find(PLUGIN)?,
            nvml: find(NVML)?,
            mps_control: find(MPS_CONTROL)?,
            nvidia_smi: find(NVIDIA_SMI)?,
            example: find(EXAMPLE)?,
        })
    }

    /// Builds them with Cargo in the profile of this program.
    ///
    /// # Errors
    /// Cargo is missing or the build fails.
    pub fn build(root: &Path) -> Result<Binaries, BinaryError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut build = Command::new(cargo);
        // what Cargo tells a program of itself: a build script that sees it change is run again, and half of the
        // dependencies with it
        let of_this_program = |name: &str| OF_A_PROGRAM.iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_program)) {
            build.env_remove(name);
        }
        let mut child = build
            .current_dir(root)
            .args(["build", "--quiet", "--profile", profile, "--message-format=json-render-diagnostics"])
            .args(["-p", "plugin-daemon", "-p", "fake-nvml", "-p", "fake-gpu", "-p", "fake-cluster"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BinaryError::NoCargo)?;
        let mut products: Vec<PathBuf> = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            for message in Message::parse_stream(BufReader::new(stdout)).flatten() {
                if let Message::CompilerArtifact(artifact) = message {
                    products.extend(artifact.executable.map(PathBuf::from));
                    products.extend(artifact.filenames.into_iter().map(PathBuf::from));
                }
            }
        }
        let status = child.wait().map_err(BinaryError::NoCargo)?;
        if !status.success() {
            return Err(BinaryError::Failed(status));
        }
        let find = |name| named(&products, name).ok_or(BinaryError::NotBuilt(name));
        Binaries::of(find)
    }
}

fn named(products: &[PathBuf], name: &str) -> Option<PathBuf> {
    products.iter().find(|path| path.file_name().is_some_and(|file| file == name)).cloned()
}

/// The workspace that holds the plugin: the nearest one above the current directory.
///
/// # Errors
/// There is none.
pub fn workspace() -> Result<PathBuf, BinaryError> {
    let start = std::env::current_dir().unwrap_or_default();
    let holds_plugin =
        |dir: &&Path| dir.join("Cargo.toml").is_file() && dir.join("plugin/daemon/Cargo.toml").is_file();
    let found = start.ancestors().find(holds_plugin).map(Path::to_path_buf);
    found.ok_or(BinaryError::NoWorkspace(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_lacks_a_binary_is_refused_with_the_command_that_builds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PLUGIN), "").unwrap();
        let text = Binaries::from_dir(dir.path()).unwrap_err().to_string();
        assert!(text.contains(NVML) && text.contains("cargo build -p plugin-daemon"), "{text}");
        for name in [NVML, MPS_CONTROL, NVIDIA_SMI, EXAMPLE] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(Binaries::from_dir(dir.path()).unwrap().nvml, dir.path().join(NVML));
    }

    #[test]
    fn products_are_found_by_their_file_name() {
        let products = ["/t/debug/libfake_gpu.rlib", "/t/debug/nvidia-cuda-mps-control"].map(PathBuf::from);
        assert_eq!(named(&products, MPS_CONTROL), Some(products[1].clone()));
        assert_eq!(named(&products, PLUGIN), None);
    }
}
