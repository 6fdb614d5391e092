//! A kubelet on real Unix sockets: what an unmodified device plugin binary registers with.
//!
//! A [`Kubelet`] needs a tokio runtime with I/O and time. Its clock is tokio's. It serves Registration in the device
//! plugin directory and podresources v1 in its own, dials plugins back, admits pods one at a time, and writes every
//! exchange down ([`Kubelet::events`]). Not modelled: the plugin watcher, the metrics, podresources v1alpha1.

mod admission;
mod authority;
mod calls;
mod files;
mod log;
mod pod_resources;
mod registration;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plugin_api::KUBELET_SOCKET;
use plugin_api::deviceplugin::registration_server::RegistrationServer;
use plugin_api::podresources::pod_resources_lister_server::PodResourcesListerServer;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::ledger::{Capacity, DeviceList, Ledger, RunOptions, RunningContainers, StartError};
use super::pod::{Admission, DevicesByContainer, PodRequest};
use pod_resources::PodResourcesService;
use registration::RegistrationService;
use state::Shared;

pub use admission::AdmitError;
pub use log::{EVENTS_MAX, LoggedEvent, WireEvent};
pub use pod_resources::{CALLS_BURST, CALLS_PER_SECOND};
pub use settings::{
    DIAL_TIMEOUT, KubeletError, KubeletSettings, ListTrouble, PRE_START_TIMEOUT, StartTrouble,
};

/// How long a stopping kubelet lets its clients hang up in order.
const STOP_WAIT_MAX: Duration = Duration::from_millis(500);

/// A running kubelet. Dropping it ends it without ceremony.
#[derive(Debug)]
pub struct Kubelet {
    shared: Arc<Shared>,
    servers: Mutex<Vec<JoinHandle<()>>>,
}

impl Kubelet {
    /// Starts, or restarts, in the order of a real one: reads the checkpoint, sweeps all sockets from the device
    /// plugin directory, then serves. A checkpoint that cannot be used is reported in the events and left alone.
    pub async fn start(settings: KubeletSettings) -> Result<Kubelet, KubeletError> {
        files::make_dir(&settings.device_plugins_dir)?;
        files::make_dir(&settings.pod_resources_dir)?;
        let (checkpoint, unusable) = match files::read_checkpoint(&settings.device_plugins_dir) {
            Ok(checkpoint) => (checkpoint.unwrap_or_default(), None),
            Err(error) => (Default::default(), Some(error.to_string())),
        };
        files::sweep_sockets(&settings.device_plugins_dir)?;
        let listens_after = settings.trouble.listens_after;
        let registration = files::bind(&settings.device_plugins_dir.join(KUBELET_SOCKET))?;
        tokio::time::sleep(listens_after).await;
        let registration = registration.listen()?;
        let pod_resources = files::bind(&settings.pod_resources_dir.join(KUBELET_SOCKET))?.listen()?;
        let ledger = Ledger::restore(settings.ledger.clone(), &checkpoint, Duration::ZERO);
        let shared = Arc::new(Shared::new(settings, ledger));
        if let Some(why) = unusable {
            shared.log(WireEvent::CheckpointFailed { why });
        }
        let checkpoint_entries = checkpoint.entries.map_or(0, |entries| entries.len());
        shared.log(WireEvent::Started { checkpoint_entries });
        let service = RegistrationServer::new(RegistrationService { shared: Arc::clone(&shared) });
        let registration = serve(&shared, Server::builder().add_service(service), registration);
        let service = PodResourcesListerServer::new(PodResourcesService::new(Arc::clone(&shared)));
        let pod_resources = serve(&shared, Server::builder().add_service(service), pod_resources);
        Ok(Kubelet { shared, servers: Mutex::new(vec![registration, pod_resources]) })
    }

    /// Stops as a dying kubelet does: streams end, the sockets stay on disk and refuse connections. Returns the
    /// containers that run, for [`KubeletSettings::restarted`].
    pub async fn stop(&self) -> RunningContainers {
        self.shared.end(WireEvent::Stopped);
        let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        for mut server in servers {
            if tokio::time::timeout(STOP_WAIT_MAX, &mut server).await.is_err() {
                server.abort();
            }
        }
        self.running()
    }

    /// Whether it serves: neither stopped nor dead by one of its own defects.
    pub fn is_serving(&self) -> bool {
        !self.shared.is_stopping()
    }

    /// Admits a pod: its devices are chosen and its plugins' answers recorded. One pod at a time; a plugin that
    /// hangs holds up all others. Do not drop the future: the devices of an abandoned admission stay in use.
    pub async fn admit(&self, pod: &PodRequest) -> Result<Admission, AdmitError> {
        self.shared.admit(pod).await
    }

