//! Everything that `run` starts once: the sources of events, the effects' tools, the window; then the loop takes over.

mod dead_sockets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use plugin_core::event::Event;
use plugin_core::plugin::Plugin;
use plugin_core::settings::Settings;
use plugin_core::view::View;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::admin_socket::AdminSocket;
use crate::cdi_files::SpecDir;
use crate::config_dir::{self, ConfigPath};
use crate::files;
use crate::gpu::processes::ProcessReader;
use crate::gpu::{GpuBackend, GpuThread};
use crate::gpu_watch::{self, GpuWatchSettings};
use crate::journal_file::JournalFile;
use crate::kubelet_watch;
use crate::metrics::Metrics;
use crate::mps_files::{self, MpsRoot};
use crate::node_client::NodeSettings;
use crate::node_link::NodeLink;
use crate::nvidia_smi::NvidiaSmi;
use crate::perform::{Exit, Performer};
use crate::run::Loop;
use crate::serve::ServeContext;
use crate::state_dir::{self, StateDir, StateFile};

/// Most events that wait for the loop; whoever adds one more waits.
const EVENTS_MAX: usize = 1024;

/// How `run` was told to behave.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    /// What the core needs to know.
    pub(crate) core: Settings,
    /// Where configuration is, if anywhere.
    pub(crate) config: Option<ConfigPath>,
    /// The API server, if a node name is known.
    pub(crate) node: Option<NodeSettings>,
    /// Where the driver's device nodes appear.
    pub(crate) dev: PathBuf,
    /// The kubelet's registration socket.
    pub(crate) kubelet_socket: PathBuf,
    /// The kubelet's PodResources socket.
    pub(crate) pod_resources_socket: PathBuf,
    /// Where CDI specs are.
    pub(crate) cdi: SpecDir,
    /// The directory shared with the MPS supervisor.
    pub(crate) mps_root: MpsRoot,
    /// `nvidia-smi`, by path or by name.
    pub(crate) nvidia_smi: PathBuf,
    /// Where the last good configuration is kept, if anywhere.
    pub(crate) state_dir: Option<StateDir>,
    /// The same for root on this node, if anywhere.
    pub(crate) admin_socket: Option<PathBuf>,
    /// Where probes, metrics and state are served.
    pub(crate) admin_address: String,
    /// Gets the bound admin address.
    pub(crate) admin_address_file: Option<PathBuf>,
    /// Where the journal is kept, if anywhere.
    pub(crate) journal_dir: Option<PathBuf>,
}

/// Runs until the core ends it.
///
/// # Errors
/// What prevents even the start: the admin address, the journal's directory, `desired.json` of an earlier run.
pub(crate) async fn run(settings: RunSettings, backend: Box<dyn GpuBackend>) -> anyhow::Result<Exit> {
    let begin = Instant::now();
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let (publish, views) = watch::channel(Arc::new(View::default()));
    let metrics = Metrics::new();
    let admin = Admin { began: begin, views: views.clone(), metrics: metrics.clone() };
    admin.clone().start(&settings.admin_address, settings.admin_address_file.as_deref()).await?;
    let window = settings.admin_socket.as_deref().and_then(|path| open_socket(path, admin));
    let journal = JournalFile::begin_in(settings.journal_dir.as_deref(), "journal")?;
    let mps_desired = mps_files::read_wish(&settings.mps_root);
    let started = Event::Started { settings: Box::new(settings.core.clone()), mps_desired };
    listen_for_signals(&events)?;
    tell_state(settings.state_dir.as_ref(), &events).await;
    let performer = start(settings, backend, events, views, metrics.clone())?;
    let node = Loop { plugin: Plugin::new(), begin, journal, metrics, publish, performer };
    let exit = node.run(started, queue).await;
    if let Some(window) = window {
        // it takes its socket away
        window.abort();
        let _ = window.await;
    }
    Ok(exit)
}

