//! Which GPU should play which role: inventory + configuration → extended resources, replicas and their device ids.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Config, ReplicatedResources, ResourceName};
use crate::inventory::{Facts, GpuFacts, GpuUuid};
use crate::mps::{DesiredDaemon, clients_max};
use crate::view::Strategy;

/// What stands between a GPU's UUID and the number of a replica.
const REPLICA_SEPARATOR: &str = "::";

/// What one GPU is to the kubelet: which resource it serves and how it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Role {
    /// The extended resource.
    pub resource: ResourceName,
    /// How it is shared.
    pub strategy: Strategy,
    /// How many devices it is; 1 when exclusive.
    pub replicas: u32,
}

impl Role {
    /// The whole GPU for one holder.
    pub fn exclusive() -> Self {
        Role { resource: ResourceName::gpu(), strategy: Strategy::Exclusive, replicas: 1 }
    }

    /// The device ids under which a GPU in this role is known: its UUID, or `UUID::0`, `UUID::1`, ….
    pub fn device_ids(&self, gpu: &GpuUuid) -> Vec<String> {
        match self.strategy {
            Strategy::Exclusive => vec![gpu.to_string()],
            Strategy::TimeSlicing | Strategy::Mps => {
                (0..self.replicas).map(|n| format!("{gpu}{REPLICA_SEPARATOR}{n}")).collect()
            }
        }
    }

    /// The control daemon that this role needs.
    pub fn daemon(&self, gpu: &GpuFacts) -> Option<DesiredDaemon> {
        (self.strategy == Strategy::Mps).then(|| DesiredDaemon {
            resource: self.resource.clone(),
            replicas: self.replicas,
            active_thread_percentage: 100 / self.replicas.max(1),
            pinned_memory_limit_mib: (gpu.memory_bytes > 0)
                .then(|| gpu.memory_bytes / u64::from(self.replicas.max(1)) / 1024 / 1024),
        })
    }
}

/// The physical GPU behind a device id: the id without its replica number.
pub fn gpu_of(device_id: &str) -> GpuUuid {
    GpuUuid::new(device_id.split_once(REPLICA_SEPARATOR).map_or(device_id, |(gpu, _)| gpu))
}

/// The number of a replica, when the id names one.
pub fn replica_of(device_id: &str) -> Option<u32> {
    device_id.split_once(REPLICA_SEPARATOR).and_then(|(_, n)| n.parse().ok())
}

/// Why a configuration cannot be applied to this node's hardware.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssignError {
    /// More clients than a control daemon serves.
    #[error(
        "`sharing.mps` asks for {replicas} replicas of `{resource}`, but an MPS control daemon serves at most {most} clients on `{gpu}` ({name}): lower `replicas`"
    )]
    TooManyClients {
        /// The extended resource.
        resource: String,
        /// What the configuration says.
        replicas: u32,
        /// The limit.
        most: u32,
        /// The GPU.
        gpu: String,
        /// Its product name.
        name: String,
    },
}

/// The role of every GPU under a configuration, or everything that speaks against it.
///
/// # Errors
/// All problems at once.
pub fn assign(config: &Config, facts: &Facts) -> Result<BTreeMap<GpuUuid, Role>, Vec<AssignError>> {
    let role = role_of_gpus(config);
    let problems: Vec<AssignError> =
        facts.gpus.iter().filter_map(|gpu| too_many_clients(&role, gpu)).collect();
    if problems.is_empty() {
        Ok(facts.gpus.iter().map(|g| (g.uuid.clone(), role.clone())).collect())
    } else {
        Err(problems)
    }
}

/// The strategy that names `nvidia.com/gpu` decides for all of the node's GPUs. MPS wins over time-slicing, as with NVIDIA's
/// plugin; the configuration's check refuses or warns before it comes to that.
fn role_of_gpus(config: &Config) -> Role {
    let shared = |block: Option<&ReplicatedResources>, strategy| {
        let block = block?;
        let entry = block.resources.iter().find(|r| r.name == ResourceName::gpu())?;
        Some(Role { resource: block.advertised(entry), strategy, replicas: entry.replicas })
    };
    shared(config.sharing.mps.as_ref(), Strategy::Mps)
        .or_else(|| shared(config.sharing.time_slicing.as_ref(), Strategy::TimeSlicing))
        .unwrap_or_else(Role::exclusive)
}

fn too_many_clients(role: &Role, gpu: &GpuFacts) -> Option<AssignError> {
    let most = clients_max(gpu.compute_capability);
    (role.strategy == Strategy::Mps && role.replicas > most).then(|| AssignError::TooManyClients {
        resource: role.resource.to_string(),
        replicas: role.replicas,
        most,
        gpu: gpu.uuid.to_string(),
        name: gpu.name.clone(),
    })
}

/// Resources whose requests for more than one device are refused: shared ones, where the strategy's block says so.
pub fn one_at_most(config: &Config, roles: &BTreeMap<GpuUuid, Role>) -> BTreeSet<ResourceName> {
    let refuses = |role: &&Role| match role.strategy {
        Strategy::Exclusive => false,
        Strategy::TimeSlicing => config
            .sharing
            .time_slicing
            .as_ref()
            .is_some_and(|b| b.fail_requests_greater_than_one.unwrap_or(false)),
        Strategy::Mps => {
            config.sharing.mps.as_ref().is_some_and(|b| b.fail_requests_greater_than_one.unwrap_or(true))
        }
    };
    roles.values().filter(refuses).map(|r| r.resource.clone()).collect()
}
