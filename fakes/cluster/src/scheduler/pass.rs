//! The scheduler at work on the store: one pure pass over the pending pods, and the loop that repeats it.

use std::sync::Arc;

use serde_json::Value;

use super::fit::NodeView;
use super::pick::{Decision, decide};
use crate::api::events::{EventText, record};
use crate::api::{ApiHandle, Key, Part, Resource, Selector, Store, Timestamp, set_condition};

/// The scheduler this plays; pods that name another one are left alone.
const NAME: &str = "default-scheduler";

/// Binds every pending pod that fits somewhere, in the order of their creation, and tells the others why not; returns
/// how many pods it bound. Pods told the same as before are not written again; the real scheduler repeats its event.
pub fn pass(store: &mut Store, now: Timestamp) -> usize {
    let nodes = store.list(Resource::Nodes, None, &Selector::everything());
    let pods = store.pods_by_creation(&Selector::everything());
    let mut views: Vec<NodeView<'_>> = nodes
        .iter()
        .map(|node| {
            let name = &node["metadata"]["name"];
            NodeView::new(node, pods.iter().map(Arc::as_ref).filter(|pod| &pod["spec"]["nodeName"] == name))
        })
        .collect();
    let mut bound = 0;
    for pod in pods.iter().filter(|pod| is_waiting(pod)) {
        match decide(pod, &views) {
            Decision::Bind { node } => {
                if bind(store, pod, &node, now) {
                    bound += 1;
                    views.iter_mut().filter(|view| view.name() == node).for_each(|view| view.take(pod));
                }
            }
            Decision::Unschedulable { message } => refuse(store, pod, &message, now),
        }
    }
    bound
}

fn is_waiting(pod: &Value) -> bool {
    pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty()
        && pod["metadata"]["deletionTimestamp"].is_null()
        && pod["spec"]["schedulerName"].as_str().unwrap_or(NAME) == NAME
        && pod["spec"]["schedulingGates"].as_array().is_none_or(Vec::is_empty)
        && !super::fit::has_ended(pod)
}

fn bind(store: &mut Store, pod: &Value, node: &str, now: Timestamp) -> bool {
    let key = Key::of(Resource::Pods, pod);
    match store.bind(&key, node, now) {
        Ok(pod) => {
            let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
            record(
                store,
                &pod,
                EventText { warning: false, reason: "Scheduled", message: &message, component: NAME },
                now,
            );
            true
        }
        Err(refused) => {
            tracing::debug!(pod = key.name, %refused, "binding refused");
            false
        }
    }
}

fn refuse(store: &mut Store, pod: &Arc<Value>, message: &str, now: Timestamp) {
    let mut told = pod.as_ref().clone();
    set_condition(&mut told, "PodScheduled", false, "Unschedulable", message, now);
    if told == **pod {
        return;
    }
    let key = Key::of(Resource::Pods, pod);
    match store.update(&key, told, Part::Status) {
        Ok(pod) => {
            let text = EventText { warning: true, reason: "FailedScheduling", message, component: NAME };
            record(store, &pod, text, now);
        }
        Err(refused) => tracing::debug!(pod = key.name, %refused, "pod not told why it is pending"),
    }
}

