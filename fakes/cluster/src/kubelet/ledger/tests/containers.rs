//! Init containers and sidecars, what a container is created with, and what podresources shows.

use super::*;
use ContainerKind::{App, Init, Sidecar};

fn podresources_ids(pods: &[plugin_api::podresources::PodResources], pod: usize) -> Vec<(String, usize)> {
    pods[pod].containers.iter().map(|c| (c.name.clone(), c.devices.len())).collect()
}

#[test]
fn init_containers_pass_their_devices_on_and_apps_keep_theirs() {
    let mut bench = Bench::serving("a b");
    let containers = vec![
        container("init-1", Init, &[(RES, 1)]),
        container("init-2", Init, &[(RES, 2)]),
        container("app-1", App, &[(RES, 1)]),
        container("app-2", App, &[(RES, 1)]),
    ];
    bench.admit(&pod_of("p1", containers)).unwrap();
    let ids = |name| bench.ids("p1", name, RES);
    assert!(ids("init-1").is_subset(&ids("init-2")));
    assert_eq!(ids("init-2"), set("a b"));
    assert_eq!(&ids("app-1") | &ids("app-2"), set("a b"));
    assert!(ids("app-1").is_disjoint(&ids("app-2")));
}

#[test]
fn a_sidecar_draws_from_the_init_containers_and_keeps_what_it_has() {
    let mut bench = Bench::serving("a b c d e f");
    let containers = vec![
        container("init", Init, &[(RES, 3)]),
        container("sidecar-1", Sidecar, &[(RES, 1)]),
        container("sidecar-2", Sidecar, &[(RES, 2)]),
        container("app-1", App, &[(RES, 1)]),
        container("app-2", App, &[(RES, 2)]),
    ];
    bench.admit(&pod_of("p1", containers)).unwrap();
    let ids = |name| bench.ids("p1", name, RES);
    assert_eq!(&ids("sidecar-1") | &ids("sidecar-2"), ids("init"));
    let kept = ["sidecar-1", "sidecar-2", "app-1", "app-2"].map(ids);
    assert_eq!(kept.iter().map(BTreeSet::len).sum::<usize>(), 6);
    assert_eq!(kept.into_iter().flatten().collect::<BTreeSet<_>>().len(), 6, "all disjoint");
}

#[test]
fn another_pods_turn_drops_what_could_be_reused() {
    let mut bench = Bench::serving("a b c");
    bench.admit(&pod_of("p1", vec![container("init", Init, &[(RES, 2)])])).unwrap();
    assert!(matches!(bench.take("p2", 2), Err(AllocationError::TooFew { available: 1, .. })));
}

#[test]
fn a_pods_request_is_the_larger_of_its_init_peak_and_its_steady_state() {
    let request = |containers| pod_of("p", containers).requests().get(RES).copied();
    assert_eq!(request(vec![]), None);
    assert_eq!(request(vec![container("i", Init, &[(RES, 2)])]), Some(2));
    let inits = || vec![container("i", Init, &[(RES, 1)]), container("j", Init, &[(RES, 3)])];
    assert_eq!(request(inits()), Some(3));
    let with = |more: Vec<ContainerRequest>| request([inits(), more].concat());
    assert_eq!(with(vec![container("a", App, &[(RES, 1)]), container("b", App, &[(RES, 1)])]), Some(3));
    assert_eq!(with(vec![container("a", App, &[(RES, 2)]), container("b", App, &[(RES, 2)])]), Some(4));
    let sidecar_first = vec![container("s", Sidecar, &[(RES, 1)]), container("i", Init, &[(RES, 2)])];
    assert_eq!(request(sidecar_first), Some(3), "the init container runs beside the sidecar");
}

#[test]
fn a_required_preparation_gets_the_allocated_ids_at_every_start() {
    let mut bench = Bench::new();
    let client = bench.serve_with(RES, "a b", PREPARING);
    let held = bench.take("p1", 1).unwrap();
    for _ in 0..2 {
        let calls = bench.ledger.pre_start_calls("p1", "app");
        let expected = PreStartCall { client, resource: RES.to_owned(), ids: held.iter().cloned().collect() };
        assert_eq!(calls, vec![Ok(expected)]);
    }
    bench.admit(&pod("p2", &[(RES, 0)])).unwrap();
    assert_eq!(bench.ledger.pre_start_calls("p2", "app"), vec![], "not for a limit of zero");
    assert!(bench.ledger.begin_missing_allocation("p2", "app").is_none());
}

#[test]
fn an_active_pod_without_a_record_is_allocated_again_at_its_start() {
    let mut bench = Bench::new();
    let wanted = pod("p1", &[(RES, 1)]);
    bench.admit(&wanted).unwrap();
    bench.serve(RES, "a");
    let step = bench.ledger.begin_missing_allocation("p1", "app").unwrap();
    bench.drive(step).unwrap();
    assert_eq!(bench.ids("p1", "app", RES), set("a"));
    assert!(bench.ledger.begin_missing_allocation("p1", "app").is_none());
    let unknown = bench.ledger.pre_start_calls("p9", "app");
    assert!(matches!(unknown[..], [Err(StartError::UnknownContainer { .. })]));
}

