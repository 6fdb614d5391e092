//! The bounded history of changes, because a watch resumes from a resource version and is told when that is too old.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use super::resource::Resource;
use super::selector::Selector;

/// What happened to an object, as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It appeared, or began to match the watch's selector.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer matches the watch's selector.
    Deleted,
}

impl ChangeKind {
    /// The `type` of the watch event on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        }
    }
}

/// One change for one watcher.
#[derive(Clone, Debug)]
pub struct Change {
    /// The store's revision of this change.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change; for `Deleted`, as it was, with the revision of its deletion.
    pub object: Arc<Value>,
}

/// What a watcher wants to see.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The resource.
    pub resource: Resource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Which objects.
    pub selector: Selector,
}

impl Watched {
    /// Every object of a resource.
    pub fn all(resource: Resource) -> Watched {
        Watched { resource, namespace: None, selector: Selector::everything() }
    }

    /// True when the object is of the asked namespace and matches the selector.
    pub fn wants(&self, object: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|ns| object["metadata"]["namespace"] == ns)
            && self.selector.matches(object)
    }
}

#[derive(Debug)]
struct Entry {
    revision: u64,
    resource: Resource,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
    /// For a deletion: the last object, carrying the deletion's revision.
    tombstone: Option<Arc<Value>>,
}

/// The last changes, oldest first.
#[derive(Debug)]
pub(super) struct WatchLog {
    entries: VecDeque<Entry>,
    entries_max: usize,
    /// Changes up to this revision are forgotten.
    forgotten: u64,
}

impl WatchLog {
    pub(super) fn new(entries_max: usize) -> WatchLog {
        WatchLog { entries: VecDeque::new(), entries_max: entries_max.max(1), forgotten: 0 }
    }

    pub(super) fn push(
        &mut self,
        revision: u64,
        resource: Resource,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
        tombstone: Option<Arc<Value>>,
    ) {
        if self.entries.len() >= self.entries_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.forgotten = oldest.revision;
        }
        self.entries.push_back(Entry { revision, resource, before, after, tombstone });
    }

    /// Forgets everything up to `revision`, as a compaction of etcd does.
    pub(super) fn compact(&mut self, revision: u64) {
        self.entries.retain(|e| e.revision > revision);
        self.forgotten = self.forgotten.max(revision);
    }

    /// The changes after `since` that concern `watched`, oldest first.
    pub(super) fn since(&self, since: u64, watched: &Watched) -> Result<Vec<Change>, ApiError> {
        if since < self.forgotten {
            return Err(ApiError::expired(since, self.forgotten));
        }
        let start = self.entries.partition_point(|e| e.revision <= since);
        Ok(self.entries.range(start..).filter_map(|entry| as_seen(entry, watched)).collect())
    }
}

/// How the selector of one watcher turns a change into another kind of change, or into none.
fn as_seen(entry: &Entry, watched: &Watched) -> Option<Change> {
    if entry.resource != watched.resource {
        return None;
    }
    let matched = entry.before.as_ref().is_some_and(|o| watched.wants(o));
    let now = entry.after.as_ref().filter(|o| watched.wants(o));
    let (kind, object) = match (matched, now) {
        (false, Some(object)) => (ChangeKind::Added, object),
        (true, Some(object)) => (ChangeKind::Modified, object),
        (true, None) => (ChangeKind::Deleted, entry.tombstone.as_ref().or(entry.after.as_ref())?),
        (false, None) => return None,
    };
    Some(Change { revision: entry.revision, kind, object: object.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labelled(value: &str) -> Option<Arc<Value>> {
        Some(Arc::new(json!({"metadata": {"labels": {"a": value}}})))
    }

    #[test]
    fn an_object_that_stops_matching_is_seen_as_deleted() {
        let mut log = WatchLog::new(10);
        log.push(1, Resource::Nodes, None, labelled("no"), None);
        log.push(2, Resource::Nodes, labelled("no"), labelled("yes"), None);
        log.push(3, Resource::Nodes, labelled("yes"), labelled("yes"), None);
        log.push(4, Resource::Nodes, labelled("yes"), labelled("no"), None);
        let watched =
            Watched { selector: Selector::of_labels([("a", "yes")]), ..Watched::all(Resource::Nodes) };
        let kinds: Vec<_> = log.since(0, &watched).unwrap().iter().map(|c| (c.revision, c.kind)).collect();
        assert_eq!(kinds, [(2, ChangeKind::Added), (3, ChangeKind::Modified), (4, ChangeKind::Deleted)]);
    }

    #[test]
    fn a_revision_older_than_the_history_is_expired() {
        let mut log = WatchLog::new(2);
        for revision in 1..=4 {
            log.push(revision, Resource::Pods, None, labelled("x"), None);
        }
        let all = Watched::all(Resource::Pods);
        assert_eq!(log.since(1, &all).map(|_| ()).map_err(|e| e.code), Err(410));
        assert_eq!(log.since(2, &all).map(|c| c.len()), Ok(2));
        log.compact(4);
        assert_eq!(log.since(3, &all).map(|_| ()).map_err(|e| e.code), Err(410));
        assert_eq!(log.since(4, &all).map(|c| c.len()), Ok(0));
    }
}