/// A node without the socket still has the HTTP window.
fn open_socket(path: &Path, admin: Admin) -> Option<JoinHandle<()>> {
    match AdminSocket::bind(path) {
        Ok(socket) => Some(tokio::spawn(admin.serve_socket(socket))),
        Err(e) => {
            tracing::warn!("{e}; `status` can ask over HTTP");
            None
        }
    }
}

/// The first thing after the start, so that it is known when the first choice is made.
async fn tell_state(state_dir: Option<&StateDir>, events: &mpsc::Sender<Event>) {
    match state_dir {
        Some(directory) => {
            for file in [directory.kept_gpus(), directory.last_good()] {
                // an error means that the process is ending
                drop(events.send(file.read()).await);
            }
        }
        None => tracing::info!(
            "no --state-dir: the configuration in force and its choice of GPUs are not kept for the next start"
        ),
    }
}

/// Starts every source of events, and makes ready to perform.
fn start(
    settings: RunSettings,
    backend: Box<dyn GpuBackend>,
    events: mpsc::Sender<Event>,
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> anyhow::Result<Performer> {
    let kubelets = files::directory_of(&settings.kubelet_socket).to_owned();
    tokio::spawn(async move {
        for path in dead_sockets::remove(&kubelets).await {
            tracing::info!("removed the socket `{}` that a plugin left behind", path.display());
        }
    });
    let (directory_changes, directory) = watch::channel(0);
    tokio::spawn(kubelet_watch::watch(settings.kubelet_socket.clone(), directory_changes, events.clone()));
    let config_asked = settings.config.map(|path| {
        let asked = Arc::new(Notify::new());
        tokio::spawn(config_dir::watch(path, Arc::clone(&asked), events.clone()));
        asked
    });
    let gpus_asked = Arc::new(Notify::new());
    let timing = &settings.core.timing;
    let looks =
        GpuWatchSettings { every: timing.gpu_look, patience: timing.driver_patience, dev: settings.dev };
    let gpus = GpuThread::start(backend);
    let processes = ProcessReader::new(gpus.clone());
    tokio::spawn(gpu_watch::watch(gpus, looks, Arc::clone(&gpus_asked), events.clone()));
    let written = Arc::new(Notify::new());
    let (mps_desired, newest) = watch::channel(None);
    let root = settings.mps_root;
    tokio::spawn(mps_files::watch_report(root.clone(), Arc::clone(&written), events.clone()));
    let mps_writer = tokio::spawn(mps_files::write_desired(root, newest, written, events.clone()));
    let state = |file: fn(&StateDir) -> StateFile| {
        state_dir::start(settings.state_dir.as_ref().map(file), events.clone(), metrics.clone())
    };
    let (last_good, kept_gpus) = (state(StateDir::last_good), state(StateDir::kept_gpus));
    let node = settings.node.map(|node| NodeLink::start(node, events.clone(), metrics.clone()));
    Ok(Performer {
        gpus_asked,
        processes,
        cdi: settings.cdi,
        kubelet_socket: settings.kubelet_socket,
        pod_resources_socket: settings.pod_resources_socket,
        serve: ServeContext { views, events: events.clone(), metrics, directory },
        events,
        config_asked,
        node,
        mps_desired,
        mps_writer,
        last_good,
        kept_gpus,
        nvidia_smi: NvidiaSmi::new(settings.nvidia_smi),
        servers: BTreeMap::new(),
        registering: BTreeMap::new(),
        ending: Vec::new(),
    })
}

fn listen_for_signals(events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let kinds = [
        (SignalKind::terminate(), Event::StopRequested),
        (SignalKind::interrupt(), Event::StopRequested),
        (SignalKind::quit(), Event::StopRequested),
        (SignalKind::hangup(), Event::ReloadRequested),
    ];
    for (kind, event) in kinds {
        let (mut signals, events) = (signal(kind)?, events.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if events.send(event.clone()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
