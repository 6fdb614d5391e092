//! A GET over plain HTTP, because the plugin's own account is read from outside and nothing more is needed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Status code and body of `GET path`; `None` when nobody answers properly in time.
pub(super) async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    tokio::time::timeout(ANSWER_WITHIN, exchange(address, path)).await.ok().flatten()
}

async fn exchange(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.ok()?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        assert_eq!(parse("HTTP/1.0 200 OK\r\na: b\r\n\r\nhello"), Some((200, "hello".to_owned())));
        assert_eq!(parse("HTTP/1.1 503 x\r\n\r\n"), Some((503, String::new())));
        assert_eq!(parse("garbage"), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert_eq!(get(&address, "/ready").await, None);
    }
}
