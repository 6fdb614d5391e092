//! The server of one resource on one socket: from bind to a close that leaves nothing behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plugin_api::deviceplugin::device_plugin_server::DevicePluginServer;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::view::View;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;

use crate::files::Identity;
use crate::handlers::{Handlers, REQUEST_BYTES_MAX};
use crate::metrics::Metrics;

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

/// What a server serves: a resource, on its n-th socket since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// The extended resource.
    pub(crate) resource: ResourceName,
    /// Which of its sockets; every event of this server repeats it.
    pub(crate) attempt: u64,
}

impl Served {
    /// The end of this server's last stream, or of its socket.
    pub(crate) fn closed(self) -> Event {
        Event::StreamClosed { resource: self.resource, attempt: self.attempt }
    }
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
        served: Served,
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
        let lost = report_loss(socket.clone(), identity, served.clone(), context.clone(), closed.clone());
        let handlers = Handlers { served, context, closed: closed.clone(), streams: Arc::default() };
        let task = tokio::spawn(async move {
            tokio::join!(serve(listener, handlers, closed), lost);
        });
        Ok(Server { socket, identity, closing, task })
    }

    /// Ends all streams without a word, removes the socket if it is still ours, and hands back the rest of the work.
    pub(crate) fn close(self) -> JoinHandle<()> {
        self.closing.send_replace(true);
        if self.identity.is_some()
            && Identity::of(&self.socket) == self.identity
            && let Err(e) = std::fs::remove_file(&self.socket)
        {
            tracing::warn!(socket = %self.socket.display(), why = %e, "cannot remove a socket");
        }
        self.task
    }
}

async fn serve(listener: UnixListener, handlers: Handlers, closed: watch::Receiver<bool>) {
    let mut router = tonic::transport::Server::builder();
    let service = DevicePluginServer::new(handlers).max_decoding_message_size(REQUEST_BYTES_MAX);
    let server = router
        .add_service(service)
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
    served: Served,
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
            tracing::warn!(socket = %socket.display(), resource = %served.resource, "the socket was removed by someone else");
            // an error means that the process is ending
            let _ = context.events.send(served.closed()).await;
        }
    }
}

#[cfg(test)]
mod authority_tests;
#[cfg(test)]
mod tests;
