//! The sources of events: the kubelet's directory, the configuration, the MPS supervisor's report, and the Node.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin_core::backoff::Backoff;
use plugin_core::event::Event;

use super::super::engine::Context;
use super::super::happening::{NodeShown, What};
use super::super::host::Host;
use super::super::latency;
use super::super::message::NodePatch;
use super::Shell;

/// The watch of the plugin's own Node.
#[derive(Debug)]
pub(super) struct NodeWatch {
    /// It has listed, and its stream is open.
    open: bool,
    /// The newest version that it has seen.
    revision: u64,
    told: Option<Event>,
    taints_told: Option<Event>,
    figures_told: Option<Arc<BTreeMap<String, u64>>>,
    backoff: Backoff,
}

impl Default for NodeWatch {
    fn default() -> Self {
        NodeWatch {
            open: false,
            revision: 0,
            told: None,
            taints_told: None,
            figures_told: None,
            backoff: Backoff::for_api_server(),
        }
    }
}

impl Shell {
    /// Something changed in the kubelet's directory: its own socket first, then ours.
    pub(in super::super) fn kubelet_directory_changed(&mut self, cx: &mut Context<'_>, host: &Host) {
        let now = host.kubelet_socket;
        if now != self.kubelet_seen {
            // a socket that was replaced between two looks went away first
            if self.kubelet_seen.is_some() {
                self.post(cx, Event::KubeletGone);
            }
            if now.is_some() {
                let age_ms = cx.now().saturating_sub(host.kubelet_socket_made) / 1_000_000;
                self.post(cx, Event::KubeletAppeared { age_ms, has_checkpoint: host.has_checkpoint });
            }
            self.kubelet_seen = now;
        }
        self.report_losses(cx, host);
    }

    /// Reads the configuration: told when it changed, or when it was asked for.
    pub(in super::super) fn config_looked(&mut self, cx: &mut Context<'_>, host: &Host, asked: bool) {
        let event = Event::ConfigRead { files: host.config.as_ref().clone() };
        if asked || self.config_told.as_ref() != Some(&event) {
            self.config_told = Some(event.clone());
            self.post(cx, event);
        }
    }

    /// Something changed in the MPS root.
    pub(in super::super) fn mps_root_changed(&mut self, cx: &mut Context<'_>, latency: latency::Latency) {
        if !std::mem::replace(&mut self.report_looks, true) {
            cx.after(latency, What::MpsReportLooked(self.life));
        }
    }

    /// Reads the supervisor's report and whether it lives.
    pub(in super::super) fn mps_report_looked(&mut self, cx: &mut Context<'_>, host: &Host) {
        self.report_looks = false;
        let event =
            Event::MpsReported { supervisor_alive: host.mps.lock.is_some(), actual: host.mps.actual.clone() };
        if self.report_told.as_ref() != Some(&event) {
            self.report_told = Some(event.clone());
            self.post(cx, event);
        }
    }

    /// Lists the Node, and watches it from there on; while the API server does not answer, tries again.
    pub(in super::super) fn node_listed(&mut self, cx: &mut Context<'_>) {
        if self.node.open {
            return;
        }
        let Some(node) = cx.api.nodes.get(cx.node).filter(|_| cx.api.is_up()) else {
            let why = "error trying to connect: Connection refused (os error 111)".to_owned();
            return self.node_refused(cx, why);
        };
        if let Some(status) = cx.api.trouble.refuses {
            return self.node_refused(cx, refusal(status));
        }
        let (event, taints, figures) = match node.is_gone {
            true => (absent(&node.name), None, None),
            false => (
                Event::NodeRead { labels: node.labels.as_ref().clone() },
                Some(node.taints.told()),
                Some(Arc::new(node.extended.clone())),
            ),
        };
        self.node.revision = cx.api.revision();
        self.tell_taints(cx, taints);
        self.tell_figures(cx, figures.as_ref());
        // what is listed anew is told anew
        self.node.told.take_if(|told| matches!(told, Event::NodeRead { .. }));
        self.tell_node(cx, event);
        if cx.api.trouble.expired {
            // the watch that follows the list ends with 410 at once
            return self.list_again(cx);
        }
        self.node.open = true;
        self.node.backoff.reset();
    }

