//! What computes on a GPU that the kubelet gives to nobody: a GPU is free when it has no holder in the ledger *and* no compute
//! process in NVML.
//!
//! NVML is asked only while a GPU waits for the answer, and only an answer that was asked for after the ledger said "free"
//! counts: a holder's own process may end a moment later than its pod. A process counts from the first look; it is named as
//! uninvited when two looks that lie [`LINGER`] apart have seen it.
//!
//! | a GPU | waits for a look that finds nothing |
//! |---|---|
//! | drains, and the ledger says that it is free | always |
//! | was just found or is unused, and should play an MPS role | unless its control daemon runs already: nothing changes then |
//! | was just found and should play another role | no: a process that only watches must not keep a whole node away from its pods |
//!
//! The MPS control daemons and servers of the node itself are nobody's processes on a GPU that plays an MPS role or should.
//! NVML that has no such list counts as "none", or such a node could never change; whatever else NVML answers counts as held.

mod compute;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::compute::{ComputeProcess, ProcessList};
use crate::action::{Action, Severity};
use crate::inventory::{Facts, GpuUuid};
use crate::plugin::Plugin;
use crate::switch::GpuState;
use crate::time::Time;
use crate::unit::Unit;
use crate::view::Strategy;

/// Between two looks while processes are on a GPU that waits for their end.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks while NVML does not tell.
const RETRY: Duration = Duration::from_secs(5);
/// How far apart two looks must lie that both see a process before it is named as uninvited.
const LINGER: Duration = Duration::from_secs(5);
/// Most processes that people are told of at once.
const NAMES_MAX: usize = 10;

/// What is known of processes, while anything waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessWatch {
    /// GPUs and MIG devices that wait, by their own UUID.
    waiting: BTreeMap<GpuUuid, Waiting>,
    /// By physical GPU.
    looks: BTreeMap<GpuUuid, Looks>,
}

/// A GPU or MIG device that nobody holds.
#[derive(Clone, Debug)]
struct Waiting {
    since: Time,
    /// Processes that people were told of.
    named: BTreeSet<u32>,
    /// People were told that NVML does not tell.
    is_failure_told: bool,
}

/// The looks at one physical GPU.
#[derive(Clone, Debug, Default)]
struct Looks {
    /// When the look under way was asked for.
    asked: Option<Time>,
    next: Time,
    answer: Option<Answer>,
    /// When the look was asked for that saw a process first, by its id.
    first_seen: BTreeMap<u32, Time>,
}

#[derive(Clone, Debug)]
struct Answer {
    asked: Time,
    list: ProcessList,
}

impl ProcessWatch {
    /// The newest answer that was asked for since it waits.
    fn answer(&self, unit: Unit<'_>) -> Option<&ProcessList> {
        let waiting = self.waiting.get(unit.uuid())?;
        let answer = self.looks.get(&unit.gpu.uuid)?.answer.as_ref()?;
        (answer.asked >= waiting.since).then_some(&answer.list)
    }

    /// Whether it waits for an answer, or for the end of processes.
    pub(crate) fn is_waiting(&self, unit: &GpuUuid) -> bool {
        self.waiting.contains_key(unit)
    }

    /// When NVML is to be asked again.
    pub(crate) fn due(&self) -> Option<Time> {
        self.looks.values().filter(|looks| looks.asked.is_none()).map(|looks| looks.next).min()
    }

    /// Looks that are needed now: none that count were made, or the last one is some time ago.
    fn begin(&mut self, now: Time, parents: &BTreeMap<GpuUuid, Time>) -> Vec<GpuUuid> {
        // one that is under way answers to nobody else later
        self.looks.retain(|gpu, looks| parents.contains_key(gpu) || looks.asked.is_some());
        let mut begun = Vec::new();
        for (gpu, since) in parents {
            let looks = self.looks.entry(gpu.clone()).or_default();
            let is_old = looks.answer.as_ref().is_none_or(|answer| answer.asked < *since);
            if looks.asked.is_none() && (is_old || looks.next <= now) {
                looks.asked = Some(now);
                begun.push(gpu.clone());
            }
        }
        begun
    }
}

