//! Over real sockets, with the kubelet's clients.

use std::collections::BTreeMap;

use plugin_api::deviceplugin as pb;
use plugin_api::deviceplugin::device_plugin_client::DevicePluginClient;
use plugin_core::config::AllocationPolicy;
use plugin_core::inventory::GpuUuid;
use plugin_core::view::{Device, ResourceView, Strategy};
use tonic::transport::Channel;

use super::*;
use crate::dial;
use crate::handlers::{CONTAINERS_MAX, REQUEST_BYTES_MAX, STREAMS_MAX};

fn served() -> Served {
    Served { resource: ResourceName::gpu(), attempt: 1 }
}

struct Bench {
    directory: tempfile::TempDir,
    publish: watch::Sender<Arc<View>>,
    changes: watch::Sender<u64>,
    context: ServeContext,
    seen: mpsc::Receiver<Event>,
}

impl Bench {
    fn new(view: View) -> Self {
        let (publish, views) = watch::channel(Arc::new(view));
        let (events, seen) = mpsc::channel(16);
        let (changes, directory_changes) = watch::channel(0);
        let context = ServeContext { views, events, metrics: Metrics::new(), directory: directory_changes };
        Bench { directory: tempfile::tempdir().unwrap(), publish, changes, context, seen }
    }

    fn open(&self) -> Server {
        Server::open(self.directory.path(), "nvidia-gpu.sock", served(), self.context.clone()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("nvidia-gpu.sock")
    }

    async fn client(&self) -> DevicePluginClient<Channel> {
        DevicePluginClient::new(dial::unix(&self.socket()).await.unwrap())
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(5), self.seen.recv()).await.unwrap().unwrap()
    }
}

fn view(generation: u64, devices: &[(&str, bool)]) -> View {
    let device = |(id, healthy): &(&str, bool)| {
        let device = Device {
            id: (*id).to_owned(),
            healthy: *healthy,
            gpu: GpuUuid::new(*id),
            parent: GpuUuid::new(*id),
            numa_node: None,
            strategy: Strategy::Exclusive,
            gpu_index: 0,
            gpu_minor: 0,
            mig: None,
            mps: None,
            granted: *healthy,
        };
        (device.id.clone(), device)
    };
    let devices: BTreeMap<_, _> = devices.iter().map(device).collect();
    let resource = ResourceView {
        devices: Arc::new(devices),
        one_shared_device_at_most: false,
        policy: AllocationPolicy::Distributed,
        budget: None,
    };
    let mut view = View { generation, ..Default::default() };
    view.edits.envvar = true;
    view.resources.insert(ResourceName::gpu(), resource);
    view
}

fn health(list: &pb::ListAndWatchResponse) -> Vec<(&str, &str)> {
    list.devices.iter().map(|d| (d.id.as_str(), d.health.as_str())).collect()
}

fn allocate_request(ids: &[&str]) -> pb::AllocateRequest {
    let devices_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    pb::AllocateRequest { container_requests: vec![pb::ContainerAllocateRequest { devices_ids }] }
}

#[tokio::test]
async fn a_stream_has_the_current_list_at_once_and_every_changed_one() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let mut stream = bench.client().await.list_and_watch(pb::Empty {}).await.unwrap().into_inner();
    assert_eq!(health(&stream.message().await.unwrap().unwrap()), [("GPU-a", "Healthy")]);
    assert_eq!(bench.event().await, Event::StreamOpened { resource: ResourceName::gpu() });
    // the same list in a new view is no change
    bench.publish.send_replace(Arc::new(view(2, &[("GPU-a", true)])));
    tokio::task::yield_now().await;
    bench.publish.send_replace(Arc::new(view(3, &[("GPU-a", false)])));
    assert_eq!(health(&stream.message().await.unwrap().unwrap()), [("GPU-a", "Unhealthy")]);
}

#[tokio::test]
async fn a_kubelet_that_leaves_is_told_only_with_its_last_stream() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let opened = Event::StreamOpened { resource: ResourceName::gpu() };
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut client = bench.client().await;
        let stream = client.list_and_watch(pb::Empty {}).await.unwrap().into_inner();
        streams.push((client, stream));
        assert_eq!(bench.event().await, opened);
    }
    streams.pop();
    // the first stream still works, so nothing was told
    bench.publish.send_replace(Arc::new(view(2, &[])));
    let (_, stream) = &mut streams[0];
    while !stream.message().await.unwrap().unwrap().devices.is_empty() {}
    assert!(bench.seen.try_recv().is_err());
    streams.pop();
    assert_eq!(bench.event().await, served().closed());
}

