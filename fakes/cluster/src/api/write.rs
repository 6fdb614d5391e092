//! Every way to change the store's objects: create, update, patch, delete and bind, with the rules of the Kubernetes API.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::Change;
use super::error::ApiError;
use super::object::{
    check_type, grace_seconds, has_generation, may_go, merge_parts, name_suffix, set_condition, uid,
    uid_sequence,
};
use super::patch::{self, PatchKind};
use super::resource::Resource;
use super::selector::Selector;
use super::store::{DeleteOptions, Deleted, EVENTS_MAX, Key, OBJECTS_MAX, Part, Store};
use super::timestamp::Timestamp;
use super::validate;

impl Store {
    /// Stores a new object.
    ///
    /// # Errors
    /// 404 for a missing namespace, 409 when the name is taken, 422 for wrong fields, 429 when the store is full.
    pub fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Arc<Value>, ApiError> {
        self.check_shape(resource, namespace, &object)?;
        if self.objects.len() >= OBJECTS_MAX {
            return Err(ApiError::too_many_requests(&format!(
                "the store holds {OBJECTS_MAX} objects already"
            )));
        }
        self.created += 1;
        self.identify(resource, namespace, &mut object, now);
        validate::normalise(resource, &mut object);
        validate::set_defaults(resource, &mut object);
        validate::check(resource, &object, None)?;
        let key = Key::of(resource, &object);
        if self.objects.contains_key(&key) {
            return Err(ApiError::already_exists(resource, &key.name));
        }
        self.admit(&Change { key: &key, part: Part::Main, old: &Value::Null, new: &object })?;
        if resource == Resource::Events {
            self.drop_oldest_event();
        }
        Ok(self.put(key, object))
    }

