//! Kubernetes manifests as `kubectl apply -f DIR` reads them: every file of a directory, in the order of their names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::scenario::{Scenario, yaml};

/// Why manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The directory or a file.
    #[error("cannot read `{0}`: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// No YAML.
    #[error("{0}")]
    Wrong(String),
    /// Nothing there.
    #[error("`{0}` holds no manifest")]
    Empty(PathBuf),
}

/// The objects of all files, in order; without a directory there are none.
///
/// # Errors
/// See [`ManifestError`].
pub fn read_manifests(directory: Option<&Path>) -> Result<Vec<Value>, ManifestError> {
    let Some(directory) = directory else {
        return Ok(Vec::new());
    };
    let mut objects = Vec::new();
    for (path, text) in files(directory)? {
        objects.extend(parse(&path.display().to_string(), &text)?);
    }
    if objects.is_empty() { Err(ManifestError::Empty(directory.to_owned())) } else { Ok(objects) }
}

/// The label by which an operator chooses the nodes of the plugin.
const CHOSEN: (&str, &str) = ("nvidia.com/gpu.present", "true");

/// Chooses all nodes for the plugin, as `kubectl label nodes --all` does: stories count on it everywhere, also where no GPU is.
pub fn label_every_node(scenario: &mut Scenario) {
    let (key, value) = CHOSEN;
    for node in &mut scenario.nodes {
        node.labels.insert(key.to_owned(), value.to_owned());
    }
}

/// Every YAML file of a directory with its text, by name.
///
/// # Errors
/// One cannot be read.
pub fn files(directory: &Path) -> Result<Vec<(PathBuf, String)>, ManifestError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ManifestError::Unreadable(path, error)
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(ManifestError::Unreadable(path, error)),
    };
    paths.into_iter().map(read).collect()
}

/// The objects of one file.
///
/// # Errors
/// It is not YAML.
pub fn parse(file: &str, text: &str) -> Result<Vec<Value>, ManifestError> {
    let nodes = yaml::parse_all(file, text).map_err(|problem| ManifestError::Wrong(problem.to_string()))?;
    Ok(nodes.iter().map(yaml::Node::to_json).filter(Value::is_object).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_only_yaml_counts() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("20-b.yaml", "kind: B\n---\nkind: C\n"),
            ("10-a.yaml", "# comment\nkind: A\n"),
            ("README.md", "no"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let kinds: Vec<_> =
            read_manifests(Some(dir.path())).unwrap().iter().map(|o| o["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(read_manifests(None).unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let why = read_manifests(Some(dir.path())).unwrap_err().to_string();
        assert!(why.ends_with("holds no manifest"), "{why}");
        std::fs::write(dir.path().join("a.yaml"), "a: [\n").unwrap();
        let why = read_manifests(Some(dir.path())).unwrap_err().to_string();
        assert!(why.contains("a.yaml:"), "{why}");
    }

    #[test]
    fn the_admission_policy_lets_the_plugin_write_its_own_labels_and_no_more() {
        let path = "../plugin/deploy/manifests/30-own-node.yaml";
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let policy = &parse(path, &text).unwrap()[0];
        let variables = policy["spec"]["variables"].as_array().unwrap();
        let own = variables.iter().find(|variable| variable["name"] == "ownLabels").unwrap();
        let list = own["expression"].as_str().unwrap().trim_matches(['[', ']']);
        let listed: Vec<_> = list.split(',').map(|key| key.trim().trim_matches('\'')).collect();
        assert_eq!(listed, plugin_core::labels::OWNED);
    }
}
