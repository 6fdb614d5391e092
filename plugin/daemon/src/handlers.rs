//! The device plugin API of one resource: the gRPC skin over the current view.
//!
//! A handler takes the view as it is, calls a pure function of it and answers. The only thing that it waits for is room in
//! the event queue, so that an answer is written down before it leaves.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plugin_api::deviceplugin as pb;
use plugin_api::deviceplugin::device_plugin_server::DevicePlugin;
use plugin_core::allocate::AllocateError;
use plugin_core::event::Event;
use plugin_core::view::View;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::list_stream::{self, ListStream};
use crate::serve::{ServeContext, Served};
use crate::{proto, register};

/// Most bytes of one request; tonic's own default, named because memory depends on it.
pub(crate) const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most ids of a refused request that are told and written down.
const REFUSED_IDS_MAX: usize = 16;
/// A longer id of a refused request is not written down; ours have some 50 bytes.
const ID_BYTES_MAX: usize = 256;
/// Most container requests in one call; kubelets send one (Kubernetes 1.36).
pub(crate) const CONTAINERS_MAX: usize = 64;

/// Most ListAndWatch streams of one server. A kubelet has one open; up to 1.37 it leaves another one behind each time that it
/// registers the same socket anew. Each costs a few lists when nobody reads it.
pub(crate) const STREAMS_MAX: usize = 64;

/// The handlers of one server.
pub(crate) struct Handlers {
    /// Whose devices.
    pub(crate) served: Served,
    /// View, events, counters.
    pub(crate) context: ServeContext,
    /// True once the server is told to close.
    pub(crate) closed: watch::Receiver<bool>,
    /// Live ListAndWatch streams.
    pub(crate) streams: Arc<AtomicUsize>,
}

impl Handlers {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.context.views.borrow())
    }

    /// Answers one container and the event that tells it.
    fn allocate_one(
        &self,
        view: &View,
        ids: Vec<String>,
    ) -> (Event, Result<pb::ContainerAllocateResponse, Status>) {
        let answer = view.allocate(&self.served.resource, &ids);
        self.context.metrics.count_allocation(self.served.resource.as_str(), answer.is_ok());
        let event = Event::Allocated {
            resource: self.served.resource.clone(),
            ids: told(ids, answer.is_ok()),
            view_generation: view.generation,
            refused: answer.as_ref().err().map(ToString::to_string),
        };
        (event, answer.map(proto::allocation_to_proto).map_err(|e| status(&e)))
    }
}

/// The ids as the event tells them: each once, and of a refused request only the first, because anyone may send anything.
fn told(mut ids: Vec<String>, granted: bool) -> Vec<String> {
    if granted {
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
    } else {
        ids.truncate(REFUSED_IDS_MAX);
        ids.retain(|id| id.len() <= ID_BYTES_MAX);
    }
    ids
}

/// What NVIDIA's plugin refuses too has the code of a plain error in Go, which it returns.
fn status(error: &AllocateError) -> Status {
    let code = match error {
        AllocateError::UnknownDevice { .. } | AllocateError::MoreThanOneShared { .. } => Code::Unknown,
        AllocateError::TooMany { .. } => Code::InvalidArgument,
        AllocateError::Unhealthy { .. } => Code::FailedPrecondition,
        AllocateError::NotServed { .. } => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

fn check_count(count: usize) -> Result<(), Status> {
    if count > CONTAINERS_MAX {
        return Err(Status::invalid_argument(format!(
            "{count} container requests, at most {CONTAINERS_MAX}"
        )));
    }
    Ok(())
}

#[tonic::async_trait]
impl DevicePlugin for Handlers {
    async fn get_device_plugin_options(
        &self,
        _: Request<pb::Empty>,
    ) -> Result<Response<pb::DevicePluginOptions>, Status> {
        Ok(Response::new(register::options()))
    }

    type ListAndWatchStream = Pin<Box<ReceiverStream<Result<pb::ListAndWatchResponse, Status>>>>;

    async fn list_and_watch(
        &self,
        _: Request<pb::Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        if self.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            let resource = &self.served.resource;
            return Err(Status::resource_exhausted(format!(
                "`{resource}` has {STREAMS_MAX} ListAndWatch streams open, no more are served"
            )));
        }
        let stream = ListStream {
            served: self.served.clone(),
            views: self.context.views.clone(),
            events: self.context.events.clone(),
            closed: self.closed.clone(),
            streams: Arc::clone(&self.streams),
        };
        Ok(Response::new(Box::pin(ReceiverStream::new(list_stream::start(stream)))))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<pb::PreferredAllocationRequest>,
    ) -> Result<Response<pb::PreferredAllocationResponse>, Status> {
        let requests = request.into_inner().container_requests;
        check_count(requests.len())?;
        let view = self.view();
        let prefer = |r: pb::ContainerPreferredAllocationRequest| {
            let size = usize::try_from(r.allocation_size).unwrap_or(0);
            view.prefer(&self.served.resource, &r.available_device_i_ds, &r.must_include_device_i_ds, size)
                .map(|ids| pb::ContainerPreferredAllocationResponse { device_i_ds: ids })
        };
        let answers: Result<Vec<_>, _> = requests.into_iter().map(prefer).collect();
        let container_responses = answers.map_err(|e| Status::unknown(e.to_string()))?;
        Ok(Response::new(pb::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<pb::AllocateRequest>,
    ) -> Result<Response<pb::AllocateResponse>, Status> {
        let requests = request.into_inner().container_requests;
        check_count(requests.len())?;
        let stopping = |_| Status::unavailable("the plugin is stopping");
        // the room first: between the answer and its event there must be no await
        let room = self.context.events.reserve_many(requests.len()).await.map_err(stopping)?;
        let view = self.view();
        let answered = requests.into_iter().map(|r| self.allocate_one(&view, r.devices_ids));
        let mut container_responses = Ok(Vec::new());
        for ((event, answer), permit) in answered.zip(room) {
            permit.send(event);
            match (&mut container_responses, answer) {
                (Ok(responses), Ok(response)) => responses.push(response),
                (Ok(_), Err(refused)) => container_responses = Err(refused),
                (Err(_), _) => {}
            }
        }
        let container_responses = container_responses?;
        Ok(Response::new(pb::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<pb::PreStartContainerRequest>,
    ) -> Result<Response<pb::PreStartContainerResponse>, Status> {
        Ok(Response::new(pb::PreStartContainerResponse {}))
    }
}
