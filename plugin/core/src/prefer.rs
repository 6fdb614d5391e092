//! GetPreferredAllocation as a pure function of the view: which of the free devices to hand out.
//!
//! Replicas are spread over GPUs (`distributed`) or stacked (`packed`), as their resource says; exclusive GPUs are taken from one NUMA node
//! where they fit. Every answer is valid: it never fails because one GPU is lost.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::config::{AllocationPolicy, ResourceName};
use crate::inventory::GpuUuid;
use crate::view::{Device, ResourceView, Strategy, View};

/// Why there is no preference.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreferError {
    /// The resource is not served (any more).
    #[error("resource `{resource}` is not served by this plugin now")]
    NotServed {
        /// The extended resource.
        resource: String,
    },
    /// Fewer devices than asked for.
    #[error(
        "not enough available devices to satisfy allocation: `{resource}` has {available}, asked for {size}"
    )]
    TooFew {
        /// The extended resource.
        resource: String,
        /// How many distinct ids were offered.
        available: usize,
        /// How many were asked for.
        size: usize,
    },
}

/// See [`View::prefer`].
pub(crate) fn prefer(
    view: &View,
    resource: &ResourceName,
    available: &[String],
    must_include: &[String],
    size: usize,
) -> Result<Vec<String>, PreferError> {
    let served = view
        .resources
        .get(resource)
        .ok_or_else(|| PreferError::NotServed { resource: resource.to_string() })?;
    let must: BTreeSet<&String> = must_include.iter().collect();
    if must.len() >= size {
        return Ok(must.into_iter().cloned().collect());
    }
    let free: BTreeSet<&String> = available.iter().filter(|id| !must.contains(id)).collect();
    let missing = size - must.len();
    if free.len() < missing {
        return Err(PreferError::TooFew {
            resource: resource.to_string(),
            available: free.len() + must.len(),
            size,
        });
    }
    let known = |id: &&String| served.devices.get(*id);
    let mut choice = Choice::new(served, free.iter().filter_map(known), must.iter().filter_map(known));
    let mut chosen: Vec<String> = must.iter().map(|id| (*id).clone()).collect();
    chosen.extend(choice.take(missing));
    // ids that the plugin does not know (the kubelet's list is older) fill up what is still missing
    let picked: BTreeSet<String> = chosen.iter().cloned().collect();
    let rest = free.into_iter().filter(|id| !picked.contains(*id)).cloned();
    let short = size - chosen.len();
    chosen.extend(rest.take(short));
    Ok(chosen)
}

/// Greedy choice, one device at a time: the first in the order (NUMA node already used, allocated share, picked in this
/// call, GPU index, id).
struct Choice<'a> {
    free: BTreeMap<&'a GpuUuid, Vec<&'a Device>>,
    allocated: BTreeMap<&'a GpuUuid, usize>,
    picked: BTreeMap<&'a GpuUuid, usize>,
    numa_used: BTreeSet<u32>,
    policy: AllocationPolicy,
}

impl<'a> Choice<'a> {
    fn new(
        served: &'a ResourceView,
        free: impl Iterator<Item = &'a Device>,
        must: impl Iterator<Item = &'a Device>,
    ) -> Self {
        let mut by_gpu: BTreeMap<&GpuUuid, Vec<&Device>> = BTreeMap::new();
        for device in free {
            by_gpu.entry(&device.gpu).or_default().push(device);
        }
        let mut allocated: BTreeMap<&GpuUuid, usize> = BTreeMap::new();
        for device in served.devices.values() {
            *allocated.entry(&device.gpu).or_default() += 1;
        }
        for (gpu, count) in &mut allocated {
            *count = count.saturating_sub(by_gpu.get(*gpu).map_or(0, Vec::len));
        }
        let numa_used = must.filter_map(|d| d.numa_node).collect();
        Choice { free: by_gpu, allocated, picked: BTreeMap::new(), numa_used, policy: served.policy }
    }

    fn take(&mut self, count: usize) -> Vec<String> {
        let numa_goal = self.numa_goal(count);
        (0..count).map_while(|_| self.take_one(numa_goal)).collect()
    }

    /// The NUMA node on which all of an exclusive request fits most tightly, if there is one.
    fn numa_goal(&self, count: usize) -> Option<u32> {
        let mut room: BTreeMap<u32, usize> = BTreeMap::new();
        for device in self.free.values().flatten().filter(|d| d.strategy == Strategy::Exclusive) {
            if let Some(node) = device.numa_node {
                *room.entry(node).or_default() += 1;
            }
        }
        let already = self.numa_used.iter().copied().find(|n| room.get(n).is_some_and(|r| *r >= count));
        already.or_else(|| {
            room.into_iter().filter(|(_, r)| *r >= count).min_by_key(|(node, r)| (*r, *node)).map(|(n, _)| n)
        })
    }

