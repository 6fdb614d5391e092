//! Recording of Events, because what `kubectl describe` shows a person is part of a scenario's expectations.

use serde_json::{Value, json};

use super::resource::Resource;
use super::selector::Selector;
use super::store::{Key, Part, Store};
use super::timestamp::Timestamp;

/// What an Event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventText<'a> {
    /// True for type `Warning`, false for `Normal`.
    pub warning: bool,
    /// One word, such as `FailedScheduling`.
    pub reason: &'a str,
    /// The sentence.
    pub message: &'a str,
    /// Who says it, such as `kubelet`.
    pub component: &'a str,
}

/// Records an Event about `involved`; the same text about the same object again raises the count of the first.
/// A store that refuses the Event (full, or its namespace gone) loses it, as a real cluster does.
pub fn record(store: &mut Store, involved: &Value, text: EventText<'_>, now: Timestamp) {
    let metadata = &involved["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let name = metadata["name"].as_str().unwrap_or_default();
    let same = |event: &Value| {
        event["involvedObject"]["uid"] == metadata["uid"]
            && event["involvedObject"]["kind"] == involved["kind"]
            && event["reason"] == text.reason
            && event["message"] == text.message
    };
    let events = store.list(Resource::Events, Some(namespace), &Selector::everything());
    let outcome = match events.iter().find(|event| same(event)) {
        Some(known) => {
            let mut again = known.as_ref().clone();
            again["count"] = json!(known["count"].as_u64().unwrap_or(1).saturating_add(1));
            again["lastTimestamp"] = json!(now.rfc3339());
            store.update(&Key::of(Resource::Events, known), again, Part::Whole)
        }
        None => {
            let kind = if text.warning { "Warning" } else { "Normal" };
            let event = json!({
                "metadata": {"name": format!("{name}.{:016x}", store.revision())},
                "involvedObject": {
                    "kind": involved["kind"], "apiVersion": involved["apiVersion"], "name": name,
                    "namespace": metadata["namespace"], "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                },
                "type": kind, "reason": text.reason, "message": text.message, "count": 1,
                "firstTimestamp": now.rfc3339(), "lastTimestamp": now.rfc3339(), "eventTime": null,
                "source": {"component": text.component}, "reportingComponent": text.component,
                "reportingInstance": "",
            });
            store.create(Resource::Events, namespace, event, now)
        }
    };
    if let Err(refused) = outcome {
        tracing::debug!(%refused, reason = text.reason, "event lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_again_raises_the_count() {
        let now = Timestamp::from_seconds(5);
        let mut store = Store::default();
        store.create_namespaces(now).unwrap();
        let node = store.create(Resource::Nodes, "", json!({"metadata": {"name": "n"}}), now).unwrap();
        let text = EventText { warning: true, reason: "R", message: "m", component: "c" };
        record(&mut store, &node, text, now);
        record(&mut store, &node, text, now);
        record(&mut store, &node, EventText { message: "other", ..text }, now);
        let counts: Vec<_> = store
            .list(Resource::Events, None, &Selector::everything())
            .iter()
            .map(|e| (e["message"].clone(), e["count"].clone()))
            .collect();
        assert_eq!(counts, [(json!("m"), json!(2)), (json!("other"), json!(1))]);
    }
}
