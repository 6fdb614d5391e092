//! How the process speaks: one log, on standard error, for people (`text`) or for collectors (`json`).

use std::io;

use tracing_subscriber::EnvFilter;

/// The client of the API server logs every failed call as an error; the plugin says once that it does not answer, and when it
/// does again. Who wants each call names this target in the level.
const TOLD_OTHERWISE: &str = "kube_client::client::builder=off";

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Sets up the log for the whole process. `level` is `info`, or a list such as `info,kube=debug`.
///
/// # Errors
/// When `level` cannot be read.
pub(crate) fn start(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(format!("{TOLD_OTHERWISE},{level}")).map_err(|e| {
        anyhow::anyhow!("log level `{level}` cannot be read: {e} (hint: `info` or `info,kube=debug`)")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    let started = match format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("the log cannot be set up: {e}"))
}
