//! What a story has changed on a cluster that is not its own, so that at the end all of it is as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::ClusterStage;
use super::client::Kind;
use crate::on::StageError;
use crate::scenario::CONFIG_MAP;

/// How long pods may take to be gone: the longest usual grace period, twice.
const PODS_GONE_WITHIN: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Pods that were made.
    pub(super) pods: BTreeSet<String>,
    /// Deployments that were made.
    pub(super) deployments: BTreeSet<String>,
    /// Node and key → the label's first value.
    labels: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// The configurations that were there.
    configs: Option<Map<String, Value>>,
}

impl ClusterStage {
    /// Sets labels of a Node, or removes those without a value, and remembers what was there.
    pub(super) async fn set_labels(
        &mut self,
        node: &str,
        labels: BTreeMap<&String, Option<&String>>,
    ) -> Result<(), StageError> {
        let object = self.connection.get(Kind::Node, None, node).await?.unwrap_or_default();
        let before = self.touched.labels.entry(node.to_owned()).or_default();
        for key in labels.keys() {
            let value =
                object.pointer("/metadata/labels").and_then(|labels| labels.get(key.as_str())?.as_str());
            before.entry((*key).clone()).or_insert_with(|| value.map(str::to_owned));
        }
        let patch = json!({"metadata": {"labels": labels}});
        self.connection.patch(Kind::Node, None, node, &patch).await
    }

    /// Brings the config map to these configurations.
    ///
    /// # Errors
    /// There is no config map, though there are configurations; or the API server refuses.
    pub(super) async fn bring_configs(
        &mut self,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), StageError> {
        let namespace = self.settings.config_namespace().to_owned();
        let Some(object) = self.connection.get(Kind::ConfigMap, Some(&namespace), CONFIG_MAP).await? else {
            if configs.is_empty() {
                return Ok(());
            }
            let error = format!("there is none in namespace `{namespace}` (hint: deploy the plugin first)");
            return Err(StageError::Cluster { what: format!("find config map `{CONFIG_MAP}`"), error });
        };
        let there = object["data"].as_object().cloned().unwrap_or_default();
        let wanted: Map<String, Value> =
            configs.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
        if is_same(&there, &wanted) {
            return Ok(());
        }
        self.replace_configs(&wanted).await
    }

    /// Replaces all configurations.
    pub(super) async fn replace_configs(&mut self, wanted: &Map<String, Value>) -> Result<(), StageError> {
        let there = self.configs().await?;
        let gone = there.keys().map(|name| (name.clone(), Value::Null));
        let data: Map<String, Value> = gone.chain(wanted.clone()).collect();
        self.change_configs(&data).await
    }

    /// Changes some configurations; null removes one.
    pub(super) async fn change_configs(&mut self, data: &Map<String, Value>) -> Result<(), StageError> {
        let there = self.configs().await?;
        self.touched.configs.get_or_insert(there);
        let namespace = self.settings.config_namespace();
        self.connection.patch(Kind::ConfigMap, Some(namespace), CONFIG_MAP, &json!({"data": data})).await
    }

    async fn configs(&self) -> Result<Map<String, Value>, StageError> {
        let namespace = self.settings.config_namespace();
        let object = self.connection.get(Kind::ConfigMap, Some(namespace), CONFIG_MAP).await?;
        Ok(object.and_then(|object| object["data"].as_object().cloned()).unwrap_or_default())
    }

    /// Makes all as it was; says what could not be.
    pub(super) async fn give_back(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note =
            |outcome: Result<(), StageError>| left.extend(outcome.err().map(|error| error.to_string()));
        let touched = std::mem::take(&mut self.touched);
        let namespace = self.settings.namespace.clone();
        for name in &touched.deployments {
            note(self.connection.delete(Kind::Deployment, &namespace, name).await);
        }
        for name in &touched.pods {
            note(self.connection.delete(Kind::Pod, &namespace, name).await);
        }
        for (node, labels) in &touched.labels {
            let patch = json!({"metadata": {"labels": labels}});
            note(self.connection.patch(Kind::Node, None, node, &patch).await);
        }
        if let Some(before) = &touched.configs {
            note(self.replace_configs(before).await);
        }
        if !touched.pods.is_empty() || !touched.deployments.is_empty() {
            left.extend(self.pods_left().await);
        }
        left
    }

    /// Pods that do not go; nobody else makes any in the story's namespace.
    async fn pods_left(&self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let names: Vec<String> =
                match self.connection.list(Kind::Pod, Some(&self.settings.namespace), "").await {
                    Ok(pods) => pods.iter().map(|pod| format!("pod `{}`", name(pod))).collect(),
                    Err(error) => vec![error.to_string()],
                };
            if names.is_empty() || begun.elapsed() >= PODS_GONE_WITHIN {
                return names;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether two sets of configurations say the same; the end of a text's last line does not count.
fn is_same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let trimmed = |map: &Map<String, Value>| -> Vec<(String, String)> {
        let texts = map
            .iter()
            .map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().trim_end().to_owned()));
        let mut all: Vec<_> = texts.collect();
        all.sort();
        all
    };
    trimmed(one) == trimmed(other)
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_the_same_whatever_ends_their_last_line() {
        let map = |text: &str| json!({"a": text}).as_object().cloned().unwrap();
        assert!(is_same(&map("version: v1\n"), &map("version: v1")));
        assert!(!is_same(&map("version: v1"), &map("version: v2")));
        assert!(!is_same(&map("version: v1"), &Map::new()));
    }
}
