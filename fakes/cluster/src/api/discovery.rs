//! What clients ask before their real question: which resources there are, which version, whether the server is up.

use serde_json::{Value, json};

use super::error::ApiError;
use super::resource::Resource;
use super::rest::Answer;

/// The Kubernetes version this server says it is.
pub const SERVER_VERSION: &str = "v1.36.2";

/// The answer to a GET of a path that names no object; `None` for all other paths.
pub(super) fn answer(path: &str) -> Option<Answer> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let body = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return Some(Answer::Text("ok".to_string())),
        ["version"] => version(),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["api", "v1"] => resources(""),
        ["apis"] => {
            let groups: Vec<Value> = groups().iter().map(|group| group_body(group, false)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", group] if groups().contains(group) => group_body(group, true),
        ["apis", group, "v1"] if groups().contains(group) => resources(group),
        ["openapi", "v3"] => openapi_paths(),
        ["openapi", "v3", "api", "v1"] => openapi(""),
        ["openapi", "v3", "apis", group, "v1"] if groups().contains(group) => openapi(group),
        ["openapi", ..] => {
            let refused = ApiError::no_such_path();
            return Some(Answer::Json(refused.code, refused.to_status()));
        }
        _ => return None,
    };
    Some(Answer::Json(200, body))
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = Resource::ALL.iter().map(|r| r.group()).filter(|g| !g.is_empty()).collect();
    groups.dedup();
    groups
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": SERVER_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn group_body(group: &str, with_kind: bool) -> Value {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    let mut body = json!({"name": group, "versions": [version], "preferredVersion": version});
    if with_kind {
        body["kind"] = json!("APIGroup");
        body["apiVersion"] = json!("v1");
    }
    body
}

fn resources(group: &str) -> Value {
    let mut list = Vec::new();
    for resource in Resource::ALL.into_iter().filter(|r| r.group() == group) {
        list.push(json!({
            "name": resource.plural(), "singularName": resource.singular(), "namespaced": resource.namespaced(),
            "kind": resource.kind(), "shortNames": resource.short_names(),
            "categories": if resource == Resource::Pods { json!(["all"]) } else { json!([]) },
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }));
        let mut sub = |name: &str, kind: &str, verbs: &[&str]| {
            list.push(json!({
                "name": format!("{}/{name}", resource.plural()), "singularName": "",
                "namespaced": resource.namespaced(), "kind": kind, "verbs": verbs,
            }));
        };
        if resource.has_status() {
            sub("status", resource.kind(), &["get", "patch", "update"]);
        }
        if resource == Resource::Pods {
            sub("binding", "Binding", &["create"]);
            sub("eviction", "Eviction", &["create"]);
        }
    }
    let group_version = if group.is_empty() { "v1".to_string() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

fn root(group: &str) -> String {
    if group.is_empty() { "api/v1".to_string() } else { format!("apis/{group}/v1") }
}

fn openapi_paths() -> Value {
    let mut paths = json!({});
    for group in std::iter::once("").chain(groups()) {
        let root = root(group);
        paths[&root] = json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash=1")});
    }
    json!({"paths": paths})
}

/// No schemas: only that every object can be patched and that `fieldValidation` is a parameter, which is what kubectl
/// looks for before it applies a file. Unknown fields are stored as they are.
fn openapi(group: &str) -> Value {
    let mut paths = json!({});
    for resource in Resource::ALL.into_iter().filter(|r| r.group() == group) {
        let namespaced = if resource.namespaced() { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{}{namespaced}/{}/{{name}}", root(group), resource.plural());
        let gvk = json!({"group": group, "version": "v1", "kind": resource.kind()});
        let parameter = json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string"}});
        let operation = json!({
            "x-kubernetes-group-version-kind": gvk, "x-kubernetes-action": "patch", "parameters": [parameter],
            "responses": {"200": {"description": "OK"}},
        });
        paths[&path] = json!({"patch": operation});
    }
    json!({"openapi": "3.0.0", "info": {"title": "Tandem fake cluster", "version": SERVER_VERSION}, "paths": paths,
        "components": {"schemas": {}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Value {
        match answer(path) {
            Some(Answer::Json(200, body)) => body,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_resource_is_discovered_in_its_group() {
        for resource in Resource::ALL {
            let listed = get(&format!("/{}", root(resource.group())));
            let names: Vec<_> =
                listed["resources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
            assert!(names.contains(&json!(resource.plural())), "{names:?}");
        }
        assert_eq!(get("/apis")["groups"].as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn paths_of_objects_are_left_to_the_store() {
        assert!(answer("/api/v1/nodes").is_none());
        assert!(answer("/apis/batch/v1").is_none());
        assert!(matches!(answer("/openapi/v2"), Some(Answer::Json(404, _))));
    }
}
