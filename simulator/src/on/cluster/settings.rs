//! Which cluster a story plays on and what of it is the story's, because nothing else there may be touched.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The namespace of a story's pods.
pub const NAMESPACE: &str = "default";
/// The namespace of the plugin's config map where nobody says where the plugin's pods are.
const CONFIG_NAMESPACE: &str = "kube-system";

/// A cluster, and what of it a story may use.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// How to reach it.
    pub kubeconfig: PathBuf,
    /// The context in that file; its current one when absent.
    pub context: Option<String>,
    /// Where the story's pods are made; it must hold none.
    pub namespace: String,
    /// The story's name of a node → the Node's.
    pub nodes: BTreeMap<String, String>,
    /// Where the plugin's pods are.
    pub plugin_pods: Option<PodsAt>,
    /// Where the pods of its MPS supervisor are.
    pub mps_pods: Option<PodsAt>,
    /// The image of the story's pods, in place of the one that it names.
    pub pod_image: Option<String>,
    /// How much longer an expectation may take, beyond what the story's scaled timers save.
    pub patience: Duration,
}

impl ClusterSettings {
    /// What a kubeconfig file leads to.
    pub fn new(kubeconfig: PathBuf) -> ClusterSettings {
        ClusterSettings {
            kubeconfig,
            context: None,
            namespace: NAMESPACE.to_owned(),
            nodes: BTreeMap::new(),
            plugin_pods: None,
            mps_pods: None,
            pod_image: None,
            patience: Duration::ZERO,
        }
    }

    /// Where the plugin's config map is.
    pub fn config_namespace(&self) -> &str {
        self.plugin_pods.as_ref().map_or(CONFIG_NAMESPACE, |pods| &pods.namespace)
    }
}

/// Pods of a namespace that a selector covers, as `namespace/key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodsAt {
    /// The namespace.
    pub namespace: String,
    /// A label selector.
    pub selector: String,
}

impl FromStr for PodsAt {
    type Err = String;

    fn from_str(text: &str) -> Result<PodsAt, String> {
        let (namespace, selector) = text.split_once('/').unwrap_or(("", ""));
        if namespace.is_empty() || !selector.contains('=') {
            return Err("expected `namespace/key=value`, such as `kube-system/name=plugin`".to_owned());
        }
        Ok(PodsAt { namespace: namespace.to_owned(), selector: selector.to_owned() })
    }
}

impl fmt::Display for PodsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_by_namespace_and_selector() {
        let pods: PodsAt = "tandem/app.kubernetes.io/name=plugin".parse().unwrap();
        assert_eq!(
            (pods.namespace.as_str(), pods.selector.as_str()),
            ("tandem", "app.kubernetes.io/name=plugin")
        );
        for wrong in ["", "tandem", "tandem/name", "/a=b"] {
            assert!(wrong.parse::<PodsAt>().is_err(), "{wrong}");
        }
    }
}
