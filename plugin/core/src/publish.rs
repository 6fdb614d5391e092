//! From the plugin's state to the [`View`]: which devices each resource shows, and how healthy they are.
//!
//! | a GPU is | ids of its role | healthy | granted when asked for |
//! |---|---|---|---|
//! | settled | listed | yes; under MPS, unheld ones only while the daemon serves | yes |
//! | draining | held ones listed, others until they retire | held ones, and those that may still be bound | yes: a late Allocate makes a holder |
//! | settled or draining with fewer time-sliced replicas | held ones of those that leave, as well | yes, and as many of the others are not | yes |
//! | converting, or just left its role | old ones listed until they retire | no | no |
//! | settled and shared, while the Node waits for its taint | held ones listed | yes | yes |
//! | found, unused or starting | absent | | |
//! | gone | all until they retire, then held ones | no | no |
//!
//! Nothing of a GPU that is ill is healthy, whoever holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::allocate::{CdiEdits, ContainerEdits};
use crate::cdi;
use crate::choose::Applied;
use crate::config::{AllocationPolicy, DeviceIdStrategy, DeviceListStrategy, Effective, ResourceName};
use crate::gone::{Gone, Left};
use crate::imex;
use crate::inventory::{Facts, GpuUuid};
use crate::mps::Actual;
use crate::ownership::Ownership;
use crate::plugin::Plugin;
use crate::resources::Role;
use crate::switch::GpuState;
use crate::time::Time;
use crate::unit::Unit;
use crate::view::{Device, ResourceView, Strategy, View};
use crate::withdraw::Withdrawal;

/// A role that a GPU has left: its ids stay listed as unhealthy for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retiring {
    pub(crate) gpu: GpuUuid,
    pub(crate) role: Role,
    pub(crate) until: Time,
    /// Its time is over; what is still held of a GPU that is gone is listed on.
    pub(crate) held_only: bool,
}

/// What a view is made of.
pub(crate) struct Source<'a> {
    pub(crate) now: Time,
    /// How long an unheld id stays in the list as unhealthy before it leaves.
    pub(crate) retire_after: Duration,
    pub(crate) facts: &'a Facts,
    /// GPUs on which nothing can be used now.
    pub(crate) ill: &'a BTreeSet<GpuUuid>,
    pub(crate) gpus: &'a BTreeMap<GpuUuid, GpuState>,
    pub(crate) retiring: &'a [Retiring],
    pub(crate) gone: &'a Gone,
    pub(crate) ownership: &'a Ownership,
    pub(crate) withdrawal: &'a Withdrawal,
    /// What serves, as far as somebody looks after it.
    pub(crate) actual: Option<&'a Actual>,
    pub(crate) applied: Option<&'a Applied>,
    /// Shared devices that nobody holds are absent: the Node is not tainted yet.
    pub(crate) withholds_shared: bool,
}

impl Plugin {
    /// When the withdrawn ids of draining GPUs leave their lists.
    pub(crate) fn withdrawn_ids_leave(&self) -> impl Iterator<Item = Time> + '_ {
        let retire_after = self.settings.timing.retire_after;
        let at_once = self.gpus.values().filter_map(|state| match state {
            GpuState::Draining { since, .. } => Some(*since),
            GpuState::Found | GpuState::Settled { .. } | GpuState::Converting | GpuState::Unused => None,
        });
        at_once.chain(self.withdrawal.left()).map(move |since| since + retire_after)
    }
}

