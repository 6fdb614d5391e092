//! Which GPU should play which role: configuration + this node's GPUs → a role per GPU, or every reason why not.
//!
//! | question | where |
//! |---|---|
//! | Which GPUs and MIG devices can play a role? | `mig` (`flags.migStrategy`) |
//! | What is one called before it is shared? | `names` (`resources.gpus` and `resources.mig` patterns) |
//! | Which entry of `sharing` has which GPU? | `claims` (`devices`), `pick` (a count) |
//! | How many replicas, with which limits? | `size` |
//! | Is their memory divided by the driver? | `budgets` |
//! | May these GPUs be offered under one name? | `meaning` |
//! | Can the kubelet take the list? | `list_size` |
//!
//! A GPU that no entry claims is handed out whole, under its own name.

mod budgets;
mod claims;
mod list_size;
mod meaning;
mod mig;
mod names;
mod pick;
mod size;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::Budget;
use crate::config::{
    AllocationPolicy, Config, Effective, PROBLEMS_MAX, Places, Problem, Read, ReplicatedResource,
    ReplicatedResources, ResourceName, Severity, TimeSlice,
};
use crate::inventory::{Facts, GpuUuid};
use crate::kept_gpus::Picks;
use crate::resources::Role;
use crate::view::Strategy;

/// A configuration on a node's GPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// What each GPU should be.
    pub roles: BTreeMap<GpuUuid, Role>,
    /// What each GPU is called where it is not shared.
    pub names: BTreeMap<GpuUuid, ResourceName>,
    /// Resources whose requests for more than one device are refused.
    pub one_at_most: BTreeSet<ResourceName>,
    /// How the replicas of each shared resource are spread over GPUs.
    pub policies: BTreeMap<ResourceName, AllocationPolicy>,
    /// The memory of each replica of a shared resource, where the driver holds containers to it.
    pub budgets: BTreeMap<ResourceName, Budget>,
    /// The interval of time-sliced GPUs, where one is given.
    pub time_slices: BTreeMap<GpuUuid, TimeSlice>,
    /// What each count chose.
    pub picks: Picks,
    /// What is ignored on this node, in the file's order.
    pub warnings: Vec<Problem>,
}

/// One entry of `sharing`.
#[derive(Clone, Debug)]
struct Group<'a> {
    strategy: Strategy,
    /// `sharing.mps.resources[0]`.
    path: String,
    entry: &'a ReplicatedResource,
    /// The name of its replicas.
    advertised: ResourceName,
    /// Whether requests for more than one replica are refused.
    one_at_most: bool,
    policy: AllocationPolicy,
}

/// What is found while roles are worked out.
struct Finder<'a> {
    places: &'a Places,
    problems: Vec<Problem>,
}

impl Finder<'_> {
    fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn error(&mut self, path: &str, message: String, hint: &str) {
        self.problems.push(self.places.error(path, message, Some(hint.to_owned())));
    }

    fn deviation(&mut self, path: &str, message: String, hint: &str) {
        self.problems.push(self.places.deviation(path, message, Some(hint.to_owned())));
    }

    fn warning(&mut self, path: &str, message: String, hint: &str) {
        self.problems.push(self.places.warning(path, message, Some(hint.to_owned())));
    }
}

/// The role of every GPU under a configuration, or everything that speaks against it. `kept` is what its counts chose before.
///
/// # Errors
/// All problems at once, at least one of them an error.
pub fn assign(
    read: &Read,
    effective: &Effective,
    facts: &Facts,
    kept: &Picks,
) -> Result<Assignment, Vec<Problem>> {
    let mut finder = Finder { places: &read.places, problems: Vec::new() };
    let groups = groups(&read.config, effective);
    let (units, names) = mig::units(&read.config, effective, facts, &mut finder);
    let node = claims::Offer { units: &units, names: &names, facts };
    let (claims, picks) = claims::claims(&groups, &node, kept, &mut finder);
    let mut out = Assignment { names: names.clone(), picks, ..Assignment::default() };
    let mut members = BTreeMap::new();
    for unit in &units {
        let name = names.get(unit.uuid()).cloned().unwrap_or_else(ResourceName::gpu);
        let group = claims.get(unit.uuid()).and_then(|index| groups.get(*index));
        let role = match group {
            None => Some(Role::whole(name)),
            Some(group) => size::role(group, *unit, facts.cuda_version, &mut finder),
        };
        if let Some(role) = role {
            let interval = group.and_then(|group| size::interval(group, *unit, &mut finder));
            out.time_slices.extend(interval.map(|interval| (unit.uuid().clone(), interval)));
            members.insert(unit.uuid().clone(), group);
            out.roles.insert(unit.uuid().clone(), role);
        }
    }
    let several = groups.iter().filter(|g| g.strategy == Strategy::Mps && !g.one_at_most);
    let several = several.map(|group| group.advertised.clone()).collect();
    size::join_daemons(&mut out.roles, &several, facts);
    meaning::check(&out.roles, &members, &units, &mut finder);
    list_size::check(&out.roles, &members, &mut finder);
    if !finder.has_errors() {
        budgets::tell_unenforced(&members, facts, &mut finder);
    }
    out.budgets = budgets::budgets(&members, facts);
    for group in members.values().copied().flatten() {
        out.policies.insert(group.advertised.clone(), group.policy);
        if group.one_at_most {
            out.one_at_most.insert(group.advertised.clone());
        }
    }
    let problems = in_order(finder.problems);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(Assignment { warnings: problems, ..out })
}

/// At most [`PROBLEMS_MAX`], errors before warnings where not all fit, in the file's order.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.severity);
    problems.truncate(PROBLEMS_MAX);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

/// Every entry of both strategies, in the file's order; MPS first, because its GPUs need a daemon.
fn groups<'a>(config: &'a Config, effective: &Effective) -> Vec<Group<'a>> {
    let of = |block: &'a Option<ReplicatedResources>, path: &'static str, strategy, one_at_most| {
        let policy = effective.plugin.shared_devices_allocation_policy;
        block.iter().flat_map(move |block| {
            block.resources.iter().enumerate().map(move |(index, entry)| Group {
                strategy,
                path: format!("{path}.resources[{index}]"),
                entry,
                advertised: block.advertised(entry),
                one_at_most,
                policy: entry.allocation_policy.unwrap_or(policy),
            })
        })
    };
    let mps_fails = effective.mps_fail_requests_greater_than_one;
    let sliced_fails = effective.time_slicing_fail_requests_greater_than_one;
    of(&config.sharing.mps, "sharing.mps", Strategy::Mps, mps_fails)
        .chain(of(&config.sharing.time_slicing, "sharing.timeSlicing", Strategy::TimeSlicing, sliced_fails))
        .collect()
}
