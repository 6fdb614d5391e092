//! A pod's manifest as facts: the store checks and completes it once, and all pods made from it share the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::api::podspec::is_extended;
use fake_cluster::api::{ApiError, DeleteOptions, Key, Quantity, Resource};
use fake_cluster::kubelet::{ContainerKind, ContainerRequest};
use fake_cluster::scheduler::fit;
use serde_json::{Value, json};

use super::super::engine::Engine;
use super::super::happening::Labels;
use super::{Api, NAMESPACE, timestamp};

/// Different manifests that are remembered.
const TEMPLATES_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(in crate::on::model) struct Template {
    /// Counted from 1.
    pub(in crate::on::model) id: u32,
    /// The pod as the API server stored it.
    pub(in crate::on::model) object: Value,
    /// Its labels.
    pub(in crate::on::model) labels: Labels,
    /// Its containers as the kubelet sees them.
    pub(in crate::on::model) containers: Vec<ContainerRequest>,
    /// The first app container's name.
    pub(in crate::on::model) first: String,
    /// Extended resources asked for, summed over its app containers.
    pub(in crate::on::model) resources: BTreeMap<String, u64>,
    /// Extended resources that it needs at the same time.
    pub(in crate::on::model) extended: BTreeMap<String, u64>,
    /// What the scheduler counts.
    pub(in crate::on::model) requests: Vec<(String, Quantity)>,
    /// It may run on any node that has room.
    pub(in crate::on::model) plain: bool,
}

impl Api {
    /// The facts of a manifest.
    ///
    /// # Errors
    /// What the API server would answer.
    pub(in crate::on::model) fn template(
        &mut self,
        engine: &Engine,
        manifest: &Value,
    ) -> Result<Arc<Template>, ApiError> {
        let text = manifest.to_string();
        if let Some(known) = self.templates.get(&text) {
            return Ok(Arc::clone(known));
        }
        let now = timestamp(engine);
        let object = self.store.create(Resource::Pods, NAMESPACE, manifest.clone(), now)?;
        // only its check and its defaults were wanted
        self.store.delete(&Key::of(Resource::Pods, &object), &DeleteOptions::default(), now)?;
        if self.templates.len() >= TEMPLATES_MAX {
            self.templates.clear();
        }
        self.templates_made += 1;
        let template = Arc::new(Template::new(self.templates_made, object.as_ref().clone()));
        self.templates.insert(text, Arc::clone(&template));
        Ok(template)
    }
}

impl Template {
    /// The names of its app containers.
    pub(in crate::on::model) fn app_containers(&self) -> impl Iterator<Item = &str> {
        let apps = self.containers.iter().filter(|container| matches!(container.kind, ContainerKind::App));
        apps.map(|container| container.name.as_str())
    }

    fn new(id: u32, object: Value) -> Template {
        let spec = &object["spec"];
        let no_selector = spec["nodeSelector"].as_object().is_none_or(|map| map.is_empty());
        let plain = no_selector && spec["affinity"].is_null();
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        Template {
            id,
            labels: labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            containers: containers(spec),
            first: text(&spec["containers"][0], "name"),
            resources: asked(spec),
            extended: fit::requests(&object)
                .into_iter()
                .filter(|(name, _)| is_extended(name))
                .map(|(name, amount)| (name, amount.count()))
                .collect(),
            requests: fit::requests(&object).into_iter().collect(),
            plain,
            object,
        }
    }
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

fn list<'v>(spec: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    spec[key].as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> Vec<ContainerRequest> {
    let init = list(spec, "initContainers").map(|container| {
        let keeps = container["restartPolicy"] == json!("Always");
        let kind = if keeps { ContainerKind::Sidecar } else { ContainerKind::Init };
        (container, kind)
    });
    let apps = list(spec, "containers").map(|container| (container, ContainerKind::App));
    init.chain(apps)
        .map(|(container, kind)| ContainerRequest {
            name: text(container, "name"),
            kind,
            limits: limits(container),
        })
        .collect()
}

/// Limits of extended resources; the device manager knows no others.
fn limits(container: &Value) -> BTreeMap<String, u64> {
    let limits = container["resources"]["limits"].as_object().into_iter().flatten();
    limits
        .filter(|(name, _)| is_extended(name))
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::read(amount)?.count())))
        .collect()
}

fn asked(spec: &Value) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for container in list(spec, "containers") {
        for (resource, count) in limits(container) {
            let sum = sums.entry(resource).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    sums
}
