//! What the verbs of a scenario do on a cluster that exists: what kubectl can do, and nothing on its machines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::ClusterStage;
use super::client::Kind;
use crate::expect::glob;
use crate::on::{Done, StageError};
use crate::scenario::{Apply, Object, Process, Selection, Verb};

/// How long a DaemonSet may take to replace a pod.
const REPLACED_WITHIN: Duration = Duration::from_secs(120);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl ClusterStage {
    pub(super) async fn perform(&mut self, verb: &Verb) -> Result<Done, StageError> {
        let skipped = |reason: &str| Ok(Done::Skipped(reason.to_owned()));
        match verb {
            Verb::Label { node, set } => {
                self.label(node, set.iter().map(|(key, value)| (key, Some(value))).collect()).await
            }
            Verb::Unlabel { node, keys } => {
                self.label(node, keys.iter().map(|key| (key, None)).collect()).await
            }
            Verb::Apply(all) => self.apply(all).await,
            Verb::ApplyAll(objects) => self.apply_all(objects).await,
            Verb::Delete(selection) => self.delete(selection).await,
            Verb::DeleteDeployments(names) => {
                for name in names {
                    self.connection.delete(Kind::Deployment, &self.settings.namespace, name).await?;
                }
                Ok(Done::Did)
            }
            Verb::ScaleDeployment { name, count } => {
                let (namespace, patch) =
                    (Some(self.settings.namespace.as_str()), json!({"spec": {"replicas": count}}));
                self.connection.patch(Kind::Deployment, namespace, name, &patch).await?;
                Ok(Done::Did)
            }
            Verb::Edit { config, text } => {
                let data = Map::from_iter([(config.clone(), json!(text))]);
                self.change_configs(&data).await?;
                Ok(Done::Did)
            }
            Verb::Restart { process: Process::Kubelet, .. }
            | Verb::Kill { process: Process::Kubelet, .. } => {
                skipped("a kubelet cannot be ended through the API server")
            }
            Verb::Restart { process, node } => self.replace(*process, node).await,
            Verb::Kill { .. } => skipped("a process in a pod cannot be killed through the API server"),
            Verb::OtherPlugin { .. } => {
                skipped("device plugins that are not ours are not deployed by the story")
            }
            Verb::InstallDriver { .. } | Verb::Mig { .. } => {
                skipped("a machine's driver cannot be changed through the API server")
            }
            Verb::Finish { .. } | Verb::Workload(_) => skipped("what a pod does is up to its image"),
            Verb::Fault { .. } => skipped("nothing is broken on a cluster that may be somebody's"),
            Verb::Wait(_)
            | Verb::Advance(_)
            | Verb::Expect(_)
            | Verb::Never(_)
            | Verb::Sometimes(_)
            | Verb::Scale { .. }
            | Verb::Parallel(_) => skipped("the player does this itself"),
        }
    }

    fn real(&self, node: &str) -> Result<String, StageError> {
        let found = self.mapping.get(node).cloned();
        let error = || StageError::Cluster {
            what: format!("find node `{node}`"),
            error: "the story has none of that name".to_owned(),
        };
        found.ok_or_else(error)
    }

    async fn label(
        &mut self,
        node: &str,
        labels: BTreeMap<&String, Option<&String>>,
    ) -> Result<Done, StageError> {
        let node = self.real(node)?;
        self.set_labels(&node, labels).await?;
        Ok(Done::Did)
    }

    async fn apply(&mut self, all: &[Apply]) -> Result<Done, StageError> {
        for apply in all {
            for name in &apply.names {
                let mut pod = apply.manifest.clone();
                pod["metadata"]["name"] = json!(name);
                self.change_images(&mut pod["spec"]);
                self.connection.create(Kind::Pod, &self.settings.namespace, &pod).await?;
                self.touched.pods.insert(name.clone());
            }
        }
        Ok(Done::Did)
    }

    async fn apply_all(&mut self, objects: &[Object]) -> Result<Done, StageError> {
        for object in objects {
            match object {
                Object::Pods(apply) => {
                    self.apply(std::slice::from_ref(apply)).await?;
                }
                Object::Deployment { name, manifest, .. } => {
                    let mut manifest = manifest.clone();
                    self.change_images(&mut manifest["spec"]["template"]["spec"]);
                    self.connection.create(Kind::Deployment, &self.settings.namespace, &manifest).await?;
                    self.touched.deployments.insert(name.clone());
                }
                Object::ConfigMap(configs) => {
                    let wanted = configs.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
                    self.replace_configs(&wanted).await?;
                }
            }
        }
        Ok(Done::Did)
    }

    /// The images of a story exist in the simulated cluster alone; here each is replaced by one that is on the nodes.
    fn change_images(&self, spec: &mut Value) {
        let Some(image) = &self.settings.pod_image else { return };
        for kind in ["containers", "initContainers"] {
            for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = json!(image);
                container["imagePullPolicy"] = json!("IfNotPresent");
            }
        }
    }

    async fn delete(&mut self, selection: &Selection) -> Result<Done, StageError> {
        let selector = match selection {
            Selection::Names(_) => String::new(),
            Selection::Labels(labels) => {
                labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
            }
        };
        let namespace = &self.settings.namespace;
        let pods = self.connection.list(Kind::Pod, Some(namespace), &selector).await?;
        let names = pods.iter().filter_map(|pod| pod.pointer("/metadata/name")?.as_str());
        let chosen: Vec<&str> = names
            .filter(|name| match selection {
                Selection::Names(globs) => globs.iter().any(|pattern| glob(pattern, name)),
                Selection::Labels(_) => true,
            })
            .collect();
        if chosen.is_empty() {
            let error = "no pod is selected".to_owned();
            return Err(StageError::Cluster { what: "delete pods".to_owned(), error });
        }
        for name in chosen {
            self.connection.delete(Kind::Pod, namespace, name).await?;
        }
        Ok(Done::Did)
    }

    /// Deletes a pod of a DaemonSet and waits for the next.
    async fn replace(&mut self, process: Process, node: &str) -> Result<Done, StageError> {
        let real = self.real(node)?;
        let pods = match process {
            Process::Mps => self.mps.as_mut(),
            Process::Plugin | Process::Kubelet => self.plugin.as_mut(),
        };
        let Some(pods) = pods else {
            return Ok(Done::Skipped(format!("nobody says where its pods are (hint: --{process}-pods)")));
        };
        pods.look(&self.connection).await?;
        let what = format!("restart `{process}` on node `{node}`");
        let failed = |error: &str| StageError::Cluster { what: what.clone(), error: error.to_owned() };
        let before = pods.on(&real).cloned().ok_or_else(|| failed("it has no pod there"))?;
        self.connection.delete(Kind::Pod, &pods.at().namespace, &before.name).await?;
        let begun = Instant::now();
        while begun.elapsed() < REPLACED_WITHIN {
            pods.look(&self.connection).await?;
            if pods.on(&real).is_some_and(|pod| pod.uid != before.uid && pod.running) {
                return Ok(Done::Did);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(failed(&format!("no new pod runs after {REPLACED_WITHIN:?}")))
    }
}
