//! The two calls that an allocation makes, and the words in which it fails: these end up in pods' messages.

use super::ClientId;

/// A call to a plugin that failed, in the words of Go's gRPC, which end up in pods' messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rpc error: code = {code} desc = {message}")]
pub struct CallError {
    /// The status code's name, such as `Unavailable`.
    pub code: String,
    /// The status message.
    pub message: String,
}

/// Why a container got no devices; the texts are kubelet 1.36's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// The container holds another number of devices than it now asks for.
    #[error(
        "pod {pod_uid:?} container {container:?} changed request for resource {resource:?} from {from} to {to}"
    )]
    RequestChanged {
        /// The pod's UID.
        pod_uid: String,
        /// The container's name.
        container: String,
        /// The resource's name.
        resource: String,
        /// How many it holds.
        from: usize,
        /// How many it asks for.
        to: usize,
    },
    /// Nobody serves the resource, though somebody still holds one.
    #[error("cannot allocate unregistered device {resource}")]
    Unregistered {
        /// The resource's name.
        resource: String,
    },
    /// Every device is unhealthy, or the plugin is gone.
    #[error("no healthy devices present; cannot allocate unhealthy devices {resource}")]
    NoHealthyDevices {
        /// The resource's name.
        resource: String,
    },
    /// A device that the container holds is not healthy now.
    #[error(
        "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
    )]
    NoLongerHealthy {
        /// The resource's name.
        resource: String,
    },
    /// Not enough free healthy devices.
    #[error(
        "requested number of devices unavailable for {resource}. Requested: {requested}, Available: {available}"
    )]
    TooFew {
        /// The resource's name.
        resource: String,
        /// How many are still needed after reuse.
        requested: usize,
        /// How many are free.
        available: usize,
    },
    /// Devices vanished between two looks.
    #[error("unexpectedly allocated less resources than required. Requested: {required}, Got: {got}")]
    LessThanRequired {
        /// The limit.
        required: usize,
        /// What was found.
        got: usize,
    },
    /// The resource is known but has no endpoint any more.
    #[error("endpoint not found in cache for a registered resource: {resource}")]
    EndpointMissing {
        /// The resource's name.
        resource: String,
    },
    /// As before, noticed after the choice.
    #[error("unknown Device Plugin {resource}")]
    UnknownPlugin {
        /// The resource's name.
        resource: String,
    },
    /// The endpoint is stopped; a real kubelet prints an internal value where this has the resource's name.
    #[error("endpoint {resource} has been stopped")]
    EndpointStopped {
        /// The resource's name.
        resource: String,
    },
    /// The same, when the plugin was to be asked for its preference.
    #[error("device plugin GetPreferredAllocation rpc failed with err: endpoint {resource} has been stopped")]
    PreferredEndpointStopped {
        /// The resource's name.
        resource: String,
    },
    /// GetPreferredAllocation failed.
    #[error("device plugin GetPreferredAllocation rpc failed with err: {0}")]
    Preferred(CallError),
    /// Allocate failed.
    #[error("{0}")]
    Allocate(CallError),
    /// The answer to Allocate holds no container response.
    #[error("no containers return in allocation response")]
    NoContainerResponse,
    /// B4: the kubelet process dies; the pod stays undecided.
    #[error("the kubelet died: `{id}` of `{resource}` left the list during its own Allocate")]
    KubeletDies {
        /// The resource's name.
        resource: String,
        /// The device ID.
        id: String,
    },
    /// B5: the kubelet process dies; both pods stay undecided.
    #[error("the kubelet died: pod {pod_uid:?} was given devices while another pod's allocation had begun")]
    KubeletDiesOfTwo {
        /// The UID of the pod whose allocation ended.
        pod_uid: String,
    },
}

impl AllocationError {
    /// Whether the kubelet process dies of it.
    pub fn kills_the_kubelet(&self) -> bool {
        matches!(self, AllocationError::KubeletDies { .. } | AllocationError::KubeletDiesOfTwo { .. })
    }
}

/// GetPreferredAllocation is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferredCall {
    /// Whom to ask.
    pub client: ClientId,
    /// For which resource.
    pub resource: String,
    /// `available_deviceIDs`, including those that must be included.
    pub available: Vec<String>,
    /// `must_include_deviceIDs`.
    pub must_include: Vec<String>,
    /// `allocation_size`: the full limit.
    pub size: i32,
}

/// Allocate is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocateCall {
    /// Whom to ask.
    pub client: ClientId,
    /// For which resource.
    pub resource: String,
    /// For which container; the plugin is not told.
    pub container: String,
    /// `devices_ids`.
    pub ids: Vec<String>,
}