    /// Writes the parts of a new object that only the server decides.
    fn identify(&self, resource: Resource, namespace: &str, object: &mut Value, now: Timestamp) {
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.kind());
        let metadata = &mut object["metadata"];
        if metadata["name"].is_null() && metadata["generateName"].is_string() {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            metadata["name"] = json!(format!("{prefix}{}", name_suffix(self.created)));
        }
        if resource.namespaced() {
            metadata["namespace"] = json!(namespace);
        } else if let Some(fields) = metadata.as_object_mut() {
            fields.remove("namespace");
        }
        metadata["uid"] = json!(uid(self.created));
        metadata["creationTimestamp"] = json!(now.rfc3339());
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove("deletionTimestamp");
            fields.remove("deletionGracePeriodSeconds");
        }
        if has_generation(resource) {
            metadata["generation"] = json!(1);
        }
    }

    fn check_shape(&self, resource: Resource, namespace: &str, object: &Value) -> Result<(), ApiError> {
        let metadata = &object["metadata"];
        if !object.is_object() || !(metadata.is_object() || metadata.is_null()) {
            return Err(ApiError::bad_request("the object must be a JSON object with `metadata`"));
        }
        check_type(resource, object)?;
        if !resource.namespaced() {
            return Ok(());
        }
        if let Some(own) = metadata["namespace"].as_str().filter(|own| *own != namespace) {
            let why = format!(
                "the namespace of the provided object does not match the namespace sent on the request: `{own}`, `{namespace}`"
            );
            return Err(ApiError::bad_request(why));
        }
        self.get(&Key::new(Resource::Namespaces, "", namespace)).map(|_| ())
    }

    /// Replaces an object. When it names a `resourceVersion`, that must be the stored one.
    ///
    /// # Errors
    /// 404, 409 when it was changed in the meantime, 422 for wrong or immutable fields.
    pub fn update(&mut self, key: &Key, object: Value, part: Part) -> Result<Arc<Value>, ApiError> {
        let old = self.get(key)?;
        if !object.is_object() || !object["metadata"].is_object() {
            return Err(ApiError::bad_request("the object must be a JSON object with `metadata`"));
        }
        check_type(key.resource, &object)?;
        let version = &object["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|v| !v.is_empty()) && *version != old["metadata"]["resourceVersion"] {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(ApiError::conflict(key.resource, &key.name, why));
        }
        let mut new = merge_parts(key.resource, &old, object, part);
        validate::normalise(key.resource, &mut new);
        if new == *old {
            return Ok(old);
        }
        validate::check(key.resource, &new, Some(&old).filter(|_| part != Part::Whole).map(Arc::as_ref))?;
        self.admit(&Change { key, part, old: &old, new: &new })?;
        if new["metadata"]["deletionTimestamp"].is_string() && may_go(key.resource, &new) {
            return Ok(self.remove(key, Arc::new(new)));
        }
        Ok(self.put(key.clone(), new))
    }

    /// Changes part of an object. [`PatchKind::Apply`] creates a missing one.
    ///
    /// # Errors
    /// As [`Store::update`], and 400 for a patch that cannot be read.
    pub fn patch(
        &mut self,
        key: &Key,
        kind: PatchKind,
        patch: &Value,
        part: Part,
        now: Timestamp,
    ) -> Result<Arc<Value>, ApiError> {
        let old = match self.get(key) {
            Err(missing) if kind == PatchKind::Apply && missing.code == 404 => {
                let mut object = json!({"metadata": {}});
                object = patch::apply(&object, kind, patch)?;
                object["metadata"]["name"] = json!(key.name);
                return self.create(key.resource, &key.namespace, object, now);
            }
            old => old?,
        };
        let mut base = old.as_ref().clone();
        if let Some(metadata) = base["metadata"].as_object_mut() {
            // Left out so that only a version named by the patch itself is compared.
            metadata.remove("resourceVersion");
        }
        let patched = patch::apply(&base, kind, patch)?;
        self.update(key, patched, part)
    }

    /// Deletes an object. A pod that is on a node is marked and stays until its node confirms with a grace period of 0.
    ///
    /// # Errors
    /// 404; 409 when a precondition does not hold.
    pub fn delete(
        &mut self,
        key: &Key,
        options: &DeleteOptions,
        now: Timestamp,
    ) -> Result<Deleted, ApiError> {
        let old = self.get(key)?;
        let metadata = &old["metadata"];
        for (wanted, actual) in
            [(&options.uid, &metadata["uid"]), (&options.resource_version, &metadata["resourceVersion"])]
        {
            if let Some(wanted) = wanted
                && actual != wanted
            {
                let why = format!("Precondition failed: wanted `{wanted}`, the object has {actual}");
                return Err(ApiError::conflict(key.resource, &key.name, &why));
            }
        }
        if key.resource == Resource::Namespaces {
            self.remove_contents(&key.name);
        }
        let grace = grace_seconds(key.resource, &old, options);
        let has_finalizers = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if grace == 0 && !has_finalizers {
            return Ok(Deleted::Gone(self.remove(key, old)));
        }
        let sooner = metadata["deletionGracePeriodSeconds"].as_u64().is_none_or(|was| grace < was);
        if metadata["deletionTimestamp"].is_string() && !sooner {
            return Ok(Deleted::Marked(old));
        }
        let mut marked = old.as_ref().clone();
        marked["metadata"]["deletionTimestamp"] = json!(now.plus_seconds(grace).rfc3339());
        marked["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        Ok(Deleted::Marked(self.put(key.clone(), marked)))
    }

    /// Assigns a pod to a node and says so in its conditions.
    ///
    /// # Errors
    /// 404; 409 when the pod has a node already or is being deleted.
    pub fn bind(&mut self, key: &Key, node: &str, now: Timestamp) -> Result<Arc<Value>, ApiError> {
        let old = self.get(key)?;
        if let Some(taken) = old["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            let why = format!("pod {} is already assigned to node \"{taken}\"", key.name);
            return Err(ApiError::conflict(key.resource, &key.name, &why));
        }
        if old["metadata"]["deletionTimestamp"].is_string() {
            let why = format!("pod {} is being deleted, cannot be assigned to a host", key.name);
            return Err(ApiError::conflict(key.resource, &key.name, &why));
        }
        let mut bound = old.as_ref().clone();
        bound["spec"]["nodeName"] = json!(node);
        set_condition(&mut bound, "PodScheduled", true, "", "", now);
        Ok(self.put(key.clone(), bound))
    }

    fn remove_contents(&mut self, namespace: &str) {
        let inside: Vec<_> = self.objects.iter().filter(|(k, _)| k.namespace == namespace).collect();
        let inside: Vec<_> = inside.into_iter().map(|(k, o)| (k.clone(), o.clone())).collect();
        for (key, object) in inside {
            self.remove(&key, object);
        }
    }

    fn drop_oldest_event(&mut self) {
        let events = self.list(Resource::Events, None, &Selector::everything());
        if events.len() < EVENTS_MAX {
            return;
        }
        if let Some(oldest) = events.into_iter().min_by_key(|event| uid_sequence(event)) {
            self.remove(&Key::of(Resource::Events, &oldest), oldest);
        }
    }
}