    /// What a container is created with: PreStartContainer where required, then the merged answers. Counts the
    /// container as running. An error is worth another try.
    pub async fn start_container(&self, uid: &str, container: &str) -> Result<RunOptions, StartError> {
        self.shared.start_container(uid, container).await
    }

    /// The container does not run any more.
    pub fn container_stopped(&self, uid: &str, container: &str) {
        if let Some(containers) = self.shared.state().running.get_mut(uid) {
            containers.remove(container);
        }
        self.shared.announce();
    }

    /// All containers of the pod have ended; its devices are free at the next allocation.
    pub fn pod_terminated(&self, uid: &str) {
        let mut state = self.shared.state();
        state.running.remove(uid);
        state.ledger.pod_terminated(uid);
        drop(state);
        self.shared.announce();
    }

    /// The pod is gone from the API; its devices are free at the next allocation.
    pub fn pod_removed(&self, uid: &str) {
        let mut state = self.shared.state();
        state.running.remove(uid);
        state.ledger.pod_removed(uid);
        drop(state);
        self.shared.announce();
    }

    /// Something is wrong with PodResources List from here on, or not any more; another process has no trouble.
    pub fn trouble_list(&self, trouble: Option<ListTrouble>) {
        let mut state = self.shared.state();
        state.stale = match trouble {
            Some(ListTrouble::Stale) => state.ledger.list_pod_resources(),
            Some(ListTrouble::Slow(_) | ListTrouble::Limited) | None => Vec::new(),
        };
        state.list_trouble = trouble;
    }

    /// After a restart: all pods of the node have been admitted again.
    pub fn sources_ready(&self) {
        self.shared.state().ledger.sources_ready();
    }

    /// The containers that run now, by pod UID.
    pub fn running(&self) -> RunningContainers {
        let state = self.shared.state();
        state
            .running
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// The devices recorded for a pod: container, resource, IDs.
    pub fn devices_of(&self, uid: &str) -> DevicesByContainer {
        self.shared.state().ledger.devices_of(uid)
    }

    /// The lists from which a pod's devices were chosen, unless a kubelet before this one chose them.
    pub fn chosen_from(&self, uid: &str) -> Vec<(String, DeviceList)> {
        self.shared.state().ledger.chosen_from(uid)
    }

    /// The newest device list of each resource.
    pub fn lists(&self) -> BTreeMap<String, DeviceList> {
        self.shared.state().ledger.lists().clone()
    }

    /// Resource → ListAndWatch streams that are open.
    pub fn streams(&self) -> BTreeMap<String, u64> {
        let mut streams = BTreeMap::new();
        for connection in self.shared.state().connections.values().filter(|connection| connection.streaming) {
            *streams.entry(connection.resource.clone()).or_default() += 1;
        }
        streams
    }

    /// Resource → connections whose stream has ended and which this kubelet never closes.
    pub fn forgotten(&self) -> BTreeMap<String, u64> {
        self.shared.state().forgotten.clone()
    }

    /// The health that the pod status shows for a device.
    pub fn health_of(&self, resource: &str, id: &str) -> &'static str {
        self.shared.state().ledger.health_of(resource, id)
    }

    /// What a node status written now shows. Ask at the node's status tick: only asking removes resources whose
    /// plugin has been gone for longer than the grace period.
    pub fn resources(&self) -> Capacity {
        self.shared.capacity()
    }

    /// The extended resources that the Node object shows as allocatable (keys with 0 included); admission compares
    /// with these. Until told, it compares with the device manager's own figures.
    pub fn set_node_allocatable(&self, allocatable: BTreeMap<String, u64>) {
        self.shared.state().node_allocatable = Some(allocatable);
    }

    /// Changes whenever anything here changed or happened.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes()
    }

    /// The events from `number` on that are still kept.
    pub fn events(&self, number: u64) -> Vec<LoggedEvent> {
        self.shared.state().log.since(number)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.shared.end(WireEvent::Stopped);
        for server in self.servers.get_mut().unwrap_or_else(PoisonError::into_inner) {
            server.abort();
        }
    }
}

fn serve(
    shared: &Arc<Shared>,
    router: tonic::transport::server::Router,
    listener: tokio::net::UnixListener,
) -> JoinHandle<()> {
    let mut stopped = shared.stopped();
    tokio::spawn(async move {
        let served =
            router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped.wait()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "a kubelet socket is not served any more");
        }
    })
}
