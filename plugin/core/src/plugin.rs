//! The whole plugin as one machine: events in, actions out, a view for the handlers.
//!
//! `handle` takes an event into the state, then lets every part look at the whole until nothing moves: the configuration is
//! chosen, each GPU walks towards its role ([`crate::switch`]), MPS daemons are wished for, resources are registered, labels
//! are compared. So it does not matter in which order facts arrive, and a lost one is made good by the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::action::{Action, Severity};
use crate::annotations::AnnotationPatch;
use crate::cdi::Specs;
use crate::change::Change;
use crate::checkpoint::CheckpointTable;
use crate::choose::{Applied, Sources};
use crate::config::ResourceName;
use crate::driver::DriverWatch;
use crate::event::Event;
use crate::gone::Gone;
use crate::inventory::{Facts, GpuUuid};
use crate::kept_gpus::Keeper;
use crate::kubelet_start::KubeletStart;
use crate::label_patch::LabelPatch;
use crate::last_good::LastGoods;
use crate::links::Links;
use crate::mps::{Actual, Desired};
use crate::ownership::Ownership;
use crate::ownership::processes::ProcessWatch;
use crate::pods::Pods;
use crate::publish::Retiring;
use crate::registration::Registration;
use crate::renew::Renewals;
pub use crate::settings::{ConfigSource, Settings, Timing};
use crate::switch::GpuState;
use crate::taints::TaintPatch;
use crate::takeover::Takeover;
use crate::time::Time;
use crate::time_slice::TimeSlices;
use crate::view::View;
use crate::withdraw::Withdrawal;

/// What is known about the driver.
#[derive(Clone, Debug, Default)]
pub(crate) enum Driver {
    /// Being looked for.
    #[default]
    Unknown,
    /// No library on this node, or NVML cannot start; the next look comes at this time.
    Missing { why: String, failed: bool, retry_at: Time },
    /// It reported this.
    Present(Facts),
}

/// See the module. Drive it with [`Plugin::handle`], [`Plugin::poll_action`], [`Plugin::poll_timeout`] and [`Plugin::view`].
#[derive(Clone, Debug)]
pub struct Plugin {
    pub(crate) now: Time,
    pub(crate) settings: Settings,
    pub(crate) started_at: Option<Time>,
    pub(crate) sources: Sources,
    /// Something that the choice of the configuration depends on has changed.
    pub(crate) choice_is_stale: bool,
    pub(crate) driver: Driver,
    pub(crate) driver_watch: DriverWatch,
    pub(crate) requested: Option<String>,
    pub(crate) problems: Vec<String>,
    pub(crate) waiting_for: Option<&'static str>,
    /// In force.
    pub(crate) applied: Option<Arc<Applied>>,
    /// Staged: holds as soon as a supervisor for its MPS daemons is alive.
    pub(crate) next: Option<Arc<Applied>>,
    pub(crate) staged_at: Option<Time>,
    /// The configuration that the Node's labels describe: the newest that a GPU serves.
    pub(crate) labelled: Option<Arc<Applied>>,
    pub(crate) gpus: BTreeMap<GpuUuid, GpuState>,
    /// When each of them came into its state.
    pub(crate) changed_at: BTreeMap<GpuUuid, Time>,
    pub(crate) retiring: Vec<Retiring>,
    pub(crate) gone: Gone,
    pub(crate) ownership: Ownership,
    /// What the kubelet's file adds to it.
    pub(crate) checkpoint: CheckpointTable,
    pub(crate) pods: Pods,
    pub(crate) withdrawal: Withdrawal,
    pub(crate) processes: ProcessWatch,
    pub(crate) next_read: Option<Time>,
    pub(crate) kubelet_up: bool,
    pub(crate) kubelet_start: KubeletStart,
    pub(crate) registrations: BTreeMap<ResourceName, Registration>,
    pub(crate) takeover: Takeover,
    /// Resources whose ListAndWatch this kubelet has opened.
    pub(crate) streamed: BTreeSet<ResourceName>,
    pub(crate) desired: Desired,
    /// No process before this one has left a wish, and this one has none yet.
    pub(crate) wish_lost: bool,
    /// When a wish that could not be written is written again.
    pub(crate) desired_retry_at: Option<Time>,
    pub(crate) actual: Option<Actual>,
    pub(crate) supervisor_alive: bool,
    pub(crate) renewals: Renewals,
    pub(crate) label_patch: LabelPatch,
    pub(crate) annotation_patch: AnnotationPatch,
    pub(crate) taint_patch: TaintPatch,
    /// The configuration to fall back on after a restart.
    pub(crate) last_goods: LastGoods,
    pub(crate) kept: Keeper,
    pub(crate) specs: Specs,
    pub(crate) time_slices: TimeSlices,
    pub(crate) said: BTreeMap<String, String>,
    pub(crate) stopping: bool,
    pub(crate) exited: bool,
    /// What the view does not show yet.
    pub(crate) change: Change,
    actions: VecDeque<Action>,
    pub(crate) view: Arc<View>,
    /// How close the GPUs are that were found last.
    pub(crate) links: Arc<Links>,
}