#[test]
fn answers_of_several_plugins_are_merged_and_the_first_value_wins() {
    let order = Order::Ascending;
    let mut bench = Bench::with(LedgerSettings { order, ..LedgerSettings::default() });
    bench.serve(RES, "a");
    bench.serve(OTHER, "x");
    bench.answer = Box::new(|_, call| {
        let own = call.resource.replace('/', ".");
        Ok(Some(ContainerAllocateResponse {
            envs: [("SAME".to_owned(), own.clone()), (own.clone(), "1".to_owned())].into(),
            mounts: vec![mount("/same", &own), mount(&format!("/{own}"), &own)],
            devices: vec![node("same"), node(&own)],
            annotations: [("same".to_owned(), own.clone()), (own.clone(), "1".to_owned())].into(),
            cdi_devices: vec![cdi("v/c=same"), cdi(&format!("v/c={own}")), cdi("v/c=same")],
        }))
    });
    bench.admit(&pod("p1", &[(RES, 1), (OTHER, 1)])).unwrap();
    let options = bench.ledger.run_options("p1", "app").unwrap();
    assert_eq!(options.envs["SAME"], "vendor.test.dev");
    assert_eq!((options.envs.len(), options.annotations.len()), (3, 3));
    let mounts: Vec<_> = options.mounts.iter().map(|m| m.container_path.as_str()).collect();
    assert_eq!(mounts, ["/same", "/vendor.test.dev", "/vendor.test.nic"]);
    assert_eq!(options.mounts[0].host_path, "vendor.test.dev");
    assert_eq!(options.devices.len(), 3);
    assert_eq!(options.cdi_devices, ["v/c=same", "v/c=vendor.test.dev", "v/c=vendor.test.nic"]);
}

#[test]
fn an_empty_answer_gives_empty_options_rather_than_none() {
    let mut bench = Bench::serving("a");
    bench.answer = Box::new(|_, _| Ok(Some(ContainerAllocateResponse::default())));
    bench.take("p1", 1).unwrap();
    assert_eq!(bench.ledger.run_options("p1", "app"), Some(RunOptions::default()));
}

#[test]
fn podresources_lists_active_pods_with_sidecars_and_apps_but_no_init_containers() {
    let mut bench = Bench::serving("a b c d");
    assert_eq!(bench.ledger.list_pod_resources(), vec![]);
    let containers = vec![
        container("init", Init, &[(RES, 1)]),
        container("sidecar", Sidecar, &[(RES, 1)]),
        container("app", App, &[(RES, 2)]),
    ];
    bench.admit(&pod_of("p1", containers)).unwrap();
    bench.admit(&pod("p2", &[])).unwrap();
    bench.take("p3", 1).unwrap();
    bench.ledger.pod_terminated("p3");
    let listed = bench.ledger.list_pod_resources();
    let names: Vec<_> = listed.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["p1", "p2"]);
    assert_eq!(podresources_ids(&listed, 0), [("sidecar".to_owned(), 1), ("app".to_owned(), 2)]);
    assert_eq!(podresources_ids(&listed, 1), [("app".to_owned(), 0)]);
    assert_eq!(bench.ledger.get_pod_resources("default", "p1").unwrap(), listed[0]);
    let missing = bench.ledger.get_pod_resources("default", "p3").unwrap_err();
    assert_eq!(missing.to_string(), "pod p3 in namespace default not found");
}

#[test]
fn podresources_has_one_entry_per_device_and_numa_node() {
    let mut bench = Bench::serving("a@0,1 b !c@1 d@");
    let nodes = |entries: &[plugin_api::podresources::ContainerDevices]| -> Vec<(String, Option<i64>)> {
        let node = |t: &plugin_api::podresources::TopologyInfo| t.nodes[0].id;
        entries.iter().map(|e| (e.device_ids.join(" "), e.topology.as_ref().map(node))).collect()
    };
    let allocatable = bench.ledger.allocatable_devices();
    let a_and_b = [("a", Some(0)), ("a", Some(1)), ("b", None)].map(|(id, node)| (id.to_owned(), node));
    assert_eq!(nodes(&allocatable), a_and_b, "healthy ones only, an empty topology left out");
    bench.list(RES, "a@0,1 b");
    bench.take("p1", 2).unwrap();
    let listed = bench.ledger.list_pod_resources();
    assert_eq!(nodes(&listed[0].containers[0].devices), a_and_b);
    assert_eq!(nodes(&bench.ledger.allocatable_devices()), a_and_b, "in use or not");
}

#[test]
fn the_health_of_a_device_follows_the_list() {
    let bench = Bench::serving("a !b");
    assert_eq!(bench.ledger.health_of(RES, "a"), "Healthy");
    assert_eq!(bench.ledger.health_of(RES, "b"), "Unhealthy");
}
