//! Watch streams: one JSON line per change until the client leaves or its time is up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::ApiError;
use super::handle::ApiHandle;
use super::rest::WatchRequest;
use super::server::Body;
use super::store::Store;
use super::table;
use super::timestamp::Timestamp;

/// A quiet watch gets a bookmark this often, when its client understands bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watching {
    handle: ApiHandle,
    request: WatchRequest,
    changes: watch::Receiver<u64>,
    /// Everything up to this revision was sent or is in `lines`; `None` before the first look.
    seen: Option<u64>,
    /// Lines ready to be sent; bounded by the store's history and its number of objects.
    lines: VecDeque<Value>,
    until: Instant,
    next_bookmark: Instant,
    /// The last line is in `lines`.
    ending: bool,
}

/// The body of the answer to a watch. With `expired`, it only says that the version is too old.
pub(super) fn body(handle: ApiHandle, request: WatchRequest, expired: bool) -> Body {
    let now = Instant::now();
    let mut watching = Watching {
        changes: handle.subscribe(),
        until: now + Duration::from_secs(request.timeout_seconds),
        next_bookmark: now + BOOKMARK_EVERY,
        seen: request.since,
        lines: VecDeque::new(),
        ending: expired,
        handle,
        request,
    };
    if expired {
        let revision = watching.handle.read(Store::revision);
        let refused = ApiError::expired(watching.seen.unwrap_or(1), revision);
        watching.lines.push_back(json!({"type": "ERROR", "object": refused.to_status()}));
    }
    let frames = stream::unfold(watching, |mut watching| async move {
        let line = watching.next_line().await?;
        let frame = Frame::data(Bytes::from(format!("{line}\n")));
        Some((Ok::<_, Infallible>(frame), watching))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

impl Watching {
    async fn next_line(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ending {
                return None;
            }
            self.changes.mark_unchanged();
            self.look();
            if !self.lines.is_empty() || self.ending {
                continue;
            }
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(self.until) => {
                    self.ending = true;
                    self.bookmark();
                }
                () = tokio::time::sleep_until(self.next_bookmark) => self.bookmark(),
            }
        }
    }

    /// Collects what happened since the last look.
    fn look(&mut self) {
        let (handle, request) = (self.handle.clone(), &self.request);
        let (found, revision) = handle.read(|store| (look_at(store, request, self.seen), store.revision()));
        match found {
            Ok(found) => {
                let first = self.seen.is_none();
                self.lines = found.into_iter().map(|(kind, object)| self.line(kind, &object)).collect();
                self.seen = Some(revision);
                if first && self.request.mark_initial_end && self.request.bookmarks {
                    let annotations = json!({"k8s.io/initial-events-end": "true"});
                    self.push_bookmark(annotations);
                }
            }
            Err(refused) => {
                self.lines.push_back(json!({"type": "ERROR", "object": refused.to_status()}));
                self.ending = true;
            }
        }
    }

    fn line(&self, kind: &str, object: &Value) -> Value {
        let shown = match self.request.table {
            Some(include) => {
                table::table(self.request.watched.resource, &[object], include, None, Timestamp::now())
            }
            None => object.clone(),
        };
        json!({"type": kind, "object": shown})
    }

    fn bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        if self.request.bookmarks {
            self.push_bookmark(Value::Null);
        }
    }

    fn push_bookmark(&mut self, annotations: Value) {
        let resource = self.request.watched.resource;
        let version = self.seen.unwrap_or(1).to_string();
        let mut metadata = json!({"resourceVersion": version});
        if !annotations.is_null() {
            metadata["annotations"] = annotations;
        }
        let object =
            json!({"kind": resource.kind(), "apiVersion": resource.api_version(), "metadata": metadata});
        self.lines.push_back(json!({"type": "BOOKMARK", "object": object}));
    }
}

type Found = Vec<(&'static str, std::sync::Arc<Value>)>;

fn look_at(store: &Store, request: &WatchRequest, seen: Option<u64>) -> Result<Found, ApiError> {
    let watched = &request.watched;
    match seen {
        Some(revision) => {
            let changes = store.changes_since(revision, watched)?;
            Ok(changes.into_iter().map(|c| (c.kind.wire(), c.object)).collect())
        }
        None => {
            let present = store.list(watched.resource, watched.namespace.as_deref(), &watched.selector);
            Ok(present.into_iter().map(|object| ("ADDED", object)).collect())
        }
    }
}
