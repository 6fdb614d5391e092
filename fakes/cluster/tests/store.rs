//! The rules of the store about changing objects, through its public functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use fake_cluster::api::watch::{ChangeKind, Watched};
use fake_cluster::api::{DeleteOptions, Deleted, Key, Part, PatchKind, Resource, Selector, Store, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn store() -> Store {
    let mut store = Store::default();
    store.create_namespaces(NOW).unwrap();
    store.create(Resource::Nodes, "", json!({"metadata": {"name": "n1"}}), NOW).unwrap();
    store
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn a_new_object_gets_an_identity_that_a_client_cannot_choose() {
    let mut store = store();
    let mut asked = pod("p");
    asked["metadata"]["uid"] = json!("mine");
    asked["metadata"]["resourceVersion"] = json!("7");
    asked["status"] = json!({"phase": "Running"});
    let pod = store.create(Resource::Pods, "default", asked, NOW).unwrap();
    assert_ne!(pod["metadata"]["uid"], "mine");
    assert_eq!(pod["metadata"]["resourceVersion"], store.revision().to_string());
    assert_eq!(pod["metadata"]["creationTimestamp"], "2027-01-15T08:00:00Z");
    assert_eq!((&pod["status"]["phase"], &pod["kind"]), (&json!("Pending"), &json!("Pod")));
    assert_eq!(store.create(Resource::Pods, "default", self::pod("p"), NOW).unwrap_err().code, 409);
    assert_eq!(store.create(Resource::Pods, "nowhere", self::pod("p"), NOW).unwrap_err().code, 404);
}

#[test]
fn a_write_to_the_object_leaves_its_status_and_a_write_to_the_status_leaves_the_rest() {
    let (mut store, key) = (store(), Key::node("n1"));
    let both =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"unschedulable": true}, "status": {"x": 1}});
    let node = store.patch(&key, PatchKind::Merge, &both, Part::Status, NOW).unwrap();
    assert_eq!((&node["status"]["x"], &node["spec"]["unschedulable"]), (&json!(1), &Value::Null));
    assert_eq!(node["metadata"]["labels"]["a"], "b");
    let both = json!({"spec": {"unschedulable": true}, "status": {"x": 2}});
    let node = store.patch(&key, PatchKind::Merge, &both, Part::Main, NOW).unwrap();
    assert_eq!((&node["status"]["x"], &node["spec"]["unschedulable"]), (&json!(1), &json!(true)));
}

#[test]
fn a_write_with_an_old_version_is_a_conflict_and_one_that_changes_nothing_has_no_revision() {
    let (mut store, key) = (store(), Key::node("n1"));
    let old = store.get(&key).unwrap();
    let label = json!({"metadata": {"labels": {"a": "1"}}});
    store.patch(&key, PatchKind::Strategic, &label, Part::Main, NOW).unwrap();
    assert_eq!(store.update(&key, old.as_ref().clone(), Part::Main).unwrap_err().reason, "Conflict");
    let revision = store.revision();
    store.patch(&key, PatchKind::Strategic, &label, Part::Main, NOW).unwrap();
    assert_eq!(store.revision(), revision);
}

#[test]
fn a_pod_on_a_node_is_marked_until_its_node_confirms_and_others_go_at_once() {
    let mut store = store();
    let key = Key::pod("default", "p");
    store.create(Resource::Pods, "default", pod("p"), NOW).unwrap();
    store.bind(&key, "n1", NOW).unwrap();
    assert_eq!(store.bind(&key, "n2", NOW).unwrap_err().code, 409);
    let options = DeleteOptions::default();
    assert!(matches!(store.delete(&key, &options, NOW), Ok(Deleted::Marked(_))));
    let marked = store.get(&key).unwrap();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2027-01-15T08:00:30Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let wrong = DeleteOptions { uid: Some("other".to_string()), ..options.clone() };
    assert_eq!(store.delete(&key, &wrong, NOW).unwrap_err().code, 409);
    let confirm = DeleteOptions { grace_period_seconds: Some(0), ..options.clone() };
    assert!(matches!(store.delete(&key, &confirm, NOW), Ok(Deleted::Gone(_))));
    store.create(Resource::Pods, "default", pod("p"), NOW).unwrap();
    assert!(matches!(store.delete(&key, &options, NOW), Ok(Deleted::Gone(_))));
    assert_eq!(store.delete(&key, &options, NOW).unwrap_err().code, 404);
}

