//! The pods that are bound to this Node: listed and watched while the core wants them, each trimmed to what it looks at.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use plugin_core::event::{BoundPod, Event, PodPhase};
use tokio::sync::{mpsc, watch};

use crate::node_client::{self, ApiBackoff, NodeSettings};

/// Most pods that are told; a kubelet takes 110 unless it is told otherwise, and ended ones stay for a while.
const PODS_MAX: usize = 2048;
/// The annotation with the UID under which a kubelet knows a static pod; its object has another one (Kubernetes 1.36).
const STATIC_POD_UID: &str = "kubernetes.io/config.mirror";

/// Follows the newest number of a watch that is wanted, and rests while none is.
pub(crate) async fn follow(
    client: Client,
    settings: NodeSettings,
    mut wanted: watch::Receiver<Option<u64>>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let attempt = *wanted.borrow_and_update();
        let told = async {
            let Some(attempt) = attempt else { return std::future::pending().await };
            let own = watcher::Config::default().fields(&format!("spec.nodeName={}", settings.name));
            let stream = watcher(Api::<Pod>::all(client.clone()), own).backoff(ApiBackoff::new());
            tell(stream, attempt, &events).await;
        };
        tokio::select! {
            () = told => return,
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Returns when the process is ending.
async fn tell(
    stream: impl Stream<Item = Result<watcher::Event<Pod>, watcher::Error>>,
    attempt: u64,
    events: &mpsc::Sender<Event>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut pods = BTreeMap::new();
    let mut listed: Option<BTreeMap<String, BoundPod>> = None;
    let mut told: Option<Event> = None;
    while let Some(change) = stream.next().await {
        let event = match change {
            Ok(watcher::Event::Init) => {
                listed = Some(BTreeMap::new());
                None
            }
            Ok(watcher::Event::InitApply(pod)) => {
                let key = pod.uid().unwrap_or_default();
                listed.get_or_insert_default().insert(key, bound_pod(&pod));
                None
            }
            Ok(watcher::Event::InitDone) => {
                pods = listed.take().unwrap_or_default();
                Some(now(attempt, &pods))
            }
            Ok(watcher::Event::Apply(pod)) => {
                pods.insert(pod.uid().unwrap_or_default(), bound_pod(&pod));
                Some(now(attempt, &pods))
            }
            Ok(watcher::Event::Delete(pod)) => {
                pods.remove(&pod.uid().unwrap_or_default());
                Some(now(attempt, &pods))
            }
            Err(e) => Some(Event::PodsUnreadable { attempt, why: node_client::told(&e) }),
        };
        let Some(event) = event.filter(|e| is_news(told.as_ref(), e)) else {
            continue;
        };
        told = Some(event.clone());
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn now(attempt: u64, pods: &BTreeMap<String, BoundPod>) -> Event {
    if pods.len() > PODS_MAX {
        let why = format!("{} pods are bound to this Node, more than {PODS_MAX}", pods.len());
        return Event::PodsUnreadable { attempt, why };
    }
    Event::PodsRead { attempt, pods: pods.values().cloned().collect() }
}

/// Most changes of a pod change nothing that is told. A failure is told once, whatever its text.
fn is_news(told: Option<&Event>, event: &Event) -> bool {
    match (told, event) {
        (Some(Event::PodsUnreadable { .. }), Event::PodsUnreadable { .. }) => false,
        (told, event) => told != Some(event),
    }
}

fn bound_pod(pod: &Pod) -> BoundPod {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    BoundPod {
        uid: pod.annotations().get(STATIC_POD_UID).cloned().or_else(|| pod.uid()).unwrap_or_default(),
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        phase: pod.status.as_ref().map_or(PodPhase::Bound, phase),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        requests: requests(pod),
        owner: owner.map(|owner| format!("{}/{}", owner.kind, owner.name)),
        created_s: pod.creation_timestamp().and_then(|at| u64::try_from(at.0.as_second()).ok()).unwrap_or(0),
    }
}

/// A kubelet that has admitted a pod sets its start time with the first status that it writes.
fn phase(status: &PodStatus) -> PodPhase {
    match status.phase.as_deref() {
        Some("Succeeded" | "Failed") => PodPhase::Over,
        Some("Running") => PodPhase::Admitted,
        _ if status.start_time.is_some() => PodPhase::Admitted,
        _ => PodPhase::Bound,
    }
}

/// Extended resources as the kubelet hands them out: what app containers and sidecars need together, or one init container
/// beside the sidecars before it.
fn requests(pod: &Pod) -> BTreeMap<String, u64> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let mut running: BTreeMap<String, u64> = BTreeMap::new();
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for container in spec.init_containers.iter().flatten() {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        for (name, count) in of_container(container) {
            let beside = running.get(&name).copied().unwrap_or(0).saturating_add(count);
            if is_sidecar {
                running.insert(name.clone(), beside);
            }
            let peak = most.entry(name).or_default();
            *peak = (*peak).max(beside);
        }
    }
    for (name, count) in spec.containers.iter().flat_map(of_container) {
        let sum = running.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
    for (name, count) in running {
        let peak = most.entry(name).or_default();
        *peak = (*peak).max(count);
    }
    most
}

/// Extended resources have a domain in their name, and limits that are whole numbers.
fn of_container(container: &Container) -> Vec<(String, u64)> {
    let limits = container.resources.iter().flat_map(|resources| resources.limits.iter().flatten());
    let extended = limits.filter(|(name, _)| name.contains('/') && !name.starts_with("kubernetes.io/"));
    extended.filter_map(|(name, count)| Some((name.clone(), count.0.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn simple(uid: &str, phase: &str) -> Pod {
        pod(json!({
            "metadata": {"name": format!("p-{uid}"), "namespace": "ns", "uid": uid},
            "status": {"phase": phase},
        }))
    }

    async fn told(changes: Vec<Result<watcher::Event<Pod>, watcher::Error>>) -> Vec<Event> {
        let (events, mut seen) = mpsc::channel(16);
        tell(futures::stream::iter(changes), 7, &events).await;
        drop(events);
        let mut all = Vec::new();
        while let Some(event) = seen.recv().await {
            all.push(event);
        }
        all
    }

    fn phases(event: &Event) -> Vec<(String, PodPhase)> {
        match event {
            Event::PodsRead { attempt: 7, pods } => pods.iter().map(|p| (p.uid.clone(), p.phase)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_whole_list_is_told_at_once_and_then_what_changes() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let all = told(vec![
            Ok(Init),
            Ok(InitApply(simple("a", "Pending"))),
            Ok(InitApply(simple("b", "Running"))),
            Ok(InitDone),
            Ok(Apply(simple("b", "Running"))),
            Ok(Apply(simple("a", "Running"))),
            Ok(Delete(simple("b", "Running"))),
        ])
        .await;
        let shown: Vec<_> = all.iter().map(phases).collect();
        let pair = |uid: &str, phase| (uid.to_owned(), phase);
        assert_eq!(shown[0], [pair("a", PodPhase::Bound), pair("b", PodPhase::Admitted)]);
        assert_eq!(shown[1], [pair("a", PodPhase::Admitted), pair("b", PodPhase::Admitted)]);
        assert_eq!(shown[2], [pair("a", PodPhase::Admitted)]);
        assert_eq!(shown.len(), 3);
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_the_next_list_again() {
        use watcher::Event::{Init, InitDone};
        let failed = || Err(watcher::Error::NoResourceVersion);
        let all = told(vec![failed(), failed(), Ok(Init), Ok(InitDone), failed()]).await;
        let is_failure = |e: &Event| matches!(e, Event::PodsUnreadable { attempt: 7, .. });
        assert_eq!(all.iter().map(is_failure).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_pod_is_trimmed_to_what_the_core_looks_at() {
        let gpu = |n: &str| json!({"limits": {"nvidia.com/gpu": n, "cpu": "500m"}});
        let trimmed = bound_pod(&pod(json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "object", "deletionTimestamp": "2026-01-01T00:00:10Z",
                "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {STATIC_POD_UID: "static"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}],
            },
            "spec": {
                "initContainers": [
                    {"name": "side", "restartPolicy": "Always", "resources": gpu("1")},
                    {"name": "init", "resources": gpu("4")},
                ],
                "containers": [{"name": "a", "resources": gpu("1")}, {"name": "b", "resources": gpu("2")}],
            },
            "status": {"phase": "Pending", "startTime": "2026-01-01T00:00:01Z"},
        })));
        let expected = BoundPod {
            uid: "static".into(),
            namespace: "ns".into(),
            name: "p".into(),
            phase: PodPhase::Admitted,
            deleting: true,
            requests: [("nvidia.com/gpu".to_owned(), 5)].into(),
            owner: Some("Node/n1".into()),
            created_s: 1_767_225_600,
        };
        assert_eq!(trimmed, expected);
    }

    #[test]
    fn more_pods_than_are_told_are_not_readable() {
        let one = bound_pod(&simple("a", "Pending"));
        let many = (0..=PODS_MAX).map(|n| (n.to_string(), one.clone())).collect();
        assert!(matches!(now(7, &many), Event::PodsUnreadable { why, .. } if why.contains("2049")));
    }
}
