//! The connection to the API server: made once, shared by everything that reads or writes the Node.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::utils::Backoff;
use kube::{Client, Config};
use tokio::runtime::Handle;

use crate::cause;

/// Longest time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time for one write.
pub(crate) const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// Which Node, and how to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    /// The Node object's name.
    pub(crate) name: String,
    /// A kubeconfig file; `None` uses the service account of the pod.
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Makes the client; nothing is sent yet. Reading certificates and setting up TLS takes milliseconds, in which the only
/// other thread can already answer the kubelet: hence a thread of its own.
///
/// # Errors
/// One line with the reason and what to do.
pub(crate) async fn connect(settings: &NodeSettings) -> Result<Client, String> {
    let (settings, runtime) = (settings.clone(), Handle::current());
    let made = tokio::task::spawn_blocking(move || runtime.block_on(make(&settings))).await;
    made.unwrap_or_else(|e| Err(format!("no API server: {}", cause::line(&e))))
}

async fn make(settings: &NodeSettings) -> Result<Client, String> {
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let named = |e: &dyn std::error::Error| format!("kubeconfig `{}`: {}", path.display(), cause::line(e));
            let file = Kubeconfig::read_from(path).map_err(|e| named(&e))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|e| named(&e))?
        }
        None => Config::incluster().map_err(|e| {
            let why = cause::line(&e);
            format!("no API server: not in a pod with a service account: {why} (hint: set --kubeconfig or KUBECONFIG)")
        })?,
    };
    config.connect_timeout = Some(CONNECT_TIME_MAX);
    if config.cluster_url.scheme_str() == Some("http") {
        // no certificate is ever looked at, and the plugin's image has none that the client could load in advance
        config.root_cert = Some(Vec::new());
    }
    Client::try_from(config).map_err(|e| format!("no API server: {}", cause::line(&e)))
}

/// The core's backoff, which has no randomness, for kube's watcher.
pub(crate) struct ApiBackoff(plugin_core::backoff::Backoff);

impl ApiBackoff {
    /// From its shortest delay.
    pub(crate) fn new() -> Self {
        ApiBackoff(plugin_core::backoff::Backoff::for_api_server())
    }
}

impl Iterator for ApiBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next_delay())
    }
}

impl Backoff for ApiBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let settings = NodeSettings { name: "n1".into(), kubeconfig: Some("/nonexistent/kubeconfig".into()) };
        let why = connect(&settings).await.map(|_| ()).unwrap_err();
        assert!(why.contains("/nonexistent/kubeconfig"), "{why}");
    }
}
