//! From an HTTP request to an answer, pure: paths, verbs and media types of the Kubernetes REST API in one place, so
//! that the socket around it only moves bytes.

use serde_json::{Value, json};

use super::discovery;
use super::error::ApiError;
use super::listing::{list_body, list_or_watch, wanted_table, watch};
use super::patch::PatchKind;
use super::protobuf;
use super::resource::Resource;
use super::review;
use super::route::{Query, Target, target};
use super::selector::Selector;
use super::store::{DeleteOptions, Deleted, Key, Part, Store};
use super::table::{self, Include};
use super::timestamp::Timestamp;
use super::watch::Watched;

/// One request, with its body read.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query, still percent-encoded; empty when there is none.
    pub query: String,
    /// The `Content-Type` header.
    pub content_type: String,
    /// The `Accept` header.
    pub accept: String,
    /// The `Authorization` header; empty when there is none.
    pub authorization: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A JSON document with its HTTP status code.
    Json(u16, Value),
    /// A plain text, such as `ok`.
    Text(String),
    /// A stream of changes.
    Watch(WatchRequest),
}

/// The watch a client asked for.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// What it wants to see.
    pub watched: Watched,
    /// Changes after this revision; `None` begins with all present objects as added ones.
    pub since: Option<u64>,
    /// The server ends the stream after this many seconds.
    pub timeout_seconds: u64,
    /// True when the client understands bookmarks.
    pub bookmarks: bool,
    /// True when the client wants a bookmark after the present objects (`sendInitialEvents`).
    pub mark_initial_end: bool,
    /// Set when the client asked for tables.
    pub table: Option<Include>,
}

/// Answers one request. Errors are answers, too: a `Status` with its code.
pub fn answer(store: &mut Store, request: &Request, now: Timestamp) -> Answer {
    if request.method == "GET"
        && let Some(known) = discovery::answer(&request.path)
    {
        return known;
    }
    match answer_object_path(store, request, now) {
        Ok(answer) => answer,
        Err(refused) => Answer::Json(refused.code, refused.to_status()),
    }
}

fn answer_object_path(store: &mut Store, request: &Request, now: Timestamp) -> Result<Answer, ApiError> {
    let who = store.identity(&request.authorization)?;
    if request.method == "POST" && review::is_review(&request.path) {
        let answer = review::answer(store, &request.path, &json_body(request)?, &who)?;
        return Ok(Answer::Json(201, answer));
    }
    let target = target(&request.path)?;
    store.authorise(&who, &target.asked(&request.method, &Query::parse(&request.query)))?;
    store.asked_by(&who, |store| answer_target(store, request, target, now))
}

fn answer_target(
    store: &mut Store,
    request: &Request,
    target: Target,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let query = Query::parse(&request.query);
    match target {
        Target::Collection { resource, namespace } => match request.method.as_str() {
            "GET" => list_or_watch(store, request, &query, resource, namespace, now),
            "POST" => {
                let object = json_body(request)?;
                let namespace = namespace.as_deref().unwrap_or_default();
                if resource.namespaced() && namespace.is_empty() {
                    return Err(ApiError::method_not_allowed());
                }
                let created = store.create(resource, namespace, object, now)?;
                Ok(one(request, &query, 201, &created, resource, now))
            }
            "DELETE" => delete_collection(store, request, &query, resource, namespace, now),
            _ => Err(ApiError::method_not_allowed()),
        },
        Target::Object { key, sub } => answer_object(store, request, &query, &key, &sub, now),
    }
}

