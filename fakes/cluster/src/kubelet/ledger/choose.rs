//! Which devices a container gets: the kubelet chooses, the plugin may only advise, and the order of the checks
//! decides what a refused pod reads.

use std::collections::BTreeSet;

use super::calls::{AllocationError, CallError, PreferredCall};
use super::devices::{Device, DeviceList};
use super::{ClientId, Ledger};

/// NUMA nodes that a container is to be aligned with.
pub(super) type Mask = BTreeSet<i64>;

/// A container's wish for one resource.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) resource: String,
    /// The limit.
    pub(super) required: usize,
    /// How many are still to be taken.
    needed: usize,
    /// What was taken so far; these IDs are already marked in use.
    pub(super) taken: BTreeSet<String>,
    /// The list that they are chosen from.
    pub(super) listed: Option<DeviceList>,
}

/// Where the choice goes on once the plugin has been asked.
#[derive(Clone, Debug)]
pub(super) enum Rest {
    /// More aligned devices are free than needed: only they are considered.
    Aligned(BTreeSet<String>),
    /// All aligned ones are taken.
    Any { unaligned: BTreeSet<String>, no_affinity: BTreeSet<String> },
}

/// The outcome of a step of the choice.
#[derive(Debug)]
pub(super) enum Choice {
    /// The container needs nothing (more) of this resource.
    Nothing,
    /// These devices; Allocate comes next.
    Chosen(Claim),
    /// The plugin is asked first.
    Ask(PreferredCall, Claim, Rest),
}

impl Rest {
    /// What the plugin may choose from.
    fn offered(&self) -> Box<dyn Iterator<Item = &String> + '_> {
        match self {
            Rest::Aligned(aligned) => Box::new(aligned.iter()),
            Rest::Any { unaligned, no_affinity } => Box::new(unaligned.iter().chain(no_affinity)),
        }
    }
}

struct Split {
    aligned: BTreeSet<String>,
    unaligned: BTreeSet<String>,
    no_affinity: BTreeSet<String>,
}

impl Claim {
    pub(super) fn new(uid: &str, container: &str, resource: &str, required: u64) -> Claim {
        let required = usize::try_from(required).unwrap_or(usize::MAX);
        Claim {
            uid: uid.to_owned(),
            container: container.to_owned(),
            resource: resource.to_owned(),
            required,
            needed: required,
            taken: BTreeSet::new(),
            listed: None,
        }
    }
}

impl Ledger {
    /// Checks the claim and chooses as far as possible without the plugin.
    pub(super) fn choose(
        &mut self,
        mut claim: Claim,
        mask: Option<&Mask>,
    ) -> Result<Choice, AllocationError> {
        if self.is_settled(&claim)? {
            return Ok(Choice::Nothing);
        }
        claim.listed = self.devices.all.get(&claim.resource).cloned();
        let reusable = self.reusable(&claim);
        if self.take_from(&mut claim, &reusable) {
            return Ok(Choice::Chosen(claim));
        }
        let none = BTreeSet::new();
        let in_use = self.devices.in_use.get(&claim.resource).unwrap_or(&none);
        let healthy = self.devices.healthy.get(&claim.resource).unwrap_or(&none);
        let available: BTreeSet<String> = healthy.difference(in_use).cloned().collect();
        if available.len() < claim.needed {
            return Err(AllocationError::TooFew {
                resource: claim.resource,
                requested: claim.needed,
                available: available.len(),
            });
        }
        let Split { aligned, unaligned, no_affinity } = self.split(&claim.resource, available, mask);
        if claim.needed < aligned.len() {
            return self.ask_or_go_on(claim, Rest::Aligned(aligned));
        }
        if self.take_from(&mut claim, &aligned) {
            return Ok(Choice::Chosen(claim));
        }
        self.ask_or_go_on(claim, Rest::Any { unaligned, no_affinity })
    }

    /// The checks before anything is taken; `true` when nothing is to be done.
    fn is_settled(&self, claim: &Claim) -> Result<bool, AllocationError> {
        let Claim { uid, container, resource, required, .. } = claim;
        let recorded = self.records.get(uid, container, resource).map(|record| record.ids());
        if let Some(ids) = recorded.as_ref().filter(|ids| ids.len() != *required) {
            return Err(AllocationError::RequestChanged {
                pod_uid: uid.clone(),
                container: container.clone(),
                resource: resource.clone(),
                from: ids.len(),
                to: *required,
            });
        }
        if !self.sources_ready && self.ran_at_start(uid, container) {
            return Ok(true);
        }
        let resource = resource.clone();
        let Some(healthy) = self.devices.healthy.get(&resource) else {
            return Err(AllocationError::Unregistered { resource });
        };
        if healthy.is_empty() {
            return Err(AllocationError::NoHealthyDevices { resource });
        }
        if recorded.as_ref().is_some_and(|ids| !ids.is_subset(healthy)) {
            return Err(AllocationError::NoLongerHealthy { resource });
        }
        Ok(recorded.is_some() || *required == 0)
    }

