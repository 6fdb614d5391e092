//! The `status` subcommand: asks a running plugin what it says about itself, on its socket or over HTTP.

mod table;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use plugin_core::view::Status;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Longest time for the whole answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a plugin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Its admin socket.
    Socket(PathBuf),
    /// Its admin address.
    Address(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Socket(path) => write!(f, "{}", path.display()),
            At::Address(address) => f.write_str(address),
        }
    }
}

/// Prints the state of the first plugin that answers at one of these.
///
/// # Errors
/// Nobody answers, or not a plugin: every place with its reason.
pub(crate) async fn print(at: &[At], json: bool) -> anyhow::Result<()> {
    let hint = "(hint: run it in the plugin's container, or name its --admin-socket or --admin-address)";
    let body = ask(at, "/state").await.map_err(|e| anyhow!("{e} {hint}"))?;
    let status: Status = serde_json::from_str(&body).context("the answer is not the state of a plugin")?;
    if json {
        println!("{body}")
    } else {
        print!("{}", table::table(&status))
    }
    Ok(())
}

/// A page of the first plugin that answers.
///
/// # Errors
/// Nobody answers: every place with its reason.
pub(crate) async fn ask(at: &[At], path: &str) -> anyhow::Result<String> {
    let mut failures = Vec::new();
    for place in at {
        match get(place, path).await {
            Ok((200, body)) => return Ok(body),
            Ok((code, _)) => failures.push(format!("`{place}` answered {code}; is it that of a plugin?")),
            Err(e) => failures.push(crate::cause::line(e.as_ref())),
        }
    }
    bail!("{}", failures.join("; "))
}

/// One HTTP GET: code and body.
///
/// # Errors
/// Nobody answers, or not in HTTP, or not in time.
pub(crate) async fn get(at: &At, path: &str) -> anyhow::Result<(u16, String)> {
    let converse = async {
        match at {
            At::Socket(socket) => converse(UnixStream::connect(socket).await?, "localhost", path).await,
            At::Address(address) => converse(TcpStream::connect(address).await?, address, path).await,
        }
    };
    let hint = || format!("no plugin answers at `{at}`");
    let answer =
        tokio::time::timeout(ANSWER_TIME_MAX, converse).await.with_context(hint)?.with_context(hint)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let code =
        head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).context("the answer has no status")?;
    Ok((code, body.to_owned()))
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plugin_core::view::View;
    use tokio::sync::watch;

    use super::*;
    use crate::admin::Admin;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn every_place_where_nobody_answers_is_named_with_a_hint() {
        let at = [At::Socket("/nonexistent/admin.sock".into()), At::Address("127.0.0.1:1".into())];
        let error = print(&at, false).await.unwrap_err().to_string();
        for part in ["/nonexistent/admin.sock", "127.0.0.1:1", "--admin-socket"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[tokio::test]
    async fn without_a_socket_the_address_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (_publish, views) = watch::channel(Arc::new(View::default()));
        let file = folder.path().join("address");
        Admin { began: std::time::Instant::now(), views, metrics: Metrics::new() }
            .start("127.0.0.1:0", Some(&file))
            .await
            .unwrap();
        let address = std::fs::read_to_string(&file).unwrap();
        let at = [At::Socket(folder.path().join("none")), At::Address(address)];
        assert!(ask(&at, "/state").await.unwrap().contains("\"ready\""));
    }
}
