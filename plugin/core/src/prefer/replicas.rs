//! Replicas are spread over GPUs (`distributed`) or stacked on them (`packed`), one at a time.

use std::collections::BTreeMap;

use crate::config::AllocationPolicy;
use crate::inventory::GpuUuid;
use crate::view::{Device, ResourceView};

/// At most `count` of the free devices.
pub(super) fn take(served: &ResourceView, free: &[&Device], count: usize) -> Vec<String> {
    let mut choice = Choice::new(served, free);
    (0..count).map_while(|_| choice.take_one()).collect()
}

/// Greedy choice: the first in the order (taken share of what is shared, picked in this call, taken share of the physical GPU,
/// index, UUID). The physical GPU decides only between MIG devices.
struct Choice<'a> {
    free: BTreeMap<&'a GpuUuid, Vec<&'a Device>>,
    allocated: BTreeMap<&'a GpuUuid, usize>,
    allocated_of_parent: BTreeMap<&'a GpuUuid, usize>,
    picked: BTreeMap<&'a GpuUuid, usize>,
    policy: AllocationPolicy,
}

impl<'a> Choice<'a> {
    fn new(served: &'a ResourceView, free: &[&'a Device]) -> Self {
        let mut by_gpu: BTreeMap<&GpuUuid, Vec<&Device>> = BTreeMap::new();
        let (mut allocated, mut of_parent): (BTreeMap<_, usize>, BTreeMap<_, usize>) = Default::default();
        for device in served.devices.values() {
            *allocated.entry(&device.gpu).or_default() += 1;
            *of_parent.entry(&device.parent).or_default() += 1;
        }
        for device in free {
            by_gpu.entry(&device.gpu).or_default().push(device);
            allocated.entry(&device.gpu).and_modify(|count| *count = count.saturating_sub(1));
            of_parent.entry(&device.parent).and_modify(|count| *count = count.saturating_sub(1));
        }
        // taken from the end
        by_gpu.values_mut().for_each(|devices| devices.reverse());
        Choice {
            free: by_gpu,
            allocated,
            allocated_of_parent: of_parent,
            picked: BTreeMap::new(),
            policy: served.policy,
        }
    }

    fn take_one(&mut self) -> Option<String> {
        let gpu = *self
            .free
            .iter()
            .filter_map(|(gpu, devices)| devices.last().map(|device| (gpu, *device)))
            .min_by_key(|(gpu, device)| {
                let picked = self.picked.get(*gpu).copied().unwrap_or(0);
                // a replica that this call took counts as taken under both policies
                let taken = self.allocated.get(*gpu).copied().unwrap_or(0);
                let parent = self.allocated_of_parent.get(&device.parent).copied().unwrap_or(0);
                let by_policy = |taken: usize| match self.policy {
                    AllocationPolicy::Distributed => taken,
                    AllocationPolicy::Packed => usize::MAX - taken,
                };
                (by_policy(taken), picked, by_policy(parent), device.gpu_index)
            })?
            .0;
        let devices = self.free.get_mut(gpu)?;
        let device = devices.pop()?;
        if devices.is_empty() {
            self.free.remove(gpu);
        }
        *self.picked.entry(gpu).or_default() += 1;
        *self.allocated.entry(gpu).or_default() += 1;
        *self.allocated_of_parent.entry(&device.parent).or_default() += 1;
        Some(device.id.clone())
    }
}
