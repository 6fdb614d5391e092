//! The socket of the fake API server: moves requests to [`super::rest`] and changes to watchers, and plays faults.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::error::ApiError;
use super::handle::ApiHandle;
use super::rest::{self, Answer, Request};
use super::stream;

/// The largest request body, in bytes (Kubernetes 1.36: 3 MiB).
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Connections served at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 1024;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What goes wrong on purpose. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Connections are closed before any answer, and running watches end.
    pub down: bool,
    /// Every answer waits this long.
    pub latency: Duration,
    /// Every request is answered with this status code (429, 500, 503 …) instead of being served.
    pub refuse_with: Option<u16>,
    /// Every watch is answered with 410 in its stream, as after a compaction.
    pub expire_watches: bool,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {why}; is another server using the port?")]
    Listen {
        /// The wanted address.
        address: SocketAddr,
        /// The system's reason.
        why: std::io::Error,
    },
}

/// A running server. Dropping it ends all its connections.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    accepting: JoinHandle<()>,
}

impl ApiServer {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use or not of this machine.
    pub async fn start(handle: ApiHandle, address: SocketAddr) -> Result<ApiServer, StartError> {
        let failed = |why| StartError::Listen { address, why };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let faults = watch::Sender::new(Faults::default());
        let accepting = tokio::spawn(accept(listener, handle, faults.subscribe()));
        Ok(ApiServer { address, faults, accepting })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of all paths, such as `http://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Ends all connections and frees the port.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Only a cancellation comes back; the task returns nothing.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, handle: ApiHandle, faults: watch::Receiver<Faults>) {
    // Aborted with this task when the server is dropped.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(serve(stream, handle.clone(), faults.clone()));
            }
            Ok(_) => tracing::warn!(limit = CONNECTIONS_MAX, "connection refused, too many are open"),
            Err(why) => tracing::warn!(%why, "a connection was lost before it was accepted"),
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, handle: ApiHandle, faults: watch::Receiver<Faults>) {
    if let Err(why) = stream.set_nodelay(true) {
        tracing::debug!(%why, "no TCP_NODELAY");
    }
    let mut down = faults.clone();
    let service = service_fn(move |request| respond(handle.clone(), faults.clone(), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // first: a server that is down answers no request, not even one that is there already
        biased;
        // The sender is gone only when the server is: the connection ends either way.
        _ = down.wait_for(|faults| faults.down) => {}
        outcome = connection => if let Err(why) = outcome {
            tracing::debug!(%why, "connection ended");
        },
    }
}

async fn respond(
    handle: ApiHandle,
    faults: watch::Receiver<Faults>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, Infallible> {
    let played = faults.borrow().clone();
    if !played.latency.is_zero() {
        tokio::time::sleep(played.latency).await;
    }
    let answer = match (played.refuse_with, read(request).await) {
        (Some(code), _) => refusal(code),
        (None, Err(refused)) => Answer::Json(refused.code, refused.to_status()),
        (None, Ok(request)) => {
            tracing::trace!(method = %request.method, path = %request.path, query = %request.query, "request");
            handle.write(|store, now| rest::answer(store, &request, now))
        }
    };
    Ok(match answer {
        Answer::Json(code, body) => response(code, "application/json", Bytes::from(body.to_string())),
        Answer::Text(text) => response(200, "text/plain; charset=utf-8", Bytes::from(text)),
        Answer::Watch(watch) => {
            let body = stream::body(handle, watch, played.expire_watches);
            with_type(hyper::Response::new(body), "application/json")
        }
    })
}

fn refusal(code: u16) -> Answer {
    let refused = match code {
        429 => ApiError::too_many_requests("too many requests, please try again later"),
        code => ApiError { code, ..ApiError::internal("a fault played on purpose") },
    };
    Answer::Json(code, refused.to_status())
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, ApiError> {
    let header = |name| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_string()
    };
    let (content_type, accept) = (header(CONTENT_TYPE), header(ACCEPT));
    let authorization = header(AUTHORIZATION);
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| ApiError::too_large(BODY_BYTES_MAX))?.to_bytes().to_vec();
    Ok(Request {
        method: parts.method.as_str().to_string(),
        path: parts.uri.path().to_string(),
        query: parts.uri.query().unwrap_or_default().to_string(),
        content_type,
        accept,
        authorization,
        body,
    })
}

fn response(code: u16, media_type: &'static str, body: Bytes) -> hyper::Response<Body> {
    let mut response = hyper::Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() =
        hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    if code == 429 {
        response.headers_mut().insert(RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
    }
    with_type(response, media_type)
}

fn with_type(mut response: hyper::Response<Body>, media_type: &'static str) -> hyper::Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media_type));
    response
}