#[tokio::test]
async fn close_ends_streams_without_a_word_and_removes_the_socket() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let server = bench.open();
    let mut stream = bench.client().await.list_and_watch(pb::Empty {}).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    bench.event().await;
    server.close().await.unwrap();
    assert!(!matches!(stream.message().await, Ok(Some(_))));
    assert!(!bench.socket().exists());
    assert!(bench.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_allocation_is_told_before_it_is_answered() {
    let mut bench = Bench::new(view(7, &[("GPU-a", true)]));
    let _server = bench.open();
    let answer = bench.client().await.allocate(allocate_request(&["GPU-a"])).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].envs["NVIDIA_VISIBLE_DEVICES"], "GPU-a");
    let told = bench.seen.try_recv().unwrap();
    let ids = vec!["GPU-a".to_owned()];
    let resource = ResourceName::gpu();
    assert_eq!(told, Event::Allocated { resource, ids, view_generation: 7, refused: None });
}

#[tokio::test]
async fn a_refused_allocation_has_the_cores_text_and_is_told_too() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let status = bench.client().await.allocate(allocate_request(&["GPU-x"])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unknown);
    assert!(status.message().contains("unknown device: GPU-x"), "{}", status.message());
    let told = bench.seen.try_recv().unwrap();
    assert!(matches!(told, Event::Allocated { refused: Some(text), .. } if text == status.message()));
}

#[tokio::test]
async fn a_preference_comes_from_the_view() {
    let bench = Bench::new(view(1, &[("GPU-a", true), ("GPU-b", true)]));
    let _server = bench.open();
    let request = pb::ContainerPreferredAllocationRequest {
        available_device_i_ds: vec!["GPU-a".into(), "GPU-b".into()],
        must_include_device_i_ds: vec!["GPU-b".into()],
        allocation_size: 1,
    };
    let request = pb::PreferredAllocationRequest { container_requests: vec![request] };
    let answer = bench.client().await.get_preferred_allocation(request).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].device_i_ds, ["GPU-b"]);
}

#[tokio::test]
async fn too_many_container_requests_are_refused() {
    let mut bench = Bench::new(view(1, &[]));
    let _server = bench.open();
    let container_requests = vec![pb::ContainerAllocateRequest::default(); CONTAINERS_MAX + 1];
    let status = bench.client().await.allocate(pb::AllocateRequest { container_requests }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(bench.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_socket_that_someone_removed_counts_as_a_closed_stream() {
    let mut bench = Bench::new(view(1, &[]));
    let _server = bench.open();
    std::fs::remove_file(bench.socket()).unwrap();
    bench.changes.send_modify(|n| *n += 1);
    assert_eq!(bench.event().await, served().closed());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_another_plugins_new_one_is_left_alone() {
    let bench = Bench::new(view(1, &[]));
    drop(std::os::unix::net::UnixListener::bind(bench.socket()).unwrap());
    let first = bench.open();
    std::fs::remove_file(bench.socket()).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(bench.socket()).unwrap();
    first.close().await.unwrap();
    assert!(bench.socket().exists());
}

#[tokio::test]
async fn an_endpoint_outside_the_directory_is_refused() {
    let bench = Bench::new(view(1, &[]));
    for endpoint in ["", "../x.sock", "/tmp/x.sock", ".."] {
        let opened = Server::open(bench.directory.path(), endpoint, served(), bench.context.clone());
        assert!(matches!(opened, Err(ListenError::NotAFileName { .. })), "{endpoint}");
    }
}

async fn refusal(bench: &Bench, ids: Vec<String>) -> tonic::Status {
    let request =
        pb::AllocateRequest { container_requests: vec![pb::ContainerAllocateRequest { devices_ids: ids }] };
    bench.client().await.allocate(request).await.unwrap_err()
}

#[tokio::test]
async fn each_refusal_has_its_own_status_and_names_resource_and_id() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true), ("GPU-ill", false)]));
    let _server = bench.open();
    for (ids, code, part) in [
        (vec!["GPU-x"], tonic::Code::Unknown, "unknown device: GPU-x"),
        (vec!["GPU-a", ""], tonic::Code::Unknown, "unknown device: "),
        (vec!["GPU-ill"], tonic::Code::FailedPrecondition, "`GPU-ill`"),
    ] {
        let status = refusal(&bench, ids.iter().map(|id| (*id).to_owned()).collect()).await;
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part) && status.message().contains("nvidia.com/gpu"), "{status:?}");
        assert!(matches!(bench.event().await, Event::Allocated { refused: Some(_), .. }));
    }
    bench.publish.send_replace(Arc::new(View::default()));
    let withdrawn = refusal(&bench, vec!["GPU-a".into()]).await;
    assert_eq!(withdrawn.code(), tonic::Code::Unavailable);
    assert!(withdrawn.message().contains("`nvidia.com/gpu` is not served"), "{withdrawn:?}");
}

