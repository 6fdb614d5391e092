//! Runs what the DaemonSets of the API server say, instead of what the laboratory knows of the plugin: so that the
//! manifests that an operator applies are what is tried.
//!
//! [`pod`] says what a kubelet would make of a set on a node, [`rights`] what its service account may do, [`image`] what is
//! in the image, and [`root`] makes the container.

mod image;
mod pod;
mod rights;
mod root;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_cluster::api::{ApiHandle, Key, Resource, Selector};
use fake_cluster::node::config_volume::ConfigVolume;
use fake_cluster::node::daemonsets::{DaemonSet, DaemonSets, Program};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::binaries::{Binaries, workspace};
use super::daemons;
use super::layout::NodeLayout;
use super::process::Ended;
use super::programs::{MPS, Name, PLUGIN, Programs};
use super::refused;
use crate::on::StageError;
use image::Image;
use pod::{Container, Source};

/// Where the host's MPS root is in manifests.
pub(super) const MPS_ROOT: &str = root::MPS_ROOT;
/// The image's Dockerfile, in the workspace.
const DOCKERFILE: &str = "plugin/deploy/image/Dockerfile";
/// The most sentences about containers that cannot be made.
const SENTENCES_MAX: usize = 100;

/// A node on which sets run.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its directory.
    pub(super) base: PathBuf,
    /// Its paths.
    pub(super) layout: NodeLayout,
    /// The build products.
    pub(super) binaries: Binaries,
    /// How to reach the API server.
    pub(super) kubeconfig: PathBuf,
    /// The story's own environment of the plugin, such as shorter times.
    pub(super) env: BTreeMap<String, String>,
}

/// Why manifests cannot be played on this machine.
pub fn cannot_play() -> Option<String> {
    root::refused()
}

/// Stores the objects of manifests, in their order.
///
/// # Errors
/// A kind that the API server does not have, or an object that it refuses.
pub(super) fn apply(api: &ApiHandle, objects: &[Value]) -> Result<(), StageError> {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let named = format!("apply {} `{}`", text("/kind"), text("/metadata/name"));
        let known = |resource: &Resource| {
            resource.kind() == text("/kind") && resource.api_version() == text("/apiVersion")
        };
        let resource = Resource::ALL.into_iter().find(known);
        let resource = resource.ok_or_else(|| refused(named.clone(), &"there is no such kind"))?;
        let namespace = match text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        api.write(|store, now| store.create(resource, namespace, object.clone(), now))
            .map_err(|error| refused(named, &error))?;
    }
    Ok(())
}

/// Follows the DaemonSets.
#[derive(Debug)]
pub(super) struct Deployment {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Deployment {
    /// Begins.
    ///
    /// # Errors
    /// The image's Dockerfile cannot be read.
    pub(super) fn start(
        api: &ApiHandle,
        programs: &Programs,
        places: BTreeMap<String, Place>,
        sync: Duration,
    ) -> Result<Deployment, StageError> {
        let path = workspace()?.join(DOCKERFILE);
        let text = std::fs::read_to_string(&path).map_err(|error| StageError::File {
            what: "read",
            path: path.clone(),
            error,
        })?;
        let image = Image::read(&text, env!("CARGO_PKG_VERSION"))
            .map_err(|why| refused(format!("read `{}`", path.display()), &why))?;
        let shared = Shared {
            api: api.clone(),
            programs: programs.clone(),
            places,
            sync,
            image,
            told: Mutex::default(),
        };
        let (end, ended) = oneshot::channel();
        Ok(Deployment { end, task: tokio::spawn(follow(Arc::new(shared), ended)) })
    }

