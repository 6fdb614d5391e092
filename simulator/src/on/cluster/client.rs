//! The API server of a cluster that exists, asked as kubectl asks it: objects as they are, nothing known by heart.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GetParams, ListParams, LogParams, Patch, PatchParams,
    PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use super::settings::ClusterSettings;
use crate::on::StageError;

/// Longest time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a page of the plugin may take.
const PAGE_TIME_MAX: Duration = Duration::from_secs(2);
/// How many causes of an error are told.
const CAUSES_MAX: usize = 8;
/// The most of a log that is read, in bytes.
const LOG_BYTES_MAX: i64 = 4 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Pod,
    Event,
    ConfigMap,
    Deployment,
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Kind::Node => ApiResource::erase::<Node>(&()),
            Kind::Pod => ApiResource::erase::<Pod>(&()),
            Kind::Event => ApiResource::erase::<Event>(&()),
            Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }

    /// As messages name it.
    fn word(self) -> &'static str {
        match self {
            Kind::Node => "node",
            Kind::Pod => "pod",
            Kind::Event => "event",
            Kind::ConfigMap => "config map",
            Kind::Deployment => "deployment",
        }
    }
}

/// The connection.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads the kubeconfig; nothing is sent yet.
    ///
    /// # Errors
    /// The file is missing or wrong.
    pub(super) async fn open(settings: &ClusterSettings) -> Result<Connection, StageError> {
        let what = || format!("use kubeconfig `{}`", settings.kubeconfig.display());
        let failed = |error: &dyn std::error::Error| refused(what(), error);
        let file = Kubeconfig::read_from(&settings.kubeconfig).map_err(|error| failed(&error))?;
        let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
        let mut config =
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))?;
        config.connect_timeout = Some(CONNECT_TIME_MAX);
        config.read_timeout = Some(ANSWER_TIME_MAX);
        config.write_timeout = Some(ANSWER_TIME_MAX);
        let client = Client::try_from(config).map_err(|error| failed(&error))?;
        Ok(Connection { client })
    }

    fn api(&self, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource()),
            None => Api::all_with(self.client.clone(), &kind.resource()),
        }
    }

    /// All objects of a kind that a label selector covers.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        selector: &str,
    ) -> Result<Vec<Value>, StageError> {
        let listed = self.api(kind, namespace).list(&ListParams::default().labels(selector)).await;
        let listed = listed.map_err(|error| refused(format!("list {}s", kind.word()), &error))?;
        Ok(listed.items.iter().map(value).collect())
    }

    /// One object, if it is there.
    pub(super) async fn get(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, StageError> {
        let found = self.api(kind, namespace).get_opt(name).await;
        let found = found.map_err(|error| refused(format!("read {} `{name}`", kind.word()), &error))?;
        Ok(found.as_ref().map(value))
    }

    /// Makes an object.
    pub(super) async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<(), StageError> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let what = || format!("create {} `{name}`", kind.word());
        let object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(|error| refused(what(), &error))?;
        let made = self.api(kind, Some(namespace)).create(&PostParams::default(), &object).await;
        made.map(|_| ()).map_err(|error| refused(what(), &error))
    }

    /// Merges a patch into an object.
    pub(super) async fn patch(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<(), StageError> {
        let api = self.api(kind, namespace);
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(|error| refused(format!("change {} `{name}`", kind.word()), &error))
    }

    /// Deletes an object; one that is gone already is as good.
    pub(super) async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), StageError> {
        match self.api(kind, Some(namespace)).delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(refused(format!("delete {} `{name}`", kind.word()), &error)),
        }
    }

    /// A page that a pod serves, through the API server's proxy.
    pub(super) async fn page(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        page: &str,
    ) -> Result<Value, StageError> {
        let what = || format!("read `/{page}` of pod `{pod}` through the API server's proxy");
        let base = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy");
        let request = kube::core::Request::new(base).get(page, &GetParams::default());
        let request = request.map_err(|error| refused(what(), &error))?;
        match tokio::time::timeout(PAGE_TIME_MAX, self.client.request::<Value>(request)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(refused(what(), &error)),
            Err(elapsed) => Err(refused(what(), &elapsed)),
        }
    }

    /// The end of a pod's log.
    pub(super) async fn log(&self, namespace: &str, pod: &str) -> Result<String, StageError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = LogParams { limit_bytes: Some(LOG_BYTES_MAX), ..LogParams::default() };
        pods.logs(pod, &params).await.map_err(|error| refused(format!("read the log of pod `{pod}`"), &error))
    }
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// A refusal, with its causes.
pub(super) fn refused(what: impl Into<String>, error: &dyn std::error::Error) -> StageError {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source()).take(CAUSES_MAX);
    for cause in causes.map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !text.contains(&cause) {
            // writing to a string does not fail
            let _written = write!(text, ": {cause}");
        }
    }
    StageError::Cluster { what: what.into(), error: text }
}
