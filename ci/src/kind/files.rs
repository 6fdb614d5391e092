//! What the kind cluster is made from, and what it leaves: everything below `target/kind`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::below;

/// The workers' driver roots, in the order of the workers; their names are the story's.
pub(super) const GPU_NODES: &[&str] = &["gpu-1", "gpu-2"];
/// Stands for the repository's root in the cluster's configuration: kind wants absolute paths.
const ROOT: &str = "@ROOT@";

/// Paths.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn of(root: &Path) -> Files {
        Files { root: root.to_owned() }
    }

    fn directory(&self) -> PathBuf {
        below(&self.root, "target/kind")
    }

    /// The fake driver of a worker.
    pub(super) fn driver_root(&self, node: &str) -> PathBuf {
        self.directory().join(node)
    }

    /// How kubectl reaches the cluster; the user's own kubeconfig is left alone.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// The cluster's configuration, as kind gets it.
    pub(super) fn written_config(&self) -> PathBuf {
        self.directory().join("cluster.yaml")
    }

    /// What is left of a story that failed.
    pub(super) fn logs(&self) -> PathBuf {
        self.directory().join("logs")
    }

    /// The image's archive.
    pub(super) fn image(&self) -> PathBuf {
        below(&self.root, "target/image/tandem-device-plugin.tar")
    }

    /// The manifests of an operator.
    pub(super) fn manifests(&self) -> PathBuf {
        below(&self.root, "plugin/deploy/manifests")
    }

    /// What differs on kind.
    pub(super) fn overlay(&self, name: &str) -> PathBuf {
        below(&self.root, "kind-config/overlay").join(name)
    }

    /// The cluster's configuration with this machine's paths.
    ///
    /// # Errors
    /// It cannot be read, or does not mount a driver root of every worker.
    pub(super) fn cluster_config(&self) -> Result<String> {
        let path = below(&self.root, "kind-config/cluster.yaml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let text = text.replace(ROOT, &self.root.display().to_string());
        for node in GPU_NODES {
            let mounted = self.driver_root(node).display().to_string();
            if !text.contains(&format!("\"{mounted}\"")) {
                bail!("`{}` mounts no `{mounted}`", path.display());
            }
        }
        Ok(text)
    }

    pub(super) fn write_cluster_config(&self, text: &str) -> Result<()> {
        let path = self.written_config();
        std::fs::create_dir_all(self.directory())
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Removes all that was made.
    pub(super) fn remove(&self) -> Result<()> {
        let directory = self.directory();
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", directory.display()))
            }
            _ => Ok(()),
        }
    }
}
