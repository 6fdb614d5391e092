//! Runs what the DaemonSets of the API server say, instead of what the laboratory knows of the plugin: so that the
//! manifests that an operator applies are what is tried.
//!
//! [`pod`] says what a kubelet would make of a set on a node and [`program`] does it, [`image`] what is in the image, [`root`] makes the
//! container, and [`examine`] asks in it. Its token stands for its service account: what no role allows, the API server refuses.

pub(super) mod examine;
mod image;
mod pod;
mod program;
mod root;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fake_cluster::api::{ApiHandle, Key, Resource, Selector};
use fake_cluster::node::daemonsets::{DaemonSet, DaemonSets};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::binaries::{Binaries, workspace};
use super::daemons;
use super::layout::NodeLayout;
use super::node::Node;
use super::programs::{Name, Programs};
use super::refused;
use crate::on::StageError;
use crate::scenario::Scenario;
use image::Image;
use program::Deployed;

/// Where the host's MPS root is in manifests.
const MPS_ROOT: &str = root::MPS_ROOT;
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
    /// Where the API server listens.
    pub(super) api: String,
    /// The story's own environment of the plugin, such as shorter times.
    pub(super) env: BTreeMap<String, String>,
}

/// How a node's MPS root is called where containers are told of it.
pub(super) fn mps_root(layout: &NodeLayout, deployed: bool) -> String {
    if deployed { MPS_ROOT.to_owned() } else { layout.mps_root.display().to_string() }
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
    shared: Arc<Shared>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Deployment {
    /// Begins, for these nodes.
    ///
    /// # Errors
    /// The image's Dockerfile cannot be read.
    pub(super) fn start(
        api: &ApiHandle,
        programs: &Programs,
        nodes: &[Node],
        (binaries, directory, url): (&Binaries, &Path, &str),
        scenario: &Scenario,
    ) -> Result<Deployment, StageError> {
        let place = |node: &Node| Place {
            base: directory.join(&node.name),
            layout: node.layout.clone(),
            binaries: binaries.clone(),
            api: url.to_owned(),
            env: scenario.plugin.env.clone(),
        };
        let places = nodes.iter().map(|node| (node.name.clone(), place(node))).collect();
        let sync = scenario.timers.config_map_sync;
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
            probes: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let (end, ended) = oneshot::channel();
        Ok(Deployment { end, task: tokio::spawn(follow(Arc::clone(&shared), ended)), shared })
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
#[derive(Debug)]
struct Shared {
    api: ApiHandle,
    programs: Programs,
    places: BTreeMap<String, Place>,
    sync: Duration,
    image: Image,
    told: Mutex<BTreeSet<String>>,
    /// The programs that were started, with the commands by which the kubelet probes them.
    probes: Mutex<BTreeMap<Name, Vec<Vec<String>>>>,
}

impl Shared {
    fn lock_probes(&self) -> MutexGuard<'_, BTreeMap<Name, Vec<Vec<String>>>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        let program = Deployed::new(Arc::clone(shared), key.clone());
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
