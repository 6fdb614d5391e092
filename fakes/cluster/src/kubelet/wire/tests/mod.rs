//! The kubelet on real sockets, driven by a small device plugin.

mod admission;
mod lifecycle;
mod plugin;
mod registration;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use plugin_api::deviceplugin::registration_client::RegistrationClient;
use plugin_api::deviceplugin::{DevicePluginOptions, RegisterRequest};
use plugin_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::kubelet::ledger::ResourceCount;
use crate::kubelet::pod::{ContainerKind, ContainerRequest};
use plugin::TestPlugin;

const RES: &str = "vendor.test/dev";
/// How long a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

const PLAIN: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: false };
const EVERYTHING: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };

/// A node's directories and its kubelet.
struct Node {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
}

impl Node {
    async fn start() -> Node {
        Node::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut KubeletSettings)) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Node::settings(dir.path());
        change(&mut settings);
        let kubelet = Kubelet::start(settings).await.unwrap();
        Node { dir, kubelet }
    }

    fn settings(dir: &Path) -> KubeletSettings {
        KubeletSettings::new(dir.join("device-plugins"), dir.join("pod-resources"))
    }

    /// Stops the kubelet and starts it again with what runs now.
    async fn restart(&mut self) {
        let running = self.kubelet.stop().await;
        self.kubelet = Kubelet::start(Node::settings(self.dir.path()).restarted(running)).await.unwrap();
    }

    fn plugins_dir(&self) -> PathBuf {
        self.dir.path().join("device-plugins")
    }

    /// A plugin that serves, registered, with its list received.
    async fn plugin(&self, endpoint: &str, list: &str, options: DevicePluginOptions) -> TestPlugin {
        let plugin = TestPlugin::serve(&self.plugins_dir(), endpoint, list, options);
        let lists = self.count(|event| matches!(event, WireEvent::ListReceived { .. }));
        self.register(&plugin.endpoint).await.unwrap();
        self.until(|node| node.count(|event| matches!(event, WireEvent::ListReceived { .. })) > lists).await;
        plugin
    }

    async fn register(&self, endpoint: &str) -> Result<(), Status> {
        self.register_as("v1beta1", RES, endpoint).await
    }

    async fn register_as(&self, version: &str, resource: &str, endpoint: &str) -> Result<(), Status> {
        let channel = connect(&self.plugins_dir().join(KUBELET_SOCKET)).await.unwrap();
        let request = RegisterRequest {
            version: version.to_owned(),
            endpoint: endpoint.to_owned(),
            resource_name: resource.to_owned(),
            options: None,
        };
        RegistrationClient::new(channel).register(request).await.map(|_| ())
    }

    async fn pod_resources(&self) -> PodResourcesListerClient<Channel> {
        let socket = self.dir.path().join("pod-resources").join(KUBELET_SOCKET);
        PodResourcesListerClient::new(connect(&socket).await.unwrap())
    }

    /// Waits until `condition` holds, woken by the kubelet's own changes.
    async fn until(&self, condition: impl Fn(&Node) -> bool) {
        let mut changes = self.kubelet.changes();
        let reached = async {
            while !condition(self) {
                changes.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "not in time: {:#?}", self.kubelet.events(0));
    }

    async fn until_counts(&self, capacity: u64, allocatable: u64) {
        self.until(|node| node.counts() == Some((capacity, allocatable))).await;
    }

    fn counts(&self) -> Option<(u64, u64)> {
        let resources = self.kubelet.resources().resources;
        resources.get(RES).map(|ResourceCount { capacity, allocatable }| (*capacity, *allocatable))
    }

    fn count(&self, wanted: impl Fn(&WireEvent) -> bool) -> usize {
        self.kubelet.events(0).iter().filter(|logged| wanted(&logged.event)).count()
    }
}

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

fn pod(uid: &str, count: u64) -> PodRequest {
    let limits = BTreeMap::from([(RES.to_owned(), count)]);
    PodRequest {
        uid: uid.to_owned(),
        namespace: "default".to_owned(),
        name: uid.to_owned(),
        containers: vec![ContainerRequest { name: "app".to_owned(), kind: ContainerKind::App, limits }],
    }
}

fn rejection(outcome: Result<Admission, AdmitError>) -> (String, String) {
    match outcome {
        Err(AdmitError::Rejected(rejection)) => (rejection.reason, rejection.message),
        other => panic!("expected a rejection, got {other:?}"),
    }
}
