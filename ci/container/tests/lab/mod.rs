//! One simulated node whose plugin runs in a container: kubelet, API server and scheduler in this process, the fake driver
//! in a directory, and the image under test on a real engine, with the mounts of its DaemonSet.

pub(crate) mod built;
pub(crate) mod container;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fake_cluster::api::{ApiHandle, ApiServer, DeleteOptions, Key, Part, PatchKind, Resource, kubeconfig};
use fake_cluster::kubelet::ledger::Order;
use fake_cluster::kubelet::wire::KubeletSettings;
use fake_cluster::node::config_volume::ConfigVolume;
use fake_cluster::node::{ContainerSnapshot, NodeAgent, NodeSettings};
use fake_gpu::{NodeFile, NodeSnapshot, NodeSpec, STATE_FILE_NAME};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) use built::Built;
pub(crate) use container::{Image, Mounted, Network};

/// The node's name.
pub(crate) const NODE: &str = "gpu-1";
/// How many GPUs it has.
pub(crate) const GPUS: usize = 4;
/// Where the driver's libraries are: below what is mounted as its root.
const LIBRARIES: &str = "driver/usr/lib64";
/// Whole GPUs.
pub(crate) const GPU: &str = "nvidia.com/gpu";
/// Shared ones.
pub(crate) const SHARED: &str = "nvidia.com/gpu.shared";
/// The label that chooses a configuration.
pub(crate) const CONFIG: &str = "nvidia.com/device-plugin.config";
/// The longest that anything may take.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The config map's namespace and name.
const CONFIG_MAP: (&str, &str) = ("kube-system", "nvidia-device-plugin-configs");
/// The configurations.
const CONFIGS: &[(&str, &str)] = &[
    ("default", "version: v1\nflags:\n  migStrategy: none\n"),
    (
        "mps-config",
        "version: v1\nsharing:\n  mps:\n    renameByDefault: true\n    resources:\n    - {name: nvidia.com/gpu, replicas: 4}\n",
    ),
    (
        "sliced",
        "version: v1\nsharing:\n  timeSlicing:\n    renameByDefault: true\n    resources:\n    - {name: nvidia.com/gpu, replicas: 2}\n",
    ),
];

/// The node and what is around it. Dropping it ends all of it.
pub(crate) struct Lab {
    directory: TempDir,
    pub(crate) api: ApiHandle,
    server: ApiServer,
    pub(crate) agent: NodeAgent,
    scheduler: JoinHandle<()>,
    _config: ConfigVolume,
    pub(crate) image: Image,
}

