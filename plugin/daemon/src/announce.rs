//! What operators should hear: a line in the log always, a Kubernetes Event on the Node where there is an API server.

use k8s_openapi::api::core::v1::{Event as KubeEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use plugin_core::action::Severity;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::node_client::{self, NodeSettings, WRITE_TIME_MAX};

/// Where Events about cluster-wide objects go.
pub(crate) const NAMESPACE: &str = "default";
/// Who speaks.
const COMPONENT: &str = "tandem-device-plugin";
/// Longest message of an Event in bytes (Kubernetes 1.36).
const MESSAGE_BYTES_MAX: usize = 1024;

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// How much it matters.
    pub(crate) severity: Severity,
    /// One word in CamelCase.
    pub(crate) reason: String,
    /// One sentence.
    pub(crate) message: String,
}

/// The line in the log.
pub(crate) fn log(announcement: &Announcement) {
    let Announcement { severity, reason, message } = announcement;
    match severity {
        Severity::Info => tracing::info!(reason, "{message}"),
        Severity::Warning => tracing::warn!(reason, "{message}"),
    }
}

/// Writes the Events, one try each. That none may be written is said once; the log has what they would have told.
pub(crate) async fn write(
    client: Client,
    settings: NodeSettings,
    mut queue: mpsc::Receiver<Announcement>,
    metrics: Metrics,
) {
    let api = Api::<KubeEvent>::namespaced(client, NAMESPACE);
    let mut told = false;
    while let Some(announcement) = queue.recv().await {
        let event = kube_event(&settings.name, announcement, Timestamp::now());
        let parameters = PostParams::default();
        let create = api.create(&parameters, &event);
        let why = match tokio::time::timeout(WRITE_TIME_MAX, create).await {
            Ok(Ok(_)) => continue,
            Ok(Err(e)) => node_client::told(&e),
            Err(_) => format!("no answer within {WRITE_TIME_MAX:?}"),
        };
        metrics.count_dropped_announcement();
        if node_client::is_refused_by_roles(&why) && !std::mem::replace(&mut told, true) {
            tracing::warn!("no Event is written, this log has them all: {why}");
        }
        tracing::debug!(why, "an Event could not be written");
    }
}

fn kube_event(node: &str, announcement: Announcement, now: Timestamp) -> KubeEvent {
    let type_ = match announcement.severity {
        Severity::Info => "Normal",
        Severity::Warning => "Warning",
    };
    KubeEvent {
        metadata: ObjectMeta {
            name: Some(format!("{node}.{:x}", now.as_nanosecond())),
            namespace: Some(NAMESPACE.to_owned()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            // kubectl describe finds a Node's Events by this
            uid: Some(node.to_owned()),
            ..Default::default()
        },
        reason: Some(announcement.reason),
        message: Some(cut(announcement.message)),
        type_: Some(type_.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        ..Default::default()
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_an_event_on_the_node() {
        let announcement = Announcement {
            severity: Severity::Warning,
            reason: "NoDriver".into(),
            message: "é".repeat(1_000),
        };
        let event = kube_event("n1", announcement, Timestamp::UNIX_EPOCH);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.involved_object.name.as_deref(), Some("n1"));
        assert_eq!(event.message.unwrap().len(), MESSAGE_BYTES_MAX);
    }
}
