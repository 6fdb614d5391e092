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

/// One line from what the API server said; a refusal by its roles says what to do about it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let line = cause::line(error);
    match is_refused_by_roles(&line) {
        true => {
            format!("{line} (hint: give it this permission, as plugin/deploy/manifests/20-access.yaml does)")
        }
        false => line,
    }
}

/// Whether roles refuse something: the words of RBAC, which an admission policy does not use (Kubernetes 1.36).
pub(crate) fn is_refused_by_roles(line: &str) -> bool {
    line.contains(" is forbidden: User ") && line.contains(" cannot ") && line.contains(" in API group ")
}

/// The core's backoff, which has no randomness, for kube's watcher.
///
/// The watcher resets it at everything that is no error, and it begins every try by saying that it begins. So one reset proves
/// nothing; two in a row do: the API server has answered.
pub(crate) struct ApiBackoff {
    delays: plugin_core::backoff::Backoff,
    /// There was a reset since the last delay.
    began: bool,
}

impl ApiBackoff {
    /// From its shortest delay.
    pub(crate) fn new() -> Self {
        ApiBackoff { delays: plugin_core::backoff::Backoff::for_api_server(), began: false }
    }
}

impl Iterator for ApiBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.began = false;
        Some(self.delays.next_delay())
    }
}

impl Backoff for ApiBackoff {
    fn reset(&mut self) {
        if std::mem::replace(&mut self.began, true) {
            self.delays.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_only_began_does_not_shorten_the_next_delay() {
        let mut backoff = ApiBackoff::new();
        let mut delays = Vec::new();
        for _ in 0..4 {
            backoff.reset();
            delays.extend(backoff.next().map(|delay| delay.as_millis()));
        }
        assert_eq!(delays, [200, 400, 800, 1600]);
        backoff.reset();
        backoff.reset();
        assert_eq!(backoff.next().map(|delay| delay.as_millis()), Some(200));
    }

    #[test]
    fn a_refusal_by_roles_says_what_to_do_and_one_by_a_policy_does_not() {
        let roles = "nodes \"n1\" is forbidden: User \"system:serviceaccount:tandem:p\" cannot patch resource \"nodes\" in API \
                     group \"\" at the cluster scope";
        let policy = "nodes \"n1\" is forbidden: ValidatingAdmissionPolicy 'own-node' denied request: no";
        for (text, hinted) in [(roles, true), (policy, false)] {
            let line = told(&std::io::Error::other(text));
            assert!(line.starts_with(text) && line.contains("20-access.yaml") == hinted, "{line}");
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let settings = NodeSettings { name: "n1".into(), kubeconfig: Some("/nonexistent/kubeconfig".into()) };
        let why = connect(&settings).await.map(|_| ()).unwrap_err();
        assert!(why.contains("/nonexistent/kubeconfig"), "{why}");
    }
}
