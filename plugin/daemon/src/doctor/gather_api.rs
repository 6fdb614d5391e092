//! Asks the API server about the node, the runtime classes, and what this service account may do.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

use super::facts::{NodeObject, Seen};
use crate::announce;
use crate::cause;
use crate::node_client::{self, NodeSettings};

/// Longest time for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What the plugin does: verb, group, resource, namespace (none: in the whole cluster).
const NEEDED: [(&str, &str, &str, Option<&str>); 4] = [
    ("list", "", "nodes", None),
    ("watch", "", "nodes", None),
    ("patch", "", "nodes", None),
    ("create", "", "events", Some(announce::NAMESPACE)),
];

/// What the API server tells.
pub(super) struct ClusterFacts {
    pub(super) node: Seen<NodeObject>,
    pub(super) runtime_classes: Seen<Vec<String>>,
    pub(super) permissions: Seen<BTreeMap<String, bool>>,
}

/// Asks everything; without a node name nothing.
pub(super) async fn gather(settings: Option<&NodeSettings>) -> ClusterFacts {
    let nothing = |why: String| ClusterFacts {
        node: Err(why.clone()),
        runtime_classes: Err(why.clone()),
        permissions: Err(why),
    };
    let Some(settings) = settings else {
        return nothing("no node name (hint: set --node-name or NODE_NAME)".to_owned());
    };
    let client = match node_client::connect(settings).await {
        Ok(client) => client,
        Err(why) => return nothing(why),
    };
    ClusterFacts {
        node: node(client.clone(), &settings.name).await,
        runtime_classes: runtime_classes(client.clone()).await,
        permissions: permissions(client).await,
    }
}

async fn answer<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Seen<T> {
    match tokio::time::timeout(ANSWER_TIME_MAX, call).await {
        Ok(answer) => answer.map_err(|e| format!("the API server: {}", cause::line(&e))),
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

async fn permissions(client: Client) -> Seen<BTreeMap<String, bool>> {
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
    Ok(allowed)
}