#[test]
fn an_object_with_finalizers_goes_with_the_last_of_them() {
    let mut store = store();
    let key = Key::new(Resource::ConfigMaps, "default", "c");
    let map = json!({"metadata": {"name": "c", "finalizers": ["example.com/x"]}});
    store.create(Resource::ConfigMaps, "default", map, NOW).unwrap();
    assert!(matches!(store.delete(&key, &DeleteOptions::default(), NOW), Ok(Deleted::Marked(_))));
    let none = json!({"metadata": {"finalizers": null}});
    store.patch(&key, PatchKind::Merge, &none, Part::Main, NOW).unwrap();
    assert_eq!(store.get(&key).unwrap_err().code, 404);
}

#[test]
fn a_deleted_namespace_takes_its_objects_along() {
    let mut store = store();
    store.create(Resource::Namespaces, "", json!({"metadata": {"name": "team"}}), NOW).unwrap();
    store.create(Resource::Pods, "team", pod("p"), NOW).unwrap();
    let key = Key::new(Resource::Namespaces, "", "team");
    store.delete(&key, &DeleteOptions::default(), NOW).unwrap();
    assert!(store.list(Resource::Pods, Some("team"), &Selector::everything()).is_empty());
}

#[test]
fn apply_creates_a_missing_object_and_changes_a_present_one() {
    let mut store = store();
    let key = Key::new(Resource::ConfigMaps, "default", "c");
    for value in ["1", "2"] {
        let map =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"k": value}});
        let got = store.patch(&key, PatchKind::Apply, &map, Part::Main, NOW).unwrap();
        assert_eq!(got["data"]["k"], value);
    }
    let merge = json!({"data": {"k": "3"}});
    let missing = Key::new(Resource::ConfigMaps, "default", "d");
    assert_eq!(store.patch(&missing, PatchKind::Merge, &merge, Part::Main, NOW).unwrap_err().code, 404);
}

proptest! {
    /// Whatever is done to labels, a watcher who applies the changes knows the same objects as a new list.
    #[test]
    fn a_watcher_that_applies_every_change_knows_what_a_list_shows(
        steps in prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 0..60)
    ) {
        let mut store = store();
        let watched = Watched { selector: Selector::of_labels([("on", "yes")]), ..Watched::all(Resource::Nodes) };
        let mut seen = std::collections::BTreeMap::new();
        let mut revision = store.revision();
        for (action, node, on) in steps {
            let name = format!("m{node}");
            let labels = json!({"on": if on { "yes" } else { "no" }});
            // Refusals (already there, not there) are part of the game.
            let _ = match action {
                0 => store
                    .create(Resource::Nodes, "", json!({"metadata": {"name": name, "labels": labels}}), NOW)
                    .map(|_| ()),
                1 => store.delete(&Key::node(&name), &DeleteOptions::default(), NOW).map(|_| ()),
                _ => {
                    let patch = json!({"metadata": {"labels": labels}});
                    store.patch(&Key::node(&name), PatchKind::Merge, &patch, Part::Main, NOW).map(|_| ())
                }
            };
            for change in store.changes_since(revision, &watched).unwrap() {
                prop_assert!(change.revision > revision);
                revision = change.revision;
                let name = change.object["metadata"]["name"].clone().to_string();
                match change.kind {
                    ChangeKind::Deleted => prop_assert!(seen.remove(&name).is_some()),
                    ChangeKind::Added => prop_assert!(seen.insert(name, change.object).is_none()),
                    ChangeKind::Modified => prop_assert!(seen.insert(name, change.object).is_some()),
                }
            }
        }
        let listed: Vec<_> = store.list(Resource::Nodes, None, &watched.selector);
        prop_assert_eq!(listed, seen.into_values().collect::<Vec<_>>());
    }
}
