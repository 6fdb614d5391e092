//! A device plugin on a thread and runtime of its own, so that killing it ends its sockets as a process's end does.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures::{Stream, StreamExt as _};
use plugin_api::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use plugin_api::deviceplugin::*;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status};

/// How the next call to Allocate goes; without one in the queue it is answered well.
#[derive(Clone, Debug)]
pub(super) enum OnAllocate {
    Fail(&'static str),
    AnswerNothing,
    Hang,
    /// Sends this list and answers once the test has seen that it arrived.
    ListFirst(&'static str),
}

/// What the plugin saw and how it behaves; shared with the test.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: Vec<String>,
    pub(super) on_allocate: VecDeque<OnAllocate>,
    pub(super) fail_options: bool,
    pub(super) hang_pre_start: bool,
}

pub(super) struct TestPlugin {
    pub(super) endpoint: String,
    pub(super) seen: Arc<Mutex<Seen>>,
    list: watch::Sender<Vec<Device>>,
    go_on: watch::Sender<bool>,
    /// Streams that the kubelet has open.
    streams: watch::Receiver<usize>,
    /// How many calls came in.
    called: watch::Receiver<usize>,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Service {
    seen: Arc<Mutex<Seen>>,
    options: DevicePluginOptions,
    list: watch::Sender<Vec<Device>>,
    go_on: watch::Receiver<bool>,
    streams: watch::Sender<usize>,
    called: watch::Sender<usize>,
}

impl TestPlugin {
    /// Serves on `dir/endpoint`, with a list of words as in `devices`.
    pub(super) fn serve(dir: &Path, endpoint: &str, list: &str, options: DevicePluginOptions) -> TestPlugin {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (list_tx, _) = watch::channel(devices(list));
        let (go_on, go_on_rx) = watch::channel(false);
        let (streams_tx, streams) = watch::channel(0);
        let (called_tx, called) = watch::channel(0);
        let (kill, killed) = oneshot::channel();
        let (up, is_up) = std::sync::mpsc::sync_channel(1);
        let service = Service {
            seen: Arc::clone(&seen),
            options,
            list: list_tx.clone(),
            go_on: go_on_rx,
            streams: streams_tx,
            called: called_tx,
        };
        let socket = dir.join(endpoint);
        let thread = std::thread::spawn(move || run(service, socket, up, killed));
        is_up.recv().unwrap();
        TestPlugin {
            endpoint: endpoint.to_owned(),
            seen,
            list: list_tx,
            go_on,
            streams,
            called,
            kill: Some(kill),
            thread: Some(thread),
        }
    }

    pub(super) fn send(&self, list: &str) {
        self.list.send_replace(devices(list));
    }

    pub(super) fn send_devices(&self, list: Vec<Device>) {
        self.list.send_replace(list);
    }

    pub(super) fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    pub(super) fn next_allocate(&self, on: OnAllocate) {
        self.seen.lock().unwrap().on_allocate.push_back(on);
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.seen.lock().unwrap().calls.clone()
    }

    /// Waits until the kubelet has `count` streams open.
    pub(super) async fn wait_for_streams(&mut self, count: usize) {
        let reached = self.streams.wait_for(|open| *open == count);
        tokio::time::timeout(super::PATIENCE, reached).await.expect("streams in time").unwrap();
    }

    /// Waits until the kubelet has made `count` calls.
    pub(super) async fn wait_for_calls(&mut self, count: usize) {
        let reached = self.called.wait_for(|made| *made >= count);
        tokio::time::timeout(super::PATIENCE, reached).await.expect("calls in time").unwrap();
    }

    /// Ends it as SIGKILL would; its socket stays on disk.
    pub(super) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _already_gone = kill.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(
    service: Service,
    socket: PathBuf,
    up: std::sync::mpsc::SyncSender<()>,
    killed: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let _absent = std::fs::remove_file(&socket);
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        up.send(()).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(DevicePluginServer::new(service))
            .serve_with_incoming(incoming);
        tokio::select! {
            served = server => served.unwrap(),
            _ = killed => {}
        }
    });
}

pub(super) fn devices(list: &str) -> Vec<Device> {
    list.split_whitespace()
        .map(|word| Device {
            id: word.trim_start_matches('!').to_owned(),
            health: if word.starts_with('!') { "Unhealthy" } else { "Healthy" }.to_owned(),
            topology: None,
        })
        .collect()
}

/// What the test plugin answers for these IDs.
pub(super) fn answer(ids: &[String]) -> ContainerAllocateResponse {
    let mut sorted = ids.to_vec();
    sorted.sort();
    ContainerAllocateResponse {
        envs: [("DEVICES".to_owned(), sorted.join(","))].into(),
        mounts: vec![Mount {
            container_path: "/lib/dev".to_owned(),
            host_path: "/opt/dev".to_owned(),
            read_only: true,
        }],
        devices: sorted
            .iter()
            .map(|id| DeviceSpec {
                container_path: format!("/dev/{id}"),
                host_path: format!("/dev/host-{id}"),
                permissions: "mrw".to_owned(),
            })
            .collect(),
        annotations: [("vendor.test/ids".to_owned(), sorted.join(","))].into(),
        cdi_devices: sorted.iter().map(|id| CdiDevice { name: format!("vendor.test/dev={id}") }).collect(),
    }
}

struct StreamCount(watch::Sender<usize>);

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Service {
    fn saw(&self, call: &str, ids: &[String]) {
        let mut sorted = ids.to_vec();
        sorted.sort();
        let text = format!("{call} {}", sorted.join(" "));
        self.seen.lock().unwrap().calls.push(text.trim_end().to_owned());
        self.called.send_modify(|count| *count += 1);
    }
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    async fn get_device_plugin_options(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        self.saw("options", &[]);
        if self.seen.lock().unwrap().fail_options {
            return Err(Status::internal("no options today"));
        }
        Ok(Response::new(self.options))
    }

    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn list_and_watch(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        self.saw("list", &[]);
        self.streams.send_modify(|open| *open += 1);
        let count = StreamCount(self.streams.clone());
        let lists = WatchStream::new(self.list.subscribe()).map(move |devices| {
            let _open_as_long_as_this_lives = &count;
            Ok(ListAndWatchResponse { devices })
        });
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let request = &request.get_ref().container_requests[0];
        self.saw("prefer", &request.available_device_i_ds);
        let mut ids = request.available_device_i_ds.clone();
        ids.sort();
        ids.reverse();
        ids.truncate(request.allocation_size as usize);
        let response = ContainerPreferredAllocationResponse { device_i_ds: ids };
        Ok(Response::new(PreferredAllocationResponse { container_responses: vec![response] }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let ids = &request.get_ref().container_requests[0].devices_ids;
        self.saw("allocate", ids);
        let on_allocate = self.seen.lock().unwrap().on_allocate.pop_front();
        match on_allocate {
            Some(OnAllocate::Fail(why)) => return Err(Status::unknown(why)),
            Some(OnAllocate::AnswerNothing) => return Ok(Response::new(AllocateResponse::default())),
            Some(OnAllocate::Hang) => std::future::pending().await,
            Some(OnAllocate::ListFirst(list)) => {
                self.list.send_replace(devices(list));
                self.go_on.clone().wait_for(|go_on| *go_on).await.unwrap();
            }
            None => {}
        }
        Ok(Response::new(AllocateResponse { container_responses: vec![answer(ids)] }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        self.saw("prepare", &request.get_ref().devices_ids);
        if self.seen.lock().unwrap().hang_pre_start {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
