//! The device plugin API of one resource on one socket: the gRPC skin over the current view.
//!
//! A handler takes the view as it is, calls a pure function of it and answers. The only thing that it waits for is room in
//! the event queue, so that an answer is written down before it leaves.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plugin_api::deviceplugin as pb;
use plugin_api::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::view::View;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use crate::files::Identity;
use crate::list_stream::{self, ListStream};
use crate::metrics::Metrics;
use crate::{proto, register};

/// Most container requests in one call; kubelets send one (Kubernetes 1.36).
const CONTAINERS_MAX: usize = 64;
/// How long open connections may take to end after Close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// What every server needs.
#[derive(Clone)]
pub(crate) struct ServeContext {
    /// The current view.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// Where events go.
    pub(crate) events: mpsc::Sender<Event>,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Changes whenever something happened in the kubelet's directory.
    pub(crate) directory: watch::Receiver<u64>,
}

/// Why a socket could not be made.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    /// The endpoint would leave the directory.
    #[error("`{endpoint}` is not a file name")]
    NotAFileName {
        /// The endpoint.
        endpoint: String,
    },
    /// The system refused.
    #[error("cannot listen on `{socket}`: {why}")]
    Refused {
        /// The socket.
        socket: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
}

/// A server that accepts connections, until it is closed.
pub(crate) struct Server {
    socket: PathBuf,
    identity: Option<Identity>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds `directory/endpoint`, replacing a stale socket, and serves. Connections are accepted when this returns.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) fn open(
        directory: &Path,
        endpoint: &str,
        resource: ResourceName,
        context: ServeContext,
    ) -> Result<Self, ListenError> {
        if endpoint.is_empty() || endpoint.contains('/') || endpoint.starts_with("..") {
            return Err(ListenError::NotAFileName { endpoint: endpoint.to_owned() });
        }
        let socket = directory.join(endpoint);
        let refused = |why| ListenError::Refused { socket: socket.display().to_string(), why };
        match std::fs::remove_file(&socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(refused(e)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&socket).map_err(refused)?;
        let identity = Identity::of(&socket);
        let (closing, closed) = watch::channel(false);
        let lost = report_loss(socket.clone(), identity, resource.clone(), context.clone(), closed.clone());
        let handlers = Handlers { resource, context, closed: closed.clone(), streams: Arc::default() };
        let task = tokio::spawn(async move {
            tokio::join!(serve(listener, handlers, closed), lost);
        });
        Ok(Server { socket, identity, closing, task })
    }

    /// Ends all streams without a word, removes the socket if it is still ours, and hands back the rest of the work.
    pub(crate) fn close(self) -> JoinHandle<()> {
        self.closing.send_replace(true);
        if self.identity.is_some() && Identity::of(&self.socket) == self.identity {
            if let Err(e) = std::fs::remove_file(&self.socket) {
                tracing::warn!(socket = %self.socket.display(), why = %e, "cannot remove a socket");
            }
        }
        self.task
    }
}

async fn serve(listener: UnixListener, handlers: Handlers, closed: watch::Receiver<bool>) {
    let mut router = tonic::transport::Server::builder();
    let server = router
        .add_service(DevicePluginServer::new(handlers))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), wait_closed(closed.clone()));
    let give_up = async {
        wait_closed(closed).await;
        tokio::time::sleep(CLOSE_TIME_MAX).await;
    };
    tokio::select! {
        biased;
        result = server => if let Err(e) = result {
            tracing::error!(why = %e, "a device plugin server ended");
        },
        () = give_up => {}
    }
}

/// Returns when the server is told to close.
pub(crate) async fn wait_closed(mut closed: watch::Receiver<bool>) {
    // an error means that the server itself is gone, which closes too
    let _ = closed.wait_for(|closed| *closed).await;
}

/// A socket that someone removed can never be dialled again, so its stream counts as closed. A starting kubelet does this.
async fn report_loss(
    socket: PathBuf,
    identity: Option<Identity>,
    resource: ResourceName,
    context: ServeContext,
    closed: watch::Receiver<bool>,
) {
    let mut directory = context.directory.clone();
    let lost = async {
        while Identity::of(&socket) == identity {
            if directory.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        biased;
        () = wait_closed(closed) => {}
        () = lost => {
            tracing::warn!(socket = %socket.display(), %resource, "the socket was removed by someone else");
            // an error means that the process is ending
            let _ = context.events.send(Event::StreamClosed { resource }).await;
        }
    }
}

struct Handlers {
    resource: ResourceName,
    context: ServeContext,
    closed: watch::Receiver<bool>,
    streams: Arc<AtomicUsize>,
}

impl Handlers {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.context.views.borrow())
    }

    /// Answers one container and the event that tells it.
    fn allocate_one(&self, view: &View, ids: Vec<String>) -> (Event, Result<pb::ContainerAllocateResponse, String>) {
        let answer = view.allocate(&self.resource, &ids).map_err(|e| e.to_string());
        self.context.metrics.count_allocation(self.resource.as_str(), answer.is_ok());
        let event = Event::Allocated {
            resource: self.resource.clone(),
            ids,
            view_generation: view.generation,
            refused: answer.as_ref().err().cloned(),
        };
        (event, answer.map(proto::allocation_to_proto))
    }
}

fn check_count(count: usize) -> Result<(), Status> {
    if count > CONTAINERS_MAX {
        return Err(Status::invalid_argument(format!("{count} container requests, at most {CONTAINERS_MAX}")));
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

    async fn list_and_watch(&self, _: Request<pb::Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let stream = ListStream {
            resource: self.resource.clone(),
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
            view.prefer(&self.resource, &r.available_device_i_ds, &r.must_include_device_i_ds, size)
                .map(|ids| pb::ContainerPreferredAllocationResponse { device_i_ds: ids })
        };
        let answers: Result<Vec<_>, _> = requests.into_iter().map(prefer).collect();
        let container_responses = answers.map_err(|e| Status::unknown(e.to_string()))?;
        Ok(Response::new(pb::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(&self, request: Request<pb::AllocateRequest>) -> Result<Response<pb::AllocateResponse>, Status> {
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
        // the code of a plain error in Go, which NVIDIA's plugin returns
        let container_responses = container_responses.map_err(Status::unknown)?;
        Ok(Response::new(pb::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<pb::PreStartContainerRequest>,
    ) -> Result<Response<pb::PreStartContainerResponse>, Status> {
        Ok(Response::new(pb::PreStartContainerResponse {}))
    }
}

#[cfg(test)]
mod tests;