    fn take_one(&mut self, numa_goal: Option<u32>) -> Option<String> {
        let gpu = *self
            .free
            .iter()
            .filter_map(|(gpu, ds)| ds.first().map(|d| (gpu, *d)))
            .min_by_key(|(gpu, d)| {
                let away = numa_goal.is_some() && d.numa_node != numa_goal;
                let allocated = self.allocated.get(*gpu).copied().unwrap_or(0);
                let picked = self.picked.get(*gpu).copied().unwrap_or(0);
                // a replica that this call took counts as taken under both policies
                let taken = allocated + picked;
                let share = match self.policy {
                    AllocationPolicy::Distributed => taken,
                    AllocationPolicy::Packed => usize::MAX - taken,
                };
                (away, share, picked, d.gpu_index)
            })?
            .0;
        let devices = self.free.get_mut(gpu)?;
        let device = devices.remove(0);
        if devices.is_empty() {
            self.free.remove(gpu);
        }
        *self.picked.entry(gpu).or_default() += 1;
        Some(device.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Devices by id with their NUMA node.
    fn view(devices: &[(&str, u32)], strategy: Strategy) -> View {
        let device = |(index, (id, numa)): (usize, &(&str, u32))| {
            let gpu = crate::resources::gpu_of(id);
            let device = Device {
                id: (*id).into(),
                healthy: true,
                granted: true,
                parent: gpu.clone(),
                gpu,
                numa_node: Some(*numa),
                strategy,
                gpu_index: u32::try_from(index).unwrap(),
                gpu_minor: 0,
                mig: None,
            };
            ((*id).to_owned(), device)
        };
        let devices = Arc::new(devices.iter().enumerate().map(device).collect());
        let served =
            ResourceView { devices, one_shared_device_at_most: false, policy: AllocationPolicy::Distributed };
        View { resources: [(ResourceName::gpu(), served)].into(), ..View::default() }
    }

    fn ask(view: &View, available: &[&str], must: &[&str], size: usize) -> Vec<String> {
        let own = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        view.prefer(&ResourceName::gpu(), &own(available), &own(must), size).unwrap()
    }

    #[test]
    fn replicas_are_spread_over_gpus_the_least_used_first() {
        let ids = ["GPU-a::0", "GPU-a::1", "GPU-b::0", "GPU-b::1"];
        let devices: Vec<(&str, u32)> = ids.iter().map(|id| (*id, 0)).collect();
        let view = view(&devices, Strategy::Mps);
        // one replica of a is taken
        assert_eq!(ask(&view, &ids[1..], &[], 1), ["GPU-b::0"]);
        assert_eq!(ask(&view, &ids, &[], 2), ["GPU-a::0", "GPU-b::0"]);
    }

    #[test]
    fn replicas_are_stacked_the_most_used_first_where_the_resource_says_packed() {
        let ids = ["GPU-a::0", "GPU-a::1", "GPU-a::2", "GPU-b::0", "GPU-b::1", "GPU-b::2"];
        let devices: Vec<(&str, u32)> = ids.iter().map(|id| (*id, 0)).collect();
        let mut view = view(&devices, Strategy::TimeSlicing);
        view.resources.values_mut().for_each(|r| r.policy = AllocationPolicy::Packed);
        assert_eq!(ask(&view, &ids, &[], 2), ["GPU-a::0", "GPU-a::1"]);
        // one replica of b is taken
        let free = ["GPU-a::0", "GPU-a::1", "GPU-a::2", "GPU-b::1", "GPU-b::2"];
        assert_eq!(ask(&view, &free, &[], 1), ["GPU-b::1"]);
        assert_eq!(ask(&view, &free, &[], 3), ["GPU-b::1", "GPU-b::2", "GPU-a::0"]);
        assert_eq!(ask(&view, &free, &["GPU-a::2"], 2), ["GPU-a::2", "GPU-a::0"]);
    }

    #[test]
    fn exclusive_gpus_come_from_the_tightest_numa_node_that_fits() {
        let view = view(
            &[("GPU-a", 0), ("GPU-b", 0), ("GPU-c", 0), ("GPU-d", 1), ("GPU-e", 1)],
            Strategy::Exclusive,
        );
        let all = ["GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e"];
        assert_eq!(ask(&view, &all, &[], 2), ["GPU-d", "GPU-e"]);
        assert_eq!(ask(&view, &all, &[], 3), ["GPU-a", "GPU-b", "GPU-c"]);
        assert_eq!(ask(&view, &all, &["GPU-a"], 2), ["GPU-a", "GPU-b"]);
    }

    #[test]
    fn unknown_ids_fill_up_what_known_ones_cannot() {
        let view = view(&[("GPU-a", 0)], Strategy::Exclusive);
        assert_eq!(ask(&view, &["GPU-x", "GPU-a"], &[], 2), ["GPU-a", "GPU-x"]);
        let error = view.prefer(&ResourceName::gpu(), &["GPU-a".into()], &[], 2).unwrap_err();
        assert!(matches!(error, PreferError::TooFew { available: 1, size: 2, .. }), "{error}");
    }
}