fn answer_object(
    store: &mut Store,
    request: &Request,
    query: &Query,
    key: &Key,
    sub: &str,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let part = match sub {
        "" => Part::Main,
        "status" if key.resource.has_status() => Part::Status,
        "binding" | "eviction" if key.resource == Resource::Pods && request.method == "POST" => {
            return post_to_pod(store, request, key, sub, now);
        }
        _ => return Err(ApiError::no_such_path()),
    };
    let changed = match (request.method.as_str(), part) {
        ("GET", _) if query.is_true("watch") => {
            let fields = format!("metadata.name={}", key.name);
            let namespace = Some(key.namespace.clone()).filter(|n| !n.is_empty());
            return watch(request, query, key.resource, namespace, &fields);
        }
        ("GET", _) => store.get(key)?,
        ("PUT", _) => store.update(key, named(json_body(request)?, key)?, part)?,
        ("PATCH", _) => {
            let kind = PatchKind::from_content_type(&request.content_type)
                .ok_or_else(|| ApiError::unsupported_media_type(&request.content_type))?;
            store.patch(key, kind, &parse(&request.body)?, part, now)?
        }
        ("DELETE", Part::Main) => return delete_one(store, request, query, key, now),
        _ => return Err(ApiError::method_not_allowed()),
    };
    Ok(one(request, query, 200, &changed, key.resource, now))
}

fn named(object: Value, key: &Key) -> Result<Value, ApiError> {
    match object["metadata"]["name"].as_str() {
        Some(name) if name == key.name => Ok(object),
        other => Err(ApiError::bad_request(format!(
            "the name of the object (`{}`) does not match the name on the URL (`{}`)",
            other.unwrap_or_default(),
            key.name
        ))),
    }
}

fn post_to_pod(
    store: &mut Store,
    request: &Request,
    key: &Key,
    sub: &str,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let body = json_body(request)?;
    if sub == "binding" {
        let node = body["target"]["name"].as_str().filter(|n| !n.is_empty());
        let node = node.ok_or_else(|| ApiError::bad_request("a binding needs `target.name`, the node"))?;
        store.bind(key, node, now)?;
    } else {
        store.delete(key, &delete_options(&body["deleteOptions"]), now)?;
    }
    Ok(Answer::Json(
        201,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

fn delete_options(body: &Value) -> DeleteOptions {
    let text = |field: &str| body["preconditions"][field].as_str().map(str::to_string);
    DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_u64(),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    }
}

fn read_delete_options(request: &Request, query: &Query) -> Result<DeleteOptions, ApiError> {
    let body = if request.body.is_empty() { Value::Null } else { parse(&request.body)? };
    let mut options = delete_options(&body);
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        options.grace_period_seconds = Some(seconds);
    }
    Ok(options)
}

fn delete_one(
    store: &mut Store,
    request: &Request,
    query: &Query,
    key: &Key,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let body = match store.delete(key, &read_delete_options(request, query)?, now)? {
        Deleted::Marked(object) => object.as_ref().clone(),
        Deleted::Gone(object) if key.resource == Resource::Pods => object.as_ref().clone(),
        Deleted::Gone(object) => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": key.name, "group": key.resource.group(), "kind": key.resource.plural(),
                "uid": object["metadata"]["uid"]},
        }),
    };
    Ok(Answer::Json(200, body))
}

fn delete_collection(
    store: &mut Store,
    request: &Request,
    query: &Query,
    resource: Resource,
    namespace: Option<String>,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    let options = read_delete_options(request, query)?;
    let selector = Selector::parse(resource, query.text("labelSelector"), query.text("fieldSelector"))?;
    let items = store.list(resource, namespace.as_deref(), &selector);
    for object in &items {
        store.delete(&Key::of(resource, object), &options, now)?;
    }
    Ok(Answer::Json(200, list_body(resource, &items, store.revision())))
}

fn one(
    request: &Request,
    query: &Query,
    code: u16,
    object: &Value,
    resource: Resource,
    now: Timestamp,
) -> Answer {
    match wanted_table(request, query) {
        Some(include) => Answer::Json(code, table::table(resource, &[object], include, None, now)),
        None => Answer::Json(code, object.clone()),
    }
}

fn json_body(request: &Request) -> Result<Value, ApiError> {
    let kind = request.content_type.split(';').next().unwrap_or_default().trim();
    match kind {
        "" | "application/json" => parse(&request.body),
        protobuf::MEDIA_TYPE => protobuf::decode(&request.body),
        other => Err(ApiError::unsupported_media_type(other)),
    }
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("couldn't read the body as JSON: {e}")))
}
