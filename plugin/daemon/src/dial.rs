//! gRPC connections to the kubelet's unix sockets, always with the authority `localhost`: servers refuse a socket path there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cause;

/// Longest time for a call to the kubelet, connection included.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// Why a call to the kubelet had no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum CallError {
    /// The socket does not accept.
    #[error("the kubelet's socket `{socket}` does not accept: {why}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// The reason.
        why: String,
    },
    /// The kubelet answered with an error.
    #[error("the kubelet refused `{call}`: {code}: {message}")]
    Refused {
        /// The method.
        call: &'static str,
        /// The gRPC code.
        code: String,
        /// The kubelet's message.
        message: String,
    },
    /// No answer in time.
    #[error("the kubelet did not answer `{call}` within {CALL_TIME_MAX:?}")]
    TooLate {
        /// The method.
        call: &'static str,
    },
}

/// Connects; unbounded in time, callers bound the whole call.
pub(crate) async fn unix(socket: &Path) -> Result<Channel, CallError> {
    let path: PathBuf = socket.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .map_err(|e| CallError::Unreachable { socket: socket.display().to_string(), why: cause::line(&e) })
}

/// The kubelet's error as ours.
pub(crate) fn refused(call: &'static str, status: &tonic::Status) -> CallError {
    CallError::Refused {
        call,
        code: format!("{:?}", status.code()),
        message: cause::one_line(status.message()),
    }
}