impl Lab {
    /// Starts everything but the plugin; the driver is installed unless `install_driver` is to do it later.
    pub(crate) async fn start(with_driver: bool) -> Result<Lab> {
        let image = Image::load().await?;
        let directory = tempfile::Builder::new().prefix("tandem-c-").tempdir_in("/tmp")?;
        let base = directory.path().to_path_buf();
        for name in ["dp", "pr", "mps", "driver", "config", "state"] {
            open_to_all(&base.join(name))?;
        }
        open_to_all(&base)?;
        let api = ApiHandle::empty_cluster()?;
        let server = ApiServer::start(api.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        std::fs::write(base.join("kubeconfig"), kubeconfig_with_ca(&server.url(), &base)?)?;
        let data: BTreeMap<_, _> = CONFIGS.iter().copied().collect();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP.1}, "data": data});
        api.write(|store, now| store.create(Resource::ConfigMaps, CONFIG_MAP.0, object, now))?;
        let key = Key::new(Resource::ConfigMaps, CONFIG_MAP.0, CONFIG_MAP.1);
        let config = ConfigVolume::start(api.clone(), key, base.join("config"), Duration::from_millis(100))?;
        let mut kubelet = KubeletSettings::new(base.join("dp"), base.join("pr"));
        kubelet.ledger.order = Order::Seeded(1);
        kubelet.ledger.endpoint_stop_grace = Duration::from_secs(1);
        let mut settings = NodeSettings::new(NODE, kubelet);
        settings.status_every = Duration::from_millis(100);
        let scheduler = tokio::spawn(fake_cluster::scheduler::run(api.clone()));
        let agent = NodeAgent::start(api.clone(), settings).await?;
        let lab = Lab { directory, api, server, agent, scheduler, _config: config, image };
        open_to_all(&lab.path("driver/usr/bin"))?;
        std::fs::copy(&Built::find()?.mps_control, lab.path("driver/usr/bin/nvidia-cuda-mps-control"))?;
        if with_driver {
            lab.install_driver()?;
        }
        Ok(lab)
    }

    /// Installs GPUs, then the library: who sees the library sees GPUs.
    pub(crate) fn install_driver(&self) -> Result<()> {
        let libraries = self.path(LIBRARIES);
        open_to_all(&libraries)?;
        let state = libraries.join(STATE_FILE_NAME);
        drop(NodeFile::create(&state, &NodeSpec::uniform(NODE, "tesla-t4", GPUS))?);
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o666))?;
        let (library, draft) = (libraries.join("libnvidia-ml.so.1"), libraries.join("library.draft"));
        std::fs::copy(&Built::find()?.nvml, &draft)?;
        std::fs::rename(draft, library)?;
        Ok(())
    }

    /// A path on this machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the plugin's DaemonSet mounts.
    pub(crate) fn mounts(&self) -> Vec<Mounted> {
        vec![
            Mounted::writable(self.path("dp"), "/var/lib/kubelet/device-plugins"),
            Mounted::writable(self.path("pr"), "/var/lib/kubelet/pod-resources"),
            Mounted::writable(self.path("mps"), "/run/nvidia/mps"),
            Mounted::writable(self.path("state"), "/var/lib/tandem"),
            // the fake keeps its state beside the library, hence not read-only
            Mounted::writable(self.path("driver"), "/driver-root"),
            Mounted::read_only(self.path("config"), "/config"),
            Mounted::read_only(self.path("kubeconfig"), "/etc/tandem/kubeconfig"),
            Mounted::read_only(self.path("config-ca.pem"), "/etc/tandem/ca.pem"),
        ]
    }

    /// The settings that its DaemonSet gives the plugin, and short times.
    pub(crate) fn settings() -> BTreeMap<&'static str, String> {
        let given = [
            ("NODE_NAME", NODE),
            ("CONFIG_FILE_SRCDIR", "/config"),
            ("DEFAULT_CONFIG", "default"),
            ("KUBECONFIG", "/etc/tandem/kubeconfig"),
            ("MPS_ROOT", "/run/nvidia/mps"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
            ("LOG_FORMAT", "json"),
            ("RETIRE_AFTER", "500ms"),
            ("DRIVER_RETRY", "200ms"),
        ];
        given.map(|(name, value)| (name, value.to_owned())).into()
    }

    /// What the MPS supervisor's DaemonSet mounts.
    pub(crate) fn mps_mounts(&self) -> Vec<Mounted> {
        vec![
            Mounted::writable(self.path("mps"), "/run/nvidia/mps"),
            Mounted::writable(self.path("driver"), "/driver-root"),
        ]
    }

    /// Where the fake control program finds the GPUs; nothing else is told that they are fake.
    pub(crate) fn mps_settings() -> BTreeMap<&'static str, String> {
        let given = [
            ("MPS_ROOT", "/run/nvidia/mps"),
            ("MPS_CONTROL", "/driver-root/usr/bin/nvidia-cuda-mps-control"),
            ("LOG_FORMAT", "json"),
            (fake_gpu::STATE_VARIABLE, "/driver-root/usr/lib64/fake-gpu.state"),
        ];
        given.map(|(name, value)| (name, value.to_owned())).into()
    }

    /// How many devices the kubelet's newest list of a resource has.
    pub(crate) fn listed(&self, resource: &str) -> usize {
        let lists = self.agent.kubelet().map(|kubelet| kubelet.lists()).unwrap_or_default();
        lists.get(resource).map_or(0, |list| list.len())
    }

    /// Which kinds of device the kubelet counts as there for pods now.
    pub(crate) fn allocatable(&self, resource: &str) -> Option<u64> {
        let node = self.api.read(|store| store.get(&Key::node(NODE)).ok())?;
        node.pointer("/status/allocatable")?.get(resource)?.as_str()?.parse().ok()
    }

    /// A label of the Node.
    pub(crate) fn label(&self, key: &str) -> Option<String> {
        let node = self.api.read(|store| store.get(&Key::node(NODE)).ok())?;
        node.pointer("/metadata/labels")?.get(key)?.as_str().map(str::to_owned)
    }

    /// Sets a label of the Node, or takes it away.
    pub(crate) fn set_label(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"labels": {key: value}}});
        let node = Key::node(NODE);
        self.api.write(|store, now| store.patch(&node, PatchKind::Merge, &patch, Part::Main, now))?;
        Ok(())
    }

    /// Makes a pod that asks for one device.
    pub(crate) fn create_pod(&self, name: &str, resource: &str) -> Result<()> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
            {"name": "main", "image": "cuda:13", "resources": {"limits": {resource: 1}}}]}});
        self.api.write(|store, now| store.create(Resource::Pods, "default", pod, now))?;
        Ok(())
    }

    /// Deletes it.
    pub(crate) fn delete_pod(&self, name: &str) -> Result<()> {
        let key = Key::new(Resource::Pods, "default", name);
        self.api.write(|store, now| store.delete(&key, &DeleteOptions::default(), now))?;
        Ok(())
    }

    /// A pod's object.
    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        let key = Key::new(Resource::Pods, "default", name);
        self.api.read(|store| store.get(&key).ok()).map(|pod| (*pod).clone())
    }

    /// What the container of a running pod was given.
    pub(crate) fn given(&self, name: &str) -> Option<ContainerSnapshot> {
        let pod = self.pod(name)?;
        let uid = pod.pointer("/metadata/uid")?.as_str()?.to_owned();
        self.agent.containers_of(&uid).into_iter().find(|container| container.running)
    }

    /// The GPUs as the driver shows them.
    pub(crate) fn gpus(&self) -> Result<NodeSnapshot> {
        Ok(NodeFile::open(&self.path(LIBRARIES).join(STATE_FILE_NAME))?.snapshot()?)
    }

    /// The plugin's sockets in the kubelet's directory.
    pub(crate) fn sockets(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path("dp"))?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        Ok(names.filter(|name| name.ends_with(".sock") && name != "kubelet.sock").collect())
    }

    /// Ends everything in order.
    pub(crate) async fn stop(mut self) {
        self.agent.stop_kubelet().await;
        self.scheduler.abort();
        self.server.stop().await;
    }
}

/// The kubeconfig of a cluster, which names the cluster's authority as every real one does: without it the public ones would be
/// looked for, and the image has none.
fn kubeconfig_with_ca(url: &str, base: &Path) -> Result<String> {
    let authority = base.join("config-ca.pem");
    std::fs::write(&authority, include_str!("ca.pem"))?;
    let mut config: Value = serde_json::from_str(&kubeconfig::text(url))?;
    config["clusters"][0]["cluster"]["certificate-authority"] = json!("/etc/tandem/ca.pem");
    Ok(config.to_string())
}

/// Waits until something is so.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_MAX {
        if let Some(found) = look() {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("not within {WAIT_MAX:?}: {what}")
}

/// Waits until something that has to be asked for is so.
pub(crate) async fn until_told<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_MAX {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("not within {WAIT_MAX:?}: {what}")
}

/// A directory that a container may write whoever runs the tests.
fn open_to_all(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))?;
    Ok(())
}
