//! The whole process against a kubelet made of plugin-api's server traits, with a mocked GPU backend.

use std::path::Path;
use std::time::Duration;

use plugin_api::deviceplugin as pb;
use plugin_api::deviceplugin::registration_server::{Registration, RegistrationServer};
use plugin_api::podresources;
use plugin_api::podresources::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use plugin_core::cdi::VENDOR;
use plugin_core::inventory::{Facts, GpuFacts, GpuUuid};
use plugin_core::journal::{self, Record};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::gpu::{FindError, MockGpuBackend};
use crate::status::{At, get};

/// Longest time for anything here.
const PATIENCE: Duration = Duration::from_secs(10);

struct KubeletStub(mpsc::Sender<pb::RegisterRequest>);

#[tonic::async_trait]
impl Registration for KubeletStub {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::Empty>, Status> {
        let sent = self.0.send(request.into_inner()).await;
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(pb::Empty {}))
    }
}

/// A kubelet on which no pod holds anything.
struct NoPods;

#[tonic::async_trait]
impl PodResourcesLister for NoPods {
    async fn list(
        &self,
        _: Request<podresources::ListPodResourcesRequest>,
    ) -> Result<Response<podresources::ListPodResourcesResponse>, Status> {
        Ok(Response::new(podresources::ListPodResourcesResponse::default()))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<podresources::AllocatableResourcesRequest>,
    ) -> Result<Response<podresources::AllocatableResourcesResponse>, Status> {
        Err(Status::unimplemented("GetAllocatableResources"))
    }

    async fn get(
        &self,
        _: Request<podresources::GetPodResourcesRequest>,
    ) -> Result<Response<podresources::GetPodResourcesResponse>, Status> {
        Err(Status::unimplemented("Get"))
    }
}

/// PodResources beside a kubelet's socket: without it the plugin waits for long.
fn serve_pod_resources(kubelet: &Path) {
    let listener = UnixListener::bind(kubelet.with_file_name("pod-resources.sock")).unwrap();
    let server = tonic::transport::Server::builder().add_service(PodResourcesListerServer::new(NoPods));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
}

fn serve_kubelet(socket: &Path) -> mpsc::Receiver<pb::RegisterRequest> {
    if !socket.with_file_name("pod-resources.sock").exists() {
        serve_pod_resources(socket);
    }
    let (registered, requests) = mpsc::channel(8);
    let listener = UnixListener::bind(socket).unwrap();
    let service = RegistrationServer::new(KubeletStub(registered));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    requests
}

fn settings(folder: &Path) -> RunSettings {
    RunSettings {
        cdi: SpecDir { path: folder.join("cdi"), vendor: VENDOR.into(), sysfs_root: folder.join("sys") },
        core: Settings::default(),
        config: None,
        node: None,
        dev: folder.join("dev"),
        kubelet_socket: folder.join("kubelet.sock"),
        pod_resources_socket: folder.join("pod-resources.sock"),
        mps_root: MpsRoot(folder.join("mps")),
        nvidia_smi: folder.join("nvidia-smi"),
        admin_socket: Some(folder.join("state/admin.sock")),
        state_dir: Some(StateDir(folder.join("state"))),
        admin_address: "127.0.0.1:0".into(),
        admin_address_file: Some(folder.join("admin")),
        journal_dir: Some(folder.join("journal")),
    }
}

fn facts() -> Facts {
    let gpu = GpuFacts {
        uuid: GpuUuid::new("GPU-a"),
        index: 0,
        minor: 0,
        name: "Tesla T4".into(),
        memory_bytes: 16 << 30,
        compute_capability: (7, 5),
        pci_bus_id: "00000000:00:1E.0".into(),
        numa_node: None,
        mig_capable: false,
        compute_mode: plugin_core::inventory::ComputeMode::Default,
        mig_enabled: false,
        mig: Vec::new(),
    };
    Facts {
        driver_version: "580.95.05".into(),
        cuda_version: (13, 0),
        gpus: vec![gpu],
        links: Vec::new(),
        control_nodes: Vec::new(),
        ..Facts::default()
    }
}

fn backend(find: impl Fn() -> Result<Facts, FindError> + Send + Sync + 'static) -> Box<dyn GpuBackend> {
    let mut backend = MockGpuBackend::new();
    backend.expect_find().returning(find);
    Box::new(backend)
}

/// Asks until the answer is right; a page is polled because nothing tells when it changes.
async fn page_with(folder: &Path, page: &str, part: &str) -> (u16, String) {
    let asked = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            let Ok(address) = std::fs::read_to_string(folder.join("admin")) else {
                continue;
            };
            match get(&At::Address(address), page).await {
                Ok((code, body)) if body.contains(part) => return (code, body),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn a_missing_driver_keeps_the_process_up_and_not_ready_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let none = || Err(FindError::NoDriver { why: "libnvidia-ml.so.1: no such file".into() });
    let task = tokio::spawn(run(settings(folder.path()), backend(none)));
    let (code, body) = page_with(folder.path(), "/ready", "libnvidia-ml.so.1").await;
    assert_eq!(code, 503, "{body}");
    assert_eq!(page_with(folder.path(), "/live", "live").await.0, 200);
    assert!(!task.is_finished());
    task.abort();
}

#[tokio::test]
async fn a_driver_that_fails_ends_the_process_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let failed = || Err(FindError::DriverFailed { why: "driver/library version mismatch".into() });
    let exit =
        tokio::time::timeout(PATIENCE, run(settings(folder.path()), backend(failed))).await.unwrap().unwrap();
    assert_eq!(exit.code, 1);
    assert!(exit.why.contains("driver/library version mismatch"), "{}", exit.why);
}

