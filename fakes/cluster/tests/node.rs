//! A whole node: API, scheduler, node agent and kubelet with a small device plugin on a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::api::{ApiHandle, DeleteOptions, Key, Resource, Selector, Store};
use fake_cluster::kubelet::KubeletSettings;
use fake_cluster::node::{NodeAgent, NodeSettings};
use fake_cluster::scheduler;
use plugin_api::deviceplugin as api;
use plugin_api::deviceplugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use plugin_api::deviceplugin::registration_client::RegistrationClient;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status};

const WAIT_MAX: Duration = Duration::from_secs(10);
const GPU: &str = "nvidia.com/gpu";

/// A plugin that offers what the test sends and refuses requests for more than one device.
struct Plugin {
    devices: watch::Receiver<Vec<api::Device>>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    type ListAndWatchStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(&self, _: Request<api::Empty>) -> Answer<api::DevicePluginOptions> {
        Ok(Response::new(api::DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Answer<Self::ListAndWatchStream> {
        let lists =
            WatchStream::new(self.devices.clone()).map(|devices| Ok(api::ListAndWatchResponse { devices }));
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<api::PreferredAllocationRequest>,
    ) -> Answer<api::PreferredAllocationResponse> {
        Err(Status::unimplemented("not offered"))
    }

    async fn allocate(&self, request: Request<api::AllocateRequest>) -> Answer<api::AllocateResponse> {
        let mut answer = api::AllocateResponse::default();
        for container in request.into_inner().container_requests {
            if container.devices_ids.len() > 1 {
                return Err(Status::unknown("one device at most"));
            }
            let ids = container.devices_ids.join(",");
            answer.container_responses.push(api::ContainerAllocateResponse {
                envs: [("NVIDIA_VISIBLE_DEVICES".to_string(), ids)].into(),
                mounts: vec![api::Mount {
                    container_path: "/mps".to_string(),
                    host_path: "/run/mps".to_string(),
                    read_only: false,
                }],
                ..Default::default()
            });
        }
        Ok(Response::new(answer))
    }

    async fn pre_start_container(
        &self,
        _: Request<api::PreStartContainerRequest>,
    ) -> Answer<api::PreStartContainerResponse> {
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}

fn devices(healthy: usize, unhealthy: usize) -> Vec<api::Device> {
    let device = |n: usize| api::Device {
        id: format!("GPU-{n}"),
        health: if n < healthy { "Healthy" } else { "Unhealthy" }.to_string(),
        topology: None,
    };
    (0..healthy + unhealthy).map(device).collect()
}

struct Bench {
    handle: ApiHandle,
    agent: NodeAgent,
    devices: watch::Sender<Vec<api::Device>>,
    directory: tempfile::TempDir,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Bench {
    async fn start(count: usize) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let handle = ApiHandle::empty_cluster().unwrap();
        let kubelet = KubeletSettings::new(directory.path().join("dp"), directory.path().join("pr"));
        let mut settings = NodeSettings::new("n1", kubelet);
        settings.status_every = Duration::from_millis(20);
        settings.start_retry = Duration::from_millis(20);
        let agent = NodeAgent::start(handle.clone(), settings).await.unwrap();
        let scheduling = tokio::spawn(scheduler::run(handle.clone()));
        let mut bench = Bench {
            handle,
            agent,
            devices: watch::Sender::new(devices(count, 0)),
            directory,
            tasks: vec![scheduling],
        };
        bench.plug_in().await;
        bench.until_allocatable(&count.to_string()).await;
        bench
    }

    fn plugin_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("dp")
    }

    /// Serves the plugin and registers it.
    async fn plug_in(&mut self) {
        let socket = self.plugin_dir().join("test.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let listener = UnixListener::bind(socket).unwrap();
        let service = DevicePluginServer::new(Plugin { devices: self.devices.subscribe() });
        let server = tonic::transport::Server::builder().add_service(service);
        self.tasks.push(tokio::spawn(async move {
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        }));
        register(&self.plugin_dir()).await;
    }

    async fn until<T>(&self, what: &str, found: impl FnMut(&Store) -> Option<T>) -> T {
        let waited = tokio::time::timeout(WAIT_MAX, self.handle.wait_for(found)).await;
        waited.unwrap_or_else(|_| panic!("never happened: {what}"))
    }

    async fn until_allocatable(&self, count: &str) {
        let what = format!("allocatable {count}");
        self.until(&what, |store| {
            let node = store.get(&Key::node("n1")).ok()?;
            (node["status"]["allocatable"][GPU] == count).then_some(())
        })
        .await;
    }

    fn submit(&self, name: &str, gpus: u64, more: Value) -> Key {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "cuda",
            "env": [{"name": "MINE", "value": "1"}], "resources": {"limits": {GPU: gpus}}}]}});
        for (key, value) in more.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        self.handle.write(|store, now| store.create(Resource::Pods, "default", pod, now)).unwrap();
        Key::pod("default", name)
    }

    async fn until_phase(&self, pod: &Key, phase: &str) -> Arc<Value> {
        self.until(&format!("{} {phase}", pod.name), |store| {
            store.get(pod).ok().filter(|pod| pod["status"]["phase"] == phase)
        })
        .await
    }

    async fn delete(&self, pod: &Key, options: DeleteOptions) {
        self.handle.write(|store, now| store.delete(pod, &options, now)).unwrap();
        self.until("the pod is gone", |store| store.get(pod).is_err().then_some(())).await;
    }
}

