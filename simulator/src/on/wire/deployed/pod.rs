//! What a kubelet makes of a DaemonSet's pod on a node: command, environment and mounts, or why there is no container.
//! Pure, so that every mistake that a manifest can hold is tried as text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::image::Image;

/// The runtime class that brings the driver into containers.
const NVIDIA: &str = "nvidia";
/// The variable by which NVIDIA's runtime is asked for GPUs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The variable by which it is asked for parts of the driver.
const CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";
/// The variable by which the plugin is told where to serve probes.
const ADMIN: &str = "ADMIN_ADDRESS";

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A directory of the host, and whether it is made where it is missing.
    Host { path: String, make: bool },
    /// A config map of the set's namespace.
    ConfigMap(String),
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where in the container.
    pub(super) at: String,
    /// Of what.
    pub(super) source: Source,
    /// Whether the container may not write there.
    pub(super) read_only: bool,
}

/// What NVIDIA's container runtime brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Driver {
    /// `libnvidia-ml.so.1` and `nvidia-smi`.
    pub(super) nvml: bool,
    /// `nvidia-cuda-mps-control`.
    pub(super) mps: bool,
}

/// A container as it would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// Namespace of the set.
    pub(super) namespace: String,
    /// Whether it keeps MPS control daemons; else it is the plugin.
    pub(super) is_mps: bool,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// In the manifest's order.
    pub(super) mounts: Vec<Mount>,
    /// What the runtime brings.
    pub(super) driver: Driver,
    /// Whether the root file system is read-only.
    pub(super) read_only: bool,
    /// The service account whose token is mounted.
    pub(super) account: Option<String>,
    /// The paths that are probed.
    pub(super) probes: Vec<String>,
    /// The commands by which it is probed.
    pub(super) commands: Vec<Vec<String>>,
}

/// Reads the first container of a DaemonSet for a node.
///
/// # Errors
/// A sentence that names the field.
pub(super) fn container(set: &Value, node: &str, image: &Image) -> Result<Container, String> {
    let spec = &set["spec"]["template"]["spec"];
    let own = &spec["containers"][0];
    let reference = text(own, "image");
    if reference != image.reference {
        return Err(format!("image `{reference}` cannot be pulled; there is `{}`", image.reference));
    }
    let namespace = text(&set["metadata"], "namespace").to_owned();
    let pod = Pod { node, namespace: &namespace, name: format!("{}-{node}", text(&set["metadata"], "name")) };
    let env = environment(own, &pod, image)?;
    let list = |field: &str| own[field].as_array().map(|items| expanded(items, &env));
    let mut command = list("command").unwrap_or_else(|| image.entrypoint.clone());
    command.extend(list("args").unwrap_or_default());
    let is_mps = is_mps(&command, image)?;
    let mounts = mounts(own, spec)?;
    if is_mps {
        shares_memory(&mounts, &env)?;
    }
    let token = spec["automountServiceAccountToken"] != false;
    Ok(Container {
        is_mps,
        mounts,
        driver: driver(spec, &env),
        read_only: own["securityContext"]["readOnlyRootFilesystem"] == true,
        account: token.then(|| spec["serviceAccountName"].as_str().unwrap_or("default").to_owned()),
        probes: probes(own, &env)?,
        commands: probe_commands(own, image)?,
        namespace,
        command,
        env,
    })
}

/// What fields of a pod can be asked for.
struct Pod<'a> {
    node: &'a str,
    namespace: &'a str,
    name: String,
}

fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object[field].as_str().unwrap_or_default()
}

fn environment(own: &Value, pod: &Pod<'_>, image: &Image) -> Result<BTreeMap<String, String>, String> {
    let mut env = image.env.clone();
    for entry in own["env"].as_array().into_iter().flatten() {
        let name = text(entry, "name");
        let value = match (entry["value"].as_str(), entry["valueFrom"].is_null()) {
            (Some(value), true) => expand(value, &env),
            (None, true) => String::new(),
            _ => field(&entry["valueFrom"], pod).map_err(|why| format!("variable `{name}`: {why}"))?,
        };
        env.insert(name.to_owned(), value);
    }
    Ok(env)
}