impl Plugin {
    /// NVML has answered.
    pub(crate) fn processes_read(&mut self, gpu: &GpuUuid, list: ProcessList) {
        let Some(looks) = self.processes.looks.get_mut(gpu) else { return };
        let Some(asked) = looks.asked.take() else { return };
        let pause = match &list {
            ProcessList::Read { .. } | ProcessList::Unsupported => LOOK,
            ProcessList::Failed { .. } => RETRY,
        };
        looks.next = self.now + pause;
        if let ProcessList::Read { processes } = &list {
            let pids: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
            looks.first_seen.retain(|pid, _| pids.contains(pid));
            for pid in pids {
                looks.first_seen.entry(pid).or_insert(asked);
            }
        }
        looks.answer = Some(Answer { asked, list });
    }

    /// Asks NVML about GPUs that wait for its answer, and says what they wait for.
    pub(crate) fn watch_processes(&mut self) {
        let waits =
            |s: &GpuState| matches!(s, GpuState::Draining { .. } | GpuState::Found | GpuState::Unused);
        if self.processes.looks.is_empty() && !self.gpus.values().any(waits) {
            return;
        }
        let units = self.facts().into_iter().flat_map(Facts::units);
        let waiting: Vec<Unit<'_>> =
            units.filter(|unit| self.gpus.get(unit.uuid()).is_some_and(|s| self.waits(*unit, s))).collect();
        let mut parents: BTreeMap<GpuUuid, Time> = BTreeMap::new();
        let mut before = self.processes.waiting.clone();
        let mut now_waiting = BTreeMap::new();
        for unit in &waiting {
            let begins = || Waiting { since: self.now, named: BTreeSet::new(), is_failure_told: false };
            let wait = before.remove(unit.uuid()).unwrap_or_else(begins);
            let newest = parents.entry(unit.gpu.uuid.clone()).or_insert(wait.since);
            *newest = (*newest).max(wait.since);
            now_waiting.insert(unit.uuid().clone(), wait);
        }
        let mut said = Vec::new();
        for unit in waiting {
            said.extend(self.news_of(unit, &mut now_waiting));
        }
        self.processes.waiting = now_waiting;
        for gpu in self.processes.begin(self.now, &parents) {
            self.act(Action::ReadProcesses { gpu });
        }
        for (reason, message) in said {
            self.act(Action::Announce { severity: Severity::Warning, reason, message });
        }
    }

    /// Whether it would go on but for processes. See the module.
    fn waits(&self, unit: Unit<'_>, state: &GpuState) -> bool {
        let uuid = unit.uuid();
        if self.ownership.is_held(uuid) {
            return false;
        }
        match state {
            GpuState::Draining { since, .. } => {
                self.evidence_for(uuid).is_some_and(|evidence| evidence >= *since)
                    && !self.withdrawal.lingers(uuid)
                    && !self.are_mates_held(uuid, state)
            }
            GpuState::Found => self.becomes_mps(uuid) && self.evidence_for(uuid).is_some(),
            GpuState::Unused => self.becomes_mps(uuid),
            GpuState::Settled { .. } | GpuState::Converting => false,
        }
    }

    /// Whether it should play an MPS role that its control daemon is not there for.
    fn becomes_mps(&self, gpu: &GpuUuid) -> bool {
        let target = self.applied.as_ref().and_then(|applied| applied.roles.get(gpu));
        let daemon = target.and_then(|role| role.daemon());
        daemon.is_some() && self.desired.daemons.get(gpu) != daemon.as_ref()
    }

