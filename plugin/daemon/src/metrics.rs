//! Counters and gauges of the plugin: what happened, what was done, what is offered.

use std::sync::Arc;

use plugin_core::view::{Status, View};
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AppliedLabels {
    config: String,
    hash: String,
    stands_in: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConfigLabels {
    config: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyLabels {
    config: String,
    key: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GpuLabels {
    gpu: String,
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
    driver_stuck: Family<CallLabels, Gauge>,
    driver_failing: Gauge,
    gpus_ill: Gauge,
    switch_gpus: Family<StateLabels, Gauge>,
    switch_blockers: Family<GpuLabels, Gauge>,
    switch_overdue: Family<GpuLabels, Gauge>,
    announcements_dropped: Counter,
    journal_failures: Counter,
    last_good_failures: Counter,
    config_applied: Family<AppliedLabels, Gauge>,
    config_failed: Family<ConfigLabels, Gauge>,
    config_ignored_keys: Family<KeyLabels, Gauge>,
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
        registry.register(
            "driver_stuck",
            "1 while this call to the GPU driver does not return",
            f.driver_stuck.clone(),
        );
        registry.register(
            "driver_failing",
            "1 while NVML cannot be used although GPUs are known",
            f.driver_failing.clone(),
        );
        registry.register("gpus_ill", "GPUs on which nothing can be used now", f.gpus_ill.clone());
        registry.register("switch_gpus", "GPUs and MIG devices by state", f.switch_gpus.clone());
        let blockers = "Holders that a draining GPU waits for";
        registry.register("switch_blockers", blockers, f.switch_blockers.clone());
        let overdue = "1 while a GPU drains for longer than the configuration allows";
        registry.register("switch_overdue", overdue, f.switch_overdue.clone());
        let dropped = "Announcements that did not reach the API server";
        registry.register("announcements_dropped", dropped, f.announcements_dropped.clone());
        let failures = "Journal lines that could not be written";
        registry.register("journal_failures", failures, f.journal_failures.clone());
        let failures = "Writes of the last good configuration that failed";
        registry.register("last_good_failures", failures, f.last_good_failures.clone());
        let applied =
            "1 for the configuration in force; stands_in when it is the last good one of an earlier run";
        registry.register("config_applied", applied, f.config_applied.clone());
        let failed = "1 while the configuration that is asked for is refused";
        registry.register("config_failed", failed, f.config_failed.clone());
        let ignored = "1 for every setting of the configuration in force that is ignored";
        registry.register("config_ignored_keys", ignored, f.config_ignored_keys.clone());
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

    /// The last good configuration could not be written.
    pub(crate) fn count_state_failure(&self) {
        self.families.last_good_failures.inc();
    }

    fn set_config(&self, status: &Status) {
        let f = &self.families;
        f.config_applied.clear();
        f.config_failed.clear();
        f.config_ignored_keys.clear();
        if let Some(config) = &status.config_applied {
            let labels = AppliedLabels {
                config: config.clone(),
                hash: status.config_hash.clone().unwrap_or_default(),
                stands_in: status.config_stands_in.to_string(),
            };
            f.config_applied.get_or_create(&labels).set(1);
            for key in &status.config_ignored {
                let labels = KeyLabels { config: config.clone(), key: key.clone() };
                f.config_ignored_keys.get_or_create(&labels).set(1);
            }
        }
        if let Some(config) = status.config_requested.as_ref().filter(|_| !status.config_problems.is_empty())
        {
            f.config_failed.get_or_create(&ConfigLabels { config: config.clone() }).set(1);
        }
    }

    fn set_switch(&self, status: &Status) {
        let f = &self.families;
        f.switch_gpus.clear();
        f.switch_blockers.clear();
        f.switch_overdue.clear();
        for gpu in &status.gpus {
            f.switch_gpus.get_or_create(&StateLabels { state: gpu.state.clone() }).inc();
            if gpu.state == "draining" {
                let labels = GpuLabels { gpu: gpu.uuid.to_string() };
                let blockers = i64::try_from(gpu.holders.len()).unwrap_or(i64::MAX);
                f.switch_blockers.get_or_create(&labels).set(blockers);
                f.switch_overdue.get_or_create(&labels).set(i64::from(gpu.overdue));
            }
        }
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
        f.driver_stuck.clear();
        if let Some(call) = &view.status.driver_stuck {
            f.driver_stuck.get_or_create(&CallLabels { call: call.clone() }).set(1);
        }
        f.driver_failing.set(i64::from(view.status.driver_failing.is_some()));
        let ill = view.status.gpus.iter().filter(|gpu| gpu.ill.is_some()).count();
        f.gpus_ill.set(i64::try_from(ill).unwrap_or(i64::MAX));
        self.set_config(&view.status);
        self.set_switch(&view.status);
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
    fn the_config_in_force_the_failed_one_and_every_ignored_key_have_a_gauge_while_they_last() {
        let metrics = Metrics::new();
        let mut view = View::default();
        view.status.config_applied = Some("mps".into());
        view.status.config_hash = Some("00ff".into());
        view.status.config_requested = Some("typo".into());
        view.status.config_problems = vec!["there is none".into()];
        view.status.config_ignored = vec!["flagz".into()];
        metrics.set_view(&view);
        let text = metrics.text();
        for line in [
            "tandem_config_applied{config=\"mps\",hash=\"00ff\",stands_in=\"false\"} 1",
            "tandem_config_failed{config=\"typo\"} 1",
            "tandem_config_ignored_keys{config=\"mps\",key=\"flagz\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        view.status.config_problems.clear();
        metrics.set_view(&view);
        assert!(!metrics.text().contains("typo"));
    }

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

    #[test]
    fn a_driver_that_hangs_has_a_gauge_while_it_does() {
        let metrics = Metrics::new();
        let mut view = View::default();
        view.status.driver_stuck = Some("find_gpus".into());
        metrics.set_view(&view);
        let line = "tandem_driver_stuck{call=\"find_gpus\"} 1";
        assert!(metrics.text().contains(line), "{}", metrics.text());
        view.status.driver_stuck = None;
        metrics.set_view(&view);
        assert!(!metrics.text().contains(line));
    }

    #[test]
    fn a_drain_has_gauges_while_it_lasts() {
        let metrics = Metrics::new();
        let mut view = View::default();
        let gpu = serde_json::json!({
            "uuid": "GPU-a", "index": 0, "name": "Tesla T4", "state": "draining", "holders": ["default/p/main"],
            "overdue": true,
        });
        view.status.gpus = vec![serde_json::from_value(gpu).unwrap()];
        metrics.set_view(&view);
        for line in [
            "tandem_switch_gpus{state=\"draining\"} 1",
            "tandem_switch_blockers{gpu=\"GPU-a\"} 1",
            "tandem_switch_overdue{gpu=\"GPU-a\"} 1",
        ] {
            assert!(metrics.text().contains(line), "{line} is not in\n{}", metrics.text());
        }
        view.status.gpus[0].state = "settled".into();
        metrics.set_view(&view);
        let text = metrics.text();
        assert!(
            !text.contains("GPU-a") && text.contains("tandem_switch_gpus{state=\"settled\"} 1"),
            "{text}"
        );
    }
}