#[tokio::test]
async fn a_node_with_a_gpu_registers_serves_and_stops_cleanly_and_its_journal_replays() {
    let folder = tempfile::tempdir().unwrap();
    let mut requests = serve_kubelet(&folder.path().join("kubelet.sock"));
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let (publish, views) = watch::channel(Arc::new(View::default()));
    let settings = settings(folder.path());
    let started = Event::Started { settings: Box::new(settings.core.clone()), mps_desired: None };
    let journal = JournalFile::begin(&folder.path().join("journal"), "journal").unwrap();
    let metrics = Metrics::new();
    let performer = start(settings, backend(|| Ok(facts())), events.clone(), views, metrics.clone()).unwrap();
    let begin = Instant::now();
    let node = Loop {
        plugin: Plugin::new(),
        begin,
        journal: Some(journal),
        metrics: metrics.clone(),
        publish,
        performer,
    };
    let task = tokio::spawn(node.run(started, queue));

    let request = tokio::time::timeout(PATIENCE, requests.recv()).await.unwrap().unwrap();
    assert_eq!((request.resource_name.as_str(), request.version.as_str()), ("nvidia.com/gpu", "v1beta1"));
    let socket = folder.path().join(&request.endpoint);
    let mut client =
        pb::device_plugin_client::DevicePluginClient::new(crate::dial::unix(&socket).await.unwrap());
    let mut stream = client.list_and_watch(pb::Empty {}).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().devices[0].id, "GPU-a");
    let ids = vec!["GPU-a".to_owned()];
    let container_requests = vec![pb::ContainerAllocateRequest { devices_ids: ids }];
    let answer = client.allocate(pb::AllocateRequest { container_requests }).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].envs["NVIDIA_VISIBLE_DEVICES"], "GPU-a");

    events.send(Event::StopRequested).await.unwrap();
    let exit = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(exit.code, 0, "{}", exit.why);
    assert!(!socket.exists());
    let text = std::fs::read_to_string(folder.path().join("journal/journal.jsonl")).unwrap();
    let entries = journal::parse(&text).unwrap();
    let allocated = |r: &Record| matches!(r, Record::Event(Event::Allocated { .. }));
    assert!(entries.iter().any(|e| allocated(&e.record)), "{text}");
    let replayed = journal::replay(&entries).unwrap();
    assert!(replayed >= 4, "{replayed} actions");
    assert!(metrics.text().contains("tandem_events_total{event=\"allocated\"} 1"));
}

#[tokio::test]
async fn a_kubelet_that_restarts_is_registered_with_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kubelet.sock");
    let mut requests = serve_kubelet(&socket);
    let task = tokio::spawn(run(settings(folder.path()), backend(|| Ok(facts()))));
    tokio::time::timeout(PATIENCE, requests.recv()).await.unwrap().unwrap();
    // what a starting kubelet does: every socket of the directory goes, then its own comes
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "sock") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let mut requests = serve_kubelet(&socket);
    let begin = Instant::now();
    let request = tokio::time::timeout(PATIENCE, requests.recv()).await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(folder.path().join(request.endpoint).exists());
    task.abort();
}

/// A kubelet that is too busy to answer Register; it tells when a call came, and when it was given up.
struct BusyKubelet(mpsc::Sender<&'static str>);

/// Told with the end of a call.
struct GivenUp(mpsc::Sender<&'static str>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let _ = self.0.try_send("given up");
    }
}

#[tonic::async_trait]
impl Registration for BusyKubelet {
    async fn register(&self, _: Request<pb::RegisterRequest>) -> Result<Response<pb::Empty>, Status> {
        let _told_at_the_end = GivenUp(self.0.clone());
        let _ = self.0.send("called").await;
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_registration_that_a_new_socket_overtakes_is_given_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kubelet.sock");
    let (told, mut calls) = mpsc::channel(8);
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    serve_pod_resources(&socket);
    let busy = RegistrationServer::new(BusyKubelet(told));
    tokio::spawn(tonic::transport::Server::builder().add_service(busy).serve_with_incoming(listener));
    let task = tokio::spawn(run(settings(folder.path()), backend(|| Ok(facts()))));
    assert_eq!(tokio::time::timeout(PATIENCE, calls.recv()).await.unwrap(), Some("called"));
    std::fs::remove_file(folder.path().join("nvidia-gpu.sock")).unwrap();
    std::fs::remove_file(&socket).unwrap();
    let mut requests = serve_kubelet(&socket);
    tokio::time::timeout(PATIENCE, requests.recv()).await.unwrap().unwrap();
    // the call itself may take ten seconds
    let given_up = tokio::time::timeout(PATIENCE / 5, calls.recv()).await;
    assert_eq!(given_up.unwrap(), Some("given up"));
    task.abort();
}
