//! Looks at the machine. What cannot be looked at is a fact with its reason, never an end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugin_core::inventory::Facts;
use plugin_core::view::Status;
use tokio::net::UnixStream;

use super::facts::{CdiEdits, CdiFile, CdiSpec, DeviceNode, NodeFacts, Seen, Socket, Toolkit};
use super::{DoctorSettings, gather_api};
use crate::files;
use crate::gpu::{FindError, GpuThread};
use crate::mps_files::MpsRoot;
use crate::nvml::NvmlBackend;
use crate::status;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most files of a directory that are looked at.
const FILES_MAX: usize = 256;
/// Longest time to connect to a socket.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time for the driver to answer.
const DRIVER_TIME_MAX: Duration = Duration::from_secs(10);
/// The kernel's first namespace of process ids, which always has this number (`PROC_PID_INIT_INO`, Linux 3.8).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Device nodes that every GPU needs.
const CONTROL_NODES: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];

/// Looks everywhere.
pub(super) async fn gather(settings: &DoctorSettings) -> NodeFacts {
    let driver = driver(settings).await;
    let fabric = match &driver {
        Ok(facts) => Ok(facts.starting.iter().map(|gpu| format!("`{gpu}`")).collect()),
        Err(_) => Err("without NVML it is not known".to_owned()),
    };
    let minors: Vec<u32> = driver.iter().flat_map(|f| &f.gpus).map(|gpu| gpu.minor).collect();
    let plugin = plugin(settings).await;
    let taint = plugin.as_ref().ok().and_then(|status| status.shared_taint.clone());
    let cluster = gather_api::gather(settings.node.as_ref(), taint.as_ref()).await;
    let mps_root = MpsRoot(settings.host(&settings.mps_root));
    NodeFacts {
        plugin,
        driver,
        device_nodes: device_nodes(settings, &minors),
        fabric,
        kubelet: vec![
            socket(&settings.host(&settings.kubelet_socket)).await,
            socket(&settings.host(&settings.pod_resources_socket)).await,
        ],
        plugin_sockets: plugin_sockets(&settings.host(&settings.kubelet_socket)).await,
        state_dir: writable(&settings.host(&settings.state_dir)),
        mps_root: writable(&mps_root.0),
        supervisor_alive: mps_root.supervisor_alive(),
        host_processes: host_processes(&settings.nvml.proc_root),
        cdi: cdi_files(settings),
        toolkit: read(&settings.host(&settings.toolkit_config)).map(|text| toolkit(&text)),
        cgroup_driver: read(&settings.host(&settings.kubelet_config)).map(|text| cgroup_driver(&text)),
        runtime_classes: cluster.runtime_classes,
        permissions: cluster.permissions,
        node_name: settings.node.as_ref().map(|node| node.name.clone()),
        node: cluster.node,
        daemon_sets: cluster.daemon_sets,
    }
}

/// A driver that hangs is a finding, and must not hang whoever looks for it.
async fn driver(settings: &DoctorSettings) -> Result<Facts, FindError> {
    let silent =
        || FindError::DriverFailed { why: format!("NVML does not answer within {DRIVER_TIME_MAX:?}") };
    let look =
        GpuThread::start(Box::new(NvmlBackend::new(settings.nvml.clone()))).find().map_err(|_| silent())?;
    tokio::time::timeout(DRIVER_TIME_MAX, look)
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_else(|| Err(silent()))
}

async fn plugin(settings: &DoctorSettings) -> Seen<Status> {
    let body = status::ask(&settings.at, "/state").await.map_err(|e| e.to_string())?;
    serde_json::from_str(&body).map_err(|e| format!("its answer is no state: {e}"))
}

async fn socket(path: &Path) -> Socket {
    let accepts = tokio::time::timeout(CONNECT_TIME_MAX, UnixStream::connect(path)).await;
    Socket { name: path.display().to_string(), accepts: matches!(accepts, Ok(Ok(_))) }
}

async fn plugin_sockets(kubelet: &Path) -> Seen<Vec<Socket>> {
    let mut sockets = Vec::new();
    for path in listed(files::directory_of(kubelet))? {
        if path != kubelet && path.extension().is_some_and(|e| e == "sock") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sockets.push(Socket { name, ..socket(&path).await });
        }
    }
    Ok(sockets)
}

/// The paths in a directory, sorted.
fn listed(directory: &Path) -> Seen<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(|e| format!("`{}`: {e}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().take(FILES_MAX).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Seen<String> {
    match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("`{}` is not there, or not mounted here", path.display())),
        Err(e) => Err(format!("`{}` cannot be read: {e}", path.display())),
    }
}

