//! gRPC connections to the kubelet's unix sockets, always with the authority `localhost`: servers refuse a socket path there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cause;

/// Longest time for a call to the kubelet, connection included.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// Pauses before a socket is tried again that is not there or refuses: a starting kubelet makes it a moment before it listens.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
];

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
        async move { connect(&path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .map_err(|e| CallError::Unreachable { socket: socket.display().to_string(), why: cause::line(&e) })
}

/// The last try's error counts.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    for pause in PAUSES {
        match UnixStream::connect(path).await {
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                // nothing tells when a socket begins to accept
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    UnixStream::connect(path).await
}

/// The kubelet's error as ours.
pub(crate) fn refused(call: &'static str, status: &tonic::Status) -> CallError {
    CallError::Refused {
        call,
        code: format!("{:?}", status.code()),
        message: cause::one_line(status.message()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_kubelet_that_listens_a_moment_after_its_socket_was_made_is_reached_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("kubelet.sock");
        // a socket that nobody listens on refuses
        drop(UnixListener::bind(&socket).unwrap());
        let listens = async {
            std::fs::remove_file(&socket).unwrap();
            UnixListener::bind(&socket).unwrap()
        };
        // the first try has been refused when the other side goes on
        let (connected, _listener) = tokio::join!(biased; connect(&socket), listens);
        assert!(connected.is_ok(), "{connected:?}");
    }

    #[tokio::test]
    async fn a_socket_that_keeps_refusing_fails_after_a_few_bounded_pauses() {
        let directory = tempfile::tempdir().unwrap();
        let begin = tokio::time::Instant::now();
        let error = connect(&directory.path().join("kubelet.sock")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert!(PAUSES.iter().sum::<Duration>() < Duration::from_millis(100), "shorter than any backoff");
    }
}
