//! The GPUs of the node, looked at whenever somebody asks, device nodes change, or time has passed: what is new is told.
//!
//! A look may hang. It is told as stuck then, others go on as far as there are places, and an answer that comes late counts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugin_core::event::Event;
use plugin_core::inventory::ComputeMode;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dir_watch::DirWatch;
use crate::gpu::{FindError, GpuThread};

/// The action that a look answers.
const CALL: &str = "find_gpus";
/// How the device nodes of the driver begin.
const NODES: &str = "nvidia";
/// Most device nodes that are compared.
const NODES_MAX: usize = 4096;

/// Where and how often to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuWatchSettings {
    /// Longest time between two looks.
    pub(crate) every: Duration,
    /// How long a look may take before that is told.
    pub(crate) patience: Duration,
    /// Where the driver's device nodes appear.
    pub(crate) dev: PathBuf,
}

/// Looks until nobody listens. The first look is asked for.
pub(crate) async fn watch(
    gpus: GpuThread,
    settings: GpuWatchSettings,
    asked: Arc<Notify>,
    events: mpsc::Sender<Event>,
) {
    let mut directory = DirWatch::of_names(&settings.dev);
    let mut nodes = device_nodes(&settings.dev);
    let patience = settings.patience;
    let mut looks =
        Looks { gpus, patience, begun: 0, answered: 0, under_way: JoinSet::new(), overdue: None, told: None };
    let mut next = Instant::now() + settings.every;
    loop {
        let event = tokio::select! {
            biased;
            () = asked.notified() => {
                next = Instant::now() + settings.every;
                looks.begin(true)
            }
            Some(Ok(look)) = looks.under_way.join_next() => looks.answered(look),
            () = reached(looks.overdue) => Some(looks.stuck()),
            () = directory.changed_by(next) => {
                let now = device_nodes(&settings.dev);
                let due = Instant::now() >= next;
                if due {
                    next = Instant::now() + settings.every;
                }
                let changed = std::mem::replace(&mut nodes, now) != nodes;
                if due || changed { looks.begin(false) } else { None }
            }
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The driver's nodes by name; none where there is no directory.
fn device_nodes(dev: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(dev).into_iter().flatten().flatten().map(|entry| entry.file_name());
    entries.filter(|name| name.to_string_lossy().starts_with(NODES)).take(NODES_MAX).collect()
}

/// One answer.
struct Look {
    number: u64,
    asked: bool,
    event: Event,
}

struct Looks {
    gpus: GpuThread,
    patience: Duration,
    begun: u64,
    answered: u64,
    under_way: JoinSet<Look>,
    /// When the newest look has taken too long.
    overdue: Option<Instant>,
    told: Option<Event>,
}

impl Looks {
    /// Begins a look, unless one is under way that nobody needs twice; one that another has overtaken may never return.
    fn begin(&mut self, asked: bool) -> Option<Event> {
        if !asked && self.begun > self.answered && !self.under_way.is_empty() {
            return None;
        }
        let Ok(answer) = self.gpus.find() else {
            return Some(self.stuck());
        };
        self.begun += 1;
        self.overdue = Some(Instant::now() + self.patience);
        let number = self.begun;
        self.under_way.spawn(async move {
            let event = match answer.await {
                Ok(Ok(facts)) => Event::GpusFound { facts },
                Ok(Err(FindError::NoDriver { why })) => Event::NoDriver { why },
                Ok(Err(FindError::DriverFailed { why })) => Event::DriverFailed { why },
                Ok(Err(FindError::Unsupported { platform, why })) => {
                    Event::PlatformUnsupported { platform: platform.to_owned(), why }
                }
                Err(_) => {
                    Event::DriverFailed { why: "a look at the GPUs ended without an answer".to_owned() }
                }
            };
            Look { number, asked, event }
        });
        None
    }

    fn stuck(&mut self) -> Event {
        self.overdue = None;
        let event =
            Event::DriverStuck { call: CALL.to_owned(), gpu: None, waited_s: self.patience.as_secs() };
        self.told = Some(event.clone());
        event
    }

    /// What there is to tell. An answer that a newer one has overtaken is old.
    fn answered(&mut self, look: Look) -> Option<Event> {
        if look.number < self.answered {
            return None;
        }
        self.answered = look.number;
        if look.number == self.begun {
            self.overdue = None;
        }
        let is_news = self.told.as_ref().is_none_or(|told| !is_same(told, &look.event));
        if !(look.asked || is_news) {
            return None;
        }
        self.told = Some(look.event.clone());
        Some(look.event)
    }
}

/// Compute modes follow the roles that the plugin itself gives; nothing is decided from them.
fn is_same(told: &Event, now: &Event) -> bool {
    let (Event::GpusFound { facts: told }, Event::GpusFound { facts: now }) = (told, now) else {
        return told == now;
    };
    let mut told = told.clone();
    let mut now = now.clone();
    for gpu in told.gpus.iter_mut().chain(&mut now.gpus) {
        gpu.compute_mode = ComputeMode::Default;
    }
    told == now
}

#[cfg(test)]
mod tests;