/// The devices of every resource. Lists that did not change are shared with the `previous` view.
pub(crate) fn resources(source: &Source<'_>, previous: &View) -> BTreeMap<ResourceName, ResourceView> {
    let mut lists: BTreeMap<ResourceName, BTreeMap<String, Device>> = BTreeMap::new();
    let known: BTreeMap<&GpuUuid, Unit<'_>> = source.facts.units().map(|unit| (unit.uuid(), unit)).collect();
    for old in source.retiring {
        if let Some(unit) = known.get(&old.gpu).copied().or_else(|| source.gone.get(&old.gpu).map(Left::unit))
        {
            let list = lists.entry(old.role.resource.clone()).or_default();
            let held = source.ownership.held_ids(&old.gpu, old.role.resource.as_str());
            let stays = |id: &str| !old.held_only || held.contains(id);
            // with fewer replicas on the same GPU nothing changes for who holds one of those that leave
            let resized = is_resized(source.gpus, old);
            let well = resized && !source.ill.contains(&unit.gpu.uuid);
            let left = devices(unit, &old.role, |id| (well && held.contains(id), resized));
            list.extend(left.filter(|(id, _)| stays(id)));
        }
    }
    for (uuid, state) in source.gpus {
        if let (Some(gpu), Some(role)) = (known.get(uuid), state.role()) {
            let devices: Vec<_> = current_devices(source, *gpu, state, role).collect();
            // a resource of which everything is withheld is not there yet
            if !(source.withholds_shared && devices.is_empty()) {
                lists.entry(role.resource.clone()).or_default().extend(devices);
            }
        }
    }
    let shared = |name: &ResourceName, list: BTreeMap<String, Device>| match previous.resources.get(name) {
        Some(old) if *old.devices == list => Arc::clone(&old.devices),
        _ => Arc::new(list),
    };
    lists
        .into_iter()
        .map(|(name, list)| {
            let devices = shared(&name, list);
            let one = source.applied.is_some_and(|a| a.one_at_most.contains(&name))
                || previous
                    .resources
                    .get(&name)
                    .is_some_and(|old| old.one_shared_device_at_most && is_old(source, &name));
            let policy = source.applied.and_then(|a| a.policies.get(&name).copied());
            let policy = policy.or_else(|| previous.resources.get(&name).map(|old| old.policy));
            let policy = policy.unwrap_or(AllocationPolicy::Distributed);
            let budget = match previous.resources.get(&name).filter(|_| is_old(source, &name)) {
                Some(old) => old.budget,
                None => source.applied.and_then(|a| a.budgets.get(&name).copied()),
            };
            (name, ResourceView { devices, one_shared_device_at_most: one, policy, budget })
        })
        .collect()
}

/// Whether the GPU that left this role has another number of replicas now and is the same otherwise, also while it drains.
pub(crate) fn is_resized(gpus: &BTreeMap<GpuUuid, GpuState>, old: &Retiring) -> bool {
    gpus.get(&old.gpu).and_then(GpuState::role).is_some_and(|role| role.is_resize_of(&old.role))
}

/// Whether somebody holds a replica of it that its GPU does not have any more.
pub(crate) fn is_surplus_held(
    gpus: &BTreeMap<GpuUuid, GpuState>,
    ownership: &Ownership,
    old: &Retiring,
) -> bool {
    let role = gpus.get(&old.gpu).filter(|_| is_resized(gpus, old)).and_then(GpuState::role);
    let Some(role) = role else { return false };
    let ids = role.device_ids(&old.gpu);
    let held = ownership.held_ids(&old.gpu, old.role.resource.as_str());
    held.into_iter().any(|held| !ids.iter().any(|id| id == held))
}

/// Whether the configuration in force no longer offers the resource: its refusals stay as they were.
fn is_old(source: &Source<'_>, name: &ResourceName) -> bool {
    source.applied.is_none_or(|a| a.roles.values().all(|role| role.resource != *name))
}

