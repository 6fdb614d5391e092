//! The plugin's window: probes, metrics and state, over HTTP for the kubelet and Prometheus, on a socket for `status`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use plugin_core::view::{Status, View};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admin_socket::AdminSocket;
use crate::files;
use crate::metrics::Metrics;

/// Most connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// Longest life of a connection, so that a silent client cannot keep its place.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the window cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum AdminError {
    /// The address is taken or not ours.
    #[error("admin address `{address}` cannot be used: {why} (hint: choose another with --admin-address)")]
    Listen {
        /// The address.
        address: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
    /// The bound address could not be told.
    #[error("admin address file `{path}` cannot be written: {why}")]
    AddressFile {
        /// The file.
        path: String,
        /// The reason.
        #[source]
        why: io::Error,
    },
}

/// What the pages show.
#[derive(Clone)]
pub(crate) struct Admin {
    /// When the plugin's clock began.
    pub(crate) began: Instant,
    /// The current view.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// All metrics.
    pub(crate) metrics: Metrics,
}

impl Admin {
    /// Binds, writes the bound address to `address_file` if one is given, and serves from then on.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub(crate) async fn start(self, address: &str, address_file: Option<&Path>) -> Result<(), AdminError> {
        let failed = |why| AdminError::Listen { address: address.to_owned(), why };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        if let Some(path) = address_file {
            let failed = |why| AdminError::AddressFile { path: path.display().to_string(), why };
            files::publish(path, bound.to_string().as_bytes()).map_err(failed)?;
        }
        tracing::info!(address = %bound, "serving /live, /ready, /metrics and /state");
        tokio::spawn(self.accept(listener));
        Ok(())
    }

    /// The same pages on a socket, for as long as the task lives.
    pub(crate) async fn serve_socket(self, socket: AdminSocket) {
        tracing::info!(path = %socket.path().display(), "serving root");
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            self.take_in(socket.accept().await, place).await;
        }
    }

    async fn accept(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            self.take_in(listener.accept().await.map(|(stream, _)| stream), place).await;
        }
    }

    /// Answers one connection in a task of its own, which gives its place back.
    async fn take_in<S>(&self, stream: io::Result<S>, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match stream {
            Ok(stream) => {
                let admin = self.clone();
                tokio::spawn(async move {
                    admin.converse(stream).await;
                    drop(place);
                });
            }
            // for example no file descriptor left: others must get one back first
            Err(e) => {
                tracing::warn!(why = %e, "an admin connection was not accepted");
                tokio::task::yield_now().await;
            }
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let answer = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, std::convert::Infallible>(self.answer(request.method(), request.uri().path()))
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // a client that breaks off or stays silent is no event of ours
        let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return page(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                format!("`{method}` is not served here, only GET\n"),
            );
        }
        match path {
            "/live" => page(StatusCode::OK, TEXT, "live\n".to_owned()),
            "/ready" => self.ready(),
            "/metrics" => page(StatusCode::OK, OPEN_METRICS, self.metrics.text()),
            "/state" => self.state(),
            other => {
                let hint = "try /live, /ready, /metrics or /state";
                page(StatusCode::NOT_FOUND, TEXT, format!("there is no page `{other}`, {hint}\n"))
            }
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let view = Arc::clone(&self.views.borrow());
        if view.status.ready {
            return page(StatusCode::OK, TEXT, "ready\n".to_owned());
        }
        let reasons = view.status.not_ready_because.join("\n");
        page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready\n{reasons}\n"))
    }

    fn state(&self) -> Response<Full<Bytes>> {
        let view = Arc::clone(&self.views.borrow());
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match serde_json::to_string_pretty(&Status { now_ms, ..view.status.clone() }) {
            Ok(text) => page(StatusCode::OK, JSON, text),
            Err(e) => {
                page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("the state has no JSON form: {e}\n"))
            }
        }
    }
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{At, get};

    async fn start(view: View) -> (String, watch::Sender<Arc<View>>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("address");
        let (publish, views) = watch::channel(Arc::new(view));
        let admin = Admin { began: Instant::now(), views, metrics: Metrics::new() };
        admin.start("127.0.0.1:0", Some(&file)).await.unwrap();
        (std::fs::read_to_string(&file).unwrap(), publish, directory)
    }

    #[tokio::test]
    async fn readiness_is_503_with_the_reasons_until_the_view_is_ready() {
        let mut view = View::default();
        view.status.not_ready_because = vec!["no driver library".to_owned()];
        let (address, publish, _directory) = start(view.clone()).await;
        let (code, body) = get(&At::Address(address.clone()), "/ready").await.unwrap();
        assert_eq!((code, body.as_str()), (503, "not ready\nno driver library\n"));
        view.status.ready = true;
        publish.send_replace(Arc::new(view));
        assert_eq!(get(&At::Address(address.clone()), "/ready").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn the_state_is_the_status_of_the_view() {
        let view = View::default();
        let (address, _publish, _directory) = start(view.clone()).await;
        let (code, body) = get(&At::Address(address.clone()), "/state").await.unwrap();
        assert_eq!(code, 200);
        let status: plugin_core::view::Status = serde_json::from_str(&body).unwrap();
        assert_eq!(status, view.status);
    }

    #[tokio::test]
    async fn live_and_metrics_answer_and_other_pages_do_not_exist() {
        let (address, _publish, _directory) = start(View::default()).await;
        assert_eq!(get(&At::Address(address.clone()), "/live").await.unwrap(), (200, "live\n".to_owned()));
        assert!(get(&At::Address(address.clone()), "/metrics").await.unwrap().1.contains("tandem_ready 0"));
        assert_eq!(get(&At::Address(address.clone()), "/nothing").await.unwrap().0, 404);
    }

    #[tokio::test]
    async fn the_socket_serves_the_same_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (_publish, views) = watch::channel(Arc::new(View::default()));
        let admin = Admin { began: Instant::now(), views, metrics: Metrics::new() };
        let task = tokio::spawn(admin.serve_socket(AdminSocket::bind(&path).unwrap()));
        let at = At::Socket(path);
        assert_eq!(get(&at, "/live").await.unwrap(), (200, "live\n".to_owned()));
        assert_eq!(get(&at, "/state").await.unwrap().0, 200);
        task.abort();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let (_publish, views) = watch::channel(Arc::new(View::default()));
        let error = Admin { began: Instant::now(), views, metrics: Metrics::new() }
            .start(&address, None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
