//! The Nodes: their objects in the store, and beside each what the scheduler and the plugin's watch need of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fake_cluster::api::podspec::is_extended;
use fake_cluster::api::{ApiError, DeleteOptions, Key, Part, PatchKind, Quantity, Resource, set_condition};
use serde_json::{Map, Value, json};

use super::super::engine::{Channel, Engine};
use super::super::happening::{Changes, Happening, Labels, NodeShown, PodId, What};
use super::super::latency;
use super::super::message::NodePatch;
use super::super::taints::NodeTaints;
use super::{Api, timestamp};

/// Pods that a node takes (Kubernetes 1.36's default).
const PODS_MAX: &str = "110";

/// A Node and what is counted on it.
#[derive(Debug)]
pub(in crate::on::model) struct ApiNode {
    /// Its name.
    pub(in crate::on::model) name: String,
    /// The object as it is stored now.
    pub(in crate::on::model) object: Arc<Value>,
    /// Its labels.
    pub(in crate::on::model) labels: Arc<Labels>,
    /// Its taints, and the note about them.
    pub(in crate::on::model) taints: Arc<NodeTaints>,
    /// `status.allocatable`.
    pub(in crate::on::model) allocatable: BTreeMap<String, Quantity>,
    /// The extended resources among them, as counts.
    pub(in crate::on::model) extended: BTreeMap<String, u64>,
    /// Its kubelet has written a status.
    is_ready: bool,
    /// The capacity and allocatable figures that its kubelet wrote last.
    told: BTreeMap<String, (u64, u64)>,
    /// The object was deleted.
    pub(in crate::on::model) is_gone: bool,
    /// The labels that its kubelet registers it with.
    own_labels: Arc<Labels>,
    /// It is neither tainted nor cordoned.
    pub(in crate::on::model) plain: bool,
    /// What the pods on it request together.
    pub(in crate::on::model) requested: BTreeMap<String, Quantity>,
    /// How many pods are on it that have not ended.
    pub(in crate::on::model) pods: u64,
    /// All pods bound to it, ended ones too.
    pub(in crate::on::model) bound: BTreeSet<PodId>,
    /// The plugin's watch of this Node.
    pub(super) watch: Channel,
    /// The kubelet's watch of its pods.
    pub(super) pod_watch: Channel,
    /// The plugin watches the pods on this Node.
    pub(super) pods_watched: bool,
    /// That watch.
    pub(super) bound_watch: Channel,
}

impl Api {
    /// Adds a Node; its kubelet writes its status later.
    ///
    /// # Errors
    /// The name or a label is not allowed.
    pub(in crate::on::model) fn add_node(
        &mut self,
        engine: &Engine,
        name: &str,
        labels: &Labels,
    ) -> Result<(), ApiError> {
        let mut all = labels.clone();
        all.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
        all.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
        all.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
        let object = json!({"metadata": {"name": name, "labels": all}});
        let object = self.store.create(Resource::Nodes, "", object, timestamp(engine))?;
        self.nodes.push(ApiNode {
            name: name.to_owned(),
            is_gone: false,
            own_labels: Arc::new(all),
            labels: Arc::new(labels_of(&object)),
            taints: Arc::new(NodeTaints::of(&object)),
            allocatable: BTreeMap::new(),
            extended: BTreeMap::new(),
            is_ready: false,
            told: BTreeMap::new(),
            plain: is_plain(&object),
            object,
            requested: BTreeMap::new(),
            pods: 0,
            bound: BTreeSet::new(),
            watch: Channel::default(),
            pod_watch: Channel::default(),
            pods_watched: false,
            bound_watch: Channel::default(),
        });
        Ok(())
    }

    /// Somebody deletes a Node's object. Its pods stay: they are collected later than it is registered again.
    pub(in crate::on::model) fn delete_node(&mut self, engine: &mut Engine, node: usize) {
        let Some(entry) = self.nodes.get_mut(node).filter(|entry| !entry.is_gone) else {
            return;
        };
        let key = Key::node(&entry.name);
        entry.is_gone = true;
        entry.is_ready = false;
        entry.told.clear();
        entry.allocatable.clear();
        entry.extended.clear();
        entry.object = Arc::new(json!({"metadata": {"name": entry.name}}));
        let what = What::NodeSeen(self.store.revision() + 1, None);
        engine.through(&mut entry.watch, latency::WATCH, Happening::Node { node, what });
        // only a Node that is there is deleted
        let _gone = self.store.delete(&key, &DeleteOptions::default(), timestamp(engine));
        self.changes.object(node, &Arc::default());
    }