    /// Stops every set.
    pub(super) async fn stop(self) {
        drop(self.end);
        if let Err(error) = self.task.await {
            eprintln!("the DaemonSets were followed no longer: {error}");
        }
    }
}

/// What every set needs.
struct Shared {
    api: ApiHandle,
    programs: Programs,
    places: BTreeMap<String, Place>,
    sync: Duration,
    image: Image,
    told: Mutex<BTreeSet<String>>,
}

impl Shared {
    /// Every sentence is told once, although a start is tried again.
    fn tell(&self, sentence: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < SENTENCES_MAX && told.insert(sentence.clone()) {
            self.programs.complain(sentence);
        }
    }
}

/// A set that is followed: its template when it was started, and its controller.
type Followed = BTreeMap<Key, (Value, DaemonSets)>;

async fn follow(shared: Arc<Shared>, mut ended: oneshot::Receiver<()>) {
    let mut changes = shared.api.subscribe();
    let mut followed = Followed::new();
    loop {
        changes.mark_unchanged();
        let sets = shared.api.read(|store| store.list(Resource::DaemonSets, None, &Selector::everything()));
        reconcile(&shared, &mut followed, &sets).await;
        tokio::select! {
            _ = &mut ended => break,
            changed = changes.changed() => if changed.is_err() { break },
        }
    }
    // the plugin before the supervisor would leave nobody to tell it that its daemons are not wanted; both are asked at once
    futures::future::join_all(followed.into_values().map(|(_, set)| set.stop())).await;
}

/// Starts what is new, stops what is gone, and replaces what was changed, unless that waits for an operator.
async fn reconcile(shared: &Arc<Shared>, followed: &mut Followed, sets: &[Arc<Value>]) {
    let keys: Vec<Key> = sets.iter().map(|set| Key::of(Resource::DaemonSets, set)).collect();
    for set in sets {
        let template = &set["spec"]["template"];
        let key = Key::of(Resource::DaemonSets, set);
        let is_same = followed.get(&key).map(|(known, _)| known == template);
        if is_same == Some(true) || (is_same.is_some() && set["spec"]["updateStrategy"]["type"] == "OnDelete")
        {
            continue;
        }
        if let Some((_, old)) = followed.remove(&key) {
            old.stop().await;
        }
        let program = Deployed { shared: Arc::clone(shared), key: key.clone(), started: Mutex::default() };
        let one = DaemonSet {
            name: key.name.clone(),
            template: template.clone(),
            program: Arc::new(program),
            object: Some(key.clone()),
        };
        let controller = DaemonSets::start(shared.api.clone(), vec![one], daemons::settings());
        followed.insert(key, (template.clone(), controller));
    }
    let gone: Vec<Key> = followed.keys().filter(|key| !keys.contains(key)).cloned().collect();
    for key in gone {
        if let Some((_, old)) = followed.remove(&key) {
            old.stop().await;
        }
    }
}

/// What runs of a set on a node.
struct Running {
    program: &'static str,
    _volumes: Vec<ConfigVolume>,
}

/// A set's program.
struct Deployed {
    shared: Arc<Shared>,
    key: Key,
    started: Mutex<BTreeMap<String, Running>>,
}

impl Deployed {
    fn begin(&self, node: &str) -> Result<(), String> {
        let shared = &self.shared;
        let place = shared.places.get(node).ok_or_else(|| format!("node `{node}` is not simulated"))?;
        let set = shared.api.read(|store| store.get(&self.key)).map_err(|error| error.to_string())?;
        let container = pod::container(&set, node, &shared.image)?;
        self.admit(&set, &container)?;
        let mut volumes = Vec::new();
        for mount in &container.mounts {
            if let Source::ConfigMap(name) = &mount.source {
                volumes.push(self.project(&container.namespace, name, place)?);
            }
        }
        let directory = |name: &str| volume(place, name);
        let launch = root::launch(&container, &shared.image, place, &directory).map_err(|e| e.to_string())?;
        let program = if container.is_mps { MPS } else { PLUGIN };
        let name = Name { node: node.to_owned(), program };
        shared.programs.start(&name, &launch).map_err(|e| format!("`{}`: {e}", launch.program.display()))?;
        self.lock().insert(node.to_owned(), Running { program, _volumes: volumes });
        Ok(())
    }

    /// What the API server and the kubelet refuse before anything is started.
    fn admit(&self, set: &Value, container: &Container) -> Result<(), String> {
        let has = |key: Key| self.shared.api.read(|store| store.get(&key)).is_ok();
        let spec = &set["spec"]["template"]["spec"];
        if let Some(class) = spec["runtimeClassName"].as_str()
            && !has(Key::new(Resource::RuntimeClasses, "", class))
        {
            return Err(format!("RuntimeClass `{class}` not found"));
        }
        let named = spec["serviceAccountName"].as_str().unwrap_or("default");
        if named != "default" && !has(Key::new(Resource::ServiceAccounts, &container.namespace, named)) {
            return Err(format!("service account `{named}` not found"));
        }
        let Some(account) = container.account.as_deref().filter(|_| !container.is_mps) else {
            return if container.is_mps { Ok(()) } else { Err("the plugin has no token".to_owned()) };
        };
        match self.roles().lacks(&container.namespace, account) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    fn roles(&self) -> rights::Roles {
        self.shared.api.read(|store| {
            let list = |resource| store.list(resource, None, &Selector::everything());
            rights::Roles {
                roles: [list(Resource::ClusterRoles), list(Resource::Roles)].concat(),
                bindings: [list(Resource::ClusterRoleBindings), list(Resource::RoleBindings)].concat(),
            }
        })
    }

    fn project(&self, namespace: &str, name: &str, place: &Place) -> Result<ConfigVolume, String> {
        let key = Key::new(Resource::ConfigMaps, namespace, name);
        let api = &self.shared.api;
        api.read(|store| store.get(&key)).map_err(|error| error.to_string())?;
        ConfigVolume::start(api.clone(), key, volume(place, name), self.shared.sync)
            .map_err(|e| e.to_string())
    }

    fn name(&self, node: &str) -> Option<Name> {
        let program = self.lock().get(node)?.program;
        Some(Name { node: node.to_owned(), program })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a config map is projected on a node.
fn volume(place: &Place, name: &str) -> PathBuf {
    place.base.join("volumes").join(name)
}

impl Program for Deployed {
    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let begun = self.begin(node);
            if let Err(why) = &begun {
                self.shared.tell(format!("`{}` has no container on node `{node}`: {why}", self.key.name));
            }
            begun
        })
    }

    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(name) = self.name(node) else {
                return;
            };
            if self.shared.programs.stop(&name).await == Some(Ended::Killed) {
                let what = format!("`{}` on node `{node}` did not end on SIGTERM", name.program);
                self.shared.programs.complain(what);
            }
            self.lock().remove(node);
        })
    }

    fn kill<'a>(&'a self, node: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(name) = self.name(node) {
                self.shared.programs.kill(&name).await;
            }
        })
    }
}