impl Default for Plugin {
    fn default() -> Self {
        Self::new()
    }
}

impl Plugin {
    /// A plugin that waits for `Started`.
    pub fn new() -> Self {
        Plugin {
            now: Time::START,
            settings: Settings::default(),
            started_at: None,
            sources: Sources::default(),
            choice_is_stale: true,
            driver: Driver::Unknown,
            driver_watch: DriverWatch::default(),
            requested: None,
            problems: Vec::new(),
            waiting_for: None,
            applied: None,
            next: None,
            staged_at: None,
            labelled: None,
            gpus: BTreeMap::new(),
            changed_at: BTreeMap::new(),
            retiring: Vec::new(),
            gone: Gone::new(),
            ownership: Ownership::default(),
            checkpoint: CheckpointTable::default(),
            pods: Pods::default(),
            withdrawal: Withdrawal::default(),
            processes: ProcessWatch::default(),
            next_read: None,
            kubelet_up: false,
            kubelet_start: KubeletStart::default(),
            registrations: BTreeMap::new(),
            takeover: Takeover::default(),
            streamed: BTreeSet::new(),
            desired: Desired::default(),
            wish_lost: false,
            desired_retry_at: None,
            actual: None,
            supervisor_alive: false,
            renewals: Renewals::default(),
            label_patch: LabelPatch::default(),
            annotation_patch: AnnotationPatch::default(),
            taint_patch: TaintPatch::default(),
            last_goods: LastGoods::default(),
            kept: Keeper::default(),
            specs: Specs::default(),
            time_slices: TimeSlices::default(),
            said: BTreeMap::new(),
            stopping: false,
            exited: false,
            change: Change::default(),
            actions: VecDeque::new(),
            view: Arc::new(View::default()),
            links: Arc::default(),
        }
    }

    /// Something happened at `now`. Afterwards drain [`Self::poll_action`] and publish [`Self::view`].
    pub fn handle(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        self.absorb(event);
        if self.started_at.is_some() && !self.exited {
            self.advance();
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to send [`Event::Timeout`], if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.exited {
            return None;
        }
        let retries = self.registrations.values().filter_map(Registration::retry_at).min();
        let retiring = self.retiring.iter().filter(|r| !r.held_only).map(|r| r.until).min();
        let drained_ids = self.withdrawn_ids_leave().filter(|at| *at > self.now).min();
        let labels = self.label_patch.retry_at;
        [
            self.driver_deadline(),
            retries,
            retiring,
            drained_ids,
            labels,
            self.annotation_patch.retry_at,
            self.taint_patch.retry_at,
            self.taint_deadline(),
            self.drain_due(),
            self.renewals.due(self.now),
            self.desired_retry_at,
            self.kept.retry_at.filter(|_| self.facts().is_some()),
            self.next_read,
            self.takeover.due(),
            self.pods.due(),
            self.bind_deadline(),
            self.node_deadline(),
            self.staged_deadline(),
            self.specs_deadline(),
            self.processes.due(),
            self.time_slices.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What gRPC handlers answer from.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// The present facts about the hardware.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        match &self.driver {
            Driver::Present(facts) => Some(facts),
            Driver::Unknown | Driver::Missing { .. } => None,
        }
    }

    pub(crate) fn exit(&mut self, code: u8, why: String) {
        self.exited = true;
        self.act(Action::Exit { code, why });
    }

    /// Asks the kubelet who holds what, unless that is under way.
    pub(crate) fn read_holders(&mut self) {
        if !self.ownership.is_asking() {
            self.ownership.asked(self.now);
            self.next_read = None;
            self.act(Action::ReadHolders);
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn set_view(&mut self, view: View) {
        self.view = Arc::new(view);
    }

    /// Announces a message unless the topic's last one was the same.
    pub(crate) fn say_once(&mut self, topic: &str, severity: Severity, reason: &str, message: String) {
        if self.said.get(topic) == Some(&message) {
            return;
        }
        if self.said.len() >= Self::TOPICS_MAX {
            self.said.clear();
        }
        self.said.insert(topic.to_owned(), message.clone());
        self.act(Action::Announce { severity, reason: reason.to_owned(), message });
    }

    /// How many topics are remembered, so that nothing is said twice in a row.
    const TOPICS_MAX: usize = 256;
}
