//! What a configuration would do on a node's GPUs, as plain data: `validate` prints it, and a node that applies the
//! configuration ends with exactly this.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choose;
use crate::config::{Overrides, Problem, Read, ResourceName};
use crate::inventory::{Facts, GpuUuid};
use crate::labels;
use crate::mps::DesiredDaemon;
use crate::resources::Limits;
use crate::sharing::{Assignment, assign};

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
    let assigned = assign(read, &effective, facts);
    let assignment = match (assigned, contradictions.is_empty()) {
        (Ok(assignment), true) => assignment,
        (Ok(Assignment { warnings: more, .. }) | Err(more), _) => {
            problems.extend(more);
            return Effect { problems, ..Effect::default() };
        }
    };
    problems.extend(assignment.warnings.iter().cloned());
    let mut effect =
        Effect { applies: true, labels: wanted_labels(&assignment, facts), problems, ..Effect::default() };
    for (gpu, role) in &assignment.roles {
        let counts = effect.resources.entry(role.resource.clone()).or_default();
        counts.insert(gpu.clone(), role.replicas);
        effect.daemons.extend(role.daemon().map(|daemon| (gpu.clone(), daemon)));
        effect.limits.extend(role.limits.map(|limits| (gpu.clone(), limits)));
    }
    effect
}

fn wanted_labels(assignment: &Assignment, facts: &Facts) -> BTreeMap<String, String> {
    let mps = assignment.roles.values().any(|role| role.limits.is_some());
    labels::of_roles(facts, &assignment.roles, &assignment.names, mps)
}
