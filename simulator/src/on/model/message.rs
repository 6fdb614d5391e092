//! What is on its way between the programs of the model: calls, their answers, and changes of Nodes.

use fake_cluster::kubelet::ledger::{AllocateCall, CallError, ClientId, PreferredCall};
use plugin_core::allocate::Allocation;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;

use super::happening::{Changes, ServerId};
use super::taints::TaintChange;

/// A change of a Node's metadata on its way to the API server.
#[derive(Debug)]
pub(super) enum NodePatch {
    /// Of its labels.
    Labels(Changes),
    /// Of its annotations.
    Annotations(Changes),
    /// Of its taints.
    Taints(TaintChange),
}

impl NodePatch {
    /// The answer as the plugin hears of it.
    pub(super) fn answered(&self, result: Result<(), String>) -> Event {
        match (self, result) {
            (NodePatch::Labels(_), Ok(())) => Event::LabelsPatched,
            (NodePatch::Labels(_), Err(why)) => Event::LabelsFailed { why },
            (NodePatch::Annotations(_), Ok(())) => Event::AnnotationsPatched,
            (NodePatch::Annotations(_), Err(why)) => Event::AnnotationsFailed { why },
            (NodePatch::Taints(_), Ok(())) => Event::TaintsPatched,
            (NodePatch::Taints(_), Err(why)) => Event::TaintsFailed { why },
        }
    }
}

/// What the kubelet asks a server.
#[derive(Debug)]
pub(super) enum Request {
    /// GetPreferredAllocation.
    Preferred(PreferredCall),
    /// Allocate.
    Allocate(AllocateCall),
}

/// What the server answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// To GetPreferredAllocation.
    Preferred(Result<Vec<String>, CallError>),
    /// To Allocate.
    Allocate(Result<Allocation, CallError>),
}

/// A call on its way to a server.
#[derive(Debug)]
pub(super) struct Call {
    /// The kubelet process's life.
    pub(super) kubelet: u32,
    /// The kubelet's number for it.
    pub(super) number: u64,
    /// Whom it asks.
    pub(super) server: ServerId,
    /// What it asks.
    pub(super) request: Request,
}

/// A Register call on its way to the kubelet.
#[derive(Debug, Clone)]
pub(super) struct Register {
    /// The plugin process's life.
    pub(super) plugin: u32,
    /// The extended resource.
    pub(super) resource: ResourceName,
    /// The socket's file name.
    pub(super) endpoint: String,
    /// Which of the resource's sockets.
    pub(super) attempt: u64,
}

impl Register {
    /// Whether it is the same call.
    pub(super) fn is(&self, other: &Register) -> bool {
        (self.plugin, self.attempt) == (other.plugin, other.attempt) && self.resource == other.resource
    }

    /// The answer as the plugin hears of it.
    pub(super) fn answered(self, result: Result<(), String>) -> Event {
        let Register { resource, attempt, .. } = self;
        match result {
            Ok(()) => Event::Registered { resource, attempt },
            Err(why) => Event::RegisterFailed { resource, attempt, why },
        }
    }
}

/// A kubelet that tries to reach the plugin that registered.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// The kubelet process's life.
    pub(super) kubelet: u32,
    /// The call that it answers.
    pub(super) call: Register,
    /// The registration.
    pub(super) client: ClientId,
    /// When the kubelet gives up, in nanoseconds.
    pub(super) until: u64,
}
