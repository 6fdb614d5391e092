//! A pod's way through allocation, container by container and resource by resource, as a step machine: the two calls
//! to a plugin happen outside, while lists, disconnects and questions go on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use plugin_api::deviceplugin::ContainerAllocateResponse;

use super::calls::{AllocateCall, AllocationError, CallError, PreferredCall};
use super::choose::{Choice, Claim, Mask, Rest};
use super::records::Record;
use super::{KnownPod, Ledger};
use crate::kubelet::pod::{ContainerKind, PodRequest};

/// What comes next in a pod's allocation.
#[derive(Debug)]
pub enum Step {
    /// Ask for a preference and hand the answer to [`Ledger::preferred`].
    AskPreferred(PreferredCall, AwaitingPreferred),
    /// Call Allocate and hand the answer to [`Ledger::allocated`].
    CallAllocate(AllocateCall, AwaitingAllocate),
    /// All containers have their devices, or one cannot.
    Finished(Result<(), AllocationError>),
}

/// An allocation that waits for GetPreferredAllocation.
#[derive(Debug)]
pub struct AwaitingPreferred {
    work: Work,
    claim: Claim,
    rest: Rest,
}

/// An allocation that waits for Allocate.
#[derive(Debug)]
pub struct AwaitingAllocate {
    work: Work,
    claim: Claim,
}

/// NUMA nodes by container name; what a topology manager would have stored. None is stored under policy `none`.
pub(super) type Affinity = BTreeMap<String, Mask>;

#[derive(Debug)]
struct Work {
    pod: Arc<PodRequest>,
    /// The containers that are still to come.
    containers: Range<usize>,
    affinity: Affinity,
    current: Option<Current>,
    /// What this admission recorded: container and resource.
    recorded: Vec<(String, String)>,
}

#[derive(Debug)]
struct Current {
    name: String,
    kind: ContainerKind,
    limits: Vec<(String, u64)>,
    released: bool,
    changed: bool,
}

impl Ledger {
    /// Begins to allocate for a pod under topology policy `none`. The pod counts as active from here on.
    pub fn begin_admission(&mut self, pod: &Arc<PodRequest>) -> Step {
        self.begin_aligned(pod, Affinity::new())
    }

    /// The same with NUMA nodes that a topology manager chose.
    pub(super) fn begin_aligned(&mut self, pod: &Arc<PodRequest>, affinity: Affinity) -> Step {
        self.pods.insert(pod.uid.clone(), KnownPod::active(pod));
        self.begin_work(pod, 0..pod.containers.len(), affinity)
    }

    /// Begins to allocate anew for one container of a known pod.
    pub(super) fn begin_container_again(&mut self, pod: &Arc<PodRequest>, container: usize) -> Step {
        self.begin_work(pod, container..container + 1, Affinity::new())
    }

    fn begin_work(&mut self, pod: &Arc<PodRequest>, containers: Range<usize>, affinity: Affinity) -> Step {
        if self.reuse.as_ref().is_none_or(|(owner, _)| *owner != pod.uid) {
            self.reuse = Some((pod.uid.clone(), BTreeMap::new()));
        }
        let pod = Arc::clone(pod);
        let work = Work { pod, containers, affinity, current: None, recorded: Vec::new() };
        self.run(work)
    }

    /// The plugin's preference, or why it gave none.
    pub fn preferred(&mut self, awaiting: AwaitingPreferred, answer: Result<Vec<String>, CallError>) -> Step {
        let AwaitingPreferred { work, claim, rest } = awaiting;
        match self.choose_rest(claim, rest, answer) {
            Ok(claim) => self.call_allocate(work, claim),
            Err(error) => {
                if !self.profile.preferred_error_leaks_ids {
                    self.recount_in_use();
                }
                self.fail(work, error)
            }
        }
    }

    /// The plugin's answer to Allocate: its first container response, if it had one.
    pub fn allocated(
        &mut self,
        awaiting: AwaitingAllocate,
        answer: Result<Option<ContainerAllocateResponse>, CallError>,
    ) -> Step {
        let AwaitingAllocate { mut work, claim } = awaiting;
        match answer {
            Err(error) => {
                self.recount_in_use();
                self.fail(work, AllocationError::Allocate(error))
            }
            Ok(None) => {
                if !self.profile.empty_response_leaks_ids {
                    self.recount_in_use();
                }
                self.fail(work, AllocationError::NoContainerResponse)
            }
            Ok(Some(response)) => match self.record(&mut work, claim, response) {
                Ok(()) => self.run(work),
                Err(error) => self.fail(work, error),
            },
        }
    }

    /// Goes on until a call is due or all is done.
    fn run(&mut self, mut work: Work) -> Step {
        loop {
            let (container, resource, required) = match self.next_limit(&mut work) {
                Ok(Some(next)) => next,
                Ok(None) => return Step::Finished(Ok(())),
                Err(error) => return self.fail(work, error),
            };
            let choice = self.begin_resource(&mut work, &container, &resource, required);
            match choice {
                Ok(Choice::Nothing) => {}
                Ok(Choice::Chosen(claim)) => return self.call_allocate(work, claim),
                Ok(Choice::Ask(call, claim, rest)) => {
                    return Step::AskPreferred(call, AwaitingPreferred { work, claim, rest });
                }
                Err(error) => return self.fail(work, error),
            }
        }
    }

