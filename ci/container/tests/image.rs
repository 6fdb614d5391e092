//! The image on a real container engine: what the DaemonSets rely on, and what the documents say of trouble.
//!
//! `cargo ci container` builds what is needed and starts these tests; without an engine it says so and starts none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::time::Duration;

use fake_gpu::ComputeMode;
use lab::container::{KILLED, Running};
use lab::{CONFIG, GPU, GPUS, Lab, Network, SHARED, until};

/// How long something that must not happen is waited for.
const NOT_WITHIN: Duration = Duration::from_secs(2);

async fn plugin(lab: &Lab) -> Running {
    lab.image.start(&["run"], &Lab::settings(), &lab.mounts(), Network::Machine).await.unwrap()
}

/// Waits until the kubelet has this many devices; what the container said is told when it does not come to that.
async fn serves(lab: &Lab, plugin: &Running, resource: &str, devices: usize) {
    let what = format!("{devices} devices of `{resource}`");
    let waited = until(&what, || {
        (lab.listed(resource) == devices && lab.allocatable(resource) == Some(devices as u64)).then_some(())
    });
    if let Err(error) = waited.await {
        panic!("{error}; listed {}, the plugin says:\n{}", lab.listed(resource), plugin.log().await.unwrap());
    }
}

async fn runs(lab: &Lab, pod: &str) {
    let phase = || lab.pod(pod).and_then(|pod| pod["status"]["phase"].as_str().map(str::to_owned));
    let what = format!("pod `{pod}` runs");
    let waited = until(&what, || (phase().as_deref() == Some("Running")).then_some(()));
    if let Err(error) = waited.await {
        panic!("{error}: {:?}", lab.pod(pod).map(|pod| pod["status"].clone()));
    }
}

#[tokio::test]
async fn it_registers_allocates_flips_and_outlives_the_kubelet() {
    let mut lab = Lab::start(true).await.unwrap();
    let plugin = plugin(&lab).await;
    until("registered", || (lab.listed(GPU) == GPUS).then_some(())).await.unwrap();
    println!(
        "image {} bytes; engine asked → registered: {:?}; resident: {}",
        lab.image.size_bytes,
        plugin.age(),
        plugin.status("VmRSS").await.unwrap()
    );
    serves(&lab, &plugin, GPU, GPUS).await;
    until("the label of the product", || lab.label("nvidia.com/gpu.product").filter(|it| it == "Tesla-T4"))
        .await
        .unwrap();

    lab.create_pod("one", GPU).unwrap();
    runs(&lab, "one").await;
    let given = lab.given("one").unwrap();
    assert_eq!(Some(&given.env["NVIDIA_VISIBLE_DEVICES"]), given.ids[GPU].iter().next());

    lab.agent.stop_kubelet().await;
    lab.agent.start_kubelet().await.unwrap();
    serves(&lab, &plugin, GPU, GPUS).await;
    assert_eq!(lab.given("one").unwrap().ids, given.ids);

    lab.delete_pod("one").unwrap();
    until("the pod is gone", || lab.pod("one").is_none().then_some(())).await.unwrap();
    lab.set_label(CONFIG, Some("sliced")).unwrap();
    serves(&lab, &plugin, SHARED, 2 * GPUS).await;
    assert_eq!(lab.allocatable(GPU), Some(0));
    lab.set_label(CONFIG, None).unwrap();
    serves(&lab, &plugin, GPU, GPUS).await;

    assert_eq!(plugin.stop().await.unwrap(), 0, "{}", plugin.log().await.unwrap());
    assert_eq!(lab.sockets().unwrap(), Vec::<String>::new());
    lab.stop().await;
}

#[tokio::test]
async fn its_security_context_holds() {
    let lab = Lab::start(true).await.unwrap();
    let plugin = plugin(&lab).await;
    serves(&lab, &plugin, GPU, GPUS).await;
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(plugin.status(set).await.unwrap(), "0000000000000000", "{set}");
    }
    assert_eq!(plugin.status("NoNewPrivs").await.unwrap(), "1");
    // 2: a filter; the engine's own
    assert_eq!(plugin.status("Seccomp").await.unwrap(), "2");
    for directory in ["", "etc", "usr/bin", "config"] {
        let why = plugin.write_refused(directory).await.unwrap();
        assert!(why.contains("Read-only file system") || why.contains("No such file"), "{directory}: {why}");
    }
    assert!(plugin.write_refused("").await.unwrap().contains("Read-only file system"));
    assert_eq!(plugin.stop().await.unwrap(), 0);
    lab.stop().await;
}

