//! A kubelet's status loop: writes the Node object and the health of pods' devices at each tick, and nothing in
//! between but shortly after its start. So the Node object lags, as on a real node.

use tokio::time::Instant;

use super::nodestatus;
use super::shared::{Life, Shared, uid};
use crate::api::{ApiError, Key, Part, Resource};
use crate::kubelet::ledger::Capacity;
use crate::scheduler::fit::has_ended;

/// Registers the node, or meets the Node object of an earlier kubelet. `reset` sets its extended resources to 0.
pub(super) fn register(node: &Shared, reset: bool) -> Result<(), ApiError> {
    let settings = &node.settings;
    let key = Key::node(&settings.name);
    node.handle.write(|store, now| {
        let mut object = match store.get(&key) {
            Ok(known) => known.as_ref().clone(),
            Err(_) => {
                store.create(Resource::Nodes, "", nodestatus::new_node(settings), now)?.as_ref().clone()
            }
        };
        for (label, value) in nodestatus::labels(settings) {
            object["metadata"]["labels"][label] = serde_json::json!(value);
        }
        if reset {
            nodestatus::reset_extended(&mut object);
        }
        store.update(&key, object, Part::Whole).map(|_| ())
    })
}

/// Runs until the kubelet ends.
pub(super) async fn run(life: Life) {
    let settings = &life.node.settings;
    let mut changes = life.kubelet.changes();
    let quick_until = Instant::now() + settings.quick_start;
    let mut tick = Instant::now() + settings.status_every;
    loop {
        changes.mark_unchanged();
        write(&life);
        tokio::select! {
            () = life.ended() => return,
            () = tokio::time::sleep_until(tick) => tick = Instant::now() + settings.status_every,
            changed = changes.changed(), if Instant::now() < quick_until => if changed.is_err() { return },
        }
    }
}

/// Writes the node's status once, and the health of the devices of its running pods.
pub(super) fn write(life: &Life) {
    let devices = life.kubelet.resources();
    if let Err(refused) = write_node(&life.node, &devices) {
        tracing::warn!(node = life.node.settings.name, %refused, "node status not written");
    }
    for pod in life.node.pods() {
        if life.node.runtime.runs(uid(&pod)) && !has_ended(&pod) {
            life.node.show_containers(&life.kubelet, &pod);
        }
    }
}

fn write_node(node: &Shared, devices: &Capacity) -> Result<(), ApiError> {
    let key = Key::node(&node.settings.name);
    node.handle.write(|store, now| {
        let mut object = store.get(&key)?.as_ref().clone();
        nodestatus::write(&mut object, &node.settings, devices, now);
        store.update(&key, object, Part::Status).map(|_| ())
    })
}
