//! The root file system of a container on a simulated node: what the image holds, what the manifest mounts, what the
//! container runtime brings, and nothing else, so that a wrong path leads nowhere here as it would there.
//!
//! A mount namespace does it, with the system's own `unshare`, `mount` and `chroot`; no container engine is needed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fake_gpu::{NodeFile, STATE_VARIABLE};

use super::Place;
use super::image::Image;
use super::pod::{Container, Source};
use crate::on::wire::process::Launch;
use crate::on::wire::programs::{MPS, PLUGIN};

/// Directories of the host that the simulated node has elsewhere; the longest that fits counts.
const KUBELET_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
const KUBELET_RESOURCES: &str = "/var/lib/kubelet/pod-resources";
const CDI: &str = "/var/run/cdi";
const STATE: &str = "/var/lib/tandem";
/// Where MPS is on a host.
pub(super) const MPS_ROOT: &str = "/run/nvidia/mps";
/// Where the token of a service account is mounted; here it is in a kubeconfig, because the API server has no TLS.
const CREDENTIALS: &str = "var/run/secrets/kubernetes.io/serviceaccount/kubeconfig";
/// Where the plugin leaves the address that it serves probes at: there is no network of the pod's own.
const PROBES: &str = "run/probes";
/// Where NVIDIA's runtime brings libraries and programs.
const DRIVER: &str = "usr/local/nvidia";
/// What makes the mounts and then becomes the container's process.
const SHELL: &str = "/bin/sh";

/// What the kubelet brings.
pub(super) struct Brought<'b> {
    /// Where a config map is projected.
    pub(super) config_maps: &'b dyn Fn(&str) -> PathBuf,
    /// The file with the service account's token, if one is mounted.
    pub(super) credentials: Option<PathBuf>,
}

/// Makes the root directory, and says how its first process is started.
///
/// # Errors
/// What the file system says.
pub(super) fn launch(
    container: &Container,
    image: &Image,
    place: &Place,
    brought: &Brought<'_>,
) -> io::Result<Launch> {
    let program = if container.is_mps { MPS } else { PLUGIN };
    let base = place.base.join("containers").join(program);
    let mut root = Root { dir: base.join("root"), script: String::new() };
    root.system()?;
    root.image(image, place)?;
    root.node(container, place)?;
    if let Some(file) = &brought.credentials {
        root.bind(file, CREDENTIALS, true)?;
    }
    for mount in &container.mounts {
        let from = match &mount.source {
            Source::ConfigMap(name) => (brought.config_maps)(name),
            Source::Host { path, make } => host(place, path, *make)?,
        };
        root.bind(&from, &mount.at, mount.read_only)?;
    }
    root.script.push_str(if container.read_only { "mount -o remount,bind,ro \"$root\"\n" } else { "" });
    let mut env = container.env.clone();
    env.insert(STATE_VARIABLE.to_owned(), place.layout.gpus.display().to_string());
    if brought.credentials.is_some() {
        env.insert("KUBECONFIG".to_owned(), format!("/{CREDENTIALS}"));
    }
    let mut command = container.command.clone();
    if !container.is_mps {
        env.extend(place.env.clone());
        let file = format!("/{PROBES}/{}", file_name(&place.layout.admin_address));
        command.extend(["--admin-address", "127.0.0.1:0", "--admin-address-file", &file].map(str::to_owned));
    }
    let script = base.join("start.sh");
    fs::write(&script, root.text())?;
    let mut args = vec!["--mount".to_owned()];
    if !is_root() {
        args.push("--map-root-user".to_owned());
    }
    args.extend(["--".to_owned(), SHELL.to_owned(), script.display().to_string()]);
    args.extend(command);
    Ok(Launch { program: "unshare".into(), args, env, log: place.layout.log(program) })
}

/// How another program is started in a container that [`launch`] made, beside its first process.
pub(super) fn beside(launch: &Launch, command: &[String]) -> Launch {
    let until_script = launch.args.iter().position(|arg| arg == SHELL).map_or(0, |shell| shell + 2);
    let own = launch.args.iter().take(until_script).chain(command);
    Launch { args: own.cloned().collect(), ..launch.clone() }
}

