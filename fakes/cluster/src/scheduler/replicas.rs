//! The controllers behind a Deployment, as far as GPUs meet them: as many pods as it asks for, another one for each that
//! is deleted or has ended, and none when it is gone.
//!
//! [`plan`] decides and is pure; [`pass`] does it on a store. Simpler than the real ones: no ReplicaSet between the
//! Deployment and its pods, no rolling update (a changed template counts for new pods), and the pods are numbered.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fit::has_ended;
use crate::api::{DeleteOptions, Key, Part, PatchKind, Resource, Selector, Store, Timestamp};

/// The most pods that one Deployment may ask for.
pub const REPLICAS_MAX: u64 = 1000;
/// The most pods that are ever made for one Deployment: refused ones are replaced, and that must end.
pub const MADE_MAX: u64 = 10_000;
/// Where a Deployment keeps how many pods were made for it.
const MADE: &str = "tandem.test/pods-made";

/// A pod of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its number.
    pub number: u64,
    /// It ends or has ended, so that another one must take its place.
    pub leaves: bool,
    /// It has a node.
    pub bound: bool,
    /// Its containers run.
    pub running: bool,
}

/// What is to be done for one Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of pods to make.
    pub create: Vec<u64>,
    /// Numbers of pods to delete.
    pub delete: Vec<u64>,
}

/// What is to be done so that `wanted` pods are there, after `made` were made. Of too many those go first that have no
/// node, then those that do not run, then the newest.
pub fn plan(wanted: u64, made: u64, replicas: &[Replica]) -> Plan {
    let mut stay: Vec<&Replica> = replicas.iter().filter(|replica| !replica.leaves).collect();
    let wanted = wanted.min(REPLICAS_MAX);
    let there = stay.len() as u64;
    if there <= wanted {
        let more = (wanted - there).min(MADE_MAX.saturating_sub(made));
        return Plan { create: (made + 1..=made + more).collect(), delete: Vec::new() };
    }
    stay.sort_by_key(|replica| (replica.bound, replica.running, std::cmp::Reverse(replica.number)));
    let surplus = usize::try_from(there - wanted).unwrap_or(usize::MAX);
    let delete = stay.into_iter().take(surplus).map(|replica| replica.number).collect();
    Plan { create: Vec::new(), delete }
}

/// How many pods a Deployment asks for.
pub fn wanted(deployment: &Value) -> u64 {
    deployment["spec"]["replicas"].as_u64().unwrap_or(1)
}

/// The name of a Deployment's pod.
pub fn name(deployment: &str, number: u64) -> String {
    format!("{deployment}-{number}")
}

/// The pod that a Deployment describes, without a name.
pub fn pod(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {"labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]}})
}

/// Makes and deletes pods of every Deployment in the store.
pub fn pass(store: &mut Store, now: Timestamp) {
    let deployments = store.list(Resource::Deployments, None, &Selector::everything());
    let pods = store.list(Resource::Pods, None, &Selector::everything());
    for deployment in deployments.iter().filter(|deployment| !is_leaving(deployment)) {
        serve(store, deployment, &pods, now);
    }
    let is_orphan = |pod: &&Arc<Value>| {
        owner(pod).is_some_and(|uid| deployments.iter().all(|owner| owner["metadata"]["uid"] != uid))
    };
    for pod in pods.iter().filter(is_orphan).filter(|pod| !is_leaving(pod)) {
        // who was faster has done the same
        let _gone = store.delete(&Key::of(Resource::Pods, pod), &DeleteOptions::default(), now);
    }
}

fn serve(store: &mut Store, deployment: &Value, pods: &[Arc<Value>], now: Timestamp) {
    let metadata = &deployment["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (own_name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
    let own = pods.iter().filter(|pod| owner(pod) == metadata["uid"].as_str());
    let replicas: Vec<Replica> = own.filter_map(|pod| replica(&own_name, pod)).collect();
    let made = text(&metadata["annotations"][MADE]).parse().unwrap_or(0);
    let Plan { create, delete } = plan(wanted(deployment), made, &replicas);
    let last = create.last().copied();
    for number in create {
        let mut pod = pod(deployment);
        pod["metadata"]["name"] = json!(name(&own_name, number));
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment",
            "name": own_name, "uid": metadata["uid"], "controller": true}]);
        // a refusal leaves a gap; the number is not used again
        let _refused = store.create(Resource::Pods, &namespace, pod, now);
    }
    for number in delete {
        let key = Key::new(Resource::Pods, &namespace, &name(&own_name, number));
        // who was faster has done the same
        let _gone = store.delete(&key, &DeleteOptions::default(), now);
    }
    let key = Key::of(Resource::Deployments, deployment);
    if let Some(last) = last {
        let patch = json!({"metadata": {"annotations": {MADE: last.to_string()}}});
        // it may have been deleted since it was listed
        let _gone = store.patch(&key, PatchKind::Merge, &patch, Part::Main, now);
    }
    let ready = replicas.iter().filter(|replica| replica.running && !replica.leaves).count();
    let there = replicas.iter().filter(|replica| !replica.leaves).count();
    let status = json!({"replicas": there, "updatedReplicas": there, "readyReplicas": ready,
        "availableReplicas": ready});
    let is_news =
        ["replicas", "readyReplicas"].iter().any(|field| deployment["status"][field] != status[field]);
    if is_news {
        let _gone = store.patch(&key, PatchKind::Merge, &json!({"status": status}), Part::Status, now);
    }
}

