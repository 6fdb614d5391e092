//! From actions to effects: each is started here and answered by an event later. Nothing here waits, nothing decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugin_core::action::Action;
use plugin_core::cdi::Search;
use plugin_core::config::ResourceName;
use plugin_core::event::Event;
use plugin_core::mps::Desired;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::announce::{self, Announcement};
use crate::cdi_files::SpecDir;
use crate::gpu::processes::ProcessReader;
use crate::node_link::NodeLink;
use crate::node_watch::NodePatch;
use crate::node_watch::node_taints::TaintChange;
use crate::nvidia_smi::NvidiaSmi;
use crate::pod_resources::checkpoint_file;
use crate::serve::{ServeContext, Served, Server};
use crate::state_dir::StateWriter;
use crate::{allocatable, files, pod_resources, register};

/// How long effects that were begun may take to finish when the process ends.
const FINISH_TIME_MAX: Duration = Duration::from_secs(3);

/// Why nothing can be asked of an API server.
const NO_NODE_NAME: &str = "there is no API server without a node name (hint: set --node-name or NODE_NAME)";

/// How the process should end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit status.
    pub(crate) code: u8,
    /// Why, in one line.
    pub(crate) why: String,
}

/// What effects need, and what they have made.
pub(crate) struct Performer {
    /// Where answers go.
    pub(crate) events: mpsc::Sender<Event>,
    /// Asks for the GPUs.
    pub(crate) gpus_asked: Arc<Notify>,
    /// Asks for processes on GPUs.
    pub(crate) processes: ProcessReader,
    /// Where CDI specs are.
    pub(crate) cdi: SpecDir,
    /// The kubelet's registration socket; plugin sockets are made beside it.
    pub(crate) kubelet_socket: PathBuf,
    /// The kubelet's PodResources socket.
    pub(crate) pod_resources_socket: PathBuf,
    /// What servers need.
    pub(crate) serve: ServeContext,
    /// Asks for the configuration; `None` when there is none.
    pub(crate) config_asked: Option<Arc<Notify>>,
    /// The API server; `None` without a node name.
    pub(crate) node: Option<NodeLink>,
    /// The newest desired MPS daemons.
    pub(crate) mps_desired: watch::Sender<Option<Desired>>,
    /// Writes them; awaited at the end.
    pub(crate) mps_writer: JoinHandle<()>,
    /// Writes the last good configuration; awaited at the end.
    pub(crate) last_good: StateWriter,
    /// Writes what is known of the GPUs; awaited at the end.
    pub(crate) kept_gpus: StateWriter,
    /// Sets time-slice intervals.
    pub(crate) nvidia_smi: NvidiaSmi,
    /// Running servers.
    pub(crate) servers: BTreeMap<ResourceName, Server>,
    /// Register calls that may not be answered yet.
    pub(crate) registering: BTreeMap<ResourceName, AbortHandle>,
    /// Servers that are ending.
    pub(crate) ending: Vec<JoinHandle<()>>,
}

impl Performer {
    /// Starts the effect. `Some` when it is the end of the process.
    pub(crate) fn perform(&mut self, action: Action) -> Option<Exit> {
        match action {
            Action::FindGpus => self.gpus_asked.notify_one(),
            Action::Listen { resource, endpoint, attempt } => self.listen(resource, endpoint, attempt),
            Action::Register { resource, endpoint, attempt } => self.register(resource, endpoint, attempt),
            Action::Close { resource } => self.close(&resource),
            Action::ReadHolders => self.read_holders(),
            Action::ReadAllocatable { resources } => self.read_allocatable(resources),
            Action::WatchPods { attempt } => match &self.node {
                Some(node) => node.watch_pods(Some(attempt)),
                None => self.answer(Event::PodsUnreadable { attempt, why: NO_NODE_NAME.to_owned() }),
            },
            Action::IgnorePods => self.node.iter().for_each(|node| node.watch_pods(None)),
            Action::ReadConfig => match &self.config_asked {
                Some(asked) => asked.notify_one(),
                None => self.answer(Event::ConfigRead { files: BTreeMap::new() }),
            },
            Action::WriteMpsDesired { desired } => {
                self.mps_desired.send_replace(Some(desired));
            }
            Action::KeepLastGood { text } => self.last_good.keep(text),
            Action::KeepGpus { text } => self.kept_gpus.keep(text),
            Action::FindDriverFiles { attempt, search } => self.find_driver_files(attempt, search),
            Action::WriteCdiSpecs { specs } => self.write_cdi_specs(specs),
            Action::PatchLabels { labels } => self.patch(NodePatch::Labels(labels)),
            Action::PatchTaints { before, after, note } => {
                self.patch(NodePatch::Taints(TaintChange { before, after, note }));
            }
            Action::PatchAnnotations { annotations } => self.patch(NodePatch::Annotations(annotations)),
            Action::Announce { severity, reason, message } => {
                let announcement = Announcement { severity, reason, message };
                announce::log(&announcement);
                if let Some(node) = &self.node {
                    node.announce(announcement);
                }
            }
            Action::ReadProcesses { gpu } => {
                let answer = self.processes.read(gpu);
                self.answer_later(answer);
            }
            Action::SetTimeSlice { gpu, interval } => {
                let (noted, smi) = (self.kept_gpus.written(), self.nvidia_smi.clone());
                self.answer_later(async move {
                    // a plugin that is killed in between must find it at its next start
                    noted.await;
                    smi.set_time_slice(gpu, interval).await
                });
            }
            Action::Exit { code, why } => return Some(Exit { code, why }),
            other => {
                tracing::error!(action = other.tag(), "this program cannot perform an action of its core")
            }
        }
        None
    }

