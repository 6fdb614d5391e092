//! The image on the engine: loaded once, started with the security context of its DaemonSet, and looked at from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bollard::Docker;
use bollard::query_parameters::{ImportImageOptions, InspectContainerOptions};
use futures::TryStreamExt as _;
use testcontainers::core::{AccessMode, Mount};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};

use super::{Built, until_told};

/// How long a container may take to end after SIGTERM before the engine kills it, in seconds.
const STOP_SECONDS_MAX: i32 = 20;
/// The exit code of a process that the engine killed.
pub(crate) const KILLED: i64 = 137;

/// A directory or file of this machine in a container.
#[derive(Debug, Clone)]
pub(crate) struct Mounted {
    pub(crate) from: PathBuf,
    pub(crate) to: &'static str,
    pub(crate) read_only: bool,
}

impl Mounted {
    /// One that the container may write.
    pub(crate) fn writable(from: PathBuf, to: &'static str) -> Mounted {
        Mounted { from, to, read_only: false }
    }

    /// One that it may only read.
    pub(crate) fn read_only(from: PathBuf, to: &'static str) -> Mounted {
        Mounted { from, to, read_only: true }
    }
}

/// What a container can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// What this machine can: the API server listens on its loopback address.
    Machine,
    /// Nothing.
    None,
}

/// The image under test.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    docker: Docker,
    name: String,
    tag: String,
    /// The size of its archive, in bytes.
    pub(crate) size_bytes: u64,
}

impl Image {
    /// Loads the archive into the engine, unless it is there.
    pub(crate) async fn load() -> Result<Image> {
        let docker =
            Docker::connect_with_defaults().context("no container engine (hint: set DOCKER_HOST)")?;
        let built = Built::find()?;
        let archive = std::fs::read(&built.archive)
            .with_context(|| format!("cannot read `{}`", built.archive.display()))?;
        let body = bollard::body_full(archive.into());
        let loaded: Vec<_> =
            docker.import_image(ImportImageOptions::default(), body, None).try_collect().await?;
        let (name, tag) =
            built.reference.rsplit_once(':').with_context(|| format!("no tag in `{}`", built.reference))?;
        docker
            .inspect_image(&built.reference)
            .await
            .with_context(|| format!("the engine has no `{}` after loading: {loaded:?}", built.reference))?;
        Ok(Image { docker, name: name.to_owned(), tag: tag.to_owned(), size_bytes: built.size_bytes })
    }

    /// Starts a container of it, as its DaemonSet does: no capability, no way to new privileges, nothing to write on but
    /// what is mounted. It sees the machine's processes, because the fake driver tells live processes by their ids.
    pub(crate) async fn start(
        &self,
        arguments: &[&str],
        settings: &BTreeMap<&'static str, String>,
        mounts: &[Mounted],
        network: Network,
    ) -> Result<Running> {
        let begun = Instant::now();
        let mut request = GenericImage::new(self.name.clone(), self.tag.clone())
            .with_cmd(arguments.iter().map(|argument| (*argument).to_owned()))
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges")
            .with_readonly_rootfs(true)
            .with_host_config_modifier(move |host| {
                host.pid_mode = Some("host".to_owned());
                host.network_mode = Some(match network {
                    Network::Machine => "host".to_owned(),
                    Network::None => "none".to_owned(),
                });
            });
        for (name, value) in settings {
            request = request.with_env_var(*name, value.clone());
        }
        for mount in mounts {
            let mode = if mount.read_only { AccessMode::ReadOnly } else { AccessMode::ReadWrite };
            let bind = Mount::bind_mount(mount.from.display().to_string(), mount.to).with_access_mode(mode);
            request = request.with_mount(bind);
        }
        let container = request.start().await?;
        Ok(Running { docker: self.docker.clone(), container, begun })
    }
}

/// A started container; dropping it removes it.
pub(crate) struct Running {
    docker: Docker,
    container: ContainerAsync<GenericImage>,
    begun: Instant,
}

impl Running {
    /// How long ago the engine was asked for it.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Its process, as this machine numbers it.
    pub(crate) async fn pid(&self) -> Result<u32> {
        let told =
            self.docker.inspect_container(self.container.id(), None::<InspectContainerOptions>).await?;
        let pid = told.state.and_then(|state| state.pid).filter(|pid| *pid > 0);
        Ok(u32::try_from(pid.context("the container has no process")?)?)
    }

    /// Whether it runs.
    pub(crate) async fn is_running(&self) -> Result<bool> {
        Ok(self.container.is_running().await?)
    }

    /// What it has written so far.
    pub(crate) async fn log(&self) -> Result<String> {
        let (mut out, err) = (self.container.stdout_to_vec().await?, self.container.stderr_to_vec().await?);
        out.extend(err);
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Waits until its log says something.
    pub(crate) async fn says(&self, what: &str) -> Result<()> {
        let wanted = format!("the log says `{what}`");
        let told = until_told(&wanted, || async { Ok(self.log().await?.contains(what).then_some(())) });
        match told.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}; it says:\n{}", self.log().await?),
        }
    }

    /// Sends SIGTERM, waits for the end, and tells the exit code.
    pub(crate) async fn stop(&self) -> Result<i64> {
        self.container.stop_with_timeout(Some(STOP_SECONDS_MAX)).await?;
        self.container.exit_code().await?.context("it has no exit code")
    }

    /// What the kernel says of its process: a line of `/proc/<pid>/status`.
    pub(crate) async fn status(&self, field: &str) -> Result<String> {
        let path = format!("/proc/{}/status", self.pid().await?);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(values.next().with_context(|| format!("`{path}` has no `{field}`"))?.trim().to_owned())
    }

    /// Why nobody can write into a directory of its root file system, as the kernel says.
    pub(crate) async fn write_refused(&self, directory: &str) -> Result<String> {
        let path =
            Path::new("/proc").join(self.pid().await?.to_string()).join("root").join(directory).join("x");
        match std::fs::write(&path, "x") {
            Err(error) => Ok(error.to_string()),
            Ok(()) => {
                std::fs::remove_file(&path)?;
                bail!("`{}` could be written", path.display())
            }
        }
    }
}