fn replica(deployment: &str, pod: &Value) -> Option<Replica> {
    let name = pod["metadata"]["name"].as_str()?;
    Some(Replica {
        number: name.strip_prefix(deployment)?.strip_prefix('-')?.parse().ok()?,
        leaves: is_leaving(pod) || has_ended(pod),
        bound: pod["spec"]["nodeName"].is_string(),
        running: pod["status"]["phase"] == "Running",
    })
}

fn is_leaving(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The uid of the Deployment that a pod belongs to.
fn owner(pod: &Value) -> Option<&str> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["kind"] == "Deployment")?["uid"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    fn replica(number: u64) -> Replica {
        Replica { number, leaves: false, bound: true, running: true }
    }

    #[test]
    fn what_leaves_is_replaced_under_a_new_number() {
        let gone = Replica { leaves: true, ..replica(1) };
        assert_eq!(plan(2, 2, &[gone, replica(2)]), Plan { create: vec![3], delete: vec![] });
        assert_eq!(plan(2, 0, &[]), Plan { create: vec![1, 2], delete: vec![] });
        assert_eq!(plan(2, 2, &[replica(1), replica(2)]), Plan::default());
    }

    #[test]
    fn of_too_many_go_first_those_without_a_node_then_those_that_do_not_run_then_the_newest() {
        let pending = Replica { bound: false, running: false, ..replica(1) };
        let starting = Replica { running: false, ..replica(2) };
        let all = [pending, starting, replica(3), replica(4)];
        assert_eq!(plan(3, 4, &all).delete, [1]);
        assert_eq!(plan(1, 4, &all).delete, [1, 2, 4]);
    }

    #[test]
    fn neither_a_billion_replicas_nor_endless_replacement_is_served() {
        assert_eq!(plan(u64::MAX, 0, &[]).create.len() as u64, REPLICAS_MAX);
        assert_eq!(plan(5, MADE_MAX, &[]).create, [] as [u64; 0]);
    }

    #[test]
    fn a_deployments_pods_come_are_replaced_follow_its_size_and_go_with_it() {
        let mut store = Store::default();
        store.create_namespaces(NOW).unwrap();
        let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        store.create(Resource::Deployments, "default", web, NOW).unwrap();
        let names = |store: &Store| -> Vec<String> {
            let pods = store.list(Resource::Pods, None, &Selector::everything());
            pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_string()).collect()
        };
        pass(&mut store, NOW);
        pass(&mut store, NOW);
        assert_eq!(names(&store), ["web-1", "web-2"]);
        let revision = store.revision();
        pass(&mut store, NOW);
        assert_eq!(store.revision(), revision, "nothing is written without a change");
        store.delete(&Key::pod("default", "web-1"), &DeleteOptions::default(), NOW).unwrap();
        pass(&mut store, NOW);
        assert_eq!(names(&store), ["web-2", "web-3"]);
        let key = Key::new(Resource::Deployments, "default", "web");
        let less = json!({"spec": {"replicas": 1}});
        store.patch(&key, PatchKind::Merge, &less, Part::Main, NOW).unwrap();
        pass(&mut store, NOW);
        assert_eq!(names(&store), ["web-2"]);
        store.delete(&key, &DeleteOptions::default(), NOW).unwrap();
        pass(&mut store, NOW);
        assert_eq!(names(&store), [] as [&str; 0]);
    }
}