    fn node_refused(&mut self, cx: &mut Context<'_>, why: String) {
        self.tell_node(cx, Event::NodeUnreadable { why });
        self.list_again(cx);
    }

    fn list_again(&mut self, cx: &mut Context<'_>) {
        let pause = self.node.backoff.next_delay();
        let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        cx.at(cx.now() + pause + cx.api.trouble.delay, What::NodeListed(self.life));
    }

    /// The watch delivers a version of the Node.
    pub(in super::super) fn node_seen(
        &mut self,
        cx: &mut Context<'_>,
        revision: u64,
        shown: Option<&NodeShown>,
    ) {
        if !self.node.open || revision <= self.node.revision {
            return;
        }
        self.node.revision = revision;
        self.tell_taints(cx, shown.map(|shown| shown.taints.told()));
        self.tell_figures(cx, shown.map(|shown| &shown.figures));
        let event = match shown {
            Some(shown) => Event::NodeRead { labels: shown.labels.as_ref().clone() },
            None => absent(cx.api.nodes.get(cx.node).map_or("", |node| &node.name)),
        };
        self.tell_node(cx, event);
    }

    /// The watch breaks off; it lists again.
    pub(in super::super) fn node_watch_breaks(&mut self, cx: &mut Context<'_>) {
        self.pod_watch_breaks(cx);
        if std::mem::replace(&mut self.node.open, false) {
            let at = cx.now() + cx.engine.draw_from(latency::API_REFUSED) + cx.api.trouble.delay;
            cx.at(at, What::NodeListed(self.life));
        }
    }

    fn tell_figures(&mut self, cx: &mut Context<'_>, figures: Option<&Arc<BTreeMap<String, u64>>>) {
        let Some(figures) = figures.filter(|figures| self.node.figures_told.as_ref() != Some(figures)) else {
            return;
        };
        self.node.figures_told = Some(Arc::clone(figures));
        self.post(cx, Event::FiguresRead { allocatable: figures.as_ref().clone() });
    }

    fn tell_taints(&mut self, cx: &mut Context<'_>, taints: Option<Event>) {
        let Some(event) = taints.filter(|event| self.node.taints_told.as_ref() != Some(event)) else {
            return;
        };
        self.node.taints_told = Some(event.clone());
        self.post(cx, event);
    }

    /// Only labels and taints matter, and a failure is told once, whatever its text.
    fn tell_node(&mut self, cx: &mut Context<'_>, event: Event) {
        let is_news = match (&self.node.told, &event) {
            (Some(Event::NodeUnreadable { .. }), Event::NodeUnreadable { .. }) => false,
            (told, event) => told.as_ref() != Some(event),
        };
        if is_news {
            self.node.told = Some(event.clone());
            self.post(cx, event);
        }
    }
}

fn absent(name: &str) -> Event {
    Event::NodeUnreadable { why: format!("node `{name}` does not exist") }
}

pub(super) fn refusal(status: u32) -> String {
    format!("the API server refuses with status {status}")
}

/// A patch of the Node reaches the API server, whoever still waits for the answer.
pub(in super::super) fn patch_arrives(cx: &mut Context<'_>, life: u32, patch: &NodePatch) {
    let (answer, latency) = if let (Some(status), true) = (cx.api.trouble.refuses, cx.api.is_up()) {
        (Err(refusal(status)), latency::API)
    } else if cx.api.is_up() {
        (cx.api.patch_node(cx.engine, cx.node, patch).map_err(|error| error.to_string()), latency::API)
    } else {
        let why = "error trying to connect: Connection refused (os error 111)".to_owned();
        (Err(why), latency::API_REFUSED)
    };
    cx.after(latency, What::PluginTold(life, Box::new(patch.answered(answer))));
}
