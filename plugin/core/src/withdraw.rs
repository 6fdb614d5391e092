//! Which healthy ids are to be withdrawn for a role, which still stay, and whether somebody is on the way to them.
//!
//! An id of a draining GPU that its holder has left stays healthy until pods are kept from being bound to it
//! ([`crate::bind_stop`]): the Node promises it until its figures have followed, and whoever was bound for it meanwhile would
//! be refused for good.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Severity;
use crate::bind_stop::{BindStop, BindTimes, Binds};
use crate::bound_pod::{BoundPod, PodPhase};
use crate::choose::Applied;
use crate::inventory::GpuUuid;
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::taints::Taint;
use crate::time::Time;

/// The key of the taint that keeps pods from being bound while ids are withdrawn.
pub const SWITCHING: &str = "tandem.dev/switching";
/// The machine moves at most through all its states in one event.
const MOVES_MAX: usize = 6;
/// Most pods that a message names.
const NAMES_MAX: usize = 10;

/// What is being withdrawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Withdrawal {
    pub(crate) state: BindStop,
    /// By draining GPU.
    kept: BTreeMap<GpuUuid, Kept>,
    /// Extended resources that the Node promises, as it was told last.
    figures: BTreeMap<String, u64>,
    /// Since when the API server tells of the Node; `None` while it does not.
    told: Option<Time>,
    /// Resources that had devices since ids were withdrawn.
    shrinking: BTreeSet<String>,
    /// Whether an earlier process has left the taint is known.
    looked: bool,
}

/// The ids of one draining GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Healthy: held, or left by their holder and not withdrawn yet.
    pub(crate) ids: BTreeSet<String>,
    /// Withdrawn during the drain, and when.
    pub(crate) left: BTreeMap<String, Time>,
}

impl Withdrawal {
    /// The ids of a draining GPU.
    pub(crate) fn kept(&self, gpu: &GpuUuid) -> Option<&Kept> {
        self.kept.get(gpu)
    }

    /// Whether ids of a draining GPU are healthy that nobody holds, or somebody does.
    pub(crate) fn lingers(&self, gpu: &GpuUuid) -> bool {
        self.kept(gpu).is_some_and(|kept| !kept.ids.is_empty())
    }

    /// When the last id of a draining GPU was withdrawn.
    pub(crate) fn last_left(&self, gpu: &GpuUuid) -> Option<Time> {
        self.kept.get(gpu).and_then(|kept| kept.left.values().max().copied())
    }

    /// Every moment at which an id was withdrawn during a drain.
    pub(crate) fn left(&self) -> impl Iterator<Item = Time> {
        self.kept.values().flat_map(|kept| kept.left.values().copied())
    }

    /// Whether the Node's own figures were told and promise no more than these counts of devices.
    fn follow(&self, healthy: &BTreeMap<String, u64>) -> bool {
        let of = |name: &String| healthy.get(name).copied().unwrap_or(0);
        let names = self.shrinking.iter().chain(healthy.keys());
        names.into_iter().all(|name| self.figures.get(name).copied().unwrap_or(0) <= of(name))
    }
}

impl Plugin {
    /// The taint that keeps pods from being bound while ids are withdrawn.
    pub(crate) fn switching_taint() -> Taint {
        Taint { key: SWITCHING.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() }
    }

    /// Whether ids may be withdrawn now.
    pub(crate) fn may_withdraw(&self) -> bool {
        self.settings.node_name.is_none() || self.withdrawal.state.is_closed()
    }

    /// Whether a configuration takes a role from a GPU that plays it.
    pub(crate) fn would_withdraw(&self, next: &Applied) -> bool {
        self.gpus.iter().any(|(uuid, state)| match state {
            GpuState::Settled { role } => next.roles.get(uuid) != Some(role),
            GpuState::Found | GpuState::Draining { .. } | GpuState::Converting | GpuState::Unused => false,
        })
    }

    /// Moves the machine that stops binds.
    pub(crate) fn stop_binds(&mut self) {
        if self.settings.node_name.is_none() {
            return;
        }
        let tainted = self.is_tainted(&Self::switching_taint());
        if !self.withdrawal.looked && self.taint_patch.on_node.is_some() {
            self.withdrawal.looked = true;
            if tainted && self.withdrawal.state == BindStop::Open {
                self.withdrawal.state = BindStop::Following { since: self.now, waited: false };
            }
        }
        let wanted = self.withdraws_staged() || self.withdraws_left();
        let times = self.bind_times();
        for _ in 0..MOVES_MAX {
            let s = Binds {
                now: self.now,
                wanted,
                tainted,
                admitted: self.all_admitted(),
                figures_follow: self.withdrawal.follow(&self.healthy()),
                told: self.withdrawal.told,
            };
            let before = self.withdrawal.state;
            let next = before.next(&s, &times);
            if next == before {
                break;
            }
            self.bind_stop_moved(before, next);
        }
    }

    fn bind_stop_moved(&mut self, from: BindStop, to: BindStop) {
        self.change.all = true;
        if to.is_closed() {
            self.tell_wait_over(from);
            self.withdrawal.shrinking.extend(self.view.resources.keys().map(ToString::to_string));
        }
        if to == BindStop::Open {
            let shrinking = std::mem::take(&mut self.withdrawal.shrinking);
            let healthy = self.healthy();
            let ahead = |name: &&String| {
                self.withdrawal.figures.get(*name) > Some(&healthy.get(*name).copied().unwrap_or(0))
            };
            let late: Vec<String> = shrinking.iter().filter(ahead).cloned().collect();
            if !late.is_empty() {
                let message = format!(
                    "the Node still promises more of `{}` than there is, although its kubelet was waited for: pods may be \
                     refused (is the kubelet well?)",
                    late.join("`, `")
                );
                self.say_once("binds", Severity::Warning, "FiguresDoNotFollow", message);
            }
        }
        self.withdrawal.state = to;
    }