#[tokio::test]
async fn ten_thousand_ids_are_answered_or_refused_and_little_of_it_is_remembered() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let unknown = refusal(&bench, (0..10_000).map(|n| format!("GPU-{n}")).collect()).await;
    assert!(unknown.message().contains("unknown device: GPU-0"), "{unknown:?}");
    let Event::Allocated { ids, .. } = bench.event().await else { panic!("an allocation is told") };
    assert_eq!(ids.len(), 16);

    // the same id 10,000 times is that one device, as with NVIDIA's plugin
    let ids = vec!["GPU-a"; 10_000];
    let answer = bench.client().await.allocate(allocate_request(&ids)).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].envs["NVIDIA_VISIBLE_DEVICES"], "GPU-a");
    let Event::Allocated { ids, refused: None, .. } = bench.event().await else { panic!("it was granted") };
    assert_eq!(ids, ["GPU-a"]);

    let too_many = refusal(&bench, vec!["GPU-a".into(); 65_537]).await;
    assert_eq!(too_many.code(), tonic::Code::InvalidArgument);
    assert!(too_many.message().contains("65537 device ids of `nvidia.com/gpu`"), "{too_many:?}");
}

#[tokio::test]
async fn an_endless_id_and_an_oversized_message_are_refused_without_being_repeated() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let endless = refusal(&bench, vec!["x".repeat(1024 * 1024)]).await;
    assert_eq!(endless.code(), tonic::Code::Unknown);
    assert!(endless.message().len() < 512, "{}", endless.message().len());
    let Event::Allocated { ids, .. } = bench.event().await else { panic!("an allocation is told") };
    assert!(ids.is_empty(), "nothing of that size is written down");

    let oversized = refusal(&bench, vec!["x".repeat(REQUEST_BYTES_MAX + 1)]).await;
    assert_eq!(oversized.code(), tonic::Code::OutOfRange, "{oversized:?}");
    assert!(bench.seen.try_recv().is_err());
    // and the next one is served as if nothing had been
    bench.client().await.allocate(allocate_request(&["GPU-a"])).await.unwrap();
}

#[tokio::test]
async fn an_empty_list_is_answered_with_no_devices() {
    let bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let answer = bench.client().await.allocate(allocate_request(&[])).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].envs["NVIDIA_VISIBLE_DEVICES"], "");
}

/// What the process keeps in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn who_never_reads_the_list_costs_a_few_lists_and_holds_up_nobody() {
    const DEVICES: usize = 2000;
    const CHANGES: u64 = 150;
    const SILENT: usize = 4;
    let ids: Vec<String> = (0..DEVICES).map(|number| format!("GPU-{number:0>56}")).collect();
    let list = |generation: u64| {
        let healthy = generation.is_multiple_of(2);
        view(generation, &ids.iter().map(|id| (id.as_str(), healthy)).collect::<Vec<_>>())
    };
    let mut bench = Bench::new(list(0));
    let server = bench.open();
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        let mut client = bench.client().await;
        let stream = client.list_and_watch(pb::Empty {}).await.unwrap();
        silent.push((client, stream));
        bench.event().await;
    }
    let mut reader = bench.client().await.list_and_watch(pb::Empty {}).await.unwrap().into_inner();
    bench.event().await;
    reader.message().await.unwrap().unwrap();
    let before = resident_bytes();
    for generation in 1..=CHANGES {
        bench.publish.send_replace(Arc::new(list(generation)));
        let newest = tokio::time::timeout(Duration::from_secs(5), reader.message()).await.unwrap();
        assert_eq!(newest.unwrap().unwrap().devices.len(), DEVICES);
    }
    let grown = resident_bytes().saturating_sub(before);
    // all that was not read would be 60 bytes × devices × changes × silent clients: more than twice as much
    assert!(grown < DEVICES * usize::try_from(CHANGES).unwrap() * SILENT * 60 / 2, "{grown} bytes more");
    bench.client().await.allocate(allocate_request(&[&ids[0]])).await.unwrap();
    bench.event().await;
    bench.publish.send_replace(Arc::new(view(CHANGES + 1, &[("GPU-last", true)])));
    let (_client, stream) = silent.pop().unwrap();
    let mut stream = stream.into_inner();
    let mut waited = 0;
    while stream.message().await.unwrap().unwrap().devices.len() > 1 {
        waited += 1;
    }
    // its own side takes 2 MiB without being read, some 18 lists; ours keeps three
    assert!(waited < 30, "who begins to read after all gets {waited} lists before the newest");
    let closed = tokio::time::timeout(Duration::from_secs(5), server.close()).await;
    assert!(closed.is_ok(), "clients that do not read keep nobody from stopping");
}

#[tokio::test]
async fn more_streams_than_any_kubelet_opens_are_refused_and_room_is_made_again() {
    let mut bench = Bench::new(view(1, &[("GPU-a", true)]));
    let _server = bench.open();
    let mut client = bench.client().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(client.list_and_watch(pb::Empty {}).await.unwrap());
        bench.event().await;
    }
    let refused = client.list_and_watch(pb::Empty {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("`nvidia.com/gpu`"), "{}", refused.message());
    streams.pop();
    // nothing tells when the server has seen that one is gone
    let served = async {
        while client.list_and_watch(pb::Empty {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap();
}
