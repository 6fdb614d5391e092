//! Everything that was seen on the kubelet's sockets, with times: what a report shows and what tests wait for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

/// Most events that are kept; older ones are dropped and counted.
pub const EVENTS_MAX: usize = 65_536;

/// Something that happened between the kubelet and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WireEvent {
    /// The kubelet serves its sockets.
    Started {
        /// Allocations taken over from the checkpoint.
        checkpoint_entries: usize,
    },
    /// The checkpoint file could not be used, or not written.
    CheckpointFailed {
        /// Why.
        why: String,
    },
    /// A plugin asks to register.
    RegisterReceived {
        /// The resource's name.
        resource: String,
        /// The socket's file name.
        endpoint: String,
        /// The API version.
        version: String,
    },
    /// The registration is answered.
    RegisterAnswered {
        /// The resource's name.
        resource: String,
        /// The refusal, if it was refused.
        error: Option<String>,
    },
    /// A plugin whose registration was answered already could not be connected (kubelets up to 1.25).
    ConnectFailed {
        /// The resource's name.
        resource: String,
        /// Why.
        why: String,
    },
    /// A list message arrived.
    ListReceived {
        /// The resource's name.
        resource: String,
        /// How many devices are healthy.
        healthy: usize,
        /// How many are not.
        unhealthy: usize,
    },
    /// A ListAndWatch stream ended.
    StreamEnded {
        /// The resource's name.
        resource: String,
        /// Why.
        why: String,
    },
    /// GetPreferredAllocation was called and answered.
    PreferredAllocation {
        /// The resource's name.
        resource: String,
        /// `available_deviceIDs`, in the order sent.
        available: Vec<String>,
        /// `must_include_deviceIDs`.
        must_include: Vec<String>,
        /// `allocation_size`.
        size: i32,
        /// The answer.
        preferred: Vec<String>,
        /// The error, if it failed.
        error: Option<String>,
    },
    /// Allocate is being called.
    AllocateCalled {
        /// The pod's UID.
        pod_uid: String,
        /// The container's name.
        container: String,
        /// The resource's name.
        resource: String,
        /// The device IDs, in the order sent.
        ids: Vec<String>,
    },
    /// Allocate was answered.
    AllocateAnswered {
        /// The resource's name.
        resource: String,
        /// How many container responses came.
        responses: usize,
        /// The environment of the first one.
        envs: BTreeMap<String, String>,
        /// The error, if it failed.
        error: Option<String>,
    },
    /// PreStartContainer was called and answered.
    PreStartContainer {
        /// The resource's name.
        resource: String,
        /// The device IDs.
        ids: Vec<String>,
        /// The error, if it failed.
        error: Option<String>,
    },
    /// A pod was admitted.
    PodAdmitted {
        /// `namespace/name`.
        pod: String,
    },
    /// A pod was refused.
    PodRejected {
        /// `namespace/name`.
        pod: String,
        /// `status.reason`.
        reason: String,
        /// `status.message`.
        message: String,
    },
    /// A resource's plugin has been gone for longer than the grace period.
    ResourceRemoved {
        /// The resource's name.
        resource: String,
    },
    /// The kubelet process died (B4).
    Died {
        /// Why.
        why: String,
    },
    /// The kubelet was stopped.
    Stopped,
}

/// An event, its number from 0 and the time since the kubelet's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedEvent {
    /// Consecutive from 0.
    pub number: u64,
    /// Since the kubelet's start.
    pub at: Duration,
    /// What happened.
    #[serde(flatten)]
    pub event: WireEvent,
}

/// A bounded list of events.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<LoggedEvent>,
    count: u64,
}

impl EventLog {
    pub(super) fn push(&mut self, at: Duration, event: WireEvent) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(LoggedEvent { number: self.count, at, event });
        self.count += 1;
    }

    pub(super) fn since(&self, number: u64) -> Vec<LoggedEvent> {
        self.events.iter().filter(|event| event.number >= number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_drops_its_oldest_events_and_keeps_their_numbers() {
        let mut log = EventLog::default();
        for _ in 0..EVENTS_MAX + 3 {
            log.push(Duration::ZERO, WireEvent::Stopped);
        }
        let kept = log.since(0);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept.first().map(|event| event.number), Some(3));
        assert_eq!(log.since(EVENTS_MAX as u64 + 2).len(), 1);
    }
}
