//! Whether the kubelet really serves what it said it took: Register can succeed and nothing come of it.
//!
//! Kubelets up to 1.36 lose a new connection to the late end of an old one, and when two plugins register one resource the
//! last one wins without a word to the first. Both show in the kubelet's own list of allocatable devices, so that is compared
//! with ours a moment after every registration, and now and then later. One difference may be a list on its way; one that is
//! there twice is answered by registering again on a new socket, less and less often while it does not help.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::{Action, Severity};
use crate::config::ResourceName;
use crate::plugin::Plugin;
use crate::registration::{Input, State};
use crate::time::Time;

/// From a registration, or a difference, to the next look.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Between two looks while all is well.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How often a look that fails is tried again before it waits for the next one.
const TRIES_MAX: u32 = 3;
/// Foreign or missing ids that are named.
const IDS_SHOWN_MAX: usize = 3;
/// So many streams that end without a kubelet's restart are told.
const LOSSES_TOLD: u32 = 3;

/// Ids by extended resource.
pub type Allocatable = BTreeMap<String, Vec<String>>;

/// What the kubelet shows and we do not, and the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Difference {
    missing: BTreeSet<String>,
    foreign: BTreeSet<String>,
}

impl Difference {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.foreign.is_empty()
    }

    /// What both looks have found.
    fn lasting(&self, earlier: &Difference) -> Difference {
        Difference {
            missing: self.missing.intersection(&earlier.missing).cloned().collect(),
            foreign: self.foreign.intersection(&earlier.foreign).cloned().collect(),
        }
    }
}

/// The next look at one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    /// Which of the resource's sockets it is about.
    attempt: u64,
    due: Time,
    failures: u32,
    found: Option<Difference>,
}

/// All looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Takeover {
    looks: BTreeMap<ResourceName, Look>,
    asked: Option<Time>,
    /// The kubelet cannot tell.
    unsupported: bool,
}

impl Takeover {
    /// When the next look is due.
    pub(crate) fn due(&self) -> Option<Time> {
        if self.asked.is_some() { None } else { self.looks.values().map(|look| look.due).min() }
    }
}

impl Plugin {
    /// The kubelet says that it took a resource.
    pub(crate) fn look_after(&mut self, resource: &ResourceName) {
        let serving = self.registrations.get(resource).filter(|r| matches!(r.state(), State::Serving { .. }));
        if let (Some(registration), false) = (serving, self.takeover.unsupported) {
            let attempt = registration.attempt();
            let look = Look { attempt, due: self.now + LOOK_AFTER, failures: 0, found: None };
            self.takeover.looks.insert(resource.clone(), look);
        }
    }

    /// Asks the kubelet when a look is due.
    pub(crate) fn look_at_allocatable(&mut self) {
        let registrations = &self.registrations;
        self.takeover.looks.retain(|resource, look| {
            let current = registrations.get(resource).filter(|r| r.attempt() == look.attempt);
            current.is_some_and(|r| matches!(r.state(), State::Serving { .. }))
        });
        if self.takeover.due().is_some_and(|at| at <= self.now) {
            self.takeover.asked = Some(self.now);
            let resources = self.takeover.looks.keys().cloned().collect();
            self.act(Action::ReadAllocatable { resources });
        }
    }

    /// The kubelet tells what it may hand out.
    pub(crate) fn allocatable_read(&mut self, devices: &Allocatable) {
        let Some(asked) = self.takeover.asked.take() else {
            return;
        };
        let due = self.takeover.looks.iter().filter(|(_, look)| look.due <= asked);
        let due: Vec<(ResourceName, Look)> = due.map(|(name, look)| (name.clone(), look.clone())).collect();
        for (resource, look) in due {
            let found = self.difference(&resource, devices);
            let is_fine = found.is_none();
            let lasting = look.found.as_ref().map(|earlier| found.lasting(earlier));
            let next = match &lasting {
                None if !found.is_none() => Some((LOOK_AFTER, Some(found))),
                None => Some((LOOK_AGAIN, None)),
                Some(lasting) if lasting.missing.is_empty() => Some((LOOK_AGAIN, None)),
                Some(_) => None,
            };
            if let Some(lasting) = lasting.filter(|lasting| !lasting.is_none()) {
                self.tell_difference(&resource, &lasting);
            }
            match next {
                Some((pause, found)) => {
                    if found.is_none() {
                        self.registration(&resource, Input::Seen);
                    }
                    if is_fine {
                        self.said.remove(&rival_topic(&resource));
                        self.said.remove(&takeover_topic(&resource));
                    }
                    let due = self.now + pause;
                    self.takeover.looks.insert(resource, Look { due, failures: 0, found, ..look });
                }
                None => {
                    self.takeover.looks.remove(&resource);
                    self.registration(&resource, Input::Unseen);
                    self.change.all = true;
                }
            }
        }
    }

