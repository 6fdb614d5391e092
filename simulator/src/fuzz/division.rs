//! What the GPUs of a node are at rest, as a label asks for it.

use super::label::{Devices, GroupName, Label, MigStrategy, Parts};
use super::story::Cut;
use crate::world::GpuView;

/// The resource of whole GPUs.
pub(super) const GPU: &str = "nvidia.com/gpu";
/// The driver's own interval.
const DEFAULT_SLICE: &str = "default";

/// What the GPUs of a node are at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// Groups, in the order in which counts take GPUs.
    pub groups: Vec<(Role, Devices)>,
    /// The role of all other GPUs.
    pub rest: Role,
}

/// How a GPU is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The extended resource.
    pub resource: String,
    /// Devices of each free GPU, or of each of its MIG devices.
    pub each: u64,
    /// The values of the labels that tell the strategy and the replicas, where the whole node plays one role.
    pub labels: Option<(&'static str, u64)>,
    /// Whether each GPU has an MPS control daemon.
    pub mps: bool,
    /// The interval of time-slicing that each GPU has.
    pub time_slice: &'static str,
    /// The GPU is handed out as its MIG devices.
    pub in_parts: bool,
}

impl Division {
    /// All GPUs play one role.
    fn of(rest: Role) -> Division {
        Division { groups: Vec::new(), rest }
    }

    /// Every role.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.groups.iter().map(|(role, _)| role).chain([&self.rest])
    }

    /// The roles that the GPU with this index may play.
    pub fn roles_of(&self, index: u32) -> Vec<&Role> {
        let listed = |devices: &Devices| matches!(devices, Devices::List(list) if list.contains(&index));
        if let Some((role, _)) = self.groups.iter().find(|(_, devices)| listed(devices)) {
            return vec![role];
        }
        let counted = self.groups.iter().filter(|(_, devices)| matches!(devices, Devices::Count(_)));
        counted.map(|(role, _)| role).chain([&self.rest]).collect()
    }

    /// How many of so many GPUs play the role of each group.
    pub fn takes(&self, gpus: u32) -> Vec<(&Role, u32)> {
        let listed = |devices: &Devices| match devices {
            Devices::List(list) => list.iter().filter(|index| **index < gpus).count() as u32,
            Devices::Count(_) => 0,
        };
        let mut left = gpus.saturating_sub(self.groups.iter().map(|(_, devices)| listed(devices)).sum());
        let takes = self.groups.iter().map(|(role, devices)| match devices {
            Devices::List(_) => (role, listed(devices)),
            Devices::Count(count) => {
                let count = left.min(*count);
                left -= count;
                (role, count)
            }
        });
        takes.collect()
    }
}

/// What a label asks of a node; one that names nothing good asks for the default.
pub(super) fn division(label: &Label, mig: Option<Cut>) -> Division {
    match label {
        Label::Shared(sharing) => Division::of(Role {
            resource: sharing.resource().to_owned(),
            each: u64::from(sharing.replicas),
            labels: Some((if sharing.mps { "mps" } else { "time-slicing" }, u64::from(sharing.replicas))),
            mps: sharing.mps,
            time_slice: sharing.interval().unwrap_or(DEFAULT_SLICE),
            in_parts: false,
        }),
        Label::Mixed(groups) => {
            let of_group = |name: GroupName| {
                let group = groups.iter().find(|group| group.name == name)?;
                let role = Role {
                    resource: name.resource().to_owned(),
                    each: u64::from(group.replicas),
                    labels: None,
                    mps: name.is_mps(),
                    time_slice: group.interval().unwrap_or(DEFAULT_SLICE),
                    in_parts: false,
                };
                Some((role, group.devices.clone()))
            };
            let groups = GroupName::ALL.into_iter().filter_map(of_group).collect();
            Division { groups, rest: Role { labels: None, ..Role::exclusive() } }
        }
        Label::Parts(parts) => Division::of(of_parts(*parts, mig)),
        Label::Absent | Label::Default | Label::Edited | Label::Broken | Label::Missing => {
            Division::of(Role::exclusive())
        }
    }
}

fn of_parts(parts: Parts, mig: Option<Cut>) -> Role {
    let Some(cut) = mig else { return Role::exclusive() };
    let in_parts = parts.strategy != MigStrategy::None;
    let resource = match parts.strategy {
        MigStrategy::None | MigStrategy::Single => GPU.to_owned(),
        MigStrategy::Mixed => format!("nvidia.com/mig-{}", cut.profile.name()),
    };
    let shared = if parts.replicas > 1 { ".shared" } else { "" };
    let (resource, each) = (resource + shared, u64::from(parts.replicas));
    Role { resource, each, labels: None, in_parts, ..Role::exclusive() }
}

impl Role {
    /// How many devices a GPU has in this role; one that was pulled out and put back has lost its MIG devices.
    pub(super) fn devices(&self, gpu: &GpuView) -> u64 {
        match self.in_parts {
            true => self.each * gpu.mig.iter().flatten().count() as u64,
            false => self.each,
        }
    }

    /// Whole GPUs.
    pub(super) fn exclusive() -> Role {
        Role {
            resource: GPU.to_owned(),
            each: 1,
            labels: Some(("none", 1)),
            mps: false,
            time_slice: DEFAULT_SLICE,
            in_parts: false,
        }
    }
}
