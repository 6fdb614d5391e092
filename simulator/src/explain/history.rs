//! What happened on one node, as moments that can be told, because a journal's entries are too fine for that.

use std::collections::{BTreeMap, BTreeSet};

use plugin_core::event::Holding;
use plugin_core::time::Time;

use crate::world::gpu_of;

/// A node's plugin over all of its processes.
#[derive(Debug, Default)]
pub struct History {
    /// In the order of the journal.
    pub moments: Vec<Moment>,
    /// UUID → NVML's index.
    pub gpus: BTreeMap<String, u32>,
    /// How often the plugin was started.
    pub starts: u32,
    /// What is missing, one sentence each.
    pub gaps: Vec<String>,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Which process of the plugin, from 1.
    pub start: u32,
    /// On its clock.
    pub at: Time,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The plugin started.
    Started,
    /// It was asked to stop, or gave up.
    Ended {
        /// Why.
        why: String,
    },
    /// It said something about its configuration or a problem.
    Said {
        /// Whether it is a warning.
        warning: bool,
        /// In its words.
        message: String,
    },
    /// The kubelet took a resource.
    Registered {
        /// The extended resource.
        resource: String,
    },
    /// A GPU came into a state.
    Gpu {
        /// Its UUID.
        uuid: String,
        /// `draining from nvidia.com/gpu`, …; `gone`.
        state: String,
    },
    /// An Allocate was answered.
    Allocated {
        /// The extended resource.
        resource: String,
        /// The ids of one container.
        ids: Vec<String>,
        /// The view that answered.
        view: u64,
        /// Why not.
        refused: Option<String>,
        /// UUID → (ids in use just before, ids in all) of the GPUs of that resource.
        usage: BTreeMap<String, (usize, usize)>,
    },
    /// PodResources lists a holder for the first time.
    Listed {
        /// The holder.
        holding: Holding,
    },
    /// PodResources lists it no more.
    Released {
        /// The holder.
        holding: Holding,
    },
}

impl History {
    /// Every pod that held a device, as PodResources names it.
    pub fn pods(&self) -> BTreeSet<&str> {
        let listed = self.moments.iter().filter_map(|moment| match &moment.what {
            What::Listed { holding } => Some(holding.pod.as_str()),
            _ => None,
        });
        listed.collect()
    }

    /// `1.234s`, with the number of the process when there was more than one.
    pub fn time(&self, moment: &Moment) -> String {
        match self.starts {
            0 | 1 => moment.at.to_string(),
            _ => format!("{} of start {}", moment.at, moment.start),
        }
    }

    /// `GPU 1` for a device id or a UUID; the UUID when it is not known.
    pub fn gpu(&self, id: &str) -> String {
        let uuid = gpu_of(id);
        self.gpus.get(uuid).map_or_else(|| uuid.to_owned(), |index| format!("GPU {index}"))
    }
}
