//! A kubelet that died by one of its own defects: it is noticed, counted, and started again as systemd would.

use std::time::Instant;

use fake_cluster::kubelet::wire::WireEvent;

use super::WireStage;
use super::faults::Ending;
use super::node::Node;
use crate::world::KubeletView;

/// What is known of a node's kubelets, over all their lives.
#[derive(Debug, Default)]
pub(super) struct KubeletLives {
    pub(super) starts: u64,
    pub(super) died: Vec<String>,
}

impl WireStage {
    /// Has dead kubelets started again later. Without other plugins on the node the death is ours, and fails the story.
    pub(super) async fn tend_kubelets(&mut self) {
        let restart = self.kubelet_restart;
        for node in &mut self.nodes {
            let Some(why) = node.bury_kubelet().await else {
                continue;
            };
            if !node.other_plugins.are_there() {
                self.programs.complain(format!("the kubelet of node `{}` died: {why}", node.name));
            }
            self.endings.push(Ending::kubelet_starts(Instant::now() + restart, &node.name));
        }
    }
}

impl Node {
    /// Stops what is left of a kubelet that died; says why it did.
    async fn bury_kubelet(&mut self) -> Option<String> {
        let kubelet = self.kubelet().filter(|kubelet| !kubelet.is_serving())?;
        let death = kubelet.events(0).into_iter().rev().find_map(|logged| match logged.event {
            WireEvent::Died { why } => Some(why),
            _ => None,
        })?;
        self.lives.died.push(death.clone());
        self.stop_kubelet().await;
        Some(death)
    }

    /// What can be seen of the kubelet.
    pub(super) fn kubelet_view(&self) -> KubeletView {
        let mut view = KubeletView {
            starts: self.lives.starts,
            died: self.lives.died.clone(),
            ..KubeletView::default()
        };
        if let Some(kubelet) = self.kubelet() {
            view.running = kubelet.is_serving();
            view.streams = kubelet.streams();
            view.forgotten = kubelet.forgotten();
        }
        view
    }
}
