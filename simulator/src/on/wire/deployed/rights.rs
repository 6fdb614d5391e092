//! What a service account may do by the roles that are bound to it: an account that may too little gets no container
//! here, because the simulated API server refuses nobody.

use std::sync::Arc;

use serde_json::Value;

/// What the plugin asks of the API server: verb, group, resource, namespace (empty: of the cluster).
const NEEDED: [(&str, &str, &str, &str); 7] = [
    ("get", "", "nodes", ""),
    ("list", "", "nodes", ""),
    ("watch", "", "nodes", ""),
    ("patch", "", "nodes", ""),
    ("list", "", "pods", ""),
    ("watch", "", "pods", ""),
    ("create", "", "events", "default"),
];

/// The roles and bindings of a cluster.
#[derive(Debug, Default)]
pub(super) struct Roles {
    /// ClusterRoles and Roles.
    pub(super) roles: Vec<Arc<Value>>,
    /// ClusterRoleBindings and RoleBindings.
    pub(super) bindings: Vec<Arc<Value>>,
}

impl Roles {
    /// What a service account lacks, one sentence; `None` when it may do all that the plugin does.
    pub(super) fn lacks(&self, namespace: &str, account: &str) -> Option<String> {
        let rules = self.rules(namespace, account);
        let missing = NEEDED.iter().find(|(verb, group, resource, place)| {
            !rules.iter().any(|(bound, rule)| {
                (bound.is_empty() || bound == place)
                    && has(rule, "verbs", verb)
                    && has(rule, "apiGroups", group)
                    && has(rule, "resources", resource)
            })
        });
        missing.map(|(verb, _, resource, _)| {
            format!("service account `{namespace}/{account}` may not {verb} {resource}")
        })
    }

    /// The rules that hold for an account, each with the namespace that it is bound in.
    fn rules(&self, namespace: &str, account: &str) -> Vec<(String, &Value)> {
        let subject = |subject: &Value| {
            subject["kind"] == "ServiceAccount"
                && subject["name"] == account
                && subject["namespace"] == namespace
        };
        let mut rules = Vec::new();
        for binding in &self.bindings {
            if !binding["subjects"].as_array().is_some_and(|all| all.iter().any(subject)) {
                continue;
            }
            let place = binding["metadata"]["namespace"].as_str().unwrap_or_default();
            let to = &binding["roleRef"];
            let is_meant = |role: &&Arc<Value>| {
                role["kind"] == to["kind"]
                    && role["metadata"]["name"] == to["name"]
                    && (to["kind"] == "ClusterRole" || role["metadata"]["namespace"] == place)
            };
            for role in self.roles.iter().filter(is_meant) {
                let own = role["rules"].as_array().into_iter().flatten();
                rules.extend(own.map(|rule| (place.to_owned(), rule)));
            }
        }
        rules
    }
}

fn has(rule: &Value, list: &str, wanted: &str) -> bool {
    rule[list].as_array().is_some_and(|all| all.iter().any(|item| item == wanted || item == "*"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn roles(node_verbs: &Value) -> Roles {
        let rules = json!([
            {"apiGroups": [""], "resources": ["nodes"], "verbs": node_verbs},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        ]);
        let events = json!([{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]);
        let bind = |kind: &str, namespace: Value| {
            json!({"metadata": {"namespace": namespace}, "roleRef": {"kind": kind, "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "ns"}]})
        };
        Roles {
            roles: vec![
                Arc::new(json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules})),
                Arc::new(
                    json!({"kind": "Role", "metadata": {"name": "r", "namespace": "default"}, "rules": events}),
                ),
            ],
            bindings: vec![
                Arc::new(bind("ClusterRole", Value::Null)),
                Arc::new(bind("Role", json!("default"))),
            ],
        }
    }

    #[test]
    fn an_account_may_what_roles_say_that_are_bound_to_it() {
        let verbs = json!(["get", "list", "watch", "patch"]);
        assert_eq!(roles(&verbs).lacks("ns", "a"), None);
        let why = roles(&json!(["get", "list", "watch"])).lacks("ns", "a");
        assert_eq!(why.as_deref(), Some("service account `ns/a` may not patch nodes"));
        assert!(roles(&verbs).lacks("ns", "b").is_some());
        let mut unbound = roles(&verbs);
        unbound.bindings.pop();
        let why = unbound.lacks("ns", "a");
        assert_eq!(why.as_deref(), Some("service account `ns/a` may not create events"));
    }
}