/// Whether a file can be made in a directory.
fn writable(directory: &Path) -> Seen<()> {
    let named = |e: std::io::Error| format!("`{}` cannot be written: {e}", directory.display());
    tempfile_in(directory).map_err(named)
}

fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!(".doctor.{}", std::process::id()));
    fs::File::create_new(&path)?;
    fs::remove_file(path)
}

fn device_nodes(settings: &DoctorSettings, minors: &[u32]) -> Vec<DeviceNode> {
    if minors.is_empty() {
        return Vec::new();
    }
    let gpus = minors.iter().map(|minor| format!("/dev/nvidia{minor}"));
    let paths = CONTROL_NODES.iter().map(|path| (*path).to_owned()).chain(gpus);
    let node = |path: String| {
        let metadata = fs::metadata(settings.host(Path::new(&path)));
        let linked = metadata.as_ref().is_ok_and(|m| {
            let number = format!("{}:{}", libc::major(m.rdev()), libc::minor(m.rdev()));
            settings.host(Path::new("/dev/char")).join(number).symlink_metadata().is_ok()
        });
        DeviceNode { path, exists: metadata.is_ok(), linked }
    };
    paths.map(node).collect()
}

/// Whether this process has the process ids of the machine itself, as it has with `hostPID: true`.
fn host_processes(proc_root: &Path) -> Seen<bool> {
    let path = proc_root.join("self/ns/pid");
    let namespace = fs::read_link(&path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    Ok(namespace == Path::new(FIRST_PID_NAMESPACE))
}

fn cdi_files(settings: &DoctorSettings) -> Vec<CdiFile> {
    let mut found = Vec::new();
    for (priority, directory) in settings.cdi_dirs.iter().enumerate() {
        // a directory that is not there holds no specs
        for path in listed(&settings.host(directory)).unwrap_or_default() {
            if path.extension().is_some_and(|e| e == "yaml" || e == "json") {
                found.push(cdi_file(settings, path, priority));
            }
        }
    }
    found
}

fn cdi_file(settings: &DoctorSettings, path: PathBuf, priority: usize) -> CdiFile {
    let spec = read(&path).and_then(|text| {
        serde_saphyr::from_str::<CdiSpec>(&text).map_err(|e| format!("it is no CDI spec: {e}"))
    });
    let spec = spec.and_then(|spec| match spec.kind.split_once('/') {
        Some(_) => Ok(spec),
        None => Err(format!("its kind `{}` is no vendor/class", spec.kind)),
    });
    let edits = spec.iter().flat_map(|spec| {
        spec.devices.iter().map(|device| &device.container_edits).chain([&spec.container_edits])
    });
    let named: BTreeSet<String> = edits.flat_map(named_on_host).collect();
    // a link that leads out of the host root is there as well
    let is_there = |path: &String| settings.host(Path::new(path)).symlink_metadata().is_ok();
    let missing = named.into_iter().filter(|path| !is_there(path)).collect();
    CdiFile { path, priority, spec, missing }
}

/// What the runtime must find on the host to create a container.
fn named_on_host(edits: &CdiEdits) -> impl Iterator<Item = String> {
    let nodes = edits.device_nodes.iter().map(|node| node.host_path.as_ref().unwrap_or(&node.path));
    let files = edits.mounts.iter().map(|mount| &mount.host_path);
    let programs = edits.hooks.iter().map(|hook| &hook.path);
    nodes.chain(files).chain(programs).cloned()
}

/// `key = value` lines of the toolkit's TOML, each in its section.
fn toolkit(text: &str) -> Toolkit {
    let mut found = Toolkit::default();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim();
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.split('#').next().unwrap_or_default().trim().trim_matches('"');
            match (section, key.trim()) {
                ("nvidia-container-runtime", "mode") => found.mode = Some(value.to_owned()),
                ("", "accept-nvidia-visible-devices-envvar-when-unprivileged") => {
                    found.envvar_unprivileged = value.parse().ok();
                }
                _ => {}
            }
        }
    }
    found
}

