//! The objects of the cluster and their history, pure and synchronous, so that the HTTP server and a stage in virtual
//! time use the same ones; how they are changed is in [`super::write`]. Time is passed in; nothing here reads a clock or does IO.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ApiError;
use super::identity::{Identity, Tokens};
use super::object::uid_sequence;
use super::resource::Resource;
use super::selector::Selector;
use super::timestamp::Timestamp;
use super::watch::{Change, WatchLog, Watched};

/// Objects kept at most; a creation beyond it is refused with 429.
pub const OBJECTS_MAX: usize = 50_000;
/// Changes remembered for watches unless a store is made with another number.
pub const HISTORY_MAX: usize = 20_000;
/// Events kept at most; the oldest is dropped for a new one.
pub const EVENTS_MAX: usize = 5_000;

/// Where an object lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace; empty for resources without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of an object of `resource`; the namespace of a resource without namespaces is ignored.
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Key {
        let namespace = if resource.namespaced() { namespace } else { "" };
        Key { resource, namespace: namespace.to_string(), name: name.to_string() }
    }

    /// A pod's key.
    pub fn pod(namespace: &str, name: &str) -> Key {
        Key::new(Resource::Pods, namespace, name)
    }

    /// A Node's key.
    pub fn node(name: &str) -> Key {
        Key::new(Resource::Nodes, "", name)
    }

    /// The key under which a stored object lies.
    pub fn of(resource: Resource, object: &Value) -> Key {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        Key::new(resource, text("namespace"), text("name"))
    }
}

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status (a write to the object's own path).
    Main,
    /// Only the status, labels and annotations (a write to `…/status`).
    Status,
    /// Everything; only for the cluster's own controllers.
    Whole,
}

/// The options of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds a pod may take to stop; `None` takes the pod's own. 0 removes it at once.
    pub grace_period_seconds: Option<u64>,
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only this version of the object.
    pub resource_version: Option<String>,
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone.
    Gone(Arc<Value>),
    /// The object is marked and stays until its holder confirms.
    Marked(Arc<Value>),
}

/// The objects of one cluster.
#[derive(Debug)]
pub struct Store {
    pub(super) objects: BTreeMap<Key, Arc<Value>>,
    revision: u64,
    pub(super) created: u64,
    pub(super) tokens: Tokens,
    pub(super) asker: Identity,
    log: WatchLog,
}

impl Default for Store {
    fn default() -> Store {
        Store::with_history(HISTORY_MAX)
    }
}

impl Store {
    /// An empty cluster that remembers `changes_max` changes for watches. Namespaces are made by [`Store::create_namespaces`].
    pub fn with_history(changes_max: usize) -> Store {
        // A first revision of 1 keeps "0" free for its meaning in the API: "any version".
        Store {
            objects: BTreeMap::new(),
            revision: 1,
            created: 0,
            tokens: Tokens::default(),
            asker: Identity::Admin,
            log: WatchLog::new(changes_max),
        }
    }

    /// Creates the namespaces every cluster has.
    ///
    /// # Errors
    /// 409 when they exist already.
    pub fn create_namespaces(&mut self, now: Timestamp) -> Result<(), ApiError> {
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace =
                json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
            self.create(Resource::Namespaces, "", namespace, now)?;
        }
        Ok(())
    }

    /// The revision of the last change: the `resourceVersion` of a list made now.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn get(&self, key: &Key) -> Result<Arc<Value>, ApiError> {
        self.objects.get(key).cloned().ok_or_else(|| ApiError::not_found(key.resource, &key.name))
    }

    /// The objects of a resource in one namespace or all, by namespace and name.
    pub fn list(&self, resource: Resource, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Value>> {
        let from = Key::new(resource, namespace.unwrap_or_default(), "");
        let namespace = namespace.filter(|_| resource.namespaced());
        self.objects
            .range(from..)
            .take_while(|(key, _)| {
                key.resource == resource && namespace.is_none_or(|wanted| key.namespace == wanted)
            })
            .filter(|(_, object)| selector.matches(object))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// All pods in the order of their creation.
    pub fn pods_by_creation(&self, selector: &Selector) -> Vec<Arc<Value>> {
        let mut pods = self.list(Resource::Pods, None, selector);
        pods.sort_by_key(|pod| uid_sequence(pod));
        pods
    }

    /// The changes after `revision` that a watcher wants to see, oldest first.
    ///
    /// # Errors
    /// 410 when the history no longer reaches back to `revision`.
    pub fn changes_since(&self, revision: u64, watched: &Watched) -> Result<Vec<Change>, ApiError> {
        self.log.since(revision, watched)
    }

    /// Forgets the history, so that every older watch gets 410, as after a compaction of etcd.
    pub fn compact(&mut self) {
        self.log.compact(self.revision);
    }

    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.log.push(self.revision, key.resource, before, Some(object.clone()), None);
        object
    }

    pub(super) fn remove(&mut self, key: &Key, last: Arc<Value>) -> Arc<Value> {
        self.revision += 1;
        let before = self.objects.remove(key);
        let mut tombstone = last.as_ref().clone();
        tombstone["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let tombstone = Arc::new(tombstone);
        self.log.push(self.revision, key.resource, before, None, Some(tombstone.clone()));
        tombstone
    }
}
