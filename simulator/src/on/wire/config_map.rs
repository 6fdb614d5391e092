//! The plugin's config map as an API object: how it is made and how it is edited.

use std::collections::BTreeMap;

use fake_cluster::api::{ApiHandle, Key, Part, PatchKind, Resource};
use serde_json::json;

use super::refused;
use crate::on::{Done, StageError};

/// Its namespace.
pub(super) const NAMESPACE: &str = "kube-system";
/// Its name.
pub(super) const NAME: &str = "nvidia-device-plugin-configs";

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
