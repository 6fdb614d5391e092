//! Deployments in the model: the fake cluster's own controller decides, and its pods are made as any others are.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::api::{DeleteOptions, Key, Resource};
use fake_cluster::scheduler::replicas::{self, Replica};
use serde_json::{Value, json};

use super::super::engine::Engine;
use super::super::happening::{Happening, PodId};
use super::super::latency;
use super::pods::{Fate, Phase};
use super::template::Template;
use super::{Api, NAMESPACE, timestamp};

/// A Deployment.
#[derive(Debug)]
pub(super) struct Deployment {
    template: Arc<Template>,
    wanted: u64,
    made: u64,
    /// Its pods by number, those that are gone until somebody looks.
    pods: BTreeMap<u64, PodId>,
}

impl Api {
    /// Creates a Deployment; its pods follow.
    ///
    /// # Errors
    /// What the API server would answer.
    pub(in crate::on::model) fn create_deployment(
        &mut self,
        engine: &mut Engine,
        name: &str,
        manifest: &Value,
    ) -> Result<(), String> {
        if self.deployments.contains_key(name) {
            return Err(format!("deployments.apps \"{name}\" already exists"));
        }
        let now = timestamp(engine);
        let checked = self.store.create(Resource::Deployments, NAMESPACE, manifest.clone(), now);
        let object = checked.map_err(|error| error.to_string())?;
        // only its check and its defaults were wanted
        let key = Key::of(Resource::Deployments, &object);
        let gone = self.store.delete(&key, &DeleteOptions::default(), now);
        gone.map_err(|error| error.to_string())?;
        let mut pod = replicas::pod(&object);
        pod["metadata"]["name"] = json!(name);
        let template = self.template(engine, &pod).map_err(|error| error.to_string())?;
        let wanted = replicas::wanted(&object);
        let deployment = Deployment { template, wanted, made: 0, pods: BTreeMap::new() };
        self.deployments.insert(name.to_owned(), deployment);
        self.want_replicas(engine);
        Ok(())
    }

    /// Changes how many pods a Deployment asks for; `false` when there is none of that name.
    pub(in crate::on::model) fn scale_deployment(
        &mut self,
        engine: &mut Engine,
        name: &str,
        count: u64,
    ) -> bool {
        let Some(deployment) = self.deployments.get_mut(name) else { return false };
        deployment.wanted = count;
        self.want_replicas(engine);
        true
    }

    /// Deletes a Deployment and its pods; `false` when there is none of that name.
    pub(in crate::on::model) fn delete_deployment(&mut self, engine: &mut Engine, name: &str) -> bool {
        let Some(deployment) = self.deployments.remove(name) else { return false };
        deployment.pods.into_values().for_each(|id| self.delete_pod(engine, id));
        true
    }

    /// Lets the controller look soon, if there is any Deployment.
    pub(super) fn want_replicas(&mut self, engine: &mut Engine) {
        if !self.deployments.is_empty() && !std::mem::replace(&mut self.replicas_due, true) {
            engine.after(latency::REPLICAS, Happening::Replicas);
        }
    }

    /// The controller looks at every Deployment; while the API server is down it waits.
    pub(in crate::on::model) fn make_replicas(&mut self, engine: &mut Engine) {
        self.replicas_due = false;
        if !self.is_up() {
            return;
        }
        let mut all = std::mem::take(&mut self.deployments);
        for (name, deployment) in &mut all {
            deployment.pods.retain(|_, id| self.pods.contains_key(id));
            let seen: Vec<Replica> =
                deployment.pods.iter().filter_map(|(number, id)| self.replica(*number, *id)).collect();
            let plan = replicas::plan(deployment.wanted, deployment.made, &seen);
            for number in plan.create {
                deployment.made = number;
                let pod = replicas::name(name, number);
                let made = self.create_pod(engine, &deployment.template, &pod, Fate::Stays);
                // a refusal leaves a gap; the number is not used again
                deployment.pods.extend(made.ok().map(|id| (number, id)));
            }
            for id in plan.delete.iter().filter_map(|number| deployment.pods.get(number)) {
                self.delete_pod(engine, *id);
            }
        }
        self.deployments = all;
    }

    fn replica(&self, number: u64, id: PodId) -> Option<Replica> {
        let pod = self.pods.get(&id)?;
        Some(Replica {
            number,
            leaves: pod.deleting || pod.phase.is_over(),
            bound: pod.node.is_some(),
            running: pod.phase == Phase::Running,
        })
    }
}
