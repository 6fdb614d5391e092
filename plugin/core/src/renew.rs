//! An MPS control daemon that does not take clients for a while is stopped and started anew, once nobody holds its GPUs.
//!
//! The GPU walks as it does in a change of its role ([`crate::switch`]), back into the same one: its free replicas are
//! withdrawn already, so it drains until it is free, its daemon is not wished for until it is gone, and then it is. A daemon
//! that recovers by itself before that is left alone. Who uses it through a silent daemon is never cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::Severity;
use crate::inventory::GpuUuid;
use crate::mps::DaemonStatus;
use crate::plugin::Plugin;
use crate::switch::{GpuState, MpsCondition};
use crate::time::Time;
use crate::view::Strategy;

/// How long a daemon may take no clients before it is renewed: several looks of the supervisor, and longer than a server
/// takes to leave `FAULT` once its clients have ended.
const RENEW_AFTER: Duration = Duration::from_secs(30);

/// How long daemons are believed to serve that no supervisor looks after: its first process starts a crashed one again in a fraction
/// of it. When the whole container is gone so are the daemons, and their last report still says that they serve.
const UNWATCHED_AFTER: Duration = Duration::from_secs(5);

/// The daemons that take no clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewals {
    /// GPU → since when.
    ill: BTreeMap<GpuUuid, Time>,
    /// GPUs whose daemon is being renewed.
    renewing: BTreeSet<GpuUuid>,
    /// Since when no supervisor runs, as far as one was looked for.
    alone_since: Option<Time>,
    /// For longer than daemons are believed.
    unwatched: bool,
}

impl Renewals {
    /// Whether the GPU's daemon must be gone before it is wished for again.
    pub(crate) fn renews(&self, gpu: &GpuUuid) -> bool {
        self.renewing.contains(gpu)
    }

    /// Whether a daemon has been ill for too long, and may still be held.
    pub(crate) fn is_overdue(&self, now: Time) -> bool {
        self.ill.iter().any(|(gpu, since)| *since + RENEW_AFTER <= now && !self.renewing.contains(gpu))
    }

    /// When the next daemon will have been ill, or all of them unwatched, for too long.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        let ill = self.ill.values().map(|since| *since + RENEW_AFTER);
        ill.chain(self.alone_since.map(|since| since + UNWATCHED_AFTER)).filter(|at| *at > now).min()
    }

    /// Whether nobody looks after the daemons, so that what was reported of them counts no more.
    pub(crate) fn are_unwatched(&self) -> bool {
        self.unwatched
    }
}

impl Plugin {
    /// Takes in what the supervisor reports.
    pub(crate) fn note_ill_daemons(&mut self) {
        let alone_since = self.renewals.alone_since.unwrap_or(self.now);
        self.renewals.alone_since = (!self.supervisor_alive).then_some(alone_since);
        let daemons = self.actual.iter().flat_map(|actual| &actual.daemons);
        let ill: BTreeSet<&GpuUuid> = daemons
            .filter(|(_, status)| matches!(status, DaemonStatus::Ill { .. }))
            .map(|(gpu, _)| gpu)
            .collect();
        self.renewals.ill.retain(|gpu, _| ill.contains(gpu));
        for gpu in ill {
            self.renewals.ill.entry(gpu.clone()).or_insert(self.now);
        }
    }

    /// Begins to renew what has been ill for too long, and is done with what is gone or well again.
    pub(crate) fn renew_daemons(&mut self) {
        self.look_after_supervisor();
        let renewing = std::mem::take(&mut self.renewals.renewing);
        let goes_on = |gpu: &GpuUuid| match self.gpus.get(gpu) {
            Some(GpuState::Settled { .. } | GpuState::Draining { .. }) => self.renewals.ill.contains_key(gpu),
            Some(GpuState::Converting) => self.mps_condition(gpu) != MpsCondition::Absent,
            None | Some(GpuState::Found | GpuState::Unused) => false,
        };
        let mut renewing: BTreeSet<GpuUuid> = renewing.into_iter().filter(goes_on).collect();
        let over = self.renewals.ill.iter().filter(|(_, since)| **since + RENEW_AFTER <= self.now);
        let begun: Vec<GpuUuid> = over
            .map(|(gpu, _)| gpu)
            .filter(|gpu| !renewing.contains(*gpu) && self.may_renew(gpu))
            .cloned()
            .collect();
        for gpu in &begun {
            let why = match self.actual.as_ref().and_then(|actual| actual.daemons.get(gpu)) {
                Some(DaemonStatus::Ill { why }) => why.as_str(),
                _ => "it takes no clients",
            };
            let message = format!(
                "the MPS control daemon of `{gpu}` has taken no clients for {} s ({why}) and nobody holds the GPU: it is \
                 stopped and started again",
                RENEW_AFTER.as_secs()
            );
            self.say_once(&format!("{gpu} renewed"), Severity::Warning, "MpsDaemonRenewed", message);
        }
        renewing.extend(begun);
        self.change.all |= renewing != self.renewals.renewing;
        self.renewals.renewing = renewing;
    }

    fn look_after_supervisor(&mut self) {
        let unwatched = self.renewals.alone_since.is_some_and(|since| since + UNWATCHED_AFTER <= self.now)
            && !self.desired.daemons.is_empty();
        if std::mem::replace(&mut self.renewals.unwatched, unwatched) == unwatched {
            return;
        }
        self.change.all = true;
        if !unwatched {
            return drop(self.said.remove("unwatched"));
        }
        let message = format!(
            "no MPS supervisor has run for {} s: free replicas are withdrawn until one looks after the daemons again (does its \
             pod run on this node?)",
            UNWATCHED_AFTER.as_secs()
        );
        self.say_once("unwatched", Severity::Warning, "MpsSupervisorGone", message);
    }

    /// Whether a daemon that is ill may go: nobody holds what it serves.
    fn may_renew(&self, gpu: &GpuUuid) -> bool {
        let Some(daemon) = self.desired.daemons.get(gpu) else { return false };
        let serves = match self.gpus.get(gpu) {
            Some(GpuState::Settled { role }) => role.strategy == Strategy::Mps,
            // found ill by a plugin that has just started
            Some(GpuState::Converting) => true,
            None | Some(GpuState::Found | GpuState::Draining { .. } | GpuState::Unused) => false,
        };
        serves && daemon.serves(gpu).iter().all(|mate| !self.ownership.is_held(&mate.uuid))
    }
}