async fn register(directory: &Path) {
    let channel =
        tonic::transport::Endpoint::try_from(format!("unix://{}/kubelet.sock", directory.display()))
            .unwrap()
            .connect()
            .await
            .unwrap();
    let request = api::RegisterRequest {
        version: "v1beta1".to_string(),
        endpoint: "test.sock".to_string(),
        resource_name: GPU.to_string(),
        options: None,
    };
    RegistrationClient::new(channel).register(request).await.unwrap();
}

#[tokio::test]
async fn a_pod_runs_with_what_the_plugin_answered_and_frees_its_device_when_deleted() {
    let bench = Bench::start(1).await;
    let first = bench.submit("first", 1, json!({}));
    let pod = bench.until_phase(&first, "Running").await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["ready"], &status["restartCount"]), (&json!(true), &json!(0)));
    assert_eq!(
        status["allocatedResourcesStatus"][0]["resources"],
        json!([{"resourceID": "GPU-0", "health": "Healthy"}])
    );
    let containers = bench.agent.containers();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].env["NVIDIA_VISIBLE_DEVICES"], "GPU-0");
    assert_eq!(containers[0].env["MINE"], "1");
    assert_eq!(containers[0].mounts[0].container_path, "/mps");
    assert_eq!(containers[0].ids[GPU], ["GPU-0"]);

    let second = bench.submit("second", 1, json!({}));
    let told = bench
        .until("second is unschedulable", |store| {
            let pod = store.get(&second).ok()?;
            pod["status"]["conditions"][0]["message"].as_str().map(str::to_string)
        })
        .await;
    assert!(told.starts_with("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), "{told}");
    bench.delete(&first, DeleteOptions::default()).await;
    bench.until_phase(&second, "Running").await;
    assert_eq!(bench.agent.containers().len(), 1);
}

#[tokio::test]
async fn a_refused_allocate_fails_the_pod_with_the_plugins_text_and_a_warning() {
    let bench = Bench::start(4).await;
    let pod = bench.until_phase(&bench.submit("two", 2, json!({})), "Failed").await;
    assert_eq!(pod["status"]["reason"], "UnexpectedAdmissionError");
    let message = pod["status"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "Pod was rejected: Allocate failed due to rpc error: code = Unknown desc = one device at most, which is unexpected"
    );
    let events = bench.handle.read(|store| store.list(Resource::Events, None, &Selector::everything()));
    assert!(events.iter().any(|e| e["reason"] == "UnexpectedAdmissionError"
        && e["type"] == "Warning"
        && e["message"] == message));
}

#[tokio::test]
async fn unhealthy_devices_lower_allocatable_and_show_in_the_status_of_their_pod() {
    let bench = Bench::start(1).await;
    let pod = bench.submit("held", 1, json!({}));
    bench.until_phase(&pod, "Running").await;
    bench.devices.send_replace(devices(0, 1));
    bench.until_allocatable("0").await;
    let capacity =
        bench.handle.read(|store| store.get(&Key::node("n1")).unwrap()["status"]["capacity"][GPU].clone());
    assert_eq!(capacity, "1");
    bench
        .until("the pod's device is unhealthy", |store| {
            let pod = store.get(&pod).ok()?;
            let health = &pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0]["resources"]
                [0]["health"];
            (*health == "Unhealthy").then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_restarted_kubelet_keeps_running_pods_and_shows_no_devices_until_the_plugin_is_back() {
    let mut bench = Bench::start(2).await;
    let pod = bench.submit("kept", 1, json!({}));
    bench.until_phase(&pod, "Running").await;
    let before = bench.agent.containers();
    bench.agent.stop_kubelet().await;
    assert!(bench.agent.kubelet().is_none());
    bench.agent.start_kubelet().await.unwrap();
    bench.until_allocatable("0").await;
    bench.plug_in().await;
    bench.until_allocatable("2").await;
    bench.until_phase(&pod, "Running").await;
    assert_eq!(bench.agent.containers(), before);
    let other = bench.submit("other", 1, json!({}));
    bench.until_phase(&other, "Running").await;
    let ids: std::collections::BTreeSet<_> =
        bench.agent.containers().iter().map(|c| c.ids[GPU].clone()).collect();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_finished_pod_succeeds_or_is_created_again_as_its_restart_policy_says() {
    let bench = Bench::start(2).await;
    let once = bench.submit("once", 1, json!({"restartPolicy": "Never"}));
    let always = bench.submit("always", 1, json!({}));
    bench.until_phase(&once, "Running").await;
    bench.until_phase(&always, "Running").await;
    bench.agent.finish(&once, 0).await.unwrap();
    bench.until_phase(&once, "Succeeded").await;
    assert!(bench.agent.finish(&once, 0).await.unwrap_err().to_string().contains("`once`"));
    bench.agent.finish(&always, 1).await.unwrap();
    let pod = bench.until_phase(&always, "Running").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1);
    bench.agent.restart_container(&always, "main").await.unwrap();
    assert_eq!(bench.agent.containers().iter().map(|c| c.restarts).max(), Some(2));
    let next = bench.submit("next", 1, json!({}));
    bench.until_phase(&next, "Running").await;
}

#[tokio::test]
async fn a_pod_deleted_by_force_is_forgotten_and_its_device_is_free() {
    let bench = Bench::start(1).await;
    let pod = bench.submit("gone", 1, json!({}));
    bench.until_phase(&pod, "Running").await;
    bench.delete(&pod, DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }).await;
    let next = bench.submit("next", 1, json!({}));
    bench.until_phase(&next, "Running").await;
    assert_eq!(bench.agent.containers().len(), 1);
}
