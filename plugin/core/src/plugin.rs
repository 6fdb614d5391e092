//! The whole plugin as one machine: events in, actions out, a view for the handlers.
//!
//! `handle` takes an event into the state, then lets every part look at the whole until nothing moves: the configuration is
//! chosen, each GPU walks towards its role ([`crate::switch`]), MPS daemons are wished for, resources are registered, labels
//! are compared. So it does not matter in which order facts arrive, and a lost one is made good by the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::action::{Action, Severity};
use crate::backoff::Backoff;
use crate::choose::{self, Applied, Choice, Parsed, Sources};
use crate::config::ResourceName;
use crate::event::Event;
use crate::inventory::{Facts, GpuUuid};
use crate::mps::{Actual, Desired};
use crate::ownership::Ownership;
use crate::publish::Retiring;
use crate::registration::{Demand, Input, Registration};
pub use crate::settings::{ConfigSource, Settings, Timing};
use crate::switch::GpuState;
use crate::time::Time;
use crate::view::View;

/// What is known about the driver.
#[derive(Clone, Debug, Default)]
pub(crate) enum Driver {
    /// Being looked for.
    #[default]
    Unknown,
    /// No library on this node, or NVML cannot start; the next look comes at this time.
    Missing {
        why: String,
        failed: bool,
        retry_at: Time,
    },
    /// It reported this.
    Present(Facts),
}

