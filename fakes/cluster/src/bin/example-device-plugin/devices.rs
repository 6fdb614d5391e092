//! The made-up devices, as lists.

use plugin_api::deviceplugin::{Device, NumaNode, TopologyInfo};
use plugin_api::{HEALTHY, UNHEALTHY};

use super::arguments::Settings;
use super::behaviour::Way;

/// As long as the API says that a device ID may be.
const ID_CHARACTERS: usize = 63;
/// A NUMA node beyond what any machine has.
const NO_SUCH_NODE: i64 = 4095;

/// The first list.
pub(crate) fn all(settings: &Settings) -> Vec<Device> {
    let behaviour = &settings.behaviour;
    let mut devices = Vec::new();
    for number in 0..settings.devices {
        let id = match behaviour.has(Way::LongIds) {
            true => format!("device-{number:0width$}", width = ID_CHARACTERS - "device-".len()),
            false => format!("device-{number}"),
        };
        let nodes = match behaviour.has(Way::UnknownNumaNode) {
            true => vec![NumaNode { id: NO_SUCH_NODE }],
            false => Vec::new(),
        };
        let has_topology = behaviour.has(Way::EmptyTopology) || !nodes.is_empty();
        let device = Device {
            id,
            health: HEALTHY.to_owned(),
            topology: has_topology.then_some(TopologyInfo { nodes }),
        };
        if behaviour.has(Way::DuplicateIds) {
            devices.push(device.clone());
            devices.push(Device { health: UNHEALTHY.to_owned(), ..device });
        } else {
            devices.push(device);
        }
    }
    devices
}

/// Takes the last device out of service in two steps: it turns unhealthy, then it leaves.
pub(crate) fn retire_last(devices: &mut Vec<Device>) {
    match devices.last_mut() {
        Some(last) if last.health == HEALTHY => last.health = UNHEALTHY.to_owned(),
        _ => drop(devices.pop()),
    }
}