    /// A kubelet registers its Node again, with the labels that it has itself.
    pub(in crate::on::model) fn register_node(&mut self, engine: &mut Engine, node: usize) {
        let Some(entry) = self.nodes.get_mut(node).filter(|entry| entry.is_gone) else {
            return;
        };
        let object = json!({"metadata": {"name": entry.name, "labels": *entry.own_labels}});
        let Ok(object) = self.store.create(Resource::Nodes, "", object, timestamp(engine)) else {
            return;
        };
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.is_gone = false;
            // whatever the labels were, the watch tells of the new object
            entry.labels = Arc::default();
        }
        self.node_stored(engine, node, object);
    }

    /// Merges labels into a Node, as `kubectl label` does.
    ///
    /// # Errors
    /// What the API server answers.
    pub(in crate::on::model) fn patch_labels(
        &mut self,
        engine: &mut Engine,
        node: usize,
        labels: &Changes,
    ) -> Result<(), ApiError> {
        self.patch_metadata(engine, node, &json!({"labels": labels}))
    }

    /// Changes a Node, as the plugin does.
    ///
    /// # Errors
    /// What the API server answers.
    pub(in crate::on::model) fn patch_node(
        &mut self,
        engine: &mut Engine,
        node: usize,
        patch: &NodePatch,
    ) -> Result<(), ApiError> {
        match patch {
            NodePatch::Labels(labels) => self.patch_metadata(engine, node, &json!({"labels": labels})),
            NodePatch::Annotations(annotations) => {
                self.patch_metadata(engine, node, &json!({"annotations": annotations}))
            }
            NodePatch::Taints(change) => {
                let object = self.nodes.get(node).map(|entry| Arc::clone(&entry.object));
                let patch = object.map(|object| change.patch(&object)).transpose()?;
                patch.map_or(Ok(()), |patch| self.patch_object(engine, node, &patch))
            }
        }
    }

    fn patch_metadata(&mut self, engine: &mut Engine, node: usize, metadata: &Value) -> Result<(), ApiError> {
        self.patch_object(engine, node, &json!({"metadata": metadata}))
    }

    fn patch_object(&mut self, engine: &mut Engine, node: usize, patch: &Value) -> Result<(), ApiError> {
        let Some(entry) = self.nodes.get(node) else {
            return Ok(());
        };
        let key = Key::node(&entry.name);
        let now = timestamp(engine);
        let object = self.store.patch(&key, PatchKind::Merge, patch, Part::Main, now)?;
        self.node_stored(engine, node, object);
        Ok(())
    }

    /// Writes what the kubelet says of its node; `true` when it was written.
    pub(in crate::on::model) fn write_node_status(
        &mut self,
        engine: &mut Engine,
        node: usize,
        extended: &BTreeMap<String, (u64, u64)>,
    ) -> bool {
        let Some(entry) = self.nodes.get(node).filter(|_| self.up) else {
            return false;
        };
        let same =
            entry.is_ready && extended.iter().all(|(name, figures)| entry.told.get(name) == Some(figures));
        if same {
            return true;
        }
        let key = Key::node(&entry.name);
        let mut object = entry.object.as_ref().clone();
        set_condition(
            &mut object,
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status",
            timestamp(engine),
        );
        for (field, of) in [("capacity", 0), ("allocatable", 1)] {
            let mut amounts = object["status"][field].as_object().cloned().unwrap_or_default();
            set_machine(&mut amounts);
            for (resource, (capacity, allocatable)) in extended {
                let amount = if of == 0 { capacity } else { allocatable };
                amounts.insert(resource.clone(), json!(amount.to_string()));
            }
            object["status"][field] = Value::Object(amounts);
        }
        match self.store.update(&key, object, Part::Status) {
            Ok(stored) => {
                if let Some(entry) = self.nodes.get_mut(node) {
                    entry.is_ready = true;
                    entry.told.extend(extended.clone());
                }
                self.node_stored(engine, node, stored);
                true
            }
            Err(_refused) => false,
        }
    }

    fn node_stored(&mut self, engine: &mut Engine, node: usize, object: Arc<Value>) {
        let Some(entry) = self.nodes.get_mut(node) else {
            return;
        };
        if Arc::ptr_eq(&entry.object, &object) {
            return;
        }
        let labels = labels_of(&object);
        entry.allocatable = amounts(&object["status"]["allocatable"]);
        let extended = entry.allocatable.iter().filter(|(name, _)| is_extended(name));
        entry.extended = extended.map(|(name, amount)| (name.clone(), amount.count())).collect();
        entry.plain = is_plain(&object);
        let taints = NodeTaints::of(&object);
        entry.object = object;
        self.objects_stored += 1;
        let other_labels = labels != *entry.labels;
        if other_labels {
            entry.labels = Arc::new(labels);
        }
        let other = other_labels || taints != *entry.taints;
        if taints != *entry.taints {
            entry.taints = Arc::new(taints);
        }
        self.changes.object(node, &entry.labels);
        if other {
            let (labels, taints) = (Arc::clone(&entry.labels), Arc::clone(&entry.taints));
            let what = What::NodeSeen(self.store.revision(), Some(NodeShown { labels, taints }));
            engine.through(&mut entry.watch, latency::WATCH, Happening::Node { node, what });
            self.want_reconcile(engine);
        }
        self.want_schedule(engine);
    }

    /// The store's revision: what a list made now shows.
    pub(in crate::on::model) fn revision(&self) -> u64 {
        self.store.revision()
    }
}

fn set_machine(amounts: &mut Map<String, Value>) {
    for (name, amount) in
        [("cpu", "8"), ("memory", "32Gi"), ("ephemeral-storage", "100Gi"), ("pods", PODS_MAX)]
    {
        amounts.insert(name.to_owned(), json!(amount));
    }
}

fn labels_of(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn amounts(map: &Value) -> BTreeMap<String, Quantity> {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.clone(), Quantity::read(amount)?))).collect()
}

fn is_plain(object: &Value) -> bool {
    let spec = &object["spec"];
    spec["unschedulable"] != json!(true) && spec["taints"].as_array().is_none_or(Vec::is_empty)
}
