//! The plugin's config map as an API object: how it is made and how it is edited.

use std::collections::BTreeMap;

use fake_cluster::api::{ApiHandle, Key, Part, PatchKind, Resource};
use serde_json::{Value, json};

use super::refused;
use crate::on::{Done, StageError};

/// Its namespace.
pub(super) const NAMESPACE: &str = "kube-system";
/// Its name.
pub(super) const NAME: &str = crate::scenario::CONFIG_MAP;

/// Creates it, with the scenario's configurations.
///
/// # Errors
/// The API server refuses it.
pub(super) fn create(api: &ApiHandle, configs: &BTreeMap<String, String>) -> Result<(), StageError> {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": configs});
    api.write(|store, now| store.create(Resource::ConfigMaps, NAMESPACE, object, now))
        .map_err(|error| refused(format!("create config map `{NAME}`"), &error))?;
    Ok(())
}

/// Replaces or removes one configuration.
///
/// # Errors
/// The API server refuses it.
pub(super) fn edit(api: &ApiHandle, config: &str, text: Option<&str>) -> Result<Done, StageError> {
    let key = Key::new(Resource::ConfigMaps, NAMESPACE, NAME);
    let patch = json!({"data": {config: text}});
    api.write(|store, now| store.patch(&key, PatchKind::Merge, &patch, Part::Main, now))
        .map_err(|error| refused(format!("edit configuration `{config}`"), &error))?;
    Ok(Done::Did)
}

/// Replaces all configurations.
///
/// # Errors
/// The API server refuses it.
pub(super) fn replace(api: &ApiHandle, configs: &BTreeMap<String, String>) -> Result<(), StageError> {
    let key = Key::new(Resource::ConfigMaps, NAMESPACE, NAME);
    api.write(|store, now| {
        let before = store.get(&key)?;
        let gone =
            before["data"].as_object().into_iter().flatten().map(|(name, _)| (name.clone(), Value::Null));
        let mut data: serde_json::Map<String, Value> = gone.collect();
        data.extend(configs.iter().map(|(name, text)| (name.clone(), json!(text))));
        store.patch(&key, PatchKind::Merge, &json!({"data": data}), Part::Main, now)
    })
    .map_err(|error| refused(format!("apply config map `{NAME}`"), &error))?;
    Ok(())
}
