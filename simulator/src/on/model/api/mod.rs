//! The API server of the model: Nodes in the fake cluster's own pure store, pods as lean records, because tens of
//! thousands of pods live and die in a second.
//!
//! [`template`] turns a manifest into facts once for all pods of its kind, after the store has checked it; [`pods`] are
//! the pods; [`nodes`] the Nodes with what the scheduler needs of them; [`schedule`] the scheduler's pass; [`deployments`] pods that are kept in number; [`changes`]
//! what has to be looked at again.

pub(super) mod changes;
mod deployments;
pub(super) mod nodes;
pub(super) mod pods;
mod schedule;
pub(super) mod template;
mod watched_pods;

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::api::{ApiError, Store, Timestamp};

use self::changes::Changes;
use self::deployments::Deployment;
use self::nodes::ApiNode;
use self::pods::{Pod, StatusWrite};
use self::schedule::Waiting;
use self::template::Template;
use super::engine::Engine;
use super::happening::{Happening, PodId};
use super::latency;

/// The namespace of the pods that scenarios make.
pub(super) const NAMESPACE: &str = "default";
/// When the model's clock starts: 2026-01-01T00:00:00Z, in seconds.
const EPOCH_SECONDS: u64 = 1_767_225_600;
/// Changes that the store remembers; the model's watches do not read them.
const HISTORY_MAX: usize = 16;
/// Status writes that wait while the API server is down; a kubelet keeps one per pod.
const WAITING_WRITES_MAX: usize = 200_000;

/// An API server that answers, but not as it should.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// Every answer takes this much longer, in nanoseconds.
    pub(super) delay: u64,
    /// The plugin's requests are refused with this status.
    pub(super) refuses: Option<u32>,
    /// Watches end with 410 at once.
    pub(super) expired: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Api {
    store: Store,
    /// The Nodes, in the order of the scenario.
    pub(super) nodes: Vec<ApiNode>,
    /// All pods, in the order of their creation.
    pub(super) pods: BTreeMap<PodId, Pod>,
    names: BTreeMap<Arc<str>, PodId>,
    templates: BTreeMap<String, Arc<Template>>,
    templates_made: u32,
    created: u64,
    waiting: BTreeMap<u32, Waiting>,
    /// Counts changes of Nodes' objects.
    objects_stored: u64,
    deployments: BTreeMap<String, Deployment>,
    replicas_due: bool,
    schedule_due: bool,
    reconcile_due: bool,
    up: bool,
    /// What else goes wrong with it.
    pub(super) trouble: Trouble,
    waiting_writes: Vec<StatusWrite>,
    /// Pods that failed and whose owner has not looked; those that came first when there are too many.
    pub(super) failed: Vec<PodId>,
    /// What has to be looked at again.
    pub(super) changes: Changes,
}

impl Api {
    /// An empty cluster.
    ///
    /// # Errors
    /// None in practice; creating namespaces in an empty store is passed on as it is.
    pub(super) fn new() -> Result<Api, ApiError> {
        let mut store = Store::with_history(HISTORY_MAX);
        store.create_namespaces(Timestamp::from_seconds(EPOCH_SECONDS))?;
        Ok(Api {
            store,
            nodes: Vec::new(),
            pods: BTreeMap::new(),
            names: BTreeMap::new(),
            templates: BTreeMap::new(),
            templates_made: 0,
            created: 0,
            waiting: BTreeMap::new(),
            objects_stored: 0,
            deployments: BTreeMap::new(),
            replicas_due: false,
            schedule_due: false,
            reconcile_due: false,
            up: true,
            trouble: Trouble::default(),
            waiting_writes: Vec::new(),
            failed: Vec::new(),
            changes: Changes::default(),
        })
    }

    /// Whether the API server answers.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// The API server stops answering.
    pub(super) fn go_down(&mut self) {
        self.up = false;
    }

    /// The API server answers again; status writes that waited are made.
    pub(super) fn come_back(&mut self, engine: &mut Engine) {
        self.up = true;
        for write in std::mem::take(&mut self.waiting_writes) {
            self.write_status(engine, write);
        }
        self.want_schedule(engine);
        self.want_replicas(engine);
        self.want_reconcile(engine);
    }

    /// Lets the scheduler make a pass soon.
    pub(super) fn want_schedule(&mut self, engine: &mut Engine) {
        if !std::mem::replace(&mut self.schedule_due, true) {
            engine.after(latency::SCHEDULER, Happening::Schedule);
        }
    }

    /// Lets the DaemonSet controller look soon.
    pub(super) fn want_reconcile(&mut self, engine: &mut Engine) {
        if !std::mem::replace(&mut self.reconcile_due, true) {
            engine.after(latency::DAEMON_SET, Happening::Reconcile);
        }
    }

    /// The DaemonSet controller looks now.
    pub(super) fn reconciling(&mut self) {
        self.reconcile_due = false;
    }
}

/// The model's time as the API writes it.
fn timestamp(engine: &Engine) -> Timestamp {
    Timestamp::from_micros(EPOCH_SECONDS * 1_000_000 + engine.now() / 1_000)
}
