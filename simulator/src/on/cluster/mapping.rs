//! Which Node plays which node of the story: as told, by the same name, or by the role that its label gives it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scenario::NodeSpec;

/// The label that gives a Node a role in stories.
pub const ROLE_LABEL: &str = "tandem.dev/story-role";
/// A node with GPUs.
const GPU: &str = "gpu";
/// A node without.
const CPU: &str = "cpu";

/// The story's name of a node → the Node's.
pub(super) type Mapping = BTreeMap<String, String>;

/// Finds a Node for every node of a story, each once, in the order of their names.
///
/// # Errors
/// Which is missing, and what there is.
pub(super) fn map(story: &[NodeSpec], told: &Mapping, nodes: &[Value]) -> Result<Mapping, String> {
    let name = |node: &Value| node.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let mut free: BTreeMap<String, &Value> =
        nodes.iter().filter_map(|node| Some((name(node)?, node))).collect();
    let all: Vec<String> = free.keys().cloned().collect();
    if let Some(unknown) = told.keys().find(|name| !story.iter().any(|node| node.name == **name)) {
        return Err(format!("the story has no node `{unknown}`"));
    }
    let mut mapping = Mapping::new();
    let named = |node: &NodeSpec| told.get(&node.name).cloned().unwrap_or_else(|| node.name.clone());
    for node in story {
        let wanted = named(node);
        if free.remove(&wanted).is_some() {
            mapping.insert(node.name.clone(), wanted);
        } else if told.contains_key(&node.name) {
            return Err(missing(&format!("Node `{wanted}` for node `{}` of the story", node.name), &all));
        }
    }
    for node in story {
        if mapping.contains_key(&node.name) {
            continue;
        }
        let role = if node.gpus.is_some() { GPU } else { CPU };
        let found =
            free.iter().find(|(_, object)| role_of(object) == Some(role)).map(|(name, _)| name.clone());
        let Some(found) = found else {
            let what = format!(
                "Node for node `{}` of the story: none of that name, none free with `{ROLE_LABEL}={role}`",
                node.name
            );
            return Err(missing(&what, &all));
        };
        free.remove(&found);
        mapping.insert(node.name.clone(), found);
    }
    Ok(mapping)
}

fn role_of(node: &Value) -> Option<&str> {
    node.get("metadata")?.get("labels")?.get(ROLE_LABEL)?.as_str()
}

fn missing(what: &str, all: &[String]) -> String {
    format!("no {what}; the cluster has `{}` (hint: --node STORY=NODE, or label the Node)", all.join("`, `"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_text;
    use serde_json::json;

    fn story() -> Vec<NodeSpec> {
        let text = "story: s\nnodes:\n- {name: gpu, count: 2, gpus: {board: tesla-t4, count: 1}}\n- {name: cpu-1}\n\
                    steps: [{wait: 1s}]\n";
        read_text("s.yaml", text).unwrap().nodes
    }

    fn node(name: &str, role: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {ROLE_LABEL: role}}})
    }

    fn pairs(mapping: &Mapping) -> Vec<(&str, &str)> {
        mapping.iter().map(|(story, node)| (story.as_str(), node.as_str())).collect()
    }

    #[test]
    fn names_come_first_and_roles_fill_the_rest_in_order() {
        let nodes = [node("w2", "gpu"), node("w1", "gpu"), node("other", ""), node("c", "cpu")];
        let mapping = map(&story(), &Mapping::new(), &nodes).unwrap();
        assert_eq!(pairs(&mapping), [("cpu-1", "c"), ("gpu-1", "w1"), ("gpu-2", "w2")]);
        let told = Mapping::from([("gpu-1".to_owned(), "w2".to_owned())]);
        let mapping = map(&story(), &told, &nodes).unwrap();
        assert_eq!(pairs(&mapping), [("cpu-1", "c"), ("gpu-1", "w2"), ("gpu-2", "w1")]);
        let nodes = [node("gpu-2", "gpu"), node("a", "gpu"), node("cpu-1", "")];
        let mapping = map(&story(), &Mapping::new(), &nodes).unwrap();
        assert_eq!(pairs(&mapping), [("cpu-1", "cpu-1"), ("gpu-1", "a"), ("gpu-2", "gpu-2")]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let nodes = [node("w1", "gpu"), node("c", "cpu")];
        let why = map(&story(), &Mapping::new(), &nodes).unwrap_err();
        assert!(
            why.contains("`gpu-2`") && why.contains("story-role=gpu") && why.contains("`c`, `w1`"),
            "{why}"
        );
        let told = Mapping::from([("gpu-1".to_owned(), "w9".to_owned())]);
        let why = map(&story(), &told, &nodes).unwrap_err();
        assert!(why.contains("`w9`"), "{why}");
        let told = Mapping::from([("gpu-9".to_owned(), "w1".to_owned())]);
        assert_eq!(map(&story(), &told, &nodes).unwrap_err(), "the story has no node `gpu-9`");
    }
}
