//! Preferences on small views, row by row.

use std::sync::Arc;

use super::*;
use crate::config::AllocationPolicy;
use crate::view::ResourceView;

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
            mps: None,
        };
        ((*id).to_owned(), device)
    };
    let devices = Arc::new(devices.iter().enumerate().map(device).collect());
    let served = ResourceView {
        devices,
        one_shared_device_at_most: false,
        policy: AllocationPolicy::Distributed,
        budget: None,
    };
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
    let view =
        view(&[("GPU-a", 0), ("GPU-b", 0), ("GPU-c", 0), ("GPU-d", 1), ("GPU-e", 1)], Strategy::Exclusive);
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
