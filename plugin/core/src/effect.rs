//! What a configuration would do on a node's GPUs, as plain data: `validate` prints it, and a node that applies the
//! configuration ends with exactly this.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::allocate::ContainerEdits;
use crate::budget::Budget;
use crate::choose;
use crate::config::{AllocationPolicy, MigStrategy, Overrides, Problem, Read, ResourceName, TimeSlice};
use crate::inventory::{Facts, GpuUuid};
use crate::kept_gpus::Picks;
use crate::labels;
use crate::mps::DesiredDaemon;
use crate::publish;
use crate::resources::{Limits, Role};
use crate::sharing::{Assignment, assign};
use crate::unit::Unit;
use crate::view::{ResourceView, View};

/// Stands for the UUID or index of the GPU that a container got.
pub const ITS_GPU: &str = "<its GPU>";

/// What a configuration does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Whether it can hold; when not, everything but the problems is empty.
    pub applies: bool,
    /// How many devices each GPU gives to each extended resource.
    pub resources: BTreeMap<ResourceName, BTreeMap<GpuUuid, u32>>,
    /// The MPS control daemons that run.
    pub daemons: BTreeMap<GpuUuid, DesiredDaemon>,
    /// What each client of an MPS-shared GPU may use.
    pub limits: BTreeMap<GpuUuid, Limits>,
    /// The interval of time-sliced GPUs, where one is given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub time_slices: BTreeMap<GpuUuid, TimeSlice>,
    /// What a container that gets one device finds in its environment; its GPU's name reads [`ITS_GPU`].
    pub environment: BTreeMap<ResourceName, BTreeMap<String, String>>,
    /// The Node's labels.
    pub labels: BTreeMap<String, String>,
    /// Errors when it cannot hold; otherwise what is ignored.
    pub problems: Vec<Problem>,
}

/// What a file does together with flags and environment on these GPUs, once nobody holds a GPU under an earlier role.
pub fn effect(read: &Read, overrides: &Overrides, facts: &Facts) -> Effect {
    let effective = choose::resolve(overrides, &read.config);
    let mut problems = read.warnings.clone();
    let contradictions = effective.contradictions(&read.config);
    problems.extend(contradictions.iter().map(|c| read.places.error("", c.to_string(), None)));
    let assigned = assign(read, &effective, facts, &Picks::new());
    let assignment = match (assigned, contradictions.is_empty()) {
        (Ok(assignment), true) => assignment,
        (Ok(Assignment { warnings: more, .. }) | Err(more), _) => {
            problems.extend(more);
            return Effect { problems, ..Effect::default() };
        }
    };
    problems.extend(assignment.warnings.iter().cloned());
    let mut effect = Effect {
        applies: true,
        labels: wanted_labels(&assignment, effective.mig_strategy, facts),
        time_slices: assignment.time_slices.clone(),
        problems,
        ..Effect::default()
    };
    for (gpu, role) in &assignment.roles {
        let counts = effect.resources.entry(role.resource.clone()).or_default();
        counts.insert(gpu.clone(), role.replicas);
        effect.daemons.extend(role.daemon().map(|daemon| (gpu.clone(), daemon)));
        effect.limits.extend(role.limits.map(|limits| (gpu.clone(), limits)));
        if let Some(found) = facts.unit(gpu).filter(|_| !effect.environment.contains_key(&role.resource)) {
            let budget = assignment.budgets.get(&role.resource).copied();
            let environment = environment(role, found, publish::edits(&effective, facts), budget);
            effect.environment.insert(role.resource.clone(), environment);
        }
    }
    effect
}

/// What Allocate would answer for one device of a GPU in this role.
fn environment(
    role: &Role,
    unit: Unit<'_>,
    edits: ContainerEdits,
    budget: Option<Budget>,
) -> BTreeMap<String, String> {
    let Some(id) = role.device_ids(unit.uuid()).into_iter().next() else {
        return BTreeMap::new();
    };
    let device = unit.device(id.clone(), role, (true, true));
    let name = if edits.by_index { unit.index() } else { unit.uuid().to_string() };
    let served = ResourceView {
        devices: Arc::new([(id.clone(), device)].into()),
        one_shared_device_at_most: false,
        policy: AllocationPolicy::Distributed,
        budget,
    };
    let view = View { resources: [(role.resource.clone(), served)].into(), edits, ..View::default() };
    let mut envs = view.allocate(&role.resource, &[id]).unwrap_or_default().envs;
    for value in envs.values_mut().filter(|value| **value == name) {
        ITS_GPU.clone_into(value);
    }
    envs
}

fn wanted_labels(assignment: &Assignment, strategy: MigStrategy, facts: &Facts) -> BTreeMap<String, String> {
    let mps = assignment.roles.values().any(|role| role.limits.is_some());
    labels::of_roles(facts, &assignment.roles, &assignment.names, strategy, mps)
}
