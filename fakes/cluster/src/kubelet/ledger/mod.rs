//! The device manager's books, kept apart from every socket and clock so that the same rules serve real sockets and
//! virtual time: what was registered, listed and handed out, and what follows from it.
//!
//! Behaviour and texts are those of kubelet 1.36 (`pkg/kubelet/cm/devicemanager`, restated). Times are durations
//! since the kubelet's start; orders that the kubelet leaves to chance come from a seed. Calls to plugins happen
//! outside: a [`Step`] says which call is due, and the caller hands the answer back.

mod allocate;
mod calls;
mod checkpoint;
mod choose;
mod devices;
mod endpoints;
mod names;
mod podresources;
mod predicate;
mod random;
mod records;
mod restore;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::pod::{DevicesByContainer, PodRequest};
use super::profile::Profile;

pub use allocate::{AwaitingAllocate, AwaitingPreferred, Step};
pub use calls::{AllocateCall, AllocationError, CallError, PreferredCall};
pub use checkpoint::{CHECKPOINT_FILE, Checkpoint, CheckpointError, DevicesPerNuma, Entry};
pub use devices::{Capacity, Device, DeviceList, ResourceCount};
pub use endpoints::{ClientId, PluginOptions};
pub use names::{RegisterRefusal, is_extended_resource};
pub use podresources::PodNotFound;
pub use random::Order;
pub use records::RunOptions;
pub use start::{PreStartCall, StartError};

/// How long a stopped plugin's resource keeps its capacity; kubelet 1.36 cannot change it.
pub const ENDPOINT_STOP_GRACE: Duration = Duration::from_secs(300);
/// Most plugins that may be connected at once; a fake's bound, a kubelet has none.
pub const CLIENTS_MAX: usize = 4096;

/// Container names by pod UID.
pub type RunningContainers = BTreeMap<String, BTreeSet<String>>;

/// What a ledger is told once.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// Which kubelet is imitated.
    pub profile: Profile,
    /// How long a stopped plugin's resource keeps its capacity.
    pub endpoint_stop_grace: Duration,
    /// Where "any order" comes from.
    pub order: Order,
    /// Whether all pods of this node are known from the beginning. After a restart it is false until
    /// [`Ledger::sources_ready`]: nothing is released before, and running containers are admitted as they are.
    pub sources_ready: bool,
    /// The containers that ran when this kubelet started.
    pub running: RunningContainers,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        LedgerSettings {
            profile: Profile::default(),
            endpoint_stop_grace: ENDPOINT_STOP_GRACE,
            order: Order::Seeded(0),
            sources_ready: true,
            running: RunningContainers::new(),
        }
    }
}

/// A pod that the kubelet has been told about.
#[derive(Clone, Debug)]
struct KnownPod {
    request: Arc<PodRequest>,
    /// What it counts for in all.
    requests: BTreeMap<String, u64>,
    /// False once it has ended or was refused; only active pods keep devices.
    active: bool,
}

impl KnownPod {
    /// A pod that has not ended.
    fn active(request: &Arc<PodRequest>) -> KnownPod {
        KnownPod { request: Arc::clone(request), requests: request.requests(), active: true }
    }
}

/// The device manager's state.
#[derive(Debug)]
pub struct Ledger {
    profile: Profile,
    grace: Duration,
    random: random::Random,
    endpoints: endpoints::Endpoints,
    devices: devices::DeviceTables,
    records: records::Records,
    pods: BTreeMap<String, KnownPod>,
    /// Devices that later containers of one pod may reuse; another pod's turn drops them.
    reuse: Option<(String, BTreeMap<String, BTreeSet<String>>)>,
    sources_ready: bool,
    running_at_start: RunningContainers,
    checkpoint_due: bool,
    /// Released since the file was written: it still has them.
    unwritten: records::Records,
}

impl Ledger {
    /// An empty ledger: a kubelet's first start.
    pub fn new(settings: LedgerSettings) -> Ledger {
        Ledger {
            profile: settings.profile,
            grace: settings.endpoint_stop_grace,
            random: random::Random::new(settings.order),
            endpoints: endpoints::Endpoints::default(),
            devices: devices::DeviceTables::default(),
            records: records::Records::default(),
            pods: BTreeMap::new(),
            reuse: None,
            sources_ready: settings.sources_ready,
            running_at_start: settings.running,
            checkpoint_due: false,
            unwritten: records::Records::default(),
        }
    }

    /// Which kubelet keeps these books.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// All pods of this node have been seen; from here on devices of unknown pods are released.
    pub fn sources_ready(&mut self) {
        self.sources_ready = true;
    }

    /// The pod's containers have ended (or it was refused); its devices are free at the next allocation.
    pub fn pod_terminated(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.active = false;
        }
    }

    /// The pod is gone from the API; its devices are free at the next allocation.
    pub fn pod_removed(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// Whether the pod is known and neither ended nor refused.
    pub fn is_active(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|pod| pod.active)
    }

    /// The devices recorded for a pod, also of one that has ended and was not collected yet.
    pub fn devices_of(&self, uid: &str) -> DevicesByContainer {
        self.records.devices_of(uid)
    }

    /// The lists from which a pod's devices were chosen, with their resources: one per container, because devices that pass
    /// from one container to the next come from the first one's. The checkpoint does not carry them over a restart.
    pub fn chosen_from(&self, uid: &str) -> Vec<(String, DeviceList)> {
        let of_pod = self.records.of_pod(uid);
        of_pod.filter_map(|(resource, record)| Some((resource.to_owned(), record.listed.clone()?))).collect()
    }

    /// The file has to be written anew, with what is recorded now.
    fn write_checkpoint(&mut self) {
        self.checkpoint_due = true;
        self.unwritten = records::Records::default();
    }

    /// Whether the checkpoint file has to be written anew; asking resets it.
    pub fn take_checkpoint_due(&mut self) -> bool {
        std::mem::take(&mut self.checkpoint_due)
    }

    /// Frees the devices of pods that are no longer active: nothing else ever does.
    fn release_stale(&mut self) {
        if !self.sources_ready {
            return;
        }
        let pods = &self.pods;
        let released = self.records.keep(|uid| pods.get(uid).is_some_and(|pod| pod.active));
        if !released.is_empty() {
            self.unwritten.add(released);
            self.recount_in_use();
        }
    }

    /// Leaves in the in-use sets what the records hold, which forgets leaked IDs; what is recorded is always in use.
    fn recount_in_use(&mut self) {
        let held = self.records.held();
        self.devices.in_use.retain(|resource, ids| {
            let Some(held) = held.get(resource.as_str()) else { return false };
            ids.retain(|id| held.binary_search(&id.as_str()).is_ok());
            true
        });
    }
}