/// Makes the pods of Deployments and schedules all pods after every change of the store until the future is dropped.
pub async fn run(handle: ApiHandle) {
    let mut changes = handle.subscribe();
    loop {
        changes.mark_unchanged();
        handle.write(|store, now| {
            super::replicas::pass(store, now);
            pass(store, now)
        });
        // The sender lives as long as the handle, so this ends only with a change.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PatchKind;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    fn cluster() -> Store {
        let mut store = Store::default();
        store.create_namespaces(NOW).unwrap();
        for (name, capacity) in [
            ("cpu-1", json!({"cpu": "4"})),
            ("gpu-1", json!({"nvidia.com/gpu": "4"})),
            ("gpu-2", json!({"nvidia.com/gpu": "0", "nvidia.com/gpu.shared": "16"})),
        ] {
            let node = json!({"metadata": {"name": name}, "status": {"capacity": capacity}});
            store.create(Resource::Nodes, "", node, NOW).unwrap();
        }
        store
    }

    fn submit(store: &mut Store, name: &str, resource: &str, count: u64) {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "main", "image": "cuda", "resources": {"limits": {resource: count}}}]}});
        store.create(Resource::Pods, "default", pod, NOW).unwrap();
    }

    fn get(store: &Store, name: &str) -> Arc<Value> {
        store.get(&Key::pod("default", name)).unwrap()
    }

    #[test]
    fn exclusive_and_shared_pods_land_where_their_resource_is_and_a_too_large_one_is_told_why() {
        let mut store = cluster();
        submit(&mut store, "a", "nvidia.com/gpu", 1);
        submit(&mut store, "b", "nvidia.com/gpu.shared", 1);
        submit(&mut store, "big", "nvidia.com/gpu", 5);
        assert_eq!(pass(&mut store, NOW), 2);
        assert_eq!(get(&store, "a")["spec"]["nodeName"], "gpu-1");
        assert_eq!(get(&store, "b")["spec"]["nodeName"], "gpu-2");
        let told = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: \
                    3 Preemption is not helpful for scheduling.";
        let condition = &get(&store, "big")["status"]["conditions"][0];
        assert_eq!((&condition["reason"], &condition["message"]), (&json!("Unschedulable"), &json!(told)));
        let warnings: Vec<_> = store
            .list(Resource::Events, None, &Selector::everything())
            .into_iter()
            .filter(|e| e["type"] == "Warning")
            .map(|e| (e["reason"].clone(), e["message"].clone()))
            .collect();
        assert_eq!(warnings, [(json!("FailedScheduling"), json!(told))]);
    }

    #[test]
    fn a_second_pass_without_a_change_writes_nothing() {
        let mut store = cluster();
        submit(&mut store, "big", "nvidia.com/gpu", 5);
        pass(&mut store, NOW);
        let revision = store.revision();
        pass(&mut store, NOW.plus_seconds(9));
        assert_eq!(store.revision(), revision);
    }

    #[test]
    fn a_pending_pod_is_bound_once_a_node_offers_enough() {
        let mut store = cluster();
        submit(&mut store, "big", "nvidia.com/gpu", 5);
        assert_eq!(pass(&mut store, NOW), 0);
        let more = json!({"status": {"allocatable": {"nvidia.com/gpu": "8"}}});
        store.patch(&Key::node("gpu-1"), PatchKind::Merge, &more, Part::Status, NOW).unwrap();
        assert_eq!(pass(&mut store, NOW), 1);
        let pod = get(&store, "big");
        assert_eq!(pod["status"]["conditions"][0]["status"], "True");
    }

    #[test]
    fn pods_of_one_pass_do_not_get_the_same_devices_and_the_oldest_goes_first() {
        let mut store = cluster();
        for name in ["z", "y", "x"] {
            submit(&mut store, name, "nvidia.com/gpu", 2);
        }
        assert_eq!(pass(&mut store, NOW), 2);
        assert_eq!(get(&store, "x")["spec"]["nodeName"], Value::Null);
        assert_eq!(get(&store, "z")["spec"]["nodeName"], "gpu-1");
    }

    #[tokio::test]
    async fn the_loop_binds_a_pod_that_is_created_later() {
        let handle = ApiHandle::new(cluster());
        let scheduler = tokio::spawn(run(handle.clone()));
        tokio::task::yield_now().await;
        handle.write(|store, _| submit(store, "late", "nvidia.com/gpu", 1));
        let bound =
            handle.wait_for(|store| get(store, "late")["spec"]["nodeName"].as_str().map(str::to_string));
        let node = tokio::time::timeout(std::time::Duration::from_secs(5), bound).await.expect("never bound");
        assert_eq!(node, "gpu-1");
        scheduler.abort();
    }
}
