//! Everything that goes over the API server, held together: connect, with retries, then watch, write and announce.

mod pod_watch;

use plugin_core::event::Event;
use tokio::sync::{mpsc, watch};

use crate::announce::{self, Announcement};
use crate::metrics::Metrics;
use crate::node_client::{self, ApiBackoff, NodeSettings};
use crate::node_watch::{self, NodePatch};

/// Most changes of the Node that wait; the core asks for one of each kind at a time.
const PATCHES_MAX: usize = 16;
/// Most announcements that wait; more are counted and dropped.
const ANNOUNCEMENTS_MAX: usize = 64;

/// The writing end.
pub(crate) struct NodeLink {
    patches: mpsc::Sender<NodePatch>,
    announcements: mpsc::Sender<Announcement>,
    /// The number of the watch of pods that is wanted, if one is.
    pods: watch::Sender<Option<u64>>,
    metrics: Metrics,
}

impl NodeLink {
    /// Starts to connect, and answers through `events` from then on.
    pub(crate) fn start(settings: NodeSettings, events: mpsc::Sender<Event>, metrics: Metrics) -> Self {
        let (patches, patch_queue) = mpsc::channel(PATCHES_MAX);
        let (announcements, announcement_queue) = mpsc::channel(ANNOUNCEMENTS_MAX);
        let (pods, pods_wanted) = watch::channel(None);
        let asked = Asked { patches: patch_queue, announcements: announcement_queue, pods: pods_wanted };
        tokio::spawn(run(settings, events, metrics.clone(), asked));
        NodeLink { patches, announcements, pods, metrics }
    }

    /// Changes the Node later; `false` when too many changes wait already.
    pub(crate) fn patch(&self, patch: NodePatch) -> bool {
        self.patches.try_send(patch).is_ok()
    }

    /// Watches the pods of this Node under this number, instead of any other; `None` ends it.
    pub(crate) fn watch_pods(&self, attempt: Option<u64>) {
        self.pods.send_replace(attempt);
    }

    /// Writes a Kubernetes Event later, if there is room.
    pub(crate) fn announce(&self, announcement: Announcement) {
        if self.announcements.try_send(announcement).is_err() {
            self.metrics.count_dropped_announcement();
        }
    }
}

/// The reading end.
struct Asked {
    patches: mpsc::Receiver<NodePatch>,
    announcements: mpsc::Receiver<Announcement>,
    pods: watch::Receiver<Option<u64>>,
}

async fn run(settings: NodeSettings, events: mpsc::Sender<Event>, metrics: Metrics, asked: Asked) {
    let Asked { mut patches, announcements, pods } = asked;
    let Some(client) = connect(&settings, &events, &mut patches).await else {
        return;
    };
    tokio::join!(
        node_watch::watch(client.clone(), settings.clone(), events.clone()),
        node_watch::write_patches(client.clone(), settings.clone(), &mut patches, events.clone()),
        pod_watch::follow(client.clone(), settings.clone(), pods, events),
        announce::write(client, settings, announcements, metrics),
    );
}

/// Tries until there is a client; `None` when the process is ending. Changes that cannot be written are answered.
async fn connect(
    settings: &NodeSettings,
    events: &mpsc::Sender<Event>,
    patches: &mut mpsc::Receiver<NodePatch>,
) -> Option<kube::Client> {
    let mut told = false;
    for delay in ApiBackoff::new() {
        let why = match node_client::connect(settings).await {
            Ok(client) => return Some(client),
            Err(why) => why,
        };
        if !std::mem::replace(&mut told, true) {
            events.send(Event::NodeUnreadable { why: why.clone() }).await.ok()?;
        }
        let next_try = tokio::time::sleep(delay);
        tokio::pin!(next_try);
        loop {
            tokio::select! {
                biased;
                () = &mut next_try => break,
                patch = patches.recv() => {
                    let failed = patch?.failed();
                    events.send(failed(why.clone())).await.ok()?;
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_api_server_the_node_is_unreadable_and_label_changes_fail() {
        let (events, mut seen) = mpsc::channel(8);
        let settings = NodeSettings { name: "n1".into(), kubeconfig: Some("/nonexistent/config".into()) };
        let link = NodeLink::start(settings, events, Metrics::new());
        assert!(matches!(seen.recv().await, Some(Event::NodeUnreadable { .. })));
        assert!(link.patch(NodePatch::Labels(Default::default())));
        assert!(
            matches!(seen.recv().await, Some(Event::LabelsFailed { why }) if why.contains("/nonexistent/config"))
        );
    }
}
