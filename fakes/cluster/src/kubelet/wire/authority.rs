//! The first call of a kubelet before 1.26, frame by frame: it names the socket's path as its authority, which HTTP/2
//! libraries in Rust can neither send nor accept.
//!
//! A plugin that answers it is called in the usual way from then on; one that refuses it is lost to such a kubelet.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::kubelet::ledger::CallError;

/// Frame types and flags of HTTP/2 (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The only stream of the connection.
const STREAM: u32 = 1;
const FRAME_HEAD_BYTES: usize = 9;
/// Largest frame that a peer may send to who has not said otherwise.
const FRAME_BYTES_MAX: usize = 16_384;
/// Most frames before the one that decides.
const FRAMES_MAX: usize = 64;
/// How long the answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// An empty gRPC message: not compressed, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
/// Names of errors as Go prints them (RFC 9113, section 7).
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// Calls GetDevicePluginOptions with the socket's path as authority; the answer itself is not read.
pub(super) async fn offer_socket_path(socket: &Path) -> Result<(), CallError> {
    let failed = |code: &str, message: String| CallError { code: code.to_owned(), message };
    match tokio::time::timeout(ANSWER_TIME_MAX, call(socket)).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(error))) => {
            let name = usize::try_from(error).ok().and_then(|error| ERRORS.get(error)).copied();
            let name = name.unwrap_or("unknown");
            Err(failed("Internal", format!("stream terminated by RST_STREAM with error code: {name}")))
        }
        Ok(Err(why)) => Err(failed("Unavailable", format!("error reading from server: {why}"))),
        Err(_elapsed) => Err(failed("DeadlineExceeded", "context deadline exceeded".to_owned())),
    }
}

/// The HTTP/2 error that the call was refused with, if it was.
async fn call(socket: &Path) -> io::Result<Option<u32>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&request(&socket.display().to_string())?).await?;
    for _ in 0..FRAMES_MAX {
        let mut head = [0; FRAME_HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let [l1, l2, l3, kind, _, s1, s2, s3, s4] = head;
        let length = usize::try_from(u32::from_be_bytes([0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other(format!("a frame of {length} bytes, at most {FRAME_BYTES_MAX}")));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let error = |bytes: Option<&[u8]>| {
            let bytes: Option<[u8; 4]> = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        match (kind, u32::from_be_bytes([s1, s2, s3, s4])) {
            (HEADERS, STREAM) => return Ok(None),
            (RST_STREAM, STREAM) => return Ok(Some(error(body.get(..4)))),
            (GOAWAY, _) => return Ok(Some(error(body.get(4..8)))),
            _ => {}
        }
    }
    Err(io::Error::other(format!("no answer within {FRAMES_MAX} frames")))
}

/// Everything that the kubelet sends.
fn request(authority: &str) -> io::Result<Vec<u8>> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1beta1.DevicePlugin/GetDevicePluginOptions"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        // a literal that is not indexed (RFC 7541, section 6.2.2)
        block.push(0);
        for text in [name, value] {
            block.push(short(text.len(), 0x7f)?);
            block.extend(text.as_bytes());
        }
    }
    let frames = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[])?,
        frame(HEADERS, END_HEADERS, STREAM, &block)?,
        frame(DATA, END_STREAM, STREAM, &EMPTY_MESSAGE)?,
    ];
    Ok(frames.concat())
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
    let [_, l1, l2, l3] = length;
    let [s1, s2, s3, s4] = stream.to_be_bytes();
    Ok([&[l1, l2, l3, kind, flags, s1, s2, s3, s4], body].concat())
}

/// A length of one byte; socket paths have at most 107 bytes.
fn short(length: usize, most: u8) -> io::Result<u8> {
    u8::try_from(length)
        .ok()
        .filter(|length| *length < most)
        .ok_or_else(|| io::Error::other(format!("a header text of {length} bytes, at most {}", most - 1)))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A server that answers the first call with these frames; gives back what it was sent.
    async fn answered(frames: Vec<u8>) -> (Result<(), CallError>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("p.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sent = vec![0; 4096];
            let length = stream.read(&mut sent).await.unwrap();
            sent.truncate(length);
            stream.write_all(&frames).await.unwrap();
            (sent, socket.display().to_string())
        };
        let (result, (sent, authority)) = tokio::join!(offer_socket_path(&socket), serve);
        let authority = authority.as_bytes();
        assert!(sent.windows(authority.len()).any(|part| part == authority), "the path is not in {sent:?}");
        (result, sent)
    }

    #[tokio::test]
    async fn a_server_that_answers_is_taken_and_one_that_resets_is_not() {
        let settings = frame(SETTINGS, 0, 0, &[]).unwrap();
        let headers = frame(HEADERS, END_HEADERS, STREAM, &[0x88]).unwrap();
        assert_eq!(answered([settings.clone(), headers].concat()).await.0, Ok(()));
        let reset = frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 1]).unwrap();
        let refused = answered([settings, reset].concat()).await.0.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "rpc error: code = Internal desc = stream terminated by RST_STREAM with error code: PROTOCOL_ERROR"
        );
        assert!(answered(Vec::new()).await.0.is_err(), "it hung up");
    }
}
