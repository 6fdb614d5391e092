//! The plugin's answer as the kubelet's own message, whose type this crate can fill but not name.

use fake_cluster::kubelet::ledger::{AwaitingAllocate, CallError, Ledger, Step};
use plugin_core::allocate::Allocation;

/// How the ledger takes an answer to Allocate.
type Take<R> = fn(&mut Ledger, AwaitingAllocate, Result<Option<R>, CallError>) -> Step;

/// Hands the plugin's answer to the ledger.
pub(super) fn allocated(
    ledger: &mut Ledger,
    awaiting: AwaitingAllocate,
    answer: Result<Allocation, CallError>,
) -> Step {
    match answer {
        Err(error) => ledger.allocated(awaiting, Err(error)),
        Ok(allocation) => hand(Ledger::allocated, ledger, awaiting, |response| {
            response.envs = allocation.envs.into_iter().collect();
            response.annotations = allocation.annotations.into_iter().collect();
            for name in allocation.cdi_devices {
                push(&mut response.cdi_devices, |device| device.name = name);
            }
            for from in allocation.mounts {
                push(&mut response.mounts, |mount| {
                    mount.container_path = from.container_path;
                    mount.host_path = from.host_path;
                });
            }
            for from in allocation.device_nodes {
                push(&mut response.devices, |node| {
                    node.container_path = from.container_path;
                    node.host_path = from.host_path;
                    node.permissions = from.permissions;
                });
            }
        }),
    }
}

fn hand<R: Default>(
    take: Take<R>,
    ledger: &mut Ledger,
    awaiting: AwaitingAllocate,
    fill: impl FnOnce(&mut R),
) -> Step {
    let mut message = R::default();
    fill(&mut message);
    take(ledger, awaiting, Ok(Some(message)))
}

fn push<T: Default>(list: &mut Vec<T>, fill: impl FnOnce(&mut T)) {
    let mut item = T::default();
    fill(&mut item);
    list.push(item);
}
