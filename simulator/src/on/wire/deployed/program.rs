//! One DaemonSet's container on one node: admitted as the API server and the kubelet admit a pod, started, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fake_cluster::api::{Account, Key, Resource, kubeconfig};
use fake_cluster::node::config_volume::ConfigVolume;
use fake_cluster::node::daemonsets::Program;
use futures::future::BoxFuture;
use serde_json::Value;

use super::pod::{self, Container, Source};
use super::{Place, Shared, root};
use crate::on::wire::process::Ended;
use crate::on::wire::programs::{MPS, Name, PLUGIN};

/// What runs of a set on a node.
struct Running {
    program: &'static str,
    _volumes: Vec<ConfigVolume>,
}

/// A set's program.
pub(super) struct Deployed {
    shared: Arc<Shared>,
    key: Key,
    started: Mutex<BTreeMap<String, Running>>,
}

impl Deployed {
    /// Of the set at `key`; nothing is started yet.
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Deployed { shared, key, started: Mutex::default() }
    }

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
        let credentials = self.credentials(&container, node, place).map_err(|e| e.to_string())?;
        let brought = root::Brought { config_maps: &directory, credentials };
        let launch = root::launch(&container, &shared.image, place, &brought).map_err(|e| e.to_string())?;
        let program = if container.is_mps { MPS } else { PLUGIN };
        let name = Name { node: node.to_owned(), program };
        shared.programs.start(&name, &launch).map_err(|e| format!("`{}`: {e}", launch.program.display()))?;
        shared.lock_probes().insert(name, container.commands);
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
        Ok(())
    }

    /// The token that the kubelet mounts, as a kubeconfig: the plugin finds an API server without TLS in no other way.
    fn credentials(
        &self,
        container: &Container,
        node: &str,
        place: &Place,
    ) -> std::io::Result<Option<PathBuf>> {
        let Some(name) = container.account.clone() else { return Ok(None) };
        let account = Account { namespace: container.namespace.clone(), name, node: Some(node.to_owned()) };
        let token = self.shared.api.write(|store, _| store.issue_token(account));
        let path = place.base.join(format!("credentials-{}", self.key.name));
        std::fs::write(&path, kubeconfig::with_token(&place.api, &token))?;
        Ok(Some(path))
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
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
            self.shared.lock_probes().remove(&name);
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