#[tokio::test]
async fn mps_runs_beside_it_and_outlives_it() {
    let lab = Lab::start(true).await.unwrap();
    let first = plugin(&lab).await;
    serves(&lab, &first, GPU, GPUS).await;
    lab.set_label(CONFIG, Some("mps-config")).unwrap();
    until("the label that schedules MPS", || lab.label("nvidia.com/mps.capable").filter(|it| it == "true"))
        .await
        .unwrap();
    // a DaemonSet would start it now
    let mps =
        lab.image.start(&["mps"], &Lab::mps_settings(), &lab.mps_mounts(), Network::None).await.unwrap();
    let waited = until("shared GPUs", || (lab.listed(SHARED) == 4 * GPUS).then_some(())).await;
    if let Err(error) = waited {
        panic!("{error}\n{}\n{}", first.log().await.unwrap(), mps.log().await.unwrap());
    }
    println!(
        "engine asked for MPS → shared GPUs: {:?}; resident: {}",
        mps.age(),
        mps.status("VmRSS").await.unwrap()
    );
    assert_eq!(mps.status("CapEff").await.unwrap(), "0000000000000000");
    let gpus = lab.gpus().unwrap();
    assert!(gpus.gpus.iter().all(|gpu| gpu.compute_mode == ComputeMode::ExclusiveProcess), "{gpus:?}");
    let daemons = |lab: &Lab| -> Vec<u32> {
        let mut pids: Vec<u32> = lab.gpus().unwrap().mps_daemons.iter().map(|daemon| daemon.pid).collect();
        pids.sort_unstable();
        pids
    };
    let before = daemons(&lab);
    assert_eq!(before.len(), GPUS);

    serves(&lab, &first, SHARED, 4 * GPUS).await;
    lab.create_pod("client", SHARED).unwrap();
    runs(&lab, "client").await;
    let given = lab.given("client").unwrap();
    assert_eq!(given.env["CUDA_MPS_PIPE_DIRECTORY"], "/mps/nvidia.com/gpu.shared/pipe");
    let pipe =
        given.mounts.iter().find(|mount| mount.container_path == "/mps/nvidia.com/gpu.shared/pipe").unwrap();
    // the container's host path, as this machine has it
    let on_host = pipe.host_path.replacen("/run/nvidia/mps", &lab.path("mps").display().to_string(), 1);
    assert!(std::path::Path::new(&on_host).join("control").exists(), "{on_host}");

    assert_eq!(first.stop().await.unwrap(), 0);
    drop(first);
    let second = plugin(&lab).await;
    serves(&lab, &second, SHARED, 4 * GPUS).await;
    assert_eq!(daemons(&lab), before, "the plugin's restart touched MPS");
    assert_eq!(lab.given("client").unwrap().ids, given.ids);

    lab.delete_pod("client").unwrap();
    lab.set_label(CONFIG, None).unwrap();
    serves(&lab, &second, GPU, GPUS).await;
    let gpus = lab.gpus().unwrap();
    assert!(gpus.mps_daemons.is_empty(), "{gpus:?}");
    assert!(gpus.gpus.iter().all(|gpu| gpu.compute_mode == ComputeMode::Default), "{gpus:?}");
    assert_eq!(mps.stop().await.unwrap(), 0, "{}", mps.log().await.unwrap());
    assert_eq!(second.stop().await.unwrap(), 0);
    lab.stop().await;
}

#[tokio::test]
async fn without_a_driver_library_it_waits_and_says_so() {
    let lab = Lab::start(false).await.unwrap();
    let plugin = plugin(&lab).await;
    plugin.says("no NVIDIA driver library on this node").await.unwrap();
    tokio::time::sleep(NOT_WITHIN).await;
    assert!(plugin.is_running().await.unwrap());
    assert_eq!((lab.listed(GPU), lab.sockets().unwrap().len()), (0, 0));
    lab.install_driver().unwrap();
    serves(&lab, &plugin, GPU, GPUS).await;
    assert_eq!(plugin.stop().await.unwrap(), 0);
    lab.stop().await;
}

#[tokio::test]
async fn where_it_cannot_make_its_socket_it_names_the_path_and_goes_on() {
    let lab = Lab::start(true).await.unwrap();
    let mut mounts = lab.mounts();
    for mount in &mut mounts {
        mount.read_only |= mount.to == "/var/lib/kubelet/device-plugins";
    }
    let plugin = lab.image.start(&["run"], &Lab::settings(), &mounts, Network::Machine).await.unwrap();
    plugin.says("/var/lib/kubelet/device-plugins/").await.unwrap();
    plugin.says("Read-only file system").await.unwrap();
    tokio::time::sleep(NOT_WITHIN).await;
    assert!(plugin.is_running().await.unwrap());
    assert_eq!(lab.listed(GPU), 0);
    assert_ne!(plugin.stop().await.unwrap(), KILLED);
    lab.stop().await;
}

#[tokio::test]
async fn without_an_api_server_it_serves_what_it_last_served_and_nothing_before() {
    let lab = Lab::start(true).await.unwrap();
    let first = lab.image.start(&["run"], &Lab::settings(), &lab.mounts(), Network::None).await.unwrap();
    first.says("the Node cannot be read and there is no last good configuration").await.unwrap();
    tokio::time::sleep(NOT_WITHIN).await;
    assert!(first.is_running().await.unwrap());
    assert_eq!(lab.listed(GPU), 0, "it served whole GPUs of a node that may be labelled for sharing");
    assert_eq!(first.stop().await.unwrap(), 0);
    drop(first);

    let second = plugin(&lab).await;
    serves(&lab, &second, GPU, GPUS).await;
    until("the last good configuration", || lab.path("state/last-good.json").exists().then_some(()))
        .await
        .unwrap();
    assert_eq!(second.stop().await.unwrap(), 0);
    drop(second);
    until("no device", || (lab.listed(GPU) == 0 || lab.sockets().unwrap().is_empty()).then_some(()))
        .await
        .unwrap();

    let third = lab.image.start(&["run"], &Lab::settings(), &lab.mounts(), Network::None).await.unwrap();
    let waited = until("a socket again", || lab.sockets().ok().filter(|sockets| !sockets.is_empty())).await;
    if let Err(error) = waited {
        panic!("{error}\n{}", third.log().await.unwrap());
    }
    serves(&lab, &third, GPU, GPUS).await;
    assert_eq!(third.stop().await.unwrap(), 0);
    lab.stop().await;
}
