//! Asks the API server about the node, the runtime classes, and what this service account may do.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Node, Toleration};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use plugin_core::taints::Taint;

use super::facts::{DaemonSet, NodeObject, Permissions, Seen};
use crate::announce;
use crate::node_client::{self, NodeSettings};

/// Longest time for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Most DaemonSets that are looked at.
const SETS_MAX: u32 = 500;
/// What the plugin does: verb, group, resource, namespace (none: in the whole cluster).
const NEEDED: [(&str, &str, &str, Option<&str>); 7] = [
    ("get", "", "nodes", None),
    ("list", "", "nodes", None),
    ("watch", "", "nodes", None),
    ("patch", "", "nodes", None),
    ("list", "", "pods", None),
    ("watch", "", "pods", None),
    ("create", "", "events", Some(announce::NAMESPACE)),
];

/// What the API server tells.
pub(super) struct ClusterFacts {
    pub(super) node: Seen<NodeObject>,
    pub(super) runtime_classes: Seen<Vec<String>>,
    pub(super) permissions: Seen<Permissions>,
    pub(super) daemon_sets: Seen<Vec<DaemonSet>>,
}

/// Asks everything; without a node name nothing.
pub(super) async fn gather(settings: Option<&NodeSettings>, taint: Option<&Taint>) -> ClusterFacts {
    let nothing = |why: String| ClusterFacts {
        node: Err(why.clone()),
        runtime_classes: Err(why.clone()),
        permissions: Err(why.clone()),
        daemon_sets: Err(why),
    };
    let Some(settings) = settings else {
        return nothing("no node name (hint: set --node-name or NODE_NAME)".to_owned());
    };
    let client = match node_client::connect(settings).await {
        Ok(client) => client,
        Err(why) => return nothing(why),
    };
    let node = node(client.clone(), &settings.name).await;
    let daemon_sets = match (taint, &node) {
        (None, _) => Err("no taint of shared nodes is configured".to_owned()),
        (Some(_), Err(why)) => Err(why.clone()),
        (Some(taint), Ok(node)) => daemon_sets(client.clone(), taint, &node.labels).await,
    };
    ClusterFacts {
        node,
        daemon_sets,
        runtime_classes: runtime_classes(client.clone()).await,
        permissions: permissions(client).await,
    }
}

async fn answer<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Seen<T> {
    match tokio::time::timeout(ANSWER_TIME_MAX, call).await {
        Ok(answer) => answer.map_err(|e| format!("the API server: {}", node_client::told(&e))),
        Err(_) => Err(format!("the API server gives no answer within {ANSWER_TIME_MAX:?}")),
    }
}

async fn node(client: Client, name: &str) -> Seen<NodeObject> {
    let node = answer(Api::<Node>::all(client).get(name)).await?;
    let allocatable = node.status.and_then(|status| status.allocatable).unwrap_or_default();
    Ok(NodeObject {
        labels: node.metadata.labels.unwrap_or_default(),
        allocatable: allocatable.into_iter().map(|(name, amount)| (name, amount.0)).collect(),
    })
}

async fn runtime_classes(client: Client) -> Seen<Vec<String>> {
    let classes = answer(Api::<RuntimeClass>::all(client).list(&ListParams::default())).await?;
    Ok(classes.items.into_iter().filter_map(|class| class.metadata.name).collect())
}

/// The DaemonSets that run, or would run, on a node with these labels.
async fn daemon_sets(
    client: Client,
    taint: &Taint,
    labels: &BTreeMap<String, String>,
) -> Seen<Vec<DaemonSet>> {
    let sets =
        answer(Api::<apps::DaemonSet>::all(client).list(&ListParams::default().limit(SETS_MAX))).await?;
    let on_node = sets.items.into_iter().filter_map(|set| {
        let pod = set.spec?.template.spec?;
        let selected = pod.node_selector.unwrap_or_default();
        let name = format!("{}/{}", set.metadata.namespace?, set.metadata.name?);
        let tolerates = pod.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint));
        selected
            .iter()
            .all(|pair| labels.get_key_value(pair.0) == Some(pair))
            .then_some(DaemonSet { name, tolerates })
    });
    Ok(on_node.collect())
}

/// Whether a toleration covers a taint (Kubernetes 1.36).
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (key, effect) = (part(&toleration.key), part(&toleration.effect));
    let exists = part(&toleration.operator) == "Exists";
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || key.is_empty() && exists)
        && (exists || part(&toleration.value) == taint.value)
}

async fn permissions(client: Client) -> Seen<Permissions> {
    let who = Api::<SelfSubjectReview>::all(client.clone());
    let answered = answer(who.create(&PostParams::default(), &SelfSubjectReview::default())).await;
    // the name is for people: API servers before 1.28 do not tell it
    let user = answered.ok().and_then(|review| review.status?.user_info?.username).unwrap_or_default();
    let reviews = Api::<SelfSubjectAccessReview>::all(client);
    let mut allowed = BTreeMap::new();
    for (verb, group, resource, namespace) in NEEDED {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..Default::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..Default::default()
        };
        let review = answer(reviews.create(&PostParams::default(), &review)).await?;
        let yes = review.status.is_some_and(|status| status.allowed);
        allowed.insert(format!("{verb} {resource}"), yes);
    }
    Ok(Permissions { user, allowed })
}
