//! What a service account may do: the roles that are bound to it are read anew for every request, as stored.
//!
//! Not here: aggregated ClusterRoles, `nonResourceURLs` (what is no object is open to everybody), and the check that nobody
//! grants more than he has.

use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use super::identity::Identity;
use super::resource::Resource;
use super::selector::Selector;
use super::store::Store;

/// What somebody wants to do, in the words of RBAC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource's plural name.
    pub resource: String,
    /// The part of the object, such as `status`; empty for the whole.
    pub subresource: String,
    /// Empty for objects of the cluster, and for a list over all namespaces.
    pub namespace: String,
    /// Empty where no object is named.
    pub name: String,
}

impl Asked {
    fn resource_with_part(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            part => format!("{}/{part}", self.resource),
        }
    }

    /// What is refused, in the API server's words.
    fn refusal(&self, who: &Identity) -> ApiError {
        let place = match self.namespace.as_str() {
            "" => "at the cluster scope".to_string(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let why = format!(
            "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {place}",
            who.user(),
            self.verb,
            self.resource_with_part(),
            self.group
        );
        ApiError::not_allowed(&self.group, &self.resource, &self.name, &why)
    }
}

impl Store {
    /// Refuses what no role allows.
    ///
    /// # Errors
    /// 403 that names user, verb, resource and place.
    pub fn authorise(&self, who: &Identity, asked: &Asked) -> Result<(), ApiError> {
        if self.may(who, asked) { Ok(()) } else { Err(asked.refusal(who)) }
    }

    /// Whether a role that is bound to somebody allows something.
    pub fn may(&self, who: &Identity, asked: &Asked) -> bool {
        let Identity::Account(_) = who else {
            return true;
        };
        let everywhere = self.bound(who, Resource::ClusterRoleBindings, None);
        let here = match asked.namespace.as_str() {
            "" => Vec::new(),
            namespace => self.bound(who, Resource::RoleBindings, Some(namespace)),
        };
        everywhere.iter().chain(&here).any(|role| rules(role).any(|rule| allows(rule, asked)))
    }

    /// The roles that bindings of a kind, in a namespace, give to somebody.
    fn bound(&self, who: &Identity, bindings: Resource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let mut roles = Vec::new();
        for binding in self.list(bindings, namespace, &Selector::everything()) {
            let own_namespace = namespace.unwrap_or_default();
            let is_meant = |subject: &Value| is_subject(subject, own_namespace, who);
            if !binding["subjects"].as_array().is_some_and(|all| all.iter().any(is_meant)) {
                continue;
            }
            let to = &binding["roleRef"];
            let resource = match to["kind"].as_str() {
                Some("ClusterRole") => Resource::ClusterRoles,
                Some("Role") if namespace.is_some() => Resource::Roles,
                _ => continue,
            };
            let key =
                super::store::Key::new(resource, own_namespace, to["name"].as_str().unwrap_or_default());
            roles.extend(self.get(&key));
        }
        roles
    }
}

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role["rules"].as_array().into_iter().flatten()
}

/// Whether a binding's subject is somebody; an account without a namespace is of the binding's own.
fn is_subject(subject: &Value, namespace: &str, who: &Identity) -> bool {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    match (text("kind"), who) {
        ("ServiceAccount", Identity::Account(account)) => {
            let place = subject["namespace"].as_str().unwrap_or(namespace);
            account.name == text("name") && account.namespace == place
        }
        ("User", who) => who.user() == text("name"),
        ("Group", who) => who.groups().iter().any(|group| group == text("name")),
        _ => false,
    }
}

/// Whether one rule allows something (Kubernetes 1.36, `pkg/apis/rbac/v1/evaluation_helpers.go`).
fn allows(rule: &Value, asked: &Asked) -> bool {
    let list = |field: &str| rule[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |field: &str, wanted: &str| list(field).iter().any(|item| item == wanted || item == "*");
    let any_part = format!("*/{}", asked.subresource);
    let is_any_part = !asked.subresource.is_empty() && list("resources").iter().any(|item| *item == any_part);
    let names = list("resourceNames");
    has("verbs", &asked.verb)
        && has("apiGroups", &asked.group)
        && (has("resources", &asked.resource_with_part()) || is_any_part)
        && (names.is_empty() || names.iter().any(|name| *name == asked.name))
}

#[cfg(test)]
mod tests;
