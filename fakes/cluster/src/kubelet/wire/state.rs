//! What the kubelet's tasks share: the ledger and the connections, locked only between two awaits, and the signals
//! that tell others of changes and of the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugin_api::podresources::PodResources;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::calls::PluginClient;
use super::files;
use super::log::{EventLog, WireEvent};
use super::settings::{KubeletSettings, ListTrouble};
use crate::kubelet::Profile;
use crate::kubelet::ledger::{Capacity, ClientId, Device, Ledger, RunningContainers};

/// One plugin's connection; it outlives its stream as long as calls can still go to it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) plugin: PluginClient,
    pub(super) resource: String,
    /// Ends the stream, when used or dropped.
    pub(super) close: oneshot::Sender<()>,
    pub(super) streaming: bool,
}

/// The fake's state proper.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) connections: BTreeMap<ClientId, Connection>,
    /// Resource → connections whose stream has ended and which nobody will close.
    pub(super) forgotten: BTreeMap<String, u64>,
    pub(super) running: RunningContainers,
    pub(super) node_allocatable: Option<BTreeMap<String, u64>>,
    pub(super) log: EventLog,
    pub(super) list_trouble: Option<ListTrouble>,
    /// Pods that stay listed.
    pub(super) stale: Vec<PodResources>,
}

/// All that tasks share. The mutex is the one place of the fake's shared state; no await happens under it.
#[derive(Debug)]
pub(super) struct Shared {
    settings: KubeletSettings,
    started: Instant,
    state: Mutex<State>,
    /// Admission is serial: one pod at a time.
    pub(super) admission: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
}

/// Waits for the kubelet's end.
pub(super) struct Stopped(watch::Receiver<bool>);

impl Stopped {
    pub(super) async fn wait(&mut self) {
        // An error means that the kubelet itself is gone: that is the end, too.
        let _gone = self.0.wait_for(|stopping| *stopping).await;
    }
}

impl Shared {
    pub(super) fn new(settings: KubeletSettings, ledger: Ledger) -> Shared {
        let state = State {
            ledger,
            connections: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            running: settings.ledger.running.clone(),
            node_allocatable: None,
            log: EventLog::default(),
            list_trouble: None,
            stale: Vec::new(),
        };
        Shared {
            settings,
            started: Instant::now(),
            state: Mutex::new(state),
            admission: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn device_plugins_dir(&self) -> &Path {
        &self.settings.device_plugins_dir
    }

    /// Whether PodResources lists nothing yet.
    pub(super) fn lists_nothing(&self) -> bool {
        self.now() < self.settings.trouble.lists_nothing_for
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.settings.ledger.profile
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        self.settings.dial_timeout
    }

    pub(super) fn register_after(&self) -> Duration {
        self.settings.register_after
    }

    pub(super) fn pre_start_timeout(&self) -> Duration {
        self.settings.pre_start_timeout
    }

    pub(super) fn stopped(&self) -> Stopped {
        Stopped(self.stopping.subscribe())
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Writes an event down and wakes whoever waits for changes.
    pub(super) fn log(&self, event: WireEvent) {
        tracing::debug!(?event, "kubelet");
        let at = self.now();
        self.state().log.push(at, event);
        self.announce();
    }

    /// Wakes whoever waits for changes.
    pub(super) fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Ends everything; `false` if it had ended before.
    pub(super) fn end(&self, event: WireEvent) -> bool {
        if self.stopping.send_replace(true) {
            return false;
        }
        self.state().connections.clear();
        self.log(event);
        true
    }

    /// Writes the checkpoint file if the ledger says so.
    pub(super) fn write_checkpoint(&self) {
        let checkpoint = {
            let mut state = self.state();
            if !state.ledger.take_checkpoint_due() || self.is_stopping() {
                return;
            }
            state.ledger.checkpoint()
        };
        if let Err(error) = files::write_checkpoint(self.device_plugins_dir(), &checkpoint) {
            self.log(WireEvent::CheckpointFailed { why: error.to_string() });
        }
    }

    pub(super) fn list_received(&self, resource: &str, devices: &[Device]) {
        self.state().ledger.list_received(resource, devices);
        self.write_checkpoint();
        let healthy = devices.iter().filter(|device| device.healthy).count();
        let unhealthy = devices.len() - healthy;
        self.log(WireEvent::ListReceived { resource: resource.to_owned(), healthy, unhealthy });
    }

    /// A stream ended: the kubelet disconnects a plugin, which in 1.36 may be another one.
    pub(super) fn stream_ended(&self, client: ClientId, resource: &str, why: String) {
        let now = self.now();
        {
            let mut state = self.state();
            if let Some(ended) = state.connections.get_mut(&client) {
                ended.streaming = false;
            }
            if let Some(disconnected) = state.ledger.stream_ended(client, resource, now)
                && let Some(connection) = state.connections.remove(&disconnected)
            {
                // An error means that this is the stream that ended.
                let _own_stream = connection.close.send(());
            }
            let State { connections, ledger, forgotten, .. } = &mut *state;
            if connections.contains_key(&client) && self.profile().replaced_connection_stays_open {
                *forgotten.entry(resource.to_owned()).or_default() += 1;
            }
            connections.retain(|id, connection| connection.streaming || ledger.is_referenced(*id));
        }
        self.log(WireEvent::StreamEnded { resource: resource.to_owned(), why });
    }

    /// What the node status gets; removes resources whose grace period is over.
    pub(super) fn capacity(&self) -> Capacity {
        let capacity = self.state().ledger.capacity(self.now());
        self.write_checkpoint();
        for resource in &capacity.removed_now {
            self.log(WireEvent::ResourceRemoved { resource: resource.clone() });
        }
        capacity
    }

    /// The connection that a call goes to.
    pub(super) fn plugin(&self, client: ClientId) -> Option<PluginClient> {
        self.state().connections.get(&client).map(|connection| connection.plugin.clone())
    }
}