    /// Waits, for a bounded time, until sockets are closed and the last desired MPS daemons are written.
    pub(crate) async fn finish(mut self) {
        for (_, server) in std::mem::take(&mut self.servers) {
            self.ending.push(server.close());
        }
        drop(self.mps_desired);
        let state = [self.last_good.finish(), self.kept_gpus.finish()];
        let all = async {
            for task in self.ending.into_iter().chain([self.mps_writer]).chain(state) {
                if let Err(e) = task.await {
                    tracing::error!(why = %e, "an effect did not end cleanly");
                }
            }
        };
        if tokio::time::timeout(FINISH_TIME_MAX, all).await.is_err() {
            tracing::warn!("effects were still running after {FINISH_TIME_MAX:?} and were given up");
        }
    }

    /// From a task of its own: the queue may be full, and the loop that empties it must not wait for it.
    fn answer(&self, event: Event) {
        self.answer_later(async move { event });
    }

    fn answer_later(&self, work: impl Future<Output = Event> + Send + 'static) -> AbortHandle {
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            // an error means that the process is ending
            let _ = events.send(work.await).await;
        });
        task.abort_handle()
    }

    /// On another thread: a disk that hangs must not hold up an Allocate.
    fn find_driver_files(&self, attempt: u64, search: Search) {
        let cdi = self.cdi.clone();
        self.answer_later(async move {
            let found = tokio::task::spawn_blocking(move || cdi.find(&search)).await;
            Event::DriverFilesFound { attempt, found: found.unwrap_or_default() }
        });
    }

    fn write_cdi_specs(&self, specs: BTreeMap<String, String>) {
        let cdi = self.cdi.clone();
        self.answer_later(async move {
            let written = tokio::task::spawn_blocking(move || cdi.write(&specs)).await;
            match written.map_err(|e| e.to_string()).and_then(|written| written) {
                Ok(()) => Event::CdiSpecsWritten,
                Err(why) => Event::CdiSpecsFailed { why },
            }
        });
    }

    fn listen(&mut self, resource: ResourceName, endpoint: String, attempt: u64) {
        // a Register call goes on: its answer is waited for before there is another one
        self.close_server(&resource);
        let directory = files::directory_of(&self.kubelet_socket).to_owned();
        let served = Served { resource: resource.clone(), attempt };
        let event = match Server::open(&directory, &endpoint, served, self.serve.clone()) {
            Ok(server) => {
                self.servers.insert(resource.clone(), server);
                Event::Listening { resource, endpoint, attempt }
            }
            Err(e) => Event::ListenFailed { resource, attempt, why: e.to_string() },
        };
        self.answer(event);
    }

    fn register(&mut self, resource: ResourceName, endpoint: String, attempt: u64) {
        let (socket, name) = (self.kubelet_socket.clone(), resource.clone());
        let call = self.answer_later(async move {
            match register::register(&socket, &resource, &endpoint).await {
                Ok(()) => Event::Registered { resource, attempt },
                Err(e) => Event::RegisterFailed { resource, attempt, why: e.to_string() },
            }
        });
        self.registering.insert(name, call);
    }

    fn close(&mut self, resource: &ResourceName) {
        // a kubelet that is busy would open a stream for each of them
        if let Some(call) = self.registering.remove(resource) {
            call.abort();
        }
        self.close_server(resource);
    }

    fn close_server(&mut self, resource: &ResourceName) {
        self.ending.retain(|task| !task.is_finished());
        if let Some(server) = self.servers.remove(resource) {
            self.ending.push(server.close());
        }
    }

    fn read_holders(&self) {
        let socket = self.pod_resources_socket.clone();
        let directory = files::directory_of(&self.kubelet_socket).to_owned();
        self.answer_later(async move {
            let listed = pod_resources::read_holders(&socket).await;
            let checkpoint = checkpoint_file::read(&directory).await;
            match listed {
                Ok(holdings) => Event::HoldersRead { holdings, checkpoint },
                Err(e) => Event::HoldersUnreadable { why: e.to_string(), checkpoint },
            }
        });
    }

    fn read_allocatable(&self, resources: Vec<ResourceName>) {
        let socket = self.pod_resources_socket.clone();
        self.answer_later(async move { allocatable::read(&socket, &resources).await });
    }

    fn patch(&self, patch: NodePatch) {
        let answer = patch.failed();
        let why = match &self.node {
            Some(node) if node.patch(patch) => return,
            Some(_) => "too many changes wait for the API server".to_owned(),
            None => NO_NODE_NAME.to_owned(),
        };
        self.answer(answer(why));
    }
}
