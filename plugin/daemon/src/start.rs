//! From a command to an exit status: the runtime, the log, and the one line that says why it ended.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::cdi_files::SpecDir;
use crate::nvml::NvmlBackend;
use crate::perform::Exit;
use crate::settings::{Command, LogSettings};
use crate::{boot, cause, doctor, mps_supervisor, print_config, status, telemetry, validate};

/// The exit status of a failed start.
const FAILED: u8 = 1;
/// How long work on other threads may go on after the end.
const THREADS_TIME_MAX: Duration = Duration::from_millis(500);

/// Does it.
pub(crate) fn start(command: Command) -> ExitCode {
    let result = match command {
        Command::Run(settings, nvml, log) => {
            with_log(&log).and_then(|()| wait_for(boot::run(*settings, Box::new(NvmlBackend::new(nvml)))))
        }
        Command::Mps(settings, _, log) if settings.init => {
            let args = std::env::args_os().collect();
            let ended =
                with_log(&log).and_then(|()| wait_for(async { Ok(mps_supervisor::init::run(args).await?) }));
            match ended {
                Ok(code) => return code,
                Err(e) => Err(e),
            }
        }
        Command::Mps(settings, nvml, log) => with_log(&log).and_then(|()| {
            let why = wait_for(mps_supervisor::run(*settings, Box::new(NvmlBackend::new(nvml))))?;
            Ok(Exit { code: 0, why })
        }),
        Command::MpsReady { root, alone } => {
            mps_supervisor::probe::ready(&root, alone).map(|()| Exit { code: 0, why: String::new() })
        }
        Command::Validate(settings, nvml) => {
            validate::print(&settings, &NvmlBackend::new(nvml), &mut std::io::stdout().lock())
                .map(|code| Exit { code, why: String::new() })
                .map_err(anyhow::Error::from)
        }
        Command::PrintConfig(settings) => print_config::print(&settings, &mut std::io::stdout().lock())
            .map(|code| Exit { code, why: String::new() })
            .map_err(anyhow::Error::from),
        Command::Doctor(settings, json) => {
            wait_for(doctor::run(&settings, json)).map(|code| Exit { code, why: String::new() })
        }
        Command::Status { at, json } => {
            wait_for(status::print(&at, json)).map(|()| Exit { code: 0, why: String::new() })
        }
        Command::Uninstall(cdi) => uninstall(&cdi),
    };
    let exit = result.unwrap_or_else(|e| Exit { code: FAILED, why: cause::line(e.as_ref()) });
    if exit.code == 0 && !exit.why.is_empty() {
        tracing::info!(why = exit.why, "ended");
    } else if !exit.why.is_empty() {
        eprintln!("tandem-device-plugin: {}", exit.why);
    }
    ExitCode::from(exit.code)
}

fn uninstall(cdi: &SpecDir) -> anyhow::Result<Exit> {
    let removed = cdi.remove().map_err(|why| anyhow::anyhow!("a CDI spec cannot be removed: {why}"))?;
    for path in &removed {
        println!("removed {}", path.display());
    }
    if removed.is_empty() {
        println!("no CDI spec of vendor `{}` in {}", cdi.vendor, cdi.path.display());
    }
    Ok(Exit { code: 0, why: String::new() })
}

fn with_log(log: &LogSettings) -> anyhow::Result<()> {
    telemetry::start(log.format, &log.level)
}

/// One thread runs everything that waits; it won every latency measurement against several.
fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(THREADS_TIME_MAX);
    result
}
