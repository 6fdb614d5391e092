//! What becomes of kubelets before 1.26, which name the socket's path as authority of their calls: pinned here, because it
//! decides the oldest kubelet that the plugin can serve.

use std::sync::Arc;
use std::time::Duration;

use plugin_core::config::ResourceName;
use plugin_core::view::View;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::{ServeContext, Served, Server};
use crate::metrics::Metrics;

/// Frame types of HTTP/2 (RFC 9113).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
/// PROTOCOL_ERROR of HTTP/2.
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], body].concat()
}

/// A header as HPACK's literal without indexing.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Calls GetDevicePluginOptions as Go's gRPC does, with this authority; answers the first frame of the call.
async fn first_frame(authority: &str) -> (u8, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let (_publish, views) = watch::channel(Arc::new(View::default()));
    let (events, _seen) = mpsc::channel(16);
    let (_changes, changes) = watch::channel(0);
    let context = ServeContext { views, events, metrics: Metrics::new(), directory: changes };
    let served = Served { resource: ResourceName::gpu(), attempt: 1 };
    let _server = Server::open(directory.path(), "p.sock", served, context).unwrap();
    let mut stream = UnixStream::connect(directory.path().join("p.sock")).await.unwrap();
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1beta1.DevicePlugin/GetDevicePluginOptions"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let headers: Vec<u8> = headers.iter().flat_map(|(name, value)| header(name, value)).collect();
    // flags: 4 ends the headers, 1 ends the stream
    let call = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, 4, 1, &headers),
        frame(DATA, 1, 1, &[0; 5]),
    ];
    stream.write_all(&call.concat()).await.unwrap();
    let answer = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut body = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            if head[8] == 1 {
                return (head[3], body);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap()
}

#[tokio::test]
async fn kubelets_since_1_26_are_answered() {
    assert_eq!(first_frame("localhost").await.0, HEADERS);
}

#[tokio::test]
async fn a_socket_path_as_authority_is_a_protocol_error_so_the_oldest_kubelet_is_1_26() {
    for authority in
        ["/var/lib/kubelet/device-plugins/nvidia-gpu.sock", "%2Fvar%2Flib%2Fkubelet%2Fnvidia-gpu.sock"]
    {
        assert_eq!(first_frame(authority).await, (RST_STREAM, PROTOCOL_ERROR.to_vec()), "{authority}");
    }
}