/// The label patch.
#[derive(Clone, Debug)]
pub(crate) struct LabelPatch {
    /// What was sent and not yet answered.
    sent: Option<BTreeMap<String, Option<String>>>,
    retry_at: Option<Time>,
    backoff: Backoff,
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
    pub(crate) requested: Option<String>,
    pub(crate) problems: Vec<String>,
    pub(crate) waiting_for: Option<&'static str>,
    /// In force.
    pub(crate) applied: Option<Applied>,
    /// Staged: holds as soon as a supervisor for its MPS daemons is alive.
    pub(crate) next: Option<Applied>,
    pub(crate) staged_at: Option<Time>,
    /// The configuration that the Node's labels describe: the newest that a GPU serves.
    pub(crate) labelled: Option<Applied>,
    pub(crate) gpus: BTreeMap<GpuUuid, GpuState>,
    pub(crate) retiring: Vec<Retiring>,
    pub(crate) ownership: Ownership,
    pub(crate) next_read: Option<Time>,
    pub(crate) kubelet_up: bool,
    pub(crate) registrations: BTreeMap<ResourceName, Registration>,
    pub(crate) desired: Desired,
    pub(crate) earlier_desired: Option<Desired>,
    pub(crate) actual: Option<Actual>,
    pub(crate) supervisor_alive: bool,
    pub(crate) label_patch: LabelPatch,
    said: BTreeMap<String, String>,
    stopping: bool,
    exited: bool,
    actions: VecDeque<Action>,
    view: Arc<View>,
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
            requested: None,
            problems: Vec::new(),
            waiting_for: None,
            applied: None,
            next: None,
            staged_at: None,
            labelled: None,
            gpus: BTreeMap::new(),
            retiring: Vec::new(),
            ownership: Ownership::default(),
            next_read: None,
            kubelet_up: false,
            registrations: BTreeMap::new(),
            desired: Desired::default(),
            earlier_desired: None,
            actual: None,
            supervisor_alive: false,
            label_patch: LabelPatch {
                sent: None,
                retry_at: None,
                backoff: Backoff::for_api_server(),
            },
            said: BTreeMap::new(),
            stopping: false,
            exited: false,
            actions: VecDeque::new(),
            view: Arc::new(View::default()),
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
        let driver = match &self.driver {
            Driver::Missing { retry_at, .. } => Some(*retry_at),
            Driver::Unknown | Driver::Present(_) => None,
        };
        let retries = self
            .registrations
            .values()
            .filter_map(Registration::retry_at)
            .min();
        let retiring = self.retiring.iter().map(|r| r.until).min();
        let labels = self.label_patch.retry_at;
        [
            driver,
            retries,
            retiring,
            labels,
            self.next_read,
            self.node_deadline(),
            self.staged_deadline(),
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

    fn absorb(&mut self, event: Event) {
        match event {
            Event::Started {
                settings,
                mps_desired,
            } => self.start(*settings, mps_desired),
            Event::Timeout => {}
            Event::ReloadRequested => {
                self.act(Action::ReadConfig);
                self.act(Action::FindGpus);
            }
            Event::StopRequested => self.stopping = true,
            Event::GpusFound { facts } => {
                self.driver = Driver::Present(facts);
                self.choice_is_stale = true;
            }
            Event::NoDriver { why } => self.driver_missing(why, false),
            Event::DriverFailed { why } => self.driver_missing(why, true),
            Event::ConfigRead { files } => self.files_read(Ok(files)),
            Event::ConfigUnreadable { why } => self.files_read(Err(why)),
            Event::NodeRead { labels } => self.labels_read(labels),
            Event::NodeUnreadable { why } => self.say_once("node", Severity::Warning, "NodeUnreadable", why),
            Event::LabelsPatched => self.labels_patched(),
            Event::LabelsFailed { why } => self.labels_failed(why),
            Event::KubeletAppeared => self.kubelet_appeared(),
            Event::KubeletGone => self.kubelet_up = false,
            Event::Listening { resource, .. } => self.registration(&resource, Input::Listening),
            Event::ListenFailed { resource, why } => {
                self.say_once(resource.as_str(), Severity::Warning, "SocketFailed", why);
                self.registration(&resource, Input::ListenFailed);
            }
            Event::Registered { resource } => {
                self.said.remove(resource.as_str());
                self.registration(&resource, Input::Registered);
            }
            Event::RegisterFailed { resource, why } => {
                let message = format!("the kubelet did not take `{resource}`: {why}; trying again");
                self.say_once(
                    resource.as_str(),
                    Severity::Warning,
                    "RegistrationFailed",
                    message,
                );
                self.registration(&resource, Input::RegisterFailed);
            }
            Event::StreamOpened { .. } => {}
            Event::StreamClosed { resource } => self.registration(&resource, Input::StreamClosed),
            Event::Allocated {
                resource,
                ids,
                refused,
                ..
            } => {
                if refused.is_none() {
                    self.ownership
                        .allocated(resource.as_str(), &ids, self.settings.timing.hint_absence);
                }
            }
            Event::HoldersRead { holdings } => {
                self.said.remove("holders");
                self.ownership.read(self.now, &holdings);
            }
            Event::HoldersUnreadable { why } => self.holders_unreadable(why),
            Event::MpsReported {
                supervisor_alive,
                actual,
            } => {
                self.supervisor_alive = supervisor_alive;
                self.actual = actual;
            }
            Event::MpsDesiredFailed { why } => {
                self.say_once("desired", Severity::Warning, "MpsDesiredNotWritten", why);
            }
        }
    }

    fn files_read(&mut self, files: Result<BTreeMap<String, String>, String>) {
        self.choice_is_stale = true;
        self.sources.files = Some(files);
    }

    fn labels_read(&mut self, labels: BTreeMap<String, String>) {
        let key = self.settings.label_key();
        let before = self.sources.labels.as_ref().map(|l| l.get(key));
        self.choice_is_stale |= before != Some(labels.get(key));
        self.sources.labels = Some(labels);
    }

    fn start(&mut self, settings: Settings, mps_desired: Option<Desired>) {
        self.settings = settings;
        self.started_at = Some(self.now);
        self.desired = mps_desired.clone().unwrap_or_default();
        self.earlier_desired = mps_desired;
        self.act(Action::FindGpus);
        self.read_holders();
    }

    fn driver_missing(&mut self, why: String, failed: bool) {
        let retry_at = self.now + self.settings.timing.driver_retry;
        let reason = if failed { "DriverFailed" } else { "NoDriver" };
        let next = if failed {
            "NVML cannot be used"
        } else {
            "no NVIDIA driver library on this node"
        };
        let message = format!("{next}: {why}; nothing is served until it can be loaded");
        self.say_once("driver", Severity::Warning, reason, message);
        self.driver = Driver::Missing {
            why,
            failed,
            retry_at,
        };
    }

    fn kubelet_appeared(&mut self) {
        if self.kubelet_up || !self.registrations.is_empty() {
            self.ownership
                .kubelet_restarted(self.settings.timing.hint_absence);
        }
        self.kubelet_up = true;
        let resources: Vec<ResourceName> = self.registrations.keys().cloned().collect();
        for resource in resources {
            self.registration(&resource, Input::KubeletAppeared);
        }
        self.read_holders();
    }

    fn holders_unreadable(&mut self, why: String) {
        self.ownership.unread(why.clone());
        let message = format!(
            "who holds which GPU cannot be read from the kubelet: {why}; GPUs keep their roles until it can (is the \
             pod-resources directory mounted?)"
        );
        self.say_once("holders", Severity::Warning, "HoldersUnreadable", message);
    }

    /// The watch will tell the same in a moment; until then the patch is taken as seen, so that it is not sent twice.
    fn labels_patched(&mut self) {
        self.said.remove("labels");
        self.label_patch.backoff.reset();
        let sent = self.label_patch.sent.take().unwrap_or_default();
        let Some(labels) = &mut self.sources.labels else {
            return;
        };
        for (key, value) in sent {
            match value {
                Some(value) => labels.insert(key, value),
                None => labels.remove(&key),
            };
        }
    }

    fn labels_failed(&mut self, why: String) {
        self.label_patch.sent = None;
        self.label_patch.retry_at = Some(self.now + self.label_patch.backoff.next_delay());
        let message = format!("the Node's labels could not be written: {why}; trying again");
        self.say_once("labels", Severity::Warning, "LabelsNotWritten", message);
    }

    /// Everything that follows from the present state.
    fn advance(&mut self) {
        if self.stopping {
            return self.stop();
        }
        self.retry_driver();
        if self.exited {
            return;
        }
        self.choose_config();
        self.stage();
        self.advance_gpus();
        self.wish_mps();
        self.poll_holders();
        self.retire();
        self.publish();
        self.register_all();
        self.patch_labels();
        self.publish();
    }

    fn stop(&mut self) {
        let served: Vec<ResourceName> = self.registrations.keys().cloned().collect();
        for resource in served {
            self.act(Action::Close { resource });
        }
        self.exit(0, "asked to stop".to_owned());
    }

    pub(crate) fn exit(&mut self, code: u8, why: String) {
        self.exited = true;
        self.act(Action::Exit { code, why });
    }

    fn retry_driver(&mut self) {
        let Driver::Missing {
            why,
            failed,
            retry_at,
        } = &mut self.driver
        else {
            return;
        };
        if *failed
            && let Parsed::Good { effective, .. } = choose::parse(&self.settings, &self.sources)
            && effective.fail_on_init_error
        {
            let why = format!(
                "NVML cannot be used: {why} (with `failOnInitError: false` the plugin would wait instead)"
            );
            return self.exit(1, why);
        }
        if *retry_at <= self.now {
            *retry_at = self.now + self.settings.timing.driver_retry;
            self.act(Action::FindGpus);
        }
    }

    fn choose_config(&mut self) {
        if self.node_deadline().is_some_and(|at| at <= self.now) {
            self.sources.labels_given_up = true;
            self.choice_is_stale = true;
            let message =
                "the Node's labels cannot be read; the default configuration is used until they can";
            self.say_once("node", Severity::Warning, "NodeUnreadable", message.to_owned());
        }
        if !std::mem::take(&mut self.choice_is_stale) {
            return;
        }
        match choose::choose(&self.settings, &self.sources, self.facts()) {
            Choice::NotYet(what) => self.waiting_for = Some(what),
            Choice::Refused { requested, problems } => {
                let kept = self.applied.as_ref().map_or_else(
                    || "nothing is served".to_owned(),
                    |a| format!("`{}` stays in force", a.name),
                );
                let message = format!(
                    "configuration `{requested}` is refused, {kept}: {}",
                    problems.join("; ")
                );
                self.say_once("config", Severity::Warning, "ConfigRefused", message);
                self.requested = Some(requested);
                self.problems = problems;
                self.waiting_for = Some("the requested configuration is refused");
                self.next = None;
            }
            Choice::Candidate { requested, applied } => self.adopt(requested, *applied),
        }
    }

    fn adopt(&mut self, requested: String, candidate: Applied) {
        self.waiting_for = None;
        self.requested = Some(requested);
        self.problems.clear();
        if self.applied.as_ref() == Some(&candidate) {
            self.next = None;
            return;
        }
        if self.next.as_ref() == Some(&candidate) {
            return;
        }
        for warning in &candidate.warnings {
            self.say_once(warning, Severity::Warning, "ConfigWarning", warning.clone());
        }
        let message = format!("configuration `{}` is asked for", candidate.name);
        self.say_once("config", Severity::Info, "ConfigStaged", message);
        self.staged_at = Some(self.now);
        self.next = Some(candidate);
    }

    pub(crate) fn node_deadline(&self) -> Option<Time> {
        let waits = self.settings.node_name.is_some()
            && matches!(self.settings.config_source, ConfigSource::Directory { .. })
            && self.sources.labels.is_none()
            && !self.sources.labels_given_up;
        self.started_at
            .filter(|_| waits)
            .map(|at| at + self.settings.timing.node_wait)
    }

    pub(crate) fn staged_deadline(&self) -> Option<Time> {
        self.next.as_ref()?;
        self.staged_at
            .map(|at| at + self.settings.timing.supervisor_wait)
            .filter(|at| *at > self.now)
    }

    /// Asks the kubelet who holds what, unless that is under way.
    pub(crate) fn read_holders(&mut self) {
        if !self.ownership.is_asking() {
            self.ownership.asked(self.now);
            self.next_read = None;
            self.act(Action::ReadHolders);
        }
    }

    pub(crate) fn registration(&mut self, resource: &ResourceName, input: Input) {
        let now = self.now;
        let Some(registration) = self.registrations.get_mut(resource) else {
            return;
        };
        let demand = registration.on(now, input);
        let endpoint = registration.endpoint();
        let resource = resource.clone();
        match demand {
            Some(Demand::Listen) => self.act(Action::Listen { resource, endpoint }),
            Some(Demand::Register) => self.act(Action::Register { resource, endpoint }),
            Some(Demand::Close) => self.act(Action::Close { resource }),
            None => {}
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
        self.act(Action::Announce {
            severity,
            reason: reason.to_owned(),
            message,
        });
    }

    /// How many topics are remembered, so that nothing is said twice in a row.
    const TOPICS_MAX: usize = 256;
}

impl LabelPatch {
    /// The patch, if one may be sent now; it counts as sent then.
    pub(crate) fn begin(&mut self, now: Time, labels: BTreeMap<String, Option<String>>) -> Option<Action> {
        if self.sent.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        self.sent = Some(labels.clone());
        Some(Action::PatchLabels { labels })
    }

    /// Nothing is left to patch.
    pub(crate) fn settled(&mut self) {
        self.retry_at = None;
    }
}
