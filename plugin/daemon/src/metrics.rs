//! Counters and gauges of the plugin: what happened, what was done, what is offered.

use std::sync::Arc;

use plugin_core::view::View;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AllocationLabels {
    resource: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

#[derive(Default)]
struct Families {
    events: Family<EventLabels, Counter>,
    actions: Family<ActionLabels, Counter>,
    allocations: Family<AllocationLabels, Counter>,
    devices: Family<ResourceLabels, Gauge>,
    devices_healthy: Family<ResourceLabels, Gauge>,
    registrations: Family<ResourceLabels, Gauge>,
    ready: Gauge,
    announcements_dropped: Counter,
    journal_failures: Counter,
}

/// All metrics; clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    families: Arc<Families>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let f = Families::default();
        let mut registry = Registry::with_prefix("tandem");
        registry.register("events", "Events handled, by kind", f.events.clone());
        registry.register("actions", "Actions performed, by kind", f.actions.clone());
        registry.register("allocations", "Containers answered by Allocate", f.allocations.clone());
        registry.register("devices", "Devices in the list of a resource", f.devices.clone());
        registry.register("devices_healthy", "Healthy devices of a resource", f.devices_healthy.clone());
        registry.register(
            "registrations",
            "Registrations that the kubelet took, since start",
            f.registrations.clone(),
        );
        registry.register(
            "ready",
            "1 when everything that the configuration asks for is served",
            f.ready.clone(),
        );
        let dropped = "Announcements that did not reach the API server";
        registry.register("announcements_dropped", dropped, f.announcements_dropped.clone());
        let failures = "Journal lines that could not be written";
        registry.register("journal_failures", failures, f.journal_failures.clone());
        Metrics { registry: Arc::new(registry), families: Arc::new(f) }
    }

    /// An event was handled.
    pub(crate) fn count_event(&self, event: &'static str) {
        self.families.events.get_or_create(&EventLabels { event }).inc();
    }

    /// An action was performed.
    pub(crate) fn count_action(&self, action: &'static str) {
        self.families.actions.get_or_create(&ActionLabels { action }).inc();
    }

    /// A container's Allocate was answered.
    pub(crate) fn count_allocation(&self, resource: &str, granted: bool) {
        let result = if granted { "granted" } else { "refused" };
        let labels = AllocationLabels { resource: resource.to_owned(), result };
        self.families.allocations.get_or_create(&labels).inc();
    }

    /// An announcement was given up.
    pub(crate) fn count_dropped_announcement(&self) {
        self.families.announcements_dropped.inc();
    }

    /// A journal line was lost.
    pub(crate) fn count_journal_failure(&self) {
        self.families.journal_failures.inc();
    }

    /// What the view offers, as gauges.
    pub(crate) fn set_view(&self, view: &View) {
        let f = &self.families;
        f.devices.clear();
        f.devices_healthy.clear();
        f.registrations.clear();
        for (name, resource) in &view.status.resources {
            let labels = ResourceLabels { resource: name.clone() };
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            f.devices.get_or_create(&labels).set(number(resource.devices));
            f.devices_healthy.get_or_create(&labels).set(number(resource.healthy));
            let registrations = i64::try_from(resource.registrations).unwrap_or(i64::MAX);
            f.registrations.get_or_create(&labels).set(registrations);
        }
        f.ready.set(i64::from(view.status.ready));
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(e) => format!("# metrics cannot be written: {e}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_carry_the_tag_as_their_label() {
        let metrics = Metrics::new();
        metrics.count_event("gpus_found");
        metrics.count_action("listen");
        metrics.count_allocation("nvidia.com/gpu", false);
        let text = metrics.text();
        assert!(text.contains("tandem_events_total{event=\"gpus_found\"} 1"), "{text}");
        assert!(text.contains("tandem_actions_total{action=\"listen\"} 1"), "{text}");
        let refused = "tandem_allocations_total{resource=\"nvidia.com/gpu\",result=\"refused\"} 1";
        assert!(text.contains(refused), "{text}");
    }
}
