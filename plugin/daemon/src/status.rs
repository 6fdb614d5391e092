//! The `status` subcommand: what a running plugin says about itself, as a table or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use plugin_core::mps::DaemonStatus;
use plugin_core::view::{GpuStatus, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time for the whole answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Prints the state of the plugin whose admin address this is.
///
/// # Errors
/// Nobody answers there, or not a plugin.
pub(crate) async fn print(address: &str, json: bool) -> anyhow::Result<()> {
    let (code, body) = get(address, "/state").await?;
    if code != 200 {
        bail!("`{address}` answered {code}; is it the admin address of a plugin?");
    }
    let status: Status =
        serde_json::from_str(&body).with_context(|| format!("`{address}` did not send a state"))?;
    if json {
        println!("{body}")
    } else {
        print!("{}", table(&status))
    }
    Ok(())
}

/// One HTTP GET: code and body.
///
/// # Errors
/// Nobody answers, or not in HTTP, or not in time.
pub(crate) async fn get(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let converse = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let hint = || format!("no plugin answers at `{address}` (hint: --admin-address of the running plugin)");
    let answer =
        tokio::time::timeout(ANSWER_TIME_MAX, converse).await.with_context(hint)?.with_context(hint)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let code =
        head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).context("the answer has no status")?;
    Ok((code, body.to_owned()))
}

fn table(status: &Status) -> String {
    let mut out = String::new();
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    // writing to a String cannot fail
    let _ = writeln!(out, "ready      {}", if status.ready { "yes" } else { "no" });
    for reason in &status.not_ready_because {
        let _ = writeln!(out, "           {reason}");
    }
    let _ = writeln!(
        out,
        "config     {} (asked for: {})",
        or_none(&status.config_applied),
        or_none(&status.config_requested)
    );
    for problem in &status.config_problems {
        let _ = writeln!(out, "           {problem}");
    }
    let _ = writeln!(out, "switch     {}\n", status.switch);
    let _ = writeln!(out, "{:<32} {:>7} {:>7}  REGISTRATION", "RESOURCE", "DEVICES", "HEALTHY");
    for (name, resource) in &status.resources {
        let _ = writeln!(
            out,
            "{name:<32} {:>7} {:>7}  {}",
            resource.devices, resource.healthy, resource.registration
        );
    }
    let _ = writeln!(
        out,
        "\n{:<4} {:<42} {:<11} {:<24} {:<14} {:<10} HOLDERS",
        "GPU", "UUID", "STATE", "RESOURCE", "STRATEGY", "MPS"
    );
    for gpu in &status.gpus {
        out.push_str(&gpu_line(gpu));
    }
    out
}

fn gpu_line(gpu: &GpuStatus) -> String {
    let mps = match &gpu.mps {
        None => "-",
        Some(DaemonStatus::Starting) => "starting",
        Some(DaemonStatus::Ready) => "ready",
        Some(DaemonStatus::Stopping) => "stopping",
        Some(DaemonStatus::Failed { .. }) => "failed",
    };
    let resource = match (&gpu.resource, &gpu.next_resource) {
        (Some(now), Some(next)) if now != next => format!("{now} → {next}"),
        (Some(now), _) => now.clone(),
        (None, Some(next)) => format!("→ {next}"),
        (None, None) => "-".to_owned(),
    };
    let strategy = gpu.strategy.and_then(|s| serde_json::to_value(s).ok());
    let strategy = strategy.as_ref().and_then(|s| s.as_str()).unwrap_or("-");
    let holders = if gpu.holders.is_empty() { "-".to_owned() } else { gpu.holders.join(", ") };
    let (index, uuid, state) = (gpu.index, gpu.uuid.as_str(), &gpu.state);
    format!("{index:<4} {uuid:<42} {state:<11} {resource:<24} {strategy:<14} {mps:<10} {holders}\n")
}

#[cfg(test)]
mod tests {
    use plugin_core::inventory::GpuUuid;

    use super::*;

    #[test]
    fn a_draining_gpu_is_shown_with_its_holders_and_where_it_goes() {
        let gpu = GpuStatus {
            uuid: GpuUuid::new("GPU-a"),
            index: 0,
            name: "Tesla T4".into(),
            state: "draining".into(),
            resource: Some("nvidia.com/gpu.shared".into()),
            strategy: Some(plugin_core::view::Strategy::TimeSlicing),
            next_resource: Some("nvidia.com/gpu".into()),
            holders: vec!["default/p/main".into()],
            mps: Some(DaemonStatus::Ready),
        };
        let text = table(&Status { gpus: vec![gpu], ..Default::default() });
        for part in ["draining", "nvidia.com/gpu.shared → nvidia.com/gpu", "time-slicing", "default/p/main"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_wrong_address_is_named_with_a_hint() {
        let error = print("127.0.0.1:1", false).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