/// Whether this machine lets a process have mounts of its own; if not, why.
pub(super) fn refused() -> Option<String> {
    let mut probe = std::process::Command::new("unshare");
    probe.arg("--mount");
    if !is_root() {
        probe.arg("--map-root-user");
    }
    let said = probe.args(["--", "true"]).output();
    match said {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("`unshare`: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("`unshare`: {error}")),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A directory of the host as it is on the simulated node.
fn host(place: &Place, path: &str, make: bool) -> io::Result<PathBuf> {
    let layout = &place.layout;
    let known = [
        (KUBELET_PLUGINS, &layout.device_plugins),
        (KUBELET_RESOURCES, &layout.pod_resources),
        (CDI, &layout.cdi),
        (STATE, &layout.state),
        (MPS_ROOT, &layout.mps_root),
    ];
    let below =
        |(from, to): &(&str, &PathBuf)| Path::new(path).strip_prefix(from).ok().map(|rest| to.join(rest));
    let found = known.iter().find_map(below);
    let real = found.unwrap_or_else(|| place.base.join("host").join(path.trim_start_matches('/')));
    if make {
        fs::create_dir_all(&real)?;
    } else if !real.is_dir() {
        return Err(io::Error::other(format!("host path `{path}` is not a directory")));
    }
    Ok(real)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A root directory that is being made.
struct Root {
    dir: PathBuf,
    script: String,
}

impl Root {
    /// The loader and the libraries of this machine, which every program of the node was linked with.
    fn system(&mut self) -> io::Result<()> {
        fs::create_dir_all(self.dir.join("usr/bin"))?;
        for name in ["usr/lib", "usr/lib64", "lib", "lib64"] {
            let real = Path::new("/").join(name);
            match fs::read_link(&real) {
                Ok(target) => link(&target, &self.dir.join(name))?,
                Err(_) if real.is_dir() => self.bind(&real, name, true)?,
                Err(_) => {}
            }
        }
        self.bind(Path::new("/proc"), "proc", false)?;
        let null = Path::new("/dev/null");
        self.bind(null, "dev/null", false)
    }

    fn image(&mut self, image: &Image, place: &Place) -> io::Result<()> {
        let own = image.entrypoint.first().map(|path| file_name(Path::new(path))).unwrap_or_default();
        for name in image.programs.iter().filter(|name| **name != own) {
            link(Path::new(&own), &self.dir.join("usr/bin").join(name))?;
        }
        self.bind(&place.binaries.plugin, &format!("usr/bin/{own}"), true)
    }

    /// What the node and its container runtime bring.
    fn node(&mut self, container: &Container, place: &Place) -> io::Result<()> {
        let layout = &place.layout;
        self.bind(&layout.sysfs, "sys", true)?;
        if layout.gpus.exists() {
            // the fake driver finds its state under the path that it has outside
            self.bind(&layout.gpus, &layout.gpus.display().to_string(), false)?;
        }
        if container.driver.nvml && layout.nvml().exists() {
            self.bind(&layout.nvml(), &format!("{DRIVER}/lib64/libnvidia-ml.so.1"), true)?;
            let smi = file_name(&place.binaries.nvidia_smi);
            self.bind(&place.binaries.nvidia_smi, &format!("{DRIVER}/bin/{smi}"), true)?;
            for node in fs::read_dir(layout.driver_root.join("dev")).into_iter().flatten().flatten() {
                if let Ok(target) = fs::read_link(node.path()) {
                    link(&target, &self.dir.join("dev").join(node.file_name()))?;
                }
            }
            let gpus = NodeFile::open(&layout.gpus).and_then(|gpus| gpus.snapshot());
            for gpu in gpus.map_err(io::Error::other)?.gpus {
                link(Path::new("/dev/null"), &self.dir.join(format!("dev/nvidia{}", gpu.minor)))?;
            }
        }
        if container.driver.mps && layout.nvml().exists() {
            let name = file_name(&place.binaries.mps_control);
            self.bind(&place.binaries.mps_control, &format!("{DRIVER}/bin/{name}"), true)?;
        }
        match layout.admin_address.parent() {
            Some(probes) if !container.is_mps => self.bind(probes, PROBES, false),
            _ => Ok(()),
        }
    }

    /// Makes the place of a mount, and remembers it.
    fn bind(&mut self, from: &Path, at: &str, read_only: bool) -> io::Result<()> {
        let to = self.dir.join(at.trim_start_matches('/'));
        let from = fs::canonicalize(from)?;
        if from.is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::create_dir_all(to.parent().unwrap_or(&self.dir))?;
            fs::OpenOptions::new().create(true).append(true).open(&to)?;
        }
        let kind = if from == Path::new("/proc") { "--rbind" } else { "--bind" };
        // writing to a String cannot fail
        let _ = writeln!(self.script, "mount {kind} '{}' '{}'", from.display(), to.display());
        if read_only {
            let _ = writeln!(self.script, "mount -o remount,bind,ro '{}'", to.display());
        }
        Ok(())
    }

    /// The tools are looked for where every system has them, whatever the container's own PATH is.
    fn text(&self) -> String {
        let dir = self.dir.display();
        let own = "inside=$PATH\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n";
        let last = "chroot=$(command -v chroot)\nPATH=$inside\nexec \"$chroot\" \"$root\" \"$@\"\n";
        format!("set -e\nroot='{dir}'\n{own}mount --bind \"$root\" \"$root\"\n{}{last}", self.script)
    }
}

/// Links unless that was done before.
fn link(target: &Path, at: &Path) -> io::Result<()> {
    match symlink(target, at) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