/// The kubelet's setting; `cgroupfs` is its default (Kubernetes 1.36).
fn cgroup_driver(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("cgroupDriver:"));
    value.map_or("cgroupfs", |value| value.trim().trim_matches('"')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvml::NvmlPaths;

    fn settings(root: &Path) -> DoctorSettings {
        DoctorSettings {
            host_root: root.to_owned(),
            node: None,
            at: Vec::new(),
            kubelet_socket: "/dp/kubelet.sock".into(),
            pod_resources_socket: "/pr/kubelet.sock".into(),
            kubelet_config: "/kubelet.yaml".into(),
            toolkit_config: "/toolkit.toml".into(),
            cdi_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            mps_root: "/mps".into(),
            state_dir: "/state".into(),
            nvml: NvmlPaths {
                library: Some(root.join("none.so")),
                driver_root: root.to_owned(),
                sysfs_root: root.to_owned(),
                proc_root: root.to_owned(),
            },
        }
    }

    #[tokio::test]
    async fn an_empty_host_is_facts_with_reasons() {
        let root = tempfile::tempdir().unwrap();
        let facts = gather(&settings(root.path())).await;
        assert!(facts.driver.is_err() && facts.cdi.is_empty() && facts.device_nodes.is_empty());
        assert!(facts.kubelet.iter().all(|s| !s.accepts), "{:?}", facts.kubelet);
        assert!(facts.toolkit.unwrap_err().contains("toolkit.toml"));
        assert!(facts.state_dir.unwrap_err().contains("state"));
        assert!(facts.node.is_err() && facts.plugin.is_err());
        assert!(facts.host_processes.unwrap_err().contains("self/ns/pid"));
    }

    #[tokio::test]
    async fn everything_below_the_host_root_is_found() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["dp", "pr", "etc/cdi", "dev/char", "state", "mps"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let text = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia0\n    - path: /dev/nvidia9\n    hooks:\n    - {hookName: createContainer, path: /usr/bin/nvidia-ctk, args: [nvidia-ctk]}\n    mounts:\n    - {hostPath: /lib64/libcuda.so, containerPath: /lib64/libcuda.so}\n";
        fs::write(root.path().join("etc/cdi/nvidia.yaml"), text).unwrap();
        fs::write(root.path().join("etc/cdi/other.json"), "{\"kind\": 7").unwrap();
        fs::write(root.path().join("dev/nvidia0"), "").unwrap();
        fs::write(root.path().join("kubelet.yaml"), "kind: KubeletConfiguration\ncgroupDriver: systemd\n")
            .unwrap();
        let toml = "accept-nvidia-visible-devices-envvar-when-unprivileged = false # why\n[nvidia-container-runtime]\nmode = \"cdi\"\n[nvidia-container-runtime.modes.cdi]\nmode = \"no\"\n";
        fs::write(root.path().join("toolkit.toml"), toml).unwrap();
        let _kubelet = tokio::net::UnixListener::bind(root.path().join("dp/kubelet.sock")).unwrap();
        let _rival = tokio::net::UnixListener::bind(root.path().join("dp/nvidia-gpu.sock")).unwrap();
        let settings = settings(root.path());
        let facts = gather(&settings).await;
        assert_eq!(facts.kubelet.iter().map(|s| s.accepts).collect::<Vec<_>>(), [true, false]);
        let rival = Socket { name: "nvidia-gpu.sock".into(), accepts: true };
        assert_eq!(facts.plugin_sockets, Ok(vec![rival]));
        assert_eq!(facts.cdi[0].missing, ["/dev/nvidia9", "/lib64/libcuda.so", "/usr/bin/nvidia-ctk"]);
        assert_eq!(facts.cdi[0].spec.as_ref().unwrap().devices[0].name, "0");
        assert!(facts.cdi[1].spec.is_err());
        assert_eq!(facts.cgroup_driver.as_deref(), Ok("systemd"));
        let toolkit = Toolkit { mode: Some("cdi".into()), envvar_unprivileged: Some(false) };
        assert_eq!(facts.toolkit, Ok(toolkit));
        assert_eq!((facts.state_dir, facts.mps_root), (Ok(()), Ok(())));
        assert_eq!(fs::read_dir(root.path().join("state")).unwrap().count(), 0, "nothing is left");
        fs::create_dir_all(root.path().join("self/ns")).unwrap();
        for (namespace, is_first) in [(FIRST_PID_NAMESPACE, true), ("pid:[4026532201]", false)] {
            let path = root.path().join("self/ns/pid");
            std::os::unix::fs::symlink(namespace, &path).unwrap();
            assert_eq!(host_processes(root.path()), Ok(is_first), "{namespace}");
            fs::remove_file(path).unwrap();
        }
        let nodes = device_nodes(&settings, &[0, 1]);
        assert_eq!(nodes.iter().map(|n| n.exists).collect::<Vec<_>>(), [false, false, true, false]);
        let metadata = fs::metadata(root.path().join("dev/nvidia0")).unwrap();
        let number = format!("{}:{}", libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        assert!(!nodes[2].linked);
        std::os::unix::fs::symlink("../nvidia0", root.path().join("dev/char").join(number)).unwrap();
        assert!(device_nodes(&settings, &[0])[2].linked);
    }
}