fn current_devices<'a>(
    source: &Source<'a>,
    unit: Unit<'a>,
    state: &'a GpuState,
    role: &'a Role,
) -> impl Iterator<Item = (String, Device)> + use<'a> {
    // what only an old checkpoint names may be free at the kubelet, and is no reason to offer what does not serve yet
    let resource = role.resource.as_str();
    let held = match state {
        GpuState::Settled { .. } => source.ownership.listed_ids(unit.uuid(), resource),
        _ => source.ownership.held_ids(unit.uuid(), resource),
    };
    let mut held: BTreeSet<String> = held.into_iter().map(str::to_owned).collect();
    let kept = source.withdrawal.kept(unit.uuid());
    held.extend(kept.iter().flat_map(|kept| kept.ids.iter().cloned()));
    let daemon_serves = source.actual.is_some_and(|a| a.is_ready(unit.uuid()));
    let offered = match (state, role.strategy) {
        (GpuState::Settled { .. }, Strategy::Exclusive | Strategy::TimeSlicing) => true,
        (GpuState::Settled { .. }, Strategy::Mps) => daemon_serves,
        (GpuState::Draining { .. } | GpuState::Found | GpuState::Converting | GpuState::Unused, _) => false,
    };
    let retired = match state {
        GpuState::Draining { since, .. } => source.now >= *since + source.retire_after,
        GpuState::Settled { .. } | GpuState::Found | GpuState::Converting | GpuState::Unused => false,
    };
    let kept_back = kept_back(unit, role, &held);
    let withheld = source.withholds_shared && role.strategy != Strategy::Exclusive;
    let judged = {
        let held = held.clone();
        let well = !source.ill.contains(&unit.gpu.uuid);
        devices(unit, role, move |id| {
            let given = held.contains(id) || (offered && !kept_back.contains(id));
            (well && given, true)
        })
    };
    let (now, retire_after) = (source.now, source.retire_after);
    let leaves = move |id: &String| {
        kept.and_then(|kept| kept.left.get(id)).is_some_and(|left| now < *left + retire_after)
    };
    judged.filter(move |(id, _)| !(retired || withheld) || held.contains(id) || leaves(id))
}

/// Ids that nobody gets while others of the GPU are held that its role does not have any more: so that no more pods share
/// it than it has replicas.
fn kept_back(unit: Unit<'_>, role: &Role, held: &BTreeSet<String>) -> BTreeSet<String> {
    let ids = role.device_ids(unit.uuid());
    let surplus = held.iter().filter(|id| !ids.contains(id)).count();
    if surplus == 0 {
        return BTreeSet::new();
    }
    ids.into_iter().rev().filter(|id| !held.contains(id)).take(surplus).collect()
}

/// The devices of a GPU in a role; `judge` says (healthy, granted) by id.
fn devices<'a>(
    unit: Unit<'a>,
    role: &'a Role,
    judge: impl Fn(&str) -> (bool, bool) + 'a,
) -> impl Iterator<Item = (String, Device)> + 'a {
    role.device_ids(unit.uuid()).into_iter().map(move |id| {
        let judged = judge(&id);
        (id.clone(), unit.device(id, role, judged))
    })
}

/// How containers are told about their devices.
pub(crate) fn edits(flags: &Effective, facts: &Facts) -> ContainerEdits {
    let has = |strategy| flags.plugin.device_list_strategy.contains(&strategy);
    ContainerEdits {
        envvar: has(DeviceListStrategy::Envvar),
        volume_mounts: has(DeviceListStrategy::VolumeMounts),
        by_index: flags.plugin.device_id_strategy == DeviceIdStrategy::Index,
        device_specs: flags.plugin.pass_device_specs,
        control_nodes: facts.control_nodes.iter().cloned().collect(),
        dev_root: flags.nvidia_dev_root.trim_end_matches('/').to_owned(),
        mps_root: flags.mps_root.trim_end_matches('/').to_owned(),
        gdrcopy: flags.gdrcopy_enabled,
        gds: flags.gds_enabled,
        mofed: flags.mofed_enabled,
        imex_channels: imex::channels(flags, facts),
        cdi: CdiEdits {
            annotation_prefix: has(DeviceListStrategy::CdiAnnotations)
                .then(|| flags.plugin.cdi_annotation_prefix.clone()),
            cri: has(DeviceListStrategy::CdiCri),
            vendor: cdi::VENDOR.to_owned(),
            features: BTreeSet::new(),
        },
    }
}