fn field(from: &Value, pod: &Pod<'_>) -> Result<String, String> {
    match from["fieldRef"]["fieldPath"].as_str() {
        Some("spec.nodeName") => Ok(pod.node.to_owned()),
        Some("metadata.name") => Ok(pod.name.clone()),
        Some("metadata.namespace") => Ok(pod.namespace.to_owned()),
        Some("status.podIP" | "status.hostIP") => Ok("127.0.0.1".to_owned()),
        Some(other) => Err(format!("there is no field `{other}`")),
        None => Err("only `fieldRef` is understood here".to_owned()),
    }
}

/// `$(NAME)` is replaced where the variable is known.
fn expand(value: &str, env: &BTreeMap<String, String>) -> String {
    env.iter().fold(value.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

fn expanded(items: &[Value], env: &BTreeMap<String, String>) -> Vec<String> {
    items.iter().filter_map(Value::as_str).map(|item| expand(item, env)).collect()
}

/// Which of the two programs a command is; one that the image has not cannot start.
fn is_mps(command: &[String], image: &Image) -> Result<bool, String> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let name = program.strip_prefix("/usr/bin/").unwrap_or(program);
    if !image.programs.iter().any(|known| known == name) {
        return Err(format!("`{program}` is no executable file of image `{}`", image.reference));
    }
    Ok(name == "mps-control-daemon" || command.get(1).is_some_and(|word| word == "mps"))
}

fn mounts(own: &Value, spec: &Value) -> Result<Vec<Mount>, String> {
    let volumes = spec["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = own["volumeMounts"].as_array().into_iter().flatten();
    wanted
        .map(|mount| {
            let name = text(mount, "name");
            let volume = volumes.iter().find(|volume| text(volume, "name") == name);
            let volume = volume.ok_or_else(|| format!("volume mount `{name}` has no volume"))?;
            Ok(Mount {
                at: text(mount, "mountPath").to_owned(),
                source: source(volume).map_err(|why| format!("volume `{name}`: {why}"))?,
                read_only: mount["readOnly"] == true,
            })
        })
        .collect()
}

fn source(volume: &Value) -> Result<Source, String> {
    let host = &volume["hostPath"];
    if let Some(path) = host["path"].as_str() {
        return match host["type"].as_str() {
            Some("Directory") => Ok(Source::Host { path: path.to_owned(), make: false }),
            Some("DirectoryOrCreate") => Ok(Source::Host { path: path.to_owned(), make: true }),
            other => Err(format!("host path `{path}` is of type {other:?}, expected a directory")),
        };
    }
    match volume["configMap"]["name"].as_str() {
        Some(name) => Ok(Source::ConfigMap(name.to_owned())),
        None => Err("only `hostPath` and `configMap` are understood here".to_owned()),
    }
}

/// MPS servers and their clients meet in `/dev/shm`, and clients have that of the MPS root there.
fn shares_memory(mounts: &[Mount], env: &BTreeMap<String, String>) -> Result<(), String> {
    let root = env.get("MPS_ROOT").map(String::as_str).unwrap_or(super::MPS_ROOT);
    let path = format!("{root}/shm");
    let is_shared = |mount: &Mount| {
        mount.at == "/dev/shm" && matches!(&mount.source, Source::Host { path: found, .. } if *found == path)
    };
    match mounts.iter().any(is_shared) {
        true => Ok(()),
        false => Err(format!("`{path}` of the host is not mounted at /dev/shm, where MPS clients have it")),
    }
}

/// What NVIDIA's runtime brings: nothing under another runtime, or when the environment does not ask for it.
fn driver(spec: &Value, env: &BTreeMap<String, String>) -> Driver {
    let asked = env.get(VISIBLE).is_some_and(|devices| !devices.is_empty() && devices != "void");
    if spec["runtimeClassName"] != NVIDIA || !asked {
        return Driver::default();
    }
    let parts: Vec<&str> = env.get(CAPABILITIES).map(|list| list.split(',').collect()).unwrap_or_default();
    let has = |part: &str| parts.iter().any(|p| *p == part || *p == "all");
    Driver { nvml: has("utility"), mps: has("compute") }
}

/// The probes that a container may have.
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// The commands that the kubelet runs in the container.
fn probe_commands(own: &Value, image: &Image) -> Result<Vec<Vec<String>>, String> {
    let mut commands = Vec::new();
    for probe in PROBES {
        let words = own[probe]["exec"]["command"].as_array().into_iter().flatten();
        let command: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
        if !command.is_empty() {
            is_mps(&command, image).map_err(|why| format!("{probe}: {why}"))?;
            commands.push(command);
        }
    }
    Ok(commands)
}

/// The paths that the kubelet asks for, over the pod's network: a port on which nobody listens there is a mistake.
fn probes(own: &Value, env: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut paths = Vec::new();
    for probe in PROBES {
        let get = &own[probe]["httpGet"];
        if get.is_null() {
            continue;
        }
        let named = |port: &&Value| port["name"] == get["port"];
        let port = match get["port"].as_u64() {
            Some(number) => Some(number),
            None => own["ports"].as_array().and_then(|all| all.iter().find(named)?["containerPort"].as_u64()),
        };
        let port = port.ok_or_else(|| format!("{probe}: there is no port {}", get["port"]))?;
        let served = env.get(ADMIN).map(String::as_str).unwrap_or("127.0.0.1:9410");
        let (host, number) = served.rsplit_once(':').unwrap_or((served, ""));
        if number != port.to_string() {
            return Err(format!("{probe}: port {port} is probed, the plugin listens on `{served}`"));
        }
        if matches!(host, "127.0.0.1" | "[::1]" | "localhost") {
            return Err(format!("{probe}: the plugin listens on `{served}`, which the kubelet cannot reach"));
        }
        paths.push(text(get, "path").to_owned());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image() -> Image {
        let text = "ENV A=image\nENV NVIDIA_VISIBLE_DEVICES=all\nENV NVIDIA_DRIVER_CAPABILITIES=utility\n\
                    RUN ln -s tandem-device-plugin /rootfs/usr/bin/mps-control-daemon\n\
                    ENTRYPOINT [\"/usr/bin/tandem-device-plugin\"]\n";
        Image::read(text, "1.0.0").unwrap()
    }

    fn set() -> Value {
        json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"template": {"spec": {
            "serviceAccountName": "account", "runtimeClassName": "nvidia",
            "containers": [{
                "image": "tandem/device-plugin:1.0.0", "args": ["run", "--node-name", "$(NODE)"],
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "ADMIN_ADDRESS", "value": "0.0.0.0:9"}, {"name": "ON", "value": "on $(NODE)"}],
                "ports": [{"name": "admin", "containerPort": 9}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "admin"}},
                "volumeMounts": [{"name": "v", "mountPath": "/in", "readOnly": true}],
            }],
            "volumes": [{"name": "v", "hostPath": {"path": "/host", "type": "Directory"}}],
        }}}})
    }

    fn refused(pointer: &str, value: Value) -> String {
        let mut set = set();
        *set.pointer_mut(&format!("/spec/template/spec{pointer}")).unwrap() = value;
        container(&set, "n1", &image()).unwrap_err()
    }

    #[test]
    fn a_container_has_the_images_environment_and_what_its_manifest_says() {
        let made = container(&set(), "n1", &image()).unwrap();
        assert_eq!(made.command, ["/usr/bin/tandem-device-plugin", "run", "--node-name", "n1"]);
        assert_eq!((made.env["A"].as_str(), made.env["ON"].as_str()), ("image", "on n1"));
        let source = Source::Host { path: "/host".into(), make: false };
        assert_eq!(made.mounts, [Mount { at: "/in".into(), source, read_only: true }]);
        assert_eq!(made.driver, Driver { nvml: true, mps: false });
        assert_eq!((made.is_mps, made.account.as_deref()), (false, Some("account")));
        assert_eq!(made.probes, ["/ready"]);
    }

    #[test]
    fn without_nvidias_runtime_there_is_no_driver() {
        let mut set = set();
        set["spec"]["template"]["spec"]["runtimeClassName"] = Value::Null;
        assert_eq!(container(&set, "n1", &image()).unwrap().driver, Driver::default());
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        for (pointer, value, words) in [
            ("/containers/0/image", json!("tandem/device-plugin:2"), "cannot be pulled"),
            ("/containers/0/env/0/valueFrom/fieldRef/fieldPath", json!("spec.node"), "no field `spec.node`"),
            ("/containers/0/volumeMounts/0/name", json!("w"), "volume mount `w` has no volume"),
            ("/volumes/0/hostPath/type", json!("Socket"), "volume `v`: host path `/host`"),
            ("/containers/0/readinessProbe/httpGet/port", json!(8), "port 8 is probed"),
            ("/containers/0/env/1/value", json!("127.0.0.1:9"), "cannot reach"),
        ] {
            let why = refused(pointer, value);
            assert!(why.contains(words), "{pointer}: {why}");
        }
    }
}
