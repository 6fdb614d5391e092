//! A role's rules, one by one, and the ways in which a role comes to an account.

use serde_json::{Value, json};

use super::*;
use crate::api::Timestamp;
use crate::api::identity::Account;

fn who() -> Identity {
    Identity::Account(Account { namespace: "ns".into(), name: "a".into(), node: None })
}

/// `verb resource[/part] [namespace/]name`, the group written behind the resource as `daemonsets.apps`.
fn asked(text: &str) -> Asked {
    let mut words = text.split(' ');
    let (verb, what, which) = (words.next(), words.next().unwrap(), words.next().unwrap_or_default());
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (namespace, name) = which.split_once('/').unwrap_or(("", which));
    let [verb, group, resource, subresource, namespace, name] =
        [verb.unwrap(), group, resource, subresource, namespace, name].map(str::to_owned);
    Asked { verb, group, resource, subresource, namespace, name }
}

#[test]
fn a_rule_allows_what_its_four_lists_name() {
    let nodes = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]});
    let status = json!({"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]});
    let every_status = json!({"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["*"]});
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let one = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["*"], "resourceNames": ["n1"]});
    let apps = json!({"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["list"]});
    let rows = [
        (&nodes, "get nodes n1", true),
        (&nodes, "patch nodes n1", true),
        (&nodes, "list nodes", false),
        (&nodes, "patch nodes/status n1", false),
        (&nodes, "get pods d/p", false),
        (&nodes, "get nodes.apps n1", false),
        (&status, "patch nodes/status n1", true),
        (&status, "patch nodes n1", false),
        (&every_status, "update daemonsets.apps/status d/x", true),
        (&every_status, "update daemonsets.apps d/x", false),
        (&every_status, "create pods/binding d/p", false),
        (&everything, "deletecollection pods d/", true),
        (&everything, "create pods/binding d/p", true),
        (&one, "patch nodes n1", true),
        (&one, "patch nodes n2", false),
        (&one, "list nodes", false),
        (&one, "watch nodes n1", true),
        (&one, "create nodes", false),
        (&apps, "list daemonsets.apps", true),
        (&apps, "list daemonsets", false),
        (&json!({}), "get nodes n1", false),
    ];
    for (rule, text, expected) in rows {
        assert_eq!(allows(rule, &asked(text)), expected, "{rule} {text}");
    }
}

fn cluster(objects: &[(Resource, &str, Value)]) -> Store {
    let (mut store, now) = (Store::default(), Timestamp::now());
    store.create_namespaces(now).unwrap();
    store.create(Resource::Namespaces, "", json!({"metadata": {"name": "ns"}}), now).unwrap();
    for (resource, namespace, object) in objects {
        store.create(*resource, namespace, object.clone(), now).unwrap();
    }
    store
}

fn role() -> Value {
    json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
}

fn binding(kind: &str, subject: Value) -> Value {
    json!({"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": "r"}, "subjects": [subject]})
}

/// Whether a pod in `ns`, in `default` and of all namespaces may be read.
fn reads(objects: &[(Resource, &str, Value)]) -> [bool; 3] {
    let store = cluster(objects);
    ["get pods ns/p", "get pods default/p", "get pods p"].map(|text| store.may(&who(), &asked(text)))
}

#[test]
fn a_role_holds_where_it_is_bound() {
    use Resource::{ClusterRoleBindings, ClusterRoles, RoleBindings, Roles};
    let account = || json!({"kind": "ServiceAccount", "name": "a", "namespace": "ns"});
    let group = |name: &str| json!({"kind": "Group", "name": name});
    let user = json!({"kind": "User", "name": "system:serviceaccount:ns:a"});
    let other = json!({"kind": "ServiceAccount", "name": "a", "namespace": "default"});
    let near = json!({"kind": "ServiceAccount", "name": "a"});
    let by_cluster = |subject| {
        reads(&[(ClusterRoles, "", role()), (ClusterRoleBindings, "", binding("ClusterRole", subject))])
    };
    for subject in [account(), user, group("system:serviceaccounts:ns"), group("system:authenticated")] {
        assert_eq!(by_cluster(subject.clone()), [true; 3], "{subject}");
    }
    for subject in [other, group("system:serviceaccounts:default"), group("system:masters")] {
        assert_eq!(by_cluster(subject.clone()), [false; 3], "{subject}");
    }
    let own = reads(&[(Roles, "ns", role()), (RoleBindings, "ns", binding("Role", near))]);
    assert_eq!(own, [true, false, false], "a role of one namespace");
    let lent = [(ClusterRoles, "", role()), (RoleBindings, "default", binding("ClusterRole", account()))];
    assert_eq!(reads(&lent), [false, true, false], "a cluster's role, bound in one namespace");
    let elsewhere = [(Roles, "ns", role()), (RoleBindings, "default", binding("Role", account()))];
    assert_eq!(reads(&elsewhere), [false; 3], "a role of another namespace");
    let wrong = [(Roles, "ns", role()), (ClusterRoleBindings, "", binding("Role", account()))];
    assert_eq!(reads(&wrong), [false; 3], "a binding of the cluster cannot give a namespace's role");
    assert_eq!(reads(&[(ClusterRoles, "", role())]), [false; 3], "nothing is bound");
}

#[test]
fn a_refusal_is_told_as_kubernetes_tells_it() {
    let store = cluster(&[]);
    let told = |text: &str| store.authorise(&who(), &asked(text)).unwrap_err();
    let refused = told("patch nodes n1");
    assert_eq!(
        refused.message,
        "nodes \"n1\" is forbidden: User \"system:serviceaccount:ns:a\" cannot patch resource \"nodes\" in API group \
         \"\" at the cluster scope"
    );
    assert_eq!((refused.code, refused.reason, &refused.details["kind"]), (403, "Forbidden", &json!("nodes")));
    assert_eq!(
        told("list daemonsets.apps").message,
        "daemonsets.apps is forbidden: User \"system:serviceaccount:ns:a\" cannot list resource \"daemonsets\" in API \
         group \"apps\" at the cluster scope"
    );
    assert!(
        told("patch pods/status ns/p")
            .message
            .ends_with("cannot patch resource \"pods/status\" in API group \"\" in the namespace \"ns\"")
    );
    assert_eq!(store.authorise(&Identity::Admin, &asked("patch nodes n1")), Ok(()));
}
