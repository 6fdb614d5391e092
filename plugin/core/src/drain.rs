//! What people see of a switch: which GPU waits for whom, since when, and that it has taken longer than the configuration
//! allows. A drain is never ended by force: it is announced, and can be abandoned by asking for the old role again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::Severity;
use crate::inventory::GpuUuid;
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::time::Time;
use crate::unit::Unit;
use crate::view::Blocker;

/// The GPUs that wait for their holders; absent when none does.
pub const DRAINING: &str = "tandem.dev/switch.draining";

/// Longest annotation in bytes: it is for a glance, `/state` has everything.
const DRAINING_BYTES_MAX: usize = 1024;

impl Plugin {
    /// Says once per drain who is waited for, as soon as the kubelet has been asked, and once that it takes too long.
    pub(crate) fn tell_drain(&mut self, unit: Unit<'_>, state: &GpuState) {
        let (topic, late) = (format!("{} draining", unit.uuid()), format!("{} overdue", unit.uuid()));
        let GpuState::Draining { from: role, since } = state else {
            self.said.remove(&topic);
            self.said.remove(&late);
            return;
        };
        let asked = self.ownership.evidence().is_some_and(|e| e >= *since);
        let mut holders = self.ownership.holders(unit.uuid());
        holders.extend(self.process_holders(unit));
        let (is_held, holders) = (!holders.is_empty(), holders.join(", "));
        if asked && is_held && !self.said.contains_key(&topic) {
            let message = format!(
                "{unit} is draining: it leaves `{}` when it is free; held by {holders}",
                role.resource
            );
            self.say_once(&topic, Severity::Info, "GpuDraining", message);
        }
        if self.is_overdue(*since) && !self.said.contains_key(&late) {
            let waited = self.now.since(*since).as_secs();
            let holders = if is_held { holders.as_str() } else { "nobody that is known" };
            let message = format!(
                "{unit} has been draining for {waited} s, longer than `sharing.drainDeadline` allows: it leaves `{}` when it \
                 is free; held by {holders} (hint: delete these pods, or ask for the role before again)",
                role.resource
            );
            self.say_once(&late, Severity::Warning, "DrainOverdue", message);
        }
    }

    /// The pods that a GPU waits for; none while it does not drain.
    pub(crate) fn blockers(&self, gpu: &GpuUuid) -> Vec<Blocker> {
        if !matches!(self.gpus.get(gpu), Some(GpuState::Draining { .. })) {
            return Vec::new();
        }
        let holders = self.ownership.holders(gpu);
        let pods: BTreeSet<&str> = holders.iter().filter_map(|holder| pod_of(holder)).collect();
        let known = |pod: &str| {
            let known = self.pods.named(pod);
            Blocker {
                pod: pod.to_owned(),
                owner: known.and_then(|pod| pod.owner.clone()),
                created_s: known.map(|pod| pod.created_s),
            }
        };
        pods.into_iter().map(known).collect()
    }

    fn drain_deadline(&self) -> Option<Duration> {
        self.applied.as_ref().and_then(|applied| applied.drain_deadline)
    }

    /// Whether a drain that began then takes longer than the configuration allows.
    pub(crate) fn is_overdue(&self, since: Time) -> bool {
        self.drain_deadline().is_some_and(|allowed| since + allowed <= self.now)
    }

    /// When the next drain will have taken too long.
    pub(crate) fn drain_due(&self) -> Option<Time> {
        let allowed = self.drain_deadline()?;
        let begun = self.gpus.values().filter_map(|state| match state {
            GpuState::Draining { since, .. } => Some(*since + allowed),
            GpuState::Found | GpuState::Settled { .. } | GpuState::Converting | GpuState::Unused => None,
        });
        begun.filter(|at| *at > self.now).min()
    }

    /// Each GPU that waits for holders, with them: pods, and processes that are of no pod.
    pub(crate) fn draining_annotation(&self) -> Option<String> {
        let facts = self.facts()?;
        let waits = |unit: Unit<'_>| match self.gpus.get(unit.uuid()) {
            Some(GpuState::Draining { from, .. }) => {
                let mut holders = self.ownership.holders(unit.uuid());
                holders.extend(self.process_holders(unit));
                let line = || self.draining_line(unit, from.resource.as_str(), &holders);
                (!holders.is_empty()).then(line)
            }
            _ => None,
        };
        let lines: Vec<String> = facts.units().filter_map(waits).collect();
        let mut text = lines.join("; ");
        text.truncate(text.floor_char_boundary(DRAINING_BYTES_MAX));
        (!text.is_empty()).then_some(text)
    }

    fn draining_line(&self, unit: Unit<'_>, from: &str, holders: &[String]) -> String {
        let target = self.applied.as_ref().and_then(|applied| applied.roles.get(unit.uuid()));
        let to = target.map_or("nothing", |role| role.resource.as_str());
        let holders = holders.join(", ");
        format!("{} `{}` {from} → {to}, held by {holders}", unit.index(), unit.uuid())
    }

    /// It came into another state now.
    pub(crate) fn note_change(&mut self, gpu: &GpuUuid) {
        self.changed_at.retain(|known, _| self.gpus.contains_key(known));
        self.changed_at.insert(gpu.clone(), self.now);
    }
}

/// `namespace/name` of a holder; none of an allocation that is not listed yet.
fn pod_of(holder: &str) -> Option<&str> {
    let (pod, container) = holder.rsplit_once('/')?;
    (pod.contains('/') && !container.is_empty()).then_some(pod)
}
