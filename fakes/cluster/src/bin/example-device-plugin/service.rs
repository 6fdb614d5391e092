//! What the kubelet calls.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use plugin_api::deviceplugin::device_plugin_server::DevicePlugin;
use plugin_api::deviceplugin::*;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::arguments::Settings;
use super::behaviour::{Behaviour, Way};
use super::devices;

/// How long an Allocate that takes its own devices away waits, so that the new list arrives before the answer.
const LIST_BEFORE_ANSWER: Duration = Duration::from_millis(150);

/// The streams that the kubelet has opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) opened: u64,
    pub(crate) open: u64,
}

/// The device plugin service; its clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    behaviour: Behaviour,
    pub(crate) list: Arc<watch::Sender<Vec<Device>>>,
    pub(crate) streams: Arc<watch::Sender<Streams>>,
    /// Counts how often all streams were ended.
    cuts: Arc<watch::Sender<u64>>,
}

impl Service {
    pub(crate) fn new(settings: &Settings) -> Service {
        Service {
            behaviour: settings.behaviour.clone(),
            list: Arc::new(watch::Sender::new(devices::all(settings))),
            streams: Arc::new(watch::Sender::new(Streams::default())),
            cuts: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Ends all streams.
    pub(crate) fn cut_streams(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn late(&self, way: Way) {
        tokio::time::sleep(self.behaviour.time(way)).await;
    }

    fn saw(call: &str, ids: &[String]) {
        println!("{call} {}", ids.join(" "));
    }

    /// Takes these devices off the list and waits until the kubelet must have it.
    async fn drop_devices(&self, ids: &[String]) {
        self.list.send_modify(|devices| devices.retain(|device| !ids.contains(&device.id)));
        tokio::time::sleep(LIST_BEFORE_ANSWER).await;
    }
}

/// One open stream.
struct Open(Arc<watch::Sender<Streams>>);

impl Open {
    fn new(streams: &Arc<watch::Sender<Streams>>) -> Open {
        streams.send_modify(|streams| {
            streams.opened += 1;
            streams.open += 1;
        });
        Open(Arc::clone(streams))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|streams| streams.open = streams.open.saturating_sub(1));
    }
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    async fn get_device_plugin_options(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        self.late(Way::DelaysOptions).await;
        Ok(Response::new(DevicePluginOptions {
            pre_start_required: self.behaviour.has(Way::LatePreStart),
            get_preferred_allocation_available: true,
        }))
    }

    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn list_and_watch(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        Service::saw("ListAndWatch", &[]);
        let open = Open::new(&self.streams);
        let mut cuts = self.cuts.subscribe();
        let cut = async move {
            // an error means that the plugin ends, and its streams with it
            let _ended = cuts.changed().await;
        };
        let lists = WatchStream::new(self.list.subscribe()).take_until(Box::pin(cut)).map(move |devices| {
            let _open_as_long_as_this_lives = &open;
            Ok(ListAndWatchResponse { devices })
        });
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        self.late(Way::HangsInPreferred).await;
        if self.behaviour.has(Way::FailsPreferred) {
            return Err(Status::internal("no preference today"));
        }
        let requests = request.into_inner().container_requests.into_iter();
        let container_responses = requests
            .map(|request| {
                let size = usize::try_from(request.allocation_size).unwrap_or(0);
                let mut ids = request.must_include_device_i_ds;
                let mut free = request.available_device_i_ds;
                free.sort();
                free.retain(|id| !ids.contains(id));
                ids.extend(free);
                ids.truncate(size);
                ContainerPreferredAllocationResponse { device_i_ds: ids }
            })
            .collect();
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let mut container_responses = Vec::new();
        for mut request in requests {
            request.devices_ids.sort();
            Service::saw("Allocate", &request.devices_ids);
            self.late(Way::HangsInAllocate).await;
            if self.behaviour.has(Way::DropsDuringAllocate) {
                self.drop_devices(&request.devices_ids).await;
            }
            let envs = [("EXAMPLE_DEVICES".to_owned(), request.devices_ids.join(","))].into();
            container_responses.push(ContainerAllocateResponse { envs, ..Default::default() });
        }
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Service::saw("PreStartContainer", &request.get_ref().devices_ids);
        self.late(Way::LatePreStart).await;
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