    /// Says who may be refused because the wait had to end.
    fn tell_wait_over(&mut self, from: BindStop) {
        let wait = self.settings.timing.bind_wait;
        let message = match from {
            BindStop::Tainting { .. } => format!(
                "the taint `{}` could not be set within {wait:?}: ids are withdrawn, and pods that are bound meanwhile may be \
                 refused",
                Self::switching_taint()
            ),
            BindStop::Admitting { .. } if self.all_admitted().is_none() => {
                let late: Vec<String> = self.late_pods().take(NAMES_MAX).map(BoundPod::full_name).collect();
                let who = match (late.is_empty(), self.pods.unreadable()) {
                    (false, _) => format!("not admitted after {wait:?}: {}", late.join(", ")),
                    (true, why) => {
                        format!("the pods of this node cannot be read: {}", why.unwrap_or("no answer"))
                    }
                };
                format!("ids are withdrawn, and pods that are bound to this node may be refused; {who}")
            }
            BindStop::Open | BindStop::Admitting { .. } | BindStop::Closed | BindStop::Following { .. } => {
                drop(self.said.remove("binds"));
                return;
            }
        };
        self.say_once("binds", Severity::Warning, "PodsNotAwaited", message);
    }

    /// When time alone moves the machine on.
    pub(crate) fn bind_deadline(&self) -> Option<Time> {
        self.withdrawal.state.due(self.now, self.withdrawal.told, &self.bind_times())
    }

    fn bind_times(&self) -> BindTimes {
        let timing = &self.settings.timing;
        BindTimes { settle: timing.bind_settle, wait: timing.bind_wait, figures: timing.figures_wait }
    }

    /// A staged configuration has everything that it needs but free ids.
    fn withdraws_staged(&self) -> bool {
        self.next.as_ref().is_some_and(|next| self.is_prepared(next) && self.would_withdraw(next))
    }

    /// A holder has left an id of a draining GPU, or is about to: whoever waits for a device like it would be bound in the
    /// moment in which it is free, and the GPU would drain for ever.
    fn withdraws_left(&self) -> bool {
        self.withdrawal.kept.iter().any(|(uuid, kept)| {
            let role = self.gpus.get(uuid).and_then(GpuState::role);
            role.is_some_and(|role| {
                let held = self.ownership.held_ids(uuid, role.resource.as_str());
                kept.ids.iter().any(|id| !held.contains(id.as_str()))
            }) || self.ownership.pods(uuid).iter().any(|pod| self.pods.is_leaving(self.now, pod))
        })
    }

    /// Follows the holders of draining GPUs: ids that they leave stay until they may be withdrawn.
    pub(crate) fn keep_ids(&mut self) {
        let may_withdraw = self.may_withdraw();
        let mut kept = std::mem::take(&mut self.withdrawal.kept);
        let mut now = BTreeMap::new();
        for (uuid, state) in &self.gpus {
            let GpuState::Draining { from, .. } = state else { continue };
            let held = self.ownership.held_ids(uuid, from.resource.as_str());
            let held: BTreeSet<String> = held.into_iter().map(str::to_owned).collect();
            let before = kept.remove(uuid);
            let mut of_gpu = before.clone().unwrap_or_default();
            if may_withdraw {
                let left = of_gpu.ids.difference(&held).map(|id| (id.clone(), self.now));
                of_gpu.left.extend(left.collect::<Vec<_>>());
                of_gpu.ids = held;
            } else {
                of_gpu.ids.extend(held);
            }
            let ids = &of_gpu.ids;
            of_gpu.left.retain(|id, _| !ids.contains(id));
            self.change.all |= before.as_ref() != Some(&of_gpu);
            now.insert(uuid.clone(), of_gpu);
        }
        self.withdrawal.kept = now;
    }

    /// The pods that this node was bound to are admitted, as a list that was asked for then shows.
    fn all_admitted(&self) -> Option<Time> {
        let asked = self.pods.evidence()?;
        self.late_pods().next().is_none().then_some(asked)
    }

    /// Pods that are bound to this node for devices of ours, and that the kubelet has not admitted.
    fn late_pods(&self) -> impl Iterator<Item = &BoundPod> {
        let waits = |pod: &&BoundPod| {
            let mut ours = pod
                .requests
                .iter()
                .filter(|(name, _)| self.view.resources.keys().any(|r| r.as_str() == *name));
            pod.phase == PodPhase::Bound
                && ours.any(|(name, count)| self.ownership.given(&pod.full_name(), name) < *count)
        };
        self.pods.all().filter(waits)
    }

    /// How many devices of each resource may be handed out.
    fn healthy(&self) -> BTreeMap<String, u64> {
        let count = |devices: &BTreeMap<String, crate::view::Device>| {
            devices.values().filter(|device| device.healthy).count() as u64
        };
        self.view.resources.iter().map(|(name, served)| (name.to_string(), count(&served.devices))).collect()
    }

    /// The API server tells of the Node, or does not any more.
    pub(crate) fn node_told(&mut self, tells: bool) {
        self.withdrawal.told = tells.then(|| self.withdrawal.told.unwrap_or(self.now));
    }

    pub(crate) fn figures_read(&mut self, figures: BTreeMap<String, u64>) {
        self.withdrawal.figures = figures;
    }
}
