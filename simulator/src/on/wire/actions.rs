//! What the verbs of a scenario do on the wire stage: they change API objects as kubectl would, and processes.

use fake_cluster::api::{DeleteOptions, Key, Part, PatchKind, Resource, Selector};
use serde_json::{Map, Value, json};

use super::{NAMESPACE, WireStage, config_map, refused};
use crate::expect::glob;
use crate::on::{Done, StageError};
use crate::scenario::{Apply, Object, Process, Selection, Verb};

impl WireStage {
    pub(super) async fn perform(&mut self, verb: &Verb) -> Result<Done, StageError> {
        match verb {
            Verb::Label { node, set } => {
                let labels = set.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
                self.label(node, labels)
            }
            Verb::Unlabel { node, keys } => {
                self.label(node, keys.iter().map(|key| (key.clone(), Value::Null)).collect())
            }
            Verb::Apply(all) => self.apply(all),
            Verb::ApplyAll(objects) => self.apply_all(objects),
            Verb::DeleteDeployments(names) => self.delete_deployments(names),
            Verb::ScaleDeployment { name, count } => self.scale_deployment(name, *count),
            Verb::Delete(selection) => self.delete(selection),
            Verb::Restart { process: Process::Kubelet, node } => self.node(node)?.restart_kubelet().await,
            Verb::Restart { process, node } => self.node(node)?.restart(*process).await,
            Verb::Kill { process, node } => self.node(node)?.kill(*process).await,
            Verb::OtherPlugin { node, name, act } => self.node(node)?.other_plugins.act(name, *act).await,
            Verb::InstallDriver { node, gpus } => self.node(node)?.install_driver(gpus),
            Verb::Mig { node, gpu, layout } => self.node(node)?.lay_out_mig(*gpu, layout.as_deref()),
            Verb::Edit { config, text } => config_map::edit(&self.api, config, text.as_deref()),
            Verb::Finish { pods, exit_code } => self.finish_pods(pods, *exit_code).await,
            Verb::Workload(work) => self.work(work),
            Verb::Fault { spec, .. } => self.suffer(spec).await,
            Verb::Wait(_)
            | Verb::Advance(_)
            | Verb::Expect(_)
            | Verb::Never(_)
            | Verb::Sometimes(_)
            | Verb::Scale { .. }
            | Verb::Parallel(_) => Ok(Done::Skipped("the player does this itself".to_owned())),
        }
    }

    pub(super) fn node(&mut self, name: &str) -> Result<&mut super::Node, StageError> {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.ok_or_else(|| refused(format!("find node `{name}`"), &"there is none"))
    }

    fn label(&self, node: &str, labels: Map<String, Value>) -> Result<Done, StageError> {
        let patch = json!({"metadata": {"labels": labels}});
        let key = Key::node(node);
        self.api
            .write(|store, now| store.patch(&key, PatchKind::Merge, &patch, Part::Main, now))
            .map_err(|error| refused(format!("label node `{node}`"), &error))?;
        Ok(Done::Did)
    }

    fn apply(&self, all: &[Apply]) -> Result<Done, StageError> {
        for apply in all {
            for name in &apply.names {
                let mut pod = apply.manifest.clone();
                if let Some(slot) = pod.pointer_mut("/metadata/name") {
                    *slot = json!(name);
                }
                self.api
                    .write(|store, now| store.create(Resource::Pods, NAMESPACE, pod, now))
                    .map_err(|error| refused(format!("create pod `{name}`"), &error))?;
            }
        }
        Ok(Done::Did)
    }

    fn apply_all(&self, objects: &[Object]) -> Result<Done, StageError> {
        for object in objects {
            match object {
                Object::Pods(apply) => {
                    self.apply(std::slice::from_ref(apply))?;
                }
                Object::Deployment { name, manifest, .. } => {
                    let manifest = manifest.clone();
                    self.api
                        .write(|store, now| store.create(Resource::Deployments, NAMESPACE, manifest, now))
                        .map_err(|error| refused(format!("create deployment `{name}`"), &error))?;
                }
                Object::ConfigMap(configs) => config_map::replace(&self.api, configs)?,
            }
        }
        Ok(Done::Did)
    }

    fn delete_deployments(&self, names: &[String]) -> Result<Done, StageError> {
        for name in names {
            let key = Key::new(Resource::Deployments, NAMESPACE, name);
            self.api
                .write(|store, now| store.delete(&key, &DeleteOptions::default(), now))
                .map_err(|error| refused(format!("delete deployment `{name}`"), &error))?;
        }
        Ok(Done::Did)
    }

    fn scale_deployment(&self, name: &str, count: u64) -> Result<Done, StageError> {
        let key = Key::new(Resource::Deployments, NAMESPACE, name);
        let patch = json!({"spec": {"replicas": count}});
        self.api
            .write(|store, now| store.patch(&key, PatchKind::Merge, &patch, Part::Main, now))
            .map_err(|error| refused(format!("scale deployment `{name}`"), &error))?;
        Ok(Done::Did)
    }

    /// The keys of the pods that are selected and exist.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn chosen(&self, what: &str, selection: &Selection) -> Result<Vec<Key>, StageError> {
        let selector = match selection {
            Selection::Names(_) => Selector::everything(),
            Selection::Labels(labels) => {
                Selector::of_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            }
        };
        let pods = self.api.read(|store| store.list(Resource::Pods, Some(NAMESPACE), &selector));
        let keys = pods.iter().map(|pod| Key::of(Resource::Pods, pod));
        let chosen: Vec<Key> = keys
            .filter(|key| match selection {
                Selection::Names(names) => names.iter().any(|name| glob(name, &key.name)),
                Selection::Labels(_) => true,
            })
            .collect();
        match chosen.is_empty() {
            true => Err(refused(format!("{what} pods"), &"no pod is selected")),
            false => Ok(chosen),
        }
    }

    fn delete(&self, selection: &Selection) -> Result<Done, StageError> {
        for key in self.chosen("delete", selection)? {
            self.api
                .write(|store, now| store.delete(&key, &DeleteOptions::default(), now))
                .map_err(|error| refused(format!("delete pod `{}`", key.name), &error))?;
        }
        Ok(Done::Did)
    }

    async fn finish_pods(&mut self, selection: &Selection, exit_code: i32) -> Result<Done, StageError> {
        for key in self.chosen("finish", selection)? {
            self.finish_work(&key, exit_code).await?;
        }
        Ok(Done::Did)
    }
}
