//! What happens at every creation of a container, long after admission: the plugin may prepare the devices, and the
//! recorded answers are merged. Allocate is repeated only if nothing is recorded.

use std::sync::Arc;

use super::allocate::Step;
use super::calls::{AllocationError, CallError};
use super::{ClientId, Ledger, RunOptions};

/// PreStartContainer is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreStartCall {
    /// Whom to call.
    pub client: ClientId,
    /// For which resource.
    pub resource: String,
    /// `devices_ids`.
    pub ids: Vec<String>,
}

/// Why a container could not be created (`CreateContainerConfigError`; the kubelet tries again with back-off).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The kubelet has not admitted this pod or container.
    #[error("container `{container}` of pod `{pod_uid}` is not known")]
    UnknownContainer {
        /// The pod's UID.
        pod_uid: String,
        /// The container's name.
        container: String,
    },
    /// The resource is known but has no endpoint any more.
    #[error("endpoint not found in cache for a registered resource: {resource}")]
    EndpointMissing {
        /// The resource's name.
        resource: String,
    },
    /// The container holds nothing that could be prepared.
    #[error(
        "no devices found allocated in local cache for pod {pod_uid}, container {container}, resource {resource}"
    )]
    NothingAllocated {
        /// The pod's UID.
        pod_uid: String,
        /// The container's name.
        container: String,
        /// The resource's name.
        resource: String,
    },
    /// The plugin is gone.
    #[error("device plugin PreStartContainer rpc failed with err: endpoint {resource} has been stopped")]
    EndpointStopped {
        /// The resource's name.
        resource: String,
    },
    /// PreStartContainer failed.
    #[error("device plugin PreStartContainer rpc failed with err: {0}")]
    PreStart(CallError),
    /// Nothing was recorded and a new allocation failed.
    #[error("{0}")]
    Allocation(AllocationError),
    /// The kubelet went away meanwhile.
    #[error("the kubelet is not running")]
    KubeletGone,
}

impl Ledger {
    /// The PreStartContainer calls that a container's creation needs, in order, up to the first that cannot be made.
    pub fn pre_start_calls(&mut self, uid: &str, container: &str) -> Vec<Result<PreStartCall, StartError>> {
        let Some(request) = self.pods.get(uid).and_then(|pod| pod.request.container(container)) else {
            let (pod_uid, container) = (uid.to_owned(), container.to_owned());
            return vec![Err(StartError::UnknownContainer { pod_uid, container })];
        };
        let counted =
            request.limits.iter().filter(|(name, count)| **count != 0 && self.devices.is_ours(name));
        let resources = counted.map(|(name, _)| name.clone()).collect();
        let mut calls = Vec::new();
        for resource in self.random.arrange(&resources) {
            match self.pre_start_call(uid, container, &resource) {
                Ok(Some(call)) => calls.push(Ok(call)),
                Ok(None) => {}
                Err(error) => {
                    calls.push(Err(error));
                    break;
                }
            }
        }
        calls
    }

    fn pre_start_call(
        &mut self,
        uid: &str,
        container: &str,
        resource: &str,
    ) -> Result<Option<PreStartCall>, StartError> {
        let Some(endpoint) = self.endpoints.get(resource) else {
            return Err(StartError::EndpointMissing { resource: resource.to_owned() });
        };
        if !endpoint.options.is_some_and(|options| options.pre_start_required) {
            return Ok(None);
        }
        let Some(record) = self.records.get(uid, container, resource) else {
            return Err(StartError::NothingAllocated {
                pod_uid: uid.to_owned(),
                container: container.to_owned(),
                resource: resource.to_owned(),
            });
        };
        match endpoint.client.filter(|_| endpoint.stopped_at.is_none()) {
            Some(client) => {
                let ids = self.random.arrange(&record.ids());
                Ok(Some(PreStartCall { client, resource: resource.to_owned(), ids }))
            }
            None => Err(StartError::EndpointStopped { resource: resource.to_owned() }),
        }
    }

    /// A new allocation for a container of an active pod that has a limit of ours and no record of it (a restart's
    /// race). `None` when the records are complete.
    pub fn begin_missing_allocation(&mut self, uid: &str, container: &str) -> Option<Step> {
        let pod = self.pods.get(uid).filter(|pod| pod.active)?;
        let request = Arc::clone(&pod.request);
        let number = request.containers.iter().position(|request| request.name == container)?;
        let missing = request.containers.get(number)?.limits.iter().any(|(resource, count)| {
            *count != 0
                && self.devices.is_ours(resource)
                && self.records.get(uid, container, resource).is_none()
        });
        missing.then(|| self.begin_container_again(&request, number))
    }

    /// What the container gets from its plugins; `None` when nothing is recorded.
    pub fn run_options(&mut self, uid: &str, container: &str) -> Option<RunOptions> {
        self.records.run_options(uid, container, &mut self.random)
    }
}
