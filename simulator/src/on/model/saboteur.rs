//! Planted mistakes, because invariants and a fuzzer that find nothing are worth nothing until they have found something.
//!
//! They corrupt what goes in and out of the plugin's core inside the model; the core has no switch for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use plugin_core::action::Action;
use plugin_core::allocate::Allocation;
use plugin_core::config::ResourceName;
use plugin_core::event::{Checkpoint, Event};

use super::happening::Devices;

/// The environment variable from which a container runtime takes its GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The plugin believes that nobody holds a GPU: two pods come to hold one in different roles.
    BlindToHolders,
    /// Only the first registration of each resource is made: after a restart of the kubelet nobody serves it.
    NoSecondRegistration,
    /// MPS control daemons are told to be stopped, and live on.
    ImmortalDaemons,
    /// Every shared GPU has one device too many.
    OneReplicaMore,
    /// Containers are told of all GPUs instead of their own.
    WrongEnvironment,
}

/// A planted mistake in one process of the plugin.
#[derive(Debug, Clone)]
pub(super) struct Saboteur {
    mistake: Sabotage,
    registered: BTreeSet<ResourceName>,
}

impl Saboteur {
    /// Plants it.
    pub(super) fn new(mistake: Sabotage) -> Saboteur {
        Saboteur { mistake, registered: BTreeSet::new() }
    }

    /// An event on its way to the core; nothing when it is lost.
    pub(super) fn hears(&self, event: Event) -> Option<Event> {
        match (self.mistake, event) {
            (Sabotage::BlindToHolders, Event::Allocated { .. }) => None,
            (Sabotage::BlindToHolders, Event::HoldersRead { .. }) => {
                Some(Event::HoldersRead { holdings: Vec::new(), checkpoint: Checkpoint::Missing })
            }
            (_, event) => Some(event),
        }
    }

    /// Whether an action of the core is performed.
    pub(super) fn does(&mut self, action: &Action) -> bool {
        match (self.mistake, action) {
            (Sabotage::NoSecondRegistration, Action::Register { resource, .. }) => {
                self.registered.insert(resource.clone())
            }
            _ => true,
        }
    }

    /// A device list on its way to the kubelet.
    pub(super) fn lists(&self, devices: Devices) -> Devices {
        let Some(list) = devices.as_ref().filter(|_| self.mistake == Sabotage::OneReplicaMore) else {
            return devices;
        };
        let mut more = list.as_ref().clone();
        let number = |id: &str| id.split_once("::")?.1.parse::<u32>().ok();
        for device in list.values() {
            let of_gpu = list.values().filter(|other| other.gpu == device.gpu);
            if let Some(highest) = of_gpu.filter_map(|other| number(&other.id)).max() {
                let mut extra = device.clone();
                extra.id = format!("{}::{}", device.gpu, highest + 1);
                more.insert(extra.id.clone(), extra);
            }
        }
        Some(Arc::new(more))
    }

    /// An answer to Allocate on its way to the kubelet.
    pub(super) fn answers(&self, answer: &mut Allocation) {
        if self.mistake == Sabotage::WrongEnvironment
            && let Some(value) = answer.envs.get_mut(VISIBLE)
        {
            "all".clone_into(value);
        }
    }
}
