//! The verb `apply`: Kubernetes manifests, written in the step, in a text with several documents, or in a file beside the
//! scenario, as the objects that they are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::beside;
use super::super::decode::{Fields, Reader};
use super::super::grammar::APPLY;
use super::super::limits::{CONFIG_BYTES_MAX, DOCUMENTS_MAX, FILE_BYTES_MAX, PODS_MAX, PODS_PER_STEP_MAX};
use super::super::problem::Place;
use super::super::verb::{Apply, CONFIG_MAP, Object, Verb};
use super::super::yaml::{self, Kind, Node};

/// Where a manifest comes from, for its problems.
struct Source {
    /// The file, when it is not the scenario itself.
    file: Option<String>,
    /// The place of a text that holds it.
    text: Option<Place>,
    path: String,
}

impl Source {
    fn problem(&self, reader: &mut Reader, node: &Node, message: &str) {
        match (&self.file, self.text) {
            (Some(file), _) => reader.problem_in(file, node.place, &self.path, message),
            (None, Some(place)) => {
                let message = format!("{message} (line {} of the text)", node.place.line);
                reader.problem(place, &self.path, message);
            }
            (None, None) => reader.problem(node.place, &self.path, message),
        }
    }
}

/// `apply`.
pub(in super::super) fn apply(reader: &mut Reader, value: &Node, path: &str) -> Option<Verb> {
    let mut objects = Vec::new();
    let mut pods = 0_u64;
    for (index, item) in reader.list(value, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let fields = reader.fields(item, &path, APPLY);
        let count =
            fields.get("count").map(|n| reader.number(n, &fields.path("count"), 1, PODS_PER_STEP_MAX));
        let documents = documents(reader, &fields);
        let has_count = fields.get("count").is_some();
        if has_count && documents.len() > 1 {
            let message = "`count` counts one pod, found several documents";
            reader.problem(item.place, &path, message);
        }
        for (source, node) in &documents {
            let Some(object) = object(reader, source, node, count.flatten()) else { continue };
            let more = made(&object);
            pods = pods.saturating_add(more);
            if pods > PODS_PER_STEP_MAX {
                let message = format!(
                    "expected at most {PODS_PER_STEP_MAX} pods in one step (PODS_PER_STEP_MAX), found {pods} up to here"
                );
                reader.problem(item.place, &path, message);
                return None;
            }
            if !super::has_room(reader, item, &path, more) {
                return None;
            }
            objects.push(object);
        }
    }
    // most steps make pods alone
    let only_pods: Option<Vec<Apply>> = objects
        .iter()
        .map(|object| match object {
            Object::Pods(apply) => Some(apply.clone()),
            Object::Deployment { .. } | Object::ConfigMap(_) => None,
        })
        .collect();
    Some(only_pods.map_or(Verb::ApplyAll(objects), Verb::Apply))
}

fn made(object: &Object) -> u64 {
    match object {
        Object::Pods(apply) => apply.names.len() as u64,
        Object::Deployment { replicas, .. } => *replicas,
        Object::ConfigMap(_) => 0,
    }
}

/// The documents of an item: `manifest` or `file`.
fn documents(reader: &mut Reader, fields: &Fields<'_>) -> Vec<(Source, Node)> {
    match (fields.get("manifest"), fields.get("file")) {
        (Some(manifest), None) => {
            let path = fields.path("manifest");
            let Kind::Text(text) = &manifest.kind else {
                return vec![(Source { file: None, text: None, path }, manifest.clone())];
            };
            let found = yaml::parse_all(reader.file(), text);
            split(reader, found, |path| Source { file: None, text: Some(manifest.place), path }, &path)
        }
        (None, Some(file)) => {
            let path = fields.path("file");
            let limit = (FILE_BYTES_MAX, "FILE_BYTES_MAX");
            let Some((file, text)) = beside::read(reader, file, &path, limit) else { return Vec::new() };
            let found = yaml::parse_all(&file, &text);
            split(reader, found, |path| Source { file: Some(file.clone()), text: None, path }, &path)
        }
        _ => {
            let path = fields.path("manifest");
            reader.problem(fields.place, &path, "expected either `manifest` or `file`");
            Vec::new()
        }
    }
}