    fn ran_at_start(&self, uid: &str, container: &str) -> bool {
        self.running_at_start.get(uid).is_some_and(|containers| containers.contains(container))
    }

    fn reusable(&self, claim: &Claim) -> BTreeSet<String> {
        let of_pod = self.reuse.as_ref().filter(|(uid, _)| *uid == claim.uid);
        of_pod.and_then(|(_, resources)| resources.get(&claim.resource)).cloned().unwrap_or_default()
    }

    /// Takes from `from`, in any order, until nothing more is needed; `true` then.
    fn take_from<'d>(&mut self, claim: &mut Claim, from: impl IntoIterator<Item = &'d String>) -> bool {
        let fresh = from.into_iter().filter(|id| !claim.taken.contains(*id)).collect();
        let order: Vec<&String> = self.random.shuffle(fresh);
        let in_use = self.devices.in_use.entry(claim.resource.clone()).or_default();
        for id in order.into_iter().take(claim.needed) {
            in_use.insert(id.clone());
            claim.taken.insert(id.clone());
            claim.needed -= 1;
        }
        claim.needed == 0
    }

    fn split(&self, resource: &str, available: BTreeSet<String>, mask: Option<&Mask>) -> Split {
        let all = self.devices.all.get(resource);
        let nodes = |id: &String| all.and_then(|all| all.get(id)).map(Device::nodes).unwrap_or_default();
        let any_topology = all.is_some_and(|all| all.values().any(|device| !device.nodes().is_empty()));
        let mut split =
            Split { aligned: BTreeSet::new(), unaligned: BTreeSet::new(), no_affinity: BTreeSet::new() };
        let Some(mask) = mask.filter(|_| any_topology) else {
            split.no_affinity = available;
            return split;
        };
        for id in available {
            let part = if nodes(&id).is_empty() {
                &mut split.no_affinity
            } else if nodes(&id).iter().any(|node| mask.contains(node)) {
                &mut split.aligned
            } else {
                &mut split.unaligned
            };
            part.insert(id);
        }
        split
    }

    /// Asks the plugin which of the rest it prefers, or goes on at once if it does not want to be asked.
    fn ask_or_go_on(&mut self, claim: Claim, rest: Rest) -> Result<Choice, AllocationError> {
        let Some(client) = self.preferring_client(&claim.resource)? else {
            return self.go_on(claim, rest, &BTreeSet::new()).map(Choice::Chosen);
        };
        let available: BTreeSet<&String> = rest.offered().chain(&claim.taken).collect();
        let available = self.random.arrange(&available);
        let call = PreferredCall {
            client,
            resource: claim.resource.clone(),
            available: available.into_iter().cloned().collect(),
            must_include: self.random.arrange(&claim.taken),
            size: i32::try_from(claim.required).unwrap_or(i32::MAX),
        };
        Ok(Choice::Ask(call, claim, rest))
    }

    fn preferring_client(&self, resource: &str) -> Result<Option<ClientId>, AllocationError> {
        let Some(endpoint) = self.endpoints.get(resource) else {
            return Err(AllocationError::EndpointMissing { resource: resource.to_owned() });
        };
        if !endpoint.options.is_some_and(|options| options.preferred_allocation) {
            return Ok(None);
        }
        match endpoint.client.filter(|_| endpoint.stopped_at.is_none()) {
            Some(client) => Ok(Some(client)),
            None => Err(AllocationError::PreferredEndpointStopped { resource: resource.to_owned() }),
        }
    }

    /// Goes on after GetPreferredAllocation: what was not offered is ignored, a short answer is topped up.
    pub(super) fn choose_rest(
        &mut self,
        claim: Claim,
        rest: Rest,
        answer: Result<Vec<String>, CallError>,
    ) -> Result<Claim, AllocationError> {
        match answer {
            Ok(preferred) => self.go_on(claim, rest, &preferred.into_iter().collect()),
            Err(error) => Err(AllocationError::Preferred(error)),
        }
    }

    fn go_on(
        &mut self,
        mut claim: Claim,
        rest: Rest,
        preferred: &BTreeSet<String>,
    ) -> Result<Claim, AllocationError> {
        let tiers = match rest {
            Rest::Aligned(aligned) => vec![aligned],
            Rest::Any { unaligned, no_affinity } => vec![unaligned, no_affinity],
        };
        let is_open = |id: &&String| tiers.iter().any(|tier| tier.contains(*id));
        let liked = preferred.iter().filter(is_open);
        if self.take_from(&mut claim, liked) {
            return Ok(claim);
        }
        for tier in &tiers {
            if self.take_from(&mut claim, tier) {
                return Ok(claim);
            }
        }
        Err(AllocationError::LessThanRequired {
            required: claim.required,
            got: claim.required.saturating_sub(claim.needed),
        })
    }
}
