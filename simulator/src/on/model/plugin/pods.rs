//! The plugin's watch of the pods on its node, while it wants one.

use std::sync::Arc;

use plugin_core::backoff::Backoff;
use plugin_core::event::{BoundPod, Event};

use super::super::engine::Context;
use super::super::happening::What;
use super::super::latency;
use super::Shell;
use super::sources::refusal;

/// See the module.
#[derive(Debug)]
pub(super) struct PodWatch {
    /// The number of the watch that is wanted, if one is.
    wanted: Option<u64>,
    /// It has listed, and changes are delivered.
    open: bool,
    told: Option<Event>,
    backoff: Backoff,
}

impl Default for PodWatch {
    fn default() -> Self {
        PodWatch { wanted: None, open: false, told: None, backoff: Backoff::for_api_server() }
    }
}

impl Shell {
    /// Watches the pods under this number from now on, or not any more.
    pub(super) fn watch_pods(&mut self, cx: &mut Context<'_>, wanted: Option<u64>) {
        self.pods = PodWatch { wanted, ..PodWatch::default() };
        cx.api.watch_pods(cx.node, false);
        if let Some(attempt) = wanted {
            cx.ask_api(What::BoundPodsListed(self.life, attempt));
        }
    }

    /// The API server lists the pods.
    pub(in super::super) fn bound_pods_listed(&mut self, cx: &mut Context<'_>, attempt: u64) {
        if self.pods.wanted != Some(attempt) || self.pods.open {
            return;
        }
        let why = match cx.api.trouble.refuses {
            _ if !cx.api.is_up() => {
                Some("error trying to connect: Connection refused (os error 111)".to_owned())
            }
            Some(status) => Some(refusal(status)),
            None => None,
        };
        if let Some(why) = why {
            self.tell_pods(cx, Event::PodsUnreadable { attempt, why });
            return self.list_pods_again(cx, attempt);
        }
        // what the list shows was true when it was made, and arrives later
        cx.api.watch_pods(cx.node, !cx.api.trouble.expired);
        cx.api.tell_pods(cx.engine, cx.node);
        self.pods.open = !cx.api.trouble.expired;
        if self.pods.open {
            self.pods.backoff.reset();
        } else {
            self.list_pods_again(cx, attempt);
        }
    }

    fn list_pods_again(&mut self, cx: &mut Context<'_>, attempt: u64) {
        let pause = u64::try_from(self.pods.backoff.next_delay().as_nanos()).unwrap_or(u64::MAX);
        cx.at(cx.now() + pause + cx.api.trouble.delay, What::BoundPodsListed(self.life, attempt));
    }

    /// A list or a change of it arrives.
    pub(in super::super) fn bound_pods_seen(&mut self, cx: &mut Context<'_>, pods: &Arc<Vec<BoundPod>>) {
        if let Some(attempt) = self.pods.wanted {
            self.tell_pods(cx, Event::PodsRead { attempt, pods: pods.as_ref().clone() });
        }
    }

    /// The watch breaks off; it lists again.
    pub(super) fn pod_watch_breaks(&mut self, cx: &mut Context<'_>) {
        if let (Some(attempt), true) = (self.pods.wanted, std::mem::take(&mut self.pods.open)) {
            cx.api.watch_pods(cx.node, false);
            let at = cx.now() + cx.engine.draw_from(latency::API_REFUSED) + cx.api.trouble.delay;
            cx.at(at, What::BoundPodsListed(self.life, attempt));
        }
    }

    fn tell_pods(&mut self, cx: &mut Context<'_>, event: Event) {
        let is_news = match (&self.pods.told, &event) {
            (Some(Event::PodsUnreadable { .. }), Event::PodsUnreadable { .. }) => false,
            (told, event) => told.as_ref() != Some(event),
        };
        if is_news {
            self.pods.told = Some(event.clone());
            self.post(cx, event);
        }
    }
}
