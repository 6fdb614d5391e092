//! The loop: next event → journal → core → view → actions. It waits and carries; nothing in it decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plugin_core::action::Action;
use plugin_core::event::Event;
use plugin_core::journal::Entry;
use plugin_core::plugin::Plugin;
use plugin_core::time::Time;
use plugin_core::view::View;
use tokio::sync::{mpsc, watch};

use crate::journal_file::JournalFile;
use crate::metrics::Metrics;
use crate::perform::{Exit, Performer};

/// The plugin's process between two events.
pub(crate) struct Loop {
    /// Every decision.
    pub(crate) plugin: Plugin,
    /// When time began.
    pub(crate) begin: Instant,
    /// Where the run is written down, if anywhere.
    pub(crate) journal: Option<JournalFile>,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Where handlers find the view.
    pub(crate) publish: watch::Sender<Arc<View>>,
    /// Every effect.
    pub(crate) performer: Performer,
}

impl Loop {
    /// From the first event to the end.
    pub(crate) async fn run(mut self, started: Event, mut queue: mpsc::Receiver<Event>) -> Exit {
        let mut next = Some(started);
        while let Some(event) = next {
            if let Some(exit) = self.step(event) {
                self.performer.finish().await;
                return exit;
            }
            next = self.next_event(&mut queue).await;
        }
        Exit { code: 1, why: "all sources of events are gone".to_owned() }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn next_event(&self, queue: &mut mpsc::Receiver<Event>) -> Option<Event> {
        let due = async {
            match self.plugin.poll_timeout() {
                Some(at) => {
                    tokio::time::sleep_until((self.begin + Duration::from_nanos(at.as_nanos())).into()).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => Some(Event::Timeout),
            event = queue.recv() => event,
        }
    }

    /// One event, all its actions.
    fn step(&mut self, event: Event) -> Option<Exit> {
        let now = self.now();
        let tag = event.tag();
        tracing::debug!(event = tag, "handling");
        self.metrics.count_event(tag);
        let line = self.journal.is_some().then(|| Entry::event(now, event.clone()));
        self.plugin.handle(now, event);
        let actions: Vec<Action> = std::iter::from_fn(|| self.plugin.poll_action()).collect();
        self.write_down(line.into_iter().chain(actions.iter().map(|a| Entry::action(now, a.clone()))));
        self.publish_view();
        let mut exit = None;
        for action in actions {
            tracing::debug!(action = action.tag(), "performing");
            self.metrics.count_action(action.tag());
            exit = exit.or(self.performer.perform(action));
        }
        exit
    }

    fn write_down(&mut self, entries: impl Iterator<Item = Entry>) {
        let Some(journal) = self.journal.as_mut() else {
            return;
        };
        let lines: Vec<String> = entries.filter_map(|e| e.to_line().ok()).collect();
        if let Some(e) = journal.write(&lines) {
            self.metrics.count_journal_failure();
            tracing::error!(path = %journal.path().display(), why = %e, "the journal cannot be written; the plugin goes on without");
        }
    }

    /// Before the actions, so that a server that opens answers from the view that asked for it.
    fn publish_view(&self) {
        let view = self.plugin.view();
        let changed = !Arc::ptr_eq(&view, &self.publish.borrow());
        if changed {
            self.metrics.set_view(&view);
            self.publish.send_replace(view);
        }
    }
}
