//! What the kubelet tells about its node: the Node's capacity at each tick, and PodResources to those who ask.

use std::collections::{BTreeMap, BTreeSet};

use fake_cluster::kubelet::ledger::Entry;
use plugin_core::config::ResourceName;
use plugin_core::event::{Checkpoint, CheckpointEntry, Event, Holding};

use super::super::engine::Context;
use super::super::happening::What;
use super::super::latency::{self, Latency, SECOND};
use super::{Kubelet, ListTrouble, Running};

/// PodResources calls per second over all clients (kubelet 1.36).
const CALLS_PER_SECOND: u64 = 100;
/// PodResources calls that may come at once (kubelet 1.36).
const CALLS_BURST: u64 = 10;
/// What the system says where nobody listens.
const REFUSES: &str = "the kubelet's socket does not accept: Connection refused (os error 111)";
/// How much two ticks' distances differ (kubelet 1.36), in percent.
const TICK_JITTER_PERCENT: u64 = 4;

/// The rate limit of PodResources.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Nanoseconds' worth of calls.
    filled: u64,
    at: u64,
}

impl Bucket {
    const CALL: u64 = SECOND / CALLS_PER_SECOND;

    pub(super) fn new(now: u64) -> Bucket {
        Bucket { filled: CALLS_BURST * Self::CALL, at: now }
    }

    fn take(&mut self, now: u64) -> bool {
        self.filled = (self.filled + now.saturating_sub(self.at)).min(CALLS_BURST * Self::CALL);
        self.at = now;
        let allowed = self.filled >= Self::CALL;
        if allowed {
            self.filled -= Self::CALL;
        }
        allowed
    }
}

impl Kubelet {
    /// The node's status is due.
    pub(in super::super) fn ticks(&mut self, cx: &mut Context<'_>, life: u32, quick: u32) {
        let now = cx.now();
        let Some(running) = self.living(life) else { return };
        let capacity = running.ledger.capacity(running.age(now));
        let mut figures: BTreeMap<String, (u64, u64)> =
            capacity.removed.into_iter().map(|name| (name, (0, 0))).collect();
        for (name, count) in capacity.resources {
            figures.insert(name, (count.capacity, count.allocatable));
        }
        cx.api.write_node_status(cx.engine, cx.node, &figures);
        let period = u64::try_from(self.timers.node_status_update.as_nanos()).unwrap_or(u64::MAX);
        let regular =
            Latency { least: period, most: period.saturating_add(period / 100 * TICK_JITTER_PERCENT) };
        let quickest = latency::QUICK_TICK.least < period && quick > 0;
        let pause = if quickest { latency::QUICK_TICK } else { regular };
        cx.after(pause, What::Ticks(life, quick.saturating_sub(1)));
    }

    /// PodResources List arrives from a plugin process.
    pub(in super::super) fn holders_asked(&mut self, cx: &mut Context<'_>, plugin: u32) {
        let now = cx.now();
        let lists_nothing = now < self.lists_nothing_until;
        let trouble = std::mem::take(&mut self.list_trouble);
        let asked = match trouble {
            ListTrouble::Silent => Err(REFUSES.to_owned()),
            _ => self.asked(now, "List"),
        };
        let event = match asked {
            Err(why) => Event::HoldersUnreadable { why, checkpoint: self.checkpoint_file() },
            Ok(running) => match trouble.list(running) {
                Err(why) => Event::HoldersUnreadable { why, checkpoint: running.checkpoint() },
                Ok(_) if lists_nothing => {
                    Event::HoldersRead { holdings: Vec::new(), checkpoint: running.checkpoint() }
                }
                Ok(holdings) => Event::HoldersRead { holdings, checkpoint: running.checkpoint() },
            },
        };
        let told = What::PluginTold(plugin, Box::new(event));
        match trouble.delay() {
            0 => cx.after(latency::SOCKET, told),
            delay => cx.at(now + delay, told),
        }
        self.list_trouble = trouble;
    }