fn split(
    reader: &mut Reader,
    found: Result<Vec<Node>, super::super::problem::Problem>,
    source: impl Fn(String) -> Source,
    path: &str,
) -> Vec<(Source, Node)> {
    let nodes = match found {
        Ok(nodes) => nodes,
        Err(problem) => {
            let node = Node { place: problem.place, kind: Kind::Null };
            source(path.to_owned()).problem(reader, &node, &problem.message);
            return Vec::new();
        }
    };
    if nodes.is_empty() || nodes.len() > DOCUMENTS_MAX {
        let message =
            format!("expected 1 to {DOCUMENTS_MAX} documents (DOCUMENTS_MAX), found {}", nodes.len());
        let node = Node { place: Place::START, kind: Kind::Null };
        source(path.to_owned()).problem(reader, &node, &message);
        return Vec::new();
    }
    nodes.into_iter().map(|node| (source(path.to_owned()), node)).collect()
}

/// What a manifest is; the API server checks the rest.
fn object(reader: &mut Reader, source: &Source, node: &Node, count: Option<u64>) -> Option<Object> {
    let json = node.to_json();
    let kind = json.get("kind").and_then(Value::as_str);
    let version = match kind {
        Some("Deployment") => "apps/v1",
        _ => "v1",
    };
    let mut fine = true;
    let mut problem = |message: &str| {
        source.problem(reader, node, message);
        fine = false;
    };
    if json.get("apiVersion").and_then(Value::as_str) != Some(version) {
        problem(&format!("expected `apiVersion: {version}`"));
    }
    let name = json.pointer("/metadata/name").and_then(Value::as_str);
    if name.is_none() {
        problem("`metadata.name` is missing");
    }
    let containers = match kind {
        Some("Pod") => Some("spec.containers"),
        Some("Deployment") => Some("spec.template.spec.containers"),
        Some("ConfigMap") => None,
        Some(other) => {
            problem(&format!("expected `kind: Pod`, `Deployment` or `ConfigMap`, found `{other}`"));
            None
        }
        None => {
            problem("`kind` is missing; expected `kind: Pod`, `Deployment` or `ConfigMap`");
            None
        }
    };
    if let Some(path) = containers {
        let pointer = format!("/{}/0/name", path.replace('.', "/"));
        if json.pointer(&pointer).and_then(Value::as_str).is_none() {
            problem(&format!("expected `{path}` with one named container at least"));
        }
    }
    if count.is_some() && kind != Some("Pod") {
        problem("`count` counts pods; a Deployment has `spec.replicas`");
    }
    let name = name?.to_owned();
    if !fine {
        return None;
    }
    match kind {
        Some("Pod") => {
            let names = match count {
                Some(count) => (1..=count).map(|n| format!("{name}-{n}")).collect(),
                None => vec![name],
            };
            Some(Object::Pods(Apply { names, manifest: json }))
        }
        Some("Deployment") => deployment(reader, source, node, name, json),
        _ => config_map(reader, source, node, &name, &json).map(Object::ConfigMap),
    }
}

fn deployment(
    reader: &mut Reader,
    source: &Source,
    node: &Node,
    name: String,
    manifest: Value,
) -> Option<Object> {
    let replicas = match manifest.pointer("/spec/replicas") {
        None => Some(1),
        Some(replicas) => replicas.as_u64().filter(|replicas| *replicas <= PODS_PER_STEP_MAX.min(PODS_MAX)),
    };
    if replicas.is_none() {
        let message = format!(
            "expected `spec.replicas` as a whole number from 0 to {PODS_PER_STEP_MAX} (PODS_PER_STEP_MAX)"
        );
        source.problem(reader, node, &message);
    }
    Some(Object::Deployment { name, replicas: replicas?, manifest })
}

fn config_map(
    reader: &mut Reader,
    source: &Source,
    node: &Node,
    name: &str,
    manifest: &Value,
) -> Option<BTreeMap<String, String>> {
    if name != CONFIG_MAP {
        let message = format!("expected the plugin's config map `{CONFIG_MAP}`, found `{name}`");
        source.problem(reader, node, &message);
        return None;
    }
    let mut configs = BTreeMap::new();
    for (key, text) in manifest.get("data").and_then(Value::as_object).into_iter().flatten() {
        match text.as_str() {
            Some(text) if text.len() as u64 <= CONFIG_BYTES_MAX => {
                configs.insert(key.clone(), text.to_owned());
            }
            Some(_) => {
                let message =
                    format!("`data.{key}` is larger than {CONFIG_BYTES_MAX} bytes (CONFIG_BYTES_MAX)");
                source.problem(reader, node, &message);
            }
            None => source.problem(reader, node, &format!("expected text in `data.{key}`")),
        }
    }
    Some(configs)
}
