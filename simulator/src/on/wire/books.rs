//! What a node's kubelets have seen of plugins, folded from their events, because registrations count over restarts.

use std::collections::BTreeMap;

use fake_cluster::kubelet::wire::{Kubelet, WireEvent};

/// The fold of all kubelets' events of one node.
#[derive(Debug, Default)]
pub(super) struct Books {
    next: u64,
    registered: BTreeMap<String, u64>,
    registrations: BTreeMap<String, u64>,
}

impl Books {
    /// Folds the events that are new since the last call.
    pub(super) fn read(&mut self, kubelet: &Kubelet) {
        for logged in kubelet.events(self.next) {
            self.next = logged.number + 1;
            self.fold(logged.event);
        }
    }

    /// The kubelet is another one now: its events are numbered from 0, and nobody is registered with it.
    pub(super) fn turn(&mut self) {
        self.next = 0;
        self.registered.clear();
    }

    /// Resources with a live endpoint → devices in its last list.
    pub(super) fn registered(&self) -> BTreeMap<String, u64> {
        self.registered.clone()
    }

    /// Resource → accepted registrations.
    pub(super) fn registrations(&self) -> BTreeMap<String, u64> {
        self.registrations.clone()
    }

    fn fold(&mut self, event: WireEvent) {
        match event {
            WireEvent::RegisterAnswered { resource, error: None } => {
                *self.registrations.entry(resource).or_default() += 1;
            }
            WireEvent::ListReceived { resource, healthy, unhealthy } => {
                self.registered.insert(resource, (healthy + unhealthy) as u64);
            }
            WireEvent::StreamEnded { resource, .. } => {
                self.registered.remove(&resource);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_add_up_over_kubelets_and_live_endpoints_do_not() {
        let mut books = Books::default();
        let resource = || "nvidia.com/gpu".to_owned();
        let answered = |error| WireEvent::RegisterAnswered { resource: resource(), error };
        books.fold(answered(None));
        books.fold(WireEvent::ListReceived { resource: resource(), healthy: 3, unhealthy: 1 });
        assert_eq!(books.registered()[&resource()], 4);
        books.turn();
        assert!(books.registered().is_empty());
        books.fold(answered(Some("refused".into())));
        books.fold(answered(None));
        assert_eq!(books.registrations()[&resource()], 2);
        books.fold(WireEvent::ListReceived { resource: resource(), healthy: 4, unhealthy: 0 });
        books.fold(WireEvent::StreamEnded { resource: resource(), why: "gone".into() });
        assert!(books.registered().is_empty());
    }
}
