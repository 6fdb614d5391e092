//! A kubelet's restart: what the checkpoint carries over, and what it forgets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plugin_api::deviceplugin::ContainerAllocateResponse;
use prost::Message as _;

use super::records::Record;
use super::{Checkpoint, Entry, Ledger, LedgerSettings};

impl Ledger {
    /// A ledger that starts from a checkpoint: allocations are known, resources are known with no device at all until
    /// their plugin registers again (or the grace period ends). Entries whose answer cannot be decoded are dropped.
    pub fn restore(settings: LedgerSettings, checkpoint: &Checkpoint, now: Duration) -> Ledger {
        let mut ledger = Ledger::new(settings);
        for entry in checkpoint.entries.iter().flatten() {
            let Ok(response) =
                ContainerAllocateResponse::decode(entry.response.as_deref().unwrap_or_default())
            else {
                continue;
            };
            let devices = entry
                .devices
                .iter()
                .flatten()
                .map(|(node, ids)| (*node, ids.clone().unwrap_or_default()))
                .collect();
            let record = Record { devices, response, listed: None };
            ledger.records.insert(&entry.pod_uid, &entry.container, &entry.resource, record);
        }
        ledger.devices.in_use = ledger.records.in_use();
        for resource in checkpoint.registered.iter().flatten().map(|(resource, _)| resource) {
            ledger.devices.healthy.insert(resource.clone(), BTreeSet::new());
            ledger.devices.unhealthy.insert(resource.clone(), BTreeSet::new());
            ledger.endpoints.insert_stopped(resource, now);
        }
        ledger
    }

    /// What a checkpoint written now holds. A released pod's entries are not in it, but the file is not written at a
    /// release: see [`Ledger::checkpoint_file`].
    pub fn checkpoint(&self) -> Checkpoint {
        self.checkpoint_of(self.records.iter())
    }

    /// What the file holds, if it was written whenever it had to be: pods that were released since then are still in it.
    pub fn checkpoint_file(&self) -> Checkpoint {
        self.checkpoint_of(self.records.iter().chain(self.unwritten.iter()))
    }

    /// Which container has which devices of which resource, as the file says: pod UID, container, resource, IDs.
    pub fn file_entries(&self) -> impl Iterator<Item = (&str, &str, &str, BTreeSet<String>)> {
        let records = self.records.iter().chain(self.unwritten.iter());
        records.map(|(uid, container, resource, record)| (uid, container, resource, record.ids()))
    }

    fn checkpoint_of<'a>(
        &self,
        records: impl Iterator<Item = (&'a str, &'a str, &'a str, &'a Record)>,
    ) -> Checkpoint {
        let entries: Vec<Entry> = records
            .map(|(pod_uid, container, resource, record)| Entry {
                pod_uid: pod_uid.to_owned(),
                container: container.to_owned(),
                resource: resource.to_owned(),
                devices: Some(record.devices.iter().map(|(node, ids)| (*node, Some(ids.clone()))).collect()),
                response: Some(record.response.encode_to_vec()),
            })
            .collect();
        let registered: BTreeMap<_, _> = self
            .devices
            .healthy
            .iter()
            .map(|(resource, ids)| (resource.clone(), Some(ids.iter().cloned().collect())))
            .collect();
        Checkpoint {
            entries: if entries.is_empty() { None } else { Some(entries) },
            registered: Some(registered),
        }
    }
}