    /// The next limit of the current container, then of the next one; limits come in any order.
    fn next_limit(&mut self, work: &mut Work) -> Result<Option<(String, String, u64)>, AllocationError> {
        loop {
            match work.current.as_mut() {
                Some(current) => {
                    if let Some((resource, required)) = current.limits.pop() {
                        return Ok(Some((current.name.clone(), resource, required)));
                    }
                    self.finish_container(work)?;
                }
                None => {
                    let next = work.containers.next().and_then(|next| work.pod.containers.get(next));
                    let Some(container) = next else { return Ok(None) };
                    let limits = container.limits.iter().map(|(name, count)| (name.clone(), *count));
                    work.current = Some(Current {
                        limits: self.random.shuffle(limits.collect()),
                        name: container.name.clone(),
                        kind: container.kind,
                        released: false,
                        changed: false,
                    });
                }
            }
        }
    }

    /// Passes a plain init container's devices on, withdraws those of a container that keeps them.
    fn finish_container(&mut self, work: &mut Work) -> Result<(), AllocationError> {
        let Some(done) = work.current.take() else { return Ok(()) };
        if done.changed {
            self.write_checkpoint();
        }
        let mut held = self.records.container(&work.pod.uid, &done.name).into_iter().flatten().peekable();
        let Some((_, reuse)) = self.reuse.as_mut().filter(|(uid, _)| *uid == work.pod.uid) else {
            // another pod's allocation has begun meanwhile and dropped what this one would write to
            if self.profile.concurrent_allocation_is_fatal && held.peek().is_some() {
                return Err(AllocationError::KubeletDiesOfTwo { pod_uid: work.pod.uid.clone() });
            }
            return Ok(());
        };
        for (resource, record) in held {
            let reusable = reuse.entry(resource.clone()).or_default();
            match done.kind {
                ContainerKind::Init => reusable.extend(record.ids()),
                ContainerKind::Sidecar | ContainerKind::App => {
                    reusable.retain(|id| !record.ids().contains(id));
                }
            }
        }
        Ok(())
    }

    fn begin_resource(
        &mut self,
        work: &mut Work,
        container: &str,
        resource: &str,
        required: u64,
    ) -> Result<Choice, AllocationError> {
        if !self.devices.is_ours(resource) {
            let awaits_list =
                self.endpoints.get(resource).is_some() && !self.profile.resource_without_list_is_ignored;
            return if awaits_list {
                Err(AllocationError::Unregistered { resource: resource.to_owned() })
            } else {
                Ok(Choice::Nothing)
            };
        }
        if required == 0 && !self.profile.zero_limit_fails_without_healthy {
            return Ok(Choice::Nothing);
        }
        if let Some(current) = work.current.as_mut().filter(|current| !current.released) {
            current.released = true;
            self.release_stale();
        }
        let claim = Claim::new(&work.pod.uid, container, resource, required);
        self.choose(claim, work.affinity.get(container))
    }

    fn call_allocate(&mut self, work: Work, claim: Claim) -> Step {
        let resource = claim.resource.clone();
        let endpoint = self.endpoints.get(&resource);
        let client = endpoint.and_then(|endpoint| endpoint.client.filter(|_| endpoint.stopped_at.is_none()));
        let Some(client) = client else {
            let known = endpoint.is_some();
            self.recount_in_use();
            return self.fail(
                work,
                if known {
                    AllocationError::EndpointStopped { resource }
                } else {
                    AllocationError::UnknownPlugin { resource }
                },
            );
        };
        let call = AllocateCall {
            client,
            resource,
            container: claim.container.clone(),
            ids: self.random.arrange(&claim.taken),
        };
        Step::CallAllocate(call, AwaitingAllocate { work, claim })
    }

    fn record(
        &mut self,
        work: &mut Work,
        claim: Claim,
        response: ContainerAllocateResponse,
    ) -> Result<(), AllocationError> {
        let listed = self.devices.all.get(&claim.resource);
        let mut record = Record { response, listed: claim.listed, ..Record::default() };
        for id in &claim.taken {
            let device = listed.and_then(|devices| devices.get(id));
            if device.is_none() && self.profile.removal_during_allocate_is_fatal {
                return Err(AllocationError::KubeletDies {
                    resource: claim.resource.clone(),
                    id: id.clone(),
                });
            }
            record.add(id, device);
        }
        self.records.insert(&claim.uid, &claim.container, &claim.resource, record);
        // What a recount during the call took away comes back.
        self.devices.in_use.entry(claim.resource.clone()).or_default().extend(claim.taken);
        work.recorded.push((claim.container, claim.resource));
        if let Some(current) = &mut work.current {
            current.changed = true;
        }
        Ok(())
    }

    fn fail(&mut self, work: Work, error: AllocationError) -> Step {
        if !self.profile.failed_pod_keeps_first_resource {
            for (container, resource) in &work.recorded {
                self.records.remove_one(&work.pod.uid, container, resource);
            }
            if !work.recorded.is_empty() {
                self.recount_in_use();
            }
        }
        Step::Finished(Err(error))
    }
}