    /// PodResources GetAllocatableResources arrives from a plugin process.
    pub(in super::super) fn allocatable_asked(
        &mut self,
        cx: &mut Context<'_>,
        plugin: u32,
        resources: &[ResourceName],
    ) {
        let event = match self.asked(cx.now(), "GetAllocatableResources") {
            Err(why) => Event::AllocatableUnreadable { why, unsupported: false },
            Ok(running) => Event::AllocatableRead { devices: running.allocatable(resources) },
        };
        cx.after(latency::SOCKET, What::PluginTold(plugin, Box::new(event)));
    }

    /// The checkpoint file as the plugin reads it, whoever runs.
    pub(in super::super) fn checkpoint_file(&self) -> Checkpoint {
        if let Some(running) = &self.running {
            return running.checkpoint();
        }
        let entry = |entry: &Entry| {
            let devices = entry.devices.iter().flat_map(BTreeMap::values).flatten().flatten();
            let ids: BTreeSet<String> = devices.cloned().collect();
            CheckpointEntry {
                pod_uid: entry.pod_uid.clone(),
                container: entry.container.clone(),
                resource: entry.resource.clone(),
                ids: ids.into_iter().collect(),
            }
        };
        Checkpoint::Read { entries: self.checkpoint.entries.iter().flatten().map(entry).collect() }
    }

    /// The process that answers a call of PodResources, or why none does.
    fn asked(&mut self, now: u64, call: &str) -> Result<&mut Running, String> {
        let available = !matches!(self.list_trouble, ListTrouble::Silent);
        let Some(running) = self.running.as_mut().filter(|_| available) else {
            return Err(REFUSES.to_owned());
        };
        if running.bucket.take(now) {
            Ok(running)
        } else {
            Err(format!("the kubelet refused `{call}`: ResourceExhausted: rejected by rate limit"))
        }
    }
}

impl Running {
    /// PodResources GetAllocatableResources as the plugin reads it: the healthy ids of these resources.
    fn allocatable(&self, resources: &[ResourceName]) -> BTreeMap<String, Vec<String>> {
        let mut ids: BTreeMap<String, Vec<String>> =
            resources.iter().map(|name| (name.to_string(), Vec::new())).collect();
        for entry in self.ledger.allocatable_devices() {
            if let Some(ids) = ids.get_mut(&entry.resource_name) {
                ids.extend(entry.device_ids);
            }
        }
        for ids in ids.values_mut() {
            ids.sort();
            ids.dedup();
        }
        ids
    }

    /// The checkpoint file as the plugin reads it.
    fn checkpoint(&self) -> Checkpoint {
        let entry = |(uid, container, resource, ids): (&str, &str, &str, BTreeSet<String>)| CheckpointEntry {
            pod_uid: uid.to_owned(),
            container: container.to_owned(),
            resource: resource.to_owned(),
            ids: ids.into_iter().collect(),
        };
        Checkpoint::Read { entries: self.ledger.file_entries().map(entry).collect() }
    }

    /// PodResources List, flattened as the plugin does: one entry per container and resource.
    pub(super) fn holdings(&mut self) -> Vec<Holding> {
        let mut holdings = Vec::new();
        for pod in self.ledger.list_pod_resources() {
            for container in pod.containers {
                let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for devices in container.devices {
                    ids.entry(devices.resource_name).or_default().extend(devices.device_ids);
                }
                for (resource, mut ids) in ids {
                    ids.sort();
                    ids.dedup();
                    holdings.push(Holding {
                        namespace: pod.namespace.clone(),
                        pod: pod.name.clone(),
                        container: container.name.clone(),
                        resource,
                        ids,
                    });
                }
            }
        }
        holdings.sort();
        holdings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_resources_allows_ten_calls_at_once_and_a_hundred_in_a_second() {
        let mut bucket = Bucket::new(0);
        assert_eq!((0..20).filter(|_| bucket.take(0)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(50_000_000)).count(), 5);
    }
}