    /// Whether processes are on a GPU that waits for their end, or may be there for all that is known.
    pub(crate) fn is_occupied(&self, unit: Unit<'_>, state: &GpuState) -> bool {
        let matters = match state {
            GpuState::Draining { .. } => true,
            GpuState::Found | GpuState::Unused => self.becomes_mps(unit.uuid()),
            GpuState::Settled { .. } | GpuState::Converting => false,
        };
        let is_free = || match self.processes.answer(unit) {
            Some(ProcessList::Read { .. }) => self.uninvited(unit).is_empty(),
            Some(ProcessList::Unsupported) => true,
            Some(ProcessList::Failed { .. }) | None => false,
        };
        matters && !is_free()
    }

    /// The processes that a GPU waits for, as far as NVML tells.
    pub(crate) fn uninvited(&self, unit: Unit<'_>) -> Vec<&ComputeProcess> {
        let Some(ProcessList::Read { processes }) = self.processes.answer(unit) else {
            return Vec::new();
        };
        let role = self.gpus.get(unit.uuid()).and_then(GpuState::role);
        let target = self.applied.as_ref().and_then(|applied| applied.roles.get(unit.uuid()));
        let is_mps = [role, target].into_iter().flatten().any(|role| role.strategy == Strategy::Mps);
        let here = processes.iter().filter(|process| process.is_on(unit));
        here.filter(|process| !(is_mps && process.is_mps_of_node())).collect()
    }

    /// The same for people, among the GPU's holders.
    pub(crate) fn process_holders(&self, unit: Unit<'_>) -> Vec<String> {
        if matches!(self.processes.answer(unit), Some(ProcessList::Failed { .. })) {
            return vec!["(processes that NVML does not tell of)".to_owned()];
        }
        let processes = self.uninvited(unit);
        let mut names: Vec<String> = processes.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        let more = processes.len().saturating_sub(NAMES_MAX);
        names.extend((more > 0).then(|| format!("{more} more processes")));
        names
    }

    /// What people have not been told of: a process that nobody invited, or that NVML does not tell.
    fn news_of(&self, unit: Unit<'_>, waiting: &mut BTreeMap<GpuUuid, Waiting>) -> Option<(String, String)> {
        let waiting = waiting.get_mut(unit.uuid())?;
        match self.processes.answer(unit)? {
            ProcessList::Failed { .. } if waiting.is_failure_told => None,
            ProcessList::Failed { why } => {
                waiting.is_failure_told = true;
                let message = format!(
                    "whether processes compute on {unit} is not known: {why}; it keeps its state until NVML tells, and is asked \
                     about every {RETRY:?} (see `dmesg`)"
                );
                Some(("ProcessesUnreadable".to_owned(), message))
            }
            ProcessList::Unsupported => None,
            ProcessList::Read { .. } => {
                waiting.is_failure_told = false;
                let looks = self.processes.looks.get(&unit.gpu.uuid)?;
                let asked = looks.answer.as_ref()?.asked;
                let stays = |process: &&&ComputeProcess| {
                    let first = looks.first_seen.get(&process.pid).copied().unwrap_or(asked);
                    asked >= first.max(waiting.since) + LINGER
                };
                let uninvited = self.uninvited(unit);
                let late: Vec<&ComputeProcess> = uninvited.iter().filter(stays).copied().collect();
                let pids: BTreeSet<u32> = late.iter().map(|process| process.pid).collect();
                if pids.is_subset(&waiting.named) {
                    return None;
                }
                waiting.named = pids;
                let names: Vec<String> = late.iter().take(NAMES_MAX).map(ToString::to_string).collect();
                let more = late.len().saturating_sub(NAMES_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let message = format!(
                    "no pod holds {unit}, but {}{more} computes on it: it changes its role when that has ended (hint: see `ps -fp \
                     {}` on the node)",
                    names.join(", "),
                    late.first().map_or(0, |process| process.pid)
                );
                Some(("UninvitedProcess".to_owned(), message))
            }
        }
    }
}
