//! A steady stream of pods, because what one allocation costs depends on who else is on the node.
//!
//! Pods arrive one by one, each on the device that has been free for longest; each arrival lets the oldest pod go. So the
//! number of holders stays, and every round makes the plugin learn of one new holder and forget one old.

use plugin_core::action::Action;
use plugin_core::config::ResourceName;
use plugin_core::event::{Checkpoint, Event, Holding};
use plugin_core::plugin::Plugin;
use plugin_core::time::Time;

use crate::node::Node;

/// What happens in one round, made before the clock runs.
#[derive(Debug)]
pub struct Round {
    /// The kubelet's request.
    pub ids: Vec<String>,
    /// What the shell tells after it has answered.
    pub allocated: Event,
    /// What PodResources lists afterwards.
    pub holders: Event,
}

/// Makes rounds.
#[derive(Clone, Debug)]
pub struct Churn {
    resource: ResourceName,
    ids: Vec<String>,
    held: usize,
    next: usize,
}

impl Churn {
    /// Of pods with one device each, `held` at a time, on the devices that the node serves as `nvidia.com/gpu`.
    /// Neighbouring pods get neighbouring GPUs.
    ///
    /// # Panics
    /// When `held` leaves fewer than two devices free: a released device could not be told from a held one.
    pub fn new(node: &Node, held: usize) -> Self {
        let resource = ResourceName::gpu();
        let view = node.plugin.view();
        let mut devices: Vec<_> =
            view.devices(&resource).map(|d| d.values().cloned().collect()).unwrap_or_default();
        devices.sort_by_key(|d| (replica(&d.id), d.gpu_index));
        assert!(held + 2 <= devices.len(), "{held} of {} devices", devices.len());
        Churn { resource, ids: devices.into_iter().map(|d| d.id).collect(), held, next: 0 }
    }

    /// The extended resource.
    pub fn resource(&self) -> &ResourceName {
        &self.resource
    }

    /// The next round.
    pub fn round(&mut self) -> Round {
        let newest = self.next;
        self.next += 1;
        let ids = vec![self.id(newest).to_owned()];
        let oldest = (newest + 1).saturating_sub(self.held);
        Round {
            allocated: Event::Allocated {
                resource: self.resource.clone(),
                ids: ids.clone(),
                view_generation: 1,
                refused: None,
            },
            holders: Event::HoldersRead {
                holdings: (oldest..=newest).map(|pod| self.holding(pod)).collect(),
                checkpoint: Checkpoint::Unread,
            },
            ids,
        }
    }

    fn id(&self, pod: usize) -> &str {
        &self.ids[pod % self.ids.len()]
    }

    fn holding(&self, pod: usize) -> Holding {
        Holding {
            namespace: "default".to_owned(),
            pod: format!("inference-7f9c5d6b8-{pod:06}"),
            container: "main".to_owned(),
            resource: self.resource.to_string(),
            ids: vec![self.id(pod).to_owned()],
        }
    }
}

fn replica(id: &str) -> u32 {
    plugin_core::resources::replica_of(id).unwrap_or(0)
}

/// Plays a round's two facts: an Allocate was answered, and PodResources was read a moment later.
pub fn allocated_and_read(plugin: &mut Plugin, now: &mut Time, round: Round) {
    handle(plugin, now, 1, round.allocated);
    handle(plugin, now, 250, round.holders);
}

/// Timeouts until the plugin asks who holds what.
const TIMEOUTS_MAX: usize = 4;

/// Plays a round as the daemon does: answer from the view, tell of it, let the plugin ask for a read, answer that.
/// The result says whether the plugin did ask.
pub fn lifecycle(plugin: &mut Plugin, now: &mut Time, resource: &ResourceName, round: Round) -> bool {
    let granted = plugin.view().allocate(resource, &round.ids).is_ok();
    handle(plugin, now, 1, round.allocated);
    // the kubelet's own list is looked at as well, in between
    let asked = (0..TIMEOUTS_MAX).any(|_| {
        plugin.poll_timeout().is_some_and(|at| {
            *now = at.max(*now);
            handle(plugin, now, 0, Event::Timeout)
        })
    });
    handle(plugin, now, 5, round.holders);
    granted && asked
}

/// Handles an event so many milliseconds later; says whether the plugin asks who holds what.
fn handle(plugin: &mut Plugin, now: &mut Time, later_ms: u64, event: Event) -> bool {
    *now = Time::from_nanos(now.as_nanos() + later_ms * 1_000_000);
    plugin.handle(*now, event);
    let mut asks = false;
    while let Some(action) = plugin.poll_action() {
        asks |= action == Action::ReadHolders;
    }
    asks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{EXCLUSIVE, Node, time_slicing};

    #[test]
    fn every_round_is_granted_and_read_and_the_number_of_holders_stays() {
        for (config, held) in [(EXCLUSIVE.to_owned(), 4), (time_slicing(100), 80)] {
            let mut node = Node::started(8, &config);
            let mut churn = Churn::new(&node, held);
            let resource = churn.resource().clone();
            for number in 0..3 * held {
                let round = churn.round();
                assert!(lifecycle(&mut node.plugin, &mut node.now, &resource, round), "{number}");
            }
            let view = node.plugin.view();
            let holders: usize = view.status.gpus.iter().map(|g| g.holders.len()).sum();
            // the newest one that left is missing from one read only
            assert_eq!(holders, held + 1);
        }
    }
}
