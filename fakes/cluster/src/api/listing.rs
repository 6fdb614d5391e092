//! Lists and watches: what a GET of many objects is answered with.

use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ApiError;
use super::resource::Resource;
use super::rest::{Answer, Request, WatchRequest};
use super::route::Query;
use super::selector::Selector;
use super::store::Store;
use super::table::{self, Include};
use super::timestamp::Timestamp;
use super::watch::Watched;

/// Watches end after this many seconds unless the client names another bound.
const WATCH_SECONDS_DEFAULT: u64 = 1800;
/// The longest watch a client may ask for, in seconds.
const WATCH_SECONDS_MAX: u64 = 3600;

/// The body of a list.
pub(super) fn list_body(resource: Resource, items: &[Arc<Value>], revision: u64) -> Value {
    let items: Vec<&Value> = items.iter().map(Arc::as_ref).collect();
    json!({
        "kind": format!("{}List", resource.kind()), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": revision.to_string()}, "items": items,
    })
}

/// A list, or the watch that the query asks for instead.
pub(super) fn list_or_watch(
    store: &Store,
    request: &Request,
    query: &Query,
    resource: Resource,
    namespace: Option<String>,
    now: Timestamp,
) -> Result<Answer, ApiError> {
    if query.is_true("watch") {
        return watch(request, query, resource, namespace, query.text("fieldSelector"));
    }
    let selector = Selector::parse(resource, query.text("labelSelector"), query.text("fieldSelector"))?;
    let items = store.list(resource, namespace.as_deref(), &selector);
    let body = match wanted_table(request, query) {
        Some(include) => {
            let rows: Vec<&Value> = items.iter().map(Arc::as_ref).collect();
            table::table(resource, &rows, include, Some(store.revision()), now)
        }
        None => list_body(resource, &items, store.revision()),
    };
    Ok(Answer::Json(200, body))
}

/// The watch that a query asks for.
pub(super) fn watch(
    request: &Request,
    query: &Query,
    resource: Resource,
    namespace: Option<String>,
    fields: &str,
) -> Result<Answer, ApiError> {
    let selector = Selector::parse(resource, query.text("labelSelector"), fields)?;
    let initial = query.is_true("sendInitialEvents");
    let since = query.number("resourceVersion")?.filter(|version| *version > 0 && !initial);
    let timeout =
        query.number("timeoutSeconds")?.unwrap_or(WATCH_SECONDS_DEFAULT).clamp(1, WATCH_SECONDS_MAX);
    Ok(Answer::Watch(WatchRequest {
        watched: Watched { resource, namespace, selector },
        since,
        timeout_seconds: timeout,
        bookmarks: query.is_true("allowWatchBookmarks"),
        mark_initial_end: initial,
        table: wanted_table(request, query),
    }))
}

/// The columns of the table that a client asks for instead of objects.
pub(super) fn wanted_table(request: &Request, query: &Query) -> Option<Include> {
    let first = request.accept.split(',').next().unwrap_or_default();
    let asked = first.split(';').any(|part| part.trim() == "as=Table")
        && first.split(';').any(|part| part.trim() == "v=v1");
    asked.then(|| match query.text("includeObject") {
        "Object" => Include::Object,
        "None" => Include::Nothing,
        _ => Include::Metadata,
    })
}