    /// The kubelet does not tell.
    pub(crate) fn allocatable_unreadable(&mut self, why: &str, unsupported: bool) {
        let Some(asked) = self.takeover.asked.take() else {
            return;
        };
        if unsupported {
            self.takeover.unsupported = true;
            self.takeover.looks.clear();
            let message = format!(
                "this kubelet does not tell what it may hand out: {why}; whether it really took a registration is not checked"
            );
            return self.say_once("allocatable", Severity::Info, "AllocatableUnknown", message);
        }
        for look in self.takeover.looks.values_mut().filter(|look| look.due <= asked) {
            look.failures += 1;
            let pause = if look.failures < TRIES_MAX { LOOK_AFTER } else { LOOK_AGAIN };
            look.failures %= TRIES_MAX;
            look.due = self.now + pause;
        }
    }

    /// A kubelet that did not restart ends one stream after the other.
    pub(crate) fn tell_losses(&mut self, resource: &ResourceName) {
        let losses = self.registrations.get(resource).map_or(0, |r| r.losses());
        if losses == LOSSES_TOLD {
            let message = format!(
                "the kubelet has left `{resource}` {losses} times in a row and did not restart; registering again less \
                 often (does another device plugin on this node register `{resource}`? remove one of them)"
            );
            self.say_once(&rival_topic(resource), Severity::Warning, "RivalPlugin", message);
        }
    }

    fn difference(&self, resource: &ResourceName, devices: &Allocatable) -> Difference {
        let view = self.view();
        let Some(ours) = view.devices(resource) else {
            return Difference::default();
        };
        let theirs: BTreeSet<&String> = devices.get(resource.as_str()).into_iter().flatten().collect();
        let healthy = ours.values().filter(|d| d.healthy).map(|d| &d.id);
        let foreign = theirs.iter().filter(|id| !ours.contains_key(id.as_str()));
        Difference {
            missing: healthy.filter(|id| !theirs.contains(id)).cloned().collect(),
            foreign: foreign.map(|id| (*id).clone()).collect(),
        }
    }

    fn tell_difference(&mut self, resource: &ResourceName, lasting: &Difference) {
        if !lasting.foreign.is_empty() {
            let message = format!(
                "another device plugin on this node registers `{resource}` too: the kubelet shows {} devices that are not \
                 ours; remove one of the two plugins: {}",
                lasting.foreign.len(),
                shown(&lasting.foreign)
            );
            return self.say_once(&rival_topic(resource), Severity::Warning, "RivalPlugin", message);
        }
        let stream = if self.streamed.contains(resource) {
            ""
        } else {
            "; it never opened ListAndWatch (kubelets before 1.26 cannot: see plugin/README.md)"
        };
        let message = format!(
            "the kubelet took `{resource}` but does not show {} of its healthy devices{stream}; registering again on a new \
             socket: {}",
            lasting.missing.len(),
            shown(&lasting.missing)
        );
        self.say_once(&takeover_topic(resource), Severity::Warning, "TakeoverFailed", message);
    }
}

fn rival_topic(resource: &ResourceName) -> String {
    format!("{resource} rival")
}

fn takeover_topic(resource: &ResourceName) -> String {
    format!("{resource} takeover")
}

/// The first few.
fn shown(ids: &BTreeSet<String>) -> String {
    let first: Vec<String> = ids.iter().take(IDS_SHOWN_MAX).map(|id| format!("`{id}`")).collect();
    let rest = if ids.len() > IDS_SHOWN_MAX { ", …" } else { "" };
    first.join(", ") + rest
}
